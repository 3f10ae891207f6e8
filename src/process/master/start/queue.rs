//! Whether there can be a queue for the cache process.

use crate::ipc::names::Generation;
use crate::process::master::error::MasterError;
use crate::process::master::start::boot;
use crate::store::cache_channel::CacheChannel;
use crate::store::instance::stale::{self, NamedObject};

/// Whether a queue can be made for an instance of that name: makes one, and removes it again. Its size counts against limits of the user,
/// and what others use of those cannot be seen.
///
/// # Errors
/// It cannot, for the limit that the error names.
pub fn check(instance: &str) -> Result<(), MasterError> {
    let dead =
        stale::scan(instance).is_ok_and(|scan| scan.stale.iter().any(|object| matches!(object, NamedObject::Queue(_))));
    // The start removes that one first, which makes room for its own.
    if dead {
        return Ok(());
    }
    let generation = Generation { instance: instance.to_owned(), boot: boot::draw()? };
    Ok(CacheChannel::try_queue(&generation)?)
}
