//! The ownership check of a data directory: another user who could change or replace its files could make money.
//!
//! The directory and those in it must belong to the user that the server runs as, and only that user may write to them. Then no file
//! can be replaced between this check and its opening. A directory may be a symbolic link that the user or root made, for a journal
//! on another disk; a file may not. (PostgreSQL demands the same of its data directory, and that others cannot read it; here
//! only the files are unreadable for others.)

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;

use super::error::{DiskError, Step, if_found};

/// Permission bits by which others could change or replace it.
const WRITABLE_BY_OTHERS: u32 = 0o022;
const ROOT: u32 = 0;
/// The files of the data directory itself that are read.
const FILES: [&str; 4] = ["format", "openings", "closed", "principals"];

/// Why a data directory, or something in it, is not trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OwnershipError {
    /// A file behind a symbolic link.
    #[error("it is a symbolic link; put the file itself there")]
    Link,
    /// A directory behind a symbolic link that another user made.
    #[error(
        "it is a symbolic link that user {owner} made, and the server is user {user}; make it yourself, or remove it"
    )]
    LinkOwner {
        /// Who made it.
        owner: u32,
        /// Who the server is.
        user: u32,
    },
    /// Owned by another user.
    #[error("it belongs to user {owner}, and the server is user {user}; `chown` it, or run the server as that user")]
    Owner {
        /// Whose it is.
        owner: u32,
        /// Who the server is.
        user: u32,
    },
    /// Others may write to it.
    #[error("others can write to it (mode {mode:04o}); look through it, then `chmod go-w` it")]
    Writable {
        /// Its permission bits.
        mode: u32,
    },
    /// A directory where a file should be, a device, a pipe…
    #[error("it is no regular file")]
    NoFile,
    /// A file where a directory should be.
    #[error("it is no directory")]
    NoDirectory,
}

/// What something should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    File,
    Directory,
}

/// What is at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Found {
    /// Who made the symbolic link, where it is one.
    link_owner: Option<u32>,
    is_file: bool,
    is_directory: bool,
    owner: u32,
    mode: u32,
}

/// The decision. `user` is who the server, or the tool, is.
fn judge(wanted: Wanted, found: Found, user: u32, any_owner: bool) -> Result<(), OwnershipError> {
    let Found { link_owner, is_file, is_directory, owner, mode } = found;
    match (wanted, link_owner) {
        (Wanted::File, Some(_)) => return Err(OwnershipError::Link),
        (Wanted::Directory, Some(owner)) if owner != user && owner != ROOT => {
            return Err(OwnershipError::LinkOwner { owner, user });
        }
        _ => {}
    }
    match wanted {
        Wanted::File if !is_file => Err(OwnershipError::NoFile),
        Wanted::Directory if !is_directory => Err(OwnershipError::NoDirectory),
        _ if owner != user && !any_owner => Err(OwnershipError::Owner { owner, user }),
        _ if mode & WRITABLE_BY_OTHERS != 0 => Err(OwnershipError::Writable { mode }),
        _ => Ok(()),
    }
}

/// Checks `data` and what is in it. For a tool that root runs, the owner may be anybody.
///
/// # Errors
/// What cannot be looked at; inside, the first path that is not trusted, and why.
pub(super) fn check(data: &Path, is_tool: bool) -> Result<Result<(), (PathBuf, OwnershipError)>, DiskError> {
    let user = geteuid().as_raw();
    let any_owner = is_tool && user == ROOT;
    let judged = |path: &Path, wanted| -> Result<Option<Result<(), OwnershipError>>, DiskError> {
        Ok(look(path).step("look at", path)?.map(|found| judge(wanted, found, user, any_owner)))
    };
    for folder in [data.to_owned(), data.join("journal"), data.join("snapshot"), data.join("torn")] {
        match judged(&folder, Wanted::Directory)? {
            None => continue,
            Some(Err(why)) => return Ok(Err((folder, why))),
            Some(Ok(())) => {}
        }
        for entry in fs::read_dir(&folder).step("list", &folder)? {
            let path = entry.step("list", &folder)?.path();
            let is_ours = folder != *data || FILES.iter().any(|name| path.ends_with(name));
            if is_ours && let Some(Err(why)) = judged(&path, Wanted::File)? {
                return Ok(Err((path, why)));
            }
        }
    }
    Ok(Ok(()))
}

/// What is at `path`, if anything is.
fn look(path: &Path) -> io::Result<Option<Found>> {
    let Some(itself) = if_found(fs::symlink_metadata(path))? else { return Ok(None) };
    let link_owner = itself.file_type().is_symlink().then(|| itself.uid());
    // A link to nothing is reported as it is: neither a file nor a directory.
    let meant = if_found(fs::metadata(path))?.unwrap_or(itself);
    let kind = meant.file_type();
    let (is_file, is_directory) = (kind.is_file(), kind.is_dir());
    Ok(Some(Found { link_owner, is_file, is_directory, owner: meant.uid(), mode: meant.mode() & 0o7777 }))
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::super::{Directory, DirectoryError};
    use super::*;
    use crate::base::vocab::Cents;

    #[test]
    fn the_table_over_all_inputs() {
        const ME: u32 = 1000;
        const OTHER: u32 = 1001;
        for wanted in [Wanted::File, Wanted::Directory] {
            for link_owner in [None, Some(ME), Some(OTHER), Some(ROOT)] {
                for (is_file, is_directory) in [(true, false), (false, true), (false, false)] {
                    for owner in [ME, OTHER, ROOT] {
                        for mode in [0o700, 0o600, 0o750, 0o755, 0o720, 0o702, 0o777, 0o1777] {
                            for any_owner in [false, true] {
                                let found = Found { link_owner, is_file, is_directory, owner, mode };
                                let right_kind = if wanted == Wanted::File { is_file } else { is_directory };
                                let link = match wanted {
                                    Wanted::File => link_owner.is_none(),
                                    Wanted::Directory => link_owner != Some(OTHER),
                                };
                                let private = [0o700, 0o600, 0o750, 0o755].contains(&mode);
                                let good = right_kind && link && (owner == ME || any_owner) && private;
                                let judged = judge(wanted, found, ME, any_owner);
                                assert_eq!(judged.is_ok(), good, "{wanted:?} {found:?} {any_owner}: {judged:?}");
                            }
                        }
                    }
                }
            }
        }
    }

    fn open(data: &Path) -> Result<Directory, DirectoryError> {
        Directory::open_or_create(data, 10, Cents::ZERO, 4096)
    }

    fn distrust(data: &Path) -> (PathBuf, OwnershipError) {
        let mut found = Vec::new();
        for opened in [open(data), Directory::open(data)] {
            match opened {
                Err(DirectoryError::Untrusted { path, why }) => found.push((path, why)),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(found[0], found[1]);
        found.remove(0)
    }

    #[test]
    fn what_others_can_write_to_is_refused_by_its_name() {
        let home = tempfile::tempdir().unwrap();
        let data = home.path().join("data");
        open(&data).unwrap();
        fs::write(data.join("journal/00000000000000000001.segment"), b"").unwrap();
        for path in ["", "journal", "snapshot", "format", "journal/00000000000000000001.segment"] {
            let path = if path.is_empty() { data.clone() } else { data.join(path) };
            let before = fs::metadata(&path).unwrap().permissions();
            for mode in [0o770, 0o722, 0o777] {
                fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
                assert_eq!(distrust(&data), (path.clone(), OwnershipError::Writable { mode }));
            }
            fs::set_permissions(&path, before).unwrap();
        }
        open(&data).unwrap();
        fs::set_permissions(&data, Permissions::from_mode(0o755)).unwrap();
        open(&data).unwrap();
    }

    #[test]
    fn a_link_may_lead_to_a_directory_of_ours_and_not_to_a_file() {
        let home = tempfile::tempdir().unwrap();
        let data = home.path().join("data");
        open(&data).unwrap();
        fs::rename(data.join("journal"), home.path().join("elsewhere")).unwrap();
        symlink(home.path().join("elsewhere"), data.join("journal")).unwrap();
        symlink(&data, home.path().join("link")).unwrap();
        open(&home.path().join("link")).unwrap();
        fs::set_permissions(home.path().join("elsewhere"), Permissions::from_mode(0o777)).unwrap();
        assert_eq!(distrust(&data), (data.join("journal"), OwnershipError::Writable { mode: 0o777 }));
        fs::set_permissions(home.path().join("elsewhere"), Permissions::from_mode(0o700)).unwrap();
        for name in ["format", "openings", "closed", "journal/00000000000000000001.segment", "snapshot/x"] {
            let path = data.join(name);
            let aside = home.path().join("aside");
            if fs::rename(&path, &aside).is_err() {
                fs::write(&aside, b"").unwrap();
            }
            symlink(&aside, &path).unwrap();
            assert_eq!(distrust(&data), (path.clone(), OwnershipError::Link));
            fs::remove_file(&path).unwrap();
            fs::rename(&aside, &path).unwrap();
        }
        fs::create_dir(data.join("journal/00000000000000000009.segment")).unwrap();
        assert_eq!(distrust(&data).1, OwnershipError::NoFile);
    }
}
