//! The map file: which file stands for which path.
//!
//! Each line is `/path file`, with one space between them. A path is as a request has it, so it has no spaces; the file's name may have
//! some. A last line without its end is whole; lines may end in CRLF; blank lines are ignored. A file's name that begins with no
//! slash is below the folder of the map file.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::service::getfile::wire::request::RequestPath;

/// Files by the paths that clients ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileMap(HashMap<Box<[u8]>, PathBuf>);

/// Why a line of a map file cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {why}")]
pub struct MapError {
    /// The line's number, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub why: &'static str,
}

impl FileMap {
    /// Reads a map file that lies in `folder`.
    ///
    /// # Errors
    /// [`MapError`], for the first line that is wrong.
    pub fn parse(contents: &[u8], folder: &Path) -> Result<Self, MapError> {
        let mut files = HashMap::new();
        for (number, line) in contents.split(|byte| *byte == b'\n').enumerate() {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.is_empty() {
                continue;
            }
            let wrong = |why| MapError { line: number + 1, why };
            let space = line.iter().position(|byte| *byte == b' ');
            let (path, file) = line.split_at(space.ok_or(wrong("a path, a space, and a file are needed"))?);
            let file = &file[1..];
            let path = RequestPath::new(path).ok_or(wrong("a path begins with a slash and has at most 4096 bytes"))?;
            if path.climbs() {
                return Err(wrong("a path with a component `..` is never found"));
            }
            if file.is_empty() || file.contains(&0) {
                return Err(wrong("the file has no name that a file can have"));
            }
            if files.insert(path.as_bytes().into(), folder.join(OsStr::from_bytes(file))).is_some() {
                return Err(wrong("the path was there before"));
            }
        }
        Ok(FileMap(files))
    }

    /// The file for a path.
    #[must_use]
    pub fn file(&self, path: RequestPath<'_>) -> Option<&Path> {
        self.0.get(path.as_bytes()).map(PathBuf::as_path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file<'m>(map: &'m FileMap, path: &'static str) -> Option<&'m Path> {
        map.file(RequestPath::new(path.as_bytes()).unwrap())
    }

    #[test]
    fn files_are_found_by_exactly_their_paths() {
        let text = b"/a files/a\n\n/b/c /absolute/b c\r\n/%61 \xff\n/last at the end";
        let map = FileMap::parse(text, Path::new("/home/maps")).unwrap();
        assert_eq!(file(&map, "/a"), Some(Path::new("/home/maps/files/a")));
        assert_eq!(file(&map, "/b/c"), Some(Path::new("/absolute/b c")));
        assert_eq!(file(&map, "/%61"), Some(Path::new(OsStr::from_bytes(b"/home/maps/\xff"))));
        assert_eq!(file(&map, "/last"), Some(Path::new("/home/maps/at the end")));
        for path in ["/", "/a/", "//a", "/A", "/b"] {
            assert_eq!(file(&map, path), None, "{path}");
        }
        assert_eq!(FileMap::parse(b"", Path::new("x")).unwrap(), FileMap::default());
    }

    #[test]
    fn a_wrong_line_is_named() {
        let long = format!("/{} x", "a".repeat(4096));
        for (text, line, part) in [
            ("/a", 1, "a file"),
            ("/a x\n/b", 2, "a file"),
            ("/a x\n/b ", 2, "no name"),
            ("/a x\0y", 1, "no name"),
            ("a x", 1, "slash"),
            (" /a x", 1, "slash"),
            (&long, 1, "4096"),
            ("/a x\n\n/a y", 3, "before"),
            ("/a/../b x", 1, "`..`"),
        ] {
            let error = FileMap::parse(text.as_bytes(), Path::new("")).unwrap_err();
            assert!(error.line == line && error.why.contains(part), "{text:?}: {error}");
        }
    }
}
