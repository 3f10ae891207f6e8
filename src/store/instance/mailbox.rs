//! The mailbox: what an operator's tool asks of a running master, and what that answers.
//!
//! One letter at a time, under a robust lock that the tool holds until it has its answer. The master is told of a letter by
//! SIGUSR1, and says that it is answered by a futex.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::ipc::bytes::SharedBytes;
use crate::ipc::futex;
use crate::ipc::robust::{Acquired, Held, RobustMutex};
use crate::shared_struct;

shared_struct! {
    /// The mailbox. Writer of the letter: the lock's holder; of the answer: the master.
    pub struct Mailbox, align 64, size 64 + 256; {
        lock: RobustMutex,
        /// Letters so far.
        asked: AtomicU32,
        /// Letters that are answered; whoever waits, waits for this word.
        answered: AtomicU32,
        errand: AtomicU32,
        argument: AtomicU32,
        /// 1: done; 0: refused.
        done: AtomicU32,
        reserved: AtomicU32,
        text: SharedBytes<256>,
    }
}

/// What a master can be asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Errand {
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

impl Errand {
    /// As the mailbox holds it: what, and of which worker (0 where that means nothing).
    #[must_use]
    pub fn to_words(self) -> (u32, u32) {
        match self {
            Errand::Drain { worker } => (1, worker),
            Errand::Rebalance => (2, 0),
            Errand::Snapshot => (3, 0),
            Errand::Upgrade => (4, 0),
        }
    }

    /// What [`Errand::to_words`] gave; `None` for words of another version.
    #[must_use]
    pub fn from_words(errand: u32, argument: u32) -> Option<Self> {
        match errand {
            1 => Some(Errand::Drain { worker: argument }),
            2 => Some(Errand::Rebalance),
            3 => Some(Errand::Snapshot),
            4 => Some(Errand::Upgrade),
            _ => None,
        }
    }
}

/// What came of an errand, in words.
pub type Answer = Result<String, String>;

/// A letter that is on its way; the lock is held until it is answered.
pub struct Letter<'a> {
    mailbox: &'a Mailbox,
    number: u32,
    _held: Held<'a>,
}

impl Mailbox {
    pub(super) fn init(&self, object: &str) -> Result<(), crate::ipc::IpcError> {
        self.lock.init(object)
    }

    /// Writes a letter, once those of others are answered; tell the master.
    #[must_use]
    pub fn write(&self, errand: Errand) -> Letter<'_> {
        let held = match self.lock.lock(Duration::from_secs(1), || ()) {
            Acquired::Held(held) => held,
            // Whoever wrote the last one is gone; the master answers it all the same, or never saw it.
            Acquired::Inherited(inherited) => inherited.into_consistent(),
        };
        let (kind, argument) = errand.to_words();
        self.errand.store(kind, Ordering::Relaxed);
        self.argument.store(argument, Ordering::Relaxed);
        let number = self.answered.load(Ordering::Acquire).wrapping_add(1);
        // LETTER: release.
        self.asked.store(number, Ordering::Release);
        Letter { mailbox: self, number, _held: held }
    }

    /// The number of the letter that is not answered, and what it asks for; `None` for the errand when this version does not
    /// know it. Only the master.
    #[must_use]
    pub fn read(&self) -> Option<(u32, Option<Errand>)> {
        // LETTER: acquire.
        let number = self.asked.load(Ordering::Acquire);
        let errand = || Errand::from_words(self.errand.load(Ordering::Relaxed), self.argument.load(Ordering::Relaxed));
        (number != self.answered.load(Ordering::Relaxed)).then(|| (number, errand()))
    }

    /// Answers letter `number`. Only the master.
    pub fn answer(&self, number: u32, answer: &Answer) {
        let (Ok(text) | Err(text)) = answer;
        self.text.store_text(text);
        self.done.store(u32::from(answer.is_ok()), Ordering::Relaxed);
        // ANSWER: release.
        self.answered.store(number, Ordering::Release);
        futex::wake_all(&self.answered);
    }
}

impl Letter<'_> {
    /// Waits for the answer, `patience` at most.
    #[must_use]
    pub fn answer(&self, patience: Duration) -> Option<Answer> {
        // ANSWER: acquire.
        let answered = self.mailbox.answered.load(Ordering::Acquire);
        if answered != self.number {
            futex::wait_while(&self.mailbox.answered, answered, patience);
        }
        if self.mailbox.answered.load(Ordering::Acquire) != self.number {
            return None;
        }
        let text = self.mailbox.text.load_text();
        Some(if self.mailbox.done.load(Ordering::Relaxed) == 1 { Ok(text) } else { Err(text) })
    }
}
