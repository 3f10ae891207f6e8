//! Files over HTTP from a real server.

use crate::{server, visitor};

use std::fs;
use std::io::Read;
use std::net::TcpStream;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::time::{Duration, Instant};

use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use nix::sys::signal::Signal;
use server::{await_that, send};
use visitor::{Answer, Site, Visitor};

const PAGE: &[u8] = b"<h1>A page</h1>\n";

/// Bytes without a repetition.
fn pattern(length: usize) -> Vec<u8> {
    (0u32..).flat_map(|word| word.wrapping_mul(2_654_435_761).to_le_bytes()).take(length).collect()
}

#[test]
fn files_come_with_type_length_date_and_tag() {
    let site = Site::with(&[("index.html", PAGE), ("a/b c.css", b"x{}"), ("empty.txt", b"")], &[]);
    let mut visitor = site.visit();
    let index = visitor.get("/");
    assert_eq!((index.status, &index.body[..]), (200, PAGE));
    assert_eq!(index.field("content-type"), Some("text/html; charset=utf-8"));
    assert_eq!(index.field("server"), Some("bank-vault"));
    for name in ["date", "etag", "last-modified"] {
        assert!(index.field(name).is_some(), "{name}");
    }
    let head = visitor.ask("HEAD", "/", "");
    assert_eq!((head.status, head.body.len(), head.field("content-length")), (200, 0, Some("16")));
    let style = visitor.get("/a/b%20c.css?version=7");
    assert_eq!((style.status, style.field("content-type")), (200, Some("text/css; charset=utf-8")));
    assert_eq!((visitor.get("/empty.txt").status, visitor.get("/empty.txt").body.len()), (200, 0));
    let folder = visitor.get("/a");
    assert_eq!((folder.status, folder.field("location")), (301, Some("/a/")));
    assert_eq!(visitor.get("/a/").status, 403, "a folder without an index");
    assert_eq!(visitor.get("/index.html/").status, 404);
    assert_eq!(visitor.get("/nobody").status, 404);
    assert_eq!(visitor.get("/").status, 200, "an error does not end the connection");
    assert_eq!(visitor.ask("GET", "/", "Connection: close\r\n").field("connection"), Some("close"));
    assert!(visitor.is_closed());
}

#[test]
fn conditions_and_ranges_are_kept_to() {
    let bytes = pattern(300_000);
    let site = Site::with(&[("small", &bytes[..1000]), ("large", &bytes)], &[]);
    let mut visitor = site.visit();
    for (target, length) in [("/small", 1000), ("/large", 300_000)] {
        let whole = visitor.get(target);
        assert_eq!(whole.body, bytes[..length]);
        let tag = whole.field("etag").unwrap();
        let known = visitor.ask("GET", target, &format!("If-None-Match: W/{tag}\r\n"));
        assert_eq!((known.status, known.field("etag")), (304, Some(tag)));
        let since = format!("If-Modified-Since: {}\r\n", whole.field("last-modified").unwrap());
        assert_eq!(visitor.ask("GET", target, &since).status, 304);
        assert_eq!(visitor.ask("GET", target, "If-Match: \"other\"\r\n").status, 412);
        let part = visitor.ask("GET", target, "Range: bytes=100-199\r\n");
        assert_eq!((part.status, &part.body[..]), (206, &bytes[100..200]));
        assert_eq!(part.field("content-range"), Some(&*format!("bytes 100-199/{length}")));
        let tail = visitor.ask("GET", target, "Range: bytes=-10\r\n");
        assert_eq!(tail.body, bytes[length - 10..length]);
        assert_eq!(visitor.ask("GET", target, "Range: bytes=300000-\r\n").status, 416);
        let changed = visitor.ask("GET", target, "Range: bytes=0-1\r\nIf-Range: \"other\"\r\n");
        assert_eq!((changed.status, changed.body.len()), (200, length));
        let several = visitor.ask("GET", target, "Range: bytes=0-1,500-599,900-\r\n");
        assert_eq!((several.status, several.field("content-range")), (206, None));
        let boundary = several.field("content-type").unwrap().strip_prefix("multipart/byteranges; boundary=").unwrap();
        for range in [0..2, 500..600, 900..length] {
            let text = format!("Content-Range: bytes {}-{}/{length}\r\n\r\n", range.start, range.end - 1);
            let wanted = [text.as_bytes(), &bytes[range], b"\r\n--", boundary.as_bytes()].concat();
            assert!(several.body.windows(wanted.len()).any(|part| part == wanted), "{text}");
        }
    }
}

#[test]
fn a_compressed_form_goes_to_who_understands_it() {
    let site = Site::with(&[("page.html", PAGE), ("page.html.gz", b"\x1f\x8b compressed"), ("plain.html", PAGE)], &[]);
    let mut visitor = site.visit();
    let asked = |visitor: &mut Visitor, target, more| visitor.ask("GET", target, more);
    let zipped = asked(&mut visitor, "/page.html", "Accept-Encoding: br, gzip\r\n");
    assert_eq!((zipped.status, zipped.field("content-encoding")), (200, Some("gzip")));
    assert_eq!(zipped.field("content-type"), Some("text/html; charset=utf-8"));
    assert_eq!(zipped.body, b"\x1f\x8b compressed");
    let plain = asked(&mut visitor, "/page.html", "Accept-Encoding: gzip;q=0\r\n");
    assert_eq!((plain.field("content-encoding"), &plain.body[..]), (None, PAGE));
    assert!([&zipped, &plain].iter().all(|answer| answer.field("vary") == Some("Accept-Encoding")));
    assert_ne!(zipped.field("etag"), plain.field("etag"));
    let alone = asked(&mut visitor, "/plain.html", "Accept-Encoding: gzip\r\n");
    assert_eq!((alone.field("vary"), &alone.body[..]), (None, PAGE));
}

#[test]
fn nothing_outside_of_the_folder_is_ever_served() {
    let site = Site::with(&[("inner/page.html", PAGE), ("private", b"no")], &[]);
    fs::write(site.outside("secret"), "the secret").unwrap();
    symlink(site.outside("secret"), site.path("absolute")).unwrap();
    symlink("../secret", site.path("upward")).unwrap();
    symlink("..", site.path("inner/parent")).unwrap();
    symlink("inner/page.html", site.path("within")).unwrap();
    nix::unistd::mkfifo(&site.path("pipe"), nix::sys::stat::Mode::S_IRUSR).unwrap();
    fs::set_permissions(site.path("private"), fs::Permissions::from_mode(0o000)).unwrap();
    for target in [
        "/../secret",
        "/inner/../../secret",
        "/%2e%2e/secret",
        "/.%2e/secret",
        "/%252e%252e/secret",
        "/..%2fsecret",
        "/%2e%2e%2fsecret",
        "/..%5csecret",
        "/..\\secret",
        "/inner/parent/secret",
        "/inner/parent/../secret",
        "/absolute",
        "/upward",
        "//secret",
        "/%c0%ae%c0%ae/secret",
        "/..;/secret",
        "/./../secret",
        "/inner//../../secret",
        "/..%00/secret",
        "/absolute%00.html",
        "/inner/parent/parent/secret",
        "/proc/self/environ",
        "/..../secret",
    ] {
        let answer = site.get(target);
        assert!(matches!(answer.status, 400 | 403 | 404), "{target}: {}", answer.status);
        assert!(!answer.text().contains("the secret"), "{target}");
    }
    assert_eq!(site.get("/within").body, PAGE, "a link that stays inside");
    assert_eq!(site.get("/pipe").status, 403);
    let root = fs::metadata("/proc/self").unwrap().uid() == 0;
    assert_eq!(
        site.get("/private").status,
        if root { 200 } else { 403 },
        "what the kernel does not let this user read"
    );
}

#[test]
fn a_changed_file_is_noticed() {
    let site = Site::with(&[("page", b"first"), ("other", &pattern(500_000))], &[]);
    let mut visitor = site.visit();
    let mut now_it_is = |target: &str, wanted: &dyn Fn(&Answer) -> bool| {
        let start = Instant::now();
        await_that("the change is seen", || wanted(&visitor.get(target)));
        assert!(start.elapsed() < Duration::from_secs(5), "{target}: {:?}", start.elapsed());
    };
    now_it_is("/page", &|answer| answer.body == b"first");
    fs::write(site.path("page"), "second").unwrap();
    now_it_is("/page", &|answer| answer.body == b"second");
    // As it should be done: a new file takes the name of the old one.
    fs::write(site.path("new"), "third!").unwrap();
    fs::rename(site.path("new"), site.path("page")).unwrap();
    now_it_is("/page", &|answer| answer.body == b"third!");
    fs::write(site.path("page.gz"), "compressed").unwrap();
    now_it_is("/page", &|answer| answer.body == b"third!");
    fs::remove_file(site.path("page")).unwrap();
    now_it_is("/page", &|answer| answer.status == 404);
    now_it_is("/other", &|answer| answer.body.len() == 500_000);
    // It is sent from the open file, which must not become shorter meanwhile.
    fs::write(site.path("new"), pattern(400_000)).unwrap();
    fs::rename(site.path("new"), site.path("other")).unwrap();
    now_it_is("/other", &|answer| answer.body == pattern(400_000));
}

/// A new version of a site replaces the folder. If the folder is gone, the bank goes on.
#[test]
fn the_folder_itself_may_be_replaced_or_be_gone() {
    let site = Site::with(&[("page", b"old")], &["--workers", "1"]);
    let mut visitor = site.visit();
    assert_eq!(visitor.get("/page").body, b"old");
    fs::rename(site.path(""), site.outside("before")).unwrap();
    await_that("its files are gone", || visitor.get("/page").status == 404);
    // Once another client has its answer, nothing is left to be done for the first one's last.
    assert_eq!(site.get("/page").status, 404);
    send(site.server.workers[0], Signal::SIGKILL);
    assert_eq!(visitor.get("/page").status, 404, "a new worker serves all the same");
    fs::create_dir(site.outside("after")).unwrap();
    fs::write(site.outside("after/page"), "new").unwrap();
    fs::rename(site.outside("after"), site.path("")).unwrap();
    await_that("the new one is there", || visitor.get("/page").body == b"new");
}

#[test]
fn a_slow_reader_gets_every_byte_and_delays_nobody() {
    let bytes = pattern(20_000_000);
    let site = Site::with(&[("large", &bytes), ("small", PAGE)], &["--workers", "1"]);
    let mut slow: Vec<Visitor> = (0..4).map(|_| site.visit()).collect();
    for visitor in &mut slow {
        visitor.send(b"GET /large HTTP/1.1\r\nHost: vault\r\n\r\n");
    }
    let mut quick = site.visit();
    for mut visitor in slow {
        let start = Instant::now();
        for _ in 0..50 {
            assert_eq!(quick.get("/small").body, PAGE);
        }
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
        assert!(visitor.read(false).unwrap().body == bytes);
    }
}

/// Threads read its parts before they are sent.
#[test]
fn a_file_that_is_not_in_memory_comes_whole() {
    let bytes = pattern(9_000_000);
    let site = Site::with(&[("large", &bytes)], &["--workers", "1"]);
    for _ in 0..3 {
        let file = fs::File::open(site.path("large")).unwrap();
        file.sync_all().unwrap();
        posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED).unwrap();
        assert!(site.get("/large").body == bytes);
        let part = site.visit().ask("GET", "/large", "Range: bytes=8000000-8000009,100-199\r\n");
        assert!(part.body.windows(100).any(|window| window == &bytes[100..200]));
    }
}

#[test]
fn who_does_not_read_is_dropped_in_time() {
    let site = Site::with(&[("large", &pattern(20_000_000))], &["--http-timeout", "1", "--workers", "1"]);
    let mut visitor = site.visit();
    visitor.send(b"GET /large HTTP/1.1\r\nHost: vault\r\n\r\n");
    await_that("it is dropped", || site.server.stats().workers()[0].stats.slow_dropped.get() == 1);
    let mut got = Vec::new();
    let _ = visitor.stream.read_to_end(&mut got);
    assert!(got.len() < 20_000_000, "{}", got.len());
}

#[test]
fn the_cache_stays_within_its_bound() {
    let files: Vec<(String, Vec<u8>)> = (0..40).map(|n| (format!("f{n}"), pattern(100_000 + n))).collect();
    let list: Vec<(&str, &[u8])> = files.iter().map(|(name, bytes)| (name.as_str(), &bytes[..])).collect();
    let site = Site::with(&list, &["--cache-mb", "1", "--workers", "1"]);
    let mut visitor = site.visit();
    for _ in 0..3 {
        for (name, bytes) in &files {
            assert_eq!(&visitor.get(&format!("/{name}")).body, bytes);
        }
    }
    let running = site.server.stats();
    let web = &running.workers()[0].stats.web;
    assert!(web.cache_bytes.get() <= 1 << 20 && web.cache_bytes.get() > 800_000, "{}", web.cache_bytes.get());
    assert!(web.cache_evictions.get() >= 80, "{}", web.cache_evictions.get());
    for _ in 0..10 {
        visitor.get("/f1");
    }
    assert!(web.cache_hits.get() >= 9, "{}", web.cache_hits.get());
}

/// The worker is stopped while the requests arrive, so that it sees all of them at once.
#[test]
fn a_full_queue_is_answered_503() {
    let files: Vec<(String, Vec<u8>)> = (0..500).map(|n| (format!("f{n}"), pattern(200_000))).collect();
    let list: Vec<(&str, &[u8])> = files.iter().map(|(name, bytes)| (name.as_str(), &bytes[..])).collect();
    let site = Site::with(&list, &["--workers", "1", "--http-threads", "1"]);
    let mut visitors: Vec<Visitor> = files.iter().map(|_| site.visit()).collect();
    let worker = site.server.workers[0];
    let row = || site.server.stats().workers()[0].stats.services[1].accepted.get();
    await_that("all are with the worker", || row() == 500);
    send(worker, Signal::SIGSTOP);
    for (visitor, (name, _)) in visitors.iter_mut().zip(&files) {
        visitor.send(format!("GET /{name} HTTP/1.1\r\nHost: vault\r\n\r\n").as_bytes());
    }
    send(worker, Signal::SIGCONT);
    let answers: Vec<Answer> = visitors.iter_mut().map(|visitor| visitor.read(false).unwrap()).collect();
    let busy: Vec<_> = answers.iter().filter(|answer| answer.status == 503).collect();
    assert!(!busy.is_empty() && busy.len() < 300, "{} of 500", busy.len());
    assert!(busy.iter().all(|answer| answer.field("retry-after") == Some("1")));
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 500 - busy.len());
    assert_eq!(visitors[0].get("/f1").status, 200, "a moment later");
}

#[test]
fn connections_beyond_the_bound_are_answered_503_and_leave_the_bank_alone() {
    let site = Site::with(&[("index.html", PAGE)], &["--http-connections", "3", "--workers", "1"]);
    // More than the kernel buffers for a client that does not read.
    fs::File::create(site.path("large")).unwrap().set_len(64 << 20).unwrap();
    let mut clients: Vec<Visitor> = (0..3).map(|_| site.visit()).collect();
    for client in &mut clients {
        client.send(b"GET /large HTTP/1.1\r\nHost: vault\r\n\r\n");
        assert_eq!(client.line().unwrap(), "HTTP/1.1 200 OK");
    }
    // One sends a request, the other does not.
    let mut one_more = site.visit();
    one_more.send(b"GET / HTTP/1.1\r\nHost: vault\r\n\r\n");
    for mut client in [one_more, site.visit()] {
        let refused = client.read(false).unwrap();
        assert_eq!((refused.status, refused.field("retry-after")), (503, Some("1")));
        assert!(client.is_closed());
    }
    TcpStream::connect(site.server.address).unwrap();
    drop(clients.pop());
    await_that("there is room again", || {
        let mut client = site.visit();
        client.send(b"GET / HTTP/1.1\r\nHost: vault\r\n\r\n");
        client.read(false).is_ok_and(|answer| answer.status == 200)
    });
}

#[test]
fn the_data_directory_is_not_served() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("sub/data");
    fs::create_dir_all(&data).unwrap();
    let port = server::unused_port().to_string();
    for www in [home.path(), &data] {
        let args = ["--http-port", &port, "--www", www.to_str().unwrap()];
        let output = server::master(&server::unused_name(), &data, &args).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("lies in the folder that --www serves"), "{said}");
    }
}

#[test]
fn who_serves_no_folder_serves_the_site_of_the_program() {
    let port = server::unused_port().to_string();
    let server = server::Server::start(&["--http-port", &port, "--accounts", "10"]);
    let address = std::net::SocketAddr::new(server.address.ip(), port.parse().unwrap());
    let mut visitor = Visitor::to(address);
    let page = visitor.get("/");
    assert!(page.status == 200 && page.text().contains("Bank Vault"), "{}", page.text());
    let tag = page.field("etag").unwrap();
    assert_eq!(visitor.ask("GET", "/index.html", &format!("If-None-Match: {tag}\r\n")).status, 304);
    assert_eq!(visitor.get("/style.css").field("content-type"), Some("text/css; charset=utf-8"));
    assert_eq!(visitor.get("/nobody").status, 404);
}
