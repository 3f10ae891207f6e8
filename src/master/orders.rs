//! The orders: what an operator's signals make the master do.

use std::os::fd::AsRawFd;
use std::sync::Arc;

use mio::unix::SourceFd;
use nix::sys::signal::Signal;

use crate::access_log::AccessLog;
use crate::config::Settings;
use crate::instance::control::Orders;
use crate::limits::{MAX_WORKERS, STOP_DEADLINE_SECONDS};
use crate::master::crew::Post;
use crate::master::watch::{Master, SECOND_NS, Stopping};
use crate::master::{MasterError, number_users, read_users};

/// The settings that SIGHUP can change.
const CHANGEABLE: &[&str] = &["idle-timeout", "rate-limit", "worker-timeout"];

/// Names in words.
fn list(names: &[&str]) -> String {
    if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
}

impl Master {
    /// Reads the signals that came.
    pub(super) fn take_signals(&mut self, now: u64) -> Result<(), MasterError> {
        while let Ok(Some(info)) = self.signals.read_signal() {
            let number = i32::try_from(info.ssi_signo).unwrap_or(0);
            match Signal::try_from(number) {
                Ok(signal @ (Signal::SIGINT | Signal::SIGTERM)) => self.stop(signal, now)?,
                Ok(Signal::SIGTTIN) => self.enlist()?,
                Ok(Signal::SIGTTOU) => self.retire(),
                Ok(Signal::SIGUSR1) => {
                    self.take_mail();
                    // Also the word of who has moved the access log away; who has not is not bothered.
                    self.common.access_log.into_iter().for_each(AccessLog::announce_reopen);
                }
                Ok(Signal::SIGHUP) => self.reload(),
                Ok(Signal::SIGUSR2) => _ = self.upgrade(None),
                Ok(other) => log::warn!("{other}: nothing is done on this signal"),
                Err(_) => {}
            }
        }
        Ok(())
    }

    /// The first time: an orderly stop. The second: a quick one. The third: an end.
    fn stop(&mut self, signal: Signal, now: u64) -> Result<(), MasterError> {
        let control = self.common.instance.control();
        match (self.stopping, control.orders()) {
            (Stopping::No, _) => {
                log::info!("{signal}: stopping; once more to hurry");
                self.stopping = Stopping::Until(now + STOP_DEADLINE_SECONDS * SECOND_NS);
                control.order(Orders::Stop);
                self.close_doors();
            }
            (_, Orders::Serve | Orders::Stop) => {
                log::warn!("{signal} again: hurrying");
                control.order(Orders::Hurry);
            }
            (_, Orders::Hurry) => {
                log::warn!("{signal} again: killing the workers");
                self.posts.iter_mut().flatten().try_for_each(Post::kill)?;
            }
        }
        self.posts.iter().flatten().for_each(Post::nudge);
        Ok(())
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
        // One more for each change, for the rest of the process' life.
        self.common.settings =
            Box::leak(Box::new(Settings { idle_timeout, rate_limit, worker_timeout, ..old.clone() }));
        if !later.contains(&"users") {
            self.common.users = Arc::new(users);
        }
        let control = self.common.instance.control();
        control.tune(idle_timeout, rate_limit);
        control.announce_reload();
        self.posts.iter().flatten().for_each(Post::nudge);
        log::info!("SIGHUP: users read again; changed: {}", list(&now));
        if !later.is_empty() {
            log::warn!("SIGHUP: these change with the next start only: {}", list(&later));
        }
    }

    /// Ends at once, without an order from outside.
    pub(super) fn hurry(&mut self) -> Result<(), MasterError> {
        self.stopping = Stopping::Until(self.last_turn_ns);
        self.common.instance.control().order(Orders::Hurry);
        self.close_doors();
        self.posts.iter_mut().flatten().try_for_each(Post::kill)?;
        Ok(())
    }

    fn close_doors(&mut self) {
        for door in self.doors.iter_mut().filter_map(Option::take) {
            let _ = self.poll.registry().deregister(&mut SourceFd(&door.as_raw_fd()));
        }
        self.shared_listeners = [None, None];
        self.knocked = false;
    }

    /// One worker more.
    fn enlist(&mut self) -> Result<(), MasterError> {
        if self.stopping != Stopping::No {
            return Ok(());
        }
        let Some(index) = self.posts.iter().position(Option::is_none) else {
            log::warn!("SIGTTIN: there are {MAX_WORKERS} workers, which is the most there can be");
            return Ok(());
        };
        log::info!("SIGTTIN: worker {index} joins");
        let listeners = self.own_listeners()?;
        self.add_post(index, listeners)
    }

    /// One worker less: it finishes with the connections it has.
    fn retire(&mut self) {
        let serving = self.posts.iter().flatten().filter(|post| !post.leaving).count();
        let last = self.posts.iter_mut().rev().flatten().find(|post| !post.leaving);
        match last {
            Some(post) if serving > 1 => {
                log::info!("SIGTTOU: worker {} leaves when its {} connections end", post.index, post.connections);
                post.leaving = true;
                self.common.instance.workers()[post.index].ask_to_leave();
                post.nudge();
            }
            _ => log::warn!("SIGTTOU: the last worker stays"),
        }
    }
}
