//! What may block and is done by threads: password hashing, summing up all accounts, and reading the journal.

use std::sync::{Arc, PoisonError, RwLock};

use crate::service::bank::session::statement_page::PageRequest;
use crate::service::bank::wire::{Next, Statement};
use crate::service::connection_state::SessionKey;
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
    /// Where statements are read from; `None` where the books are in memory only.
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

    /// Books that are in memory only keep no records.
    fn read(&self, page: PageRequest) -> Result<Statement, ReadError> {
        let nothing = || Ok(Statement { entries: Vec::new(), next: Next::Trimmed });
        self.journal.as_ref().map_or_else(nothing, |directory| page.read(directory))
    }
}
