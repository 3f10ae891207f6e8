//! What may block and is done by threads: password hashing, summing up all accounts, and reading the journal. Threads that check
//! passwords do nothing else, so that nobody who is logged in waits for somebody who is not.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd;
use std::sync::{Arc, PoisonError, RwLock};

use crate::base::limits::{LOGIN_THREADS, LOOKUP_THREADS, MAX_WAITING_LOGINS, MAX_WAITING_LOOKUPS};
use crate::ipc::{net, process};
use crate::service::bank::session::bank_session::BankSession;
use crate::service::bank::session::statement_page::PageRequest;
use crate::service::bank::wire::{Next, Statement};
use crate::service::connection_state::SessionKey;
use crate::service::pool::{FairPool, Finished};
use crate::store::instance::stats::BoundStats;
use crate::store::journal::{Directory, ReadError};
use crate::store::ledger::{Table, Totals, cut};
use crate::store::users::{Known, Users};

/// What is to be done.
pub enum Job {
    /// Is this the user's password?
    Verify {
        /// The name as sent.
        user: Vec<u8>,
        /// The password as sent.
        pass: Vec<u8>,
    },
    /// Sum up all accounts.
    SumUp,
    /// Read a page of a statement.
    Read(PageRequest),
}

/// What came of it.
pub enum JobResult {
    /// Who it is whose password it is.
    Verified {
        /// The name as sent.
        user: Vec<u8>,
        /// `None` for a wrong password or an unknown user.
        known: Option<Known>,
    },
    /// The sums; `None` when no cut could be taken.
    Summed(Option<Totals>),
    /// The page.
    Read(Result<Statement, ReadError>),
    /// It was not done: too many of its kind wait.
    Refused,
}

/// A job, and the session that waits for it.
pub type Submission = (SessionKey, Job);

/// What the threads know that do the jobs.
pub struct JobRunner {
    table: &'static Table,
    /// Where statements are read from; `None` where the ledger is in memory only.
    journal: Option<Directory>,
    users: RwLock<Arc<Users>>,
}

impl JobRunner {
    /// Pages are read from `journal`, and are empty where there is none.
    #[must_use]
    pub fn new(table: &'static Table, users: Arc<Users>, journal: Option<Directory>) -> Self {
        JobRunner { table, journal, users: RwLock::new(users) }
    }

    /// Has passwords compared with those of `users` from now on; who is logged in stays so.
    pub fn replace_users(&self, users: Users) {
        *self.users.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(users);
    }

    /// Does one; may take its time.
    pub fn run(&self, (key, job): Submission) -> (SessionKey, JobResult) {
        let result = match job {
            Job::Verify { user, pass } => {
                let users = self.users.read().unwrap_or_else(PoisonError::into_inner).clone();
                let known = users.verify(&user, &pass);
                JobResult::Verified { user, known }
            }
            Job::SumUp => JobResult::Summed(cut::take(self.table)),
            Job::Read(page) => JobResult::Read(self.read(page)),
        };
        (key, result)
    }

    /// A ledger that is in memory only keeps no records.
    fn read(&self, page: PageRequest) -> Result<Statement, ReadError> {
        let nothing = || Ok(Statement { entries: Vec::new(), next: Next::Trimmed });
        self.journal.as_ref().map_or_else(nothing, |directory| page.read(directory))
    }
}

/// The niceness of threads that check passwords: they keep a core busy as long as any LOGIN waits, and are to have what others leave.
const LOGIN_NICENESS: i32 = 10;

type Done = (SessionKey, JobResult);

/// Two pools with their queues. In each of them those who wait are served in turn: LOGINs by the address they come from, the
/// others by user.
pub struct BlockingPools {
    logins: FairPool<IpAddr, Submission, Done>,
    lookups: FairPool<u32, Submission, Done>,
    stats: &'static BoundStats,
}

impl BlockingPools {
    /// Starts the threads. `wake` is called from them when something is done.
    ///
    /// # Errors
    /// No thread can be had.
    pub fn start(
        runner: &Arc<JobRunner>,
        stats: &'static BoundStats,
        wake: impl Fn() + Clone + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let (verifier, reader) = (runner.clone(), runner.clone());
        let verify = move |job| {
            // Each time, which is nothing beside the work: the first time is not told from others.
            process::give_way(LOGIN_NICENESS);
            verifier.run(job)
        };
        let look_up = move |job| reader.run(job);
        let logins = FairPool::start("vault-login", LOGIN_THREADS, MAX_WAITING_LOGINS, verify, wake.clone())?;
        let lookups = FairPool::start("vault-lookup", LOOKUP_THREADS, MAX_WAITING_LOOKUPS, look_up, wake)?;
        stats.logins_waiting.set(0);
        stats.lookups_waiting.set(0);
        Ok(BlockingPools { logins, lookups, stats })
    }

    /// Hands in a job of `session`; never waits.
    pub fn submit(&mut self, session: &BankSession, job: Job) {
        let key = session.state.key();
        if let Job::Verify { .. } = job {
            let peer = net::peer_address(session.state.connection.as_fd());
            let peer = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| network_of(peer.ip()));
            let refused = self.logins.submit(peer, (key, job));
            self.stats.logins_refused.add(refused.into());
        } else {
            let user = session.data.login.map_or(0, |login| login.principal);
            let refused = self.lookups.submit(user, (key, job));
            self.stats.lookups_refused.add(refused.into());
        }
        self.show();
    }

    /// What came of the next job that is done, or refused because too many wait.
    pub fn result(&mut self) -> Option<(SessionKey, JobResult)> {
        let done = self.lookups.done().or_else(|| self.logins.done())?;
        self.show();
        Some(match done {
            Finished::Done(done) => done,
            Finished::Refused((key, _)) => (key, JobResult::Refused),
        })
    }

    /// Whether [`BlockingPools::result`] has something although no thread has called.
    #[must_use]
    pub fn has_refused(&self) -> bool {
        self.logins.has_refused() || self.lookups.has_refused()
    }

    /// Whether no thread works, and nothing waits to be taken.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.logins.is_idle() && self.lookups.is_idle()
    }

    /// Does not do what a connection that has ended has asked for, unless it was begun.
    pub fn forget(&mut self, key: SessionKey) {
        self.logins.forget(|(other, _)| *other == key);
        self.lookups.forget(|(other, _)| *other == key);
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
