//! Threads for what may block: password hashing, and summing up all accounts.
//!
//! The event loop hands in jobs over a bounded channel, and is woken when a result lies in the other one.

use std::sync::{Arc, PoisonError, RwLock};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded, unbounded};

use crate::ledger::{Table, Totals, cut};
use crate::service::users::{Role, Users};

/// Jobs that may wait for a thread; a connection has at most one at a time, so this is far from the usual.
const QUEUE: usize = 1024;
/// Threads of the pool.
const THREADS: usize = 2;

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
}

/// What came of it.
pub enum Finding {
    /// The role of a user whose password it is.
    Verified {
        /// The name as sent.
        user: Vec<u8>,
        /// `None` for a wrong password or an unknown user.
        role: Option<Role>,
    },
    /// The sums; `None` when no cut could be taken.
    Summed(Option<Totals>),
}

/// Who waits for a job: a connection slot in one of its lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// The slot.
    pub slot: u32,
    /// Its life.
    pub generation: u32,
}

/// The pool of one worker.
pub struct Pool {
    jobs: Sender<(Waiting, Job)>,
    findings: Receiver<(Waiting, Finding)>,
    users: Arc<RwLock<Arc<Users>>>,
}

/// The queue of jobs is full.
pub struct Overloaded;

impl Pool {
    /// Starts the threads. `wake` is called from them whenever a result is ready.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn start(
        table: &'static Table,
        users: Arc<Users>,
        wake: impl Fn() + Send + Sync + 'static,
    ) -> std::io::Result<Self> {
        let (jobs, inbox) = bounded::<(Waiting, Job)>(QUEUE);
        let (outbox, findings) = unbounded();
        let wake = Arc::new(wake);
        let users = Arc::new(RwLock::new(users));
        for number in 0..THREADS {
            let (inbox, outbox, wake, users) = (inbox.clone(), outbox.clone(), wake.clone(), users.clone());
            let work = move || {
                for (waiting, job) in inbox {
                    let finding = match job {
                        Job::Verify { user, pass } => {
                            let known = users.read().unwrap_or_else(PoisonError::into_inner).clone();
                            let role = known.verify(&user, &pass);
                            Finding::Verified { user, role }
                        }
                        Job::SumUp => Finding::Summed(cut::take(table)),
                    };
                    if outbox.send((waiting, finding)).is_err() {
                        return;
                    }
                    wake();
                }
            };
            std::thread::Builder::new().name(format!("vault-pool-{number}")).spawn(work)?;
        }
        Ok(Pool { jobs, findings, users })
    }

    /// Has passwords compared with those of `users` from now on; who is logged in stays so.
    pub fn replace_users(&self, users: Users) {
        *self.users.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(users);
    }

    /// Hands in a job; never waits.
    ///
    /// # Errors
    /// [`Overloaded`].
    pub fn submit(&self, waiting: Waiting, job: Job) -> Result<(), Overloaded> {
        self.jobs.try_send((waiting, job)).map_err(|error| match error {
            TrySendError::Full(_) | TrySendError::Disconnected(_) => Overloaded,
        })
    }

    /// The next result, if one is ready.
    pub fn finding(&self) -> Option<(Waiting, Finding)> {
        self.findings.try_recv().ok()
    }
}
