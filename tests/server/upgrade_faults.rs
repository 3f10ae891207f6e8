//! Upgrades that go wrong: whatever is the matter with the new program, or with what is around it, the server goes on as it is.

use crate::{bank, server, tools};

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use bank::{Bank, deposit};
use bank_vault::service::bank::wire::{Request, Response};
use nix::sys::signal::Signal;
use server::{Server, await_that, holds_soon, lives, send};
use tempfile::TempDir;
use tools::tool;

const MASTER: &str = env!("CARGO_BIN_EXE_master");
const VAULTCTL: &str = env!("CARGO_BIN_EXE_vaultctl");
const CLIENTS: usize = 4;

/// A server with a program, settings and users of its own, and clients that must not notice anything.
struct House {
    home: TempDir,
    server: Server,
    clients: Vec<Bank>,
    children: Vec<u32>,
}

impl House {
    fn new() -> House {
        Self::with_program(|home| {
            let program = home.join("master");
            fs::copy(MASTER, &program).unwrap();
            program
        })
    }

    /// `program` makes the program that is started, and gives its path.
    fn with_program(program: impl FnOnce(&Path) -> PathBuf) -> House {
        let home = tempfile::tempdir().unwrap();
        let users = home.path().join("users");
        let mut add = Command::new(VAULTCTL);
        add.args(["user", "add", "--role", "teller", "anna", "--users"]).arg(&users);
        add.stdin(std::process::Stdio::piped());
        let mut adding = add.stdout(std::process::Stdio::null()).spawn().unwrap();
        std::io::Write::write_all(&mut adding.stdin.take().unwrap(), b"secret\n").unwrap();
        assert!(adding.wait().unwrap().success());
        let settings = home.path().join("vault.toml");
        fs::write(&settings, format!("users = \"{}\"\nworkers = 2\naccounts = 100\n", users.display())).unwrap();
        let program = program(home.path());
        let server = Server::start_program(&program, &["--config", settings.to_str().unwrap()]);
        let clients = (0..CLIENTS).map(|_| login(&server)).collect();
        let mut house = House { home, children: Vec::new(), server, clients };
        house.children = house.children_now();
        house
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn children_now(&self) -> Vec<u32> {
        let mut children = self.server.workers_now();
        children.extend(self.server.journal_now());
        children.sort_unstable();
        children
    }

    /// What the master has open while there are no clients but those of the house: it has a descriptor of every other one until the worker
    /// has said that it is gone.
    fn descriptors(&self) -> Vec<String> {
        await_that("no other clients are there", || self.server.connections() == CLIENTS);
        self.server.descriptors()
    }

    /// Puts another program in the place of the one that runs.
    fn replace(&self, script: &str) {
        put(&self.path("master"), script.as_bytes());
    }

    fn upgrade(&self) -> (i32, String) {
        let output = Command::new(VAULTCTL).args(["upgrade", "--instance", &self.server.instance]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (output.status.code().unwrap(), text)
    }

    /// The server serves the clients that it had, and new ones, with the children that it had.
    fn goes_on_as_it_was(&mut self, case: &str) {
        let server = &self.server;
        assert!(lives(server.master), "{case}: {}", server.stderr());
        for bank in &mut self.clients {
            assert!(matches!(bank.call(&deposit(1, 1)).unwrap(), Response::Deposit { .. }), "{case}");
        }
        assert!(matches!(login(server).call(&Request::Ping).unwrap(), Response::Ping { .. }), "{case}");
        assert_eq!(self.children_now(), self.children, "{case}: nobody was replaced: {}", self.server.stderr());
    }

    fn must_be_refused(&mut self, case: &str, wanted: &str) {
        let (code, text) = self.upgrade();
        assert!(code == 1 && text.contains(wanted), "{case}: {code} {text} {}", self.server.stderr());
        self.goes_on_as_it_was(case);
    }

    /// With everything in order again, the same server is upgraded, and its clients do not notice.
    fn must_be_upgraded_at_last(mut self) {
        put(&self.path("master"), &fs::read(MASTER).unwrap());
        let (code, text) = self.upgrade();
        assert!(code == 0, "{text} {}", self.server.stderr());
        for bank in &mut self.clients {
            assert!(matches!(bank.call(&deposit(1, 1)).unwrap(), Response::Deposit { .. }));
        }
        assert!(self.children_now().iter().all(|pid| !self.children.contains(pid)));
        let Self { server, clients, .. } = self;
        drop(clients);
        assert!(server.stop().status.success());
    }
}

fn login(server: &Server) -> Bank {
    let mut bank = Bank::connect(server.address);
    bank.login("anna", "secret").unwrap().unwrap();
    bank
}

fn put(path: &Path, content: &[u8]) {
    let new = path.with_extension("new");
    fs::write(&new, content).unwrap();
    fs::set_permissions(&new, Permissions::from_mode(0o755)).unwrap();
    fs::rename(new, path).unwrap();
}

#[test]
fn settings_and_users_that_cannot_be_read_are_refused() {
    let mut house = House::new();
    let (users, away) = (house.path("users"), house.path("away"));
    fs::rename(&users, &away).unwrap();
    house.must_be_refused("the users file is gone", "users");
    fs::write(&users, "nonsense\n").unwrap();
    house.must_be_refused("the users file is nonsense", "users");
    fs::remove_file(&users).unwrap();
    fs::create_dir(&users).unwrap();
    house.must_be_refused("the users file is a folder", "users");
    fs::remove_dir(&users).unwrap();
    fs::rename(&away, &users).unwrap();
    let (settings, good) = (house.path("vault.toml"), fs::read_to_string(house.path("vault.toml")).unwrap());
    fs::write(&settings, "nonsense").unwrap();
    house.must_be_refused("the settings are nonsense", "vault.toml");
    fs::write(&settings, format!("{good}no-such-setting = 1\n")).unwrap();
    house.must_be_refused("a setting is unknown", "no-such-setting");
    fs::remove_file(&settings).unwrap();
    house.must_be_refused("the settings are gone", "vault.toml");
    fs::write(&settings, good).unwrap();
    house.must_be_upgraded_at_last();
}

#[test]
fn programs_that_are_none_are_refused() {
    let mut house = House::new();
    for (case, script, wanted) in [
        ("it ends with an error", "#!/bin/sh\necho broken >&2; exit 3\n", "broken"),
        ("it is killed", "#!/bin/sh\nkill -9 $$\n", "signal: 9"),
        ("it says nothing", "#!/bin/sh\nexit 0\n", "does not say what it is"),
        ("it says too much", "#!/bin/sh\nhead -c 30000 /dev/zero | tr '\\0' x\n", "does not say what it is"),
        (
            "it is of another layout",
            "#!/bin/sh\necho '{\"layout\":\"of tomorrow\",\"version\":\"9\",\"stay\":[]}'\n",
            "of tomorrow",
        ),
        ("it is no program", "\u{7f}ELF nonsense", "cannot"),
        ("its interpreter is gone", "#!/nonexistent\n", "cannot be asked"),
    ] {
        house.replace(script);
        house.must_be_refused(case, wanted);
    }
    fs::set_permissions(house.path("master"), Permissions::from_mode(0o644)).unwrap();
    house.must_be_refused("it may not be executed", "cannot be asked");
    fs::remove_file(house.path("master")).unwrap();
    house.must_be_refused("it is gone", "cannot be asked");
    house.must_be_upgraded_at_last();
}

#[test]
fn limits_that_do_not_fit_are_refused() {
    let mut house = House::new();
    let mut prlimit = tool("prlimit", "util-linux");
    prlimit.args(["--pid", &house.server.master.to_string(), "--nofile=500:500"]);
    assert!(prlimit.status().unwrap().success());
    house.must_be_refused("too few descriptors", "open files");
    house.clients.clear();
    assert!(house.server.stop().status.success());
}

/// logind removes the objects of a user who has logged out (`RemoveIPC=`, `logind.conf(5)`).
#[test]
fn shared_objects_that_are_gone_are_refused_by_name() {
    for object in ["accounts", "keys", "connections", "control"] {
        let mut house = House::new();
        let path = house.server.objects().into_iter().find(|path| path.ends_with(&format!(".{object}"))).unwrap();
        let path = Path::new("/dev/shm").join(path.trim_start_matches('/').rsplit('/').next().unwrap());
        let away = house.path(object);
        fs::rename(&path, &away).or_else(|_| fs::copy(&path, &away).and_then(|_| fs::remove_file(&path))).unwrap();
        if object == "control" {
            // Nobody can submit a request; an operator can still send the signal.
            house.server.signal(Signal::SIGUSR2);
            await_that("it is refused", || house.server.stderr().contains("no upgrade, the server goes on"));
        } else {
            house.must_be_refused(object, object);
        }
        for bank in &mut house.clients {
            assert!(matches!(bank.call(&deposit(1, 1)).unwrap(), Response::Deposit { .. }), "{object}");
        }
        house.server.signal(Signal::SIGTERM);
        let output = house.server.wait();
        assert!(output.status.success(), "{object}: {output:?}");
    }
}

#[test]
fn semaphores_that_are_gone_are_refused_by_name() {
    let mut house = House::new();
    let objects = house.server.objects();
    let path = objects.into_iter().find(|path| path.ends_with(".lane0.items")).unwrap();
    fs::remove_file(Path::new("/dev/shm").join(path.trim_start_matches('/').rsplit('/').next().unwrap())).unwrap();
    house.must_be_refused("a semaphore", "lane0.items");
    house.server.signal(Signal::SIGTERM);
    assert!(house.server.wait().status.success());
}

#[test]
fn settings_that_cannot_change_stay_and_are_named() {
    let mut house = House::new();
    let settings = house.path("vault.toml");
    let good = fs::read_to_string(&settings).unwrap();
    let changed = "durability = \"async\"\nkey-window = 5000\nqueue-depth = 7\nidle-timeout = 33\n";
    let more =
        format!("{}{changed}", good.replace("accounts = 100", "accounts = 200").replace("workers = 2", "workers = 5"));
    fs::write(&settings, more).unwrap();
    let (code, text) = house.upgrade();
    assert_eq!(code, 0, "{text} {}", house.server.stderr());
    let said = house.server.stderr();
    let line = said.lines().find(|line| line.contains("these stay as they are")).unwrap_or_else(|| panic!("{said}"));
    for name in ["workers", "accounts", "durability", "queue-depth"] {
        assert!(line.contains(name), "{line}");
    }
    assert!(!line.contains("idle-timeout"), "that changes: {line}");
    assert_eq!(house.server.workers_now().len(), 2);
    for bank in &mut house.clients {
        assert!(matches!(bank.call(&deposit(1, 1)).unwrap(), Response::Deposit { .. }));
    }
    assert_eq!(house.clients[0].totals().accounts, 100);
    house.children = house.children_now();
    house.must_be_upgraded_at_last();
}

#[test]
fn a_program_that_does_not_answer_holds_up_nothing() {
    let mut house = House::new();
    let pids = house.path("pids");
    house.replace(&format!("#!/bin/sh\necho $$ > {0}.new; mv {0}.new {0}\nsleep 1000\n", pids.display()));
    house.server.signal(Signal::SIGUSR2);
    await_that("it is asked", || pids.exists());
    let asked: u32 = fs::read_to_string(&pids).unwrap().trim().parse().unwrap();
    house.goes_on_as_it_was("meanwhile");
    let victim = house.server.workers_now()[0];
    send(victim, Signal::SIGKILL);
    await_that("a killed worker is replaced", || !lives(victim) && house.server.workers_now().len() == 2);
    house.children = house.children_now();
    await_that("it is not waited for", || house.server.stderr().contains("has not answered within"));
    await_that("it is ended", || !lives(asked));
    house.goes_on_as_it_was("afterwards");
    // Once more, and a stop while it is asked.
    fs::remove_file(&pids).unwrap();
    house.server.signal(Signal::SIGUSR2);
    await_that("it is asked again", || pids.exists());
    let asked: u32 = fs::read_to_string(&pids).unwrap().trim().parse().unwrap();
    house.clients.clear();
    assert!(house.server.stop().status.success());
    await_that("it is ended with the server", || !lives(asked));
}

/// A new program that says that it fits, and finds after `execve(2)` that it does not: what it needs has gone in between.
#[test]
fn a_program_that_fails_after_it_was_executed_gives_way_to_the_old_one() {
    let mut house = House::new();
    let (users, away) = (house.path("users"), house.path("away"));
    let new = house.path("new-master");
    fs::copy(MASTER, &new).unwrap();
    let (users_path, away_path, new_path) = (users.display(), away.display(), new.display());
    house.replace(&format!(
        "#!/bin/sh\ncase \"$*\" in *--check-upgrade*) ;; *) mv {users_path} {away_path};; esac\nexec {new_path} \"$@\"\n"
    ));
    for round in 0..2 {
        house.must_be_refused("the users file goes between the question and the execution", "users");
        let said = house.server.stderr();
        assert_eq!(said.matches("this program cannot go on, back to the one before").count(), round + 1, "{said}");
        // Also a worker that is started now knows the users, although their file is gone.
        let victims = house.server.workers_now();
        for victim in &victims {
            send(*victim, Signal::SIGKILL);
        }
        await_that("they are replaced", || {
            let now = house.server.workers_now();
            now.len() == 2 && now.iter().all(|pid| !victims.contains(pid))
        });
        house.children = house.children_now();
        house.goes_on_as_it_was("with new workers");
        fs::rename(&away, &users).unwrap();
    }
    let before = house.descriptors();
    house.must_be_refused("once more", "users");
    let mut after = Vec::new();
    // The refusal is told before the last of what it took is closed.
    let are_back = holds_soon(|| {
        after = house.descriptors();
        after.len() == before.len()
    });
    assert!(are_back, "what was open: {before:#?}, and is after a refusal: {after:#?}");
    fs::rename(&away, &users).unwrap();
    house.must_be_upgraded_at_last();
}

/// Shared memory goes between the question and the execution, so that not even the old program can go on with it.
#[test]
fn without_its_memory_the_server_starts_anew_from_the_journal_in_the_same_process() {
    let mut house = House::new();
    let new = house.path("new-master");
    fs::copy(MASTER, &new).unwrap();
    let accounts = house.server.objects().into_iter().find(|path| path.ends_with(".accounts")).unwrap();
    let accounts = Path::new("/dev/shm").join(accounts.rsplit('/').next().unwrap());
    house.replace(&format!(
        "#!/bin/sh\ncase \"$*\" in *--check-upgrade*) ;; *) rm {};; esac\nexec {} \"$@\"\n",
        accounts.display(),
        new.display()
    ));
    house.goes_on_as_it_was("before");
    let before = house.clients[0].totals();
    house.server.signal(Signal::SIGUSR2);
    await_that("it starts anew", || house.server.stderr().contains("starting anew from the journal"));
    // Whoever connects meanwhile waits in the backlog.
    let mut bank = login(&house.server);
    assert_eq!(bank.totals(), before);
    assert!(matches!(bank.call(&deposit(1, 1)).unwrap(), Response::Deposit { .. }));
    assert!(lives(house.server.master) && house.children.iter().all(|&pid| !lives(pid)));
    assert!(house.children_now().len() == 3);
    let generation = accounts.file_stem().unwrap().to_string_lossy().into_owned();
    assert!(
        house.server.objects().iter().all(|object| !object.contains(&generation)),
        "nothing is left of the old memory"
    );
    house.clients = vec![bank];
    house.children = house.children_now();
    house.must_be_upgraded_at_last();
}

#[test]
fn the_path_that_was_invoked_is_followed_to_where_it_leads_now() {
    let mut house = House::with_program(|home| {
        for release in ["release-1", "release-2"] {
            fs::create_dir(home.join(release)).unwrap();
            fs::copy(MASTER, home.join(release).join("master")).unwrap();
        }
        symlink("release-1", home.join("current")).unwrap();
        home.join("current/master")
    });
    let runs = |house: &House| fs::read_link(format!("/proc/{}/exe", house.server.master)).unwrap();
    assert!(runs(&house).ends_with("release-1/master"));
    for release in ["release-2", "release-1"] {
        let (link, new) = (house.path("current"), house.path("current.new"));
        symlink(release, &new).unwrap();
        fs::rename(new, link).unwrap();
        let (code, text) = house.upgrade();
        assert_eq!(code, 0, "{text} {}", house.server.stderr());
        assert!(runs(&house).ends_with(format!("{release}/master")), "{:?}", runs(&house));
        let said = house.server.stderr();
        let named =
            |line: &str| line.contains("current/master (now") && line.contains(&format!("{release}/master), version"));
        assert!(said.lines().any(named), "{said}");
    }
    house.clients.clear();
    assert!(house.server.stop().status.success());
}

#[test]
fn a_program_that_changes_while_it_is_asked_is_not_executed() {
    let mut house = House::new();
    let new = house.path("new-master");
    fs::copy(MASTER, &new).unwrap();
    house.replace(&format!(
        "#!/bin/sh\ntouch -d '2001-01-01' \"{}\"\nexec {} \"$@\"\n",
        house.path("master").display(),
        new.display()
    ));
    house.must_be_refused("its file is touched", "has changed while it was asked");
    house.must_be_upgraded_at_last();
}

/// What a tool has asked for and is not done goes through an upgrade.
#[test]
fn a_request_under_way_is_answered_by_the_new_program() {
    let mut house = House::new();
    let journal = house.server.journal_now().unwrap();
    send(journal, Signal::SIGSTOP);
    let mut snapshot = Command::new(VAULTCTL);
    snapshot.args(["snapshot", "--instance", &house.server.instance]).stdout(std::process::Stdio::piped());
    let asking = snapshot.spawn().unwrap();
    let running = house.server.stats();
    await_that("a snapshot is asked for", || running.journal_row().snapshots_wanted() == 1);
    house.server.signal(Signal::SIGUSR2);
    await_that("the new program runs", || house.server.stderr().contains("this program goes on with everything"));
    send(journal, Signal::SIGCONT);
    let output = asking.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?} {}", house.server.stderr());
    await_that("the upgrade is done", || house.server.stderr().contains("upgrade: done"));
    house.clients.clear();
    assert!(house.server.stop().status.success());
}
