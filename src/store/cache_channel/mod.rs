//! What goes between the cache process and those who ask it: commands through a message queue, contents through the pool of segments.
//!
//! A worker claims a segment ([`crate::store::transfer`]) and sends [`Command::Get`] with its name. The cache process picks the segment up
//! and answers in it: [`Detail`] and [`Refusal`] say what the words of its header mean. `vaultctl` sends the other commands, and gets [`Reply`]s
//! through a queue of its own.

mod answer;
#[cfg(not(feature = "model"))]
mod channel;
mod command;
mod descriptors;
mod reply;
mod row;

pub use answer::{CacheStatus, Detail, Refusal};
#[cfg(not(feature = "model"))]
pub use channel::{CacheChannel, ChannelError};
pub use command::{Command, ReplyTo};
pub use descriptors::{DescriptorReceiver, DescriptorSender};
pub use reply::{EntryState, ListedEntry, REPLIES, Reply};
pub use row::CacheRow;

/// The queue of commands: its object.
pub const QUEUE: &str = "cache";
/// Commands that it may hold: what Linux allows to everybody (`fs.mqueue.msg_max`). Who finds it full waits until it is writable.
pub const QUEUE_DEPTH: usize = 10;

/// What the objects of queues of replies begin with; the process id follows.
const REPLY_QUEUE: &str = "cache-reply-";

/// The object of the queue by which a process with this id is replied to.
#[must_use]
pub fn reply_queue(reply_to: ReplyTo) -> String {
    format!("{REPLY_QUEUE}{}", reply_to.0)
}

/// Whether a version of this program makes queues with that object.
#[must_use]
pub fn makes_queue(object: &str) -> bool {
    let pid = object.strip_prefix(REPLY_QUEUE);
    object == QUEUE || pid.is_some_and(|pid| pid.parse::<u32>().is_ok_and(|number| number.to_string() == pid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_queues_are_known_by_their_objects() {
        assert!([QUEUE, &reply_queue(ReplyTo(0)), &reply_queue(ReplyTo(u32::MAX))].into_iter().all(makes_queue));
        for other in ["cache-reply-", "cache-reply-+1", "cache-reply-01", "cache-reply-4294967296", "caches", ""] {
            assert!(!makes_queue(other), "{other}");
        }
    }
}
