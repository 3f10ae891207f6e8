//! A machine that fails around the server, under load: no client meets an error that the protocol does not name, and no cent is lost.
//!
//! `VAULT_TEST_FAULTS` says how many faults, at random, there are at least; `tests/soak.sh` asks for 1,000.

use crate::{bank, group, load, mount, server, shift, tools, turmoil};

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use bank::Bank;
use group::Group;
use load::{Load, UNTIL_TOLD};
use mount::Mount;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use server::{Server, await_that, lives};
use tempfile::TempDir;
use tools::tool;
use turmoil::{Lots, Turmoil};

const ACCOUNTS: u32 = 300;
const CLIENTS: u32 = 3;

/// Reads the log pipe, unless it is told not to.
#[derive(Clone)]
struct LogReader(Arc<(Mutex<Log>, Condvar)>);

#[derive(Default)]
struct Log {
    paused: bool,
    text: String,
}

impl LogReader {
    fn of(fifo: &std::path::Path) -> LogReader {
        // For writing too: it does not end when a server does.
        let mut pipe = File::options().read(true).write(true).open(fifo).unwrap();
        // As small as can be, so that it is full soon.
        nix::fcntl::fcntl(&pipe, nix::fcntl::FcntlArg::F_SETPIPE_SZ(4096)).unwrap();
        let reader = LogReader(Arc::default());
        let its = reader.clone();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count) = pipe.read(&mut bytes) {
                let (log, changed) = &*its.0;
                let paused = |log: &mut Log| log.paused;
                let mut log = changed.wait_while(log.lock().unwrap(), paused).unwrap();
                log.text.push_str(&String::from_utf8_lossy(&bytes[..count]));
            }
        });
        reader
    }

    fn pause(&self, paused: bool) {
        self.0.0.lock().unwrap().paused = paused;
        self.0.1.notify_all();
    }

    fn said(&self, text: &str) -> usize {
        self.0.0.lock().unwrap().text.matches(text).count()
    }

    fn last(&self) -> String {
        let log = self.0.0.lock().unwrap();
        let lines: Vec<&str> = log.text.lines().rev().take(40).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}

/// A server, and all that is around it.
struct Machine {
    server: Server,
    turmoil: Turmoil,
    log: LogReader,
    disk: Mount,
    home: TempDir,
    pids: Group,
    memory: Group,
}

/// What can go wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    Kill,
    NoFork,
    NoDescriptors,
    WorkerWithoutDescriptors,
    NoMemory,
    FullDisk,
    UnreadLog,
    NoUsers,
    BadSettings,
    Upgrade,
    RefusedUpgrade,
    Stopped,
}

const FAULTS: [Fault; 12] = [
    Fault::Kill,
    Fault::NoFork,
    Fault::NoDescriptors,
    Fault::WorkerWithoutDescriptors,
    Fault::NoMemory,
    Fault::FullDisk,
    Fault::UnreadLog,
    Fault::NoUsers,
    Fault::BadSettings,
    Fault::Upgrade,
    Fault::RefusedUpgrade,
    Fault::Stopped,
];

fn login(server: &Server) -> Bank {
    let mut bank = Bank::connect(server.address);
    bank.login("anna", "secret").unwrap().unwrap();
    bank
}

impl Machine {
    fn new() -> Machine {
        let home = tempfile::tempdir().unwrap();
        let path = |name: &str| home.path().join(name);
        let mut add = Command::new(env!("CARGO_BIN_EXE_vaultctl"));
        add.args(["user", "add", "--role", "teller", "anna", "--users"]).arg(path("users"));
        let mut adding = add.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        adding.stdin.take().unwrap().write_all(b"secret\n").unwrap();
        assert!(adding.wait().unwrap().success());
        fs::write(path("vault.toml"), format!("users = \"{}\"\n", path("users").display())).unwrap();
        nix::unistd::mkfifo(&path("log"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let log = LogReader::of(&path("log"));
        let (program, real) = (path("start"), env!("CARGO_BIN_EXE_master"));
        fs::copy(real, path("master")).unwrap();
        let script = format!("#!/bin/sh\nexec {} \"$@\" 2>{}\n", path("master").display(), path("log").display());
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
        let disk = Mount::tmpfs(1024).unwrap_or_else(|why| panic!("a file system of its own is needed: {why}"));
        let accounts = ACCOUNTS.to_string();
        let settings = path("vault.toml").display().to_string();
        let args = [
            &["--workers", "4", "--accounts", &accounts, "--initial-balance", "1000.00", "--config", &settings][..],
            &["--key-window", "1000000", "--segment-records", "4096", "--keep-journal", "--snapshot-every", "20000"],
            &["--worker-timeout", "2"],
        ];
        let server = Server::start_program_on(&program, &disk.path.join("data"), &args.concat());
        let pids = Group::new("pids");
        pids.add(server.master);
        let turmoil = Turmoil::of(&server);
        Machine { turmoil, log, disk, home, pids, memory: Group::new("memory"), server }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn failed_starts(&self) -> u32 {
        let instance = &self.turmoil.instance;
        instance.workers().iter().map(|row| row.life.failed_starts.get()).sum::<u32>()
            + instance.journal_row().life.failed_starts.get()
    }

    /// The pids of the workers, and of the journal process behind them.
    fn children(&self) -> Vec<u32> {
        let instance = &self.turmoil.instance;
        let workers = instance.workers().iter().map(|row| row.life.pid.get());
        workers.chain([instance.journal_row().life.pid.get()]).filter(|&pid| pid != 0).collect()
    }

    fn any_child(&self, lots: &mut Lots) -> Option<u32> {
        let children = self.children();
        let chosen = lots.below(u32::try_from(children.len()).unwrap().max(1)) as usize;
        children.get(chosen).copied().filter(|&pid| lives(pid))
    }

    /// Kills somebody while nobody can be started, and waits until that was tried.
    fn with_failing_starts(&mut self, lots: &mut Lots) {
        let before = self.failed_starts();
        await_that("somebody lives who can be killed", || self.turmoil.kill_one(lots));
        await_that("a start has failed", || self.failed_starts() > before);
    }

    fn reload(&self) {
        self.server.signal(Signal::SIGHUP);
    }

    /// Has the machine fail, and be well again.
    fn fail(&mut self, fault: Fault, lots: &mut Lots) {
        let master = self.server.master;
        match fault {
            Fault::Kill => await_that("somebody is killed", || self.turmoil.kill_one(lots)),
            Fault::NoFork => {
                self.pids.set("pids.max", "0");
                self.with_failing_starts(lots);
                self.pids.set("pids.max", "max");
            }
            Fault::NoDescriptors => {
                let limit = descriptors(master, "3:");
                self.with_failing_starts(lots);
                descriptors(master, &limit);
            }
            Fault::WorkerWithoutDescriptors => {
                let workers = self.server.workers_now();
                if let Some(&worker) = workers.first() {
                    descriptors(worker, "3:");
                }
                await_that("somebody is killed", || self.turmoil.kill_one(lots));
            }
            Fault::NoMemory => {
                // Whoever needs one more page is killed by the kernel.
                self.memory.set_memory(4096);
                let added = self.any_child(lots).is_some_and(|pid| self.memory.try_add(pid));
                if added {
                    self.await_some(200);
                }
                self.memory.clear();
            }
            Fault::FullDisk => {
                let filler = self.disk.path.join("filler");
                fill(&filler);
                self.await_some(2 * 4096);
                fs::remove_file(filler).unwrap();
            }
            Fault::UnreadLog => {
                self.log.pause(true);
                let lives_before = self.children();
                // More than the pipe holds.
                for _ in 0..60 {
                    self.reload();
                    self.await_some(5);
                }
                await_that("somebody is killed", || self.turmoil.kill_one(lots));
                await_that("children are replaced", || self.children() != lives_before && self.children().len() == 5);
                self.log.pause(false);
                // What is waited for later is said there, and is not to be among the lines that are dropped.
                let before = self.log.said("users read again");
                await_that("the log is read again", || {
                    self.reload();
                    self.log.said("users read again") > before
                });
            }
            Fault::NoUsers | Fault::BadSettings => {
                let name = if fault == Fault::NoUsers { "users" } else { "vault.toml" };
                fs::rename(self.path(name), self.path("away")).unwrap();
                let before = self.log.said("all stays as it is");
                self.reload();
                await_that("it is refused", || self.log.said("all stays as it is") > before);
                self.await_some(50);
                fs::rename(self.path("away"), self.path(name)).unwrap();
                self.reload();
            }
            Fault::Upgrade => {
                let before = self.log.said("upgrade: done");
                self.server.signal(Signal::SIGUSR2);
                await_that("it is upgraded", || self.log.said("upgrade: done") > before);
            }
            Fault::RefusedUpgrade => {
                fs::rename(self.path("master"), self.path("away")).unwrap();
                let before = self.log.said("no upgrade, the server goes on");
                self.server.signal(Signal::SIGUSR2);
                await_that("it is refused", || self.log.said("no upgrade, the server goes on") > before);
                fs::rename(self.path("away"), self.path("master")).unwrap();
            }
            Fault::Stopped => {
                let victim = if lots.below(3) == 0 { Some(master) } else { self.any_child(lots) };
                let Some(victim) = victim.and_then(|pid| i32::try_from(pid).ok()).map(Pid::from_raw) else { return };
                let _ = kill(victim, Signal::SIGSTOP);
                // The time is the fault.
                std::thread::sleep(Duration::from_millis(u64::from(20 + lots.below(300))));
                let _ = kill(victim, Signal::SIGCONT);
            }
        }
    }

    /// Until so many more operations are done, or it takes longer than the fault should let it.
    fn await_some(&self, operations: u64) {
        let (wanted, deadline) = (self.turmoil.done() + operations, Instant::now() + Duration::from_secs(2));
        await_that("some operations are done", || self.turmoil.done() >= wanted || Instant::now() > deadline);
    }
}

/// Sets a process' limit of descriptors (`prlimit(1)`); what it was.
fn descriptors(pid: u32, limit: &str) -> String {
    let prlimit = |args: &[&str]| {
        let output = tool("prlimit", "util-linux").args(["--pid", &pid.to_string()]).args(args).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let before = prlimit(&["--nofile", "-o", "SOFT", "--noheadings"]).trim().to_owned() + ":";
    prlimit(&[&format!("--nofile={limit}")]);
    before
}

/// Writes until the disk is full.
fn fill(path: &std::path::Path) {
    let mut file = File::create(path).unwrap();
    for size in [1 << 20, 1 << 12] {
        let zeros = vec![0; size];
        while file.write_all(&zeros).is_ok() {}
    }
}

/// One server, from an empty data directory to its end: when so many faults are done, of all servers, or some time has passed.
fn shift(lots: &mut Lots, done: &mut BTreeMap<Fault, u32>, wanted: u32) -> shift::Closed {
    const LONGEST: Duration = Duration::from_secs(60);
    let mut machine = Machine::new();
    let load = ["--user", "anna", "--pass", "secret", "--connections", "8", "--pipeline", "4", "--rate", "2000"];
    let load = [&load[..], &["--duration", UNTIL_TOLD]].concat();
    let mut loads: Vec<Load> = (0..CLIENTS).map(|_| Load::start_with(machine.server.address, &load)).collect();
    await_that("all clients have begun", || loads.iter().all(Load::has_begun));
    let begun = Instant::now();
    while done.values().sum::<u32>() < wanted && begun.elapsed() < LONGEST {
        let fault = FAULTS[lots.below(u32::try_from(FAULTS.len()).unwrap()) as usize];
        machine.fail(fault, lots);
        *done.entry(fault).or_default() += 1;
        // Afterwards all is well again, and clients are served.
        let wanted = machine.turmoil.done() + 50;
        let served = |machine: &Machine| machine.turmoil.done() >= wanted;
        let deadline = Instant::now() + Duration::from_secs(20);
        while !served(&machine) {
            assert!(Instant::now() < deadline, "nobody is served after {fault:?}: {}", machine.log.last());
            std::thread::sleep(Duration::from_millis(2));
        }
        assert!(lives(machine.server.master), "{fault:?} ended the server: {}", machine.log.last());
    }
    loads.iter_mut().for_each(Load::tell_to_end);
    // Without room on the disk money operations are ERR_BUSY, and done later under the same key.
    let closed = shift::close(&mut machine.server, loads, ACCOUNTS, login, &["ERR_INSUFFICIENT", "ERR_BUSY"]);
    assert_eq!(closed.reconnects, 0, "{}", machine.log.last());
    closed
}

#[test]
#[ignore = "needs root, to mount a file system and make control groups"]
fn a_machine_that_fails_costs_no_client_an_answer_and_no_cent() {
    let wanted: u32 = std::env::var("VAULT_TEST_FAULTS").map_or(20, |text| text.parse().unwrap());
    let mut lots = Lots::new(u64::from(std::process::id()));
    let (mut done, mut answers) = (BTreeMap::new(), 0);
    while done.values().sum::<u32>() < wanted {
        let closed = shift(&mut lots, &mut done, wanted);
        answers += closed.answers;
        println!("{} faults, {answers} answers, 0 promises broken: {done:?}", done.values().sum::<u32>());
    }
}
