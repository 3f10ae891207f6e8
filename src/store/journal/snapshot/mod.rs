//! Snapshots: all balances as of some record, so that recovery need not read the journal from its beginning.
//!
//! A snapshot is fuzzy: its accounts are read one by one while operations go on, so each carries the LSN that its balance is
//! of, at or behind the record L that the snapshot is named after. Replay from L on changes an account only by records that
//! are newer than its own LSN. A snapshot can be finished only when all that it holds is durable in the journal: otherwise
//! it could remember what the journal forgets.
//!
//! `DATA/snapshot/{L}.snapshot`: a header, blocks of 4096 accounts (16 bytes each: balance, LSN), an end mark. Header, blocks
//! and end mark have a checksum each, seeded with the one before.
//!
//! Of an instance with a key-value store, blocks of keys with their values and versions follow the accounts; such a snapshot is of
//! format version 2. It has the pairs whose version is not above L, but for those that were changed before the walk came to them:
//! the records behind L bring these. So it shows nothing newer, and yet is right only together with the log up to where the walk
//! ended, which [`SnapshotWriter::covers`] is told.

mod files;
mod layout;
mod pairs;
mod reader;
mod writer;

pub(super) use files::path_of;
pub use files::{keep_newest, list};
pub use layout::Header;
pub(super) use layout::{ACCOUNT_BYTES, decode_account};
pub(super) use pairs::{LENGTH_BYTES, MAX_BLOCK_BYTES, encode_length, for_each_pair};
pub(super) use reader::{AccountBlocks, PairBlocks};
pub use reader::{Damaged, Newest, Snapshot, newest_good};
pub use writer::{SnapshotError, SnapshotWriter};
