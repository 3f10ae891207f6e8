//! `client getfile` against servers that answer as they should, and as they should not.

use crate::file_server::{FileServer, Folder, said, send, send_file};
use crate::server::{Server, unused_name, unused_port};

use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};

use serde_json::json;

/// Responses, and what the client calls each in its report.
const RESPONSES: &[(&str, &str)] = &[
    ("GETFILE OK 5\r\n\r\nhello", "OK"),
    ("GETFILE OK 5 \r\n\r\nhello", "OK"),
    ("GETFILE OK 0\r\n\r\n", "OK"),
    ("GETFILE OK 5\r\n\r\nhello and what follows", "OK"),
    ("GETFILE FILE_NOT_FOUND\r\n\r\n", "FILE_NOT_FOUND"),
    ("GETFILE FILE_NOT_FOUND 0\r\n\r\n", "FILE_NOT_FOUND"),
    ("GETFILE FILE_NOT_FOUND \r\n\r\n", "FILE_NOT_FOUND"),
    ("GETFILE ERROR\r\n\r\n", "ERROR"),
    ("GETFILE ERROR 0\r\n\r\n", "ERROR"),
    ("GETFILE INVALID\r\n\r\n", "INVALID"),
    ("GETFILE INVALID \r\n\r\n", "INVALID"),
    ("GETFILE MAYBE 5\r\n\r\nhello", "malformed"),
    ("GETFILE  OK 5\r\n\r\nhello", "malformed"),
    ("GETFILE OK\r\n\r\nhello", "malformed"),
    ("GETFILE OK -5\r\n\r\nhello", "malformed"),
    ("GETFILE OK five\r\n\r\nhello", "malformed"),
    ("GETFILE OK 18446744073709551616\r\n\r\nhello", "malformed"),
    ("GETFILE FILE_NOT_FOUND 5\r\n\r\nhello", "malformed"),
    ("HTTP/1.1 200 OK\r\n\r\nhello", "malformed"),
    ("GETFILE OK 5\n\nhello", "lost"),
    ("GETFILE OK 5\r\n", "lost"),
    ("", "lost"),
    ("GETFILE OK 5\r\n\r\nhell", "short"),
    ("GETFILE OK 5\r\n\r\n", "short"),
    ("GETFILE OK 18446744073709551615\r\n\r\nhello", "short"),
];

/// A server whose paths say which response to send, and where to cut it; `/N/all` is one byte after the other.
fn every_response() -> FileServer {
    FileServer::start(|path, stream| {
        let (row, cut) = path[1..].split_once('/').unwrap();
        let response = RESPONSES[row.parse::<usize>().unwrap()].0.as_bytes();
        match cut.parse() {
            Ok(cut) => {
                let (first, second) = response.split_at(cut);
                send(stream, first);
                // Only makes it likelier that they arrive apart; the unit tests of the client cut exactly.
                std::thread::yield_now();
                send(stream, second);
            }
            Err(_) => response.chunks(1).for_each(|byte| send(stream, byte)),
        }
    })
}

#[test]
fn every_response_is_understood_however_it_arrives() {
    let server = every_response();
    for (row, (response, outcome)) in RESPONSES.iter().enumerate() {
        let cuts = (0..=response.len()).map(|cut| format!("/{row}/{cut}\n"));
        let lines: String = cuts.chain([format!("/{row}/all")]).collect();
        let folder = Folder::new();
        let (code, report, said) = folder.run(&server, &lines, "-t 4");
        assert_eq!(report["outcomes"], json!({ *outcome: response.len() + 2 }), "{response:?}: {said}");
        assert_eq!(code, Some(if *outcome == "OK" { 0 } else { 1 }), "{response:?}: {said}");
        assert_eq!(folder.files().len(), if *outcome == "OK" { response.len() + 2 } else { 0 }, "{response:?}");
        if let Some(content) = response.split_once("\r\n\r\n").map(|(_, content)| content)
            && *outcome == "OK"
        {
            let expected = if response.contains("OK 0") { "" } else { &content[..5] };
            let path = folder.path().join(row.to_string()).join("all");
            assert_eq!(std::fs::read_to_string(path).unwrap(), expected, "{response:?}");
        }
    }
}

#[test]
fn one_file_goes_to_the_standard_output() {
    let server = every_response();
    for (row, (response, outcome)) in RESPONSES.iter().enumerate() {
        for cut in ["/0", "/all"] {
            let output = server.client(&format!("/{row}{cut}")).output().unwrap();
            let content = response.split_once("\r\n\r\n").map_or("", |(_, content)| content);
            let (code, shown) = match *outcome {
                "OK" if response.contains("OK 0") => (0, ""),
                "OK" => (0, "hello"),
                // What came of the content was written while it came.
                "short" => (1, content),
                _ => (1, ""),
            };
            let complaint = String::from_utf8_lossy(&output.stderr);
            assert_eq!(
                (output.status.code(), String::from_utf8_lossy(&output.stdout)),
                (Some(code), shown.into()),
                "{response:?}"
            );
            assert_eq!(complaint.lines().count(), usize::try_from(code).unwrap(), "{response:?}: {complaint}");
        }
    }
}

#[test]
fn what_cannot_be_asked_for_ends_with_two_before_anything_is_sent() {
    let server = FileServer::start(|_, stream| send_file(stream, Some(b"hello")));
    let folder = Folder::new();
    symlink("/tmp", folder.path().join("out")).unwrap();
    for (lines, line) in [
        ("/a\n/b\nc\n", "line 3: "),
        ("/a b", "line 1: "),
        ("/a\r\n\r\n/../b", "line 3: "),
        ("/a/..", "line 1: "),
        ("/a/", "line 1: "),
        ("/out/a", "line 1: "),
        ("\n\r\n", "it has no paths"),
    ] {
        let (code, _, said) = folder.run(&server, lines, "");
        assert!(code == Some(2) && said.contains(line), "{lines:?}: {said}");
    }
    for arguments in ["a", "", "-w /nowhere/list", "/a --xor", "-w list --check /nowhere"] {
        let output = server.client(arguments).current_dir(folder.path()).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments}: {}", said(&output));
    }
    assert_eq!((server.asked(), folder.files()), (0, vec!["out".to_owned()]));
}

#[test]
fn files_go_below_the_folder_by_their_paths() {
    let server = FileServer::start(|path, stream| send_file(stream, Some(path.as_bytes())));
    let folder = Folder::new();
    let lines = "/a\n\n/b/c/d.txt\r\n//e\n/b/./f";
    let (code, report, said) = folder.run(&server, lines, "-t 3 -n 10 --output new/files");
    assert_eq!((code, &report["outcomes"]), (Some(0), &json!({ "OK": 10 })), "{said}");
    assert_eq!(server.asked(), 10);
    assert_eq!(folder.files(), ["new/files/a", "new/files/b/c/d.txt", "new/files/b/f", "new/files/e"]);
    assert_eq!(std::fs::read(folder.path().join("new/files/b/c/d.txt")).unwrap(), b"/b/c/d.txt");
    // Round robin: ten of four are three, three, two, two.
    assert_eq!(report["bytes"], 3 * 2 + 3 * 10 + 2 * 3 + 2 * 6);
    assert!(said.starts_with("RESULT:\nrequests=10 ok=10 failed=0 bytes=54 duration="), "{said}");
}

#[test]
fn a_missing_file_is_counted_and_leaves_nothing() {
    let server = FileServer::start(|path, stream| send_file(stream, (path == "/a").then_some(b"hello")));
    let folder = Folder::new();
    let (code, report, said) = folder.run(&server, "/a\n/b/c", "-n 100");
    assert_eq!((code, &report["outcomes"]), (Some(1), &json!({ "OK": 50, "FILE_NOT_FOUND": 50 })), "{said}");
    assert_eq!(report["failures"], json!(["/b/c: the server answered FILE_NOT_FOUND"]));
    assert_eq!(folder.files(), ["a"]);
    let (code, report, _) = folder.run(&server, "/a\n/b/c", "--discard -n 1");
    assert_eq!((code, &report["bytes"]), (Some(0), &json!(5)));
}

#[test]
fn a_check_catches_one_flipped_byte() {
    let content = |path: &str| match path {
        "/empty" => Some(Vec::new()),
        "/missing" | "/folder" => None,
        _ => Some(path.bytes().cycle().take(200_000).collect()),
    };
    let server = FileServer::start(move |path, stream| send_file(stream, content(path).as_deref()));
    let folder = Folder::new();
    for path in ["/big", "/folder/inside", "/empty"] {
        folder.write(&path[1..], content(path).unwrap());
    }
    let before = folder.files();
    let lines = "/big\n/empty\n/missing\n/folder\n/folder/inside";
    let (code, report, said) = folder.run(&server, lines, "--check . -n 50");
    assert_eq!((code, &report["outcomes"]), (Some(0), &json!({ "OK": 30, "FILE_NOT_FOUND": 20 })), "{said}");
    assert!(said.contains("check: OK, 30 files are the same, 20 are on neither side"), "{said}");
    let mut flipped = content("/big").unwrap();
    flipped[199_999] ^= 1;
    for (name, there, complaint) in [
        ("big", Some(flipped), "/big: byte 199999 of 200000 differs"),
        ("big", Some(content("/big").unwrap()[1..].to_vec()), "has 200000 bytes, but there it has 199999"),
        ("big", None, "/big: the server has a file that is not there"),
        ("empty", Some(b"x".to_vec()), "has 0 bytes, but there it has 1"),
        ("missing", Some(Vec::new()), "/missing: the server answered FILE_NOT_FOUND, but the file is there"),
    ] {
        let path = folder.path().join(name);
        let good = std::fs::read(&path).ok();
        match there {
            Some(there) => folder.write(name, there),
            None => std::fs::remove_file(&path).unwrap(),
        }
        let (code, report, said) = folder.run(&server, lines, "--check .");
        assert_eq!(
            (code, &report["outcomes"]["differs"], &report["failed"]),
            (Some(1), &json!(1), &json!(1)),
            "{said}"
        );
        assert!(said.contains(complaint) && said.contains("check: FAILED"), "{complaint}: {said}");
        match good {
            Some(good) => folder.write(name, good),
            None => std::fs::remove_file(&path).unwrap(),
        }
    }
    assert_eq!(folder.files(), before, "a check writes nothing");
}

#[test]
fn a_reader_that_has_gone_is_no_failure_and_a_full_disk_is_one() {
    let server = FileServer::start(|_, stream| send_file(stream, Some(&[b'x'; 1 << 20])));
    let mut client = server.client("/a").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(client.stdout.take());
    let output = client.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{}", said(&output));
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let output = server.client("/a").stdout(full).output().unwrap();
    assert!(output.status.code() == Some(2) && said(&output).contains("cannot write to the standard output"));
    // A file is where a folder must be.
    let folder = Folder::new();
    folder.write("a", "");
    let (code, report, said) = folder.run(&server, "/a/b", "-n 1000000");
    assert_eq!(code, Some(2), "{said}");
    assert!(report["requests"].as_u64().unwrap() <= 8 && said.contains("client: cannot write "), "{said}");
    assert_eq!(folder.files(), ["a"]);
}

#[test]
fn files_of_a_real_server_come_whole() {
    let root = Folder::new();
    let lengths = [0, 1, 824, 65_535, 65_536, 65_537, 3_000_000];
    for length in lengths {
        root.write(&format!("files/{length}"), (0..=250).cycle().take(length).collect::<Vec<u8>>());
    }
    let (port, folder) = (unused_port().to_string(), root.path().to_str().unwrap());
    let args = ["--accounts", "10", "--http-port", "0", "--getfile-port", &port, "--getfile-root", folder];
    let _server = Server::start_with(&unused_name(), &args, &[]);
    let here = Folder::new();
    here.write("list", lengths.map(|length| format!("/files/{length}\r\n")).concat() + "/files\n/none");
    let client = |arguments: &str| {
        let mut client = Command::new(env!("CARGO_BIN_EXE_client"));
        client.args(["getfile", "-p", &port]).args(arguments.split(' ')).current_dir(here.path()).output().unwrap()
    };
    let output = client("-w list -t 16 -n 900 -o got");
    assert!(
        output.status.code() == Some(1) && said(&output).contains("requests=900 ok=700 failed=200"),
        "{}",
        said(&output)
    );
    for check in [folder, "got"] {
        let output = client(&format!("-w list -t 16 -n 900 --check {check}"));
        assert!(output.status.success() && said(&output).contains("check: OK, 700 files"), "{}", said(&output));
    }
    assert_eq!(client("/files/824").stdout, std::fs::read(root.path().join("files/824")).unwrap());
    assert!(!here.files().iter().any(|name| name.contains("getfile")), "{:?}", here.files());
}
