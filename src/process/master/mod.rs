//! The master: accepts connections and hands them over; has the child processes, and replaces those that die.
//!
//! It has one thread for ever (its forks must be safe), waits for nothing but its poll, and never reads a byte that a
//! client sent. What is to be done the `supervisor` decides, a state machine without system calls; the `driver` is the loop
//! around it.

mod accept;
mod children;
mod clock_watch;
mod dispatch;
mod driver;
mod error;
mod event_sources;
mod notify;
mod reap;
mod remake;
mod restore;
mod rpcbind;
mod signals;
pub mod start;
mod startup;
mod supervisor;
mod upgrade;

use crate::base::config::{ConfigError, Settings};
use crate::base::logging;
use crate::ipc::{IpcError, process};
use crate::service::entry::Entry;
use crate::store::access_log::AccessLog;
use crate::store::connection::ServiceId;
use crate::store::instance::Instance;
use crate::store::instance::stats::WorkerStats;
use crate::store::ledger::{Totals, cut};
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
    let ended = driver.run();
    // Its port is another's from now on, whyever it has ended.
    rpcbind::withdraw_services(driver.common.settings, &rpcbind::Places::default());
    ended?;
    if unlinker.0.replica_row().is_remaking() {
        logging::announce("stopped: while the books were being remade; the next start reads them from the journal");
        return Ok(());
    }
    if let Some(Err(error)) = driver.common.access_log.map(AccessLog::drain) {
        log::error!("{error}");
    }
    check_sums(unlinker.0)
}

/// When all workers are gone: says what happened, and checks that the accounts hold what came in, less what went out.
///
/// # Errors
/// Money was lost or made.
fn check_sums(instance: &Instance) -> Result<(), MasterError> {
    let rows = instance.workers();
    let sum = |counter: fn(&WorkerStats) -> u64| -> u64 { rows.iter().map(|row| counter(&row.stats)).sum() };
    let requests = sum(|stats| stats.requests.iter().map(|counter| counter.get()).sum());
    let seconds = (process::monotonic_ns() - instance.control().started_ns.get()) / 1_000_000_000;
    // Without workers nothing changes meanwhile.
    let Some(totals) = cut::take(instance.table()) else { return Ok(()) };
    let Totals { accounts, sum: held, deposited, withdrawn, lsn } = totals;
    let line = format!(
        "stopped: after {seconds} s, {} connections, {requests} requests, {lsn} operations; {accounts} accounts hold \
         {held}, deposited {deposited}, withdrawn {withdrawn}",
        sum(|stats| stats.services[ServiceId::FIRST.index()].accepted.get()),
    );
    // Only where the disk was full: what was not written is lost.
    let sequencer = instance.table().sequencer();
    let lost = match lsn.0.saturating_sub(sequencer.on_disk().0.0) {
        lost if lost > 0 && sequencer.is_journaled() => {
            format!("; the last {lost} operations are not on disk, and gone")
        }
        _ => String::new(),
    };
    // The standard output may be closed.
    logging::announce(&format!("{line}{lost}"));
    let (expected, found) = (instance.table().opening(), totals.opening());
    if expected == found { Ok(()) } else { Err(MasterError::Unbalanced { expected, found }) }
}
