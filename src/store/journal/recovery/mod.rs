//! Recovery's decisions: what the journal holds after the machine has stopped at any moment.
//!
//! A batch is written, then synced as a whole, and only then acknowledged. A batch that was not synced may survive a power
//! failure in any subset of its sectors, so good records behind a bad one prove nothing: they may all be of one batch that
//! was never acknowledged. The `synced` field proves something: each record carries the highest LSN that was durable when
//! it was written. So a slot that is not good, although a later record says that it had been durable, was damaged *after* it
//! had been acknowledged; without such a witness it is the torn end of the journal, and cutting it loses nothing that
//! anybody was promised. A snapshot is a witness too, for it is finished only when all that it holds is durable, and so is the
//! mark of an orderly stop.
//!
//! A witness must be a record in its own place whose checksum is right behind that of the record before it, or, right behind
//! the slot in question, behind the checksum that its contents should have. Damage to the very last batch cannot be told from a
//! torn tail where there was no orderly stop. So a copy is kept of every torn tail that is truncated.
//!
//! [`decide`] is the whole decision. Beside it, three things are never the work of a power failure, and so always damage:
//! a header that does not check (it lies within one sector), a missing segment before an existing one (they are made in order
//! and removed from the oldest on), and a record of right checksum and senseless content.

mod decision;
mod error;
mod scan;
mod slots;
mod tail;
mod truncate;

pub use decision::{End, Slot, decide};
pub use error::{Damage, RecoveryError, TornTail, Witness};
pub(super) use scan::{Known, scan};
pub(super) use truncate::{cut_behind, end_of_contents, truncate, wipe};
