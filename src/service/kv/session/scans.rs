//! Threads that walk over the keys for scans: a walk takes time in proportion to all keys there are.

use std::io;

use crate::base::limits::{KV_SCAN_THREADS, MAX_WAITING_KV_SCANS};
use crate::service::connection_state::SessionKey;
use crate::service::pool::{FairPool, Finished};
use crate::store::kv::{KvTable, Page, PageRequest};
use crate::store::ledger::Table;

type Job = (SessionKey, PageRequest);

/// The threads, and the scans that wait for them: one of each connection at most.
pub struct Scans(FairPool<SessionKey, Job, (SessionKey, Page)>);

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
        let walk = move |(key, request): Job| (key, table.page(ledger, &request));
        Ok(Scans(FairPool::start("vault-scan", KV_SCAN_THREADS, MAX_WAITING_KV_SCANS, walk, wake)?))
    }

    /// Hands in a scan of a session; never waits. Whether another one was refused for it, or this one.
    pub fn submit(&mut self, key: SessionKey, request: PageRequest) -> bool {
        self.0.submit(key, (key, request))
    }

    /// The next page that is there; `None` for a scan that was refused because too many wait.
    pub fn page(&mut self) -> Option<(SessionKey, Option<Page>)> {
        Some(match self.0.done()? {
            Finished::Done((key, page)) => (key, Some(page)),
            Finished::Refused((key, _)) => (key, None),
        })
    }

    /// Whether [`Scans::page`] has something although no thread has called.
    #[must_use]
    pub fn has_refused(&self) -> bool {
        self.0.has_refused()
    }

    /// Whether no thread works, and nothing waits to be taken.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.0.is_idle()
    }

    /// Does not walk for a connection that has ended, unless that was begun.
    pub fn forget(&mut self, key: SessionKey) {
        self.0.forget(|(other, _)| *other == key);
    }
}
