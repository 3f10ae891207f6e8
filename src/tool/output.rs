//! The results of a program, on the standard output and in files: complete, or reported as incomplete.
//!
//! A program that cannot write its result has failed, whatever else it did: exit code 2 and a line on the standard error. A reader
//! that closed the pipe, as in `client history --all 12 | head`, is no failure: it has read what it wanted.

use std::fs::{self, File, Permissions};
use std::io::{self, BufWriter, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;

/// The standard output did not take a result.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the result to the standard output: {0}; what is there of it is not all")]
pub struct StdoutError(#[from] io::Error);

/// Whether the standard output still has a reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// As far as can be known.
    Present,
    /// The other end of the pipe is closed: there is no point in writing more.
    Gone,
}

/// Writes text to the standard output and flushes it, for programs that read the pipe line by line.
///
/// # Errors
/// [`StdoutError`], unless the reader has gone.
pub fn print(text: &str) -> Result<Reader, StdoutError> {
    let mut out = io::stdout().lock();
    check_write(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
}

/// As [`print()`], with a line feed.
///
/// # Errors
/// As [`print()`].
pub fn print_line(text: &str) -> Result<Reader, StdoutError> {
    print(&format!("{text}\n"))
}

/// Sorts the result of a write to the standard output.
///
/// # Errors
/// As [`print()`].
pub fn check_write(written: io::Result<()>) -> Result<Reader, StdoutError> {
    match written {
        Ok(()) => Ok(Reader::Present),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Reader::Gone),
        Err(error) => Err(StdoutError(error)),
    }
}

/// Closes the standard output at the end of a program: a file system may report a failed write only then (`close(2)`).
///
/// # Errors
/// As [`print()`].
pub fn close_stdout() -> Result<(), StdoutError> {
    let mut out = io::stdout().lock();
    let closed = out.flush().and_then(|()| Ok(nix::unistd::close(out.as_fd().try_clone_to_owned()?)?));
    check_write(closed).map(drop)
}

/// Writes an error to the standard error. `eprintln!` would panic where that fails.
pub fn print_error(program: &str, what: &str) {
    let _ = io::stderr().write_all(format!("{program}: {what}\n").as_bytes());
}

/// Reads the command line.
///
/// # Errors
/// The exit code to end with, after help, version or the mistake was shown.
pub fn parse_arguments<P: Parser>(program: &str) -> Result<P, ExitCode> {
    P::try_parse().map_err(|error| print_usage(program, &error))
}

/// Shows help, version or a mistake in the command line; returns the exit code.
pub fn print_usage(program: &str, error: &clap::Error) -> ExitCode {
    let printed = error.print();
    if error.use_stderr() {
        return ExitCode::from(2);
    }
    match check_write(printed).and_then(|_| close_stdout()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(unwritten) => {
            print_error(program, &unwritten.to_string());
            ExitCode::from(2)
        }
    }
}

/// A file for a result. It is replaced as a whole: the old contents stay until the new ones are complete.
#[derive(Debug)]
pub struct OutputFile {
    path: PathBuf,
    target: Target,
}

#[derive(Debug)]
enum Target {
    /// The result is written to a temporary file beside `file`, with these permissions, and renamed.
    Replaced { file: PathBuf, permissions: Option<Permissions> },
    /// No regular file, but a pipe, a terminal, `/dev/stdout`: written to directly.
    Open(File),
}

impl OutputFile {
    /// Checks that the file can be written, before hours of work are spent on its contents.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn prepare(path: &Path) -> io::Result<OutputFile> {
        let target = match fs::metadata(path) {
            Ok(there) if there.is_file() => {
                // A rename needs no permission to write the file itself; a missing one is respected nevertheless.
                File::options().write(true).open(path)?;
                // Where the path is a symbolic link, its target is replaced.
                Target::Replaced { file: fs::canonicalize(path)?, permissions: Some(there.permissions()) }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound && fs::symlink_metadata(path).is_err() => {
                Target::Replaced { file: path.to_owned(), permissions: None }
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => Target::Open(File::options().write(true).create(true).truncate(true).open(path)?),
        };
        if let Target::Replaced { file, permissions } = &target {
            let temporary = temporary_beside(file);
            create(&temporary, permissions.as_ref()).map(drop).and_then(|()| fs::remove_file(&temporary))?;
        }
        Ok(OutputFile { path: path.to_owned(), target })
    }

    /// The path as it was given.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes the result; it is on disk when this returns.
    ///
    /// # Errors
    /// Something could not be written; the old contents are still there then.
    pub fn write(self, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
        let buffered = |file: &File| {
            let mut out = BufWriter::new(file);
            write(&mut out).and_then(|()| out.flush())
        };
        let (file, permissions) = match self.target {
            Target::Open(file) => return buffered(&file),
            Target::Replaced { file, permissions } => (file, permissions),
        };
        let temporary = temporary_beside(&file);
        let next = create(&temporary, permissions.as_ref())?;
        let replaced = buffered(&next).and_then(|()| next.sync_all()).and_then(|()| fs::rename(&temporary, &file));
        if replaced.is_err() {
            // The first error is the one to report.
            let _ = fs::remove_file(&temporary);
        }
        replaced
    }
}

/// A name in the same folder that no other process uses, so that a rename can replace the file.
fn temporary_beside(file: &Path) -> PathBuf {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    file.with_file_name(format!(".{name}.{}.tmp", std::process::id()))
}

fn create(path: &Path, permissions: Option<&Permissions>) -> io::Result<File> {
    let file = match File::options().write(true).create_new(true).open(path) {
        // A killed process with the same id left it.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            fs::remove_file(path)?;
            File::options().write(true).create_new(true).open(path)?
        }
        created => created?,
    };
    if let Some(permissions) = permissions {
        file.set_permissions(Permissions::from_mode(permissions.mode()))?;
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn a_result_comes_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report");
        let prepare = || OutputFile::prepare(&path).unwrap();
        prepare();
        assert!(names(folder.path()).is_empty(), "checking leaves nothing behind");
        prepare().write(|out| out.write_all(b"one")).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        let failed = prepare().write(|out| {
            out.write_all(&[b'x'; 100_000])?;
            Err(io::ErrorKind::StorageFull.into())
        });
        assert!(failed.is_err() && fs::read(&path).unwrap() == b"one");
        prepare().write(|out| out.write_all(b"two")).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640, "who may read it stays");
        assert_eq!(names(folder.path()), ["report"]);
    }

    #[test]
    fn links_and_devices_stay_what_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        std::os::unix::fs::symlink(&file, &link).unwrap();
        for text in ["dangling", "there"] {
            OutputFile::prepare(&link).unwrap().write(|out| out.write_all(text.as_bytes())).unwrap();
            assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
            assert_eq!(fs::read_to_string(&file).unwrap(), text);
        }
        OutputFile::prepare(Path::new("/dev/null")).unwrap().write(|out| out.write_all(b"gone")).unwrap();
        assert!(OutputFile::prepare(Path::new("/dev/full")).unwrap().write(|out| out.write_all(b"lost")).is_err());
        assert!(OutputFile::prepare(folder.path()).is_err(), "a folder");
        assert!(OutputFile::prepare(Path::new("/nowhere/report")).is_err());
    }
}
