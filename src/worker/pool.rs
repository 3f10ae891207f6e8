//! Threads for what may block, so that the event loop never does.
//!
//! The event loop hands in jobs over a bounded channel, and is woken when a finding lies in the other one.

use std::io;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded, unbounded};

/// Threads that make findings `F` of jobs `J`.
pub struct Pool<J, F> {
    jobs: Sender<J>,
    findings: Receiver<F>,
}

/// The queue of jobs is full; the job comes back.
pub struct Overloaded<J>(pub J);

impl<J: Send + 'static, F: Send + 'static> Pool<J, F> {
    /// Starts `threads` threads called `name`, with a queue of `depth` jobs between them and the event loop. `wake` is called from
    /// them whenever a finding is ready.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn start(
        name: &str,
        threads: usize,
        depth: usize,
        work: impl Fn(J) -> F + Send + Sync + 'static,
        wake: impl Fn() + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let (jobs, inbox) = bounded::<J>(depth);
        let (outbox, findings) = unbounded();
        let hands = Arc::new((work, wake));
        for number in 0..threads {
            let (inbox, outbox, hands) = (inbox.clone(), outbox.clone(), hands.clone());
            let serve = move || {
                for job in inbox {
                    let (work, wake) = &*hands;
                    if outbox.send(work(job)).is_err() {
                        return;
                    }
                    wake();
                }
            };
            std::thread::Builder::new().name(format!("{name}-{number}")).spawn(serve)?;
        }
        Ok(Pool { jobs, findings })
    }

    /// Hands in a job; never waits.
    ///
    /// # Errors
    /// [`Overloaded`].
    pub fn submit(&self, job: J) -> Result<(), Overloaded<J>> {
        self.jobs.try_send(job).map_err(|error| match error {
            TrySendError::Full(job) | TrySendError::Disconnected(job) => Overloaded(job),
        })
    }

    /// The next finding, if one is ready.
    pub fn finding(&self) -> Option<F> {
        self.findings.try_recv().ok()
    }
}
