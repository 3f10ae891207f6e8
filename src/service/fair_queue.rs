//! A bounded queue in which each owner has its turn, however much the others have put in.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// Jobs that wait, by their owners: owners in rotation, the jobs of one in their order.
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
