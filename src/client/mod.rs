//! The client: a load generator that checks its own results, one-shot commands, a shell, and a prober of bad frames.
//!
//! It knows the server only by the wire protocol, and so proves that the protocol document is enough.

pub mod backoff;
pub mod books;
pub mod connection;
pub mod error;
pub mod inbox;
pub mod latency;
pub mod load;
pub mod mix;
pub mod options;
pub mod prng;
pub mod report;
pub mod skew;

use error::Outcome;
use options::Options;

/// Does what the options say, and prints what came of it.
#[must_use]
pub fn run(options: &Options) -> Outcome {
    match load::run(&options.load, &options.target) {
        Ok(outcome) => outcome,
        Err(trouble) => {
            eprintln!("client: {trouble}");
            trouble.outcome()
        }
    }
}
