//! Upgrade: the master executes the program that its own path leads to now. The new program goes on with everything: listening
//! sockets, connections, shared memory, children. Then the children are replaced one by one.
//!
//! 1. *Ask* (`ask.rs`): the new program runs beside this one, reads what it would be handed, makes every check that it will make after
//!    `execve(2)`, and says what it is. Nothing is touched, the loop goes on serving, and there is a deadline.
//! 2. *Execute* (`execute.rs`): descriptors lose CLOEXEC, their numbers and the supervisor's state go into a memfd (`hand_over.rs`).
//!    Workers and journal go on meanwhile, and new connections wait in the backlog.
//! 3. *Resume* (`resume.rs`): the new program first does all that can fail, without changing what was handed over. If something
//!    fails, it executes the old program again, whose file is still open, and that goes on as before. If shared memory is gone, so that
//!    the old program cannot either, it starts anew from the journal.
//! 4. The supervisor replaces the children.

mod ask;
mod execute;
mod hand_over;
pub(super) mod new_program;
mod resume;

pub use ask::check;
pub use resume::{HandedOver, resume};
