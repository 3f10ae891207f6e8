//! What becomes of the files: written below a folder, compared with what is there, or thrown away.

use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::service::getfile::wire::request::RequestPath;
use crate::service::getfile::wire::response::Response;
use crate::tool::client::connection::Server;
use crate::tool::client::error::CommandError;
use crate::tool::client::getfile::download::Download;
use crate::tool::client::getfile::failure::Failure;
use crate::tool::client::getfile::options::GetFileOptions;

/// What a path must be like.
pub const PATH_RULE: &str = "a path begins with a slash and has at most 4096 bytes, without spaces, NULs and line ends";

/// What becomes of the files. The folders are absolute and without symbolic links.
#[derive(Debug)]
pub enum Destination {
    /// They are written below this folder.
    Folder(PathBuf),
    /// They are compared with the files below this folder.
    Check(PathBuf),
    /// They are thrown away.
    Discard,
}

/// A file to get.
#[derive(Debug, PartialEq, Eq)]
pub struct Wanted<'w> {
    /// What to ask for.
    pub path: RequestPath<'w>,
    /// Where it is on this machine, or is to be; empty where the files are thrown away.
    pub place: PathBuf,
}

impl Destination {
    /// The destination that the options name; makes the folder for the files.
    pub fn new(options: &GetFileOptions) -> Result<Destination, CommandError> {
        if options.discard {
            return Ok(Destination::Discard);
        }
        let failed = |folder: &Path| CommandError::system(format!("open the folder {}", folder.display()));
        if let Some(folder) = &options.check {
            return Ok(Destination::Check(folder.canonicalize().map_err(failed(folder))?));
        }
        let folder = options.output.as_deref().unwrap_or(Path::new("."));
        let made = fs::create_dir_all(folder).and_then(|()| folder.canonicalize());
        Ok(Destination::Folder(made.map_err(failed(folder))?))
    }

    /// What to get for a path, or why it is not to be had.
    pub fn wanted<'w>(&self, path: &'w [u8]) -> Result<Wanted<'w>, &'static str> {
        let path = RequestPath::new(path).ok_or(PATH_RULE)?;
        let place = match self {
            Destination::Discard => PathBuf::new(),
            Destination::Folder(folder) | Destination::Check(folder) => place(folder, path)?,
        };
        Ok(Wanted { path, place })
    }

    /// Gets a file; returns its length.
    pub fn get(&self, server: &Server, wanted: &Wanted<'_>, buffer: &mut [u8]) -> Result<u64, Failure> {
        let download = Download::start(server, wanted.path, buffer);
        match self {
            Destination::Folder(_) => save(download?, &wanted.place),
            Destination::Check(_) => check(download, &wanted.place),
            Destination::Discard => discard(download?),
        }
    }
}

/// The place of a path below `folder`.
fn place(folder: &Path, path: RequestPath<'_>) -> Result<PathBuf, &'static str> {
    const LEAVES: &str = "the path leaves the folder";
    if path.climbs() {
        return Err(LEAVES);
    }
    let mut place = folder.to_owned();
    let mut last: &[u8] = b"";
    for component in path.as_bytes().split(|byte| *byte == b'/') {
        last = component;
        // Not `push` of the whole: a path that begins with two slashes would replace the folder.
        if !matches!(component, b"" | b".") {
            place.push(OsStr::from_bytes(component));
        }
    }
    if matches!(last, b"" | b".") {
        return Err("the path names no file");
    }
    // A symbolic link below the folder may lead out of it.
    let existing = place.ancestors().skip(1).find_map(|ancestor| ancestor.canonicalize().ok());
    if existing.is_some_and(|existing| existing.starts_with(folder)) { Ok(place) } else { Err(LEAVES) }
}

/// Writes a file. It comes to its place as a whole, whoever else writes it or reads it; until then it has a name that nobody
/// else uses, and a failure removes it.
fn save<S: Read>(mut download: Download<'_, S>, place: &Path) -> Result<u64, Failure> {
    let what = || format!("write {}", place.display());
    let folder = place.parent().unwrap_or(place);
    fs::create_dir_all(folder).map_err(Failure::local(what))?;
    // As for any new file, the umask says who may read it.
    let permissions = Permissions::from_mode(0o666);
    let mut builder = tempfile::Builder::new();
    let builder = builder.prefix(".getfile-").permissions(permissions);
    let mut file = builder.tempfile_in(folder).map_err(Failure::local(what))?;
    while let Some(part) = download.next_part()? {
        file.write_all(part).map_err(Failure::local(what))?;
    }
    file.persist(place).map_err(|error| error.error).map_err(Failure::local(what))?;
    Ok(download.length())
}

/// Compares what the server has with the file at `place`.
fn check<S: Read>(download: Result<Download<'_, S>, Failure>, place: &Path) -> Result<u64, Failure> {
    let what = || format!("read {}", place.display());
    // A folder or a pipe is no file to the server either.
    let is_there = fs::metadata(place).is_ok_and(|there| there.is_file());
    let mut download = match download {
        Err(Failure::Status(Response::FileNotFound)) if is_there => {
            return Err(Failure::Differs("the server answered FILE_NOT_FOUND, but the file is there".to_owned()));
        }
        Ok(_) if !is_there => return Err(Failure::Differs("the server has a file that is not there".to_owned())),
        download => download?,
    };
    let mut file = File::open(place).map_err(Failure::local(what))?;
    let length = file.metadata().map_err(Failure::local(what))?.len();
    if length != download.length() {
        let why = format!("the server's file has {} bytes, but there it has {length}", download.length());
        return Err(Failure::Differs(why));
    }
    let mut offset = 0;
    let mut expected = Vec::new();
    while let Some(part) = download.next_part()? {
        expected.resize(part.len(), 0);
        file.read_exact(&mut expected).map_err(Failure::local(what))?;
        if part != expected {
            let at = part.iter().zip(&expected).take_while(|(got, expected)| got == expected).count();
            return Err(Failure::Differs(format!("byte {} of {length} differs", offset + at as u64)));
        }
        offset += part.len() as u64;
    }
    Ok(length)
}

/// Reads the content to its end.
fn discard<S: Read>(mut download: Download<'_, S>) -> Result<u64, Failure> {
    while download.next_part()?.is_some() {}
    Ok(download.length())
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::os::unix::fs::symlink;

    fn folder() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().canonicalize().unwrap();
        (folder, path)
    }

    fn place_of(folder: &Path, path: &str) -> Option<PathBuf> {
        place(folder, RequestPath::new(path.as_bytes()).unwrap()).ok()
    }

    #[test]
    fn a_place_is_below_its_folder() {
        let (_guard, folder) = folder();
        for (path, below) in [
            ("/a", Some("a")),
            ("/a/b.txt", Some("a/b.txt")),
            ("//etc/passwd", Some("etc/passwd")),
            ("/a//./b", Some("a/b")),
            ("/...", Some("...")),
            ("/..", None),
            ("/a/../b", None),
            ("/../../etc/passwd", None),
            ("/", None),
            ("/.", None),
            ("/a/", None),
            ("/a/.", None),
        ] {
            assert_eq!(place_of(&folder, path), below.map(|below| folder.join(below)), "{path}");
        }
    }

    #[test]
    fn a_link_does_not_lead_out_of_it() {
        let (_outside, outside) = folder();
        let (_guard, folder) = folder();
        fs::create_dir(folder.join("inside")).unwrap();
        symlink(&outside, folder.join("out")).unwrap();
        symlink(folder.join("inside"), folder.join("in")).unwrap();
        for path in ["/out/a", "/out/b/c", "/in/../out/a"] {
            assert_eq!(place_of(&folder, path), None, "{path}");
        }
        assert_eq!(place_of(&folder, "/in/a"), Some(folder.join("in/a")));
        // Only the last name is replaced, whatever it is.
        assert_eq!(place_of(&folder, "/out"), Some(folder.join("out")));
    }
}
