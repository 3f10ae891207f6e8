//! `vaultctl inspect`: everything that can be seen of a running instance, without touching it.
//!
//! [`gather`] loads from shared memory, which is mapped read-only, into a [`report`]; [`text`] shows that to people.

mod cache;
mod cluster;
mod gather;
mod process;
mod report;
mod text;

use super::failure::{Failure, say, say_json};
use super::source::{InstanceName, running};

#[derive(Debug, clap::Args)]
#[command(
    after_help = "It maps the segments read-only and takes no lock, so it never holds the server up; each number is \
                        that of some moment while the report was made."
)]
pub(super) struct Inspect {
    #[command(flatten)]
    instance: InstanceName,
    /// List the connections one by one
    #[arg(long)]
    connections: bool,
    /// Write JSON instead of tables; money in cents
    #[arg(long)]
    json: bool,
}

pub(super) fn run(inspect: &Inspect) -> Result<(), Failure> {
    let instance = running(&inspect.instance)?;
    let report = gather::gather(&instance, inspect.connections)?;
    if inspect.json { say_json(&report) } else { say(&report.to_string()) }
}
