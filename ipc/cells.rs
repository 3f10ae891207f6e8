//! What shared memory that several processes change without waiting for each other is made of: atomics, robust locks, segments.
//!
//! The ledger and the transfer of files take them from here, so that the code which is model-checked is the code which runs: with the feature `model` they are
//! [`loom`](https://docs.rs/loom)'s, which tries every order of threads and every value that a load may give (`ipc/model.rs`).
//! Without it they are the real ones, and this module is a list of names.

#[cfg(not(feature = "model"))]
mod kind {
    pub use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering, fence};

    pub use getrandom::u64 as random;

    pub use crate::ipc::layout::expect_to_write;
    pub use crate::ipc::robust::{Acquired, Busy, Held, Inherited, RobustMutex};
    pub use crate::ipc::segment::{Segment, unlink};
    pub use crate::ipc::shared_semaphore::SharedSemaphore;
    pub use crate::shared_struct;
}

#[cfg(feature = "model")]
use crate::ipc::model as kind;

pub use kind::*;
