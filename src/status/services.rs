//! The connections of each service, by the names that shared memory has for them: also of services that this program does not know.
//! And what happened at the bounds of `limits`; `docs/LIMITS.md` says which counter is of which bound.

use serde::Serialize;

use crate::store::connection::ServiceId;
use crate::store::instance::Instance;
use crate::store::instance::control::{Control, KV_SERVICE, WorkerRow};
use crate::store::instance::stats::BoundStats;

/// The service whose counters have fields of their own in a sample, beside those of all services.
pub(super) const BANK: &str = "bank";
/// The other one, which these fields call `web`.
pub(super) const HTTP: &str = "http";
/// The third one, which these fields call `getfile`.
pub(super) const GETFILE: &str = "getfile";
/// The fourth one, whose name these fields have.
pub(super) const KV: &str = KV_SERVICE;

/// What one worker has counted of the connections of one service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ServiceCounts {
    /// The service's name.
    pub name: String,
    /// Connections that are open, those that are closing included.
    pub connections: u64,
    /// Connections that came from their clients.
    pub accepted: u64,
    /// Connections that ended.
    pub closed: u64,
    /// Connections turned away because there was no room.
    pub refused: u64,
    /// Silent connections closed to make room.
    pub evicted: u64,
    /// Connections that could be, now.
    pub silent: u64,
    /// Connections that were told that nothing more comes, and have not closed yet.
    pub closing: u64,
    /// Connections that wait for the log now: with replies that show what is not committed, or with a request that cannot be carried out
    /// yet. Only services whose replies show operations have any.
    pub waiting: u64,
}

impl ServiceCounts {
    /// Reads what the worker of `row` has counted of each of the instance's services.
    pub(super) fn all(instance: &Instance, row: &WorkerRow) -> Vec<ServiceCounts> {
        let of = |(service, name): (ServiceId, String)| {
            let stats = &row.stats.services[service.index()];
            ServiceCounts {
                name,
                connections: stats.connections.get(),
                accepted: stats.accepted.get(),
                closed: stats.closed.get(),
                refused: stats.refused.get(),
                evicted: stats.evicted.get(),
                silent: stats.silent.get(),
                closing: stats.closing.get(),
                waiting: stats.waiting.get(),
            }
        };
        instance.control().services().map(of).collect()
    }

    /// The one of that name.
    pub(super) fn find<'a>(all: &'a [ServiceCounts], name: &str) -> Option<&'a ServiceCounts> {
        all.iter().find(|service| service.name == name)
    }
}

/// Where a service listens.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ServiceAddress {
    /// The service's name.
    pub name: String,
    /// Host and port.
    pub address: String,
}

impl ServiceAddress {
    /// Those of all services that listen.
    pub(super) fn all(control: &Control) -> Vec<ServiceAddress> {
        let all = control.services().map(|(service, name)| ServiceAddress { name, address: control.address(service) });
        all.filter(|service| !service.address.is_empty()).collect()
    }
}

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
