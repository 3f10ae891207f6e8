//! The operator's tool: one file per subcommand, each with its arguments and a `run` that returns a `Failure`.
//!
//! What was asked for goes to the standard output, everything said about it to the standard error.

mod audit;
mod clean;
mod columns;
mod crash_points;
mod dump;
mod errand;
mod inspect;
mod password;
mod repair;
mod source;
mod top;
mod user;

use std::error::Error;
use std::process::ExitCode;

use crate::store::instance::mailbox::Errand;
use crate::store::instance::{Instance, stale};
use crate::tool::output;

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
    /// Prove from the journal that the books are right, also beside a running server
    Audit(audit::Audit),
    /// Show the journal's records
    Journal(dump::Journal),
    /// Cut a damaged journal where it is damaged, when there is no better way
    Repair(repair::Repair),
    /// Remove what a killed instance left in shared memory
    Clean(clean::Clean),
    /// Say who may log in
    User(user::User),
    /// Have other workers go on with a worker's connections, and let it go
    Drain(errand::Drain),
    /// Even out the connections between the workers
    Rebalance(errand::Ask),
    /// Take a snapshot of all balances now
    Snapshot(errand::Ask),
    /// Have the master execute its program anew, in place, and replace all children one by one
    Upgrade(errand::Ask),
    /// List the places where a worker can be made to die
    CrashPoints,
}

/// Which instance.
#[derive(Debug, clap::Args)]
struct InstanceName {
    /// Name of the instance, as `master --instance` took it
    #[arg(long = "instance", value_name = "NAME", default_value = "vault")]
    name: String,
}

/// Why a subcommand did not do what was asked; it decides the exit code.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// The input was good, but the state of things forbids it: exit code 1.
    #[error(transparent)]
    Refused(Box<dyn Error>),
    /// The input was bad, or something needed is not to be had: exit code 2.
    #[error(transparent)]
    Unavailable(Box<dyn Error>),
}

/// What is not to be had, in words.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Unavailable(String);

impl Failure {
    fn refused(error: impl Error + 'static) -> Failure {
        Failure::Refused(Box::new(error))
    }

    fn unavailable(error: impl Error + 'static) -> Failure {
        Failure::Unavailable(Box::new(error))
    }

    fn exit_code(&self) -> ExitCode {
        match self {
            Failure::Refused(_) => ExitCode::from(1),
            Failure::Unavailable(_) => ExitCode::from(2),
        }
    }
}

/// Does what the command line asks, and says on the standard error what went wrong.
pub fn run(cli: Cli) -> ExitCode {
    let done = match cli.command {
        Command::Inspect(inspect) => inspect::run(&inspect),
        Command::Top(top) => top::run(&top),
        Command::Audit(audit) => audit::run(&audit),
        Command::Journal(journal) => dump::run(&journal),
        Command::Repair(repair) => repair::run(&repair),
        Command::Clean(clean) => clean::run(&clean),
        Command::User(user) => user::run(user),
        Command::Drain(drain) => errand::run(&drain.ask, Errand::Drain { worker: drain.worker }),
        Command::Rebalance(ask) => errand::run(&ask, Errand::Rebalance),
        Command::Snapshot(ask) => errand::run(&ask, Errand::Snapshot),
        Command::Upgrade(ask) => errand::run(&ask, Errand::Upgrade),
        Command::CrashPoints => crash_points::run(),
    };
    match done.and_then(|()| output::close_stdout().map_err(Failure::unavailable)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output::print_error("vaultctl", &failure.to_string());
            failure.exit_code()
        }
    }
}

/// Says on the standard error which objects bear an instance's name and are none of its own.
fn warn(census: &stale::Census) {
    census.warnings().iter().for_each(|warning| eprintln!("vaultctl: warning: {warning}"));
}

/// Opens the one running instance of that name for reading.
fn running(name: &InstanceName) -> Result<Instance, Failure> {
    // What cannot be listed is the error of the next line.
    if let Ok(census) = stale::census(&name.name)
        && !census.living.is_empty()
    {
        warn(&census);
    }
    stale::open_running(&name.name).map_err(|why| Failure::unavailable(Unavailable(why)))
}

/// Writes to the standard output. A reader that has gone, as in `vaultctl journal dump | head`, changes nothing.
fn say(text: &str) -> Result<(), Failure> {
    output::print(text).map(drop).map_err(Failure::unavailable)
}
