//! Accepting connections, and reading from workers which of them are closed or given back.

use std::os::fd::AsFd;

use crate::base::limits::ACCEPT_BACKOFF_MS;
use crate::ipc::{IpcError, fdpass, net};
use crate::process::master::children::Listeners;
use crate::process::master::driver::Driver;
use crate::process::master::event_sources::LISTENER;
use crate::process::worker::ReleaseNotice;
use crate::store::connection::{PerService, ServiceId};

/// Connections accepted in one turn of the loop.
const PER_TURN: usize = 64;

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

    /// Stops accepting. Workers that accept by themselves get an order of their own.
    pub(super) fn close_listeners(&mut self) {
        let listeners = std::mem::take(&mut self.accepting.listeners);
        listeners.iter().flatten().for_each(|listener| self.sources.unwatch(listener.as_fd()));
        self.shared_listeners = Listeners::default();
        self.accepting.ready = false;
    }

    /// Hands over the connections that wait, then accepts others and hands them over.
    pub(super) fn accept(&mut self, now: u64) {
        let control = self.common.instance.control();
        let mut drained = PerService::default();
        for _ in 0..PER_TURN {
            if self.connections.any_waiting() {
                // Set before the lanes are tried: a worker that makes room afterwards sees it.
                control.set_accept_paused(true);
                if self.connections.hand_over_waiting(&mut self.workers).is_err() {
                    self.accepting.ready = false;
                    self.accepting.is_short = true;
                    return;
                }
                control.set_accept_paused(false);
            }
            if !self.accepting.ready || now < self.accepting.not_before_ns {
                return;
            }
            self.accepting.ready = self.accept_one_each(now, &mut drained);
        }
    }

    /// Accepts one connection of each service that is not drained yet, so that no service waits for a crowd at another one; whether
    /// there may be more.
    fn accept_one_each(&mut self, now: u64, drained: &mut PerService<bool>) -> bool {
        let mut more = false;
        for service in ServiceId::all() {
            let Some(listener) = &self.accepting.listeners[service.index()] else { continue };
            if drained[service.index()] {
                continue;
            }
            if !self.connections.has_slot(service) {
                self.accepting.is_short = true;
                continue;
            }
            match net::accept(listener.as_fd()) {
                Ok(Some(socket)) => {
                    more = true;
                    self.accepting.failures = 0;
                    self.connections.admit(service, socket, &mut self.workers);
                }
                Ok(None) => drained[service.index()] = true,
                Err(error) => {
                    // The connection stays in the backlog, and epoll does not report it again.
                    more = true;
                    if self.accepting.failed(now) {
                        log::warn!("{error}; trying again every {ACCEPT_BACKOFF_MS} ms");
                    }
                }
            }
        }
        more
    }

    /// Reads which connections a worker has closed or returned, or that its lane has room again.
    pub(super) fn read_notices(&mut self, index: usize) {
        let Some(slot) = self.workers.get_mut(index).and_then(Option::as_mut) else { return };
        let mut buffer = [0; ReleaseNotice::BYTES * ReleaseNotice::MOST];
        loop {
            let Some(process) = &slot.process else { return };
            // Closed, or drained. The pidfd tells of its death.
            let Ok(Some(message)) = fdpass::receive(process.lane.as_fd(), &mut buffer) else { return };
            let (notices, _) = buffer[..message.length].as_chunks::<{ ReleaseNotice::BYTES }>();
            for notice in notices.iter().copied().map(ReleaseNotice::from_bytes) {
                if notice != ReleaseNotice::ROOM && !self.connections.release(notice, slot) {
                    log::error!("worker {index} releases a connection that it does not have: {notice:?}");
                }
            }
            // A slot is free again, or the lane has room. What is to be handed on waits in this process.
            self.accepting.ready |= std::mem::take(&mut self.accepting.is_short);
        }
    }
}
