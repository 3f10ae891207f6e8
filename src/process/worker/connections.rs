//! Connections that come, and those that go.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use mio::unix::SourceFd;
use mio::{Interest, Token};

use crate::base::config::AcceptMode;
use crate::ipc::fdpass;
use crate::process::worker::acceptor::{Arrival, More};
use crate::process::worker::event_loop::{LANE, Worker, watch};
use crate::process::worker::release_notice::ReleaseNotice;
use crate::service::connection_state::{Closing, ConnectionState};
use crate::service::interface::{Departure, Origin};
use crate::store::connection::Connection;
use crate::store::connection::slot::{Claim, Holder};

impl Worker {
    /// Takes connections in from wherever they come.
    pub fn take_connections(&mut self) -> io::Result<()> {
        if !self.accept_more {
            return Ok(());
        }
        let mut arrivals = Vec::new();
        let accepting = self.acceptor.accept(|arrival| arrivals.push(arrival));
        let accepted = accepting.unwrap_or_else(|error| {
            log::warn!("cannot accept a connection: {error}; the next one is tried when a connection ends");
            More::No
        });
        let taken = self.acceptor.take_from_lane(|arrival| arrivals.push(arrival))?;
        self.accept_more = accepted == More::Maybe || taken == More::Maybe;
        let came = !arrivals.is_empty();
        for arrival in arrivals {
            self.begin(arrival);
        }
        if came && self.instance.control().accept_paused() {
            self.notices.push(ReleaseNotice::ROOM);
        }
        Ok(())
    }

    fn begin(&mut self, arrival: Arrival) {
        let stats = &self.row.stats;
        match arrival {
            Arrival::Admitted { connection, generation, waited_ns } => {
                let slot = connection.index();
                self.service_stats(slot).accepted.add(1);
                stats.dispatch_wait_ns.add(waited_ns);
                stats.dispatch_wait_most_ns.add(waited_ns.saturating_sub(stats.dispatch_wait_most_ns.get()));
                if self.begin_session(connection, generation, Origin::Client) {
                    self.find_room(slot);
                    // It may have sent bytes before it was watched; the edge that tells of them is still to come, but why wait.
                    self.serve(slot);
                }
            }
            Arrival::Resumed { connection, generation } => {
                stats.resumed.add(1);
                let slot = connection.index();
                if self.begin_session(connection, generation, Origin::Worker) {
                    self.serve(slot);
                }
            }
            Arrival::Broken { connection, generation } => {
                self.count_one_more(connection.index());
                self.release(ConnectionState::new(connection, generation, self.now_ns));
            }
        }
    }

    /// Begins a session and watches its socket; whether it is to be served now.
    fn begin_session(&mut self, connection: Connection<'static>, generation: u32, origin: Origin) -> bool {
        let slot = connection.index();
        self.count_one_more(slot);
        let interest = Interest::READABLE.add(Interest::WRITABLE);
        let watched = watch(&self.poll, connection.as_fd(), Token(slot as usize), interest);
        let state = ConnectionState::new(connection, generation, self.now_ns);
        match (watched, self.services.of(slot)) {
            (Ok(()), Some(host)) => host.begin(state, origin),
            (watched, _) => {
                let error =
                    watched.err().map_or_else(|| "its service is not open".to_owned(), |error| error.to_string());
                log::error!("cannot serve a new connection: {error}; closing it");
                self.release(state);
                return false;
            }
        }
        !self.row.life.is_to_leave() || !self.give_back(slot)
    }

    /// Ends the session in `slot`, if there is one, and closes its connection.
    pub fn close(&mut self, slot: u32) {
        if let Some(state) = self.services.of(slot).and_then(|host| host.end(slot)) {
            self.release(state);
        }
    }

    fn release(&mut self, state: ConnectionState) {
        let have_both_ended = state.ended && matches!(state.closing, Closing::Lingering(_));
        let ConnectionState { connection, generation, counted_closing, .. } = state;
        let (slot, index) = (connection.slot(), connection.index());
        let stats = self.service_stats(index);
        if counted_closing {
            stats.closing.set(stats.closing.get().saturating_sub(1));
        }
        stats.closed.add(1);
        let has_duplicate = self.settings.accept == AcceptMode::Dispatch;
        if has_duplicate {
            self.unwatch(&connection);
        }
        if !have_both_ended {
            connection.shut_down();
        }
        drop(connection);
        self.count_one_less(index);
        if has_duplicate {
            slot.pass(Claim { holder: Holder::Served(self.number), generation }, Holder::Closed(self.number));
            self.notices.push(ReleaseNotice { slot: index, generation });
        } else {
            slot.free();
            // One more can be accepted now, should slots or descriptors have been short.
            self.accept_more |= self.acceptor.look_again();
        }
    }

    /// Gives a connection back, for another worker to go on with, if all there is to know about it stands in its slot; whether it did.
    pub fn give_back(&mut self, slot: u32) -> bool {
        if self.settings.accept != AcceptMode::Dispatch {
            return false;
        }
        let Some(host) = self.services.of(slot).filter(|host| host.departure(slot) == Some(Departure::Move)) else {
            return false;
        };
        let Some(ConnectionState { connection, generation, .. }) = host.give_up(slot) else { return false };
        self.unwatch(&connection);
        let (slot, index) = (connection.slot(), connection.index());
        // Not shut down: the master's duplicate keeps it open.
        drop(connection);
        slot.pass(Claim { holder: Holder::Served(self.number), generation }, Holder::Returned(self.number));
        self.notices.push(ReleaseNotice { slot: index, generation });
        self.count_one_less(index);
        true
    }

    /// Before a connection's descriptor is closed: the master's duplicate keeps the open file alive, and epoll would go on
    /// reporting it.
    fn unwatch(&self, connection: &Connection<'_>) {
        let _ = self.poll.registry().deregister(&mut SourceFd(&connection.as_fd().as_raw_fd()));
    }

    fn count_one_more(&mut self, slot: u32) {
        self.count += 1;
        self.row.connections.set(self.count);
        self.service_stats(slot).connections.add(1);
    }

    fn count_one_less(&mut self, slot: u32) {
        self.count -= 1;
        self.row.connections.set(self.count);
        let connections = &self.service_stats(slot).connections;
        connections.set(connections.get().saturating_sub(1));
    }

    /// Tells the master which connections were closed or given back, so that it closes its duplicates or hands them to others.
    pub fn send_notices(&mut self) -> io::Result<()> {
        while !self.notices.is_empty() {
            let count = self.notices.len().min(ReleaseNotice::MOST);
            let message: Vec<u8> = self.notices[..count].iter().flat_map(|notice| notice.to_bytes()).collect();
            match fdpass::send(self.acceptor.lane(), &message, None) {
                Ok(()) => drop(self.notices.drain(..count)),
                // This loop comes by again when there is room.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return self.watch_lane(true),
                Err(error) => return Err(error),
            }
        }
        self.watch_lane(false)
    }

    /// Watches the lane for room, or no more. Not all the time: it would wake this process whenever the master has read a message.
    fn watch_lane(&mut self, for_room: bool) -> io::Result<()> {
        if self.awaits_lane == for_room {
            return Ok(());
        }
        self.awaits_lane = for_room;
        let interest = if for_room { Interest::READABLE.add(Interest::WRITABLE) } else { Interest::READABLE };
        self.poll.registry().reregister(&mut SourceFd(&self.acceptor.lane().as_raw_fd()), LANE, interest)
    }
}
