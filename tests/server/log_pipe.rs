//! A standard error or standard output that takes nothing: the server goes on, and says later what is missing.

use crate::{bank, mount, server};

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};

use bank::Bank;
use bank_vault::store::connection::ServiceId;
use bank_vault::store::instance::{Instance, stale};
use mount::Mount;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::pty::openpty;
use nix::sys::signal::Signal;
use nix::sys::socket::{MsgFlags, send};
use server::{Server, await_that, master, unused_name};

/// Something that a process can have as its standard error, and the other side of it.
struct Channel {
    name: &'static str,
    reader: OwnedFd,
    writer: OwnedFd,
}

impl Channel {
    fn all() -> Vec<Channel> {
        let (reader, writer) = io::pipe().unwrap();
        let (near, far) = UnixStream::pair().unwrap();
        let pty = openpty(None, None).unwrap();
        vec![
            Channel { name: "pipe", reader: reader.into(), writer: writer.into() },
            Channel { name: "socket", reader: near.into(), writer: far.into() },
            Channel { name: "terminal", reader: pty.master, writer: pty.slave },
        ]
    }

    fn to_write(&self) -> OwnedFd {
        self.writer.try_clone().unwrap()
    }

    /// Leaves no room, and no flag that a process with the same open file description would see.
    fn fill(&self) {
        let put = |bytes: &[u8]| match self.name {
            "socket" => send(self.writer.as_raw_fd(), bytes, MsgFlags::MSG_DONTWAIT).map(drop),
            _ => {
                let path = format!("/proc/self/fd/{}", self.writer.as_raw_fd());
                let own = File::options().write(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path).unwrap();
                nix::unistd::write(&own, bytes).map(drop)
            }
        };
        let mut refusals = 0;
        // The kernel moves what a terminal was given on to its reader's side, a while later, and then there is room again.
        await_that("there is no room any more", || {
            for piece in [&b"#\n".repeat(500)[..], b"#\n"] {
                while put(piece) != Err(Errno::EAGAIN) {
                    refusals = 0;
                }
            }
            refusals += 1;
            refusals == 20
        });
    }

    /// Takes what there is; afterwards there is room.
    fn drain(&mut self) -> String {
        set_non_blocking(self.reader.as_fd());
        let mut file = File::from(self.reader.try_clone().unwrap());
        let mut text = Vec::new();
        let mut part = vec![0; 1 << 16];
        while let Ok(count @ 1..) = file.read(&mut part) {
            text.extend_from_slice(&part[..count]);
        }
        // A terminal puts a carriage return before each line end.
        String::from_utf8(text).unwrap().replace('\r', "")
    }
}

fn set_non_blocking(fd: BorrowedFd<'_>) {
    fcntl(fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
}

fn is_non_blocking(fd: BorrowedFd<'_>) -> bool {
    OFlag::from_bits_truncate(fcntl(fd, FcntlArg::F_GETFL).unwrap()).contains(OFlag::O_NONBLOCK)
}

fn dropped(instance: &Instance) -> u64 {
    instance.control().log.dropped()
}

/// All that a server does that has something to say: settings are read again, a worker and the journal process die and are
/// replaced, clients come and are served.
fn live_through(server: &Server, what: &str) {
    server.signal(Signal::SIGHUP);
    let (workers, journal) = (server.workers_now(), server.journal_now());
    server::send(workers[0], Signal::SIGKILL);
    server::send(journal.unwrap(), Signal::SIGKILL);
    await_that(&format!("{what}: the dead are replaced"), || {
        let now = server.workers_now();
        now.len() == workers.len() && !now.contains(&workers[0])
    });
    await_that(&format!("{what}: the journal process, too"), || {
        server.journal_now().is_some_and(|now| Some(now) != journal)
    });
    assert!(Bank::demo(server.address).call(&bank::deposit(1, 5)).is_ok(), "{what}: a new client");
}

#[test]
fn a_log_that_nobody_reads_stops_nobody_and_its_losses_are_told() {
    for mut channel in Channel::all() {
        let what = channel.name;
        let server = Server::start_saying(channel.to_write(), &["--workers", "2", "--accounts", "10"]);
        channel.fill();
        let stats = server.stats();
        live_through(&server, what);
        await_that("lines are dropped", || dropped(&stats) >= 3);
        assert!(!is_non_blocking(channel.writer.as_fd()), "{what}: the flag of whoever shares it is not changed");
        channel.drain();
        let lost = dropped(&stats);
        // Also if nobody has anything else to say.
        let mut text = String::new();
        await_that("the losses are told", || {
            text.push_str(&channel.drain());
            text.matches("dropped: nobody read the standard error\n").count() == 1 && text.ends_with('\n')
        });
        assert!(text.contains(&format!("WARN: {lost} log lines were dropped")), "{what}: {lost} in {text}");
        let whole = |line: &str| line.is_empty() || line == "#" || line.starts_with("vault-");
        assert!(text.lines().all(whole), "{what}: {text}");
        assert!(server.stop().status.success(), "{what}");
    }
}

#[test]
fn tools_show_how_many_lines_are_missing() {
    let full = File::options().write(true).open("/dev/full").unwrap();
    let server = Server::start_saying(full, &["--workers", "1", "--accounts", "10", "--http-port", "0"]);
    live_through(&server, "/dev/full");
    let lost = dropped(&server.stats());
    assert!(lost >= 3, "{lost}");
    let inspect = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vaultctl"));
        let output = command.args(["inspect", "--instance", &server.instance]).args(more).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(inspect(&[]).contains(&format!("log      {lost} lines dropped\n")), "{}", inspect(&[]));
    let json: serde_json::Value = serde_json::from_str(&inspect(&["--json"])).unwrap();
    assert_eq!(json["instance"]["log_lines_dropped"], lost);
    let sample = bank_vault::status::Sample::take(&server.stats());
    let metrics = bank_vault::status::metrics(&sample);
    assert!(metrics.contains(&format!("\nvault_log_lines_dropped_total {lost}\n")), "{metrics}");
    assert!(server.stop().status.success());
}

#[test]
fn a_log_whose_reader_has_gone_or_never_was_stops_nobody() {
    let (reader, writer) = io::pipe().unwrap();
    let server = Server::start_saying(writer, &["--workers", "2", "--accounts", "10"]);
    drop(reader);
    live_through(&server, "a reader that has gone");
    assert!(server.stop().status.success());
}

/// A server whose standard output is not read by a test's helper.
struct Silent {
    process: Child,
    instance: String,
    folder: tempfile::TempDir,
}

impl Silent {
    fn start(stdout: impl Into<Stdio>) -> Silent {
        let (instance, folder) = (unused_name(), tempfile::tempdir().unwrap());
        let mut command = master(&instance, &folder.path().join("data"), &["--workers", "1", "--accounts", "10"]);
        let stderr = File::create(folder.path().join("stderr")).unwrap();
        let process = command.stdout(stdout).stderr(stderr).spawn().unwrap();
        Silent { process, instance, folder }
    }

    /// Waits until clients are served, stops it, and gives what it said on its standard error.
    fn serve_and_stop(mut self) -> String {
        let name = &self.instance;
        let mut address = None;
        await_that("it says where it listens", || {
            let running = stale::open_running(name).ok();
            address = running.and_then(|running| running.control().address(ServiceId::FIRST).parse().ok());
            address.is_some()
        });
        assert!(Bank::demo(address.unwrap()).call(&bank::deposit(1, 5)).is_ok());
        server::send(self.process.id(), Signal::SIGTERM);
        let mut status = None;
        await_that("it stops", || {
            status = self.process.try_wait().unwrap();
            status.is_some()
        });
        assert!(status.unwrap().success(), "{status:?}");
        std::fs::read_to_string(self.folder.path().join("stderr")).unwrap()
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        if let Ok(None) = self.process.try_wait() {
            let _ = self.process.kill();
            let _ = self.process.wait();
        }
        if let Ok(scan) = stale::scan(&self.instance) {
            let _ = stale::remove(&scan.stale);
        }
    }
}

#[test]
fn a_standard_output_that_takes_nothing_is_logged() {
    let full = Channel::all().swap_remove(0);
    full.fill();
    let (reader, closed) = io::pipe().unwrap();
    drop(reader);
    let device = File::options().write(true).open("/dev/full").unwrap();
    for (stdout, why) in [
        (Stdio::from(full.to_write()), "nobody reads it"),
        (Stdio::from(closed), "Broken pipe"),
        (Stdio::from(device), "No space left on device"),
    ] {
        let said = Silent::start(stdout).serve_and_stop();
        for line in ["ready: ", "stopped: "] {
            let warning = format!("WARN: the standard output did not take this line, {why}: {line}");
            assert!(said.contains(&warning), "{warning} in {said}");
        }
    }
}

#[test]
fn a_start_that_fails_ends_although_nobody_hears_why() {
    let folder = tempfile::tempdir().unwrap();
    for channel in Channel::all() {
        channel.fill();
        let mut command = master(&unused_name(), folder.path(), &["--users", "/nowhere/users"]);
        let mut process = command.stdout(Stdio::null()).stderr(channel.to_write()).spawn().unwrap();
        let mut code = None;
        await_that("it ends", || {
            code = process.try_wait().unwrap();
            code.is_some()
        });
        assert_eq!(code.unwrap().code(), Some(2), "{}", channel.name);
    }
}

#[test]
#[ignore = "needs root, to mount a file system"]
fn a_disk_that_is_full_gets_no_half_lines() {
    let disk = Mount::tmpfs(1).unwrap();
    let log = disk.path.join("log");
    let file = File::options().create(true).append(true).open(&log).unwrap();
    let server = Server::start_saying(file, &["--workers", "1", "--accounts", "10"]);
    // All but a few bytes.
    let mut hog = File::create(disk.path.join("hog")).unwrap();
    while hog.write_all(&[b'#'; 4096]).is_ok() {}
    let stats = server.stats();
    await_that("the disk is full", || {
        server.signal(Signal::SIGHUP);
        dropped(&stats) > 0
    });
    live_through(&server, "a full disk");
    drop(hog);
    std::fs::remove_file(disk.path.join("hog")).unwrap();
    await_that("the losses are told", || {
        server.signal(Signal::SIGHUP);
        std::fs::read_to_string(&log).unwrap().contains(" dropped: No space left on device\n")
    });
    assert!(server.stop().status.success());
    let text = std::fs::read_to_string(&log).unwrap();
    let broken: Vec<_> = text.lines().filter(|line| !line.starts_with("vault-")).collect();
    assert!(broken.is_empty(), "{broken:?}");
}
