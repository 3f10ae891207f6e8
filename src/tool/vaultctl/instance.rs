//! Naming a running instance, and opening it.

use super::failure::{Failure, Unavailable};
use crate::store::instance::{Instance, stale};

/// JournalArgs instance.
#[derive(Debug, clap::Args)]
pub(super) struct InstanceName {
    /// Name of the instance, as `master --instance` took it
    #[arg(long = "instance", value_name = "NAME", default_value = "vault")]
    pub name: String,
}

/// Says on the standard error which objects bear an instance's name and are none of its own.
pub(super) fn warn(scan: &stale::ObjectScan) {
    scan.warnings().iter().for_each(|warning| eprintln!("vaultctl: warning: {warning}"));
}

/// Opens the one running instance of that name for reading.
pub(super) fn running(name: &InstanceName) -> Result<Instance, Failure> {
    // What cannot be listed is the error of the next line.
    if let Ok(scan) = stale::scan(&name.name)
        && !scan.living.is_empty()
    {
        warn(&scan);
    }
    stale::open_running(&name.name).map_err(|why| Failure::unavailable(Unavailable(why)))
}
