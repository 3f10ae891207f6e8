//! What happened at the bounds of `limits`; `docs/LIMITS.md` says which counter is of which bound.

use serde::Serialize;

use super::services::{BANK, HTTP, ServiceCounts};
use crate::store::instance::stats::BoundStats;

/// What one worker has counted at its bounds.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Bounds {
    /// LOGINs that failed.
    pub logins_failed: u64,
    /// Connections closed after too many of these.
    pub closed_guessing: u64,
    /// Connections closed since they had not logged in in time.
    pub closed_without_login: u64,
    /// Connections closed since they sent too much that is thrown away.
    pub closed_flooding: u64,
    /// LOGINs that wait for a thread now.
    pub logins_waiting: u64,
    /// LOGINs refused since too many waited.
    pub logins_refused: u64,
    /// HISTORYs and TOTALS that wait for a thread now.
    pub lookups_waiting: u64,
    /// HISTORYs and TOTALS refused since too many waited.
    pub lookups_refused: u64,
    /// Silent connections closed to make room.
    pub evicted: OfService,
    /// Connections that could be, now.
    pub silent: OfService,
    /// Streams of events refused since there were too many.
    pub streams_refused: u64,
    /// Lines of the access log that were dropped.
    pub log_dropped: u64,
    /// Bytes of lines that wait for room in the access log now, of connections that have ended.
    pub log_held_bytes: u64,
}

/// A number of the two services that have had names of their own here; [`ServiceCounts`] has it for all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct OfService {
    /// Of the bank.
    pub bank: u64,
    /// Of HTTP.
    pub web: u64,
}

impl OfService {
    fn read(services: &[ServiceCounts], count: fn(&ServiceCounts) -> u64) -> Self {
        let [bank, web] = [BANK, HTTP].map(|name| ServiceCounts::find(services, name).map_or(0, count));
        OfService { bank, web }
    }
}

impl Bounds {
    /// Reads what a worker has counted.
    pub(super) fn of(stats: &BoundStats, services: &[ServiceCounts]) -> Self {
        Bounds {
            logins_failed: stats.logins_failed.get(),
            closed_guessing: stats.closed_guessing.get(),
            closed_without_login: stats.closed_without_login.get(),
            closed_flooding: stats.closed_flooding.get(),
            logins_waiting: stats.logins_waiting.get(),
            logins_refused: stats.logins_refused.get(),
            lookups_waiting: stats.lookups_waiting.get(),
            lookups_refused: stats.lookups_refused.get(),
            evicted: OfService::read(services, |service| service.evicted),
            silent: OfService::read(services, |service| service.silent),
            streams_refused: stats.streams_refused.get(),
            log_dropped: stats.log_dropped.get(),
            log_held_bytes: stats.log_held_bytes.get(),
        }
    }
}
