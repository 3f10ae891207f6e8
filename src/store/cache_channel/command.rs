//! The commands that go through the queue to the cache process.

use crate::base::limits::MAX_GETFILE_PATH_BYTES;
use crate::ipc::message_queue::Message;
use crate::store::transfer::SegmentId;

/// Whom to reply to: the process id in the name of a queue of replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ReplyTo(pub u32);

/// What the cache process is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Give the contents of a path.
    Get {
        /// Where to: the segment that the sender has claimed and offers.
        segment: SegmentId,
        /// On whose behalf: turns are taken by it. A number that stands for the client's address.
        owner: u64,
        /// The path, which begins with `/`.
        path: Box<[u8]>,
    },
    /// Forget one path, or all.
    Purge {
        /// Who is told how much that was.
        reply_to: ReplyTo,
        /// The path; `None` for all.
        path: Option<Box<[u8]>>,
    },
    /// Say what is kept, some entries of it.
    List {
        /// Who is told.
        reply_to: ReplyTo,
        /// The path after which to begin; `None` for the beginning.
        after: Option<Box<[u8]>>,
    },
}

// kind (1), three bytes of zero, whom to reply to (4) or zero, segment (8) or zeros, owner (8) or zero, path.
const HEAD_BYTES: usize = 24;
const GET: u8 = 1;
const PURGE: u8 = 2;
const PURGE_ALL: u8 = 3;
const LIST: u8 = 4;
const LIST_FIRST: u8 = 5;

impl Message for Command {
    const MAX_BYTES: usize = HEAD_BYTES + MAX_GETFILE_PATH_BYTES;

    fn encode(&self, into: &mut [u8]) -> usize {
        let (kind, reply_to, segment, owner, path) = match self {
            Command::Get { segment, owner, path } => (GET, 0, segment.to_bytes(), *owner, &path[..]),
            Command::Purge { reply_to, path: Some(path) } => (PURGE, reply_to.0, [0; 8], 0, &path[..]),
            Command::Purge { reply_to, path: None } => (PURGE_ALL, reply_to.0, [0; 8], 0, &[][..]),
            Command::List { reply_to, after: Some(path) } => (LIST, reply_to.0, [0; 8], 0, &path[..]),
            Command::List { reply_to, after: None } => (LIST_FIRST, reply_to.0, [0; 8], 0, &[][..]),
        };
        // A longer one is none of the protocol's; what is left of it is not there.
        let path = &path[..path.len().min(MAX_GETFILE_PATH_BYTES)];
        into[..4].copy_from_slice(&[kind, 0, 0, 0]);
        into[4..8].copy_from_slice(&reply_to.to_le_bytes());
        into[8..16].copy_from_slice(&segment);
        into[16..24].copy_from_slice(&owner.to_le_bytes());
        into[HEAD_BYTES..HEAD_BYTES + path.len()].copy_from_slice(path);
        HEAD_BYTES + path.len()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (head, path) = bytes.split_first_chunk::<HEAD_BYTES>()?;
        let (kind, rest) = head.split_first_chunk::<4>()?;
        let (reply_to, rest) = rest.split_first_chunk::<4>()?;
        let (segment, owner) = rest.split_first_chunk::<8>()?;
        let reply_to = ReplyTo(u32::from_le_bytes(*reply_to));
        let owner = u64::from_le_bytes(owner.try_into().ok()?);
        let is_path = path.first() == Some(&b'/') && path.len() <= MAX_GETFILE_PATH_BYTES;
        match *kind {
            [GET, 0, 0, 0] if is_path => {
                Some(Command::Get { segment: SegmentId::from_bytes(*segment), owner, path: path.into() })
            }
            [PURGE, 0, 0, 0] if is_path => Some(Command::Purge { reply_to, path: Some(path.into()) }),
            [PURGE_ALL, 0, 0, 0] if path.is_empty() => Some(Command::Purge { reply_to, path: None }),
            [LIST, 0, 0, 0] if is_path => Some(Command::List { reply_to, after: Some(path.into()) }),
            [LIST_FIRST, 0, 0, 0] if path.is_empty() => Some(Command::List { reply_to, after: None }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commands() -> Vec<Command> {
        let longest: Box<[u8]> =
            std::iter::once(b'/').chain(std::iter::repeat_n(0xFF, MAX_GETFILE_PATH_BYTES - 1)).collect();
        let segment = SegmentId { number: 7, generation: u32::MAX };
        let reply_to = ReplyTo(4711);
        vec![
            Command::Get { segment, owner: u64::MAX, path: longest.clone() },
            Command::Get { segment, owner: 0, path: b"/"[..].into() },
            Command::Purge { reply_to, path: Some(longest.clone()) },
            Command::Purge { reply_to, path: None },
            Command::List { reply_to, after: Some(longest) },
            Command::List { reply_to, after: None },
        ]
    }

    #[test]
    fn what_is_written_is_read_and_no_beginning_of_it() {
        for command in commands() {
            let mut bytes = [0xAA; Command::MAX_BYTES];
            let length = command.encode(&mut bytes);
            assert_eq!(Command::decode(&bytes[..length]).as_ref(), Some(&command));
            for cut in 0..=HEAD_BYTES.min(length - 1) {
                assert_eq!(Command::decode(&bytes[..cut]), None, "{cut} of {command:?}");
            }
        }
    }

    #[test]
    fn what_is_no_command_is_told_apart() {
        let mut bytes = [0; Command::MAX_BYTES + 1];
        let length = commands()[1].encode(&mut bytes[..Command::MAX_BYTES]);
        for (place, value) in [(0, 0), (0, 6), (0, PURGE_ALL), (1, 1), (3, 1), (HEAD_BYTES, b'a')] {
            let mut wrong = bytes;
            wrong[place] = value;
            assert_eq!(Command::decode(&wrong[..length]), None, "{place}");
        }
        assert_eq!(Command::decode(&bytes), None, "a path that is too long");
    }
}
