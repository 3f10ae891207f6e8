//! The threads for what may block of the bank's business. Those that check passwords do nothing else: whoever is not logged in
//! keeps nobody waiting who is.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd;
use std::sync::Arc;

use crate::base::limits::{LOGIN_THREADS, LOOKUP_THREADS, MAX_WAITING_LOGINS, MAX_WAITING_LOOKUPS};
use crate::ipc::{net, process};
use crate::service::bank::session::errands::{Errand, Finding, Job, Office, Waiting};
use crate::service::bank::session::guest::Guest;
use crate::service::pool::{Done, FairPool};
use crate::store::instance::stats::BoundStats;

/// The niceness of threads that check passwords: they keep a core busy as long as any LOGIN waits, and are to have what others leave.
const LOGIN_NICENESS: i32 = 10;

type Findings = (Waiting, Finding);

/// Two pools with their queues. In each of them those who wait are served in turn: LOGINs by the address they come from, the
/// others by user.
pub struct Clerks {
    logins: FairPool<IpAddr, Errand, Findings>,
    lookups: FairPool<u32, Errand, Findings>,
    stats: &'static BoundStats,
}

impl Clerks {
    /// Starts the threads. `wake` is called from them when something is done.
    ///
    /// # Errors
    /// No thread can be had.
    pub fn start(
        office: &Arc<Office>,
        stats: &'static BoundStats,
        wake: impl Fn() + Clone + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let (verifier, reader) = (office.clone(), office.clone());
        let verify = move |errand| {
            // Each time, which is nothing beside the work: the first time is not told from others.
            process::give_way(LOGIN_NICENESS);
            verifier.run(errand)
        };
        let look_up = move |errand| reader.run(errand);
        let logins = FairPool::start("vault-login", LOGIN_THREADS, MAX_WAITING_LOGINS, verify, wake.clone())?;
        let lookups = FairPool::start("vault-lookup", LOOKUP_THREADS, MAX_WAITING_LOOKUPS, look_up, wake)?;
        stats.logins_waiting.set(0);
        stats.lookups_waiting.set(0);
        Ok(Clerks { logins, lookups, stats })
    }

    /// Hands in a job of `guest`; never waits.
    pub fn submit(&mut self, waiting: Waiting, job: Job, guest: &Guest) {
        if let Job::Verify { .. } = job {
            let peer = net::peer_address(guest.connection.as_fd());
            let peer = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| network_of(peer.ip()));
            let refused = self.logins.submit(peer, (waiting, job));
            self.stats.logins_refused.add(refused.into());
        } else {
            let user = guest.session.map_or(0, |session| session.principal);
            let refused = self.lookups.submit(user, (waiting, job));
            self.stats.lookups_refused.add(refused.into());
        }
        self.show();
    }

    /// What came of the next job that is done, or refused because too many wait.
    pub fn finding(&mut self) -> Option<(Waiting, Finding)> {
        let done = self.lookups.done().or_else(|| self.logins.done())?;
        self.show();
        Some(match done {
            Done::Found(found) => found,
            Done::Refused((waiting, _)) => (waiting, Finding::Refused),
        })
    }

    /// Whether [`Clerks::finding`] has something although no thread has called.
    #[must_use]
    pub fn has_refused(&self) -> bool {
        self.logins.has_refused() || self.lookups.has_refused()
    }

    /// Does not do what a connection that has ended has asked for, unless it was begun.
    pub fn forget(&mut self, waiting: Waiting) {
        self.logins.forget(|(other, _)| *other == waiting);
        self.lookups.forget(|(other, _)| *other == waiting);
        self.show();
    }

    fn show(&self) {
        self.stats.logins_waiting.set(self.logins.waiting() as u64);
        self.stats.lookups_waiting.set(self.lookups.waiting() as u64);
    }
}

/// Whom an address belongs to: of IPv6, one subscriber has at least a /64 (RFC 6177).
fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((u128::from(address) >> 64 << 64).into()),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_subscriber_is_one_owner() {
        let of = |text: &str| network_of(text.parse().unwrap()).to_string();
        assert_eq!(of("192.0.2.7"), "192.0.2.7");
        assert_eq!(of("::ffff:192.0.2.7"), "192.0.2.7");
        assert_eq!(of("2001:db8:1:2:aaaa::1"), of("2001:db8:1:2::2"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
    }
}
