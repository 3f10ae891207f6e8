//! The operator's tool: one file per subcommand, each with its arguments and a `run` that returns a `Failure`.
//!
//! What was asked for goes to the standard output, everything said about it to the standard error.

mod audit;
mod cache;
mod clean;
mod cluster;
mod control;
mod dump;
mod export;
mod failure;
mod inspect;
mod password;
mod repair;
mod source;
mod table;
mod top;
mod user;
mod writes;

use std::process::ExitCode;

use crate::base::crash_point::{CrashPoint, VARIABLE};
use crate::store::instance::control_requests::ControlRequest;
use crate::tool::output;
use failure::{Failure, say};
use table::Table;

/// The command line of `vaultctl`.
#[derive(Debug, clap::Parser)]
#[command(name = "vaultctl", version, about = "Looks after a Bank Vault: its users and what its instances leave")]
#[command(
    after_help = "Exit codes: 0 done; 1 refused as things stand (an instance that runs, a user who is not there), or an audit \
                        that found something wrong; \
                        2 bad input or an unavailable resource."
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show everything that can be seen of a running instance, without touching it
    Inspect(inspect::Inspect),
    /// Watch a running instance live: throughput, latency, workers, journal, cache, accounts
    Top(top::Top),
    /// Prove from the journal that the accounts are right, also beside a running server
    Audit(audit::Audit),
    /// Show the journal's records
    Journal(dump::Journal),
    /// Write the balances of all accounts as an account file, at one cut; also beside a running server
    Export(export::Export),
    /// Cut a damaged journal where it is damaged, when there is no better way
    Repair(repair::Repair),
    /// Remove what a killed instance left in shared memory
    Clean(clean::Clean),
    /// Show what GetFile's cache process keeps and counts, and have it forget
    Cache(cache::Cache),
    /// Show how a cluster of several instances stands, change who is a member and who leads, and make what it needs
    Cluster(cluster::Cluster),
    /// Say who may log in
    User(user::User),
    /// Have other workers go on with a worker's connections, and let it go
    Drain(control::Drain),
    /// Even out the connections between the workers
    Rebalance(control::ControlArgs),
    /// Take a snapshot of all balances now
    Snapshot(control::ControlArgs),
    /// Have the master execute its program anew, in place, and replace all children one by one
    Upgrade(control::ControlArgs),
    /// List the places where a worker can be made to die
    CrashPoints,
}

/// Does what the command line asks, and says on the standard error what went wrong.
pub fn run(cli: Cli) -> ExitCode {
    let done = match cli.command {
        Command::Inspect(inspect) => inspect::run(&inspect),
        Command::Top(top) => top::run(&top),
        Command::Audit(audit) => audit::run(&audit),
        Command::Journal(journal) => dump::run(&journal),
        Command::Export(export) => export::run(&export),
        Command::Repair(repair) => repair::run(&repair),
        Command::Clean(clean) => clean::run(&clean),
        Command::Cache(cache) => cache::run(&cache),
        Command::Cluster(cluster) => cluster::run(&cluster),
        Command::User(user) => user::run(user),
        Command::Drain(drain) => control::run(&drain.args, &ControlRequest::Drain { worker: drain.worker }),
        Command::Rebalance(args) => control::run(&args, &ControlRequest::Rebalance),
        Command::Snapshot(args) => control::run(&args, &ControlRequest::Snapshot),
        Command::Upgrade(args) => control::run(&args, &ControlRequest::Upgrade),
        Command::CrashPoints => list_crash_points(),
    };
    match done.and_then(|()| Ok(output::close_stdout()?)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { why, exit_code }) => {
            output::print_error("vaultctl", &why.to_string());
            ExitCode::from(exit_code)
        }
    }
}

/// Lists every crash point with what has just happened there.
fn list_crash_points() -> Result<(), Failure> {
    let table = Table::of(
        CrashPoint::ALL,
        &[
            ("<name", |point| point.name().to_owned()),
            ("<what has happened there", |point| point.description().to_owned()),
        ],
    );
    say(&format!(
        "A process dies, as by kill -9, where its master's environment says so:\n\n  {VARIABLE}=WHO:NAME[#HIT][,…] \
         master …\n\nWHO is a worker's number, `journal` or `cache`, HIT how often it must come by (default 1); it holds for the \
         first life of WHO.\n\n{table}"
    ))
}
