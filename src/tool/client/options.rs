//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::parser::ValueSource;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

use crate::base::vocab::Cents;
use crate::tool::client::accounts::AccountRange;
use crate::tool::client::getfile::options::GetFileOptions;
use crate::tool::client::keys::Key;
use crate::tool::client::kv_load::options::KvLoadOptions;
use crate::tool::client::mix::Mix;
use crate::tool::client::quantities::{duration, rate};
use crate::tool::client::sampler::Skew;

/// Load, probe or talk to a Bank Vault server. Without a command, run the load generator.
///
/// Exit code: 0 all well, 1 the server refused or a check failed, 2 bad arguments or nothing to talk to.
#[derive(Debug, Parser)]
#[command(name = "client", version)]
pub struct Options {
    /// The server and the user.
    #[command(flatten)]
    pub target: Target,
    /// The load, when no command is given.
    #[command(flatten)]
    pub load: LoadOptions,
    /// What to do instead of the load.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// The server and the user.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Server")]
pub struct Target {
    /// The server's host name or address.
    #[arg(long, default_value = "127.0.0.1", global = true)]
    pub host: String,
    /// The server's port.
    #[arg(long, default_value_t = 7777, global = true)]
    pub port: u16,
    /// Servers of one ledger, HOST:PORT each, of which the primary is found and followed; instead of --host and --port.
    #[arg(long = "server", value_name = "HOST:PORT,…", value_delimiter = ',', conflicts_with_all = ["host", "port"], global = true)]
    pub servers: Vec<String>,
    /// Where to read balances and histories from: the primary, or any server, which then has applied all that was seen before.
    #[arg(long, value_name = "WHO", value_enum, default_value_t = ReadFrom::Primary, global = true)]
    pub read_from: ReadFrom,
    /// The user to log in as.
    #[arg(long, default_value = "demo", value_parser = credential, global = true)]
    pub user: String,
    /// The user's password.
    #[arg(long, default_value = "demo", value_parser = credential, global = true)]
    pub pass: String,
    /// XOR the bodies (this is no secrecy, see docs/PROTOCOL.md).
    #[arg(long, global = true)]
    pub xor: bool,
    /// Give a request up when its connection is silent this long: 500ms, 10s, 2m.
    #[arg(long, default_value = "10s", value_parser = duration, global = true)]
    pub timeout: Duration,
    /// Send money operations without an idempotency key; then one whose answer is lost is never sent again.
    #[arg(long, global = true)]
    pub no_keys: bool,
    /// Give up what was lost, or what the server has no room for, after trying again for this long.
    #[arg(long, default_value = "10s", value_parser = duration, global = true)]
    pub retry_for: Duration,
}

/// Who answers reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ReadFrom {
    /// The primary.
    #[default]
    Primary,
    /// Any server of the cluster.
    Any,
}

/// Those of these options that commands with other protocols have no use for: of GetFile, whose `--server` is another one, and of the
/// key-value store.
const NOT_FOR: [(&str, &[&str]); 2] = [
    ("getfile", &["user", "pass", "xor", "no_keys", "retry_for", "read_from"]),
    ("kv-load", &["user", "pass", "xor", "read_from"]),
];

/// Those that mean nothing to the command of this name.
fn not_for(command: &str) -> &'static [&'static str] {
    NOT_FOR.iter().find(|(name, _)| *name == command).map_or(&[], |(_, options)| options)
}

/// The load generator's options.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Load")]
pub struct LoadOptions {
    /// Threads, each with a connection of its own.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub threads: u32,
    /// Operations per connection [default: 2000, or without end when --duration is given].
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub ops: Option<u64>,
    /// Send for this long: 500ms, 10s, 2m.
    #[arg(long, value_parser = duration)]
    pub duration: Option<Duration>,
    /// Leave what happens in the first stretch of this length out of the result; --ops and --duration count from there.
    #[arg(long, default_value = "0s", value_parser = duration)]
    pub warmup: Duration,
    /// The operations and their weights: transfer, withdraw, deposit, balance, ping, totals.
    #[arg(long, default_value = "transfer=10,withdraw=20,deposit=30,balance=40")]
    pub mix: Mix,
    /// Requests in flight on each connection.
    // A thread that writes a batch does not read meanwhile. The replies to this many requests fit the kernel's buffers, so
    // that the server can always send them, and the two cannot deadlock.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub pipeline: u32,
    /// This many connections, driven by a few event loops instead of a thread each.
    #[arg(long, conflicts_with = "threads", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub connections: Option<u32>,
    /// Make a new connection for every operation, and let that be a PING: connect, ask, close.
    #[arg(long, conflicts_with_all = ["connections", "pipeline", "rate", "mix", "accounts", "skew", "verify", "xor"])]
    pub churn: bool,
    /// Event loops for --connections and --rate [default: number of cores].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub loops: Option<u32>,
    /// Send on a fixed schedule, this many operations per second in all, and take latencies from the scheduled time.
    #[arg(long, value_parser = rate)]
    pub rate: Option<f64>,
    /// The accounts to touch, LO-HI [default: all that the server has].
    #[arg(long)]
    pub accounts: Option<AccountRange>,
    /// How the load spreads over them: uniform, or zipf:T (the lowest numbers are the busiest).
    #[arg(long, default_value = "uniform")]
    pub skew: Skew,
    /// Seed of the random choices; the same seed sends the same operations [default: a random one].
    #[arg(long)]
    pub seed: Option<u64>,
    /// Compare the server's totals and balances at the end with the acknowledged operations; needs the server to itself.
    #[arg(long)]
    pub verify: bool,
    /// Write the result as JSON to this file (docs/CLIENT.md describes it).
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Log every answer to a money operation, a line each, in this file (docs/CLIENT.md describes it).
    #[arg(long, value_name = "FILE", conflicts_with = "churn")]
    pub ack_log: Option<PathBuf>,
    /// Write the latencies as a HdrHistogram percentile log to this file.
    #[arg(long, value_name = "FILE")]
    pub hdr: Option<PathBuf>,
}

/// How to send and show a money operation.
#[derive(Args, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MoneyOptions {
    /// The idempotency key, 32 hexadecimal digits [default: a new one].
    #[arg(long, value_name = "HEX")]
    pub key: Option<Key>,
    /// Show the key, too.
    #[arg(short, long)]
    pub verbose: bool,
    /// Show everything as one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// Money into or out of one account.
#[derive(Args, Clone, Copy, Debug)]
pub struct Movement {
    /// The account's number.
    pub account: u32,
    /// Decimal money, such as 25.00.
    #[arg(allow_negative_numbers = true)]
    pub amount: Cents,
    /// How to send and show it.
    #[command(flatten)]
    pub options: MoneyOptions,
}

/// What to show of an account's history.
#[derive(Args, Clone, Copy, Debug)]
pub struct HistoryOptions {
    /// The account's number.
    pub account: u32,
    /// Entries to show.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: u64,
    /// Show what is older than this LSN [default: the newest].
    #[arg(long, value_name = "LSN", value_parser = clap::value_parser!(u64).range(1..))]
    pub before: Option<u64>,
    /// Show all there is.
    #[arg(long, conflicts_with = "limit")]
    pub all: bool,
    /// Show it as JSON, one object for each entry and a last one for what is older.
    #[arg(long)]
    pub json: bool,
}

/// One-shots and interactive ways to use the server.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Show what an account holds.
    Balance {
        /// The account's number.
        account: u32,
    },
    /// Put money into an account.
    Deposit(Movement),
    /// Take money out of an account.
    Withdraw(Movement),
    /// Move money from one account to another.
    Transfer {
        /// The account that pays.
        from: u32,
        /// The account that is paid.
        to: u32,
        /// Decimal money, such as 25.00.
        #[arg(allow_negative_numbers = true)]
        amount: Cents,
        /// How to send and show it.
        #[command(flatten)]
        options: MoneyOptions,
    },
    /// Show what happened to an account, the newest first.
    History(HistoryOptions),
    /// Ask whether the server answers, and how fast.
    Ping,
    /// Show the sums over all accounts.
    Totals,
    /// Talk to the server by menu or typed commands.
    Shell,
    /// Send malformed frames and check the answers.
    Faults,
    /// Get files by the GetFile protocol: one, or those of a workload.
    Getfile(GetFileOptions),
    /// Load the key-value store by ONC RPC.
    KvLoad(KvLoadOptions),
}

impl Options {
    /// The command line with what belongs to the bank hidden in the help of commands with other protocols.
    fn full_command() -> clap::Command {
        let mut command = Options::command();
        // The options of all commands are copied into each.
        command.build();
        for (name, options) in NOT_FOR {
            let hide = |arg: clap::Arg| {
                let is_banks = options.contains(&arg.get_id().as_str());
                // GetFile's own name of it is --server.
                let is_host = name == "getfile" && arg.get_id() == "host";
                arg.hide(is_banks || is_host)
            };
            command = command.mut_subcommand(name, |command| command.mut_args(hide));
        }
        command
    }

    /// Parses the command line. Help and version are errors, too.
    pub fn from_command_line() -> Result<Options, clap::Error> {
        let matches = Options::full_command().try_get_matches()?;
        if let Some((name, _)) = matches.subcommand() {
            // A load option beside a command would be ignored silently, and so would one of the bank beside another protocol.
            let given = |id: &&clap::Id| matches.value_source(id.as_str()) == Some(ValueSource::CommandLine);
            let load = LoadOptions::augment_args(clap::Command::new("load"));
            let stray = matches.ids().filter(given).find(|id| {
                let is_banks = not_for(name).contains(&id.as_str());
                is_banks || load.get_arguments().any(|arg| arg.get_id() == *id)
            });
            if let Some(stray) = stray {
                let why = format!("--{} means nothing to `client {name}`", stray.as_str().replace('_', "-"));
                return Err(Options::command().error(clap::error::ErrorKind::ArgumentConflict, why));
            }
        }
        Options::from_arg_matches(&matches)
    }
}

/// Checks a user name or password; the protocol counts its length in one byte.
fn credential(text: &str) -> Result<String, String> {
    if text.len() > crate::base::limits::MAX_CREDENTIAL_BYTES {
        return Err(format!("at most {} bytes long", crate::base::limits::MAX_CREDENTIAL_BYTES));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, clap::Error> {
        Options::try_parse_from(std::iter::once("client").chain(line.split_whitespace()))
    }

    #[test]
    fn the_command_line_is_consistent() {
        Options::command().debug_assert();
        Options::full_command().debug_assert();
    }

    #[test]
    fn nothing_at_all_is_the_default_load() {
        let options = parse("").unwrap();
        assert_eq!((options.target.host.as_str(), options.target.port), ("127.0.0.1", 7777));
        assert_eq!((options.load.threads, options.load.ops, options.load.pipeline), (100, None, 1));
        assert!(options.command.is_none());
    }

    #[test]
    fn server_options_stand_before_or_after_a_command() {
        for line in ["--port 1 balance 12", "balance 12 --port 1", "balance --port 1 12"] {
            let options = parse(line).unwrap();
            assert_eq!(options.target.port, 1, "{line}");
            assert!(matches!(options.command, Some(Command::Balance { account: 12 })));
        }
        assert!(matches!(
            parse("deposit 1 -5.00").unwrap().command,
            Some(Command::Deposit(Movement { account: 1, amount: Cents(-500), .. }))
        ));
    }

    #[test]
    fn several_servers_are_named_in_one_option() {
        for line in ["--server a:1,b:2 balance 12 --read-from any", "balance 12 --read-from any --server a:1,b:2"] {
            let options = parse(line).unwrap();
            assert_eq!(options.target.servers, ["a:1", "b:2"], "{line}");
            assert_eq!(options.target.read_from, ReadFrom::Any, "{line}");
        }
    }

    #[test]
    fn the_letters_of_getfile_are_read() {
        for line in [
            "getfile -s h -p 9 -w l -t 3 -n 5 -o d",
            "getfile --server h --port 9 --workload l --threads 3 --requests 5 --output d",
        ] {
            let options = parse(line).unwrap();
            assert_eq!((options.target.servers.as_slice(), options.target.port), (&["h".to_owned()][..], 9), "{line}");
            let Some(Command::Getfile(files)) = options.command else { panic!("{line}") };
            assert_eq!((files.threads, files.requests), (3, Some(5)), "{line}");
            assert_eq!([files.workload.unwrap(), files.output.unwrap()], ["l", "d"].map(PathBuf::from), "{line}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for line in [
            "--threads 0",
            "--pipeline 0",
            "--pipeline 1025",
            "--threads 5 --connections 5",
            "--churn --pipeline 2",
            "--churn --xor",
            "--mix x=1",
            "--rate 0",
            "--duration 5h",
            "--duration -1",
            "--accounts 9-3",
            "deposit 1",
            "deposit 1 2.345",
            "deposit 1 2 --key 12",
            "deposit 1 2 --ack-log x",
            "history 1 --all --limit 5",
            "history 1 --limit 0",
            "--server a:1 --port 2",
            "--server a:1 --host b balance 1",
            "balance 1 --read-from nobody",
            "getfile /a",
            "getfile -p 1",
            "getfile -p 1 /a -w list",
            "getfile -p 1 /a --discard",
            "getfile -p 1 -w list --check a --discard",
            "getfile -p 1 -w list -o a --check b",
            "getfile -p 1 -w list -t 0",
            "getfile -p 1 -w list -n 0",
            "dance",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn times_are_read() {
        for (text, ms) in [("500ms", 500), ("2", 2000), ("1.5s", 1500), ("2m", 120_000), ("0s", 0)] {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
    }
}
