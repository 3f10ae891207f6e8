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
    /// Replies leave before what they show is durable
    AckEarly = 3,
}

#[cfg(not(feature = "break-it"))]
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

#[cfg(feature = "break-it")]
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
