//! `client getfile` and servers that stall, reset, do not end or are not there; and the client's own end. Nothing unfinished is left.

use crate::file_server::{FileServer, Folder, said, send, send_file};
use crate::server::await_that;
use crate::terminal::OnTerminal;

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::sys::socket::{setsockopt, sockopt::Linger};
use serde_json::{Value, json};

const MEBIBYTE: usize = 1 << 20;

/// Half of a file and then nothing, while the client waits for it; or half of a head, for `/head`.
fn stalling() -> FileServer {
    FileServer::start(|path, stream| {
        send(stream, if path == "/head" { b"GETFILE O" } else { b"GETFILE OK 10\r\n\r\nhalf" });
        // Until the client closes.
        let _ = std::io::Read::read(stream, &mut [0]);
    })
}

#[test]
fn a_server_that_stalls_is_given_up() {
    let server = stalling();
    let folder = Folder::new();
    let began = Instant::now();
    let (code, report, said) = folder.run(&server, "/head\n/body", "--timeout 0.3");
    assert_eq!((code, &report["outcomes"]), (Some(1), &json!({ "timeout": 2 })), "{said}");
    assert!(began.elapsed() < Duration::from_secs(5) && folder.files().is_empty());
    let output = server.client("/body --timeout 300ms").output().unwrap();
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(1), b"half".as_slice()));
    assert!(said.contains("nothing came for 300ms"), "{said}");
}

#[test]
fn a_server_that_resets_closes_or_does_not_end_is_a_failure() {
    let server = FileServer::start(|path, stream| match path {
        "/closes" => {}
        "/resets" | "/resets-later" => {
            if path == "/resets-later" {
                send(stream, b"GETFILE OK 10\r\n\r\nhalf");
            }
            setsockopt(&*stream, Linger, &nix::libc::linger { l_onoff: 1, l_linger: 0 }).unwrap();
        }
        // Until the client has had enough.
        _ => while std::io::Write::write_all(stream, b"GETFILE OK 000000000000000000000").is_ok() {},
    });
    let folder = Folder::new();
    for (server, path, outcomes) in [
        (&FileServer::deaf(), "/any", &["lost"][..]),
        (&server, "/closes", &["lost"]),
        (&server, "/resets", &["lost"]),
        (&server, "/resets-later", &["lost"]),
        (&server, "/endless", &["malformed"]),
    ] {
        let (code, report, said) = folder.run(server, path, "-n 20");
        assert_eq!(code, Some(1), "{path}: {said}");
        let found = outcomes.iter().filter_map(|outcome| report["outcomes"][outcome].as_u64()).sum::<u64>();
        assert_eq!(found, 20, "{path}: {said}");
        assert!(folder.files().is_empty());
    }
}

#[test]
fn a_server_that_is_not_there_is_an_unavailable_resource() {
    let address = FileServer::start(|_, _| {}).address;
    let port = address.port().to_string();
    let folder = Folder::new();
    folder.write("list", "/a");
    await_that("it has gone", || std::net::TcpStream::connect(address).is_err());
    for arguments in [&["/a"][..], &["-w", "list", "-n", "1000000", "--json", "report"]] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_client"));
        let output =
            command.args(["getfile", "-p", &port]).args(arguments).current_dir(folder.path()).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert!(
            output.stdout.is_empty() && said(&output).starts_with("client: cannot connect to "),
            "{}",
            said(&output)
        );
    }
    assert_eq!(folder.files(), ["list"]);
}

#[test]
fn threads_that_get_one_file_do_not_tear_it() {
    let turn = AtomicU64::new(0);
    let server = FileServer::start(move |_, stream| {
        let turn = turn.fetch_add(1, Ordering::Relaxed);
        let letter = b'a' + u8::try_from(turn % 2).unwrap();
        // Some end early.
        match turn % 5 {
            0 => send(stream, b"GETFILE OK 1048576\r\n\r\nhalf"),
            _ => send_file(stream, Some(&vec![letter; MEBIBYTE])),
        }
    });
    let folder = Folder::new();
    folder.write("list", "/one");
    let mut client =
        server.client("-w list -t 16 -n 200").current_dir(folder.path()).stdout(Stdio::null()).spawn().unwrap();
    let mut seen = 0;
    let status = loop {
        if let Some(status) = client.try_wait().unwrap() {
            break status;
        }
        let Ok(content) = fs::read(folder.path().join("one")) else { continue };
        assert!(content.len() == MEBIBYTE && content.iter().all(|byte| *byte == content[0]), "torn");
        seen += 1;
    };
    assert!(status.code() == Some(1) && seen > 0, "{status}, seen {seen} times");
    assert_eq!(folder.files(), ["list", "one"]);
}

#[test]
fn an_interruption_ends_it_with_a_report_and_leaves_no_temporary_file() {
    for args in ["-t 4", "-t 4 --discard"] {
        let server = FileServer::start(|path, stream| match path {
            "/whole" => send_file(stream, Some(b"hello")),
            _ => {
                send(stream, b"GETFILE OK 18446744073709551615\r\n\r\n");
                // Bytes keep coming.
                while std::io::Write::write_all(stream, &[b'x'; 1024]).is_ok() {
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
        });
        let folder = Folder::new();
        folder.write("list", "/whole\n/endless");
        let mut command = server.client(&format!("-w list -n 1000 {args} --json report"));
        let mut client = command.current_dir(folder.path()).stdout(Stdio::piped()).spawn().unwrap();
        await_that("all threads are busy", || server.asked() == 8);
        let is_temporary = |name: &String| name.starts_with(".getfile-");
        await_that("files were begun", || args.contains("discard") || folder.files().iter().any(is_temporary));
        let began = Instant::now();
        crate::server::send(client.id(), Signal::SIGINT);
        await_that("it ends", || client.try_wait().unwrap().is_some());
        let output = client.wait_with_output().unwrap();
        assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
        assert_eq!(output.status.signal(), Some(Signal::SIGINT as i32), "{}", said(&output));
        let report: Value = serde_json::from_slice(&fs::read(folder.path().join("report")).unwrap()).unwrap();
        assert_eq!(report["outcomes"], json!({ "OK": 4, "interrupted": 4 }), "{report}");
        assert_eq!(
            (&report["interrupted"], &report["failed"], &report["unsent"]),
            (&json!("SIGINT"), &json!(0), &json!(992))
        );
        assert!(said(&output).contains("\nInterrupted: SIGINT "), "{}", said(&output));
        assert!(!folder.files().iter().any(is_temporary), "{:?}", folder.files());
    }
}

#[test]
fn content_is_not_held_in_memory() {
    let server = FileServer::start(|_, stream| {
        let length = 512 * MEBIBYTE;
        send(stream, format!("GETFILE OK {length}\r\n\r\n").as_bytes());
        (0..length / MEBIBYTE).for_each(|_| send(stream, &vec![0; MEBIBYTE]));
    });
    let folder = Folder::new();
    folder.write("list", "/big");
    for (arguments, shown) in [("/big", ""), ("-w list -t 1 --discard", "ok=1 failed=0 bytes=536870912")] {
        let client = server.client(arguments);
        let mut limited = Command::new("sh");
        limited.args(["-c", "ulimit -v 200000; exec \"$0\" \"$@\""]).arg(client.get_program()).args(client.get_args());
        let to = if shown.is_empty() { Stdio::null() } else { Stdio::piped() };
        let output = limited.current_dir(folder.path()).stdin(Stdio::null()).stdout(to).output().unwrap();
        assert!(output.status.success() && said(&output).contains(shown), "{arguments}: {}", said(&output));
    }
}

#[test]
fn a_terminal_shows_how_far_it_is() {
    let server = stalling();
    let folder = Folder::new();
    folder.write("list", "/a");
    let (port, list) = (server.address.port().to_string(), folder.path().join("list"));
    let args =
        ["getfile", "-p", &port, "-w", list.to_str().unwrap(), "-n", "4", "-t", "1", "--discard", "--timeout", "0.5"];
    let mut on = OnTerminal::start(env!("CARGO_BIN_EXE_client"), &args);
    on.await_text("50% 2 files");
    on.await_text("timeout                        4");
}
