//! Replies that wait, in a service whose clients are shown operations of the log: what they show must be committed, and confirmed if it was
//! read, before they leave.
//!
//! [`Visibility`] says what may be shown. [`Waits`] is what a session waits for: its replies that are held back ([`HeldReplies`]), and its
//! next request, which waits for an operation to be committed, or to be applied here, for room in the journal, or for a primary. [`WaitingSessions`] has the sessions of a worker that
//! wait, knows which of them can go on, and has the process woken that takes records, and this worker once something is committed.

mod after_queue;
mod commit_queue;
mod held_replies;
mod primary_queue;
mod room_queue;
mod visibility;
mod waiting_sessions;
mod waits;

pub use after_queue::AfterWait;
pub use held_replies::{HeldReplies, Replies};
pub use visibility::Visibility;
pub use waiting_sessions::WaitingSessions;
pub use waits::{Blocked, Waits};
