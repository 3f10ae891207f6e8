//! Room to write: a thread that prepares the next segment before it is needed.
//!
//! Filling 64 MiB with zeros and syncing them takes long, so it is done aside; the writer never waits for it as long as one
//! prepared segment is ahead. When there is no space, writing goes on in what is prepared, and preparing is tried again when
//! somebody asks for it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::directory::Directory;
use super::error::DiskError;
use super::segment;
use crate::base::vocab::Lsn;

/// Whether the next segment can be had.
#[derive(Clone, Debug)]
pub enum Room {
    /// It is there, or is being prepared.
    Enough,
    /// It could not be prepared, most often for want of space. It is not tried again until it is asked for.
    NoSpace(Arc<DiskError>),
}

#[derive(Debug)]
struct Orders {
    /// The last record that prepared segments have room for.
    end: Lsn,
    /// Prepare as long as `end` is before this.
    wanted: Lsn,
    failure: Option<Arc<DiskError>>,
}

#[derive(Debug)]
struct Shared {
    orders: Mutex<Orders>,
    changed: Condvar,
    stop: AtomicBool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Orders> {
        // Whoever panics under it leaves three values that are good by themselves.
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread and what it was told.
#[derive(Debug)]
pub(super) struct Preparer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Preparer {
    /// Starts the thread; segments up to record `end` are prepared.
    pub(super) fn start(directory: Directory, end: Lsn) -> std::io::Result<Self> {
        let orders = Mutex::new(Orders { end, wanted: end, failure: None });
        let shared = Arc::new(Shared { orders, changed: Condvar::new(), stop: AtomicBool::new(false) });
        let its = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("journal-room".to_owned());
        let thread = thread.spawn(move || run(&directory, &its))?;
        Ok(Preparer { shared, thread: Some(thread) })
    }

    /// Has segments prepared until there is room up to record `wanted`.
    pub(super) fn want(&self, wanted: Lsn) {
        let mut orders = self.shared.lock();
        if orders.wanted < wanted {
            orders.wanted = wanted;
            self.shared.changed.notify_all();
        }
    }

    /// The last record that there is room for.
    pub(super) fn end(&self) -> Lsn {
        self.shared.lock().end
    }

    pub(super) fn room(&self) -> Room {
        self.shared.lock().failure.clone().map_or(Room::Enough, Room::NoSpace)
    }

    /// Tries again what failed.
    pub(super) fn retry(&self) {
        self.shared.lock().failure = None;
        self.shared.changed.notify_all();
    }

    /// Waits until there is room up to record `lsn`, preparing has failed, or `patience` is over; whether there is room.
    pub(super) fn wait(&self, lsn: Lsn, patience: Duration) -> bool {
        let at_work = |orders: &mut Orders| orders.end < lsn && orders.failure.is_none();
        let waited = self.shared.changed.wait_timeout_while(self.shared.lock(), patience, at_work);
        waited.unwrap_or_else(PoisonError::into_inner).0.end >= lsn
    }
}

impl Drop for Preparer {
    fn drop(&mut self) {
        // Under the lock, so that the thread is either before its look at `stop` or asleep.
        let orders = self.shared.lock();
        self.shared.stop.store(true, Ordering::Relaxed);
        drop(orders);
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // It has nothing to report: a panic in it has ended the process.
            let _ = thread.join();
        }
    }
}

fn run(directory: &Directory, shared: &Shared) {
    let mut orders = shared.lock();
    while !shared.stop.load(Ordering::Relaxed) {
        if orders.end >= orders.wanted || orders.failure.is_some() {
            orders = shared.changed.wait(orders).unwrap_or_else(PoisonError::into_inner);
            continue;
        }
        let first = Lsn(orders.end.0 + 1);
        drop(orders);
        let made = segment::prepare(directory, first, &shared.stop);
        orders = shared.lock();
        match made {
            Ok(()) if shared.stop.load(Ordering::Relaxed) => {}
            Ok(()) => orders.end = Lsn(orders.end.0 + directory.records_per_segment()),
            Err(failure) => orders.failure = Some(Arc::new(failure)),
        }
        shared.changed.notify_all();
    }
}
