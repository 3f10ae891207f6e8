//! What the cache process replies to a tool.

use crate::base::limits::MAX_GETFILE_PATH_BYTES;
use crate::ipc::message_queue::Message;

/// An entry, as it is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedEntry {
    /// Of what.
    pub path: Box<[u8]>,
    /// What is kept: "fresh", "stale", "negative" or "coming".
    pub state: EntryState,
    /// Bytes of its content, or of as much of it as has come.
    pub bytes: u64,
    /// Requests that read it.
    pub readers: u32,
    /// Milliseconds until it is not fresh any more; 0 where it is not.
    pub fresh_ms: u64,
    /// Whether a fetch of it waits or is under way.
    pub is_fetching: bool,
}

/// What is kept of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum EntryState {
    /// Content that is fresh.
    Fresh = 0,
    /// Content that is not.
    Stale = 1,
    /// That there is no such object.
    Negative = 2,
    /// Nothing yet.
    Coming = 3,
}

impl EntryState {
    /// The word that tools show.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            EntryState::Fresh => "fresh",
            EntryState::Stale => "stale",
            EntryState::Negative => "negative",
            EntryState::Coming => "coming",
        }
    }
}

/// A reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// One entry of the list; more replies follow.
    Entry(ListedEntry),
    /// The list, as far as it was asked for, is at its end.
    EndOfList {
        /// Whether there are entries after the last one that was listed.
        more: bool,
    },
    /// What was asked to be forgotten is.
    Purged {
        /// Entries that were.
        entries: u64,
    },
}

/// Replies to one command: not more than a queue of replies holds, so that the cache process never waits for a tool.
pub const REPLIES: usize = 9;

// kind (1), state (1), whether it is being fetched, or there is more (1), a zero, readers (4), bytes or entries (8), milliseconds (8), path.
const HEAD_BYTES: usize = 24;
const ENTRY: u8 = 1;
const END_OF_LIST: u8 = 2;
const PURGED: u8 = 3;

impl Message for Reply {
    const MAX_BYTES: usize = HEAD_BYTES + MAX_GETFILE_PATH_BYTES;

    fn encode(&self, into: &mut [u8]) -> usize {
        let (kind, state, flag, readers, number, fresh_ms, path) = match self {
            Reply::Entry(entry) => {
                let ListedEntry { path, state, bytes, readers, fresh_ms, is_fetching } = entry;
                (ENTRY, *state as u8, *is_fetching, *readers, *bytes, *fresh_ms, &path[..])
            }
            Reply::EndOfList { more } => (END_OF_LIST, 0, *more, 0, 0, 0, &[][..]),
            Reply::Purged { entries } => (PURGED, 0, false, 0, *entries, 0, &[][..]),
        };
        let path = &path[..path.len().min(MAX_GETFILE_PATH_BYTES)];
        into[..4].copy_from_slice(&[kind, state, flag.into(), 0]);
        into[4..8].copy_from_slice(&readers.to_le_bytes());
        into[8..16].copy_from_slice(&number.to_le_bytes());
        into[16..24].copy_from_slice(&fresh_ms.to_le_bytes());
        into[HEAD_BYTES..HEAD_BYTES + path.len()].copy_from_slice(path);
        HEAD_BYTES + path.len()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (head, path) = bytes.split_first_chunk::<HEAD_BYTES>()?;
        let (&[kind, state, flag, 0], rest) = head.split_first_chunk::<4>()? else { return None };
        let (readers, rest) = rest.split_first_chunk::<4>()?;
        let (number, fresh_ms) = rest.split_first_chunk::<8>()?;
        let number = u64::from_le_bytes(*number);
        let flag = (flag < 2).then_some(flag == 1)?;
        let state = match state {
            0 => EntryState::Fresh,
            1 => EntryState::Stale,
            2 => EntryState::Negative,
            3 => EntryState::Coming,
            _ => return None,
        };
        match kind {
            ENTRY if path.len() <= MAX_GETFILE_PATH_BYTES => Some(Reply::Entry(ListedEntry {
                path: path.into(),
                state,
                bytes: number,
                readers: u32::from_le_bytes(*readers),
                fresh_ms: u64::from_le_bytes(fresh_ms.try_into().ok()?),
                is_fetching: flag,
            })),
            END_OF_LIST if path.is_empty() => Some(Reply::EndOfList { more: flag }),
            PURGED if path.is_empty() => Some(Reply::Purged { entries: number }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_no_beginning_of_it() {
        let entry = |path: &[u8], state, is_fetching| {
            Reply::Entry(ListedEntry {
                path: path.into(),
                state,
                bytes: u64::MAX,
                readers: 3,
                fresh_ms: 1 << 40,
                is_fetching,
            })
        };
        for reply in [
            entry(b"/a", EntryState::Fresh, false),
            entry(&[b'/'; MAX_GETFILE_PATH_BYTES], EntryState::Stale, true),
            entry(b"/", EntryState::Negative, false),
            entry(b"/", EntryState::Coming, true),
            Reply::EndOfList { more: true },
            Reply::EndOfList { more: false },
            Reply::Purged { entries: 7 },
        ] {
            let mut bytes = [0xAA; Reply::MAX_BYTES];
            let length = reply.encode(&mut bytes);
            assert_eq!(Reply::decode(&bytes[..length]).as_ref(), Some(&reply));
            for cut in 0..HEAD_BYTES {
                assert_eq!(Reply::decode(&bytes[..cut]), None, "{cut}");
            }
            for (place, value) in [(0, 0), (0, 4), (1, 4), (2, 2), (3, 1)] {
                let mut wrong = bytes;
                wrong[place] = value;
                assert_eq!(Reply::decode(&wrong[..length]), None, "{place} of {reply:?}");
            }
        }
    }
}
