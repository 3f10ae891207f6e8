//! GetFile against a real server: every row of the protocol, slow and broken clients, deaths.

use crate::server;

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bank_vault::store::connection::slot::ConnectionSlot;
use nix::sys::signal::Signal;
use server::{Server, await_that, send, unused_name, unused_port};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(20);

/// A server that serves a folder by GetFile.
pub struct Files {
    pub server: Server,
    address: SocketAddr,
    home: TempDir,
}

impl Files {
    fn with(files: &[(&str, &[u8])], args: &[&str]) -> Files {
        Files::start(files, "--getfile-root", "root", args)
    }

    /// A server whose `option` names `source`, in the folder in whose part `root` these files are.
    pub fn start(files: &[(&str, &[u8])], option: &str, source: &str, args: &[&str]) -> Files {
        let home = tempfile::tempdir().unwrap();
        for (path, bytes) in files {
            let path = home.path().join("root").join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        let source = home.path().join(source);
        Files::serving(home, option, source.to_str().unwrap(), args)
    }

    /// A server whose `option` names `source`.
    pub fn serving(home: TempDir, option: &str, source: &str, args: &[&str]) -> Files {
        Files::serving_in(&[], home, option, source, args)
    }

    /// As [`Files::serving`], with these variables in the environment.
    pub fn serving_in(environment: &[(&str, &str)], home: TempDir, option: &str, source: &str, args: &[&str]) -> Files {
        let port = unused_port().to_string();
        let own = ["--accounts", "10", "--getfile-port", &port, option, source];
        let server = Server::start_with(&unused_name(), &[&own[..], args].concat(), environment);
        let address = SocketAddr::new(server.address.ip(), port.parse().unwrap());
        Files { server, address, home }
    }

    pub fn root(&self, path: &str) -> PathBuf {
        self.home.path().join("root").join(path)
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect_timeout(&self.address, PATIENCE).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// What comes when these pieces are sent, each by itself, and nothing after them.
    pub fn ask(&self, pieces: &[&[u8]]) -> Vec<u8> {
        let mut stream = self.connect();
        for piece in pieces {
            stream.write_all(piece).unwrap();
        }
        rest(stream)
    }

    pub fn get(&self, path: &str) -> Vec<u8> {
        self.ask(&[format!("GETFILE GET {path}\r\n\r\n").as_bytes()])
    }

    /// Whether the server has received so many bytes of some connection.
    fn has_received(&self, bytes: u32) -> bool {
        self.server.stats().connections().iter().any(|slot: &ConnectionSlot| slot.moved().0 == bytes)
    }

    pub fn log(&self, lines: usize) -> Vec<String> {
        let path = self.server.data().join("access.log");
        self.server.signal(Signal::SIGUSR1);
        let read = || fs::read_to_string(&path).unwrap_or_default();
        await_that("the lines are in the log", || read().lines().count() >= lines);
        read().lines().map(str::to_owned).collect()
    }
}

/// All that comes until the orderly end of the connection.
pub fn rest(mut stream: TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    bytes
}

pub fn ok(content: &[u8]) -> Vec<u8> {
    [format!("GETFILE OK {}\r\n\r\n", content.len()).as_bytes(), content].concat()
}

pub const NOT_FOUND: &[u8] = b"GETFILE FILE_NOT_FOUND\r\n\r\n";
const INVALID: &[u8] = b"GETFILE INVALID\r\n\r\n";

/// The rows of the protocol, whole, byte by byte, and in two pieces at every place.
#[test]
fn requests_are_answered_as_the_protocol_says_however_they_come() {
    let files =
        Files::with(&[("a", b"content of a"), ("b/c d", b"not to be had"), ("%61", b"percent"), ("empty", b"")], &[]);
    let rows: [(&[u8], Vec<u8>); 16] = [
        (b"GETFILE GET /a\r\n\r\n", ok(b"content of a")),
        (b"GETFILE GET /a \r\n\r\n", ok(b"content of a")),
        (b"GETFILE GET //a\r\n\r\n", ok(b"content of a")),
        (b"GETFILE GET /%61\r\n\r\n", ok(b"percent")),
        (b"GETFILE GET /empty\r\n\r\n", ok(b"")),
        (b"GETFILE GET /none\r\n\r\n", NOT_FOUND.to_vec()),
        (b"GETFILE GET /\r\n\r\n", NOT_FOUND.to_vec()),
        (b"GETFILE GET /b\r\n\r\n", NOT_FOUND.to_vec()),
        (b"GETFILE GET /b/../a\r\n\r\n", NOT_FOUND.to_vec()),
        (b"GETFILE GET /a/\r\n\r\n", NOT_FOUND.to_vec()),
        (b"GETFILE GET /b/c d\r\n\r\n", INVALID.to_vec()),
        (b"GETFILE GET a\r\n\r\n", INVALID.to_vec()),
        (b"GETFILE PUT /a\r\n\r\n", INVALID.to_vec()),
        (b"GETFILE GET /a\n\n", INVALID.to_vec()),
        (b"GET /a HTTP/1.1\r\n\r\n", INVALID.to_vec()),
        (b"GETFILE GET /a\r\n\r\nGETFILE GET /none\r\n\r\n", ok(b"content of a")),
    ];
    for (request, answer) in &rows {
        let shown = request.escape_ascii();
        assert_eq!(files.ask(&[request]), *answer, "{shown}");
        let end = request.windows(4).position(|part| part == b"\r\n\r\n").map_or(request.len(), |at| at + 4);
        for at in 1..end {
            // What is malformed is answered before its end has come, and the connection may be closed by then.
            let mut stream = files.connect();
            stream.write_all(&request[..at]).unwrap();
            let _ = stream.write_all(&request[at..]);
            assert_eq!(rest(stream), *answer, "{shown} in two pieces at {at}");
        }
        let mut stream = files.connect();
        for byte in *request {
            let _ = stream.write_all(&[*byte]);
        }
        assert_eq!(rest(stream), *answer, "{shown} byte by byte");
    }
}

#[test]
fn a_path_may_have_4096_bytes_and_a_longer_one_is_read_to_its_end() {
    let files = Files::with(&[("a", b"a")], &["--workers", "1"]);
    let request = |slashes: usize| [b"GETFILE GET ", &vec![b'/'; slashes][..], b"a\r\n\r\n"].concat();
    assert_eq!(files.ask(&[&request(4095)]), ok(b"a"));
    for slashes in [4096, 20_000, 600_000] {
        assert_eq!(files.ask(&[&request(slashes)]), INVALID, "{slashes}");
    }
    // The worker dies in the middle of such a path: its successor reads on.
    let mut stream = files.connect();
    stream.write_all(&request(30_000)[..20_000]).unwrap();
    await_that("that much is read", || files.has_received(20_000));
    files.server.workers_now().into_iter().for_each(|worker| send(worker, Signal::SIGKILL));
    stream.write_all(&request(30_000)[20_000..]).unwrap();
    assert_eq!(rest(stream), INVALID);
    let log = files.log(5);
    assert!(log.iter().any(|line| line.contains("\"GETFILE GET ///") && line.contains("\" 400 0 ")), "{log:?}");
    // One that never ends has a bound.
    let mut stream = files.connect();
    stream.write_all(b"GETFILE GET /").unwrap();
    let mut sent = 0;
    while sent < 8 << 20 {
        match stream.write(&[b'x'; 65536]) {
            Ok(count) => sent += count,
            Err(_) => break,
        }
    }
    assert!(sent < 8 << 20, "it takes no more some time");
}

#[test]
fn what_is_not_a_file_of_the_folder_is_not_found() {
    let files = Files::with(&[("a", b"a"), ("secret", b"s")], &["--workers", "1"]);
    fs::write(files.home.path().join("outside"), "outside").unwrap();
    symlink("../outside", files.root("out")).unwrap();
    symlink("a", files.root("in")).unwrap();
    nix::unistd::mkfifo(&files.root("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    fs::set_permissions(files.root("secret"), fs::Permissions::from_mode(0o000)).unwrap();
    assert_eq!(files.get("/in"), ok(b"a"));
    for path in ["/out", "/pipe", "/a/x", &format!("/{}", "n".repeat(300))] {
        assert_eq!(files.get(path), NOT_FOUND, "{path}");
    }
    if nix::unistd::geteuid().is_root() {
        assert_eq!(files.get("/secret"), ok(b"s"), "root may read all");
    } else {
        assert_eq!(files.get("/secret"), NOT_FOUND);
    }
    let lines = files.log(6);
    assert!(lines[0].contains("\"GETFILE GET /in\" 200 1 "), "{lines:?}");
    assert!(lines[1..5].iter().all(|line| line.contains(" 404 0 ")), "{lines:?}");
    // The folder itself may be replaced, and may be gone.
    fs::rename(files.home.path().join("root"), files.home.path().join("old")).unwrap();
    await_that("the folder is gone", || files.get("/a") == b"GETFILE ERROR\r\n\r\n");
    fs::create_dir(files.home.path().join("root")).unwrap();
    fs::write(files.root("a"), "new").unwrap();
    await_that("the new folder is served", || files.get("/a") == ok(b"new"));
}

#[test]
fn files_of_all_lengths_come_whole() {
    let lengths = [1, 65_535, 65_536, 65_537, 1 << 20, 20_000_000];
    let content = |length: usize| (0..length).map(|i| u8::try_from(i * 31 % 251).unwrap()).collect::<Vec<u8>>();
    let named: Vec<(String, Vec<u8>)> = lengths.iter().map(|&length| (length.to_string(), content(length))).collect();
    let listed: Vec<(&str, &[u8])> = named.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
    let files = Files::with(&listed, &["--workers", "2"]);
    for (name, bytes) in &listed {
        // Once by a thread, once from memory.
        for _ in 0..2 {
            assert!(files.get(&format!("/{name}")) == ok(bytes), "{name}");
        }
    }
    // A sparse file is longer than memory; the first of its bytes and its length will do.
    fs::File::create(files.root("sparse")).unwrap().set_len(5 << 30).unwrap();
    let mut stream = files.connect();
    stream.write_all(b"GETFILE GET /sparse\r\n\r\n").unwrap();
    let mut head = [0; 26];
    stream.read_exact(&mut head).unwrap();
    assert_eq!(head.escape_ascii().to_string(), "GETFILE OK 5368709120\\r\\n\\r\\n\\x00");
}

#[test]
fn who_does_not_finish_or_does_not_read_is_not_waited_for() {
    let files = Files::with(&[("large", &vec![7; 50_000_000])], &["--getfile-timeout", "1", "--workers", "1"]);
    let mut silent = files.connect();
    silent.write_all(b"GETFILE GET /lar").unwrap();
    let mut half = files.connect();
    half.write_all(b"GETFILE GET /lar").unwrap();
    half.shutdown(Shutdown::Write).unwrap();
    let begun = Instant::now();
    assert_eq!(rest(half), INVALID);
    assert!(begun.elapsed() < Duration::from_millis(900), "its end was seen");
    assert_eq!(rest(silent), INVALID);
    // A client that closed its side after a whole request gets its file.
    let mut done = files.connect();
    done.write_all(b"GETFILE GET /large\r\n\r\n").unwrap();
    done.shutdown(Shutdown::Write).unwrap();
    assert_eq!(rest(done).len(), 50_000_000 + 23);
    // One that reads nothing is closed.
    let mut stuck = files.connect();
    stuck.write_all(b"GETFILE GET /large\r\n\r\n").unwrap();
    await_that("it is closed", || {
        let stats = files.server.stats();
        stats.workers().iter().map(|worker| worker.stats.slow_dropped.get()).sum::<u64>() == 2
    });
    let mut got = Vec::new();
    let _reset = stuck.read_to_end(&mut got);
    assert!(got.len() < 50_000_000);
}

#[test]
fn requests_without_an_answer_go_on_when_their_worker_is_killed() {
    let files = Files::with(&[("a", b"content")], &["--workers", "2"]);
    for round in 0..3 {
        let mut streams: Vec<TcpStream> = (0..20).map(|_| files.connect()).collect();
        streams.iter_mut().for_each(|stream| stream.write_all(b"GETFILE GET ").unwrap());
        await_that("all of them are read", || {
            let stats = files.server.stats();
            stats.connections().iter().filter(|slot| slot.moved().0 == 12 && slot.progress().consumed == 0).count()
                == 20
        });
        files.server.workers_now().into_iter().for_each(|worker| send(worker, Signal::SIGKILL));
        streams.iter_mut().for_each(|stream| stream.write_all(b"/a\r\n\r\n").unwrap());
        assert!(streams.into_iter().all(|stream| rest(stream) == ok(b"content")), "round {round}");
    }
    assert_eq!(files.log(60).len(), 60);
}

#[test]
fn in_the_middle_of_a_file_the_connection_ends_short_of_its_length() {
    let files = Files::with(&[("large", &vec![7; 50_000_000])], &["--workers", "1"]);
    let mut stream = files.connect();
    stream.write_all(b"GETFILE GET /large\r\n\r\n").unwrap();
    let mut head = [0; 23];
    stream.read_exact(&mut head).unwrap();
    send(files.server.workers[0], Signal::SIGKILL);
    let mut content = Vec::new();
    let _reset = stream.read_to_end(&mut content);
    assert!(content.len() < 50_000_000 && content.iter().all(|byte| *byte == 7));
    assert_eq!(files.get("/none"), NOT_FOUND);
}

#[test]
fn connections_beyond_the_bound_are_told_so() {
    let files = Files::with(&[("large", &vec![7; 50_000_000])], &["--getfile-connections", "2", "--workers", "1"]);
    let busy: Vec<TcpStream> = (0..2)
        .map(|_| {
            let mut stream = files.connect();
            stream.write_all(b"GETFILE GET /large\r\n\r\n").unwrap();
            stream.read_exact(&mut [0; 1]).unwrap();
            stream
        })
        .collect();
    assert_eq!(files.get("/none"), b"GETFILE ERROR\r\n\r\n");
    drop(busy);
    await_that("there is room again", || files.get("/none") == NOT_FOUND);
}

#[test]
fn a_start_without_anything_to_serve_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let start = |args: &[&str]| {
        let output = server::master(&unused_name(), &home.path().join("data"), args).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, said) = start(&["--getfile-port", "7000"]);
    assert!(code == Some(2) && said.contains("--getfile-root"), "{code:?} {said}");
    let (code, said) = start(&["--getfile-root", "/"]);
    assert!(code == Some(2) && said.contains("--getfile-port"), "{code:?} {said}");
    let (code, said) = start(&["--getfile-port", "7000", "--getfile-root", "/", "--getfile-map", "map"]);
    assert!(code == Some(2) && said.contains("--getfile-map") | said.contains("getfile-map"), "{code:?} {said}");
    let map = home.path().join("map");
    fs::write(&map, "/a x\n/b\n").unwrap();
    let (code, said) = start(&["--getfile-port", "7000", "--getfile-map", map.to_str().unwrap()]);
    assert!(code == Some(2) && said.contains("line 2") && said.contains("--getfile-map"), "{code:?} {said}");
    let none = home.path().join("none");
    let (code, said) = start(&["--getfile-port", "7000", "--getfile-map", none.to_str().unwrap()]);
    assert!(code == Some(2) && said.contains("--getfile-map") && said.contains("none"), "{code:?} {said}");
    let upstream = ["--getfile-port", "7000", "--getfile-upstream", "https://localhost", "--getfile-upstream-ca"];
    for (authorities, why) in [(&map, "no certificate"), (&none, "No such file")] {
        let (code, said) = start(&[&upstream[..], &[authorities.to_str().unwrap()]].concat());
        assert!(code == Some(2) && said.contains(why) && said.contains("--getfile-upstream-ca"), "{code:?} {said}");
    }
    let log = none.join("log");
    let log = [
        "--http-port",
        "0",
        "--getfile-port",
        "7000",
        "--getfile-map",
        map.to_str().unwrap(),
        "--access-log",
        log.to_str().unwrap(),
    ];
    let (code, said) = start(&log);
    assert!(code == Some(2) && said.contains("choose another with --access-log"), "{code:?} {said}");
    let (code, said) = start(&["--getfile-port", "7000", "--getfile-root", none.to_str().unwrap()]);
    assert!(code == Some(2) && said.contains("--getfile-root") && said.contains("none"), "{code:?} {said}");
}

/// Connections go on over an upgrade, and another worker takes those of one that leaves.
#[test]
fn connections_outlive_an_upgrade_and_a_drain() {
    let files = Files::with(&[("a", b"content")], &["--workers", "3"]);
    let vaultctl = |words: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_vaultctl"));
        let output = command.args(words).args(["--instance", &files.server.instance]).output().unwrap();
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    for words in [&["drain", "0"][..], &["upgrade"], &["drain", "1"]] {
        let mut begun: Vec<TcpStream> = (0..8).map(|_| files.connect()).collect();
        begun.iter_mut().for_each(|stream| stream.write_all(b"GETFILE GET").unwrap());
        await_that("all of them are read", || {
            let stats = files.server.stats();
            let begun = |slot: &&ConnectionSlot| slot.moved().0 == 11 && slot.progress().consumed == 0;
            stats.connections().iter().filter(begun).count() == 8
        });
        vaultctl(words);
        begun.iter_mut().for_each(|stream| stream.write_all(b" /a\r\n\r\n").unwrap());
        assert!(begun.into_iter().all(|stream| rest(stream) == ok(b"content")), "{words:?}");
        assert_eq!(files.get("/a"), ok(b"content"), "{words:?}");
    }
}

#[test]
fn what_was_answered_is_counted() {
    let files = Files::with(&[("a", b"content")], &["--workers", "1"]);
    for path in ["/a", "/a", "/none", "a"] {
        files.get(path);
    }
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_vaultctl"))
        .args(["top", "--once", "--json", "--instance", &files.server.instance])
        .output()
        .unwrap();
    let view: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let totals =
        ["OK", "FILE_NOT_FOUND", "ERROR", "INVALID"].map(|status| &view["getfile"]["statuses"][status]["total"]);
    assert_eq!(totals, [2, 1, 0, 1], "{view}");
    assert_eq!(view["getfile"]["bytes_out"]["total"], 2 * (16 + 7) + 26 + 19);
}

#[test]
fn a_map_file_names_what_is_served() {
    let content = vec![7; 100_000];
    let map = b"/a files/a\n/large files/large\n/gone files/none\n/folder files\n/with%20space files/b c";
    let files: [(&str, &[u8]); 4] =
        [("map", map), ("files/a", b"content of a"), ("files/large", &content), ("files/b c", b"spaced")];
    // Without a cache the workers read the files themselves.
    let files = Files::start(&files, "--getfile-map", "root/map", &["--workers", "1", "--getfile-cache-mb", "0"]);
    for _ in 0..2 {
        assert_eq!(files.get("/a"), ok(b"content of a"));
        assert_eq!(files.get("/large"), ok(&content));
        assert_eq!(files.get("/with%20space"), ok(b"spaced"));
        for path in ["/gone", "/folder", "/files/a", "//a", "/a/../a"] {
            assert_eq!(files.get(path), NOT_FOUND, "{path}");
        }
    }
    // SIGHUP has it read again; one that is wrong changes nothing, also not for a worker's successor but for what it says.
    fs::write(files.root("map"), "/b files/a\n").unwrap();
    files.server.signal(Signal::SIGHUP);
    await_that("the new map holds", || files.get("/b") == ok(b"content of a"));
    assert_eq!(files.get("/a"), NOT_FOUND);
    fs::write(files.root("map"), "wrong\n").unwrap();
    files.server.signal(Signal::SIGHUP);
    await_that("it is said", || files.server.stderr().contains("line 1"));
    assert_eq!(files.get("/b"), ok(b"content of a"));
    files.server.workers_now().into_iter().for_each(|worker| send(worker, Signal::SIGKILL));
    await_that("the successor has no map", || files.get("/b") == b"GETFILE ERROR\r\n\r\n");
    fs::write(files.root("map"), "/c files/a\n").unwrap();
    files.server.signal(Signal::SIGHUP);
    await_that("until it is right", || files.get("/c") == ok(b"content of a"));
}
