//! Threads for what may block, so that the event loop never does.
//!
//! The event loop hands in jobs over a bounded channel, and is woken when a result lies in the other one. A [`FairPool`] has a queue
//! before that channel, in which one owner's jobs do not keep those of the others waiting.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::io;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded, unbounded};

/// Threads that make results `R` of jobs `J`.
pub struct Pool<J, R> {
    jobs: Sender<J>,
    results: Receiver<R>,
}

/// The queue of jobs is full; the job comes back.
pub struct Overloaded<J>(pub J);

impl<J: Send + 'static, R: Send + 'static> Pool<J, R> {
    /// Starts `threads` threads called `name`, with a queue of `depth` jobs between them and the event loop. `wake` is called from
    /// them whenever a result is ready.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn start(
        name: &str,
        threads: usize,
        depth: usize,
        work: impl Fn(J) -> R + Send + Sync + 'static,
        wake: impl Fn() + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let (jobs, inbox) = bounded::<J>(depth);
        let (outbox, results) = unbounded();
        let shared = Arc::new((work, wake));
        for number in 0..threads {
            let (inbox, outbox, shared) = (inbox.clone(), outbox.clone(), shared.clone());
            let serve = move || {
                for job in inbox {
                    let (work, wake) = &*shared;
                    if outbox.send(work(job)).is_err() {
                        return;
                    }
                    wake();
                }
            };
            let started = std::thread::Builder::new().name(format!("{name}-{number}")).spawn(serve);
            let named = |error: io::Error| format!("cannot start the thread {name}-{number}: {error}");
            started.map_err(|error| io::Error::new(error.kind(), named(error)))?;
        }
        Ok(Pool { jobs, results })
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

    /// The next result, if one is ready.
    pub fn result(&self) -> Option<R> {
        self.results.try_recv().ok()
    }
}

/// A pool behind a fair queue: its threads take jobs from the owners `K` in turn.
pub struct FairPool<K, J, R> {
    pool: Pool<J, R>,
    waiting: FairQueue<K, J>,
    /// Jobs that the threads have or will take next, and how many these may be: two for each, so that none waits for the event loop.
    at_work: usize,
    most_at_work: usize,
    /// Jobs that were given back by a full queue, until the event loop asks.
    refused: VecDeque<J>,
}

/// What came of a job.
pub enum Finished<J, R> {
    /// It was done.
    Done(R),
    /// It was not, for want of room in the queue.
    Refused(J),
}

impl<K: Copy + Eq + Hash, J: Send + 'static, R: Send + 'static> FairPool<K, J, R> {
    /// Starts `threads` threads as [`Pool::start`] does, with a queue of `most` jobs before them.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn start(
        name: &str,
        threads: usize,
        most: usize,
        work: impl Fn(J) -> R + Send + Sync + 'static,
        wake: impl Fn() + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let most_at_work = 2 * threads;
        let pool = Pool::start(name, threads, most_at_work, work, wake)?;
        Ok(FairPool { pool, waiting: FairQueue::new(most), at_work: 0, most_at_work, refused: VecDeque::new() })
    }

    /// Hands in a job of `owner`; never waits. In a full queue the owner with the most jobs loses its last one, which
    /// [`FairPool::done`] then gives back; whether that has happened.
    pub fn submit(&mut self, owner: K, job: J) -> bool {
        let refused = self.waiting.push(owner, job);
        let any = refused.is_some();
        self.refused.extend(refused);
        self.feed();
        any
    }

    /// The next job that is done or refused, if there is one.
    pub fn done(&mut self) -> Option<Finished<J, R>> {
        if let Some(job) = self.refused.pop_front() {
            return Some(Finished::Refused(job));
        }
        let result = self.pool.result()?;
        self.at_work -= 1;
        self.feed();
        Some(Finished::Done(result))
    }

    /// Whether [`FairPool::done`] has a refused job to return.
    #[must_use]
    pub fn has_refused(&self) -> bool {
        !self.refused.is_empty()
    }

    /// Whether no thread works, and nothing waits to be taken.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.at_work == 0 && self.refused.is_empty()
    }

    /// Jobs that no thread has begun, but for a few.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.waiting()
    }

    /// Takes out waiting jobs for which `is_over` holds: their results are not wanted any more.
    pub fn forget(&mut self, is_over: impl Fn(&J) -> bool) {
        self.waiting.remove(is_over);
    }

    fn feed(&mut self) {
        while self.at_work < self.most_at_work {
            let Some(job) = self.waiting.pop() else { return };
            if let Err(Overloaded(job)) = self.pool.submit(job) {
                // Its channel has room for all that may be at work, so the threads are gone.
                self.refused.push_back(job);
                return;
            }
            self.at_work += 1;
        }
    }
}

/// A bounded queue in which each owner has its turn, however much the others have put in: owners in rotation, the jobs of one in their
/// order.
pub struct FairQueue<K, J> {
    by_owner: HashMap<K, VecDeque<J>>,
    /// Owners that have a job, the next one first.
    rotation: VecDeque<K>,
    length: usize,
    most: usize,
}

impl<K: Copy + Eq + Hash, J> FairQueue<K, J> {
    /// An empty queue for `most` jobs.
    #[must_use]
    pub fn new(most: usize) -> Self {
        FairQueue { by_owner: HashMap::new(), rotation: VecDeque::new(), length: 0, most }
    }

    /// Jobs in it.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.length
    }

    /// Puts a job of `owner` in, behind its others. In a full queue the owner with the most jobs loses its last one: that is given
    /// back, and may be `job` itself.
    #[must_use]
    pub fn push(&mut self, owner: K, job: J) -> Option<J> {
        let jobs = self.by_owner.entry(owner).or_default();
        if jobs.is_empty() {
            self.rotation.push_back(owner);
        }
        jobs.push_back(job);
        self.length += 1;
        if self.length > self.most { self.drop_one() } else { None }
    }

    /// Takes the last job of the owner that has the most; of several, of the one whose turn comes last.
    fn drop_one(&mut self) -> Option<J> {
        let count = |owner: &K| self.by_owner.get(owner).map_or(0, VecDeque::len);
        let owner = self.rotation.iter().copied().max_by_key(count)?;
        let job = self.by_owner.get_mut(&owner)?.pop_back();
        self.length -= usize::from(job.is_some());
        self.remove_if_empty(owner);
        job
    }

    /// Takes out the next job: the first of the owner whose turn it is, which then is last in the rotation.
    pub fn pop(&mut self) -> Option<J> {
        let owner = self.rotation.pop_front()?;
        self.rotation.push_back(owner);
        let job = self.by_owner.get_mut(&owner)?.pop_front();
        self.length -= usize::from(job.is_some());
        self.remove_if_empty(owner);
        job
    }

    /// Takes out all jobs for which `is_over` holds.
    pub fn remove(&mut self, is_over: impl Fn(&J) -> bool) {
        for jobs in self.by_owner.values_mut() {
            jobs.retain(|job| !is_over(job));
        }
        self.by_owner.retain(|_, jobs| !jobs.is_empty());
        self.rotation.retain(|owner| self.by_owner.contains_key(owner));
        self.length = self.by_owner.values().map(VecDeque::len).sum();
    }

    fn remove_if_empty(&mut self, owner: K) {
        if self.by_owner.get(&owner).is_some_and(VecDeque::is_empty) {
            self.by_owner.remove(&owner);
            self.rotation.retain(|waiting| *waiting != owner);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    #[test]
    fn the_few_jobs_of_one_owner_do_not_wait_for_the_many_of_another() {
        let (start, begun) = bounded::<()>(0);
        let (tell, told) = unbounded();
        let work = move |job: u32| begun.recv().map_or(job, |()| job);
        let mut pool = FairPool::start("test", 1, 10, work, move || tell.send(()).unwrap()).unwrap();
        for job in 0..12 {
            assert!(!pool.submit('a', job), "two at work, ten wait");
        }
        assert!(pool.submit('b', 100), "somebody loses a job");
        assert!(matches!(pool.done(), Some(Finished::Refused(11))));
        pool.forget(|job| *job == 3);
        let mut order = Vec::new();
        for _ in 0..5 {
            start.send(()).unwrap();
            told.recv_timeout(Duration::from_secs(10)).unwrap();
            let Some(Finished::Done(job)) = pool.done() else { panic!("it was done") };
            order.push(job);
        }
        // When the other owner came, two were at work and it was the first one's turn.
        assert_eq!(order, [0, 1, 2, 100, 4]);
    }

    fn drained(queue: &mut FairQueue<char, u32>) -> Vec<u32> {
        std::iter::from_fn(|| queue.pop()).collect()
    }

    #[test]
    fn a_newcomer_waits_for_one_job_of_each_other_owner() {
        let mut queue = FairQueue::new(100);
        for job in 0..50 {
            assert_eq!(queue.push('a', job), None);
        }
        assert_eq!((queue.push('b', 1000), queue.push('c', 2000), queue.push('b', 1001)), (None, None, None));
        assert_eq!(drained(&mut queue)[..7], [0, 1000, 2000, 1, 1001, 2, 3]);
        assert_eq!(queue.waiting(), 0);
    }

    #[test]
    fn in_a_full_queue_the_owner_with_the_most_loses_its_last_job() {
        let mut queue = FairQueue::new(3);
        assert_eq!((queue.push('a', 1), queue.push('a', 2), queue.push('a', 3)), (None, None, None));
        assert_eq!(queue.push('a', 4), Some(4), "its own");
        assert_eq!(queue.push('b', 10), Some(3), "the others are not kept out");
        assert_eq!(queue.push('b', 11), Some(11), "who has as many as others goes without");
        assert_eq!(queue.waiting(), 3);
        assert_eq!(drained(&mut queue), [1, 10, 2]);
    }

    #[test]
    fn what_is_over_is_not_done() {
        let mut queue = FairQueue::new(10);
        for (owner, job) in [('a', 1), ('a', 2), ('b', 3), ('c', 4)] {
            assert_eq!(queue.push(owner, job), None);
        }
        queue.remove(|job| *job == 3 || *job == 1);
        assert_eq!((queue.waiting(), drained(&mut queue)), (2, vec![2, 4]));
    }

    proptest! {
        /// Whatever is put in comes out or is given back, once; never more than the bound wait; and nobody with fewer jobs than
        /// another loses one.
        #[test]
        fn nothing_is_lost_and_nobody_pays_for_others(owners in prop::collection::vec(0u8..5, 1..200), most in 1usize..20) {
            let mut queue = FairQueue::new(most);
            let (mut waiting, mut seen) = (HashMap::<u8, usize>::new(), Vec::new());
            for (number, owner) in owners.iter().copied().enumerate() {
                *waiting.entry(owner).or_default() += 1;
                if let Some((loser, job)) = queue.push(owner, (owner, number)) {
                    prop_assert_eq!(waiting[&loser], *waiting.values().max().unwrap());
                    *waiting.entry(loser).or_default() -= 1;
                    seen.push(job);
                }
                if number % 7 == 0 {
                    let (owner, job) = queue.pop().unwrap();
                    *waiting.entry(owner).or_default() -= 1;
                    seen.push(job);
                }
                prop_assert!(queue.waiting() <= most && queue.waiting() == waiting.values().sum::<usize>());
            }
            seen.extend(std::iter::from_fn(|| queue.pop()).map(|(_, number)| number));
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..owners.len()).collect::<Vec<_>>());
        }
    }
}
