//! Threads that walk over the keys for scans: a walk takes time in proportion to all keys there are.

use std::io;

use crate::base::limits::{KV_SCAN_THREADS, MAX_WAITING_KV_SCANS};
use crate::service::connection_state::SessionKey;
use crate::service::pool::{FairPool, Finished};
use crate::store::kv::{KvTable, Page, PageRequest};
use crate::store::ledger::Table;

type Job = (Asker, PageRequest);
/// The session that asks, and the number of the job.
type Asker = (SessionKey, u64);

/// The threads, and the scans that wait for them: one of each connection at most.
pub struct Scans {
    pool: FairPool<SessionKey, Job, (Asker, Page)>,
    /// The number of the last job.
    last: u64,
}

impl Scans {
    /// Starts the threads. `wake` is called from them when a page is there.
    ///
    /// # Errors
    /// No thread can be had.
    pub fn start(
        ledger: &'static Table,
        table: &'static KvTable,
        wake: impl Fn() + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let walk = move |(asker, request): Job| (asker, table.page(ledger, &request));
        let pool = FairPool::start("vault-scan", KV_SCAN_THREADS, MAX_WAITING_KV_SCANS, walk, wake)?;
        Ok(Scans { pool, last: 0 })
    }

    /// Hands in a scan of a session; never waits. The number of the job, and whether another one was refused for it, or this one.
    pub fn submit(&mut self, key: SessionKey, request: PageRequest) -> (u64, bool) {
        self.last += 1;
        (self.last, self.pool.submit(key, ((key, self.last), request)))
    }

    /// The next page that is there, with the session and the number of the job; no page for a scan that was refused because too many wait.
    pub fn page(&mut self) -> Option<(SessionKey, u64, Option<Page>)> {
        Some(match self.pool.done()? {
            Finished::Done(((key, job), page)) => (key, job, Some(page)),
            Finished::Refused(((key, job), _)) => (key, job, None),
        })
    }

    /// Whether [`Scans::page`] has something although no thread has called.
    #[must_use]
    pub fn has_refused(&self) -> bool {
        self.pool.has_refused()
    }

    /// Whether no thread works, and nothing waits to be taken.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.pool.is_idle()
    }

    /// Does not walk for a connection that has ended, unless that was begun.
    pub fn forget(&mut self, key: SessionKey) {
        self.pool.forget(|((other, _), _)| *other == key);
    }
}
