//! The services that a worker has open, by the slots of their connections.

use std::io;
use std::ops::Range;

use crate::service::entry::{Context, Entry};
use crate::service::host::Hosted;
use crate::store::connection::{PerService, ServiceId};

/// The services of one worker.
pub struct Services {
    hosts: PerService<Option<Box<dyn Hosted>>>,
    slots: PerService<Range<usize>>,
}

impl Services {
    /// Opens each service of `table` that has slots and that the instance `listens` for.
    ///
    /// # Errors
    /// See [`Entry::open`].
    pub fn open(
        table: &[Entry],
        slots: PerService<Range<usize>>,
        listens: impl Fn(ServiceId) -> bool,
        context: impl Fn(ServiceId) -> Context,
    ) -> io::Result<Self> {
        let mut hosts: PerService<Option<Box<dyn Hosted>>> = [const { None }; _];
        for (entry, id) in table.iter().zip(ServiceId::all()) {
            if !slots[id.index()].is_empty() && listens(id) {
                hosts[id.index()] = Some((entry.open)(context(id))?);
            }
        }
        Ok(Services { hosts, slots })
    }

    /// Which service a connection slot belongs to.
    #[inline]
    #[must_use]
    pub fn id_of(&self, slot: u32) -> ServiceId {
        ServiceId::all().find(|id| self.slots[id.index()].contains(&(slot as usize))).unwrap_or(ServiceId::FIRST)
    }

    /// The service that the connection slot belongs to.
    #[inline]
    pub fn of(&mut self, slot: u32) -> Option<&mut (dyn Hosted + 'static)> {
        self.hosts[self.id_of(slot).index()].as_deref_mut()
    }

    /// The service with this number, if it is open.
    #[inline]
    pub fn get(&mut self, id: ServiceId) -> Option<&mut (dyn Hosted + 'static)> {
        self.hosts[id.index()].as_deref_mut()
    }

    /// The numbers of those that are open.
    pub fn ids(&self) -> impl Iterator<Item = ServiceId> + use<> {
        let open = self.hosts.each_ref().map(Option::is_some);
        ServiceId::all().filter(move |id| open[id.index()])
    }

    /// All that are open, with their numbers.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (ServiceId, &mut Box<dyn Hosted>)> {
        ServiceId::all().zip(&mut self.hosts).filter_map(|(id, host)| Some((id, host.as_mut()?)))
    }

    /// The slots of one service.
    #[must_use]
    #[allow(clippy::cast_possible_truncation, reason = "slots are numbered in 32 bits")]
    pub fn slots_of(&self, id: ServiceId) -> Range<u32> {
        let Range { start, end } = self.slots[id.index()].clone();
        start as u32..end as u32
    }

    /// All slots of all services.
    #[must_use]
    pub fn slots(&self) -> Range<u32> {
        0..ServiceId::all().map(|id| self.slots_of(id).end).max().unwrap_or(0)
    }

    /// Lets all of them finish what is not bound to a session.
    pub fn finish(self) {
        self.hosts.into_iter().flatten().for_each(Hosted::finish);
    }
}
