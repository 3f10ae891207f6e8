//! The program that an upgrade executes.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The path by which this program was invoked, made absolute and not resolved: a release is often switched by a symbolic link, and
/// what it points to later is what an upgrade is to execute. If it does not lead to this program, the path that the kernel knows.
///
/// # Errors
/// The kernel knows none (`readlink(2)` of `/proc/self/exe`).
pub fn invoked() -> std::io::Result<PathBuf> {
    let own = std::env::current_exe()?;
    let words = std::env::args_os().next().map(PathBuf::from);
    let invoked = words.and_then(|word| {
        if word.components().count() > 1 || word.is_absolute() {
            return std::path::absolute(word).ok();
        }
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path).map(|folder| folder.join(&word)).find(|candidate| same_file(candidate, &own))
    });
    Ok(invoked.filter(|invoked| same_file(invoked, &own)).unwrap_or(own))
}

fn same_file(one: &Path, other: &Path) -> bool {
    let identity = |path| fs::metadata(path).map(|file| (file.dev(), file.ino()));
    matches!((identity(one), identity(other)), (Ok(one), Ok(other)) if one == other)
}
