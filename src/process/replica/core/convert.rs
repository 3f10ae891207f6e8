//! Messages as peers exchange them, and as the crate `raft` has them.

use raft::eraftpb::{self, MessageType};

use super::storage::{CHANGE, conf_state};
use crate::process::replica::message::{EntryKind, EntryRange, Message, MessageKind};
use crate::store::cluster::NodeId;

/// What raft puts into a request for votes that nobody refuses for the leader's sake.
const CAMPAIGN_TRANSFER: &[u8] = b"CampaignTransfer";

const KINDS: [(MessageKind, MessageType); 13] = [
    (MessageKind::Append, MessageType::MsgAppend),
    (MessageKind::AppendResponse, MessageType::MsgAppendResponse),
    (MessageKind::RequestPreVote, MessageType::MsgRequestPreVote),
    (MessageKind::RequestPreVoteResponse, MessageType::MsgRequestPreVoteResponse),
    (MessageKind::RequestVote, MessageType::MsgRequestVote),
    (MessageKind::RequestVoteResponse, MessageType::MsgRequestVoteResponse),
    (MessageKind::Heartbeat, MessageType::MsgHeartbeat),
    (MessageKind::HeartbeatResponse, MessageType::MsgHeartbeatResponse),
    (MessageKind::Snapshot, MessageType::MsgSnapshot),
    (MessageKind::TimeoutNow, MessageType::MsgTimeoutNow),
    (MessageKind::TransferLeader, MessageType::MsgTransferLeader),
    (MessageKind::ReadIndex, MessageType::MsgReadIndex),
    (MessageKind::ReadIndexResponse, MessageType::MsgReadIndexResp),
];

/// A number as raft carries it for us.
pub(super) fn context(number: u64) -> Vec<u8> {
    number.to_le_bytes().to_vec()
}

/// The number of a context; 0 for what is none.
pub(super) fn number(context: &[u8]) -> u64 {
    context.try_into().map_or(0, u64::from_le_bytes)
}

fn entry_to_raft(range: &EntryRange) -> eraftpb::Entry {
    let mut entry = eraftpb::Entry::default();
    (entry.index, entry.term) = (range.index, range.term);
    if matches!(range.kind, EntryKind::Change(_)) {
        entry.set_entry_type(CHANGE);
    }
    entry
}

/// A peer's message, as raft takes it.
pub(super) fn to_raft(message: &Message) -> eraftpb::Message {
    let mut raw = eraftpb::Message::default();
    let kind = KINDS.iter().find(|(kind, _)| *kind == message.kind).map(|(_, raw)| *raw);
    raw.set_msg_type(kind.unwrap_or_default());
    (raw.from, raw.to, raw.term) = (message.from.number(), message.to.number(), message.term);
    (raw.log_term, raw.index) = (message.log_term, message.index);
    (raw.commit, raw.commit_term) = (message.commit, message.commit_term);
    (raw.reject, raw.reject_hint) = (message.reject, message.reject_hint);
    (raw.request_snapshot, raw.priority) = (message.request_snapshot, message.priority);
    if message.context == Message::CAMPAIGN_TRANSFER {
        raw.context = CAMPAIGN_TRANSFER.to_vec().into();
    } else if message.context != 0 {
        raw.context = context(message.context).into();
    }
    raw.set_entries(message.entries.iter().map(entry_to_raft).collect());
    if let Some(snapshot) = &message.snapshot {
        let metadata = raw.mut_snapshot().mut_metadata();
        (metadata.index, metadata.term) = (snapshot.index, snapshot.term);
        metadata.set_conf_state(conf_state(&snapshot.membership));
    }
    raw
}

/// What raft says to a peer, without its entries and its snapshot; `None` for what does not travel.
pub(super) fn from_raft(raw: &eraftpb::Message) -> Option<Message> {
    let kind = KINDS.iter().find(|(_, kind)| *kind == raw.get_msg_type()).map(|(kind, _)| *kind)?;
    let context = if raw.context == CAMPAIGN_TRANSFER { Message::CAMPAIGN_TRANSFER } else { number(&raw.context) };
    Some(Message {
        kind,
        from: NodeId::new(raw.from)?,
        to: NodeId::new(raw.to)?,
        term: raw.term,
        log_term: raw.log_term,
        index: raw.index,
        commit: raw.commit,
        commit_term: raw.commit_term,
        reject: raw.reject,
        reject_hint: raw.reject_hint,
        request_snapshot: raw.request_snapshot,
        priority: raw.priority,
        context,
        entries: Vec::new(),
        snapshot: None,
    })
}
