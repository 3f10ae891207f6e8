//! What can be seen of a running instance: counters at one moment, what happened between two, and who may be sent there.
//!
//! Everything is loaded from shared memory, atomics alone: nobody's lock is taken and nothing is written, so that looking
//! never holds anybody up. `docs/STATUS.md` describes what is shown, field by field.

pub mod activity;
mod events;
pub mod metrics;
pub mod numbers;
pub mod readiness;
pub mod sample;
pub mod view;

pub use metrics::metrics;
pub use readiness::{Unready, readiness};
pub use sample::Sample;
pub use view::{View, Watcher};

/// The dashboard: one page, which reads its views from `/_vault/events`.
pub const DASHBOARD: &str = include_str!("dashboard.html");

/// The `Content-Security-Policy` that goes with [`DASHBOARD`]: its own script and style, its own events, and nothing else.
pub const DASHBOARD_POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; \
                                    connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; \
                                    frame-ancestors 'none'";

/// The statuses of HTTP, in the order in which `instance::stats::WebStats` counts them.
pub const HTTP_CODES: [u16; 18] =
    [200, 206, 301, 304, 400, 403, 404, 405, 408, 411, 412, 413, 414, 416, 431, 500, 503, 505];

const _: () = assert!(HTTP_CODES.len() <= crate::instance::stats::HTTP_STATUSES);
