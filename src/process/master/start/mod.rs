//! Whether a server with certain settings can start here: found out before anything is made, and said in one line.
//!
//! `check` changes nothing that lasts. `requirements` computes from the settings what is needed, `probe`, `cgroup`, `file_systems` and
//! `ports` find out what is available, and `shortage` compares the two, purely; it also says with which options (`tunables`) the server
//! would fit. The start itself then takes the data directory and the name (`ownership`) and opens the ports: what somebody else took in
//! between is an error there, in the same words.

pub mod boot;
mod cgroup;
pub mod file_systems;
pub mod ownership;
pub mod ports;
mod probe;
mod queue;
pub mod requirements;
pub(super) mod shortage;
mod tunables;

use probe::Available;
use requirements::Existing;
pub use requirements::Requirements;
use shortage::Comparison;

use crate::base::config::{Durability, Settings};
use crate::base::vocab::Cents;
use crate::process::master::error::MasterError;
use crate::service::entry::{Entry, Needs};
use crate::store::cluster::Secret;
use crate::store::journal::{AccountFile, Bounds, Directory, DirectoryError, OpeningBalances, segment};
use crate::store::users::{Users, UsersError};

/// What a check is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occasion {
    /// A server that does not run yet.
    Start,
    /// Another program in place of one that runs: memory, data directory and ports are there already.
    Upgrade,
}

/// What a check found out that the start goes on with.
#[derive(Debug)]
pub struct Checked {
    /// Who may log in.
    pub users: Users,
    /// What accounts open with, if a file says so; only for a start.
    pub listed: Option<OpeningBalances>,
    /// What the server takes.
    pub requirements: Requirements,
    /// What may become short later, in words.
    pub warnings: Vec<String>,
}

/// Whether a server with these settings would start here, or go on here after an upgrade. Changes nothing that lasts; waits only for
/// processes that are dying, as the start itself would.
///
/// # Errors
/// See [`MasterError`]: the first thing that keeps it from starting.
pub fn check(services: &'static [Entry], settings: &Settings, occasion: Occasion) -> Result<Checked, MasterError> {
    let users = read_users(settings)?;
    let Needs { folders, logs, .. } = requirements::needs(services, settings);
    folders.iter().try_for_each(|folder| file_systems::check_served(folder, settings))?;
    logs.iter().try_for_each(file_systems::check_log)?;
    for service in services.iter().filter(|service| (service.listen)(settings).is_some()) {
        (service.check)(settings).map_err(|why| MasterError::Service { name: service.name, why })?;
    }
    if let Some(cluster) = &settings.cluster {
        Secret::load(&cluster.secret)?;
    }
    let directory = look_into(settings)?;
    let existing = directory.as_ref().map_or_else(Existing::default, existing);
    let requirements = Requirements::of(services, settings, existing);
    let fresh = occasion == Occasion::Start;
    // What runs has opened its accounts, and the file may be gone.
    let listed = if fresh { read_openings(settings, directory.as_ref())? } else { None };
    if fresh {
        // Who runs already is the better reason than what he has taken.
        file_systems::check(&settings.data, 0)?;
        ownership::check(&settings.data, &settings.instance)?;
    }
    let mut available = Available::probe(&settings.instance, &file_systems::nearest(&settings.data));
    if !fresh {
        available =
            Available { shared: None, names: None, memory: Vec::new(), tasks: Vec::new(), disk: None, ..available };
    }
    let warnings = Comparison { services, settings, existing }.check(&available)?;
    if fresh {
        if requirements::transfers(services, settings).is_some() {
            queue::check(&settings.instance)?;
        }
        file_systems::check(&settings.data, requirements.disk)?;
        ports::check(services, settings)?;
        ports::check_peers(services, settings)?;
    }
    Ok(Checked { users, listed, requirements, warnings })
}

/// Who may log in, by these settings.
pub(super) fn read_users(settings: &Settings) -> Result<Users, UsersError> {
    settings.users.as_deref().map_or_else(|| Ok(Users::demo()), Users::load)
}

/// The data directory of a journal that is there.
fn look_into(settings: &Settings) -> Result<Option<Directory>, DirectoryError> {
    let data = &settings.data;
    if settings.durability == Durability::None || data.join("format").symlink_metadata().is_err() {
        return Ok(None);
    }
    Directory::open(data).map(Some)
}

fn existing(directory: &Directory) -> Existing {
    Existing {
        accounts: directory.openings().accounts(),
        records_per_segment: Some(directory.records_per_segment()),
        has_segments: segment::list(directory).is_ok_and(|segments| !segments.is_empty()),
    }
}

/// What accounts open with, by the file that the settings name. Where there are accounts already, they must have been opened so.
fn read_openings(settings: &Settings, directory: Option<&Directory>) -> Result<Option<OpeningBalances>, MasterError> {
    let Some(path) = &settings.opening_balances else { return Ok(None) };
    let Some(directory) = directory else {
        let most = Cents(i64::MAX / i64::from(settings.accounts));
        return Ok(Some(AccountFile::read(path, Bounds { accounts: settings.accounts, most })?));
    };
    // Accounts may have been added since, and each of more accounts can hold less.
    let accounts = directory.openings().accounts();
    let listed = AccountFile::read(path, Bounds { accounts, most: Cents(i64::MAX) })?;
    directory.check_openings(&listed)?;
    Ok(Some(listed))
}
