//! A real server for system tests: the `master` binary with its workers, under an instance name, a port and a data directory
//! of its own, so that any number of tests can run beside each other.
//!
//! Nothing here waits by sleeping for a guessed time: a server is
//! ready when it says so, and gone when the last of its processes has closed the standard output that all of them share.
//! Whatever a test does, dropping its [`Server`] ends all processes and removes all objects.

#![allow(dead_code, reason = "each test program that includes this file uses another part of it")]

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use bank_vault::ipc::message_queue::names::{FoundQueue, Owner};
use bank_vault::ipc::names::{self, FoundObject};
use bank_vault::store::connection::slot::Holder;
use bank_vault::store::instance::{Instance, stale};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

/// The server.
const PROGRAM: &str = env!("CARGO_BIN_EXE_master");
/// No start, no stop and no awaited event takes longer, also on a busy machine; a test that waited so long has failed.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// A running server; see the module's text.
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    /// The master's process id.
    pub master: u32,
    /// The workers' process ids, as of the moment when the server was ready; see [`Server::workers_now`].
    pub workers: Vec<u32>,
    /// The instance's name.
    pub instance: String,
    /// The line that said that the server is ready.
    pub ready: String,
    /// The message queues of all its lives.
    queues: Vec<FoundQueue>,
    /// For the standard error, and the data directory unless it is elsewhere.
    directory: TempDir,
    program: PathBuf,
    data: PathBuf,
    args: Vec<String>,
    process: Child,
    stdout: BufReader<ChildStdout>,
}

impl Server {
    /// Starts `master` with `args` beside `--instance`, `--port 0` and `--data`, and waits until it is ready.
    ///
    /// # Panics
    /// It ends before it is ready; the message has its standard error.
    #[must_use]
    pub fn start(args: &[&str]) -> Server {
        Server::start_with(&unused_name(), args, &[])
    }

    /// As [`Server::start`], under the instance name `instance` and with these variables in the environment.
    #[must_use]
    pub fn start_with(instance: &str, args: &[&str], environment: &[(&str, &str)]) -> Server {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("data");
        Server::launch(Path::new(PROGRAM), directory, data, instance, args, environment)
    }

    /// As [`Server::start`], with another file of the same program.
    #[must_use]
    pub fn start_program(program: &Path, args: &[&str]) -> Server {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("data");
        Server::launch(program, directory, data, &unused_name(), args, &[])
    }

    /// As [`Server::start`], on a data directory that is the caller's, and may have been another server's.
    #[must_use]
    pub fn start_on(data: &Path, args: &[&str]) -> Server {
        let directory = tempfile::tempdir().unwrap();
        Server::launch(Path::new(PROGRAM), directory, data.to_owned(), &unused_name(), args, &[])
    }

    /// As [`Server::start_on`], with these variables in the environment.
    #[must_use]
    pub fn start_on_with(data: &Path, args: &[&str], environment: &[(&str, &str)]) -> Server {
        let directory = tempfile::tempdir().unwrap();
        Server::launch(Path::new(PROGRAM), directory, data.to_owned(), &unused_name(), args, environment)
    }

    /// As [`Server::start`]; what it says goes to `stderr` and not to [`Server::stderr`].
    #[must_use]
    pub fn start_saying(stderr: impl Into<Stdio>, args: &[&str]) -> Server {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("data");
        fs::File::create(directory.path().join("stderr")).unwrap();
        let instance = unused_name();
        let command = master_of(Path::new(PROGRAM), &instance, &data, args);
        let life = Life::begin_saying(stderr.into(), directory.path(), command, &[]);
        Server::of(life, Path::new(PROGRAM), directory, data, &instance, args)
    }

    /// Both: another program, and a data directory that is the caller's.
    #[must_use]
    pub fn start_program_on(program: &Path, data: &Path, args: &[&str]) -> Server {
        let directory = tempfile::tempdir().unwrap();
        Server::launch(program, directory, data.to_owned(), &unused_name(), args, &[])
    }

    fn launch(
        program: &Path,
        directory: TempDir,
        data: PathBuf,
        instance: &str,
        args: &[&str],
        environment: &[(&str, &str)],
    ) -> Server {
        let command = master_of(program, instance, &data, args);
        let life = Life::begin(directory.path(), command, environment);
        Server::of(life, program, directory, data, instance, args)
    }

    fn of(life: Life, program: &Path, directory: TempDir, data: PathBuf, instance: &str, args: &[&str]) -> Server {
        let Life { address, master, workers, ready, process, stdout } = life;
        let (instance, args) = (instance.to_owned(), args.iter().map(ToString::to_string).collect());
        let (program, queues) = (program.to_owned(), queue_of(&ready).into_iter().collect());
        Server { address, master, workers, instance, ready, queues, directory, program, data, args, process, stdout }
    }

    /// Starts again what [`Server::wait`] saw end: the same arguments, on the same data. It listens where it did only if it was
    /// started with a `--port`, as [`unused_port`] gives one. What it says on its standard error comes behind what was said
    /// before.
    pub fn start_again(&mut self, environment: &[(&str, &str)]) {
        let args: Vec<&str> = self.args.iter().map(String::as_str).collect();
        let command = master_of(&self.program, &self.instance, &self.data, &args);
        let life = Life::begin(self.directory.path(), command, environment);
        let Life { address, master, workers, ready, process, stdout } = life;
        self.queues.extend(queue_of(&ready));
        (self.address, self.master, self.workers, self.ready) = (address, master, workers, ready);
        (self.process, self.stdout) = (process, stdout);
    }

    /// What the server shows of itself in shared memory.
    #[must_use]
    pub fn stats(&self) -> Instance {
        stale::open_running(&self.instance).unwrap()
    }

    /// The data directory.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.data.clone()
    }

    /// What the master has open, each by the name that the kernel has for it, in order.
    #[must_use]
    pub fn descriptors(&self) -> Vec<String> {
        let entries = fs::read_dir(format!("/proc/{}/fd", self.master)).unwrap().flatten();
        let targets = entries.filter_map(|entry| Some(fs::read_link(entry.path()).ok()?.display().to_string()));
        let mut targets: Vec<String> = targets.collect();
        targets.sort_unstable();
        targets
    }

    /// Connections that hold a slot. One whose client is gone does so until its worker has said that to the master; when its slot is free
    /// the master has closed its descriptor.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.stats().connections().iter().filter(|slot| slot.claim().holder != Holder::Free).count()
    }

    /// Whether a connection has so many answers that its client does not take that no page fits behind them, and at least so many bytes of
    /// requests that wait.
    #[must_use]
    pub fn has_stuck_connection(&self, waiting_bytes: u32) -> bool {
        let running = self.stats();
        let slots = running.connections().iter();
        slots.map(|slot| (slot.progress(), slot.moved())).any(|(progress, (received, sent))| {
            let (unsent, unread) = (progress.queued.wrapping_sub(sent), received.wrapping_sub(progress.consumed));
            unsent > 12 * 1024 && unread >= waiting_bytes
        })
    }

    /// What the server said on its standard error so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        fs::read_to_string(self.directory.path().join("stderr")).unwrap()
    }

    /// The pids of the workers that live now, in no order.
    #[must_use]
    pub fn workers_now(&self) -> Vec<u32> {
        self.children_now()
            .into_iter()
            .filter(|(_, name)| name.starts_with("vault-worker"))
            .map(|(pid, _)| pid)
            .collect()
    }

    /// The pid of the journal process that lives now.
    #[must_use]
    pub fn journal_now(&self) -> Option<u32> {
        self.children_now().into_iter().find(|(_, name)| name == "vault-journal").map(|(pid, _)| pid)
    }

    /// The pid of the cache process that lives now.
    #[must_use]
    pub fn cache_now(&self) -> Option<u32> {
        self.children_now().into_iter().find(|(_, name)| name == "vault-cache").map(|(pid, _)| pid)
    }

    /// The pid of the replica process that lives now.
    #[must_use]
    pub fn replica_now(&self) -> Option<u32> {
        self.children_now().into_iter().find(|(_, name)| name == "vault-replica").map(|(pid, _)| pid)
    }

    /// The master's living children with their names, once each has its own.
    #[must_use]
    pub fn children_now(&self) -> Vec<(u32, String)> {
        let mut children = Vec::new();
        await_that("each child has its name", || {
            let entries = fs::read_dir("/proc").unwrap().flatten();
            let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
            let of_master =
                |pid: &u32| status_of(*pid).is_some_and(|(state, parent)| parent == self.master && state != 'Z');
            children = pids.filter(of_master).filter_map(|pid| Some((pid, name_of(pid)?))).collect();
            children.iter().all(|(_, name)| name != "vault-master")
        });
        children
    }

    /// The objects in `/dev/shm` that bear the instance's name, and the message queues that it has made.
    #[must_use]
    pub fn objects(&self) -> Vec<String> {
        let queues = self.queues.iter().filter(|queue| queue.owner() != Owner::Gone).map(ToString::to_string);
        names::objects_of(&self.instance).unwrap().iter().map(ToString::to_string).chain(queues).collect()
    }

    /// Sends the master a signal.
    pub fn signal(&self, signal: Signal) {
        send(self.master, signal);
    }

    /// Stops the server by SIGINT as an operator would, and waits until all of its processes are gone.
    ///
    /// # Panics
    /// It does not stop in time, or leaves an object behind.
    #[must_use]
    pub fn stop(mut self) -> Output {
        self.end()
    }

    /// As [`Server::stop`]; what it has written stays.
    ///
    /// # Panics
    /// It does not stop in time, or leaves an object behind.
    pub fn end(&mut self) -> Output {
        self.signal(Signal::SIGINT);
        let output = self.wait();
        assert_eq!(self.objects(), Vec::<String>::new(), "left after an orderly stop, which said {output:?}");
        output
    }

    /// Kills the master as `kill -9` does, and waits until its workers are gone too. Its objects stay: see
    /// [`Server::objects`].
    pub fn kill_master(&mut self) {
        self.signal(Signal::SIGKILL);
        let output = self.wait();
        assert_eq!(output.status.signal(), Some(Signal::SIGKILL as i32), "{output:?}");
    }

    /// Kills every process of the server at once as `kill -9` does, and waits until all are gone.
    pub fn kill_all(&mut self) {
        let children = self.children_now();
        for pid in std::iter::once(self.master).chain(children.into_iter().map(|(pid, _)| pid)) {
            // The master's death kills the others as well: they may be gone.
            let _ = kill(Pid::from_raw(i32::try_from(pid).unwrap()), Signal::SIGKILL);
        }
        self.wait();
    }

    /// Kills every process of the server at once, and starts it again while they are still dying, as a supervisor would.
    pub fn kill_all_and_start_again(&mut self) {
        let children = self.children_now();
        for pid in std::iter::once(self.master).chain(children.into_iter().map(|(pid, _)| pid)) {
            let _ = kill(Pid::from_raw(i32::try_from(pid).unwrap()), Signal::SIGKILL);
        }
        self.process.wait().unwrap();
        self.start_again(&[]);
    }

    /// Waits until the master and all workers are gone, whatever ends them.
    pub fn wait(&mut self) -> Output {
        let workers = self.workers_now();
        let stdout = self.read_to_end();
        let status: ExitStatus = self.process.wait().unwrap();
        // Descriptors are closed one after the other while a process ends: the locks may go just after the output did.
        await_that("the workers are gone", || workers.iter().all(|pid| !lives(*pid)));
        await_that("their locks are gone", || stale::scan(&self.instance).unwrap().living.is_empty());
        Output { status, stdout, stderr: self.stderr().into_bytes() }
    }

    /// All that is still written to the standard output, until no process has it open any more.
    fn read_to_end(&mut self) -> Vec<u8> {
        let deadline = Instant::now() + DEADLINE;
        let mut text = self.stdout.buffer().to_vec();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let mut fds = [PollFd::new(self.stdout.get_ref().as_fd(), PollFlags::POLLIN)];
            let ready = poll(&mut fds, PollTimeout::try_from(left).unwrap()).unwrap();
            assert_ne!(ready, 0, "the server's processes do not end; it said {}", self.stderr());
            let mut part = [0; 4096];
            match self.stdout.get_mut().read(&mut part).unwrap() {
                0 => return text,
                count => text.extend_from_slice(&part[..count]),
            }
        }
    }
}

/// A server from its start to its end.
struct Life {
    address: SocketAddr,
    master: u32,
    workers: Vec<u32>,
    ready: String,
    process: Child,
    stdout: BufReader<ChildStdout>,
}

impl Life {
    fn begin(home: &Path, command: Command, environment: &[(&str, &str)]) -> Life {
        // A file, so that nobody has to read it while the server runs.
        let stderr = fs::File::options().create(true).append(true).open(home.join("stderr")).unwrap();
        Life::begin_saying(stderr.into(), home, command, environment)
    }

    fn begin_saying(stderr: Stdio, home: &Path, mut command: Command, environment: &[(&str, &str)]) -> Life {
        let mut process =
            command.envs(environment.iter().copied()).stdout(Stdio::piped()).stderr(stderr).spawn().unwrap();
        let mut stdout = BufReader::new(process.stdout.take().unwrap());
        let mut ready = String::new();
        stdout.read_line(&mut ready).unwrap();
        let Some((address, master, workers)) = parse_ready(&ready) else {
            let _ = process.kill();
            let said = fs::read_to_string(home.join("stderr")).unwrap_or_default();
            panic!("the server is not ready but says {ready:?} and {said}");
        };
        Life { address, master, workers, ready, process, stdout }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Until it is collected, the pid means no other process.
        if let Ok(None) = self.process.try_wait() {
            let _ = self.process.kill();
            let _ = self.process.wait();
        }
        // The workers die with the master, but none of them is this process' child: that all are gone shows in the lock that
        // they all have open.
        let deadline = Instant::now() + DEADLINE;
        while let Ok(scan) = stale::scan(&self.instance) {
            if scan.living.is_empty() || Instant::now() > deadline {
                let _ = stale::remove(&scan.stale);
                break;
            }
            pause();
        }
        // A panic inside a panic would hide the first one.
        if !std::thread::panicking() {
            assert_eq!(self.objects(), Vec::<String>::new(), "cannot be removed");
        }
    }
}

/// The `master` binary, to be started under that name and on that data directory; for starts that must fail, use it alone.
#[must_use]
pub fn master(instance: &str, data: &Path, args: &[&str]) -> Command {
    master_of(Path::new(PROGRAM), instance, data, args)
}

fn master_of(program: &Path, instance: &str, data: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(["--instance", instance, "--data"]).arg(data).stdin(Stdio::null());
    // Small ones: dozens of servers of a test run share a disk.
    let defaults = [("--port", "0"), ("--http-port", "0"), ("--segment-records", "4096"), ("--key-window", "10000")];
    for (option, value) in defaults {
        if !args.contains(&option) {
            command.args([option, value]);
        }
    }
    command.args(args);
    command.env_remove("RUST_LOG");
    command
}

/// An instance name that no other test uses, of this run or another.
#[must_use]
pub fn unused_name() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A port for a server that is to be started again on it. It is none of those that the kernel gives to whoever connects: while
/// nobody listens there, a client that tries and tries would else be connected to itself one day.
#[must_use]
pub fn unused_port() -> u16 {
    const LOWEST: u32 = 10_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap();
    let highest: u32 = range.split_whitespace().next().unwrap().parse().unwrap();
    let mut ports = std::iter::repeat_with(|| {
        let number = std::process::id().wrapping_mul(17).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        u16::try_from(LOWEST + number % (highest - LOWEST)).unwrap()
    });
    ports.find(|&port| TcpListener::bind(("127.0.0.1", port)).is_ok()).unwrap()
}

/// Sends a signal to a process that this test has started.
pub fn send(pid: u32, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(pid).unwrap()), signal).unwrap();
}

/// The name of a process, as `ps` shows it.
fn name_of(pid: u32) -> Option<String> {
    fs::read_to_string(format!("/proc/{pid}/comm")).ok().map(|name| name.trim_end().to_owned())
}

/// Looks again and again until `condition` holds.
///
/// # Panics
/// It does not hold before the deadline.
pub fn await_that(what: &str, condition: impl FnMut() -> bool) {
    assert!(holds_soon(condition), "waited {DEADLINE:?} in vain until {what}");
}

/// As [`await_that`], for who has more to say where it does not hold: whether it does before the deadline.
#[must_use]
pub fn holds_soon(mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        if Instant::now() >= deadline {
            return false;
        }
        pause();
    }
    true
}

/// Gives the processor to those who are waited for; what is polled here has no event to wait for.
fn pause() {
    std::thread::sleep(Duration::from_millis(2));
}

/// Whether a process runs; one that ended and is not collected yet does not.
#[must_use]
pub fn lives(pid: u32) -> bool {
    status_of(pid).is_some_and(|(state, _)| state != 'Z')
}

/// Whether a process is halted, as by SIGSTOP.
#[must_use]
pub fn is_halted(pid: u32) -> bool {
    status_of(pid).is_some_and(|(state, _)| state == 'T')
}

/// State and parent of a process (`proc_pid_stat(5)`).
fn status_of(pid: u32) -> Option<(char, u32)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything, also parentheses.
    let (_, rest) = text.rsplit_once(')')?;
    let mut words = rest.split_whitespace();
    Some((words.next()?.chars().next()?, words.next()?.parse().ok()?))
}

/// The message queue that the line names which said that the server is ready.
fn queue_of(ready: &str) -> Option<FoundQueue> {
    let (_, name) = ready.trim_end().split_once(" queue /")?;
    let FoundObject { generation, object, .. } = FoundObject::parse(name)?;
    Some(FoundQueue { generation, object })
}

/// Address, master's pid and workers' pids out of `ready: ADDRESS pid PID workers PID,PID…`.
fn parse_ready(line: &str) -> Option<(SocketAddr, u32, Vec<u32>)> {
    let mut words = line.strip_prefix("ready: ")?.split_whitespace();
    let address = words.next()?.parse().ok()?;
    let master = words.nth(1)?.parse().ok()?;
    let workers = words.nth(1)?.split(',').map(|pid| pid.parse().ok()).collect::<Option<Vec<u32>>>()?;
    Some((address, master, workers))
}
