//! A cache process as a thread of the test, and workers that ask it.

use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bank_vault::base::config::{BaseUrl, GetFile, Settings};
use bank_vault::ipc::event::EventFd;
use bank_vault::ipc::layout::Counter;
use bank_vault::ipc::message_queue::{self, Message, Priority, Received, Receiver, SendError, Sender};
use bank_vault::ipc::names::Generation;
use bank_vault::ipc::region::SharedByte;
use bank_vault::ipc::segment::{self, Segment};
use bank_vault::process::cache::{CacheArguments, run};
use bank_vault::store::cache_channel::{
    CacheChannel, CacheRow, CacheStatus, Command, Detail, Refusal, Reply, ReplyTo, reply_queue,
};
use bank_vault::store::transfer::{Claimant, Next, Pool, Reader, SegmentId, Shape};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::http_origin::HttpOrigin;
use crate::transfer_support::sleep;

/// Workers of a test.
pub const WORKERS: u16 = 8;
/// Nothing here takes so long.
const PATIENCE: Duration = Duration::from_secs(20);

/// The cache process, and its channel. Its names are gone when it is dropped.
pub struct Cache {
    pub row: &'static CacheRow,
    pub channel: &'static CacheChannel,
    pub reloads: Arc<AtomicU64>,
    settings: &'static Settings,
    process: Option<JoinHandle<i32>>,
    _folder: tempfile::TempDir,
}

/// What a worker has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Got {
    /// All of some content: its bytes, their checksum, and where it comes from.
    Whole(u64, u32, CacheStatus),
    /// No content, or not all of it.
    Refused(Refusal),
    /// It has given up after so many bytes.
    GaveUp(u64),
    /// The cache process has died.
    Broken,
}

impl Got {
    /// The whole of `content`.
    pub fn whole(content: &[u8], from: CacheStatus) -> Got {
        Got::Whole(content.len() as u64, crc32fast::hash(content), from)
    }
}

fn generation() -> Generation {
    static NUMBER: AtomicU32 = AtomicU32::new(1);
    let boot = NUMBER.fetch_add(1, Ordering::Relaxed);
    Generation { instance: format!("test-cache-{}", std::process::id()), boot }
}

/// Settings of a service that fetches from `origin`.
pub fn from(origin: &HttpOrigin) -> GetFile {
    let upstream = Some(BaseUrl::new(&format!("http://{}", origin.address)).unwrap());
    GetFile { port: 1, upstream, ..GetFile::default() }
}

/// Settings of a service that has the files of a map.
pub fn of_map(map: PathBuf) -> GetFile {
    GetFile { port: 1, map: Some(map), ..GetFile::default() }
}

/// The counter of a name.
fn counter<'a>(row: &'a CacheRow, name: &str) -> &'a Counter {
    match name {
        "hits" => &row.hits,
        "misses" => &row.misses,
        "coalesced" => &row.coalesced,
        "not_found" => &row.not_found,
        "errors" => &row.errors,
        "renewed" => &row.renewed,
        "purged" => &row.purged,
        "fetches" => &row.fetches,
        "failed_fetches" => &row.failed_fetches,
        "passed_through" => &row.passed_through,
        "bytes_out" => &row.bytes_out,
        "descriptors_passed" => &row.descriptors_passed,
        "bytes" => &row.bytes,
        "spooled_bytes" => &row.spooled_bytes,
        "entries" => &row.entries,
        "negative_entries" => &row.negative_entries,
        "fetching" => &row.fetching,
        "waiting" => &row.waiting,
        "reading" => &row.reading,
        other => panic!("no counter {other}"),
    }
}

impl Cache {
    /// One with a pool of such segments, as a thread.
    pub fn start(getfile: GetFile, segments: usize, segment_bytes: usize) -> Cache {
        let mut cache = Cache::without_process(getfile, segments, segment_bytes);
        cache.begin();
        cache
    }

    /// One whose process is up to the caller.
    pub fn without_process(getfile: GetFile, segments: usize, segment_bytes: usize) -> Cache {
        let folder = tempfile::tempdir().unwrap();
        let generation = generation();
        let name = generation.name("control");
        let row: Segment<CacheRow, SharedByte> = Segment::create(&name, 1, generation.boot, 0, |_, _| Ok(())).unwrap();
        segment::unlink(&name).unwrap();
        let row = Box::leak(Box::new(row)).root();
        let shape = Shape::new(segments, segment_bytes).unwrap();
        let event = || Arc::new(EventFd::new().unwrap());
        let workers = (0..WORKERS).map(|_| event()).collect();
        let channel = Box::leak(Box::new(CacheChannel::create(&generation, shape, workers, event()).unwrap()));
        let settings = Box::leak(Box::new(Settings { getfile, data: folder.path().into(), ..Settings::default() }));
        let reloads = Arc::default();
        Cache { row, channel, reloads, settings, process: None, _folder: folder }
    }

    /// What a process is started with.
    pub fn arguments(&self) -> CacheArguments {
        CacheArguments { row: self.row, channel: self.channel, settings: self.settings, reloads: Box::new(|| 0) }
    }

    /// Begins a life.
    pub fn begin(&mut self) {
        self.row.life.begin(1);
        let (row, channel, settings, reloads) = (self.row, self.channel, self.settings, self.reloads.clone());
        self.process = Some(thread::spawn(move || {
            let reloads = Box::new(move || reloads.load(Ordering::Acquire));
            run(CacheArguments { row, channel, settings, reloads })
        }));
    }

    /// Has the process leave; its exit code.
    pub fn leave(&mut self) -> i32 {
        self.row.life.ask_to_leave();
        self.channel.wake_ups.of_cache().send();
        self.process.take().unwrap().join().unwrap()
    }

    /// Waits until the row says so.
    pub fn wait_until(&self, what: &str, mut holds: impl FnMut(&CacheRow) -> bool) {
        let began = Instant::now();
        while !holds(self.row) {
            assert!(began.elapsed() < PATIENCE, "{what} does not come to pass");
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Waits until the row counts so many. It is written at the end of a turn, when readers may have what they wanted already.
    pub fn wait_for_counts<const N: usize>(&self, expected: [(&'static str, u64); N]) {
        let counted = || expected.map(|(name, _)| (name, counter(self.row, name).get()));
        let began = Instant::now();
        while counted() != expected {
            assert!(began.elapsed() < PATIENCE, "{:?} instead of {expected:?}", counted());
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Waits until so many fetches were begun, and all have ended: a reader may have all of an object before that is known to be whole.
    pub fn wait_for_fetches(&self, fetches: u64) {
        self.wait_until("fetches end", |row| row.fetches.get() == fetches && row.fetching.get() == 0);
    }

    /// Puts anything into the queue.
    pub fn send<M: Message>(&self, message: &M) {
        let mut queue = Sender::<M>::open(&self.channel.generation().name("cache")).unwrap();
        loop {
            match queue.send(message, Priority::Normal) {
                Ok(()) => return,
                Err(SendError::Full) => {
                    let mut descriptors = [PollFd::new(queue.as_fd(), PollFlags::POLLOUT)];
                    assert!(
                        poll(&mut descriptors, PollTimeout::try_from(PATIENCE).unwrap()).unwrap() > 0,
                        "it stays full"
                    );
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Claims a segment for a worker, when it is its turn.
    pub fn claim(&self, worker: u16) -> SegmentId {
        let mut claimant =
            Claimant::<Pool>::new(&self.channel.pool, worker, std::process::id(), &self.channel.wake_ups);
        claimant.draw();
        loop {
            if let Some((_, id)) = claimant.claim() {
                return id;
            }
            sleep(self.channel.wake_ups.of_worker(worker.into()));
        }
    }

    /// Asks for a path.
    pub fn ask(&self, worker: u16, path: &str) -> Reader<'static> {
        let segment = self.claim(worker);
        let reader = Reader::new(&self.channel.pool, segment, worker, &self.channel.wake_ups).unwrap();
        self.send(&Command::Get { segment, owner: worker.into(), path: path.as_bytes().into() });
        reader
    }

    /// Reads what comes, up to `most` bytes.
    pub fn read(&self, worker: u16, mut reader: Reader<'_>, most: u64) -> Got {
        let mut hasher = crc32fast::Hasher::new();
        // No divisor of a chunk, so that chunks are left in the middle.
        let mut buffer = vec![0; 100_001];
        loop {
            match reader.poll() {
                Next::Pending => sleep(self.channel.wake_ups.of_worker(worker.into())),
                Next::Chunk if reader.bytes() >= most => return Got::GaveUp(reader.bytes()),
                Next::Chunk => {
                    let length = reader.copy_out(&mut buffer);
                    hasher.update(&buffer[..length]);
                }
                Next::End => {
                    let begun = reader.begun().unwrap();
                    assert_eq!(begun.total, reader.bytes());
                    let detail = Detail::from_word(begun.detail).unwrap();
                    assert!(!detail.by_descriptor);
                    return Got::Whole(reader.bytes(), hasher.finalize(), detail.from);
                }
                Next::Elsewhere => panic!("this is no worker that takes descriptors"),
                Next::Failed(word) => return Got::Refused(Refusal::from_word(word)),
                Next::Broken => return Got::Broken,
            }
        }
    }

    /// Asks for a path, and reads to the end.
    pub fn get(&self, worker: u16, path: &str) -> Got {
        self.read(worker, self.ask(worker, path), u64::MAX)
    }

    /// Replies to a command, up to the last.
    pub fn replies_to(&self, command: impl FnOnce(ReplyTo) -> Command) -> Vec<Reply> {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        let to = ReplyTo(NUMBER.fetch_add(1, Ordering::Relaxed));
        let name = self.channel.generation().name(&reply_queue(to));
        message_queue::create::<Reply>(&name, bank_vault::store::cache_channel::QUEUE_DEPTH).unwrap();
        let queue = Receiver::<Reply>::open(&name);
        self.send(&command(to));
        let mut replies = Vec::new();
        let mut queue = queue.unwrap();
        while !matches!(replies.last(), Some(Reply::EndOfList { .. } | Reply::Purged { .. })) {
            match queue.receive().unwrap() {
                Received::Message(reply, _) => replies.push(reply),
                Received::Malformed(bytes) => panic!("{bytes} bytes are no reply"),
                Received::Empty => {
                    let mut descriptors = [PollFd::new(queue.as_fd(), PollFlags::POLLIN)];
                    let ready = poll(&mut descriptors, PollTimeout::try_from(PATIENCE).unwrap()).unwrap();
                    if ready == 0 {
                        message_queue::unlink(&name).unwrap();
                        panic!("no reply to it");
                    }
                }
            }
        }
        message_queue::unlink(&name).unwrap();
        replies
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        let unlinked = CacheChannel::unlink(self.channel.generation());
        if self.process.is_some() {
            self.row.life.ask_to_leave();
            self.channel.wake_ups.of_cache().send();
            let ended = self.process.take().map(JoinHandle::join);
            assert!(thread::panicking() || matches!(ended, Some(Ok(0))), "it has not left in order");
        }
        assert!(thread::panicking() || unlinked.is_ok());
    }
}
