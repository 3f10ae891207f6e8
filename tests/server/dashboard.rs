//! The dashboard in a real browser: Chromium without a window, driven over WebDriver (<https://www.w3.org/TR/webdriver2/>).
//!
//! It wants `chromedriver` (Debian: chromium-driver).

use crate::{kv, server, tools, visitor};

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use bank_vault::ipc::process::monotonic_ns;
use bank_vault::ipc::segment::Access;
use bank_vault::store::instance::Instance;
use kv::Kv;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::{Value, json};
use server::{await_that, send};
use tempfile::TempDir;
use tools::tool;
use visitor::{Site, Visitor};

/// A browser with one page.
struct Browser {
    driver: Child,
    address: SocketAddr,
    session: String,
    /// Removed with it.
    profile: TempDir,
}

impl Browser {
    /// Starts one with a window of this size.
    fn start(width: u32, height: u32) -> Browser {
        let mut command = tool("chromedriver", "chromium-driver");
        command.arg("--port=0").stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
        let mut driver = command.spawn().unwrap();
        let said = BufReader::new(driver.stdout.take().unwrap());
        let port = said.lines().map_while(Result::ok).find_map(|line| {
            let (_, port) = line.split_once("started successfully on port ")?;
            port.trim_end_matches('.').parse::<u16>().ok()
        });
        let address = SocketAddr::from(([127, 0, 0, 1], port.expect("a port")));
        let profile = tempfile::tempdir().unwrap();
        let mut browser = Browser { driver, address, session: String::new(), profile };
        let folder = format!("--user-data-dir={}", browser.profile.path().display());
        let window = format!("--window-size={width},{height}");
        let quiet =
            ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"];
        let more = ["--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage"];
        let args: Vec<&str> = quiet.into_iter().chain(more).chain([folder.as_str(), window.as_str()]).collect();
        let asked = json!({ "capabilities": { "alwaysMatch": { "goog:chromeOptions": { "args": args } } } });
        let made = browser.command("POST", "/session", &asked);
        made["sessionId"].as_str().unwrap_or_else(|| panic!("{made}")).clone_into(&mut browser.session);
        browser
    }

    /// One command of the protocol; what it gives.
    fn command(&self, method: &str, path: &str, body: &Value) -> Value {
        let body = body.to_string();
        let mut visitor = Visitor::to(self.address);
        let head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", self.address);
        visitor.send(
            format!("{head}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len()).as_bytes(),
        );
        let answer: Value = serde_json::from_str(&visitor.read(false).unwrap().text()).unwrap();
        answer["value"].clone()
    }

    fn open(&self, address: &str) {
        let said = self.command("POST", &format!("/session/{}/url", self.session), &json!({ "url": address }));
        assert!(said.is_null(), "{said}");
    }

    fn resize(&self, width: u32, height: u32) {
        let rect = json!({ "width": width, "height": height });
        let now = self.command("POST", &format!("/session/{}/window/rect", self.session), &rect);
        assert_eq!((&now["width"], &now["height"]), (&rect["width"], &rect["height"]), "{now}");
    }

    /// What a script gives back.
    fn run(&self, script: &str) -> Value {
        let asked = json!({ "script": script, "args": [] });
        self.command("POST", &format!("/session/{}/execute/sync", self.session), &asked)
    }

    /// The text of the element with this id.
    fn text(&self, id: &str) -> String {
        self.run(&format!("return document.getElementById('{id}').textContent")).as_str().unwrap().to_owned()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The browser's processes, too.
        let _ = killpg(Pid::from_raw(self.driver.id().cast_signed()), Signal::SIGKILL);
        let _ = self.driver.wait();
    }
}

#[test]
#[ignore = "needs chromedriver"]
fn numbers_move_under_load_and_a_killed_worker_shows_up() {
    let browser = Browser::start(1280, 900);
    let site = Site::with(&[("index.html", b"page")], &["--workers", "2", "--initial-balance", "1000.00"]);
    browser.open(&format!("http://{}/_vault/", site.address));
    await_that("it shows its instance", || browser.text("name") == site.server.instance);
    let mut load = Command::new(env!("CARGO_BIN_EXE_client"))
        .args(["--port", &site.server.address.port().to_string(), "--connections", "10", "--rate", "2000"])
        .args(["--accounts", "0-9"])
        .args(["--duration", "60s"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let number =
        |id: &str| browser.text(id).chars().filter(char::is_ascii_digit).collect::<String>().parse().unwrap_or(0);
    await_that("the rate is shown", || number("rate-bank") > 500);
    let committed = browser.text("committed");
    await_that("more is committed", || browser.text("committed") != committed);
    assert_eq!(browser.run("return document.getElementById('workers').children.length"), 2);
    assert!(!browser.text("last").is_empty(), "the last operations");
    let absent = ["kv", "key-kv"].map(|id| browser.run(&format!("return document.getElementById('{id}').hidden")));
    assert_eq!(absent, [true, true], "there is no key-value store");
    let worker = site.server.workers_now()[0];
    send(worker, Signal::SIGKILL);
    await_that("the death is counted", || number("deaths") == 1);
    await_that("it is told", || browser.text("events").contains("died"));
    let wide = "return document.documentElement.scrollWidth <= window.innerWidth";
    assert_eq!(browser.run(wide), true, "nothing sticks out");
    load.kill().unwrap();
    load.wait().unwrap();
}

#[test]
#[ignore = "needs chromedriver"]
fn the_cache_process_is_shown_where_there_is_one() {
    let browser = Browser::start(1280, 900);
    let site = Site::with(
        &[("index.html", b"page")],
        &["--workers", "2", "--getfile-port", &server::unused_port().to_string(), "--getfile-root", "src"],
    );
    browser.open(&format!("http://{}/_vault/", site.address));
    await_that("GetFile is shown", || browser.run("return document.getElementById('getfile').hidden") == false);
    assert_eq!(browser.run("return document.getElementById('cache').hidden"), true);
    // What a cache process would count.
    let generation = site.server.stats().generation().clone();
    let instance = Instance::open(generation, Access::Write).unwrap();
    let row = instance.cache_row();
    row.life.begin(monotonic_ns());
    row.life.pid.set(4711);
    for (number, value) in
        [(&row.bytes, 3 << 20), (&row.entries, 12), (&row.fetching, 4), (&row.queued, 5), (&row.waiting, 6)]
    {
        number.set(value);
    }
    await_that("there is a panel", || browser.run("return document.getElementById('cache').hidden") == false);
    let shown = ["process", "memory", "kept", "fetching", "waiting"].map(|id| browser.text(&format!("cache-{id}")));
    assert_eq!(shown, ["pid 4711", "3.0 MiB", "12", "4 · 5 queued", "6"]);
    await_that("hits are counted", || {
        row.hits.add(300);
        row.coalesced.add(100);
        browser.text("cache-hits") == "75 %" && browser.text("source-hit") != "hit 0/s"
    });
    let wide = "return document.documentElement.scrollWidth <= window.innerWidth";
    assert_eq!(browser.run(wide), true, "nothing sticks out");
    row.life.pid.set(0);
    await_that("it is gone", || browser.text("cache-process") == "no process");
    // The server knows nothing of it.
    row.life.cancel();
    drop(site);
}

#[test]
#[ignore = "needs chromedriver"]
fn the_key_value_store_is_shown_where_there_is_one() {
    let wide = "return document.documentElement.scrollWidth <= window.innerWidth";
    // What stands in a row beside another one must not reach into it.
    let overlaps = "return [...document.querySelectorAll('#kv dl.rows div, #kv .chips span')].filter(row => row.scrollWidth > \
                    row.clientWidth + 1).map(row => row.textContent)";
    let options = kv::kv_options(&["--workers", "2", "--kv-mb", "1"]);
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let site = Site::with(&[("index.html", b"page")], &options);
    let mut kv = Kv::connect(kv::kv_address(&site.server));
    kv.put(b"small", b"value");
    kv.put(b"large", &[7; 1000]);
    assert_eq!(kv.get(b"nothing"), None);
    let browser = Browser::start(1280, 900);
    browser.open(&format!("http://{}/_vault/", site.address));
    await_that("there is a panel", || browser.run("return document.getElementById('kv').hidden") == false);
    for (width, height) in [(1280, 900), (1000, 900), (390, 844)] {
        browser.resize(width, height);
        let shown = ["keys", "blocks", "capacity", "memory", "get", "put", "scan", "connections", "waiting", "faults"];
        let shown = shown.map(|id| browser.text(&format!("kv-{id}")));
        assert_eq!(shown, ["2", "6", "4,096", "1.5 KiB", "1", "2", "0", "1", "0", "0"]);
        assert_eq!(browser.text("kv-results"), "KV_OK 2KV_NOT_FOUND 1");
        assert_eq!((browser.run(wide), browser.run(overlaps)), (json!(true), json!([])), "{width} pixels");
    }
    let long = "document.getElementById('kv-get').textContent = '9'.repeat(90); ".to_owned();
    assert_ne!(browser.run(&(long + overlaps)), json!([]), "it would be noticed");
}

#[test]
#[ignore = "needs chromedriver"]
fn a_phone_shows_all_of_it_and_a_lost_server_is_told() {
    let browser = Browser::start(390, 844);
    let mut site = Site::with(&[("index.html", b"page")], &["--workers", "2"]);
    browser.open(&format!("http://{}/_vault/", site.address));
    await_that("it shows its instance", || browser.text("name") == site.server.instance);
    let wide = "return document.documentElement.scrollWidth <= window.innerWidth";
    assert_eq!(browser.run(wide), true, "nothing sticks out");
    assert_eq!(browser.run("return document.getElementById('banner').hidden"), true);
    assert!(site.server.end().status.success());
    await_that("it says that it is alone", || browser.run("return document.getElementById('banner').hidden") == false);
    site.server.start_again(&[]);
    await_that("it is connected again", || browser.run("return document.getElementById('banner').hidden") == true);
}
