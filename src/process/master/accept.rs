//! Accepting connections, and hearing from workers which of them are closed or given back.

use std::os::fd::AsFd;

use crate::base::limits::ACCEPT_BACKOFF_MS;
use crate::ipc::{IpcError, fdpass, net};
use crate::process::master::children::Listeners;
use crate::process::master::driver::{Driver, LISTENER};
use crate::process::worker::ReleaseNotice;
use crate::store::connection::Service;

/// Connections accepted before the children are looked after again.
const PER_TURN: usize = 64;

/// What connections are accepted from, and when to try.
#[derive(Default)]
pub struct Accepting {
    /// Nothing in the modes where workers accept by themselves.
    pub listeners: Listeners,
    /// Whether a connection may be waiting at one of them.
    ready: bool,
    /// Accepting has failed, for want of a descriptor or of memory: not again before, nanoseconds of the monotonic clock.
    not_before_ns: u64,
    /// Failures since the last connection that was accepted.
    failures: u64,
}

impl Accepting {
    /// A connection may be waiting, or one that waits may find room.
    pub fn may_be_ready(&mut self) {
        self.ready = true;
    }

    /// When to try to accept, if at all; not while others wait for room in a lane.
    #[must_use]
    pub fn next_try_ns(&self, now_ns: u64, any_waiting: bool) -> Option<u64> {
        (self.ready && !any_waiting).then(|| self.not_before_ns.max(now_ns))
    }

    /// Accepting has failed; whether that is to be said. A shortage that lasts is not to fill the log.
    fn failed(&mut self, now_ns: u64) -> bool {
        self.not_before_ns = now_ns + ACCEPT_BACKOFF_MS * 1_000_000;
        self.failures += 1;
        self.failures.is_power_of_two()
    }
}

impl Driver {
    /// Accepts from `listeners` from now on.
    ///
    /// # Errors
    /// They cannot be watched.
    pub(super) fn accept_from(&mut self, listeners: Listeners) -> Result<(), IpcError> {
        self.accepting.listeners = listeners;
        let listeners = self.accepting.listeners.iter().flatten();
        listeners.map(AsFd::as_fd).try_for_each(|listener| self.sources.watch(listener, LISTENER))
    }

    /// Accepts no more. Workers that accept by themselves are told so on their own.
    pub(super) fn close_listeners(&mut self) {
        let listeners = std::mem::take(&mut self.accepting.listeners);
        listeners.iter().flatten().for_each(|listener| self.sources.unwatch(listener.as_fd()));
        self.shared_listeners = [None, None];
        self.accepting.ready = false;
    }

    /// Accepts connections and hands them over, those first that have been waiting for room.
    pub(super) fn accept(&mut self, now: u64) {
        let control = self.common.instance.control();
        for _ in 0..PER_TURN {
            if self.connections.any_waiting() {
                // Said before the lanes are tried: a worker that makes room afterwards sees it.
                control.set_accept_paused(true);
                if self.connections.hand_over_waiting(&mut self.workers).is_err() {
                    self.accepting.ready = false;
                    return;
                }
                control.set_accept_paused(false);
            }
            if !self.accepting.ready || now < self.accepting.not_before_ns {
                return;
            }
            self.accepting.ready = self.accept_one_each(now);
        }
    }

    /// Accepts one connection of each service, so that a crowd at one does not keep those at the other waiting. Whether there may be
    /// more.
    fn accept_one_each(&mut self, now: u64) -> bool {
        let mut more = false;
        for service in Service::ALL {
            let Some(listener) = &self.accepting.listeners[service.index()] else { continue };
            if !self.connections.has_slot(service) {
                continue;
            }
            match net::accept(listener.as_fd()) {
                Ok(Some(socket)) => {
                    more = true;
                    self.accepting.failures = 0;
                    self.connections.take_in(service, socket, &mut self.workers);
                }
                Ok(None) => {}
                Err(error) => {
                    // The connection stays in the backlog, of which epoll does not tell again.
                    more = true;
                    if self.accepting.failed(now) {
                        log::warn!("{error}; trying again every {ACCEPT_BACKOFF_MS} ms");
                    }
                }
            }
        }
        more
    }

    /// A worker says which connections it has closed, or that its lane has room again.
    pub(super) fn hear(&mut self, index: usize) {
        let Some(slot) = self.workers.get_mut(index).and_then(Option::as_mut) else { return };
        let mut buffer = [0; ReleaseNotice::BYTES * ReleaseNotice::MOST];
        loop {
            let Some(process) = &slot.process else { return };
            // Closed, or nothing more: the pidfd says when it is dead.
            let Ok(Some(message)) = fdpass::receive(process.lane.as_fd(), &mut buffer) else { return };
            let (farewells, _) = buffer[..message.length].as_chunks::<{ ReleaseNotice::BYTES }>();
            for farewell in farewells.iter().copied().map(ReleaseNotice::from_bytes) {
                if farewell != ReleaseNotice::ROOM && !self.connections.part(farewell, slot) {
                    log::error!("worker {index} says good-bye for a connection it does not have: {farewell:?}");
                }
            }
            // A slot or a descriptor is free again, a connection is to be handed on, or the lane has room.
            self.accepting.may_be_ready();
        }
    }
}
