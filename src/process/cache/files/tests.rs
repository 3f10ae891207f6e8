//! Files by a map, as a shell gets them.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, unbounded};

use super::MappedFiles;
use crate::process::cache::core::{Head, Validators};
use crate::process::cache::origin::{Failure, Said};

struct Shell {
    files: MappedFiles,
    woken: Receiver<()>,
}

/// How a fetch ended: its head, the content, and what was last.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    head: Option<Head>,
    content: Vec<u8>,
    last: Option<Failure>,
}

impl Shell {
    fn new(map: &Path) -> Shell {
        let (wake, woken) = unbounded();
        Shell { files: MappedFiles::new(map.into(), 2, Arc::new(move || _ = wake.send(()))), woken }
    }

    fn fetch(&self, path: &str, validators: Validators) -> Outcome {
        self.fetch_and(path, validators, || {})
    }

    /// Fetches, and does `then` once when the head has come.
    fn fetch_and(&self, path: &str, validators: Validators, then: impl FnOnce()) -> Outcome {
        let transfer = self.files.fetch(&path.as_bytes().into(), validators).unwrap();
        let (mut head, mut content, mut then) = (None, Vec::new(), Some(then));
        loop {
            match transfer.next() {
                None => self.woken.recv_timeout(Duration::from_secs(20)).unwrap(),
                Some(Said::Head(said)) => {
                    let is_last = !matches!(said, Head::Found { .. });
                    head = Some(said);
                    if let Some(then) = then.take() {
                        then();
                    }
                    if is_last {
                        return Outcome { head, content, last: None };
                    }
                }
                Some(Said::Chunk(bytes)) => content.extend_from_slice(&bytes),
                Some(Said::Whole) => return Outcome { head, content, last: None },
                Some(Said::Failed(failure)) => return Outcome { head, content, last: Some(failure) },
            }
        }
    }
}

fn validators_of(outcome: &Outcome) -> Validators {
    match &outcome.head {
        Some(Head::Found { validators, .. }) => validators.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn files_come_whole_and_others_are_not_there() {
    let home = tempfile::tempdir().unwrap();
    let map = home.path().join("map");
    std::fs::write(&map, "/a a\n/large large\n/empty empty\n/gone gone\n/folder .\n").unwrap();
    let large: Vec<u8> = (0..=250).cycle().take(1_000_003).collect();
    for (name, bytes) in [("a", &b"hello"[..]), ("large", &large), ("empty", b"")] {
        std::fs::write(home.path().join(name), bytes).unwrap();
    }
    let shell = Shell::new(&map);
    for (path, bytes) in [("/a", &b"hello"[..]), ("/large", &large), ("/empty", b"")] {
        let outcome = shell.fetch(path, Validators::default());
        assert!(outcome.content == bytes && outcome.last.is_none(), "{path}");
        let length = match outcome.head {
            Some(Head::Found { length, .. }) => length,
            other => panic!("{other:?}"),
        };
        assert_eq!(length, Some(bytes.len() as u64));
    }
    for path in ["/gone", "/folder", "/none", "/a/", "/../a"] {
        let expected = Outcome { head: Some(Head::NotFound), content: vec![], last: None };
        assert_eq!(shell.fetch(path, Validators::default()), expected, "{path}");
    }
}

#[test]
fn a_file_that_is_the_same_is_not_read_again() {
    let home = tempfile::tempdir().unwrap();
    let (map, file) = (home.path().join("map"), home.path().join("a"));
    std::fs::write(&map, "/a a\n").unwrap();
    std::fs::write(&file, "one").unwrap();
    let shell = Shell::new(&map);
    let known = validators_of(&shell.fetch("/a", Validators::default()));
    assert_eq!(shell.fetch("/a", known.clone()).head, Some(Head::NotModified));
    let as_of_then = std::fs::File::open(&file).unwrap();
    std::fs::write(home.path().join("b"), "two").unwrap();
    std::fs::rename(home.path().join("b"), &file).unwrap();
    assert_eq!(shell.fetch("/a", known).content, b"two");
    drop(as_of_then);
}

#[test]
fn a_file_that_grows_or_shrinks_or_changes_while_it_is_read_fails() {
    let home = tempfile::tempdir().unwrap();
    let (map, path) = (home.path().join("map"), home.path().join("a"));
    std::fs::write(&map, "/a a\n").unwrap();
    let shell = Shell::new(&map);
    let whole = vec![1; 2_000_000];
    // More than the channel holds, so that the thread is still reading when the head is taken.
    for (length, failure) in
        [(2_000_001, Failure::WrongLength), (1_999_999, Failure::WrongLength), (2_000_000, Failure::Changed)]
    {
        std::fs::write(&path, &whole).unwrap();
        let change = || {
            let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
            file.set_len(length).unwrap();
            file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        };
        assert_eq!(shell.fetch_and("/a", Validators::default(), change).last, Some(failure), "{length}");
    }
}

#[test]
fn a_map_is_read_again_only_when_that_is_asked_for() {
    let home = tempfile::tempdir().unwrap();
    let map = home.path().join("map");
    std::fs::write(home.path().join("a"), "a").unwrap();
    let shell = Shell::new(&map);
    assert_eq!(shell.fetch("/a", Validators::default()).last, Some(Failure::NoMap));
    std::fs::write(&map, "/a a\n").unwrap();
    assert_eq!(shell.fetch("/a", Validators::default()).last, Some(Failure::NoMap));
    shell.files.reload();
    assert_eq!(shell.fetch("/a", Validators::default()).content, b"a");
    std::fs::write(&map, "no map").unwrap();
    shell.files.reload();
    assert_eq!(shell.fetch("/a", Validators::default()).content, b"a", "it goes on with what it had");
    std::fs::write(&map, "/b a\n").unwrap();
    shell.files.reload();
    assert_eq!(shell.fetch("/a", Validators::default()).head, Some(Head::NotFound));
    assert_eq!(shell.fetch("/b", Validators::default()).content, b"a");
}
