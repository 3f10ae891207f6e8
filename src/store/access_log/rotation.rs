//! Rotation: `access.log` becomes `.1`, `.1` becomes `.2`, and so on; the oldest goes.
//!
//! A death between two renames leaves one number without a file. So files are moved up only as far as the first gap: done
//! again after a death at any step, this moves the same files to the same places, and none is lost.

use std::ffi::OsString;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use crate::base::crash_point::{CrashPoint, crash_point};

/// The `number`-th rotated file; the higher, the older.
pub(super) fn rotated(path: &Path, number: u32) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(format!(".{number}"));
    name.into()
}

/// Moves the file and those before it up by one number, and keeps `keep` of them. Under the lock only.
///
/// # Errors
/// What a rename gives, unless the file was removed meanwhile.
pub(super) fn rotate(path: &Path, keep: u32) -> io::Result<()> {
    let keep = keep.max(1);
    // Where there is no gap the last one is replaced by the one before it, in one step.
    let gap = (1..keep).find(|&number| !exists(&rotated(path, number))).unwrap_or(keep);
    for number in (1..gap).rev() {
        rename(&rotated(path, number), &rotated(path, number + 1))?;
    }
    rename(path, &rotated(path, 1))?;
    crash_point(CrashPoint::LogRotated);
    Ok(())
}

/// A name that cannot be looked at counts as taken: its rename says why.
fn exists(path: &Path) -> bool {
    !matches!(fs::symlink_metadata(path), Err(error) if error.kind() == ErrorKind::NotFound)
}

fn rename(from: &Path, to: &Path) -> io::Result<()> {
    crash_point(CrashPoint::LogRotating);
    match fs::rename(from, to) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is in the log and in its rotated files, a letter each; `-` where there is no file.
    fn contents(path: &Path) -> String {
        let names = std::iter::once(path.to_owned()).chain((1..=4).map(|number| rotated(path, number)));
        names.map(|name| fs::read_to_string(name).unwrap_or_else(|_| "-".to_owned())).collect()
    }

    /// Writes files with such contents.
    fn fill(path: &Path, contents: &str) {
        let names = std::iter::once(path.to_owned()).chain((1..=4).map(|number| rotated(path, number)));
        for (name, letter) in names.zip(contents.chars()) {
            let _ = fs::remove_file(&name);
            if letter != '-' {
                fs::write(&name, letter.to_string()).unwrap();
            }
        }
    }

    #[test]
    fn files_move_up_to_the_first_gap_and_the_oldest_goes() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("access.log");
        for (keep, before, after) in [
            (3, "a----", "-a---"),
            (3, "ab---", "-ab--"),
            (3, "abcd-", "-abc-"),
            (3, "abcde", "-abce"),
            (3, "a-cd-", "-acd-"),
            (3, "ab-d-", "-abd-"),
            (3, "-bcd-", "--bc-"),
            (1, "ab---", "-a---"),
            (0, "ab---", "-a---"),
            (4, "abcde", "-abcd"),
        ] {
            fill(&path, before);
            rotate(&path, keep).unwrap();
            assert_eq!(contents(&path), after, "{before} with {keep} kept");
        }
    }

    #[test]
    fn a_name_that_is_in_the_way_is_an_error_and_loses_nothing() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("access.log");
        fill(&path, "a----");
        fs::create_dir_all(rotated(&path, 1).join("inside")).unwrap();
        rotate(&path, 1).unwrap_err();
        assert_eq!(contents(&path), "a----");
    }
}
