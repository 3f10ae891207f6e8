//! A thread that prepares the next segment before it is needed.
//!
//! To fill 64 MiB with zeros and to sync them takes long. As long as one prepared segment is ahead, the writer never waits for
//! that. When preparing fails, most often for want of space, the writer goes on in what is prepared, and the thread tries again when
//! it is told to.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::directory::Directory;
use super::error::DiskError;
use super::segment;
use crate::base::vocab::Lsn;

#[derive(Debug)]
struct State {
    /// The last record that prepared segments have room for.
    end: Lsn,
    /// Prepare as long as `end` is before this.
    wanted: Lsn,
    failure: Option<Arc<DiskError>>,
    /// Tells somebody of each attempt's end.
    tell: Option<Tell>,
}

/// What is called.
struct Tell(Box<dyn Fn() + Send>);

impl fmt::Debug for Tell {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Tell")
    }
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    stop: AtomicBool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic under the lock leaves three values that are valid one by one.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A handle of the thread.
#[derive(Debug)]
pub(super) struct Preparer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Preparer {
    /// Starts the thread; segments up to record `end` are prepared.
    pub(super) fn start(directory: Directory, end: Lsn) -> std::io::Result<Self> {
        let state = Mutex::new(State { end, wanted: end, failure: None, tell: None });
        let shared = Arc::new(Shared { state, changed: Condvar::new(), stop: AtomicBool::new(false) });
        let its = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("vault-prepare".to_owned());
        let thread = thread.spawn(move || run(&directory, &its))?;
        Ok(Preparer { shared, thread: Some(thread) })
    }

    /// Has `tell` called, which does not wait, whenever a segment was prepared, or could not be.
    pub(super) fn tell(&self, tell: impl Fn() + Send + 'static) {
        self.shared.lock().tell = Some(Tell(Box::new(tell)));
    }

    /// Has segments prepared until there is room up to record `wanted`.
    pub(super) fn want(&self, wanted: Lsn) {
        let mut state = self.shared.lock();
        if state.wanted < wanted {
            state.wanted = wanted;
            self.shared.changed.notify_all();
        }
    }

    /// The last record that there is room for.
    pub(super) fn end(&self) -> Lsn {
        self.shared.lock().end
    }

    /// Why the last attempt failed; `None` as long as none has, or the next one is under way.
    pub(super) fn failure(&self) -> Option<Arc<DiskError>> {
        self.shared.lock().failure.clone()
    }

    /// Tries again what failed.
    pub(super) fn retry(&self) {
        self.shared.lock().failure = None;
        self.shared.changed.notify_all();
    }

    /// Waits until there is room up to record `lsn`, preparing has failed, or `patience` is over; whether there is room.
    pub(super) fn wait(&self, lsn: Lsn, patience: Duration) -> bool {
        let at_work = |state: &mut State| state.end < lsn && state.failure.is_none();
        let waited = self.shared.changed.wait_timeout_while(self.shared.lock(), patience, at_work);
        waited.unwrap_or_else(PoisonError::into_inner).0.end >= lsn
    }
}

impl Drop for Preparer {
    fn drop(&mut self) {
        // Under the lock, so that the thread is either before its look at `stop` or asleep.
        let state = self.shared.lock();
        self.shared.stop.store(true, Ordering::Relaxed);
        drop(state);
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // It has nothing to report: a panic in it has ended the process.
            let _ = thread.join();
        }
    }
}

fn run(directory: &Directory, shared: &Shared) {
    let mut state = shared.lock();
    while !shared.stop.load(Ordering::Relaxed) {
        if state.end >= state.wanted || state.failure.is_some() {
            state = shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            continue;
        }
        let first = Lsn(state.end.0 + 1);
        drop(state);
        let made = segment::prepare(directory, first, &shared.stop);
        state = shared.lock();
        match made {
            Ok(()) if shared.stop.load(Ordering::Relaxed) => {}
            Ok(()) => state.end = Lsn(state.end.0 + directory.records_per_segment()),
            Err(failure) => state.failure = Some(Arc::new(failure)),
        }
        if let Some(Tell(tell)) = &state.tell {
            tell();
        }
        shared.changed.notify_all();
    }
}
