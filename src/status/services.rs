//! The connections of each service, by the names that shared memory has for them: also of services that this program does not know.

use serde::Serialize;

use crate::store::connection::ServiceId;
use crate::store::instance::Instance;
use crate::store::instance::control::{Control, WorkerRow};

/// The service whose counters have fields of their own in a sample, beside those of all services.
pub(super) const BANK: &str = "bank";
/// The other one, which these fields call `web`.
pub(super) const HTTP: &str = "http";

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
