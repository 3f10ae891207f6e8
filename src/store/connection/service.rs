//! Services by number. What they are called and where they listen, shared memory says; how they serve, `service` does.

use crate::base::limits::MAX_SERVICES;

/// A service of an instance: its place in the table that the server was started with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ServiceId(u8);

/// One for each service that there can be.
pub type PerService<T> = [T; MAX_SERVICES];

impl ServiceId {
    /// The first service, whose address scripts find behind `ready:`.
    pub const FIRST: ServiceId = ServiceId(0);

    /// The service in this place; `None` from [`MAX_SERVICES`] on.
    #[must_use]
    pub fn new(index: usize) -> Option<ServiceId> {
        u8::try_from(index).ok().filter(|_| index < MAX_SERVICES).map(ServiceId)
    }

    /// All that there can be.
    pub fn all() -> impl DoubleEndedIterator<Item = ServiceId> {
        (0..MAX_SERVICES).filter_map(ServiceId::new)
    }

    /// Its place.
    #[inline]
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_as_many_services_as_the_limit_says() {
        let all: Vec<_> = ServiceId::all().collect();
        assert_eq!(all.iter().map(|id| id.index()).collect::<Vec<_>>(), (0..MAX_SERVICES).collect::<Vec<_>>());
        assert_eq!((all[0], ServiceId::new(MAX_SERVICES - 1)), (ServiceId::FIRST, all.last().copied()));
        assert_eq!([MAX_SERVICES, 256, usize::MAX].map(ServiceId::new), [None; 3]);
    }
}
