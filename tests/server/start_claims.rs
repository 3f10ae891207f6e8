//! Starts where somebody else is, was, or has left something: a lock, a name, a lock file, a port.

use crate::{bank, refusal, server};

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bank::{Bank, deposit};
use bank_vault::ipc::{filelock, names, net};
use bank_vault::service::bank::wire::Response;
use nix::sys::signal::Signal;
use refusal::{refused, refused_on};
use server::{Server, await_that, lives, unused_name, unused_port};

const MASTER: &str = env!("CARGO_BIN_EXE_master");
const VAULTCTL: &str = env!("CARGO_BIN_EXE_vaultctl");

fn does_an_operation(server: &Server) {
    let answer = Bank::demo(server.address).call(&deposit(1, 100)).unwrap();
    assert!(matches!(answer, Response::Deposit { .. }), "{answer:?}");
}

/// A file, or something else, in /dev/shm under a name of an instance; it goes with this value.
struct Planted(PathBuf);

impl Planted {
    fn new(instance: &str, object: &str, make: impl FnOnce(&Path)) -> Planted {
        let path = PathBuf::from(format!("/dev/shm/{}", object.replace("NAME", instance)));
        make(&path);
        Planted(path)
    }
}

impl Drop for Planted {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0).or_else(|_| fs::remove_dir(&self.0));
    }
}

fn vaultctl(args: &[&str]) -> (i32, String, String) {
    let output = Command::new(VAULTCTL).args(args).stdin(Stdio::null()).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

#[test]
#[ignore = "needs root, to give files to another user"]
fn foreign_objects_in_dev_shm_are_left_alone_with_a_warning() {
    let instance = unused_name();
    let secret = tempfile::NamedTempFile::new().unwrap();
    let write = |text: &'static str| move |path: &Path| fs::write(path, text).unwrap();
    let of_another = |path: &Path| {
        fs::write(path, "").unwrap();
        chown(path, Some(54_321), None).unwrap();
    };
    let pipe = |path: &Path| nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let planted = [
        Planted::new(&instance, "vault.NAME.0000000a.control", |path| fs::create_dir(path).unwrap()),
        Planted::new(&instance, "vault.NAME.0000000b.control", pipe),
        Planted::new(&instance, "vault.NAME.0000000c.control", |path| symlink(secret.path(), path).unwrap()),
        Planted::new(&instance, "vault.NAME.0000000d.control", write("what somebody has put there")),
        Planted::new(&instance, "vault.NAME.0000000e.control", of_another),
        Planted::new(&instance, "vault.NAME.0000000f.accounts", of_another),
        Planted::new(&instance, "vault.NAME.00000010.unheard-of", write("")),
        Planted::new(&instance, "sem.vault.NAME.00000011.lane0.items", write("too short")),
        Planted::new(&instance, "sem.vault.NAME.00000012.unheard-of", write("01234567890123456789012345678901")),
        Planted::new(&instance, "vault.NAME.DEADBEEF.control", write("")),
        Planted::new(&instance, "vault.NAME", write("")),
    ];
    // These alone are what a dead master may have left: a segment begun and not finished, and a semaphore of an older layout.
    let ours = [
        Planted::new(&instance, "vault.NAME.00000020.accounts", write("\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0")),
        Planted::new(&instance, "sem.vault.NAME.00000021.log", write("01234567890123456789012345678901")),
    ];
    let all_there = || planted.iter().all(|planted| planted.0.symlink_metadata().is_ok());
    let (code, said, warned) = vaultctl(&["clean", "--instance", &instance]);
    assert!(code == 0 && all_there() && !ours.iter().any(|planted| planted.0.exists()), "{said}{warned}");
    for reason in ["no regular file", "belongs to user 54321", "does not begin as", "no semaphore"] {
        assert!(warned.contains(reason) && warned.contains("left alone"), "{reason}: {warned}");
    }
    let (code, _, warned) = vaultctl(&["inspect", "--instance", &instance]);
    assert!(code == 2 && warned.contains("no instance") && warned.lines().count() == 1, "{warned}");
    let server = Server::start_with(&instance, &["--workers", "1"], &[]);
    does_an_operation(&server);
    assert!(
        server.stderr().contains("WARN: /dev/shm/") && server.stderr().contains("left alone"),
        "{}",
        server.stderr()
    );
    for command in
        [&["inspect", "--instance", &instance][..], &["top", "--once", "--interval", "0.1", "--instance", &instance]]
    {
        let (code, _, warned) = vaultctl(command);
        assert!(code == 0 && warned.contains("left alone"), "{command:?}: {warned}");
    }
    assert!(all_there());
    // Gone before the server is: it looks for what is left under its name.
    drop(planted);
    assert!(server.stop().status.success());
}

/// A process of any name that holds a lock.
struct Holder {
    process: Child,
    _home: tempfile::TempDir,
}

impl Holder {
    fn of(path: &Path, name: &str) -> Holder {
        let home = tempfile::tempdir().unwrap();
        // It is called by its file's name.
        let program = home.path().join(name);
        fs::copy("/bin/sleep", &program).unwrap();
        let file = File::options().read(true).write(true).open(path).unwrap();
        assert!(filelock::try_lock(&file, "test").unwrap());
        let process = Command::new(program).arg("600").stdin(file).spawn().unwrap();
        await_that("it has its name", || {
            fs::read_to_string(format!("/proc/{}/comm", process.id())).unwrap().trim() == name
        });
        Holder { process, _home: home }
    }

    fn end(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        self.end();
    }
}

/// A data directory on which a server has run.
fn used_data() -> (tempfile::TempDir, PathBuf) {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    assert!(Server::start_on(&data, &["--workers", "1"]).stop().status.success());
    (home, data)
}

#[test]
fn the_dying_children_of_a_killed_master_are_waited_for() {
    let (_home, data) = used_data();
    for name in ["vault-worker-7", "vault-journal"] {
        let mut dying = Holder::of(&data.join("lock"), name);
        let errors = tempfile::NamedTempFile::new().unwrap();
        let mut command = server::master(&unused_name(), &data, &["--workers", "1"]);
        command.stdout(Stdio::piped()).stderr(errors.reopen().unwrap());
        let mut starting = command.spawn().unwrap();
        let said = || fs::read_to_string(errors.path()).unwrap();
        await_that("it says for whom it waits", || said().contains(&format!("{name} pid {}", dying.process.id())));
        assert!(starting.try_wait().unwrap().is_none(), "{}", said());
        dying.end();
        let mut ready = String::new();
        let mut stdout = std::io::BufReader::new(starting.stdout.take().unwrap());
        std::io::BufRead::read_line(&mut stdout, &mut ready).unwrap();
        assert!(ready.starts_with("ready: "), "{}", said());
        server::send(starting.id(), Signal::SIGINT);
        assert!(starting.wait().unwrap().success(), "{}", said());
    }
}

#[test]
fn children_that_do_not_die_are_named_in_the_end() {
    let (_home, data) = used_data();
    let stuck = Holder::of(&data.join("lock"), "vault-worker-3");
    let output = server::master(&unused_name(), &data, &[]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let named = format!("vault-worker-3 pid {}, whose master is gone", stuck.process.id());
    assert!(output.status.code() == Some(2) && said.contains(&named) && said.contains("--data"), "{said}");
}

#[test]
fn who_lives_is_named_at_once() {
    let server = Server::start(&["--workers", "1"]);
    let elsewhere = tempfile::tempdir().unwrap();
    let master = format!("pid {}", server.master);
    for (name, data) in [(unused_name(), server.data()), (server.instance.clone(), elsewhere.path().join("data"))] {
        let began = Instant::now();
        let output = server::master(&name, &data, &[]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && said.contains(&master), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    }
    assert!(!elsewhere.path().join("data").exists(), "nothing is made");
    does_an_operation(&server);
}

#[test]
fn a_start_at_once_after_all_were_killed_comes_up() {
    let port = unused_port().to_string();
    let many = ["--workers", "16", "--max-connections", "8000", "--key-window", "1000000"];
    let mut server = Server::start(&[&many[..], &["--port", &port]].concat());
    for round in 0..12 {
        does_an_operation(&server);
        let children: Vec<u32> = server.workers_now().into_iter().chain(server.journal_now()).collect();
        // Not waited for: this is what a supervisor that restarts it at once does.
        server.kill_all_and_start_again();
        assert!(server.master > 0 && round < 12);
        await_that("those before are gone", || children.iter().all(|pid| !lives(*pid)));
    }
    assert_eq!(Bank::demo(server.address).balance(1).0, 1_200, "each deposit is there");
    assert!(server.stop().status.success());
}

#[test]
#[ignore = "needs root, to give files to another user"]
fn a_lock_file_that_somebody_else_has_a_hand_in_is_refused() {
    let (home, data) = used_data();
    let lock = data.join("lock");
    let precious = home.path().join("precious");
    fs::write(&precious, "precious").unwrap();
    let cases: [(&str, &dyn Fn()); 6] = [
        ("is a symbolic link", &|| symlink(&precious, &lock).unwrap()),
        ("has 2 names", &|| fs::hard_link(&precious, &lock).unwrap()),
        ("others may write it", &|| {
            fs::write(&lock, "").unwrap();
            fs::set_permissions(&lock, fs::Permissions::from_mode(0o666)).unwrap();
        }),
        ("belongs to user 54321", &|| {
            fs::write(&lock, "").unwrap();
            chown(&lock, Some(54_321), None).unwrap();
        }),
        ("no regular file", &|| nix::unistd::mkfifo(&lock, nix::sys::stat::Mode::S_IRWXU).unwrap()),
        ("no regular file", &|| fs::create_dir(&lock).unwrap()),
    ];
    for (reason, make) in cases {
        fs::remove_file(&lock).or_else(|_| fs::remove_dir(&lock)).unwrap();
        make();
        let said = refused_on(Path::new(MASTER), &data, &[]);
        assert!(said.contains(reason) && said.contains("/lock") && said.contains("--data"), "{reason}: {said}");
        let (code, _, said) = vaultctl(&["repair", "--yes", "--data", data.to_str().unwrap()]);
        assert!(code == 2 && said.contains(reason), "{said}");
        assert_eq!(fs::read_to_string(&precious).unwrap(), "precious", "{reason}");
    }
}

const MODES: [&str; 3] = ["dispatch", "shared", "reuseport"];

#[test]
fn a_port_that_a_vault_listens_on_is_refused_in_every_mode() {
    for first in MODES {
        let (bank, web) = (unused_port().to_string(), unused_port().to_string());
        let server = Server::start(&["--workers", "2", "--accept", first, "--port", &bank, "--http-port", &web]);
        for second in MODES {
            for (ports, taken) in
                [(["--port", &bank, "--http-port", "0"], &bank), (["--port", "0", "--http-port", &web], &web)]
            {
                let said = refused(Path::new(MASTER), &[&ports[..], &["--accept", second]].concat());
                let address = format!("127.0.0.1:{taken} is in use");
                assert!(said.contains(&address) && said.contains(ports[if *taken == bank { 0 } else { 2 }]), "{said}");
            }
        }
        does_an_operation(&server);
        assert!(server.stop().status.success());
    }
}

#[test]
fn a_port_that_anybody_shares_is_refused() {
    for host in ["127.0.0.1:0", "0.0.0.0:0", "[::]:0"] {
        // Another program of this user that is willing to share.
        let socket = net::listener(host.parse().unwrap(), true).unwrap();
        let port = net::local_address(socket.as_fd()).unwrap().port().to_string();
        for mode in MODES {
            let said = refused(Path::new(MASTER), &["--http-port", "0", "--accept", mode, "--port", &port]);
            assert!(said.contains(&format!("127.0.0.1:{port} is in use")), "{host}, {mode}: {said}");
        }
    }
    let port = unused_port().to_string();
    let said = refused(Path::new(MASTER), &["--accept", "reuseport", "--port", &port, "--http-port", &port]);
    assert!(said.contains("--port and --http-port are both"), "{said}");
}

#[test]
fn of_servers_that_start_on_one_port_at_the_same_time_one_has_it() {
    for mode in MODES {
        let port = unused_port().to_string();
        let homes: Vec<_> = (0..6).map(|_| tempfile::tempdir().unwrap()).collect();
        let start = |home: &tempfile::TempDir| {
            let args = ["--workers", "2", "--accept", mode, "--port", &port];
            let mut command = server::master(&unused_name(), &home.path().join("data"), &args);
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        };
        let mut starting: Vec<_> = homes.iter().map(start).collect();
        let first_line = |child: &mut Child| {
            let mut line = String::new();
            let stdout = child.stdout.as_mut().unwrap();
            std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut line).unwrap();
            line
        };
        let ready: Vec<bool> = starting.iter_mut().map(|child| first_line(child).starts_with("ready: ")).collect();
        for (child, ready) in starting.iter().zip(&ready).filter(|(_, ready)| **ready) {
            server::send(child.id(), Signal::SIGINT);
            assert!(ready);
        }
        for (child, ready) in starting.into_iter().zip(&ready) {
            let output = child.wait_with_output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(if *ready { 0 } else { 2 }), "{mode}: {said}");
            assert!(*ready || said.contains(&format!("127.0.0.1:{port} is in use")), "{mode}: {said}");
        }
        assert_eq!(ready.iter().filter(|ready| **ready).count(), 1, "{mode}");
    }
}

#[test]
fn a_server_whose_standard_descriptors_are_closed_starts() {
    let home = tempfile::tempdir().unwrap();
    let (name, data) = (unused_name(), home.path().join("data"));
    let script = "exec \"$0\" \"$@\" 0<&- 1>&- 2>&-";
    let mut command = Command::new("sh");
    command.args(["-c", script, MASTER, "--instance", &name, "--http-port", "0", "--key-window", "1000", "--data"]);
    let mut process = command.arg(&data).args(["--port", "0", "--segment-records", "4096"]).spawn().unwrap();
    let running = || bank_vault::store::instance::stale::open_running(&name).ok();
    let address = |running: &bank_vault::store::instance::Instance| {
        running.control().address(bank_vault::store::connection::ServiceId::FIRST).parse().ok()
    };
    let mut found = None;
    await_that("it serves", || {
        found = running().as_ref().and_then(address);
        found.is_some()
    });
    let answer = Bank::demo(found.unwrap()).call(&deposit(1, 100)).unwrap();
    assert!(matches!(answer, Response::Deposit { .. }), "{answer:?}");
    server::send(process.id(), Signal::SIGINT);
    assert!(process.wait().unwrap().success());
    assert_eq!(names::objects_of(&name).unwrap(), vec![]);
}
