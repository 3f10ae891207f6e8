//! Reading the users file, and changing it so that a crash or a second writer loses nothing.
//!
//! A change writes the next version beside the file, syncs it and renames it into place: a reader sees the old version
//! or the new one, whole. Writers take turns by `flock` on the file itself. Since the rename puts another file under the
//! name, a writer that had to wait checks that what it locked is still what the name means.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};

use argon2::password_hash::{PasswordHashString, PasswordHasher, Salt, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};

use super::entry::{self, Entry};
use super::error::UsersError;
use super::role::Role;
use crate::base::limits::MAX_CREDENTIAL_BYTES;

/// Permissions of the file: its owner's alone, because hashes can be guessed at offline.
const MODE: u32 = 0o600;
/// Permissions of a directory made for it.
const DIRECTORY_MODE: u32 = 0o700;

/// Adds a user; makes the file, and its directory, if there is none. Hashing takes tens of milliseconds.
pub fn add(path: &Path, name: &str, password: &[u8], role: Role) -> Result<(), UsersError> {
    entry::check_name(name)?;
    if !(1..=MAX_CREDENTIAL_BYTES).contains(&password.len()) {
        return Err(UsersError::PasswordLength(password.len()));
    }
    // Before the lock is taken: others need not wait for the slow part.
    let hash = hash_password(password)?;
    if let Some(directory) = path.parent() {
        let made = DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(directory);
        made.map_err(|source| UsersError::MakeDirectory { path: directory.to_owned(), source })?;
    }
    update(path, true, |text, entries| {
        if entries.iter().any(|entry| entry.name == name) {
            return Err(UsersError::Exists { name: name.to_owned(), path: path.to_owned() });
        }
        let separator = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
        Ok(format!("{text}{separator}{name}:{}:{role}\n", hash.as_str()))
    })
}

/// Removes a user; comments and the order of the others stay.
pub fn remove(path: &Path, name: &str) -> Result<(), UsersError> {
    update(path, false, |text, entries| {
        let Some(gone) = entries.iter().find(|entry| entry.name == name) else {
            return Err(UsersError::NoSuchUser { name: name.to_owned(), path: path.to_owned() });
        };
        let others = (1..).zip(text.split_inclusive('\n')).filter(|(line, _)| *line != gone.line);
        Ok(others.map(|(_, content)| content).collect())
    })
}

/// All users with their roles, in the order of the file.
pub fn list(path: &Path) -> Result<Vec<(String, Role)>, UsersError> {
    Ok(read(path)?.into_iter().map(|entry| (entry.name, entry.role)).collect())
}

/// Reads without a lock: whatever version the name means at this moment is whole.
pub(super) fn read(path: &Path) -> Result<Vec<Entry>, UsersError> {
    let file = File::open(path).map_err(|source| UsersError::Read { path: path.to_owned(), source })?;
    let mode = check_permissions(path, &file)?;
    if mode & 0o077 != 0 {
        log::warn!(
            "the users file {} can be read by others (mode {mode:04o}), who can then guess passwords at leisure; \
             `chmod 600` it",
            path.display()
        );
    }
    parse(path, &read_text(path, file)?)
}

fn hash_password(password: &[u8]) -> Result<PasswordHashString, UsersError> {
    let mut salt = [0; Salt::RECOMMENDED_LENGTH];
    getrandom::fill(&mut salt).map_err(UsersError::Salt)?;
    let salt = SaltString::encode_b64(&salt).map_err(UsersError::Hash)?;
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::DEFAULT);
    Ok(argon2.hash_password(password, &salt).map_err(UsersError::Hash)?.serialize())
}

/// Refuses a file that others may write; gives its permission bits.
fn check_permissions(path: &Path, file: &File) -> Result<u32, UsersError> {
    let metadata = file.metadata().map_err(|source| UsersError::Read { path: path.to_owned(), source })?;
    let mode = metadata.mode() & 0o7777;
    if mode & 0o022 != 0 {
        return Err(UsersError::WritableByOthers { path: path.to_owned(), mode });
    }
    Ok(mode)
}

fn read_text(path: &Path, mut file: File) -> Result<String, UsersError> {
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(|source| UsersError::Read { path: path.to_owned(), source })?;
    Ok(text)
}

fn parse(path: &Path, text: &str) -> Result<Vec<Entry>, UsersError> {
    entry::parse(text).map_err(|(line, source)| UsersError::Line { path: path.to_owned(), line, source })
}

/// Replaces the file's text by what `change` makes of it, while no other writer can.
fn update(
    path: &Path,
    create: bool,
    change: impl FnOnce(&str, &[Entry]) -> Result<String, UsersError>,
) -> Result<(), UsersError> {
    // Where the name is a symbolic link, the file behind it is replaced and not the link.
    let path = &fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let locked = lock(path, create)?;
    check_permissions(path, &locked)?;
    let text = read_text(path, locked.try_clone().map_err(|source| UsersError::Read { path: path.clone(), source })?)?;
    let next = change(&text, &parse(path, &text)?)?;
    replace(path, &locked, &next)
    // `locked` is dropped here, which ends the lock.
}

/// The file that the name means, locked against other writers until it is dropped.
fn lock(path: &Path, create: bool) -> Result<File, UsersError> {
    loop {
        let opened = OpenOptions::new().read(true).write(true).create(create).truncate(false).mode(MODE).open(path);
        let file = opened.map_err(|source| UsersError::Read { path: path.to_owned(), source })?;
        let failed = |source| UsersError::Lock { path: path.to_owned(), source };
        file.lock().map_err(failed)?;
        let locked = file.metadata().map_err(failed)?;
        match fs::metadata(path) {
            Ok(named) if (named.dev(), named.ino()) == (locked.dev(), locked.ino()) => return Ok(file),
            // Another writer has put a new version in place while this one waited: lock that one.
            Ok(_) => {}
            Err(gone) if gone.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(failed(source)),
        }
    }
}

/// Writes the next version beside the file and renames it into place; all of it durable when this returns.
fn replace(path: &Path, current: &File, text: &str) -> Result<(), UsersError> {
    let next = next_version_of(path);
    let written =
        write_next(&next, current, text).map_err(|source| UsersError::WriteNext { path: next.clone(), source });
    let renamed = written
        .and_then(|()| fs::rename(&next, path).map_err(|source| UsersError::Replace { path: path.to_owned(), source }));
    if let Err(refusal) = renamed {
        // The first failure is the one to tell; what this leaves behind, if anything, the next change removes.
        let _ = fs::remove_file(&next);
        return Err(refusal);
    }
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let synced = File::open(directory).and_then(|directory| directory.sync_all());
    synced.map_err(|source| UsersError::SyncDirectory { path: directory.to_owned(), source })
}

/// `.users.next` for `users`: one name is enough, for only the holder of the lock uses it.
fn next_version_of(path: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".next");
    path.with_file_name(name)
}

fn write_next(next: &Path, current: &File, text: &str) -> io::Result<()> {
    match fs::remove_file(next) {
        // A writer that died before its rename left it.
        Ok(()) => {}
        Err(none) if none.kind() == io::ErrorKind::NotFound => {}
        Err(failed) => return Err(failed),
    }
    // `create_new`, so that nobody can slip a link in here.
    let mut file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(next)?;
    let (owner, made) = (current.metadata()?, file.metadata()?);
    if (owner.uid(), owner.gid()) != (made.uid(), made.gid()) {
        // Root changing a file that the server's account must go on reading.
        fchown(&file, Some(owner.uid()), Some(owner.gid()))?;
    }
    file.write_all(text.as_bytes())?;
    file.sync_all()
}
