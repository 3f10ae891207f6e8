//! Control requests: what an operator's tool asks of a running master, and what the master answers.
//!
//! There is one request at a time, under a robust lock that the tool holds until it has the answer. SIGUSR1 tells the master of a
//! request, and a futex tells the tool of the answer.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::ipc::bytes::SharedBytes;
use crate::ipc::futex;
use crate::ipc::robust::{Acquired, Held, RobustMutex};
use crate::shared_struct;

shared_struct! {
    /// A request and its answer. Writer of the request: the lock's holder; of the answer: the master.
    pub struct ControlRequests, align 64, size 64 + 256; {
        lock: RobustMutex,
        /// Requests so far.
        asked: AtomicU32,
        /// Requests that are answered; the asker waits on this word (futex).
        answered: AtomicU32,
        kind: AtomicU32,
        argument: AtomicU32,
        /// 1: done; 0: refused.
        done: AtomicU32,
        reserved: AtomicU32,
        text: SharedBytes<256>,
    }
}

/// What a master can be asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlRequest {
    /// Have the others go on with a worker's connections, and let it go.
    Drain {
        /// Its number.
        worker: u32,
    },
    /// Even out the connections between the workers.
    Rebalance,
    /// Take a snapshot now.
    Snapshot,
    /// Execute the program anew, and replace all children.
    Upgrade,
}

impl ControlRequest {
    /// As shared memory holds it: what, and of which worker (0 where that means nothing).
    #[must_use]
    pub fn to_words(self) -> (u32, u32) {
        match self {
            ControlRequest::Drain { worker } => (1, worker),
            ControlRequest::Rebalance => (2, 0),
            ControlRequest::Snapshot => (3, 0),
            ControlRequest::Upgrade => (4, 0),
        }
    }

    /// What [`ControlRequest::to_words`] gave; `None` for words of another version.
    #[must_use]
    pub fn from_words(kind: u32, argument: u32) -> Option<Self> {
        match kind {
            1 => Some(ControlRequest::Drain { worker: argument }),
            2 => Some(ControlRequest::Rebalance),
            3 => Some(ControlRequest::Snapshot),
            4 => Some(ControlRequest::Upgrade),
            _ => None,
        }
    }
}

/// What came of a request, in words.
pub type Answer = Result<String, String>;

/// A request that is not answered yet; the lock is held until it is.
pub struct PendingRequest<'a> {
    requests: &'a ControlRequests,
    id: u32,
    _held: Held<'a>,
}

impl ControlRequests {
    pub(super) fn init(&self, object: &str) -> Result<(), crate::ipc::IpcError> {
        self.lock.init(object)
    }

    /// Writes a request, once those of others are answered; tell the master.
    #[must_use]
    pub fn submit(&self, request: ControlRequest) -> PendingRequest<'_> {
        let held = match self.lock.lock(Duration::from_secs(1), || ()) {
            Acquired::Held(held) => held,
            // The asker of the last one is gone; the master answers it nevertheless, or never saw it.
            Acquired::Inherited(inherited) => inherited.into_consistent(),
        };
        let (kind, argument) = request.to_words();
        self.kind.store(kind, Ordering::Relaxed);
        self.argument.store(argument, Ordering::Relaxed);
        let id = self.answered.load(Ordering::Acquire).wrapping_add(1);
        // REQUEST: release.
        self.asked.store(id, Ordering::Release);
        PendingRequest { requests: self, id, _held: held }
    }

    /// The number of the request that is not answered, and the request; `None` for one that this version does not know. Only the
    /// master.
    #[must_use]
    pub fn pending(&self) -> Option<(u32, Option<ControlRequest>)> {
        // REQUEST: acquire.
        let id = self.asked.load(Ordering::Acquire);
        let word = |word: &AtomicU32| word.load(Ordering::Relaxed);
        let request = || ControlRequest::from_words(word(&self.kind), word(&self.argument));
        (id != self.answered.load(Ordering::Relaxed)).then(|| (id, request()))
    }

    /// Answers request `id`. Only the master.
    pub fn answer(&self, id: u32, answer: &Answer) {
        let (Ok(text) | Err(text)) = answer;
        self.text.store_text(text);
        self.done.store(u32::from(answer.is_ok()), Ordering::Relaxed);
        // ANSWER: release.
        self.answered.store(id, Ordering::Release);
        futex::wake_all(&self.answered);
    }
}

impl PendingRequest<'_> {
    /// Waits for the answer, `patience` at most.
    #[must_use]
    pub fn wait_for_answer(&self, patience: Duration) -> Option<Answer> {
        // ANSWER: acquire.
        let answered = self.requests.answered.load(Ordering::Acquire);
        if answered != self.id {
            futex::wait_while(&self.requests.answered, answered, patience);
        }
        if self.requests.answered.load(Ordering::Acquire) != self.id {
            return None;
        }
        let text = self.requests.text.load_text();
        Some(if self.requests.done.load(Ordering::Relaxed) == 1 { Ok(text) } else { Err(text) })
    }
}
