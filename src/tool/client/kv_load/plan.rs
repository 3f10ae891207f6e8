//! The plan of a run: what is to be sent, settled before it begins.

use std::sync::Arc;

use rand::RngExt;
use rand::rngs::SmallRng;

use crate::base::limits::MAX_KV_KEY_BYTES;
use crate::base::onc_rpc::{AuthSys, Credentials};
use crate::tool::client::connection::Server;
use crate::tool::client::error::CommandError;
use crate::tool::client::keys::KeySource;
use crate::tool::client::kv_load::options::{KvLoadOptions, ValueBytes};
use crate::tool::client::kv_load::values::{STAMP_BYTES, Values};
use crate::tool::client::kv_load::verifier::Verifier;
use crate::tool::client::load::plan::{DEFAULT_OPS, Driver, RunPlan, Schedule, event_loops};
use crate::tool::client::sampler::{Sampler, Skew};

/// Requests in flight on each connection while every key is given a value.
const PREFILL_DEPTH: usize = 64;

/// What a run is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Every key is given a value.
    Prefill,
    /// What the options ask for.
    Measured,
}

/// Everything that a driver of the load needs to know.
#[derive(Debug)]
pub struct KvPlan {
    pub run: RunPlan,
    pub phase: Phase,
    pub keys: u32,
    pub key_bytes: usize,
    pub value_bytes: ValueBytes,
    pub zipf: f64,
    pub read_share: f64,
    sampler: Sampler,
    /// The request ids of PUTs, if they carry any.
    pub ids: Option<KeySource>,
    pub uid: Option<u32>,
    pub rate: Option<f64>,
    pub values: Values,
    /// Checks the answers, if they are to be.
    pub verifier: Option<Arc<Verifier>>,
}

impl AsRef<RunPlan> for KvPlan {
    fn as_ref(&self) -> &RunPlan {
        &self.run
    }
}

/// How many connections there are.
pub fn connections(options: &KvLoadOptions) -> u32 {
    options.connections.unwrap_or(options.threads)
}

/// Refuses options that do not go together.
pub fn check(options: &KvLoadOptions) -> Result<(), CommandError> {
    let digits = (options.keys - 1).checked_ilog10().map_or(1, |log| log + 1);
    if u32::from(options.key_bytes) < digits {
        let why = format!("{} keys need {digits} bytes each: give --key-bytes", options.keys);
        return Err(CommandError::Unusable(why));
    }
    if options.verify && (options.value_bytes.least as usize) < STAMP_BYTES {
        let why = format!("--verify needs values of at least {STAMP_BYTES} bytes: give --value-bytes");
        return Err(CommandError::Unusable(why));
    }
    Ok(())
}

impl KvPlan {
    /// Makes a plan of options that were checked.
    pub fn new(
        options: &KvLoadOptions,
        server: Server,
        phase: Phase,
        seed: u64,
        verifier: Option<Arc<Verifier>>,
    ) -> Result<KvPlan, CommandError> {
        let connections = connections(options);
        let driver = if options.connections.is_some() || options.rate.is_some() || phase == Phase::Prefill {
            event_loops(options.loops, connections)
        } else {
            // A loop for each connection.
            Driver::EventLoops(connections)
        };
        let mut run = RunPlan {
            connections,
            driver,
            depth: options.pipeline as usize,
            schedule: options.rate.map(|rate| Schedule::new(rate, connections)),
            ops: options.ops.or(options.duration.is_none().then_some(DEFAULT_OPS)),
            duration: options.duration,
            warmup: options.warmup,
            seed,
            server,
        };
        if phase == Phase::Prefill {
            run.depth = PREFILL_DEPTH;
            run.ops = Some(u64::from(options.keys.div_ceil(connections)));
            (run.schedule, run.duration, run.warmup) = (None, None, std::time::Duration::ZERO);
        }
        let skew = if options.zipf > 0.0 { Skew::Zipf(options.zipf) } else { Skew::Uniform };
        Ok(KvPlan {
            ids: run.server.key_source()?,
            phase,
            keys: options.keys,
            key_bytes: options.key_bytes.into(),
            value_bytes: options.value_bytes,
            zipf: options.zipf,
            read_share: options.read_share,
            sampler: Sampler::new(options.keys - 1, skew),
            uid: options.uid,
            rate: options.rate,
            values: Values::new(seed, options.verify),
            verifier,
            run,
        })
    }

    /// Who calls.
    pub fn credentials(&self) -> Credentials<'static> {
        credentials(self.uid)
    }

    /// The number by which the values of a connection are known: another one in each phase.
    #[inline]
    pub fn writer(&self, connection: u32) -> u32 {
        match self.phase {
            Phase::Measured => connection,
            Phase::Prefill => self.run.connections + connection,
        }
    }

    /// The key that a connection writes as the `nth` while all of them are given values.
    pub fn nth_key(&self, connection: u32, nth: u64) -> Option<u32> {
        let key = nth * u64::from(self.run.connections) + u64::from(connection);
        u32::try_from(key).ok().filter(|key| *key < self.keys)
    }

    /// Whether the next operation is a GET.
    #[inline]
    pub fn draws_read(&self, rng: &mut SmallRng) -> bool {
        self.phase == Phase::Measured && rng.random::<f64>() < self.read_share
    }

    /// Which key is next.
    #[inline]
    pub fn draw_key(&self, rng: &mut SmallRng) -> u32 {
        self.sampler.sample(rng)
    }

    /// How long the next value is.
    #[inline]
    pub fn draw_length(&self, rng: &mut SmallRng) -> u32 {
        let ValueBytes { least, most } = self.value_bytes;
        if least == most { least } else { rng.random_range(self.value_bytes.range()) }
    }

    /// The key's name in `name`: its number in decimal digits, with zeros in front.
    #[inline]
    pub fn key_name<'n>(&self, key: u32, name: &'n mut [u8; MAX_KV_KEY_BYTES]) -> &'n [u8] {
        let name = &mut name[..self.key_bytes];
        name.fill(b'0');
        let mut left = key;
        for place in name.iter_mut().rev() {
            if left == 0 {
                break;
            }
            // Below ten.
            #[allow(clippy::cast_possible_truncation)]
            let digit = (left % 10) as u8;
            *place = b'0' + digit;
            left /= 10;
        }
        name
    }
}

/// The credentials of a user, or none.
pub fn credentials(uid: Option<u32>) -> Credentials<'static> {
    uid.map_or(Credentials::None, |uid| {
        Credentials::Sys(AuthSys { machine_name: b"client", uid, gid: uid, ..AuthSys::default() })
    })
}
