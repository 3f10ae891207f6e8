//! What of a peer's message cannot be, before the crate `raft` sees it: raft ends the process where a message breaks what it takes for
//! granted.

use super::log::{Log, follows};
use crate::base::limits::MAX_REPLICAS;
use crate::process::replica::message::{Message, MessageKind};
use crate::store::cluster::NodeId;

/// What a message is held against.
pub(super) struct Own<'a> {
    pub node: NodeId,
    pub term: u64,
    pub committed: u64,
    pub log: &'a Log,
    pub leads: bool,
}

/// Looks at a message. `Err` says what is wrong with it.
pub(super) fn check(own: &Own, message: &Message) -> Result<(), &'static str> {
    if message.to != own.node || message.from == own.node {
        return Err("it is for another node");
    }
    if message.term == 0 {
        return Err("it has no term");
    }
    let is_append = message.kind == MessageKind::Append;
    if !is_append && !message.entries.is_empty() {
        return Err("it has entries that its kind has not");
    }
    if (message.kind == MessageKind::Snapshot) != message.snapshot.is_some() {
        return Err("it has a snapshot that its kind has not, or has none");
    }
    match message.kind {
        MessageKind::Append => append(own, message),
        MessageKind::Heartbeat if message.term >= own.term && message.commit > own.log.last_index() => {
            Err("it says that entries are committed here that are not here")
        }
        MessageKind::AppendResponse if own.leads && message.term == own.term => {
            let beyond = message.index > own.log.last_index() && !message.reject;
            if beyond { Err("it acknowledges entries that were not sent") } else { Ok(()) }
        }
        MessageKind::Snapshot => snapshot(message),
        MessageKind::ReadIndex | MessageKind::ReadIndexResponse => Err("nobody asks for rounds of reads from afar"),
        _ => Ok(()),
    }
}

fn append(own: &Own, message: &Message) -> Result<(), &'static str> {
    let Some(first) = message.entries.first() else { return Ok(()) };
    let before_first = first.first.0.checked_sub(1).map(crate::base::vocab::Lsn);
    let mut before = (message.index, message.log_term, before_first.ok_or("its entries have no records")?);
    for entry in &message.entries {
        follows(before, entry).map_err(|_| "its entries do not follow each other")?;
        before = (entry.index, entry.term, entry.last);
    }
    if before.1 > message.term {
        return Err("its entries are of a later term than itself");
    }
    if message.term < own.term || own.log.term_of(message.index) != Some(message.log_term) {
        return Ok(());
    }
    if own.log.last_of(message.index).is_none_or(|last| last.0 + 1 != first.first.0) {
        return Err("its entries do not follow those that are here");
    }
    for entry in message.entries.iter().take_while(|entry| entry.index <= own.log.last_index()) {
        if own.log.term_of(entry.index) != Some(entry.term) {
            let cuts = entry.index <= own.committed;
            return if cuts { Err("it replaces what is committed") } else { Ok(()) };
        }
        if own.log.last_of(entry.index) != Some(entry.last) {
            return Err("an entry has other records than the same entry here");
        }
    }
    Ok(())
}

fn snapshot(message: &Message) -> Result<(), &'static str> {
    let Some(snapshot) = &message.snapshot else { return Err("it has no snapshot") };
    if snapshot.index == 0 || snapshot.term == 0 || snapshot.term > message.term || snapshot.last.0 == 0 {
        return Err("its snapshot is of no entry");
    }
    let members = &snapshot.membership;
    let mut nodes: Vec<NodeId> = members.all().map(|member| member.node).collect();
    let many = nodes.len();
    nodes.sort_unstable();
    nodes.dedup();
    let is_good = !members.voters.is_empty() && many == nodes.len() && many <= usize::from(MAX_REPLICAS) + 1;
    if is_good { Ok(()) } else { Err("its snapshot has impossible members") }
}
