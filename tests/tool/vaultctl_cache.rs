//! `vaultctl cache` beside a real server, in whose instance a double of the cache process answers: it has the real queue and pool, and
//! keeps what a test says.

use crate::server;

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command as Process, Stdio};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use bank_vault::ipc::event::EventFd;
use bank_vault::ipc::message_queue::{Message, Priority, Received, Receiver, SendError, Sender, names};
use bank_vault::ipc::names::Generation;
use bank_vault::ipc::process::monotonic_ns;
use bank_vault::ipc::segment::Access;
use bank_vault::store::cache_channel::{
    CacheChannel, Command, EntryState, ListedEntry, QUEUE_DEPTH, REPLIES, Reply, ReplyTo, reply_queue,
};
use bank_vault::store::instance::Instance;
use bank_vault::store::transfer::{Claimant, Shape};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use server::{Server, await_that};

type Entries = BTreeMap<Box<[u8]>, ListedEntry>;

/// A server in whose instance there is a channel to a cache process.
struct Setting {
    server: Server,
    instance: Instance,
    channel: CacheChannel,
}

impl Setting {
    fn new() -> Setting {
        let server = Server::start(&["--workers", "1"]);
        let generation = server.stats().generation().clone();
        let instance = Instance::open(generation.clone(), Access::Write).unwrap();
        let event = || Arc::new(EventFd::new().unwrap());
        let shape = Shape::new(4, 1024).unwrap();
        let channel = CacheChannel::create(&generation, shape, vec![event()], event()).unwrap();
        instance.cache_row().life.begin(monotonic_ns());
        instance.cache_row().life.pid.set(std::process::id());
        Setting { server, instance, channel }
    }

    fn generation(&self) -> &Generation {
        self.channel.generation()
    }

    /// Begins to answer, out of what is kept.
    fn serve(&self, entries: Entries) -> Double {
        let stop = Arc::new(EventFd::new().unwrap());
        let (receiver, its_stop, generation) =
            (self.channel.receiver().unwrap(), stop.clone(), self.generation().clone());
        let thread = thread::spawn(move || answer(receiver, &its_stop, &generation, entries));
        Double { stop, thread: Some(thread) }
    }

    /// Starts `vaultctl cache WORDS` for this instance.
    fn start(&self, words: &[&str]) -> Child {
        let mut command = Process::new(env!("CARGO_BIN_EXE_vaultctl"));
        command.arg("cache").args(words).args(["--instance", &self.server.instance]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Exit code, standard output, standard error; and that no queue of replies is left.
    fn end(&self, child: Child) -> (i32, String, String) {
        let pid = child.id();
        let output = child.wait_with_output().unwrap();
        assert!(self.replies_of(pid).is_none(), "its queue is left");
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code().expect("an exit code"), text(output.stdout), text(output.stderr))
    }

    fn run(&self, words: &[&str]) -> (i32, String, String) {
        self.end(self.start(words))
    }

    fn replies_of(&self, pid: u32) -> Option<Sender<Reply>> {
        Sender::open(&self.generation().name(&reply_queue(ReplyTo(pid)))).ok()
    }

    /// All queues of the instance.
    fn queues(&self) -> usize {
        names::queues_of(&self.server.instance, &[self.generation().boot], &["cache"]).len()
    }

    /// How many commands wait.
    fn queued(&self) -> usize {
        CacheChannel::sender(self.generation()).unwrap().attributes().unwrap().queued
    }

    fn stop(self) {
        assert_eq!(self.queues(), 1, "the queue of commands");
        CacheChannel::unlink(self.generation()).unwrap();
        drop(self.server.stop());
    }
}

/// A double of the cache process, until it is dropped.
struct Double {
    stop: Arc<EventFd>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Double {
    fn drop(&mut self) {
        self.stop.send();
        let ended = self.thread.take().unwrap().join();
        assert!(ended.is_ok() || thread::panicking());
    }
}

fn answer(mut receiver: Receiver<Command>, stop: &EventFd, generation: &Generation, mut entries: Entries) {
    loop {
        let mut fds = [PollFd::new(receiver.as_fd(), PollFlags::POLLIN), PollFd::new(stop.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::NONE).unwrap();
        if stop.take() {
            return;
        }
        while let Received::Message(command, _) = receiver.receive().unwrap() {
            let (reply_to, replies) = replies(command, &mut entries);
            // One that has ended meanwhile has no queue any more.
            let Ok(mut sender) = Sender::open(&generation.name(&reply_queue(reply_to))) else { continue };
            replies.iter().for_each(|reply| sender.send(reply, Priority::Normal).unwrap());
        }
    }
}

fn replies(command: Command, entries: &mut Entries) -> (ReplyTo, Vec<Reply>) {
    match command {
        Command::Get { .. } => panic!("nobody asks for contents"),
        Command::Purge { reply_to, path } => {
            let before = entries.len();
            entries.retain(|entry, _| path.as_ref().is_some_and(|path| path != entry));
            (reply_to, vec![Reply::Purged { entries: (before - entries.len()) as u64 }])
        }
        Command::List { reply_to, after } => {
            let mut rest = entries.values().filter(|entry| after.as_ref().is_none_or(|after| entry.path > *after));
            let mut page: Vec<Reply> = rest.by_ref().take(REPLIES - 1).cloned().map(Reply::Entry).collect();
            page.push(Reply::EndOfList { more: rest.next().is_some() });
            (reply_to, page)
        }
    }
}

fn entry(path: &[u8], state: EntryState, bytes: u64) -> ListedEntry {
    ListedEntry { path: path.into(), state, bytes, readers: 2, fresh_ms: 12_345, is_fetching: false }
}

fn entries(all: impl IntoIterator<Item = ListedEntry>) -> Entries {
    all.into_iter().map(|entry| (entry.path.clone(), entry)).collect()
}

fn many(count: usize) -> Entries {
    entries((0..count).map(|number| entry(format!("/file{number:03}").as_bytes(), EntryState::Fresh, number as u64)))
}

#[test]
fn a_list_of_any_length_is_whole_and_in_order() {
    let setting = Setting::new();
    for count in [0, 1, REPLIES - 2, REPLIES - 1, REPLIES, 2 * (REPLIES - 1), 100] {
        let double = setting.serve(many(count));
        let (code, out, err) = setting.run(&["list", "--json"]);
        assert_eq!((code, err.as_str()), (0, ""));
        let lines: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let wanted: Vec<Value> = (0..count)
            .map(|number| {
                json!({ "path": format!("/file{number:03}"), "state": "fresh", "bytes": number, "readers": 2, "fresh_ms": 12_345,
                        "fetching": false })
            })
            .collect();
        assert_eq!(lines, wanted);
        drop(double);
    }
    setting.stop();
}

#[test]
fn the_list_for_people_shows_every_state_and_no_byte_as_it_came() {
    let setting = Setting::new();
    let longest: Vec<u8> = std::iter::once(b'/').chain(std::iter::repeat_n(b'x', 4095)).collect();
    let mut kept = entries([
        entry(b"/a\x1b[2J\\", EntryState::Stale, 1 << 40),
        entry(b"/nothing", EntryState::Negative, 0),
        entry(&longest, EntryState::Coming, 7),
    ]);
    let coming = kept.get_mut(&longest[..]).unwrap();
    (coming.is_fetching, coming.fresh_ms) = (true, 0);
    let double = setting.serve(kept);
    let (code, out, err) = setting.run(&["list"]);
    assert_eq!((code, err.as_str()), (0, ""));
    let lines: Vec<Vec<&str>> = out.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["state", "size", "readers", "fresh", "for", "fetching", "path"]);
    assert_eq!(lines[1], ["stale", "1099511627776", "2", "12.3", "s", "no", r"/a\x1b[2J\\"]);
    assert_eq!(lines[2], ["negative", "0", "2", "12.3", "s", "no", "/nothing"]);
    let longest = String::from_utf8(longest).unwrap();
    assert_eq!(lines[3], ["coming", "7", "2", "-", "yes", &longest]);
    drop(double);
    let double = setting.serve(Entries::new());
    assert_eq!(setting.run(&["list"]), (0, "nothing is kept\n".to_owned(), String::new()));
    drop(double);
    setting.stop();
}

#[test]
fn what_is_purged_is_counted_and_what_is_not_there_is_refused() {
    let setting = Setting::new();
    let double = setting.serve(many(5));
    let ok = |text: &str| (0, text.to_owned(), String::new());
    let nothing = "vaultctl: nothing was kept of /file003\n".to_owned();
    assert_eq!(setting.run(&["purge", "/file003"]), ok("forgot 1 entry\n"));
    assert_eq!(setting.run(&["purge", "/file003"]), (1, String::new(), nothing.clone()));
    let json = "{\n  \"entries\": 0\n}\n".to_owned();
    assert_eq!(setting.run(&["purge", "/file003", "--json"]), (1, json.clone(), nothing));
    assert_eq!(setting.run(&["purge", "--all"]), ok("forgot 4 entries\n"));
    assert_eq!(setting.run(&["purge", "--all", "--json"]), ok(&json));
    let too_long = format!("/{}", "x".repeat(4096));
    for (words, wanted) in [
        (&["purge"][..], "required"),
        (&["purge", "/x", "--all"], "cannot be used with"),
        (&["purge", "x\x1b"], r"`x\x1b` is no path: it does not begin with a slash"),
        (&["purge", &too_long], "has more than 4096 bytes"),
        (&["list", "--timeout", "0"], "--timeout"),
        (&[], "Usage"),
    ] {
        let (code, out, err) = setting.run(words);
        assert!(code == 2 && out.is_empty() && err.contains(wanted), "{words:?}: {out} {err}");
    }
    drop(double);
    setting.stop();
}

#[test]
fn a_cache_process_that_does_not_answer_is_named_and_no_queue_is_left() {
    let setting = Setting::new();
    for (place, words) in [&["list"][..], &["purge", "--all"], &["purge", "/x"]].into_iter().enumerate() {
        let (code, out, err) = setting.run(&[words, &["--timeout", "1"]].concat());
        assert_eq!((code, out.as_str()), (2, ""));
        let who = format!("(pid {}) does not answer: nothing came within 1 s", std::process::id());
        assert!(err.contains(&who), "{err}");
        assert!(err.contains("The command stays in its queue"), "{err}");
        assert_eq!(setting.queued(), place + 1);
    }
    // When it goes on it does what it was asked, and replies to nobody.
    let double = setting.serve(many(3));
    assert_eq!(setting.run(&["purge", "--all"]), (0, "forgot 0 entries\n".to_owned(), String::new()));
    drop(double);
    setting.stop();
}

#[test]
fn a_full_queue_is_waited_for() {
    let setting = Setting::new();
    let mut sender = CacheChannel::sender(setting.generation()).unwrap();
    let others = Command::List { reply_to: ReplyTo(0), after: None };
    (0..QUEUE_DEPTH).for_each(|_| sender.send(&others, Priority::Normal).unwrap());
    assert!(matches!(sender.send(&others, Priority::Normal), Err(SendError::Full)));
    let (code, _, err) = setting.run(&["purge", "--all", "--timeout", "1"]);
    assert!(code == 2 && err.contains("Its queue is full, so the command was not sent"), "{err}");
    assert_eq!(setting.queued(), QUEUE_DEPTH);
    let child = setting.start(&["list", "--json"]);
    await_that("it has a queue for the replies", || setting.replies_of(child.id()).is_some());
    let double = setting.serve(many(2));
    let (code, out, err) = setting.end(child);
    assert!(code == 0 && out.lines().count() == 2, "{out} {err}");
    drop(double);
    setting.stop();
}

#[test]
fn a_signal_ends_it_and_its_queue() {
    let setting = Setting::new();
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let child = setting.start(&["list", "--timeout", "60"]);
        let pid = child.id();
        await_that("it has asked", || setting.queued() == 1);
        server::send(pid, signal);
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.signal(), Some(signal as i32), "{output:?}");
        assert!(setting.replies_of(pid).is_none(), "its queue is left");
        let taken = setting.channel.receiver().unwrap().receive().unwrap();
        assert!(matches!(taken, Received::Message(Command::List { reply_to: ReplyTo(to), .. }, _) if to == pid));
    }
    setting.stop();
}

/// What is no reply, of the same size.
struct Garbage;

impl Message for Garbage {
    const MAX_BYTES: usize = Reply::MAX_BYTES;

    fn encode(&self, into: &mut [u8]) -> usize {
        into[0] = 0xFF;
        1
    }

    fn decode(_: &[u8]) -> Option<Self> {
        None
    }
}

#[test]
fn replies_that_cannot_be_are_not_believed() {
    let setting = Setting::new();
    let asked = |words: &[&str]| {
        let child = setting.start(words);
        let pid = child.id();
        await_that("it has asked", || setting.queued() == 1);
        setting.channel.receiver().unwrap().receive().unwrap();
        (child, pid)
    };
    let refused = |child, wanted: &str| {
        let (code, out, err) = setting.end(child);
        assert!(code == 2 && out.is_empty() && err.contains(wanted), "{out} {err}");
    };
    let (child, pid) = asked(&["list"]);
    let name = setting.generation().name(&reply_queue(ReplyTo(pid)));
    Sender::<Garbage>::open(&name).unwrap().send(&Garbage, Priority::Normal).unwrap();
    refused(child, "1 bytes that are no reply");
    let [a, b] = [b"/a", b"/b"].map(|path| Reply::Entry(entry(path, EntryState::Fresh, 1)));
    let end = |more| Reply::EndOfList { more };
    for (words, replies, wanted) in [
        (&["list"][..], vec![Reply::Purged { entries: 1 }], "a reply to something else"),
        (&["purge", "--all"], vec![end(false)], "a reply to something else"),
        (&["list"], vec![end(true)], "not in order"),
        (&["list"], vec![b.clone(), a, end(false)], "not in order"),
        (&["list"], vec![b.clone(), b, end(false)], "not in order"),
    ] {
        let (child, pid) = asked(words);
        let mut sender = setting.replies_of(pid).unwrap();
        replies.iter().for_each(|reply| sender.send(reply, Priority::Normal).unwrap());
        refused(child, wanted);
    }
    setting.stop();
}

#[test]
fn the_statistics_have_the_counters_the_queue_and_the_segments() {
    let setting = Setting::new();
    let row = setting.instance.cache_row();
    for (counter, value) in [
        (&row.hits, 60),
        (&row.misses, 30),
        (&row.stale, 4),
        (&row.revalidated, 3),
        (&row.coalesced, 3),
        (&row.not_found, 5),
        (&row.errors, 6),
        (&row.refused, 7),
        (&row.bytes, 4096),
        (&row.entries, 8),
        (&row.late_requests, 9),
        (&row.waiting, 11),
    ] {
        counter.set(value);
    }
    row.life.deaths.set(2);
    let mut sender = CacheChannel::sender(setting.generation()).unwrap();
    let command = Command::List { reply_to: ReplyTo(0), after: None };
    (0..3).for_each(|_| sender.send(&command, Priority::Normal).unwrap());
    let mut claimant = Claimant::new(&setting.channel.pool, 0, 1, &setting.channel.wake_ups);
    claimant.draw();
    assert!(claimant.claim().is_some());

    let (code, out, err) = setting.run(&["stats", "--json"]);
    assert_eq!((code, err.as_str()), (0, ""));
    let json: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(json["answers"], json!({ "hit": 60, "miss": 30, "stale": 4, "revalidated": 3, "coalesced": 3 }));
    assert_eq!((&json["answers_total"], &json["hit_rate"]), (&json!(100), &json!(0.6)));
    assert_eq!((&json["pid"], &json["lives"], &json["deaths"]), (&std::process::id().into(), &1.into(), &2.into()));
    assert_eq!(json["queue"], json!({ "queued": 3, "depth": QUEUE_DEPTH }));
    let states =
        json!({ "free": 3, "claimed": 0, "offered": 1, "writing": 0, "written": 0, "abandoned": 0, "broken": 0 });
    assert_eq!(json["segments"], json!({ "count": 4, "bytes": 1024, "states": states }));

    let (code, out, err) = setting.run(&["stats"]);
    assert_eq!((code, err.as_str()), (0, ""));
    for part in [
        &*format!("cache process: serving, pid {}, lives 1, deaths 2, failed starts 0, heartbeat ", std::process::id()),
        "100: hit 60, miss 30, stale 4, revalidated 3, coalesced 3; hit ratio 60.0 %\n",
        "5 of them that there is no such object; besides 6 errors of the upstream, 7 refused for want of room\n",
        "11 wait, 0 are given content\n",
        "8 with content, 0 known not to be there\n",
        "4096 bytes, 0 more in spools\n",
        "3 of 10 commands; 9 came late, 0 were malformed\n",
        "4 of 1024 bytes: free 3, claimed 0, offered 1, writing 0, written 0, abandoned 0, broken 0\n",
    ] {
        assert!(out.contains(part), "{part} in {out}");
    }
    setting.stop();
}

#[test]
fn a_server_without_a_cache_process_is_said_to_have_none() {
    let server = Server::start(&["--workers", "1"]);
    let nobody = server::unused_name();
    for words in [&["list"][..], &["stats"], &["purge", "--all"]] {
        for (instance, wanted) in [(&server.instance, "has no cache process"), (&nobody, "runs here")] {
            let mut command = assert_cmd::Command::cargo_bin("vaultctl").unwrap();
            let output = command.arg("cache").args(words).args(["--instance", instance]).output().unwrap();
            let said = String::from_utf8(output.stderr).unwrap();
            assert!(output.status.code() == Some(2) && output.stdout.is_empty() && said.contains(wanted), "{said}");
        }
    }
    drop(server.stop());
}
