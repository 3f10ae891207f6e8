//! Signals: orders of an operator, and SIGCHLD; and requests of operators' tools, which stand in shared memory and are announced by one.

use std::sync::Arc;

use nix::sys::signal::Signal;

use crate::base::config::{AcceptMode, Settings};
use crate::process::master::children::WorkerSlot;
use crate::process::master::driver::Driver;
use crate::process::master::start::read_users;
use crate::process::master::startup::number_users;
use crate::process::master::supervisor::{Event, MUST_HAND_OVER, Order, Request};
use crate::store::access_log::AccessLog;
use crate::store::instance::control_requests::{Answer, ControlRequest};

/// The settings that SIGHUP can change.
const CHANGEABLE: &[&str] = &["idle-timeout", "rate-limit", "worker-timeout"];

/// Names in words.
fn list(names: &[&str]) -> String {
    if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
}

impl Driver {
    /// Reads the signals that came.
    pub(super) fn take_signals(&mut self, now: u64) {
        while let Ok(Some(info)) = self.sources.signals.read_signal() {
            let number = i32::try_from(info.ssi_signo).unwrap_or(0);
            let Ok(signal) = Signal::try_from(number) else { continue };
            let event = match signal {
                Signal::SIGINT | Signal::SIGTERM => Event::Ordered(Order::Stop { signal: signal.as_str() }),
                Signal::SIGTTIN => Event::Ordered(Order::AddWorker),
                Signal::SIGTTOU => {
                    let connections = |slot: &Option<_>| slot.as_ref().map_or(0, |slot: &WorkerSlot| slot.connections);
                    Event::Ordered(Order::RemoveWorker { connections: self.workers.iter().map(connections).collect() })
                }
                Signal::SIGUSR2 => Event::Requested { id: None, request: Request::Upgrade },
                other => {
                    self.take_other_signal(other, now);
                    continue;
                }
            };
            self.supervisor.handle(now, event);
        }
    }

    fn take_other_signal(&mut self, signal: Signal, now: u64) {
        match signal {
            Signal::SIGCHLD => self.reap_all(now),
            Signal::SIGHUP => {
                self.manager.reloading();
                self.reload();
                self.manager.ready();
            }
            Signal::SIGUSR1 => {
                self.take_request(now);
                // The access log may have been renamed by a log rotation.
                self.common.access_log.into_iter().for_each(AccessLog::announce_reopen);
            }
            other => log::warn!("{other}: nothing is done on this signal"),
        }
    }

    /// Reads settings and users again, and takes over what can change while the server runs. What cannot be read changes nothing.
    fn reload(&mut self) {
        let read = (self.common.read_settings)().map_err(|error| error.to_string());
        let read = read.and_then(|settings| {
            let users = read_users(&settings).map_err(|error| error.to_string())?;
            let users = number_users(users, self.common.settings).map_err(|error| error.to_string())?;
            Ok((users, settings))
        });
        let (users, new) = match read {
            Ok(read) => read,
            Err(why) => return log::error!("SIGHUP: all stays as it is: {why}"),
        };
        let old = self.common.settings;
        let (now, later): (Vec<_>, Vec<_>) =
            old.differences(&new).into_iter().partition(|name| CHANGEABLE.contains(name));
        let Settings { idle_timeout, rate_limit, worker_timeout, .. } = new;
        // It is never freed: one for each reload.
        self.common.settings =
            Box::leak(Box::new(Settings { idle_timeout, rate_limit, worker_timeout, ..old.clone() }));
        if !later.contains(&"users") {
            self.common.users = Arc::new(users);
        }
        let control = self.common.instance.control();
        control.tune(idle_timeout, rate_limit);
        control.announce_reload();
        self.wake_workers();
        // It has a map to read again.
        if let Some(channel) = self.common.cache {
            channel.wake_ups.of_cache().send();
        }
        log::info!("SIGHUP: users read again; changed: {}", list(&now));
        if !later.is_empty() {
            log::warn!("SIGHUP: these change with the next start only: {}", list(&later));
        }
    }

    /// Reads the request that has come, if one has.
    fn take_request(&mut self, now: u64) {
        let instance = self.common.instance;
        let requests = &instance.control().requests;
        let pending = requests.pending().filter(|(id, _)| self.supervisor.pending_request() != Some(*id));
        let Some((id, request)) = pending else { return };
        let request = match request {
            None => return requests.answer(id, &Err("this server does not know how to do that".to_owned())),
            Some(ControlRequest::Rebalance) => return requests.answer(id, &self.rebalance()),
            Some(ControlRequest::Drain { worker }) => {
                let worker = worker as usize;
                let connections = self.workers.get(worker).and_then(Option::as_ref).map_or(0, |slot| slot.connections);
                Request::Drain { worker, connections }
            }
            Some(ControlRequest::Snapshot) => {
                let wanted = instance.journal_row().want_snapshot();
                self.common.journal.send();
                Request::Snapshot { wanted }
            }
            Some(ControlRequest::Upgrade) => Request::Upgrade,
            Some(ControlRequest::Cluster(_)) => Request::Cluster,
        };
        self.supervisor.handle(now, Event::Requested { id: Some(id), request });
    }

    /// Passes a request about the cluster on to the replica process, under the same number. Should there be none just now, its successor
    /// finds it.
    pub(super) fn ask_replica(&self, id: u32) {
        let instance = self.common.instance;
        if let Some((pending, Some(request))) = instance.control().requests.pending()
            && pending == id
        {
            instance.replica_row().requests.ask(id, &request);
            self.common.replica.iter().for_each(|channel| channel.wakeup.send());
        }
    }

    fn rebalance(&mut self) -> Answer {
        if self.common.settings.accept != AcceptMode::Dispatch {
            return Err(MUST_HAND_OVER.to_owned());
        }
        let serving: Vec<_> = self.workers.iter().flatten().filter(|slot| slot.takes_connections()).collect();
        let total: u32 = serving.iter().map(|slot| slot.connections).sum();
        let fair = total.div_ceil(u32::try_from(serving.len()).unwrap_or(1).max(1));
        let mut moved = 0;
        for slot in serving {
            let surplus = slot.connections.saturating_sub(fair);
            if surplus > 0 {
                self.common.instance.workers()[slot.index].ask_for(surplus);
                self.common.wakeups[slot.index].send();
                moved += surplus;
            }
        }
        log::info!("rebalancing: {moved} of {total} connections move");
        Ok(format!("{moved} of {total} connections move; {fair} a worker is even"))
    }
}
