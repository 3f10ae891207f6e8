//! Contents of files on their way from the cache process to the workers: a pool of segments in shared memory.
//!
//! A **segment** serves one transfer at a time: a header, and two chunks, so that one is filled while the other is sent. A worker claims a
//! segment and names it in its request; the cache process picks it up, says how long the contents are, and fills one chunk after the
//! other; the worker sends them to its client straight from the segment, and gives it back.
//!
//! **Who has a segment** is one word of its header: generation, owner, state ([`header::Claim`]). It is only changed by compare-and-swap
//! from the very value that was seen, so nobody can undo what another has done, and a request that comes late (the generation has
//! changed) is not picked up. A segment is free only when *both* sides have let go: a worker that gives up, or has died, while the
//! cache process is copying leaves it `Abandoned`, and then it is the cache process that frees it. So no late copy and no late post
//! can ever reach a segment that has a new owner.
//!
//! **Chunks are handed over** by two semaphores, `full` and `empty`. They are unnamed ones, in the header: they need no names that a death
//! could leave behind, and who claims a segment makes them anew, which is safe because nobody else has it then. A semaphore does not know that
//! its holder died; what a dead process had is told by the claim alone, so nothing depends on posts that never came.
//!
//! **Nobody waits** for a semaphore, since both sides have event loops. Who finds nothing to do says so in a word of the header
//! (`reader_waits`, `writer_waits`) and looks once more; who hands something over looks at that word afterwards, and wakes the other
//! by an eventfd ([`Wake`]). Between the write and the look each has a full fence, so one of the two sees the other. Who wakes the other takes
//! the word back first: so one who has been woken is not woken again before it has looked, and said anew that it waits.
//!
//! **Contents may come by another way**, which the segment then only says ([`Writer::finish_elsewhere`]): it is that of nobody but the worker at
//! once.
//!
//! **Who waits for a free segment** draws a ticket. Each worker shows its oldest; a segment goes to the oldest of all ([`claimant`]). Who
//! frees one wakes that worker by the same rule. A death leaves a ticket that the master takes down.
//!
//! **After a death** the master, when it has collected the process and before it starts a successor, goes through all headers ([`repair`]).

pub mod claimant;
pub mod handover;
pub mod header;
#[cfg(all(test, feature = "model"))]
mod model_tests;
#[cfg(not(feature = "model"))]
pub mod pool;
#[cfg(not(feature = "model"))]
pub mod reader;
pub mod repair;
pub mod shape;
pub mod tickets;
#[cfg(not(feature = "model"))]
pub mod wake_ups;
#[cfg(not(feature = "model"))]
pub mod writer;

pub use claimant::{Claimant, Ticket};
pub use handover::{Begun, Next};
pub use header::SegmentId;
#[cfg(not(feature = "model"))]
pub use pool::Pool;
#[cfg(not(feature = "model"))]
pub use reader::Reader;
pub use shape::Shape;
pub use tickets::Wake;
#[cfg(not(feature = "model"))]
pub use wake_ups::WakeUps;
#[cfg(not(feature = "model"))]
pub use writer::{Gone, Writer};

/// The pool's object.
pub const SEGMENT: &str = "transfers";
/// Version of the layout of the pool.
pub const LAYOUT_VERSION: u32 = 1;
