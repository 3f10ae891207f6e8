//! A guard that processes take in turn, by a named semaphore, and that a dead holder cannot keep for ever.
//!
//! Who holds it is told by one word in shared memory, the owner: 0 when it is free, else the holder's number plus one. It
//! changes hands by compare-and-swap from 0 alone, so **two never hold it**, whatever the semaphore says. The semaphore
//! (initially 1) is only what one sleeps on: its token means "look at the owner now". A waiter looks when it has got a token,
//! and also when its patience of [`PATIENCE`] is over, since a token may have been lost with a dead process.
//!
//! What a process leaves behind that dies
//!
//! - while it waits for a token: nothing. At worst it was woken by a post and died before it took the token: that is
//!   still there for the next who comes, and whoever sleeps already looks when its patience is over.
//! - with a token, before it has become the owner: a free guard without a token. Whoever waits takes it when its patience is over.
//! - with a token that it had got while another was the owner: a token is missing while the guard is held. The owner's release
//!   sees that there is none, and posts.
//! - as the owner: a guard that nobody can take. The living never end the hold of another, for a holder that is stopped, or
//!   waits for a disk, looks the same from outside. The parent ends it ([`Guard::relinquish`]) once it has *collected* that
//!   process: then no thread of it runs, no write of it is under way, and no successor of its number was started.
//! - after its release has cleared the owner, before it has posted: a free guard without a token, as above.
//! - the parent in `relinquish`: its children die with it, and with them all who could wait.
//!
//! So a death blocks others for the time until it is collected and one patience more. There may also be a token too many:
//! two releases can both see none and post. It wakes somebody for nothing, who takes it out and waits on.
//!
//! Whoever takes the guard after a dead holder finds what it guards half done. What was begun must be told by the guarded
//! data itself, such as a plan that is written down before it is carried out.

use std::sync::atomic::{AtomicU32, Ordering, fence};
use std::time::Duration;

use crate::ipc::semaphore::NamedSemaphore;

/// How long a waiter believes in the semaphore before it looks at the owner by itself.
pub const PATIENCE: Duration = Duration::from_millis(50);

/// A guard: its owner's word, and the semaphore beside it, whose initial value is 1.
#[derive(Clone, Copy)]
pub struct Guard<'a> {
    owner: &'a AtomicU32,
    semaphore: &'a NamedSemaphore,
}

/// A guard that is held, given back when dropped.
#[must_use = "dropping it gives the guard back at once"]
pub struct Held<'a>(Guard<'a>);

impl<'a> Guard<'a> {
    /// The guard of this word and this semaphore.
    #[must_use]
    pub fn new(owner: &'a AtomicU32, semaphore: &'a NamedSemaphore) -> Self {
        Guard { owner, semaphore }
    }

    /// Takes the guard for process number `who` (below `u32::MAX`), waiting for as long as a living process holds it. Not for
    /// event loops; and not for a process that holds it already, which would wait for itself.
    pub fn take(self, who: u32) -> Held<'a> {
        loop {
            // With a token or without: the owner's word decides.
            let _ = self.semaphore.wait_for(PATIENCE);
            if let Some(held) = self.claim(who) {
                return held;
            }
        }
    }

    fn claim(self, who: u32) -> Option<Held<'a>> {
        // GUARD: acquire; what the last holder did under the guard is seen by the next.
        self.owner.compare_exchange(0, who + 1, Ordering::Acquire, Ordering::Relaxed).ok().map(|_| Held(self))
    }

    /// Ends the hold of process number `who`, if it has one; whether it had. Only for the parent, when it has collected that
    /// process and before it starts another of that number.
    pub fn relinquish(self, who: u32) -> bool {
        // GUARD: release, in the dead one's stead; its stores were over before it was collected.
        let had = self.owner.compare_exchange(who + 1, 0, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        if had {
            self.let_next();
        }
        had
    }

    /// Who holds it, at some moment of the call. For tools that look.
    #[must_use]
    pub fn holder(self) -> Option<u32> {
        self.owner.load(Ordering::Relaxed).checked_sub(1)
    }

    /// The semaphore, for tools that look.
    #[must_use]
    pub fn semaphore(self) -> &'a NamedSemaphore {
        self.semaphore
    }

    fn let_next(self) {
        // The owner is cleared before the value is read, or who takes the token in between would miss both.
        fence(Ordering::SeqCst);
        if self.semaphore.value() == 0 {
            self.semaphore.post();
        }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        // GUARD: release.
        self.0.owner.store(0, Ordering::Release);
        self.0.let_next();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ipc::semaphore;
    use std::time::Instant;

    /// A semaphore whose name is gone as soon as it is made.
    fn semaphore(test: &str) -> NamedSemaphore {
        let name = format!("/vault-test.{}.{test}", std::process::id());
        let made = NamedSemaphore::create(&name, 1).unwrap();
        semaphore::unlink(&name).unwrap();
        made
    }

    #[test]
    fn one_at_a_time_holds_it_and_no_token_is_left_over_for_long() {
        let (owner, semaphore) = (AtomicU32::new(0), semaphore("guard-turns"));
        let guard = Guard::new(&owner, &semaphore);
        let inside = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for who in 0..4 {
                let inside = &inside;
                scope.spawn(move || {
                    for _ in 0..2_000 {
                        let held = guard.take(who);
                        assert_eq!(inside.swap(who + 1, Ordering::Relaxed), 0, "somebody else is inside");
                        assert_eq!(guard.holder(), Some(who));
                        inside.store(0, Ordering::Relaxed);
                        drop(held);
                    }
                });
            }
        });
        assert_eq!(guard.holder(), None);
        assert!((1..=4).contains(&semaphore.value()), "{}", semaphore.value());
    }

    #[test]
    fn a_lost_token_costs_one_patience() {
        let (owner, semaphore) = (AtomicU32::new(0), semaphore("guard-token"));
        let guard = Guard::new(&owner, &semaphore);
        // As a process leaves it that dies before it has become the owner, or after it was.
        assert!(semaphore.try_wait());
        let began = Instant::now();
        drop(guard.take(1));
        assert!(began.elapsed() >= PATIENCE && began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
        assert_eq!(semaphore.value(), 1, "there is a token again");
    }

    #[test]
    fn a_dead_hold_ends_by_its_number_only() {
        let (owner, semaphore) = (AtomicU32::new(0), semaphore("guard-dead"));
        let guard = Guard::new(&owner, &semaphore);
        std::mem::forget(guard.take(3));
        assert!(!guard.relinquish(2) && guard.claim(2).is_none(), "it is another's");
        assert!(guard.relinquish(3) && !guard.relinquish(3));
        let began = Instant::now();
        drop(guard.take(2));
        assert!(began.elapsed() < Duration::from_secs(1));
    }
}
