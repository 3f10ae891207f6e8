//! The books as they go to a member of a cluster that is so far behind that the log it needs is not kept any more.
//!
//! The files themselves cannot be sent: they carry the identity of their data directory, and records are sealed with its chain of
//! checksums. So what travels says what the files hold, and the receiver writes files of its own. A [`SnapshotSource`] gives the bytes, a
//! [`SnapshotSink`] takes them in; how they get from one to the other is not known here.
//!
//! ```text
//! header                         84 bytes, in version 2 92; see `layout`
//! the accounts of a snapshot     16 bytes each: balance, LSN; none where the sender has no snapshot file that it could send
//! its keys and values            in version 2: blocks of whole pairs, as in the file, each behind its length, u32; a length of 0
//! records first..=last          128 bytes each, unsealed
//! CRC-32 of all before            4 bytes
//! ```
//!
//! `first` is the first record of a segment. Records from there on give the balances behind the snapshot's cut, and the idempotency keys
//! that are remembered. `last` ends a raft entry; the snapshot holds nothing behind it. Both sides have segments of the same number of
//! records, and the same accounts that opened with the same sum.
//!
//! The sink writes into `DATA/incoming`, which has a `journal` and a `snapshot` as `DATA` has. Once all is there, is durable, and was read
//! back as a start reads it, `DATA/incoming/closed` says so: the mark of an orderly stop, as it becomes that of the data directory. Without
//! it what is there is the rest of a transfer that was broken off. That what is in `DATA/incoming` is to take the place of journal and
//! snapshots, the *intent to install*, is in `DATA/raft`; who starts next calls [`finish_install`], before recovery.

mod error;
mod install;
mod layout;
mod sink;
mod source;

pub use error::{Flaw, InstallError, SinkError, SinkFailure, SourceError};
pub use install::{discard_incoming, finish_install, incoming_end, is_incoming};
pub use sink::SnapshotSink;
pub use source::SnapshotSource;

#[cfg(test)]
mod install_tests;
#[cfg(test)]
mod pair_tests;
#[cfg(test)]
mod test_support;
#[cfg(test)]
mod tests;
