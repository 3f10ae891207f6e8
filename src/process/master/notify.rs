//! Notifying the service manager of the state of the server: `sd_notify(3)`, where `NOTIFY_SOCKET` names a socket.
//!
//! The socket is opened once and never waited for. (The crates for this open one for each message and wait when the manager is slow:
//! then a shortage of descriptors would stop the watchdog's messages, and the manager would kill a server that serves.)

use std::collections::VecDeque;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::net::{SocketAddr, UnixDatagram};

use crate::ipc::process::monotonic_ns;

/// Messages that wait until the manager takes them. There are few kinds, and one a change of state.
const MOST_WAITING: usize = 16;

/// The service manager, if there is one.
#[derive(Default)]
pub struct ServiceManager {
    socket: Option<UnixDatagram>,
    waiting: VecDeque<String>,
    /// How often it wants a watchdog message, nanoseconds; `None` where it wants none.
    watchdog_ns: Option<u64>,
    next_beat_ns: u64,
}

impl ServiceManager {
    /// The one that the environment names. If it cannot be reached, the server serves all the same.
    #[must_use]
    pub fn from_environment() -> Self {
        let Some(path) = std::env::var_os("NOTIFY_SOCKET").filter(|path| !path.is_empty()) else {
            return Self::default();
        };
        match connect(path.as_bytes()) {
            Ok(socket) => ServiceManager { socket: Some(socket), watchdog_ns: watchdog_ns(), ..Self::default() },
            Err(error) => {
                log::warn!("NOTIFY_SOCKET names {}, which cannot be reached: {error}", path.display());
                Self::default()
            }
        }
    }

    /// The server serves.
    pub fn ready(&mut self) {
        self.say("READY=1".to_owned());
    }

    /// Settings are being read again, or the program is being replaced; [`ServiceManager::ready`] follows.
    pub fn reloading(&mut self) {
        self.say(format!("RELOADING=1\nMONOTONIC_USEC={}", monotonic_ns() / 1000));
    }

    /// The server is on its way out.
    pub fn stopping(&mut self) {
        self.say("STOPPING=1".to_owned());
    }

    /// Sends what waits, and the watchdog message if it is time.
    pub fn turn(&mut self, now_ns: u64) {
        if let Some(every_ns) = self.watchdog_ns
            && now_ns >= self.next_beat_ns
        {
            self.next_beat_ns = now_ns + every_ns;
            self.say("WATCHDOG=1".to_owned());
        }
        self.send();
    }

    /// When [`ServiceManager::turn`] is wanted again.
    #[must_use]
    pub fn next_turn_ns(&self) -> Option<u64> {
        self.watchdog_ns.map(|_| self.next_beat_ns)
    }

    fn say(&mut self, message: String) {
        if self.socket.is_some() && self.waiting.len() < MOST_WAITING {
            self.waiting.push_back(message);
            self.send();
        }
    }

    fn send(&mut self) {
        let Some(socket) = &self.socket else { return };
        while let Some(message) = self.waiting.front() {
            match socket.send(message.as_bytes()) {
                // The manager is slow: the next turn tries again.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // It is gone, or takes no such message; the server goes on.
                Ok(_) | Err(_) => _ = self.waiting.pop_front(),
            }
        }
    }
}

fn connect(path: &[u8]) -> io::Result<UnixDatagram> {
    let address = match path {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        path => SocketAddr::from_pathname(std::ffi::OsString::from_vec(path.to_vec()))?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.connect_addr(&address)?;
    Ok(socket)
}

/// Half of what the manager allows, as `sd_watchdog_enabled(3)` advises; none where it watches another process.
fn watchdog_ns() -> Option<u64> {
    let number = |name| std::env::var(name).ok()?.parse::<u64>().ok();
    let meant = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
    number("WATCHDOG_USEC").filter(|&usec| meant && usec > 0).map(|usec| usec.saturating_mul(1000) / 2)
}
