//! The load plan: everything that a run is to do, settled before it begins.

use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::service::bank::wire::Opcode;
use crate::tool::client::accounts::{AccountRange, AccountSampler, Skew};
use crate::tool::client::connection::Server;
use crate::tool::client::error::CommandError;
use crate::tool::client::keys::KeySource;
use crate::tool::client::mix::Mix;
use crate::tool::client::options::LoadOptions;

/// Operations per connection where neither --ops nor --duration is given.
const DEFAULT_OPS: u64 = 2000;
/// The most accounts that --verify or --skew can keep in memory.
const MAX_ACCOUNTS_IN_MEMORY: u64 = 1 << 26;

/// What drives the connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    /// A thread for each, with blocking reads.
    Threads,
    /// This many event loops.
    EventLoops(u32),
    /// A thread for each, which makes a new connection for every operation.
    Churn,
}

/// Everything that a driver needs to know.
#[derive(Debug)]
pub struct LoadPlan {
    /// The server.
    pub server: Server,
    /// How many connections.
    pub connections: u32,
    /// What drives them.
    pub driver: Driver,
    /// The most requests in flight on each.
    pub depth: usize,
    /// Operations per connection; `None` where only the time counts.
    pub ops: Option<u64>,
    /// How long to send after the warm-up.
    pub duration: Option<Duration>,
    /// How much at the beginning to leave out of the result.
    pub warmup: Duration,
    /// Operations per second over all connections, on a schedule.
    pub rate: Option<f64>,
    /// Which operations.
    pub mix: Mix,
    /// Which accounts.
    pub accounts: AccountRange,
    /// How they are drawn.
    pub sampler: AccountSampler,
    /// The seed of all random choices.
    pub seed: u64,
    /// The keys of money operations, if they carry any.
    pub keys: Option<KeySource>,
}

impl LoadPlan {
    /// Makes a plan of the options; `accounts` is how many the server has.
    ///
    /// # Errors
    /// [`CommandError::Arguments`] for options that do not go together; no random bytes for the keys.
    pub fn new(options: &LoadOptions, server: Server, accounts: u32) -> Result<LoadPlan, CommandError> {
        // PING is the one operation that needs no LOGIN; password hashing would be all that is measured.
        let only_ping = || "ping=1".parse::<Mix>().map_err(|error| CommandError::Arguments(error.to_string()));
        let mix = if options.churn { only_ping()? } else { options.mix.clone() };
        let all = AccountRange { first: 0, last: accounts.saturating_sub(1) };
        let range = options.accounts.unwrap_or(all);
        if range.count() < 2 && mix.has(Opcode::Transfer) {
            return Err(CommandError::Arguments("a transfer needs two accounts: widen --accounts".to_owned()));
        }
        if (options.verify || options.skew != Skew::Uniform) && range.count() > MAX_ACCOUNTS_IN_MEMORY {
            let why = format!("--verify and --skew can handle {MAX_ACCOUNTS_IN_MEMORY} accounts: narrow --accounts");
            return Err(CommandError::Arguments(why));
        }
        let connections = options.connections.unwrap_or(options.threads);
        let driver = if options.churn {
            Driver::Churn
        } else if options.connections.is_some() || options.rate.is_some() {
            let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
            let loops = options.loops.unwrap_or(u32::try_from(cores).unwrap_or(1));
            Driver::EventLoops(loops.min(connections))
        } else {
            Driver::Threads
        };
        let keys = if server.keyed { Some(KeySource::random()?) } else { None };
        let default_ops = options.duration.is_none().then_some(DEFAULT_OPS);
        Ok(LoadPlan {
            server,
            connections,
            driver,
            depth: options.pipeline as usize,
            ops: options.ops.or(default_ops),
            duration: options.duration,
            warmup: options.warmup,
            rate: options.rate,
            mix,
            accounts: range,
            sampler: AccountSampler::new(range, options.skew),
            // The result shows it, so that a run can be repeated.
            seed: options.seed.or_else(|| getrandom::u64().ok()).unwrap_or_default(),
            keys,
        })
    }

    /// How many threads drive the connections.
    #[must_use]
    pub fn threads(&self) -> u32 {
        match self.driver {
            Driver::Threads | Driver::Churn => self.connections,
            Driver::EventLoops(loops) => loops,
        }
    }

    /// Operations that the whole run will send, where that is known beforehand.
    #[must_use]
    pub fn total_ops(&self) -> Option<u64> {
        self.ops.map(|ops| ops.saturating_mul(u64::from(self.connections)))
    }

    /// The random numbers of one thread; each thread number has its own sequence.
    #[must_use]
    pub fn rng(&self, thread: u32) -> SmallRng {
        // Seeds beside each other would share sequences: seed 7 of thread 1, seed 8 of thread 0.
        let base = SmallRng::seed_from_u64(self.seed).next_u64();
        SmallRng::seed_from_u64(base.wrapping_add(u64::from(thread)))
    }
}
