//! The threads that fetch, and what the shell has of each fetch.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded};

use super::failure::Failure;
use crate::base::limits::{MAX_UPSTREAM_QUEUED, UPSTREAM_CHUNKS};
use crate::process::cache::core::Head;

/// What the origin says.
#[derive(Debug, PartialEq, Eq)]
pub enum Said {
    /// What is said before any content. Where there is none, nothing else follows.
    Head(Head),
    /// Some of the content.
    Chunk(Box<[u8]>),
    /// The content is whole. Nothing else follows.
    Whole,
    /// The fetch has failed. Nothing else follows.
    Failed(Failure),
}

/// Called, on any thread, when there is more to take of a transfer.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// What the threads do.
pub trait Fetcher: Send + Sync + 'static {
    /// What is to be fetched.
    type Wanted: Send + 'static;

    /// Fetches; may take its time. Tells `to` all but the last, and returns that, unless nobody listens any more.
    fn fetch(&self, wanted: &Self::Wanted, to: &Listener) -> Option<Said>;
}

/// Threads that fetch; as many as there is something to do for, up to a bound.
pub struct Threads<F: Fetcher> {
    shared: Arc<Shared<F>>,
    jobs: Sender<Job<F::Wanted>>,
    queued: Receiver<Job<F::Wanted>>,
}

struct Shared<F> {
    fetcher: F,
    wake: Wake,
    name: &'static str,
    most: usize,
    threads: AtomicUsize,
    /// Jobs that are not done.
    open_jobs: AtomicUsize,
}

struct Job<W> {
    wanted: W,
    listener: Listener,
}

/// Who is told what comes of a fetch.
pub struct Listener {
    out: Sender<Said>,
    wake: Wake,
    cancel: Arc<Cancel>,
}

/// How a transfer is cancelled that has a thread.
#[derive(Default)]
struct Cancel {
    is_cancelled: AtomicBool,
    /// Ends what the thread waits for, while it does.
    interrupt: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

/// One fetch, as the shell has it. Dropping it cancels it.
pub struct Transfer {
    said: Receiver<Said>,
    cancel: Arc<Cancel>,
}

/// Who panics while holding one of these has changed nothing by halves.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<F: Fetcher> Threads<F> {
    /// Up to `most` threads of this name, none of which runs yet. `wake` is called when one of the transfers has something to say.
    #[must_use]
    pub fn new(fetcher: F, name: &'static str, most: usize, wake: Wake) -> Self {
        let (jobs, queued) = bounded(MAX_UPSTREAM_QUEUED);
        let (threads, open_jobs) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Threads { shared: Arc::new(Shared { fetcher, wake, name, most, threads, open_jobs }), jobs, queued }
    }

    /// What the threads do it by.
    #[must_use]
    pub fn fetcher(&self) -> &F {
        &self.shared.fetcher
    }

    /// Begins to fetch, once a thread is free.
    ///
    /// # Errors
    /// [`Failure::NoThread`].
    pub fn fetch(&self, wanted: F::Wanted) -> Result<Transfer, Failure> {
        let (out, said) = bounded(UPSTREAM_CHUNKS);
        let cancel = Arc::new(Cancel::default());
        let listener = Listener { out, wake: self.shared.wake.clone(), cancel: cancel.clone() };
        let transfer = Transfer { said, cancel };
        // It counts before a thread can have done it.
        self.shared.open_jobs.fetch_add(1, Ordering::SeqCst);
        if self.jobs.try_send(Job { wanted, listener }).is_err() {
            self.shared.open_jobs.fetch_sub(1, Ordering::SeqCst);
            return Err(Failure::NoThread);
        }
        self.start_thread()?;
        Ok(transfer)
    }

    /// One thread more, if all have something to do. Where none can be had, those that there are have to do.
    fn start_thread(&self) -> Result<(), Failure> {
        let shared = &self.shared;
        let threads = shared.threads.load(Ordering::SeqCst);
        if threads >= shared.most || threads >= shared.open_jobs.load(Ordering::SeqCst) {
            return Ok(());
        }
        let (queued, of_thread) = (self.queued.clone(), shared.clone());
        shared.threads.fetch_add(1, Ordering::SeqCst);
        let started = thread::Builder::new().name(shared.name.to_owned()).spawn(move || of_thread.work(&queued));
        if started.is_ok() {
            return Ok(());
        }
        shared.threads.fetch_sub(1, Ordering::SeqCst);
        if threads > 0 { Ok(()) } else { Err(Failure::NoThread) }
    }
}

impl<F: Fetcher> Shared<F> {
    /// What a thread does until nobody has anything to fetch any more.
    fn work(&self, jobs: &Receiver<Job<F::Wanted>>) {
        while let Ok(job) = jobs.recv() {
            if let Some(said) = self.fetcher.fetch(&job.wanted, &job.listener) {
                job.listener.say(said);
            }
            self.open_jobs.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

impl Listener {
    /// Waits until there is room to say it. Returns whether anybody listens.
    pub fn say(&self, said: Said) -> bool {
        let is_heard = self.out.send(said).is_ok();
        if is_heard {
            (self.wake)();
        }
        is_heard
    }

    /// Whether anybody listens.
    #[must_use]
    pub fn is_there(&self) -> bool {
        !self.cancel.is_cancelled.load(Ordering::SeqCst)
    }

    /// From now on this is called when nobody listens any more, on another thread. Returns whether anybody does.
    pub fn on_cancel(&self, interrupt: impl FnOnce() + Send + 'static) -> bool {
        let mut place = lock(&self.cancel.interrupt);
        let is_wanted = self.is_there();
        *place = is_wanted.then(|| Box::new(interrupt) as Box<dyn FnOnce() + Send>);
        is_wanted
    }

    /// From now on nothing is called. Returns whether nothing was.
    pub fn off_cancel(&self) -> bool {
        lock(&self.cancel.interrupt).take().is_some()
    }
}

impl Transfer {
    /// What the origin has said next, if it has.
    pub fn next(&self) -> Option<Said> {
        match self.said.try_recv() {
            Ok(said) => Some(said),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(Said::Failed(Failure::NoThread)),
        }
    }
}

impl fmt::Debug for Transfer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a transfer of which {} are to be taken", self.said.len())
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        self.cancel.is_cancelled.store(true, Ordering::SeqCst);
        let interrupt = lock(&self.cancel.interrupt).take();
        if let Some(interrupt) = interrupt {
            interrupt();
        }
    }
}
