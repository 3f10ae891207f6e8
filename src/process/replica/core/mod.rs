//! Who leads, what is committed, what is cut: raft without descriptors, clock, threads, or the records themselves.
//!
//! [`Event`]s go in, [`Action`]s come out, and are carried out by the shell strictly in order before the next event goes in, unless an
//! action says that its answer is the next event. The consensus itself is the crate `raft`'s; nothing of it shows outside this folder.
//!
//! **Entries.** An entry of raft is a range of records. The map from index to range is the [`Log`]; it comes back from the records at a
//! start, since each carries term and index, and the last of an entry is marked. The kind of an entry is that of its last record: a record
//! of a term ends an entry of kind `Term`, one of a change is an entry of kind `Change` by itself, and wherever else such a record stands
//! it means nothing (a replica process died between putting it into the ring and proposing it). An operation can have several records; an
//! entry has all of them or none. Where operations end, the shell [notes](Core::note_end).
//!
//! **The primary** executes first. [`Event::Executed`] says what is in the ring, and [`Action::Append`] makes entries of it, which go to
//! the disk and to the peers.
//!
//! **Persistence** is reported by [`Event::OnDisk`]. What promises that entries are kept, is sent only when they are. Heartbeats, votes and
//! refusals promise nothing of the kind, and do not wait for the disk; what they promise is in [`Action::Save`] before them.
//!
//! **The gate** opens when this node leads, the first entry of its term is committed, and all up to that entry is applied. It closes in the
//! step in which this node stops to lead. If it executed what the log does not have, or will not have, the books are to be remade.
//!
//! **A replica process that died on the primary** is followed by one that is loaded with an open gate, when everything up to `log_end` is
//! on disk. The node asks for votes at once, in the name of the leader that it was, and leads in the next term; the gate stays open.
//! If it does not win, the gate closes.
//!
//! **While leadership is handed over** the gate is closed, so that nothing is executed that cannot be proposed. It opens again if that
//! fails.

mod check;
mod convert;
mod defect;
mod event;
mod lead;
mod log;
mod logger;
mod parts;
mod pending;
mod reads;
mod ready;
mod settings;
#[cfg(test)]
mod simulation;
mod state;
mod status;
mod storage;
#[cfg(test)]
mod tests;

pub use event::{Action, Control, Event, HardState, Refusal};
pub use log::{Log, LogError};
pub use settings::Settings;
pub use state::{Core, LoadError, Loaded};
pub use status::{Progress, Role, Status};
