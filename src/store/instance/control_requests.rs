//! Control requests: what an operator's tool asks of a running master, and what the master answers.
//!
//! There is one request at a time, under a robust lock that the tool holds until it has the answer. SIGUSR1 tells the master of a
//! request, and a futex tells the tool of the answer. What concerns the cluster the master passes on to the replica process, by words of
//! the same form, [`RequestWords`].

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::base::limits::MAX_PEER_ADDRESS_BYTES;
use crate::base::vocab::ReplicaId;
use crate::ipc::bytes::SharedBytes;
use crate::ipc::futex;
use crate::ipc::robust::{Acquired, Held, RobustMutex};
use crate::shared_struct;

shared_struct! {
    /// A request and its answer. Writer of the request: who asks; of the answer: who is asked.
    pub struct RequestWords, align 64, size 64 + 64 + 256; {
        /// Requests so far.
        asked: AtomicU32,
        /// Requests that are answered; the asker may wait on this word (futex).
        answered: AtomicU32,
        kind: AtomicU32,
        argument: AtomicU32,
        /// 1: done; 0: refused.
        done: AtomicU32,
        request_spare: [AtomicU32; 11],
        /// What the request names beside a number.
        name: SharedBytes<64>,
        text: SharedBytes<256>,
    }
}

shared_struct! {
    /// What tools ask, one after the other. Writer of the request: the lock's holder; of the answer: the master.
    pub struct ControlRequests, align 64, size 64 + 384; {
        lock: RobustMutex,
        reserved: [AtomicU32; 6],
        words: RequestWords,
    }
}

/// What a master can be asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// Do something about the cluster.
    Cluster(ClusterRequest),
}

/// What the primary of a cluster can be asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClusterRequest {
    /// Hand leadership over to that replica; without one, to whichever has most of the log.
    Transfer(Option<ReplicaId>),
    /// Make a learner of the fresh node that answers at an address.
    Add {
        /// Its number.
        replica: ReplicaId,
        /// Where its peers reach it, `IP:PORT`.
        address: String,
    },
    /// Make a voter of a learner.
    Promote(ReplicaId),
    /// Take a member out of the cluster.
    Remove(ReplicaId),
}

impl ControlRequest {
    /// As shared memory holds it: what, of which worker or replica (0 where that means nothing), and the address.
    #[must_use]
    pub fn to_words(&self) -> (u32, u32, &str) {
        let number = |replica: &ReplicaId| replica.number().into();
        match self {
            ControlRequest::Drain { worker } => (1, *worker, ""),
            ControlRequest::Rebalance => (2, 0, ""),
            ControlRequest::Snapshot => (3, 0, ""),
            ControlRequest::Upgrade => (4, 0, ""),
            ControlRequest::Cluster(request) => match request {
                ClusterRequest::Transfer(to) => (5, to.as_ref().map_or(0, number), ""),
                ClusterRequest::Add { replica, address } => (6, number(replica), address),
                ClusterRequest::Promote(replica) => (7, number(replica), ""),
                ClusterRequest::Remove(replica) => (8, number(replica), ""),
            },
        }
    }

    /// What [`ControlRequest::to_words`] gave; `None` for words of another version.
    #[must_use]
    pub fn from_words(kind: u32, argument: u32, name: &str) -> Option<Self> {
        let replica = || u8::try_from(argument).ok().and_then(ReplicaId::new);
        Some(match kind {
            1 => ControlRequest::Drain { worker: argument },
            2 => ControlRequest::Rebalance,
            3 => ControlRequest::Snapshot,
            4 => ControlRequest::Upgrade,
            5..=8 => ControlRequest::Cluster(match kind {
                5 if argument == 0 => ClusterRequest::Transfer(None),
                5 => ClusterRequest::Transfer(Some(replica()?)),
                6 if name.len() > MAX_PEER_ADDRESS_BYTES => return None,
                6 => ClusterRequest::Add { replica: replica()?, address: name.to_owned() },
                7 => ClusterRequest::Promote(replica()?),
                _ => ClusterRequest::Remove(replica()?),
            }),
            _ => return None,
        })
    }
}

/// What came of a request, in words.
pub type Answer = Result<String, String>;

/// A request that is not answered yet; the lock is held until it is.
pub struct PendingRequest<'a> {
    words: &'a RequestWords,
    id: u32,
    _held: Held<'a>,
}

impl ControlRequests {
    pub(super) fn init(&self, object: &str) -> Result<(), crate::ipc::IpcError> {
        self.lock.init(object)
    }

    /// Writes a request, once those of others are answered; tell the master.
    #[must_use]
    pub fn submit(&self, request: &ControlRequest) -> PendingRequest<'_> {
        let held = match self.lock.lock(Duration::from_secs(1), || ()) {
            Acquired::Held(held) => held,
            // The asker of the last one is gone; the master answers it nevertheless, or never saw it.
            Acquired::Inherited(inherited) => inherited.into_consistent(),
        };
        let id = self.words.answered.load(Ordering::Acquire).wrapping_add(1);
        self.words.ask(id, request);
        PendingRequest { words: &self.words, id, _held: held }
    }

    /// The number of the request that is not answered, and the request; `None` for one that this version does not know. Only the
    /// master.
    #[must_use]
    pub fn pending(&self) -> Option<(u32, Option<ControlRequest>)> {
        self.words.pending()
    }

    /// Answers request `id`. Only the master.
    pub fn answer(&self, id: u32, answer: &Answer) {
        self.words.answer(id, answer);
    }
}

impl RequestWords {
    /// Writes request `id`, in the place of one that is answered or need not be any more; wake up who is asked.
    pub fn ask(&self, id: u32, request: &ControlRequest) {
        let (kind, argument, name) = request.to_words();
        self.kind.store(kind, Ordering::Relaxed);
        self.argument.store(argument, Ordering::Relaxed);
        self.name.store_text(name);
        // REQUEST: release.
        self.asked.store(id, Ordering::Release);
    }

    /// The number of the request that is not answered, and the request; `None` for one that this version does not know.
    #[must_use]
    pub fn pending(&self) -> Option<(u32, Option<ControlRequest>)> {
        // REQUEST: acquire.
        let id = self.asked.load(Ordering::Acquire);
        let word = |word: &AtomicU32| word.load(Ordering::Relaxed);
        let request = || ControlRequest::from_words(word(&self.kind), word(&self.argument), &self.name.load_text());
        (id != self.answered.load(Ordering::Relaxed)).then(|| (id, request()))
    }

    /// Answers request `id`.
    pub fn answer(&self, id: u32, answer: &Answer) {
        let (Ok(text) | Err(text)) = answer;
        self.text.store_text(text);
        self.done.store(u32::from(answer.is_ok()), Ordering::Relaxed);
        // ANSWER: release.
        self.answered.store(id, Ordering::Release);
        futex::wake_all(&self.answered);
    }

    /// The last request that was answered.
    #[must_use]
    pub fn last_answered(&self) -> u32 {
        // ANSWER: acquire.
        self.answered.load(Ordering::Acquire)
    }

    /// The answer to request `id`, if it has come.
    #[must_use]
    pub fn answer_to(&self, id: u32) -> Option<Answer> {
        if self.last_answered() != id {
            return None;
        }
        let text = self.text.load_text();
        Some(if self.done.load(Ordering::Relaxed) == 1 { Ok(text) } else { Err(text) })
    }
}

impl PendingRequest<'_> {
    /// Waits for the answer, `patience` at most.
    #[must_use]
    pub fn wait_for_answer(&self, patience: Duration) -> Option<Answer> {
        let answered = self.words.last_answered();
        if answered != self.id {
            futex::wait_while(&self.words.answered, answered, patience);
        }
        self.words.answer_to(self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_as_they_were_written_and_others_are_none() {
        let replica = |number| ReplicaId::new(number).unwrap();
        let address = "a".repeat(MAX_PEER_ADDRESS_BYTES);
        for request in [
            ControlRequest::Drain { worker: 7 },
            ControlRequest::Upgrade,
            ControlRequest::Cluster(ClusterRequest::Transfer(None)),
            ControlRequest::Cluster(ClusterRequest::Transfer(Some(replica(7)))),
            ControlRequest::Cluster(ClusterRequest::Add { replica: replica(4), address }),
            ControlRequest::Cluster(ClusterRequest::Promote(replica(4))),
            ControlRequest::Cluster(ClusterRequest::Remove(replica(1))),
        ] {
            let (kind, argument, name) = request.to_words();
            assert_eq!(ControlRequest::from_words(kind, argument, name), Some(request));
        }
        for (kind, argument) in [(0, 0), (5, 8), (6, 0), (7, 0), (8, 256), (9, 1)] {
            assert_eq!(ControlRequest::from_words(kind, argument, ""), None, "{kind} {argument}");
        }
        assert_eq!(ControlRequest::from_words(6, 1, &"a".repeat(MAX_PEER_ADDRESS_BYTES + 1)), None);
    }
}
