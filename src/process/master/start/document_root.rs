//! The document root of HTTP: it must exist, and contain nothing private.

use super::file_systems::full_path;
use crate::base::config::Settings;
use crate::ipc::{IpcError, files};

/// The folder cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum DocumentRootError {
    /// Something private is inside.
    #[error("{what}, {path}, lies in the folder that --www serves, {folder}: serve another folder, or move it out")]
    Private {
        /// What it is.
        what: &'static str,
        /// Where it is.
        path: String,
        /// What is served.
        folder: String,
    },
    /// It does not exist, or may not be entered.
    #[error(transparent)]
    Ipc(#[from] IpcError),
}

/// Whether the document root exists, and neither the journal nor the users could be fetched over HTTP.
///
/// # Errors
/// See [`DocumentRootError`].
pub fn check(settings: &Settings) -> Result<(), DocumentRootError> {
    let Some(www) = settings.http.www.as_deref().filter(|_| settings.http.is_on()) else { return Ok(()) };
    files::open_folder(www)?;
    let folder = full_path(www);
    let private = [("the data directory", Some(&settings.data)), ("the users file", settings.users.as_ref())];
    let mut private = private.into_iter().filter_map(|(what, path)| Some((what, full_path(path?))));
    match private.find(|(_, path)| path.starts_with(&folder)) {
        Some((what, path)) => {
            let (path, folder) = (path.display().to_string(), folder.display().to_string());
            Err(DocumentRootError::Private { what, path, folder })
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_directory_that_is_not_made_yet_is_seen_in_the_served_folder() {
        let home = tempfile::tempdir().unwrap();
        let mut settings = Settings { data: home.path().join("data"), ..Settings::default() };
        settings.http.www = Some(home.path().to_owned());
        assert!(matches!(check(&settings), Err(DocumentRootError::Private { .. })));
        settings.data = home.path().with_extension("elsewhere");
        check(&settings).unwrap();
    }
}
