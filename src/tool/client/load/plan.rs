//! What a run is to do, settled before it begins, and the clock that it is measured by.

use std::time::Duration;

use crate::service::bank::wire::Opcode;
use crate::tool::client::connection::Server;
use crate::tool::client::keys::Keys;
use crate::tool::client::load::Trouble;
use crate::tool::client::mix::Mix;
use crate::tool::client::options::LoadOptions;
use crate::tool::client::skew::{AccountRange, Picker};
use crate::tool::client::time::monotonic;

/// Operations per connection where neither --ops nor --duration says otherwise.
const DEFAULT_OPS: u64 = 2000;
/// The most accounts that --verify or --skew can keep in memory.
const MOST_ACCOUNTS: u64 = 1 << 26;

/// Who drives the connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drive {
    /// A thread for each, blocking in its reads.
    Threads,
    /// This many event loops share them.
    Loops(u32),
    /// A thread for each, which makes a new one for every operation.
    Churn,
}

/// Everything a driver needs to know.
#[derive(Debug)]
pub struct Plan {
    /// Where to.
    pub server: Server,
    /// How many connections.
    pub connections: u32,
    /// Who drives them.
    pub drive: Drive,
    /// Requests under way on each.
    pub depth: usize,
    /// Operations per connection; without end where only the time counts.
    pub ops: Option<u64>,
    /// When to stop sending, after the warm-up.
    pub duration: Option<Duration>,
    /// What to leave out of the result.
    pub warmup: Duration,
    /// Operations per second over all connections, on a schedule.
    pub rate: Option<f64>,
    /// Which operations.
    pub mix: Mix,
    /// Which accounts.
    pub accounts: AccountRange,
    /// How they are drawn.
    pub picker: Picker,
    /// Where the random choices begin.
    pub seed: u64,
    /// The keys of money operations, if they carry any.
    pub keys: Option<Keys>,
}

impl Plan {
    /// Settles the options; `accounts` is how many the server has.
    ///
    /// # Errors
    /// [`Trouble::Arguments`] for options that do not go together; no random bytes for the keys.
    pub fn settle(options: &LoadOptions, server: Server, accounts: u32) -> Result<Plan, Trouble> {
        // PING is the one operation that needs no LOGIN, whose hashing would be all there is to measure.
        let mix = if options.churn { Mix::pings() } else { options.mix.clone() };
        let whole = AccountRange { first: 0, last: accounts.saturating_sub(1) };
        let range = options.accounts.unwrap_or(whole);
        if range.count() < 2 && mix.has(Opcode::Transfer) {
            return Err(Trouble::Arguments("a transfer needs two accounts: widen --accounts".to_owned()));
        }
        let keeps_table = options.verify || options.skew != crate::tool::client::skew::Skew::Uniform;
        if keeps_table && range.count() > MOST_ACCOUNTS {
            let why = format!("--verify and --skew can handle {MOST_ACCOUNTS} accounts: narrow --accounts");
            return Err(Trouble::Arguments(why));
        }
        let connections = options.connections.unwrap_or(options.threads);
        let drive = if options.churn {
            Drive::Churn
        } else if options.connections.is_some() || options.rate.is_some() {
            let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
            let loops = options.loops.unwrap_or(u32::try_from(cores).unwrap_or(1));
            Drive::Loops(loops.min(connections))
        } else {
            Drive::Threads
        };
        let keys = if server.keyed { Some(Keys::random()?) } else { None };
        let default_ops = options.duration.is_none().then_some(DEFAULT_OPS);
        Ok(Plan {
            server,
            connections,
            drive,
            depth: options.pipeline as usize,
            ops: options.ops.or(default_ops),
            duration: options.duration,
            warmup: options.warmup,
            rate: options.rate,
            mix,
            accounts: range,
            picker: Picker::new(range, options.skew),
            // A seed of our own is shown in the result, so that a run can be repeated.
            seed: options.seed.or_else(|| getrandom::u64().ok()).unwrap_or_default(),
            keys,
        })
    }

    /// How many threads drive the connections.
    #[must_use]
    pub fn threads(&self) -> u32 {
        match self.drive {
            Drive::Threads | Drive::Churn => self.connections,
            Drive::Loops(loops) => loops,
        }
    }

    /// Operations that the whole run will send, where that is known beforehand.
    #[must_use]
    pub fn total_ops(&self) -> Option<u64> {
        self.ops.map(|ops| ops.saturating_mul(u64::from(self.connections)))
    }
}

/// Nanoseconds since all connections were released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// The start by `CLOCK_MONOTONIC`, which other programs on this machine can read, too.
    start: u64,
}

impl Clock {
    /// A clock that starts now.
    #[must_use]
    pub fn start() -> Clock {
        Clock { start: monotonic() }
    }

    /// The time now.
    #[inline]
    #[must_use]
    pub fn now(self) -> u64 {
        self.relative(monotonic())
    }

    /// A time of CLOCK_MONOTONIC as this clock tells it.
    #[inline]
    #[must_use]
    pub fn relative(self, time: u64) -> u64 {
        time.saturating_sub(self.start)
    }

    /// A time of this clock as CLOCK_MONOTONIC tells it.
    #[inline]
    #[must_use]
    pub fn absolute(self, time: u64) -> u64 {
        self.start.saturating_add(time)
    }
}
