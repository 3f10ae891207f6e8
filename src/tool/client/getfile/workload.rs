//! The workload: a file with a path on each line.

use crate::tool::client::getfile::destination::{Destination, Wanted};

/// Reads the contents of a workload. Lines end with LF or CRLF, the last one also with the file; blank ones are ignored. The error
/// names the line.
pub fn parse<'w>(contents: &'w [u8], destination: &Destination) -> Result<Vec<Wanted<'w>>, String> {
    let mut all = Vec::new();
    for (number, line) in (1..).zip(contents.split(|byte| *byte == b'\n')) {
        if !line.trim_ascii().is_empty() {
            let path = line.strip_suffix(b"\r").unwrap_or(line);
            all.push(destination.wanted(path).map_err(|why| format!("line {number}: {why}"))?);
        }
    }
    if all.is_empty() { Err("it has no paths".to_owned()) } else { Ok(all) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(contents: &[u8]) -> Result<Vec<String>, String> {
        let wanted = parse(contents, &Destination::Discard)?;
        Ok(wanted.iter().map(|wanted| wanted.path.as_bytes().escape_ascii().to_string()).collect())
    }

    #[test]
    fn each_line_is_a_path() {
        for contents in ["/a\n/b/c\n", "/a\n/b/c", "/a\r\n/b/c\r\n", "\n\n/a\n  \n\r\n/b/c\n\n", "/a\n/b/c\r"] {
            assert_eq!(paths(contents.as_bytes()).unwrap(), ["/a", "/b/c"], "{contents:?}");
        }
        assert_eq!(paths(b"/a\n/\xff\n/a").unwrap(), ["/a", "/\\xff", "/a"], "bytes, and as often as they are there");
    }

    #[test]
    fn a_bad_line_is_named() {
        for (contents, line) in [("/a\nb\n", "line 2: "), ("\n\n/a b", "line 3: "), ("/a \n", "line 1: ")] {
            let error = paths(contents.as_bytes()).unwrap_err();
            assert!(error.starts_with(line), "{contents:?}: {error}");
        }
        let long = [b"/a\n/", [b'x'; 4096].as_slice()].concat();
        assert!(paths(&long).unwrap_err().starts_with("line 2: "));
        for contents in ["", "\n", "\r\n \n"] {
            assert_eq!(paths(contents.as_bytes()).unwrap_err(), "it has no paths");
        }
    }
}
