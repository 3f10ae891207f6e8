//! The last resort: neither the new program nor the old one can go on with what is in shared memory. All that was acknowledged is in
//! the journal, so this process ends the children and starts anew from there. The listening sockets stay, so no connection is refused
//! meanwhile; clients lose their connections and repeat, under the same keys, what was not answered.

use std::fs::File;

use super::hand_over::{Descriptors, HandOver, users_that_were_known};
use crate::base::config::{AcceptMode, Durability};
use crate::ipc::inherit::Inheritance;
use crate::process::master::driver::Driver;
use crate::process::master::error::MasterError;
use crate::process::master::start::ownership;
use crate::process::master::startup::{ReadSettings, ServerBuilder, UnlinkOnDrop};
use crate::service::entry::Entry;

/// Starts anew, with the settings and the users that were known. `why` is what keeps the old program from going on.
///
/// # Errors
/// `why`, where the accounts were in memory only; what keeps the server from starting.
pub fn start_over(
    mut inheritance: Inheritance,
    left: HandOver,
    services: &'static [Entry],
    read_settings: ReadSettings,
    why: MasterError,
) -> Result<(Driver, UnlinkOnDrop), MasterError> {
    if left.settings.durability == Durability::None {
        return Err(why);
    }
    log::error!("upgrade: the program before cannot go on either: {why}");
    log::error!("upgrade: starting anew from the journal; what was acknowledged is there, clients must connect again");
    let users = users_that_were_known(&left)?;
    let mut descriptors = Descriptors(&mut inheritance);
    let processes = left.workers.iter().filter_map(|worker| Some(worker.process.as_ref()?.child));
    for child in processes.chain(left.journal) {
        descriptors.take_child(child)?.end();
    }
    let data_lock = File::from(descriptors.take(left.data_lock)?);
    let listeners = match (left.settings.accept, left.workers.first()) {
        (AcceptMode::Dispatch, _) => left.listeners,
        (AcceptMode::Reuseport, Some(worker)) => worker.listeners,
        (AcceptMode::Shared | AcceptMode::Reuseport, _) => left.shared_listeners,
    };
    let taken = descriptors.take_listeners(listeners)?;
    // The rest goes: connections, lanes, and the lock by which the old memory counts as alive.
    let rest: Vec<_> = left.descriptors().filter_map(|number| descriptors.take(number).ok()).collect();
    drop(rest);
    ownership::remove_stale(&left.instance)?;
    let settings = Box::leak(Box::new(left.settings));
    ServerBuilder { services, settings, read_settings, users, program: left.program, data_lock, listeners: taken }
        .build()
}
