//! The master: accepts connections and hands them over; has the child processes, and replaces those that die.
//!
//! It has one thread for ever (its forks must be safe), waits for nothing but its poll, and never reads a byte that a
//! client sent. What is to be done the `supervisor` decides, a state machine without system calls; the `driver` is the loop
//! around it.

mod accept;
mod accepting;
mod children;
mod dispatch;
mod driver;
mod error;
mod event_sources;
mod final_check;
mod notify;
mod program;
mod reap;
mod requests;
mod restore;
mod signals;
pub mod start;
mod startup;
mod supervisor;
mod upgrade;

use crate::base::config::{ConfigError, Settings};
use crate::ipc::{IpcError, process};
use crate::service::entry::Entry;
use crate::store::access_log::AccessLog;
pub use error::MasterError;
pub use upgrade::check as check_upgrade;

/// Runs a server that offers `services` until it is told to stop. `read_settings` reads the settings, now and again on SIGHUP.
///
/// # Errors
/// See [`MasterError`]. Nothing is left behind then either.
pub fn run(
    services: &'static [Entry],
    read_settings: impl Fn() -> Result<Settings, ConfigError> + 'static,
) -> Result<(), MasterError> {
    process::set_name("vault-master");
    process::open_standard_descriptors().map_err(|source| MasterError::Io { step: "open /dev/null", source })?;
    process::ignore_file_size_signal().map_err(|errno| IpcError::system("ignore", "SIGXFSZ", errno))?;
    let left = upgrade::HandedOver::announced()?;
    process::collect_own_children();
    // Before the first child, which takes the mask off again.
    event_sources::handled_signals()
        .thread_block()
        .map_err(|errno| IpcError::system("block", "the signals that are read", errno))?;
    let read_settings = Box::new(read_settings);
    let (mut driver, unlinker) = match left {
        None => startup::start(services, read_settings)?,
        Some(left) => upgrade::resume(left, services, read_settings)?,
    };
    driver.run()?;
    if let Some(Err(error)) = driver.common.access_log.map(AccessLog::drain) {
        log::error!("{error}");
    }
    final_check::check(unlinker.0)
}
