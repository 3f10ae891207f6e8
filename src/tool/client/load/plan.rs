//! The load plan: everything that a run is to do, settled before it begins.

use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::service::bank::wire::Opcode;
use crate::tool::client::accounts::{AccountRange, AccountSampler};
use crate::tool::client::clock::nanoseconds;
use crate::tool::client::connection::Server;
use crate::tool::client::error::CommandError;
use crate::tool::client::keys::KeySource;
use crate::tool::client::options::LoadOptions;
use crate::tool::client::sampler::Skew;

/// Operations per connection where neither --ops nor --duration is given.
pub const DEFAULT_OPS: u64 = 2000;
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

impl Driver {
    /// How many event loops there are, if it is them.
    pub fn event_loops(self) -> Option<u32> {
        match self {
            Driver::Threads | Driver::Churn => None,
            Driver::EventLoops(loops) => Some(loops),
        }
    }
}

/// The open-loop schedule: operation k of the run is due k / rate seconds after the start, whatever became of those before it, and
/// belongs to connection k modulo the number of connections. Latencies count from the due time, not from the sending, so that a
/// slow reply does not hide the requests that it delayed.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    nanoseconds_per_op: f64,
    connections: u32,
}

impl Schedule {
    pub fn new(rate: f64, connections: u32) -> Schedule {
        Schedule { nanoseconds_per_op: 1e9 / rate, connections }
    }

    /// When the `nth` operation (from 0) of a connection is due, nanoseconds since the start.
    #[inline]
    pub fn due(&self, connection: u32, nth: u64) -> u64 {
        // 2^53 operations are years at any rate; a product beyond 64 bits saturates and is never due.
        #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let due = ((nth as f64 * f64::from(self.connections) + f64::from(connection)) * self.nanoseconds_per_op) as u64;
        due
    }
}

/// What every run has, whatever its protocol.
#[derive(Debug)]
pub struct RunPlan {
    pub server: Server,
    pub connections: u32,
    pub driver: Driver,
    /// The most requests in flight on each.
    pub depth: usize,
    /// When operations are due, where there is a rate.
    pub schedule: Option<Schedule>,
    /// Operations for each connection; `None` where only the time counts.
    pub ops: Option<u64>,
    /// For how long operations are sent, behind the warm-up.
    pub duration: Option<Duration>,
    /// What is sent before this is over is left out of the result.
    pub warmup: Duration,
    /// The seed of all random choices.
    pub seed: u64,
}

impl RunPlan {
    pub fn threads(&self) -> u32 {
        match self.driver {
            Driver::Threads | Driver::Churn => self.connections,
            Driver::EventLoops(loops) => loops,
        }
    }

    /// Operations that the whole run will send, where that is known beforehand.
    pub fn total_ops(&self) -> Option<u64> {
        self.ops.map(|ops| ops.saturating_mul(u64::from(self.connections)))
    }

    /// From the end of the warm-up to the last reply, seconds.
    pub fn measured_seconds(&self, last_reply: u64) -> f64 {
        Duration::from_nanos(last_reply.saturating_sub(nanoseconds(self.warmup))).as_secs_f64()
    }

    /// The random numbers of one thread; each thread number has its own sequence.
    pub fn rng(&self, thread: u32) -> SmallRng {
        // Seeds beside each other would share sequences: seed 7 of thread 1, seed 8 of thread 0.
        let base = SmallRng::seed_from_u64(self.seed).next_u64();
        SmallRng::seed_from_u64(base.wrapping_add(u64::from(thread)))
    }
}

/// So many event loops as there are cores, where none are asked for, and no more than connections.
pub fn event_loops(asked: Option<u32>, connections: u32) -> Driver {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    Driver::EventLoops(asked.unwrap_or(u32::try_from(cores).unwrap_or(1)).min(connections))
}

/// The seed that is asked for, or a random one; the result shows it, so that a run can be repeated.
pub fn seed(asked: Option<u64>) -> u64 {
    asked.or_else(|| getrandom::u64().ok()).unwrap_or_default()
}

/// Everything that a driver of the ledger's load needs to know.
#[derive(Debug)]
pub struct LoadPlan {
    pub run: RunPlan,
    /// The options; the mix is what will be sent.
    pub options: LoadOptions,
    pub accounts: AccountRange,
    pub sampler: AccountSampler,
    /// The keys of money operations, if they carry any.
    pub keys: Option<KeySource>,
}

impl AsRef<RunPlan> for LoadPlan {
    fn as_ref(&self) -> &RunPlan {
        &self.run
    }
}

impl LoadPlan {
    /// Makes a plan of the options; `accounts` is how many the server has. An error for options that do not go together.
    pub fn new(options: &LoadOptions, server: Server, accounts: u32) -> Result<LoadPlan, CommandError> {
        let mut options = options.clone();
        if options.churn {
            // PING is the one operation that needs no LOGIN; password hashing would be all that is measured.
            options.mix = "ping=1".parse().map_err(CommandError::Unusable)?;
        }
        let all = AccountRange { first: 0, last: accounts.saturating_sub(1) };
        let range = options.accounts.unwrap_or(all);
        if range.count() < 2 && options.mix.has(Opcode::Transfer) {
            return Err(CommandError::Unusable("a transfer needs two accounts: widen --accounts".to_owned()));
        }
        if (options.verify || options.skew != Skew::Uniform) && range.count() > MAX_ACCOUNTS_IN_MEMORY {
            let why = format!("--verify and --skew can handle {MAX_ACCOUNTS_IN_MEMORY} accounts: narrow --accounts");
            return Err(CommandError::Unusable(why));
        }
        let connections = options.connections.unwrap_or(options.threads);
        let driver = if options.churn {
            Driver::Churn
        } else if options.connections.is_some() || options.rate.is_some() {
            event_loops(options.loops, connections)
        } else {
            Driver::Threads
        };
        let keys = server.key_source()?;
        let run = RunPlan {
            server,
            connections,
            driver,
            depth: options.pipeline as usize,
            schedule: options.rate.map(|rate| Schedule::new(rate, connections)),
            ops: options.ops.or(options.duration.is_none().then_some(DEFAULT_OPS)),
            duration: options.duration,
            warmup: options.warmup,
            seed: seed(options.seed),
        };
        let sampler = AccountSampler::new(range, options.skew);
        Ok(LoadPlan { run, accounts: range, sampler, keys, options })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_spread_evenly_over_time_and_connections() {
        let schedule = Schedule::new(1000.0, 10);
        assert_eq!(schedule.due(0, 0), 0);
        assert_eq!(schedule.due(3, 0), 3_000_000);
        assert_eq!(schedule.due(0, 1), 10_000_000);
        let second =
            (0..10).map(|connection| (0..1000).filter(|&nth| schedule.due(connection, nth) < 1_000_000_000).count());
        assert_eq!(second.sum::<usize>(), 1000);
        assert_eq!(Schedule::new(0.001, 100_000).due(0, u64::MAX), u64::MAX);
    }
}
