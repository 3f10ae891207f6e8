//! What can be seen of a running instance: counters at one moment, what happened between two, and who may be sent there.
//!
//! Everything is loaded from shared memory, atomics alone: nobody's lock is taken and nothing is written, so that looking
//! never holds anybody up. `docs/STATUS.md` describes what is shown, field by field.

pub mod activity;
pub mod bounds;
mod dashboard;
mod events;
pub mod metrics;
pub mod numbers;
pub mod readiness;
pub mod sample;
pub mod view;

pub use dashboard::{DASHBOARD, DASHBOARD_POLICY};
pub use metrics::metrics;
pub use readiness::{Unready, readiness};
pub use sample::Sample;
pub use view::{View, Watcher};

use crate::service::http::wire::Status;

/// The statuses of HTTP, in the order in which `instance::stats::WebStats` counts them.
pub const HTTP_CODES: [u16; Status::ALL.len()] = {
    let mut codes = [0; Status::ALL.len()];
    let mut place = 0;
    while place < codes.len() {
        codes[place] = Status::ALL[place].code();
        place += 1;
    }
    codes
};

const _: () = assert!(HTTP_CODES.len() <= crate::store::instance::stats::HTTP_STATUSES);
