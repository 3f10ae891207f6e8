//! The reception: connections that come, and those that go.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, AsRawFd};

use mio::unix::SourceFd;
use mio::{Interest, Token};

use crate::base::config::AcceptMode;
use crate::ipc::{fdpass, net};
use crate::process::worker::guest::Guest;
use crate::process::worker::intake::{Arrival, More};
use crate::process::worker::{Farewell, Worker, watch};
use crate::service::bank::session as bank;
use crate::service::bank::session::Allowance;
use crate::store::users::Users;
use crate::service::http::session as web;
use crate::service::http::session::Stage;
use crate::service::visit::Visit;
use crate::store::connection::slot::{Claim, Holder};
use crate::store::connection::{Connection, Service};
use crate::store::instance::control::{Orders, WorkerState};
use crate::store::journal::Principals;

impl Worker {
    /// Takes connections in from wherever they come.
    pub(super) fn take_in(&mut self) -> io::Result<()> {
        if !self.intake_more {
            return Ok(());
        }
        let mut arrivals = Vec::new();
        let accepting = self.intake.accept(|arrival| arrivals.push(arrival));
        let accepted = accepting.unwrap_or_else(|error| {
            log::warn!("cannot accept a connection: {error}; the next one is tried when a connection ends");
            More::No
        });
        let taken = self.intake.take_from_lane(|arrival| arrivals.push(arrival))?;
        self.intake_more = accepted == More::Maybe || taken == More::Maybe;
        let came = !arrivals.is_empty();
        for arrival in arrivals {
            self.welcome(arrival);
        }
        if came && self.instance.control().accept_paused() {
            self.farewells.push(Farewell::ROOM);
        }
        Ok(())
    }

    fn welcome(&mut self, arrival: Arrival) {
        let stats = &self.row.stats;
        match arrival {
            Arrival::Admitted { connection, generation, waited_ns } => {
                let bank = self.intake.service_of(connection.index()) == Service::Bank;
                if bank { &stats.accepted } else { &stats.web.accepted }.add(1);
                stats.dispatch_wait_ns.add(waited_ns);
                stats.dispatch_wait_most_ns.add(waited_ns.saturating_sub(stats.dispatch_wait_most_ns.get()));
                let guest = self.enter(connection, generation);
                let slot = guest.visit().connection.index();
                if self.admit(guest) {
                    self.find_place(slot);
                    // It may have sent bytes before it was watched; the edge that tells of them is still to come, but why wait.
                    self.give_turn(slot as usize);
                }
            }
            Arrival::Resumed { connection, generation } => {
                stats.resumed.add(1);
                let mut guest = self.enter(connection, generation);
                if let Guest::Bank(guest) = &mut guest {
                    self.desk.hold_what_was_left(guest);
                }
                let slot = guest.visit().connection.index() as usize;
                if self.admit(guest) {
                    self.give_turn(slot);
                }
            }
            Arrival::Broken { connection, generation } => {
                let guest = self.enter(connection, generation);
                self.close(guest);
            }
        }
    }

    fn enter(&mut self, connection: Connection<'static>, generation: u32) -> Guest {
        self.count += 1;
        self.row.set_connections(self.count);
        let service = self.intake.service_of(connection.index());
        let visit = Visit::new(connection, generation, self.desk.counter.now_ns);
        match service {
            Service::Bank => Guest::Bank(Box::new(bank::Guest::new(visit, self.instance.control().rate_limit()))),
            Service::Web => {
                let connections = &self.row.stats.web.connections;
                connections.set(connections.get() + 1);
                let peer = net::peer_address(visit.connection.as_fd());
                let peer = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip());
                Guest::Web(Box::new(web::Guest::new(visit, peer)))
            }
        }
    }

    /// Watches a connection; whether it is to be served now.
    fn admit(&mut self, guest: Guest) -> bool {
        let connection = &guest.visit().connection;
        let slot = connection.index() as usize;
        let interest = Interest::READABLE.add(Interest::WRITABLE);
        if let Err(error) = watch(&self.poll, connection.as_fd(), Token(slot), interest) {
            log::error!("cannot watch a new connection: {error}; closing it");
            self.close(guest);
            return false;
        }
        self.guests[slot] = Some(guest);
        !self.row.is_to_leave() || !self.give_back(slot)
    }

    /// Closes a connection.
    pub(super) fn close(&mut self, mut guest: Guest) {
        if let (Some(web), Guest::Web(guest)) = (&mut self.web, &mut guest) {
            web.let_go(guest);
        }
        if let Guest::Bank(guest) = &guest
            && guest.pending.is_some()
        {
            self.desk.counter.clerks.forget(bank::Waiting::of(guest));
        }
        let Visit { connection, generation, counted_out, .. } = guest.into_visit();
        if counted_out {
            let parting = &self.row.stats.bounds.parting[self.intake.service_of(connection.index()).index()];
            parting.set(parting.get().saturating_sub(1));
        }
        self.unwatch(&connection);
        connection.shut_down();
        let (slot, index) = (connection.slot(), connection.index());
        drop(connection);
        self.leave_one(index);
        if self.settings.accept == AcceptMode::Dispatch {
            slot.pass(Claim { holder: Holder::Served(self.number), generation }, Holder::Closed(self.number));
            self.farewells.push(Farewell { slot: index, generation });
        } else {
            slot.free();
            self.intake.look_again();
        }
        if self.intake.service_of(index) == Service::Bank {
            self.row.stats.closed.add(1);
        }
        // One more can be accepted now, should descriptors have been short.
        self.intake_more |= self.intake.listeners().next().is_some();
    }

    /// Gives a connection back, for another worker to go on with, unless it waits for the pool or is on its way out. Between
    /// two turns all there is to know about it stands in its slot. Whether it did.
    pub(super) fn give_back(&mut self, slot: usize) -> bool {
        if self.settings.accept != AcceptMode::Dispatch {
            return false;
        }
        let Some(guest) = self.guests[slot].take_if(|guest| guest.may_move()) else { return false };
        let Visit { connection, generation, .. } = guest.into_visit();
        self.unwatch(&connection);
        let (slot, index) = (connection.slot(), connection.index());
        // Not shut down: the master's duplicate keeps it open.
        drop(connection);
        slot.pass(Claim { holder: Holder::Served(self.number), generation }, Holder::Returned(self.number));
        self.farewells.push(Farewell { slot: index, generation });
        self.leave_one(index);
        true
    }

    /// Before a connection's descriptor is closed: the master's duplicate keeps the open file alive, and epoll would go on
    /// reporting it.
    fn unwatch(&self, connection: &Connection<'_>) {
        let _ = self.poll.registry().deregister(&mut SourceFd(&connection.as_fd().as_raw_fd()));
    }

    fn leave_one(&mut self, index: u32) {
        if self.intake.service_of(index) == Service::Web {
            let connections = &self.row.stats.web.connections;
            connections.set(connections.get().saturating_sub(1));
        }
        self.count -= 1;
        self.row.set_connections(self.count);
    }

    /// Tells the master which connections were closed or given back, so that it closes its duplicates or hands
    /// them to others.
    pub(super) fn say_farewells(&mut self) -> io::Result<()> {
        while !self.farewells.is_empty() {
            let count = self.farewells.len().min(Farewell::MOST);
            let message: Vec<u8> = self.farewells[..count].iter().flat_map(|farewell| farewell.to_bytes()).collect();
            match fdpass::send(self.intake.lane(), &message, None) {
                Ok(()) => drop(self.farewells.drain(..count)),
                // The lane's socket is watched for writing too: this loop comes by again when there is room.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads what the master wants.
    pub(super) fn take_orders(&mut self) {
        let _ = self.wakeup.take();
        match self.instance.control().orders() {
            Orders::Serve => {}
            Orders::Stop => self.begin_to_stop(),
            Orders::Hurry => {
                self.begin_to_stop();
                self.leave_by_ns = Some(0);
            }
        }
        self.read_settings_again();
        let surplus = self.row.take_surplus() as usize;
        let mut given = 0;
        for slot in (0..self.guests.len()).filter(|_| surplus > 0) {
            if given == surplus {
                break;
            }
            given += usize::from(self.give_back(slot));
        }
        if self.row.is_to_leave() {
            self.row.set_state(WorkerState::Leaving);
            self.stop_accepting();
            for slot in 0..self.guests.len() {
                self.give_back(slot);
                // Nobody can go on with a stream; its reader comes again.
                if matches!(&self.guests[slot], Some(Guest::Web(guest)) if matches!(guest.stage, Stage::Streaming(_)))
                    && let Some(guest) = self.guests[slot].take()
                {
                    self.close(guest);
                }
            }
        }
    }

    /// Takes over settings and users that were read again by the master, if they were.
    fn read_settings_again(&mut self) {
        let control = self.instance.control();
        if control.reloads() == self.reloads {
            return;
        }
        self.reloads = control.reloads();
        let (limit, now) = (control.rate_limit(), self.desk.counter.now_ns);
        for guest in self.guests.iter_mut().flatten() {
            if let Guest::Bank(guest) = guest {
                guest.allowance = limit.map(|limit| Allowance::new(limit, now));
            }
        }
        // Looked through by the master before, and numbered; a file that has changed since is left alone.
        if let Some(Ok(users)) = self.settings.users.as_deref().map(Users::load)
            && let Ok(principals) = Principals::read(&self.settings.data)
        {
            self.office.replace_users(users.numbered(|name| principals.of(name)));
        }
    }

    /// Accepts no more by itself. The sockets are the master's as well, so closing them here alone would not end its watching.
    pub(super) fn stop_accepting(&mut self) {
        for listener in self.intake.listeners() {
            let _ = self.poll.registry().deregister(&mut SourceFd(&listener.as_raw_fd()));
        }
        self.intake.close_listeners();
    }
}
