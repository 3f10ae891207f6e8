//! The asker and transfers against a cache process that is played by the test, step by step.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::base::limits::{MAX_CACHE_ASKS, SMALL_GETFILE_BYTES};
use crate::ipc::event::EventFd;
use crate::ipc::layout::Shared;
use crate::ipc::memfd::{MemoryFile, SealedFile};
use crate::ipc::message_queue::{Received, Receiver};
use crate::ipc::names::Generation;
use crate::ipc::segment::{self, Segment};
use crate::service::connection_state::SessionKey;
use crate::service::entry::Watcher;
use crate::service::getfile::session::asked::{Asked, At};
use crate::service::getfile::session::asker::{Asker, Polled, Requests};
use crate::service::getfile::session::transfer::{Step, Transfer};
use crate::service::getfile::wire::response::Response;
use crate::service::outgoing::Content;
use crate::store::cache_channel::{CacheChannel, CacheStatus, Command, DescriptorSender, Detail, QUEUE_DEPTH, Refusal};
use crate::store::instance::life::Life;
use crate::store::instance::stats::GetFileStats;
use crate::store::transfer::repair::{self, is_idle};
use crate::store::transfer::{Reader, SegmentId, Shape, Writer};

const SECOND: u64 = 1_000_000_000;
const WORKER: u16 = 3;
const NOBODY: [u32; 0] = [];

/// Writes down what it is told.
#[derive(Default)]
struct Watched(RefCell<Vec<&'static str>>);

impl Watcher for Watched {
    fn watch_writable(&self, _fd: BorrowedFd<'_>) -> io::Result<()> {
        self.0.borrow_mut().push("watch");
        Ok(())
    }

    fn unwatch(&self, _fd: BorrowedFd<'_>) {
        self.0.borrow_mut().push("unwatch");
    }
}

/// The sessions that have no answer, and those that were scheduled.
#[derive(Default)]
struct Waiting {
    asked: BTreeMap<u32, Asked>,
    scheduled: Vec<u32>,
}

fn key(slot: u32) -> SessionKey {
    SessionKey { slot, generation: 1 }
}

impl Requests for Waiting {
    fn asked(&mut self, key: SessionKey) -> Option<&mut Asked> {
        self.asked.get_mut(&key.slot)
    }

    fn reader(&mut self, key: SessionKey) -> Option<(&mut Reader<'static>, bool)> {
        self.asked.get_mut(&key.slot)?.reader()
    }

    fn schedule(&mut self, key: SessionKey) {
        self.scheduled.push(key.slot);
    }
}

/// One worker, and the other end of its channel.
struct Setting {
    asker: Asker,
    sessions: Waiting,
    channel: &'static CacheChannel,
    life: &'static Life,
    stats: &'static GetFileStats,
    watched: Rc<Watched>,
    queue: Receiver<Command>,
}

/// A structure of zeros in shared memory that is there until the test ends.
fn shared<T: Shared>(generation: &Generation, object: &str) -> &'static T {
    let name = generation.name(object);
    let memory = Segment::<T, ()>::create(&name, 1, 1, 0, |_: &T, _: &[()]| Ok(())).unwrap();
    segment::unlink(&name).unwrap();
    Box::leak(Box::new(memory)).root()
}

fn setting(segments: usize) -> Setting {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let instance = format!("test-asker-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
    let generation = Generation { instance, boot: 1 };
    let event = || Arc::new(EventFd::new().unwrap());
    let workers = std::iter::repeat_with(event).take(usize::from(WORKER) + 1).collect();
    let channel = CacheChannel::create(&generation, Shape::new(segments, 824).unwrap(), workers, event()).unwrap();
    let channel: &'static CacheChannel = Box::leak(Box::new(channel));
    let (life, stats): (&Life, &GetFileStats) = (shared(&generation, "life"), shared(&generation, "stats"));
    life.begin(SECOND);
    life.pid.set(4711);
    let watched = Rc::new(Watched::default());
    let asker = Asker::new(channel, life, stats, usize::from(WORKER), watched.clone(), 10 * SECOND);
    let queue = channel.receiver();
    CacheChannel::unlink(&generation).unwrap();
    let sessions = Waiting::default();
    Setting { asker: asker.unwrap(), sessions, channel, life, stats, watched, queue: queue.unwrap() }
}

impl Setting {
    /// Begins a request in `slot`, for the path `/slot`.
    fn ask(&mut self, slot: u32) {
        let asked = Asked::new(format!("/{slot}").into_bytes().into(), IpAddr::V4(Ipv4Addr::new(127, 0, 0, 1)), SECOND);
        self.sessions.asked.insert(slot, asked);
        assert!(self.poll(slot, SECOND).is_none(), "nobody has answered");
    }

    /// What there is for the request in `slot`; it is over then.
    fn poll(&mut self, slot: u32, now_ns: u64) -> Option<Polled> {
        let asked = self.sessions.asked.get_mut(&slot).unwrap();
        match self.asker.poll(key(slot), asked, now_ns) {
            Polled::Nothing => None,
            polled => {
                self.sessions.asked.remove(&slot);
                Some(polled)
            }
        }
    }

    fn refusal(&mut self, slot: u32) -> (Response, Option<CacheStatus>) {
        match self.poll(slot, SECOND) {
            Some(Polled::Refused(response, from)) => (response, from),
            Some(_) => panic!("it has contents"),
            None => panic!("it has no answer"),
        }
    }

    fn transfer(&mut self, slot: u32) -> Box<Transfer> {
        match self.poll(slot, SECOND) {
            Some(Polled::Contents(transfer)) => transfer,
            Some(Polled::Refused(response, _)) => panic!("{response:?}"),
            _ => panic!("it has no answer"),
        }
    }

    /// A turn of the loop: who was scheduled in it.
    fn advance(&mut self) -> Vec<u32> {
        self.asker.advance(&mut self.sessions);
        std::mem::take(&mut self.sessions.scheduled)
    }

    /// The next request in the queue: the slot that it is of, and its segment.
    fn request(&mut self) -> Option<(u32, SegmentId)> {
        match self.queue.receive().unwrap() {
            Received::Message(Command::Get { segment, owner: 0x7F00_0001, path }, _) => {
                Some((std::str::from_utf8(&path[1..]).unwrap().parse().unwrap(), segment))
            }
            Received::Empty => None,
            other => panic!("{other:?}"),
        }
    }

    fn pick_up(&self, segment: SegmentId) -> Option<Writer<'static>> {
        Writer::pick_up(&self.channel.pool, segment, 4711, &self.channel.wake_ups)
    }

    /// The writer for the next request, which is that of `slot`.
    fn writer(&mut self, slot: u32) -> Writer<'static> {
        let (asked, segment) = self.request().unwrap();
        assert_eq!(asked, slot);
        self.pick_up(segment).unwrap()
    }

    /// Whether the worker was woken.
    fn was_woken(&self) -> bool {
        self.channel.wake_ups.of_worker(WORKER.into()).take()
    }
}

fn word(from: CacheStatus) -> u32 {
    Detail { from, by_descriptor: false }.word()
}

fn received(far: &mut UnixStream, most: usize) -> Vec<u8> {
    let mut bytes = vec![0; most];
    let count = far.read(&mut bytes).unwrap();
    bytes.truncate(count);
    bytes
}

#[test]
fn contents_come_with_their_head_in_one_piece_and_the_segment_goes_back() {
    let mut setting = setting(2);
    setting.ask(1);
    assert_eq!(setting.advance(), NOBODY);
    let mut writer = setting.writer(1);
    assert!(!setting.was_woken());
    writer.begin(600, word(CacheStatus::Coalesced));
    assert!(!setting.was_woken(), "a length alone is no answer");
    assert_eq!(setting.advance(), NOBODY);
    assert_eq!(writer.write(&[7; 300]), Ok(300));
    assert!(setting.was_woken());
    assert_eq!(setting.advance(), [1]);
    let mut transfer = setting.transfer(1);
    assert_eq!((transfer.response, transfer.from), (Response::Ok(600), CacheStatus::Coalesced));
    let (near, mut far) = UnixStream::pair().unwrap();
    let head = b"GETFILE OK 600\r\n\r\n";
    assert_eq!(transfer.send(near.as_fd(), 5), Step::Bytes(head.len() as u64 + 280));
    assert_eq!(received(&mut far, 1000), [&head[..], &[7; 280]].concat(), "one chunk of a segment of 824 bytes");
    assert_eq!(transfer.send(near.as_fd(), 5), Step::Bytes(20));
    assert_eq!((transfer.send(near.as_fd(), 5), transfer.send(near.as_fd(), 9)), (Step::Nothing, Step::Nothing));
    assert_eq!(transfer.awaits_cache_ns(), Some(5));
    assert_eq!(writer.write(&[8; 300]), Ok(300));
    writer.finish();
    assert!(setting.was_woken());
    assert_eq!(transfer.send(near.as_fd(), 9), Step::Bytes(280));
    assert_eq!(transfer.awaits_cache_ns(), None);
    assert_eq!(transfer.send(near.as_fd(), 9), Step::Bytes(20));
    assert_eq!(transfer.send(near.as_fd(), 9), Step::Over);
    assert_eq!((transfer.sent(), transfer.head_bytes()), (head.len() as u64 + 600, head.len()));
    assert_eq!(received(&mut far, 1000), [[7; 20].as_slice(), &[8; 300]].concat());
    assert!(!is_idle(&setting.channel.pool));
    drop(transfer);
    assert!(is_idle(&setting.channel.pool) && setting.request().is_none());
    assert_eq!((setting.stats.segment_waits.get(), setting.stats.queue_full.get()), (0, 0));
}

#[test]
fn what_the_cache_process_says_instead_of_contents_is_answered() {
    let mut setting = setting(1);
    for (refusal, answer) in [
        (Refusal::NotFound(CacheStatus::Hit), (Response::FileNotFound, Some(CacheStatus::Hit))),
        (Refusal::Upstream, (Response::Error, None)),
        (Refusal::Full, (Response::Error, None)),
    ] {
        setting.ask(1);
        setting.writer(1).fail(refusal.word());
        assert_eq!(setting.advance(), [1]);
        assert_eq!(setting.refusal(1), answer, "{refusal:?}");
    }
    let by_descriptor = Detail { from: CacheStatus::Hit, by_descriptor: true }.word();
    for detail in [by_descriptor, 77] {
        setting.ask(1);
        setting.writer(1).begin(0, detail);
        assert_eq!(setting.advance(), [1]);
        assert_eq!(setting.refusal(1), (Response::Error, None), "{detail}");
    }
    // No bytes are an answer, and a head.
    setting.ask(1);
    let mut writer = setting.writer(1);
    writer.begin(0, word(CacheStatus::Hit));
    writer.finish();
    let (near, mut far) = UnixStream::pair().unwrap();
    let mut transfer = setting.transfer(1);
    assert_eq!((transfer.send(near.as_fd(), 5), transfer.send(near.as_fd(), 5)), (Step::Bytes(16), Step::Over));
    assert_eq!(received(&mut far, 100), b"GETFILE OK 0\r\n\r\n".as_slice().to_vec());
}

#[test]
fn a_segment_goes_to_who_waits_longest_and_is_still_there() {
    let mut setting = setting(1);
    (1..=5).for_each(|slot| setting.ask(slot));
    assert_eq!(setting.stats.segment_waits.get(), 4);
    let writer = setting.writer(1);
    assert!(setting.asker.is_segment_wanted());
    // One ends, and one goes to another worker, which the asker is not told of.
    let ended = setting.sessions.asked.remove(&2).unwrap();
    setting.asker.cancel(&ended);
    setting.sessions.asked.remove(&3);
    drop(setting.sessions.asked.remove(&1));
    assert_eq!(setting.advance(), NOBODY);
    assert!(setting.request().is_none(), "the cache process still has it");
    writer.fail(0);
    assert!(setting.was_woken(), "it is this worker's turn");
    assert_eq!(setting.advance(), NOBODY);
    setting.writer(4).fail(Refusal::Full.word());
    assert_eq!(setting.advance(), [4]);
    assert_eq!(setting.refusal(4), (Response::Error, None));
    assert_eq!(setting.advance(), NOBODY);
    // Tickets of sessions that have gone are taken down at a tick at the latest.
    let (last, segment) = setting.request().unwrap();
    (6..=8).for_each(|slot| setting.ask(slot));
    setting.sessions.asked.remove(&6);
    setting.sessions.asked.remove(&8);
    setting.asker.tidy(&mut setting.sessions);
    assert!(setting.asker.is_segment_wanted());
    setting.sessions.asked.remove(&7);
    setting.asker.tidy(&mut setting.sessions);
    assert!(!setting.asker.is_segment_wanted());
    assert!(last == 5 && setting.pick_up(segment).is_some(), "it has had the segment all the time");
}

#[test]
fn a_full_queue_is_waited_for_in_order() {
    let mut setting = setting(QUEUE_DEPTH + 3);
    let slots = u32::try_from(QUEUE_DEPTH).unwrap() + 3;
    (1..=slots).for_each(|slot| setting.ask(slot));
    assert_eq!(*setting.watched.0.borrow(), ["watch"]);
    assert_eq!(setting.stats.queue_full.get(), 3);
    assert_eq!(setting.advance(), NOBODY);
    assert_eq!(setting.request().map(|(slot, _)| slot), Some(1));
    // One that has gone takes no place.
    setting.sessions.asked.remove(&(slots - 2));
    assert_eq!(setting.advance(), NOBODY);
    assert_eq!(*setting.watched.0.borrow(), ["watch"], "one is left");
    let mut rest = Vec::new();
    while let Some((slot, segment)) = setting.request() {
        rest.push(slot);
        assert_eq!(setting.pick_up(segment).is_some(), setting.sessions.asked.contains_key(&slot));
        setting.advance();
    }
    assert_eq!(rest, (2..=slots).filter(|slot| *slot != slots - 2).collect::<Vec<_>>());
    assert_eq!(*setting.watched.0.borrow(), ["watch", "unwatch"]);
}

#[test]
fn a_successor_is_asked_for_what_its_predecessor_has_not_picked_up() {
    let mut setting = setting(2);
    setting.ask(1);
    setting.ask(2);
    let (_, lost) = setting.request().unwrap();
    repair::cache_died(&setting.channel.pool, &setting.channel.wake_ups);
    assert!(setting.was_woken());
    setting.life.pid.set(0);
    assert_eq!(setting.advance(), NOBODY, "there is none yet");
    setting.life.begin(2 * SECOND);
    assert_eq!(setting.advance(), NOBODY);
    assert_eq!(setting.stats.asked_again.get(), 2);
    let again: Vec<_> = std::iter::from_fn(|| setting.request()).collect();
    assert_eq!(again.iter().map(|(slot, _)| *slot).collect::<Vec<_>>(), [2, 1, 2]);
    assert_eq!(again[1].1, lost, "the same segment");
    let writer = setting.pick_up(again[0].1);
    assert!(
        writer.is_some() && setting.pick_up(again[2].1).is_none(),
        "a request that is there twice is picked up once"
    );
    // It is not asked once more.
    assert_eq!(setting.advance(), NOBODY);
    assert!(setting.request().is_none());
}

#[test]
fn a_request_whose_writer_dies_before_its_answer_is_asked_anew() {
    let mut setting = setting(1);
    setting.ask(1);
    for round in 1..MAX_CACHE_ASKS {
        let mut writer = setting.writer(1);
        writer.begin(5, word(CacheStatus::Miss));
        // It is dead: nothing of it is dropped.
        std::mem::forget(writer);
        repair::cache_died(&setting.channel.pool, &setting.channel.wake_ups);
        assert!(setting.was_woken());
        setting.life.begin(2 * SECOND);
        assert_eq!(setting.advance(), [1]);
        assert!(setting.poll(1, SECOND).is_none(), "it is asked for again");
        assert_eq!(setting.stats.asked_again.get(), u64::from(round));
    }
    std::mem::forget(setting.writer(1));
    repair::cache_died(&setting.channel.pool, &setting.channel.wake_ups);
    assert_eq!(setting.advance(), [1]);
    assert_eq!(setting.refusal(1), (Response::Error, None), "not for ever");
    assert!(is_idle(&setting.channel.pool));
}

#[test]
fn a_cache_process_that_could_not_finish_is_asked_again_when_it_lives() {
    let mut setting = setting(1);
    setting.ask(1);
    drop(setting.writer(1));
    assert_eq!(setting.advance(), [1]);
    assert!(setting.poll(1, 3 * SECOND).is_none());
    assert!(setting.request().is_none() && is_idle(&setting.channel.pool), "it rests without a segment");
    setting.life.heartbeat_ns.set(3 * SECOND);
    assert!(setting.poll(1, 4 * SECOND).is_none() && setting.request().is_none(), "it has not lived since");
    setting.life.heartbeat_ns.set(3 * SECOND + 1);
    setting.life.pid.set(0);
    assert!(setting.poll(1, 4 * SECOND).is_none() && setting.request().is_none(), "there is none");
    setting.life.pid.set(4712);
    assert!(setting.poll(1, 4 * SECOND).is_none());
    assert_eq!(setting.request().map(|(slot, _)| slot), Some(1));
    assert!(matches!(setting.sessions.asked[&1].at, At::Sent(..)));
}

#[test]
fn what_a_cache_process_had_finished_and_not_told_of_is_found_when_it_dies() {
    let mut setting = setting(1);
    setting.ask(1);
    let mut writer = setting.writer(1);
    writer.begin(5, word(CacheStatus::Hit));
    assert_eq!(writer.write(&[7; 5]), Ok(5));
    writer.finish();
    assert!(setting.was_woken());
    // As if it had not been.
    repair::cache_died(&setting.channel.pool, &setting.channel.wake_ups);
    assert!(setting.was_woken());
    assert_eq!(setting.advance(), [1]);
    assert_eq!(setting.transfer(1).response, Response::Ok(5));
}

#[test]
fn contents_that_end_before_their_length_are_short() {
    let mut setting = setting(1);
    let (near, _far) = UnixStream::pair().unwrap();
    for dies in [false, true] {
        setting.ask(1);
        let mut writer = setting.writer(1);
        writer.begin(600, word(CacheStatus::Miss));
        assert_eq!(writer.write(&[7; 100]), Ok(100));
        let mut transfer = setting.transfer(1);
        assert_eq!(transfer.send(near.as_fd(), 5), Step::Bytes(118));
        if dies {
            std::mem::forget(writer);
            repair::cache_died(&setting.channel.pool, &setting.channel.wake_ups);
        } else {
            drop(writer);
        }
        assert_eq!(transfer.send(near.as_fd(), 5), Step::Short);
        assert_eq!(transfer.sent(), 118);
    }
    assert!(is_idle(&setting.channel.pool));
}

#[test]
fn a_silent_cache_process_and_a_long_wait_are_late() {
    let mut setting = setting(1);
    setting.ask(1);
    let asked = setting.sessions.asked.remove(&1).unwrap();
    let beat = |at| setting.life.heartbeat_ns.set(at);
    let asker = &setting.asker;
    beat(10 * SECOND);
    assert!(!asker.is_late(&asked, 12 * SECOND - 1) && asker.is_late(&asked, 12 * SECOND));
    assert!(!asker.has_stalled(9 * SECOND, 12 * SECOND - 1) && asker.has_stalled(9 * SECOND, 12 * SECOND));
    beat(41 * SECOND);
    assert!(!asker.is_late(&asked, 41 * SECOND - 1) && asker.is_late(&asked, 41 * SECOND), "four times the time-out");
    assert!(!asker.has_stalled(21 * SECOND, 41 * SECOND - 1) && asker.has_stalled(21 * SECOND, 41 * SECOND), "twice");
}

/// A setting whose worker takes descriptors, and the sender that it is connected to.
fn passing(segments: usize) -> (Setting, DescriptorSender) {
    let mut setting = setting(segments);
    let sender = DescriptorSender::listen(setting.channel.generation()).unwrap();
    setting.life.pid.set(std::process::id());
    setting.asker.take_descriptors();
    (setting, sender)
}

fn sealed(length: usize) -> SealedFile {
    let mut file = MemoryFile::create("test").unwrap();
    file.write_all(&vec![7; length]).unwrap();
    file.seal().unwrap()
}

impl Setting {
    /// Answers the next request, which is that of `slot`, by saying that a descriptor has been passed.
    fn finish_by_descriptor(&mut self, slot: u32, length: u64) {
        self.writer(slot).finish_elsewhere(length, Detail { from: CacheStatus::Hit, by_descriptor: true }.word());
    }

    /// The bytes of the contents that have come whole for `slot`.
    fn whole(&mut self, slot: u32) -> u64 {
        let Some(Polled::Whole(content, length, CacheStatus::Hit)) = self.poll(slot, SECOND) else {
            panic!("it is not there")
        };
        match &*content {
            Content::Bytes(bytes) => assert!(bytes.len() <= SMALL_GETFILE_BYTES && bytes.len() as u64 == length),
            Content::Open(file) => {
                assert!(length > SMALL_GETFILE_BYTES as u64 && file.metadata().unwrap().len() == length);
            }
        }
        length
    }
}

#[test]
fn contents_that_come_by_descriptor_are_whole_and_the_segments_are_free_at_once() {
    let (mut setting, mut sender) = passing(3);
    let lengths = [1, SMALL_GETFILE_BYTES, SMALL_GETFILE_BYTES + 1];
    (1..=3).for_each(|slot| setting.ask(slot));
    let segments: Vec<_> = (1..=3).map(|slot| setting.sessions.asked[&slot].segment().unwrap()).collect();
    for (segment, length) in segments.iter().zip(lengths) {
        assert!(sender.pass(WORKER, *segment, sealed(length).as_fd()));
    }
    // One of somebody who is not there any more, in front of the last.
    setting.finish_by_descriptor(1, lengths[0] as u64);
    assert!(setting.was_woken());
    assert_eq!(setting.advance(), [1]);
    setting.finish_by_descriptor(2, lengths[1] as u64);
    setting.finish_by_descriptor(3, lengths[2] as u64);
    // They look in another order than descriptors have come.
    assert_eq!(setting.advance(), [1, 2, 3]);
    for slot in [3, 1, 2] {
        assert_eq!(setting.whole(slot), lengths[slot as usize - 1] as u64);
    }
    assert!(is_idle(&setting.channel.pool));
    // What the worker has taken stays when the cache process is gone, and so does what it is yet to take.
    setting.ask(4);
    let segment = setting.sessions.asked[&4].segment().unwrap();
    assert!(sender.pass(WORKER, segment, sealed(9).as_fd()));
    setting.finish_by_descriptor(4, 9);
    drop(sender);
    repair::cache_died(&setting.channel.pool, &setting.channel.wake_ups);
    setting.life.begin(2 * SECOND);
    assert_eq!(setting.advance(), [4]);
    assert_eq!(setting.whole(4), 9);
    assert_eq!(setting.stats.asked_again.get(), 0);
}

#[test]
fn a_descriptor_that_does_not_come_or_is_wrong_has_its_request_put_again() {
    let (mut setting, mut sender) = passing(2);
    let unsealed = tempfile::tempfile().unwrap();
    let (longer, two) = (sealed(6), sealed(5));
    let wrong: [Option<BorrowedFd<'_>>; 3] = [None, Some(unsealed.as_fd()), Some(longer.as_fd())];
    for fd in wrong {
        setting.ask(1);
        let segment = setting.sessions.asked[&1].segment().unwrap();
        assert!(fd.is_none_or(|fd| sender.pass(WORKER, segment, fd)));
        setting.finish_by_descriptor(1, 5);
        assert_eq!(setting.advance(), [1]);
        assert!(setting.poll(1, SECOND).is_none());
        assert!(matches!(setting.sessions.asked[&1].at, At::Rest(SECOND)) && is_idle(&setting.channel.pool));
        setting.life.heartbeat_ns.set(2 * SECOND);
        assert!(setting.poll(1, 2 * SECOND).is_none());
        let segment = setting.sessions.asked[&1].segment().unwrap();
        assert!(sender.pass(WORKER, segment, two.as_fd()));
        setting.finish_by_descriptor(1, 5);
        assert_eq!(setting.advance(), [1]);
        assert_eq!(setting.whole(1), 5);
        setting.life.heartbeat_ns.set(SECOND);
    }
    assert_eq!(setting.stats.asked_again.get(), 3);
}

#[test]
fn descriptors_that_nobody_wants_any_more_are_closed() {
    let (mut setting, mut sender) = passing(2);
    setting.ask(1);
    setting.ask(2);
    let segments = [1, 2].map(|slot| setting.sessions.asked[&slot].segment().unwrap());
    // The other end of the pipe tells when its last copy is closed.
    let (reader, writer) = std::io::pipe().unwrap();
    assert!(sender.pass(WORKER, segments[0], writer.as_fd()));
    assert!(sender.pass(WORKER, segments[1], sealed(5).as_fd()));
    drop(writer);
    let is_closed = || {
        let mut polled = [PollFd::new(reader.as_fd(), PollFlags::empty())];
        poll(&mut polled, PollTimeout::ZERO).unwrap() == 1
    };
    setting.writer(1).finish_elsewhere(1, 0);
    setting.finish_by_descriptor(2, 5);
    assert_eq!(setting.advance(), [1, 2]);
    assert_eq!(setting.whole(2), 5);
    assert!(!is_closed(), "it is kept for the first one");
    setting.sessions.asked.remove(&1);
    setting.advance();
    setting.asker.tidy(&mut setting.sessions);
    assert!(is_closed());
}

#[test]
fn a_worker_connects_when_there_is_a_cache_process_that_listens() {
    let mut setting = setting(1);
    setting.asker.take_descriptors();
    let mut sender = DescriptorSender::listen(setting.channel.generation()).unwrap();
    let segment = SegmentId { number: 0, generation: 9 };
    let file = sealed(1);
    assert!(!sender.pass(WORKER, segment, file.as_fd()));
    setting.asker.tidy(&mut setting.sessions);
    assert!(!sender.pass(WORKER, segment, file.as_fd()), "another process is the cache process");
    setting.life.pid.set(std::process::id());
    setting.asker.tidy(&mut setting.sessions);
    assert!(sender.pass(WORKER, segment, file.as_fd()));
    // Its successor is found in the turn that finds it.
    drop(sender);
    let mut sender = DescriptorSender::listen(setting.channel.generation()).unwrap();
    setting.life.begin(2 * SECOND);
    setting.life.pid.set(std::process::id());
    assert_eq!(setting.advance(), NOBODY);
    assert!(sender.pass(WORKER, segment, file.as_fd()));
}
