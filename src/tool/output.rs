//! What a program gives to whoever called it: results on the standard output and in files, whole, or said not to be.
//!
//! A program that cannot write its result has failed, whatever else it did: exit code 2 and a line on the standard error. A reader
//! that has gone, as in `client history --all 12 | head`, is no failure: it has seen what it wanted.

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
pub struct Unwritten(#[from] io::Error);

/// Whether somebody may still read the standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// As far as can be known.
    Listens,
    /// The pipe was closed on its other side: there is no point in writing more.
    Gone,
}

/// Writes text to the standard output and sends it off at once, for whoever reads a pipe line by line.
///
/// # Errors
/// [`Unwritten`], unless the reader has gone.
pub fn say(text: &str) -> Result<Reader, Unwritten> {
    let mut out = io::stdout().lock();
    judge(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
}

/// What became of a write to the standard output.
///
/// # Errors
/// As [`say`].
pub fn judge(written: io::Result<()>) -> Result<Reader, Unwritten> {
    match written {
        Ok(()) => Ok(Reader::Listens),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Reader::Gone),
        Err(error) => Err(Unwritten(error)),
    }
}

/// Looks, at the end of a program, whether all that it wrote has arrived: a file system may tell only when a file is closed
/// (`close(2)`).
///
/// # Errors
/// As [`say`].
pub fn finish() -> Result<(), Unwritten> {
    let mut out = io::stdout().lock();
    let closed = out.flush().and_then(|()| Ok(nix::unistd::close(out.as_fd().try_clone_to_owned()?)?));
    judge(closed).map(drop)
}

/// Says on the standard error what went wrong. `eprintln!` would end the program if nobody can be told.
pub fn complain(program: &str, what: &str) {
    let _ = io::stderr().write_all(format!("{program}: {what}\n").as_bytes());
}

/// Reads the command line.
///
/// # Errors
/// The exit code with which the program is to end, help and version shown, or the mistake.
pub fn command_line<P: Parser>(program: &str) -> Result<P, ExitCode> {
    P::try_parse().map_err(|error| explain(program, &error))
}

/// Shows help, version or a mistake in the command line, and gives the exit code.
pub fn explain(program: &str, error: &clap::Error) -> ExitCode {
    let printed = error.print();
    if error.use_stderr() {
        return ExitCode::from(2);
    }
    match judge(printed).and_then(|_| finish()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(unwritten) => {
            complain(program, &unwritten.to_string());
            ExitCode::from(2)
        }
    }
}

/// A file that will hold a result, whole: until it does, what stood there before stays.
#[derive(Debug)]
pub struct ResultFile {
    path: PathBuf,
    target: Target,
}

#[derive(Debug)]
enum Target {
    /// The result is written beside `file`, with these permissions, and renamed.
    Replaced { file: PathBuf, permissions: Option<Permissions> },
    /// No regular file: a pipe, a terminal, `/dev/stdout`. It is written to as it is.
    Open(File),
}

impl ResultFile {
    /// Makes sure that the file can be written, before hours of work are spent on what is to stand in it.
    ///
    /// # Errors
    /// It cannot.
    pub fn plan(path: &Path) -> io::Result<ResultFile> {
        let target = match fs::metadata(path) {
            Ok(there) if there.is_file() => {
                // Replacing needs no right to write the file itself; who took that away meant it.
                File::options().write(true).open(path)?;
                // Where the path is a link, what it names is replaced.
                Target::Replaced { file: fs::canonicalize(path)?, permissions: Some(there.permissions()) }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound && fs::symlink_metadata(path).is_err() => {
                Target::Replaced { file: path.to_owned(), permissions: None }
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => Target::Open(File::options().write(true).create(true).truncate(true).open(path)?),
        };
        if let Target::Replaced { file, permissions } = &target {
            let beside = beside(file);
            make(&beside, permissions.as_ref()).map(drop).and_then(|()| fs::remove_file(&beside))?;
        }
        Ok(ResultFile { path: path.to_owned(), target })
    }

    /// The path as it was given.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes the result; on disk when this returns.
    ///
    /// # Errors
    /// Something could not be written; what stood there before is still there then.
    pub fn fill(self, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
        let buffered = |file: &File| {
            let mut out = BufWriter::new(file);
            write(&mut out).and_then(|()| out.flush())
        };
        let (file, permissions) = match self.target {
            Target::Open(file) => return buffered(&file),
            Target::Replaced { file, permissions } => (file, permissions),
        };
        let beside = beside(&file);
        let next = make(&beside, permissions.as_ref())?;
        let replaced = buffered(&next).and_then(|()| next.sync_all()).and_then(|()| fs::rename(&beside, &file));
        if replaced.is_err() {
            // The first error is the one to tell.
            let _ = fs::remove_file(&beside);
        }
        replaced
    }
}

/// A name in the same folder that no other process uses, so that a rename can replace the file.
fn beside(file: &Path) -> PathBuf {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    file.with_file_name(format!(".{name}.{}.tmp", std::process::id()))
}

fn make(path: &Path, permissions: Option<&Permissions>) -> io::Result<File> {
    let file = match File::options().write(true).create_new(true).open(path) {
        // A process of this number left it that was killed.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            fs::remove_file(path)?;
            File::options().write(true).create_new(true).open(path)?
        }
        made => made?,
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
        let plan = || ResultFile::plan(&path).unwrap();
        plan();
        assert!(names(folder.path()).is_empty(), "a plan leaves nothing");
        plan().fill(|out| out.write_all(b"one")).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        let failed = plan().fill(|out| {
            out.write_all(&[b'x'; 100_000])?;
            Err(io::ErrorKind::StorageFull.into())
        });
        assert!(failed.is_err() && fs::read(&path).unwrap() == b"one");
        plan().fill(|out| out.write_all(b"two")).unwrap();
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
            ResultFile::plan(&link).unwrap().fill(|out| out.write_all(text.as_bytes())).unwrap();
            assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
            assert_eq!(fs::read_to_string(&file).unwrap(), text);
        }
        ResultFile::plan(Path::new("/dev/null")).unwrap().fill(|out| out.write_all(b"gone")).unwrap();
        assert!(ResultFile::plan(Path::new("/dev/full")).unwrap().fill(|out| out.write_all(b"lost")).is_err());
        assert!(ResultFile::plan(folder.path()).is_err(), "a folder");
        assert!(ResultFile::plan(Path::new("/nowhere/report")).is_err());
    }
}
