//! A connection that a worker serves, for whichever service.

use crate::service::bank::session as bank;
use crate::service::http::session as web;
use crate::service::visit::{Parting, Visit};

/// A connection with all that its worker remembers about it.
pub enum Guest {
    /// Of the bank.
    Bank(Box<bank::Guest>),
    /// Of the web.
    Web(Box<web::Guest>),
}

impl Guest {
    /// What is remembered of every connection.
    #[inline]
    #[must_use]
    pub fn visit(&self) -> &Visit {
        match self {
            Guest::Bank(guest) => guest,
            Guest::Web(guest) => guest,
        }
    }

    /// As above, to be changed.
    #[inline]
    pub fn visit_mut(&mut self) -> &mut Visit {
        match self {
            Guest::Bank(guest) => guest,
            Guest::Web(guest) => guest,
        }
    }

    /// What is remembered of every connection; the rest is forgotten.
    #[must_use]
    pub fn into_visit(self) -> Visit {
        match self {
            Guest::Bank(guest) => guest.into_visit(),
            Guest::Web(guest) => guest.into_visit(),
        }
    }

    /// Whether the threads work for it, or are to.
    #[must_use]
    pub fn awaits_pool(&self) -> bool {
        matches!(self, Guest::Bank(guest) if guest.pending.is_some())
    }

    /// Whether all there is to know about it stands in its slot, so that another worker can go on with it.
    #[must_use]
    pub fn may_move(&self) -> bool {
        self.visit().parting == Parting::No
            && match self {
                Guest::Bank(guest) => guest.pending.is_none(),
                Guest::Web(guest) => guest.is_listening(),
            }
    }
}
