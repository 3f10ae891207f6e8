//! `vaultctl cache` against a cache process that serves clients.

use crate::server;

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;

use serde_json::Value;
use server::{Server, await_that, unused_port};
use tempfile::TempDir;

/// A server of the files that a map names.
struct Setting {
    server: Server,
    address: SocketAddr,
    _home: TempDir,
}

impl Setting {
    fn new() -> Setting {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("a"), "contents").unwrap();
        fs::write(home.path().join("b"), vec![7; 300_000]).unwrap();
        let map = home.path().join("map");
        fs::write(&map, "/a a\n/b b\n").unwrap();
        let port = unused_port();
        let args = ["--workers", "1", "--accounts", "10", "--getfile-port", &port.to_string(), "--getfile-map"];
        let server = Server::start(&[&args[..], &[map.to_str().unwrap()]].concat());
        let address = SocketAddr::new(server.address.ip(), port);
        Setting { server, address, _home: home }
    }

    /// Gets a path, and waits until that is counted: how many bytes came, and how it was counted.
    fn get(&self, path: &str) -> (usize, &'static str) {
        let stats = self.server.stats();
        let row = stats.cache_row();
        let counted = || [row.hits.get(), row.misses.get()];
        let before = counted();
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.write_all(format!("GETFILE GET {path}\r\n\r\n").as_bytes()).unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        await_that("it is counted", || counted() != before && row.fetching.get() + row.reading.get() == 0);
        (bytes.len(), if counted()[0] > before[0] { "hit" } else { "miss" })
    }

    /// Executes `vaultctl cache WORDS`; its exit code, and what it said.
    fn run(&self, words: &[&str]) -> (i32, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vaultctl"));
        let output = command.arg("cache").args(words).args(["--instance", &self.server.instance]).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    /// Path, state and bytes of each entry.
    fn listed(&self) -> Vec<(String, String, u64)> {
        let (code, out, err) = self.run(&["list", "--json"]);
        assert_eq!((code, err.as_str()), (0, ""));
        let entry = |line: &str| {
            let entry: Value = serde_json::from_str(line).unwrap();
            let text = |name: &str| entry[name].as_str().unwrap().to_owned();
            (text("path"), text("state"), entry["bytes"].as_u64().unwrap())
        };
        out.lines().map(entry).collect()
    }
}

#[test]
fn what_clients_have_got_is_listed_counted_and_purged() {
    let setting = Setting::new();
    assert_eq!(setting.run(&["list"]), (0, "nothing is kept\n".to_owned(), String::new()));
    for (path, bytes) in [("/a", 16 + 8), ("/b", 21 + 300_000), ("/none", 26)] {
        assert_eq!([setting.get(path), setting.get(path)], [(bytes, "miss"), (bytes, "hit")], "{path}");
    }
    let entry = |path: &str, state: &str, bytes| (path.to_owned(), state.to_owned(), bytes);
    let [a, b, none] = [entry("/a", "fresh", 8), entry("/b", "fresh", 300_000), entry("/none", "negative", 0)];
    assert_eq!(setting.listed(), [a.clone(), b, none]);
    let (code, out, err) = setting.run(&["stats"]);
    assert_eq!((code, err.as_str()), (0, ""));
    for line in [
        "answers   6: hit 3, miss 3, stale 0, revalidated 0, coalesced 0; hit ratio 50.0 %",
        "entries   2 with content, 1 known not to be there",
        "sent      600016 bytes",
        "segments  16 of 65536 bytes: free 16,",
    ] {
        assert!(out.contains(line), "{line} is not in {out}");
    }
    // What is purged is fetched again; what is not there is no entry, and says so.
    assert_eq!(setting.run(&["purge", "/b"]), (0, "forgot 1 entry\n".to_owned(), String::new()));
    let (code, out, err) = setting.run(&["purge", "/b"]);
    assert!(code == 1 && out.is_empty() && err.contains("nothing was kept of /b"), "{code} {out} {err}");
    assert_eq!(setting.listed().len(), 2);
    assert_eq!([setting.get("/b").1, setting.get("/a").1], ["miss", "hit"]);
    assert_eq!(setting.run(&["purge", "--all"]).1, "forgot 3 entries\n");
    assert_eq!((setting.listed(), setting.get("/a").1), (vec![], "miss"));
    assert_eq!(setting.listed(), [a]);
    assert!(setting.server.stop().status.success());
}
