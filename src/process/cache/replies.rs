//! What tools are told.

use super::core::{Core, Listed, ListedAs};
use crate::ipc::message_queue::{Priority, Sender};
use crate::ipc::names::Generation;
use crate::store::cache_channel::{EntryState, ListedEntry, REPLIES, Reply, ReplyTo, reply_queue};

/// Replies to one command; never waits. What a tool does not take, because it is gone or its queue is full, is dropped.
pub fn send(generation: &Generation, to: ReplyTo, replies: &[Reply]) {
    let mut sender = match Sender::<Reply>::open(&generation.name(&reply_queue(to))) {
        Ok(sender) => sender,
        Err(error) => return log::debug!("process {} is not replied to: {error}", to.0),
    };
    for reply in replies {
        if let Err(error) = sender.send(reply, Priority::Normal) {
            return log::debug!("process {} is not replied to: {error}", to.0);
        }
    }
}

/// The entries after a path, as many as one command is replied.
pub fn list(core: &Core, now_ns: u64, after: Option<&[u8]>) -> Vec<Reply> {
    let mut entries = core.list(now_ns, after);
    let mut replies: Vec<Reply> =
        entries.by_ref().take(REPLIES - 1).map(|listed| Reply::Entry(entry_of(&listed, now_ns))).collect();
    replies.push(Reply::EndOfList { more: entries.next().is_some() });
    replies
}

fn entry_of(listed: &Listed<'_>, now_ns: u64) -> ListedEntry {
    ListedEntry {
        path: listed.path.into(),
        state: match listed.what {
            ListedAs::Fresh => EntryState::Fresh,
            ListedAs::Stale => EntryState::Stale,
            ListedAs::Negative => EntryState::Negative,
            ListedAs::Coming => EntryState::Coming,
        },
        bytes: listed.bytes,
        readers: listed.readers,
        fresh_ms: listed.fresh_until_ns.saturating_sub(now_ns) / 1_000_000,
        is_fetching: listed.fetching,
    }
}
