//! Whether a server with certain settings can start here: found out before anything is made, and said in one line.
//!
//! `check` changes nothing that lasts. What is needed is computed from the settings (`needs`); what is there is probed
//! (`there`, `cgroup`, `places`, `ports`, `claim::look`); the two are held against each other by a pure function
//! (`weigh`), which also says with which options it would fit (`knobs`). The start itself then claims data directory and name
//! (`claim`) and opens its ports (`ports::open`): what somebody else took in between is an error there, in the same words.

mod cgroup;
pub mod claim;
mod knobs;
pub mod needs;
mod places;
pub mod ports;
pub mod served;
mod there;
mod weigh;

pub use claim::ClaimError;
use needs::Existing;
pub use needs::Needs;
pub use places::PlaceError;
pub use ports::PortError;
pub use served::ServedError;
use there::There;
use weigh::Scales;
pub use weigh::Shortage;

use crate::base::config::{Durability, Settings};
use crate::store::journal::{Directory, DirectoryError, segment};
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
pub struct Plan {
    /// Who may log in.
    pub users: Users,
    /// What the server takes.
    pub needs: Needs,
    /// What may become short later, in words.
    pub warnings: Vec<String>,
}

/// Why a server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The users file cannot be used.
    #[error(transparent)]
    Users(#[from] UsersError),
    /// Another server has the data directory or the name.
    #[error(transparent)]
    Claim(#[from] ClaimError),
    /// A place cannot be used.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// Something is short.
    #[error(transparent)]
    Shortage(#[from] Shortage),
    /// The folder for HTTP cannot be served.
    #[error(transparent)]
    Served(#[from] ServedError),
    /// A port cannot be had.
    #[error(transparent)]
    Port(#[from] PortError),
    /// The data directory's `format` cannot be used.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
}

/// Whether a server with these settings would start here, or go on here after an upgrade. Changes nothing that lasts; waits only for
/// processes that are dying, as the start itself would.
///
/// # Errors
/// See [`StartError`]: the first thing that keeps it from starting.
pub fn check(settings: &Settings, occasion: Occasion) -> Result<Plan, StartError> {
    let users = read_users(settings)?;
    served::check(settings)?;
    if let Some(log) = settings.http.access_log.as_deref().filter(|_| settings.http.is_on()) {
        places::check_log(log)?;
    }
    let existing = look_into(settings)?;
    let needs = Needs::of(settings, existing);
    let fresh = occasion == Occasion::Start;
    if fresh {
        // Who runs already is the better reason than what he has taken.
        places::check(&settings.data, 0)?;
        claim::look(&settings.data, &settings.instance)?;
    }
    let mut there = There::look(&settings.instance, &places::nearest(&settings.data));
    if !fresh {
        there = There { shared: None, names: None, memory: Vec::new(), tasks: Vec::new(), disk: None, ..there };
    }
    let warnings = Scales { settings, existing }.weigh(&there)?;
    if fresh {
        places::check(&settings.data, needs.disk)?;
        ports::check(settings)?;
    }
    Ok(Plan { users, needs, warnings })
}

/// Who may log in, by these settings.
pub(super) fn read_users(settings: &Settings) -> Result<Users, UsersError> {
    settings.users.as_deref().map_or_else(|| Ok(Users::demo()), Users::load)
}

/// What a data directory that is there says. One that is of no journal, or is not there, says nothing.
fn look_into(settings: &Settings) -> Result<Existing, StartError> {
    let data = &settings.data;
    if settings.durability == Durability::None || data.join("format").symlink_metadata().is_err() {
        return Ok(Existing::default());
    }
    let directory = Directory::open(data)?;
    Ok(Existing {
        accounts: directory.openings().accounts(),
        records_per_segment: Some(directory.records_per_segment()),
        has_segments: segment::list(&directory).is_ok_and(|segments| !segments.is_empty()),
    })
}
