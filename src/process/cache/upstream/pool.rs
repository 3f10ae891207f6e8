//! The threads that fetch, and what the shell has of each fetch.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded};
use ureq::Agent;

use super::failure::Failure;
use super::request::{Client, Wanted};
use super::roots::Roots;
use crate::base::config::BaseUrl;
use crate::base::limits::{MAX_UPSTREAM_QUEUED, UPSTREAM_CHUNKS};
use crate::process::cache::core::{Head, Validators};

/// Where objects come from, and how.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What paths are appended to.
    pub url: BaseUrl,
    /// How long connecting, the head, and each piece of content may take.
    pub timeout: Duration,
    /// Whom it is trusted to be certified by.
    pub roots: Roots,
    /// Fetches at a time.
    pub threads: usize,
}

/// What the upstream says.
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
type Wake = Arc<dyn Fn() + Send + Sync>;

/// Where objects come from.
pub struct Upstream {
    shared: Arc<Shared>,
    jobs: Sender<Job>,
    queued: Receiver<Job>,
}

struct Shared {
    settings: Settings,
    wake: Wake,
    threads: AtomicUsize,
    /// Jobs that are not done.
    open_jobs: AtomicUsize,
    /// Clients that no thread has, each with a connection that may still be open; the last one is the warmest.
    clients: Mutex<Vec<Client>>,
}

struct Job {
    wanted: Wanted,
    out: Sender<Said>,
    cancel: Arc<Cancel>,
}

/// How a transfer is cancelled that has a thread.
#[derive(Debug, Default)]
struct Cancel {
    is_cancelled: AtomicBool,
    /// What the thread reads from, while it does.
    agent: Mutex<Option<Agent>>,
}

/// One fetch, as the shell has it. Dropping it cancels it.
#[derive(Debug)]
pub struct Transfer {
    said: Receiver<Said>,
    cancel: Arc<Cancel>,
}

/// Who panics while holding one of these has changed nothing by halves.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Upstream {
    /// An upstream that no thread asks yet. `wake` is called when one of its transfers has something to say.
    #[must_use]
    pub fn new(settings: Settings, wake: Wake) -> Self {
        let (jobs, queued) = bounded(MAX_UPSTREAM_QUEUED);
        let (threads, open_jobs, clients) = (AtomicUsize::new(0), AtomicUsize::new(0), Mutex::default());
        Upstream { shared: Arc::new(Shared { settings, wake, threads, open_jobs, clients }), jobs, queued }
    }

    /// Begins to fetch a path, once a thread is free.
    pub fn fetch(&self, path: &[u8], validators: Validators) -> Result<Transfer, Failure> {
        let (out, said) = bounded(UPSTREAM_CHUNKS);
        let cancel = Arc::new(Cancel::default());
        let wanted = Wanted { url: self.shared.settings.url.join(path), validators };
        let job = Job { wanted, out, cancel: cancel.clone() };
        let transfer = Transfer { said, cancel };
        // It counts before a thread can have done it.
        self.shared.open_jobs.fetch_add(1, Ordering::SeqCst);
        if self.jobs.try_send(job).is_err() {
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
        if threads >= shared.settings.threads || threads >= shared.open_jobs.load(Ordering::SeqCst) {
            return Ok(());
        }
        let (queued, of_thread) = (self.queued.clone(), shared.clone());
        shared.threads.fetch_add(1, Ordering::SeqCst);
        let started = thread::Builder::new().name("upstream".to_owned()).spawn(move || of_thread.work(&queued));
        if started.is_ok() {
            return Ok(());
        }
        shared.threads.fetch_sub(1, Ordering::SeqCst);
        if threads > 0 { Ok(()) } else { Err(Failure::NoThread) }
    }
}

impl Transfer {
    /// What the upstream has said next, if it has.
    pub fn next(&self) -> Option<Said> {
        match self.said.try_recv() {
            Ok(said) => Some(said),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(Said::Failed(Failure::NoThread)),
        }
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        self.cancel.is_cancelled.store(true, Ordering::SeqCst);
        if let Some(agent) = lock(&self.cancel.agent).take() {
            agent.shutdown();
        }
    }
}

impl Cancel {
    /// From now on it is this agent that is shut down. Returns whether the transfer is still wanted.
    fn set(&self, agent: Agent) -> bool {
        let mut place = lock(&self.agent);
        let is_wanted = !self.is_cancelled.load(Ordering::SeqCst);
        *place = is_wanted.then_some(agent);
        is_wanted
    }

    /// From now on nothing is shut down. Returns whether nothing was.
    fn unset(&self) -> bool {
        lock(&self.agent).take().is_some()
    }
}

impl Shared {
    /// What a thread does until there is no upstream any more.
    fn work(&self, jobs: &Receiver<Job>) {
        while let Ok(job) = jobs.recv() {
            if let Some(said) = self.carry_out(&job) {
                self.say(&job, said);
            }
            self.open_jobs.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// Fetches. Returns what is to be said last, unless nobody listens any more.
    fn carry_out(&self, job: &Job) -> Option<Said> {
        let kept = lock(&self.clients).pop();
        let mut client = kept.unwrap_or_else(|| Client::new(self.settings.timeout, &self.settings.roots));
        loop {
            let was_used = client.is_used;
            if !job.cancel.set(client.handle()) {
                lock(&self.clients).push(client);
                return None;
            }
            let said = self.try_once(job, &mut client);
            if !job.cancel.unset() {
                return None;
            }
            match said {
                // The connection that was kept may have been closed just now: then another is made, once.
                Err(failure) if was_used && failure.may_be_of_an_old_connection() => {
                    client = Client::new(self.settings.timeout, &self.settings.roots);
                }
                Ok(said) => {
                    lock(&self.clients).push(client);
                    return said;
                }
                Err(failure) => {
                    lock(&self.clients).push(client);
                    return Some(Said::Failed(failure));
                }
            }
        }
    }

    /// Asks, and says all but the last, which it returns. Fails if there is no answer.
    fn try_once(&self, job: &Job, client: &mut Client) -> Result<Option<Said>, Failure> {
        let answered = client.ask(&job.wanted)?;
        let head = answered.head.clone();
        if !matches!(head, Head::Found { .. }) {
            return Ok(Some(Said::Head(head)));
        }
        if !self.say(job, Said::Head(head)) {
            return Ok(None);
        }
        Ok(match client.read(answered, |bytes| self.say(job, Said::Chunk(bytes.into()))) {
            Ok(true) => Some(Said::Whole),
            Ok(false) => None,
            Err(failure) => Some(Said::Failed(failure)),
        })
    }

    /// Waits until there is room to say it. Returns whether anybody listens.
    fn say(&self, job: &Job, said: Said) -> bool {
        let is_heard = job.out.send(said).is_ok();
        if is_heard {
            (self.wake)();
        }
        is_heard
    }
}
