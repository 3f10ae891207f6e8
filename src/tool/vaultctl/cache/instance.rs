//! Which instance is meant, and that it has a cache process.

use crate::ipc::process::monotonic_ns;
use crate::status::cache::Cache;
use crate::store::instance::Instance;
use crate::tool::vaultctl::failure::Failure;
use crate::tool::vaultctl::source::{InstanceName, running};

/// The instance that is asked, and for how long.
#[derive(Debug, clap::Args)]
pub(super) struct AskingArgs {
    #[command(flatten)]
    pub(super) instance: InstanceName,
    /// Seconds to wait for the cache process, 1 to 3600
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(super) timeout: u64,
}

/// The running instance of that name, with what its cache process counts now.
pub(super) fn instance_with_cache(name: &InstanceName) -> Result<(Instance, Cache), Failure> {
    let instance = running(name)?;
    match Cache::of(&instance, monotonic_ns()) {
        Some(cache) => Ok((instance, cache)),
        None => Err(Failure::unavailable(format!(
            "the instance `{}` has no cache process; a server has one that is started with --getfile-port and either \
             --getfile-upstream or --getfile-map",
            name.name
        ))),
    }
}
