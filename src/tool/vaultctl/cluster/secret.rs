//! `vaultctl cluster secret [FILE]`: makes the file of `master --cluster-secret`.

use std::path::PathBuf;

use crate::store::cluster::{SecretError, secret};
use crate::tool::vaultctl::failure::{Failure, say};

#[derive(Debug, clap::Args)]
#[command(after_help = "Give every member of the cluster the same file, by a way that nobody else can read.")]
pub(super) struct MakeSecret {
    /// The file to make, mode 0600; without it the secret goes to the standard output
    file: Option<PathBuf>,
}

pub(super) fn run(args: &MakeSecret) -> Result<(), Failure> {
    let Some(path) = &args.file else {
        return say(&format!("{}\n", secret::draw()?));
    };
    secret::make(path).map_err(|error| match error {
        SecretError::Exists { .. } => Failure::refused(error),
        other => other.into(),
    })?;
    say(&format!("made {}; give every member of the cluster the same\n", path.display()))
}
