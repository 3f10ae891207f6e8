//! Promises that a server can be told to break, so that learners see which check catches what.
//!
//! Only a build with the feature `break-it` knows `master --break`; in every other, [`is`] is `false` at compile time, and what
//! asks it is no different from what never did.

/// A defect that is put in on purpose, each in one place, which asks [`is`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "break-it", derive(clap::ValueEnum))]
#[repr(u8)]
pub enum Defect {
    /// An account's lock that is inherited from the dead is declared whole without a look at what they left half done
    Repair = 1,
    /// Transfers lock their accounts in the order of the request, not in the order of numbers
    Order = 2,
    /// Replies leave before what they show is committed
    AckEarly = 3,
    /// A dead worker's claim to a number that was not reached is not withdrawn
    #[cfg_attr(feature = "break-it", value(skip))]
    StaleClaim = 4,
    /// The key of a dead worker's operation is not made known
    #[cfg_attr(feature = "break-it", value(skip))]
    LostKey = 5,
    /// Whether a claim was reached is asked in the wrong order
    #[cfg_attr(feature = "break-it", value(skip))]
    ClaimFirst = 6,
    /// A transfer segment that its worker gives up is free although the cache process is writing into it
    #[cfg_attr(feature = "break-it", value(skip))]
    EarlyFree = 7,
    /// Who finds no chunk says that it sleeps, and does not look once more
    #[cfg_attr(feature = "break-it", value(skip))]
    NoSecondLook = 8,
    /// The ticket of a dead worker stays
    #[cfg_attr(feature = "break-it", value(skip))]
    StaleTicket = 9,
}

/// In a model: the defect that the executions to come have. All threads of a model are one thread of the program.
#[cfg(feature = "model")]
mod state {
    use std::cell::Cell;

    use super::Defect;

    thread_local! {
        static INTRODUCED: Cell<Option<Defect>> = const { Cell::new(None) };
    }

    /// Whether this execution has the defect.
    #[must_use]
    pub fn is(defect: Defect) -> bool {
        introduced() == Some(defect)
    }

    /// The defect that this execution has.
    #[must_use]
    pub fn introduced() -> Option<Defect> {
        INTRODUCED.get()
    }

    /// Gives the executions to come a defect, or none.
    pub fn introduce(defect: impl Into<Option<Defect>>) {
        INTRODUCED.set(defect.into());
    }
}

#[cfg(not(any(feature = "break-it", feature = "model")))]
mod state {
    use super::Defect;

    /// Whether this server has the defect: never.
    #[inline(always)]
    #[must_use]
    pub const fn is(_: Defect) -> bool {
        false
    }

    const _: () = assert!(!is(Defect::Repair) && !is(Defect::Order) && !is(Defect::AckEarly));

    /// The defect that this server has: none.
    #[must_use]
    pub const fn introduced() -> Option<Defect> {
        None
    }
}

#[cfg(all(feature = "break-it", not(feature = "model")))]
mod state {
    use std::sync::OnceLock;

    use super::Defect;

    /// Set before the first fork, so all processes of a server have the same.
    static INTRODUCED: OnceLock<Defect> = OnceLock::new();

    /// Whether this server has the defect.
    #[must_use]
    pub fn is(defect: Defect) -> bool {
        introduced() == Some(defect)
    }

    /// The defect that this server has.
    #[must_use]
    pub fn introduced() -> Option<Defect> {
        INTRODUCED.get().copied()
    }

    /// Gives this process, and those that it forks, the defect, for good. The first call counts.
    pub fn introduce(defect: Defect) {
        let _ = INTRODUCED.set(defect);
    }
}

pub use state::*;
