//! The cache process around its core: what workers get through segments of every size, from an upstream and from files.

use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use bank_vault::base::config::{CacheChannelKind, GetFile, GetFileCache};
use bank_vault::base::limits::CACHE_SPOOL_MEMORY_BYTES;
use bank_vault::ipc::memfd::SealedFile;
use bank_vault::ipc::message_queue::Message;
use bank_vault::store::cache_channel::{
    CacheStatus, Command, DescriptorReceiver, Detail, EntryState, ListedEntry, REPLIES, Refusal, Reply, ReplyTo,
};
use bank_vault::store::transfer::repair::is_idle;
use bank_vault::store::transfer::{Next, Reader, SegmentId};

use crate::cache_support::{Cache, Got, WORKERS, from, of_map};
use crate::http_origin::{HttpOrigin, object};
use crate::transfer_support::sleep;

const NO_TIME: Duration = Duration::ZERO;

/// What is to be got of an object.
fn whole(path: &str, from: CacheStatus) -> Got {
    Got::whole(&object(path).unwrap(), from)
}

fn not_found(from: CacheStatus) -> Got {
    Got::Refused(Refusal::NotFound(from))
}

/// The same service with other settings of its cache.
fn with(getfile: GetFile, cache: GetFileCache) -> GetFile {
    GetFile { cache, ..getfile }
}

#[test]
fn every_length_comes_whole_through_segments_of_every_size() {
    use CacheChannelKind::{Memfd, Segments};
    let origin = HttpOrigin::new();
    // Workers that are not connected get through segments what is held as a memfd.
    for (channel, segment_bytes) in
        [(Segments, 824), (Segments, 1024), (Segments, 65_536), (Segments, 1 << 20), (Memfd, 824), (Memfd, 65_536)]
    {
        let settings = GetFileCache { channel, ..GetFileCache::default() };
        let cache = Cache::start(with(from(&origin), settings), 2, segment_bytes);
        let chunk = cache.channel.pool.shape().chunk_bytes();
        let many = if chunk < 1000 { 300 * chunk + 1 } else { 7 * chunk + 3 };
        for (fetches, length) in (1..).zip([0, 1, chunk - 1, chunk, chunk + 1, 2 * chunk, 2 * chunk + 1, many]) {
            let path = format!("/{length}");
            assert_eq!(cache.get(0, &path), whole(&path, CacheStatus::Miss), "{path} by {segment_bytes}");
            cache.wait_for_fetches(fetches);
            assert_eq!(cache.get(1, &path), whole(&path, CacheStatus::Hit), "{path} by {segment_bytes}");
        }
        cache.wait_for_counts([("hits", 8), ("misses", 8), ("entries", 8), ("reading", 0), ("descriptors_passed", 0)]);
        assert!(is_idle(&cache.channel.pool));
    }
}

#[test]
fn what_is_not_there_and_what_is_in_error_are_told_apart() {
    let origin = HttpOrigin::new();
    let cache = Cache::start(from(&origin), 1, 824);
    assert_eq!(cache.get(0, "/none"), not_found(CacheStatus::Miss));
    assert_eq!(cache.get(0, "/none"), not_found(CacheStatus::Hit));
    for _ in 0..2 {
        assert_eq!(cache.get(0, "/error1"), Got::Refused(Refusal::Upstream));
    }
    assert_eq!(origin.requests(), ["/none", "/error1", "/error1"]);
    cache.wait_for_counts([("errors", 2), ("not_found", 2), ("failed_fetches", 2), ("negative_entries", 1)]);
}

#[test]
fn an_upstream_that_cannot_be_used_makes_errors() {
    let origin = HttpOrigin::new();
    let settings = with(
        from(&origin),
        GetFileCache { upstream_ca: Some("/nowhere/authorities.pem".into()), ..GetFileCache::default() },
    );
    let cache = Cache::start(settings, 1, 824);
    assert_eq!(cache.get(0, "/10"), Got::Refused(Refusal::Upstream));
    assert!(origin.requests().is_empty());
}

#[test]
fn content_that_breaks_off_or_does_not_fit_ends_as_an_error() {
    let origin = HttpOrigin::new();
    let settings =
        with(from(&origin), GetFileCache { bytes: 1 << 62, object_bytes: 1 << 61, ..GetFileCache::default() });
    let cache = Cache::start(settings, 2, 824);
    assert_eq!(cache.get(0, "/short"), Got::Refused(Refusal::Upstream));
    // The memory for it is allowed by the settings, and not to be had.
    assert_eq!(cache.get(0, "/huge"), Got::Refused(Refusal::Full));
    cache.wait_for_counts([("failed_fetches", 2), ("fetching", 0), ("entries", 0), ("bytes", 0), ("reading", 0)]);
    assert_eq!(cache.get(0, "/10"), whole("/10", CacheStatus::Miss));
}

#[test]
fn all_workers_share_one_segment() {
    let origin = HttpOrigin::new();
    let cache = Cache::start(from(&origin), 1, 1024);
    let paths = ["/0", "/1", "/383", "/384", "/385", "/5000", "/none", "/c700", "/c100000", "/nothing"];
    thread::scope(|scope| {
        for worker in 0..WORKERS {
            let cache = &cache;
            scope.spawn(move || {
                for round in 0..60 {
                    let path = paths[(round * 7 + usize::from(worker)) % paths.len()];
                    match (cache.get(worker, path), object(path)) {
                        (Got::Whole(length, crc, _), Some(bytes)) => {
                            assert_eq!((length, crc), (bytes.len() as u64, crc32fast::hash(&bytes)), "{path}");
                        }
                        (Got::Refused(Refusal::NotFound(_)), None) => {}
                        (got, _) => panic!("{path}: {got:?}"),
                    }
                }
            });
        }
    });
    cache.wait_until("all is counted", |row| row.hits.get() + row.misses.get() + row.coalesced.get() == 8 * 60);
    cache.wait_for_counts([("waiting", 0), ("reading", 0)]);
    assert!(is_idle(&cache.channel.pool));
    assert_eq!(origin.requests().len(), paths.len());
}

#[test]
fn what_is_too_large_passes_through_as_its_readers_read() {
    let origin = HttpOrigin::new();
    let settings = with(from(&origin), GetFileCache { object_bytes: 100_000, ..GetFileCache::default() });
    let cache = Cache::start(settings, 4, 65_536);
    let path = "/9000001";
    // Both ask before the window moves.
    origin.hold(true);
    let mut got = thread::scope(|scope| {
        let cache = &cache;
        let readers = [0, 1].map(|worker| scope.spawn(move || cache.get(worker, path)));
        cache.wait_until("both wait", |row| row.waiting.get() == 2);
        origin.hold(false);
        readers.map(|reader| reader.join().unwrap())
    });
    if got[0] != whole(path, CacheStatus::Miss) {
        got.reverse();
    }
    assert_eq!(got, [whole(path, CacheStatus::Miss), whole(path, CacheStatus::Coalesced)]);
    cache.wait_for_counts([("bytes_out", 2 * 9_000_001), ("passed_through", 1)]);
    cache.wait_for_counts([("reading", 0), ("entries", 0), ("bytes", 0)]);
    assert_eq!(origin.requests(), [path]);
}

#[test]
fn who_gives_up_ends_what_only_it_wanted() {
    let origin = HttpOrigin::new();
    let settings = with(from(&origin), GetFileCache { object_bytes: 100_000, ..GetFileCache::default() });
    let cache = Cache::start(settings, 2, 1024);
    // In the middle of what passes through; in the middle of what is kept; before there is an answer.
    assert!(matches!(cache.read(0, cache.ask(0, "/9000000"), 5000), Got::GaveUp(5000..)));
    cache.wait_until("it is given up", |row| row.reading.get() == 0 && row.fetching.get() == 0);
    assert!(matches!(cache.read(0, cache.ask(0, "/90000"), 5000), Got::GaveUp(5000..)));
    cache.wait_for_fetches(2);
    cache.wait_until("it is given up", |row| row.reading.get() == 0);
    assert_eq!(cache.get(0, "/90000"), whole("/90000", CacheStatus::Hit));
    origin.hold(true);
    let reader = cache.ask(0, "/80000");
    cache.wait_until("it waits", |row| row.waiting.get() == 1);
    drop(reader);
    cache.wait_until("it waits no more", |row| row.waiting.get() == 0);
    assert!(is_idle(&cache.channel.pool));
    origin.hold(false);
}

#[test]
fn what_has_no_length_is_spooled_and_kept() {
    let origin = HttpOrigin::new();
    let object_bytes = 6_000_000;
    let cache_bytes = 7_000_000;
    let settings = with(from(&origin), GetFileCache { bytes: cache_bytes, object_bytes, ..GetFileCache::default() });
    let cache = Cache::start(settings, 4, 65_536);
    for path in ["/c0", "/c1", "/c500000", &format!("/c{}", 3 * CACHE_SPOOL_MEMORY_BYTES), "/c5700000"] {
        assert_eq!(cache.get(0, path), whole(path, CacheStatus::Miss), "{path}");
        assert_eq!(cache.get(1, path), whole(path, CacheStatus::Hit), "{path}");
    }
    assert_eq!(cache.get(0, "/c6000001"), Got::Refused(Refusal::Full), "it is larger than may be");
    cache.wait_for_counts([("errors", 1), ("spooled_bytes", 0)]);
    assert!(cache.row.bytes.get() <= cache_bytes && cache.row.evicted.get() > 0);
}

#[test]
fn what_has_no_length_and_is_not_kept_is_read_out_of_its_spool() {
    let origin = HttpOrigin::new();
    let settings = with(from(&origin), GetFileCache { bytes: 1 << 20, ..GetFileCache::default() });
    let cache = Cache::start(settings, 2, 824);
    for from in [CacheStatus::Miss, CacheStatus::Hit] {
        assert_eq!(cache.get(0, "/c2500000"), whole("/c2500000", from));
    }
    cache.wait_for_counts([("misses", 1), ("hits", 1), ("spooled_bytes", 0), ("entries", 0)]);
    assert_eq!(cache.get(0, "/c2500000"), whole("/c2500000", CacheStatus::Miss));
}

#[test]
fn what_memory_has_no_room_for_is_fetched_once_for_all_who_take_turns() {
    let origin = HttpOrigin::new();
    for (bytes, path) in [(1 << 20, "/9000001"), (50_000, "/100000")] {
        let settings = with(from(&origin), GetFileCache { bytes, ..GetFileCache::default() });
        let cache = Cache::start(settings, 3, 65_536);
        let content = object(path).unwrap();
        thread::scope(|scope| {
            for worker in 0..WORKERS {
                let (cache, content) = (&cache, &content);
                scope.spawn(move || {
                    for _ in 0..4 {
                        match cache.get(worker, path) {
                            Got::Whole(length, crc, _) => {
                                assert_eq!((length, crc), (content.len() as u64, crc32fast::hash(content)));
                            }
                            got => panic!("{got:?}"),
                        }
                    }
                });
            }
        });
        cache.wait_until("all is counted", |row| row.hits.get() + row.coalesced.get() == 4 * 8 - 1);
        let nothing = [("passed_through", 0), ("reading", 0), ("entries", 0), ("spooled_bytes", 0), ("bytes", 0)];
        cache.wait_for_counts(nothing);
        assert_eq!((cache.row.misses.get(), cache.row.fetches.get()), (1, 1));
        assert!(is_idle(&cache.channel.pool));
    }
    assert_eq!(origin.requests(), ["/9000001", "/100000"]);
}

#[test]
fn what_no_file_can_be_had_for_passes_through() {
    let origin = HttpOrigin::new();
    let cache = GetFileCache { bytes: 1 << 20, object_bytes: 1 << 61, ..GetFileCache::default() };
    let cache = Cache::start(with(from(&origin), cache), 2, 824);
    // No disk has room for it; what comes of it comes, which is not all.
    assert_eq!(cache.get(0, "/huge"), Got::Refused(Refusal::Upstream));
    cache.wait_for_counts([("passed_through", 1), ("failed_fetches", 1), ("errors", 0), ("spooled_bytes", 0)]);
    assert_eq!(cache.get(0, "/2000000"), whole("/2000000", CacheStatus::Miss));
    cache.wait_for_counts([("passed_through", 1), ("reading", 0)]);
}

#[test]
fn a_thousand_who_wait_for_one_cold_object_get_it_by_one_fetch() {
    let origin = HttpOrigin::new();
    let cache = Cache::start(from(&origin), 1000, 824);
    origin.hold(true);
    let readers: Vec<(u16, Reader<'_>)> =
        (0..1000).map(|number| (number % WORKERS, cache.ask(number % WORKERS, "/5000"))).collect();
    cache.wait_until("all wait", |row| row.waiting.get() == 1000);
    origin.hold(false);
    let content = object("/5000").unwrap();
    for (number, (worker, reader)) in (0..).zip(readers) {
        let from = if number == 0 { CacheStatus::Miss } else { CacheStatus::Coalesced };
        assert_eq!(cache.read(worker, reader, u64::MAX), Got::whole(&content, from), "{number}");
    }
    cache.wait_for_counts([("misses", 1), ("coalesced", 999), ("fetches", 1), ("reading", 0)]);
    assert_eq!(origin.requests(), ["/5000"]);
    assert!(is_idle(&cache.channel.pool));
}

#[test]
fn a_request_that_comes_late_writes_nothing() {
    let origin = HttpOrigin::new();
    let cache = Cache::start(from(&origin), 1, 824);
    let late = cache.claim(0);
    drop(Reader::new(&cache.channel.pool, late, 0, &cache.channel.wake_ups));
    let segment = cache.claim(1);
    let mut reader = Reader::new(&cache.channel.pool, segment, 1, &cache.channel.wake_ups).unwrap();
    let get = |segment: SegmentId| cache.send(&Command::Get { segment, owner: 0, path: b"/100"[..].into() });
    for segment in [late, SegmentId { number: 1, ..segment }, SegmentId { number: u32::MAX, generation: 0 }] {
        get(segment);
    }
    cache.wait_until("all are late", |row| row.late_requests.get() == 3);
    assert!(reader.poll() == Next::Pending && !reader.is_picked_up());
    get(segment);
    get(segment);
    assert_eq!(cache.read(1, reader, u64::MAX), whole("/100", CacheStatus::Miss));
    cache.wait_until("one is there twice", |row| row.late_requests.get() == 4);
    assert_eq!(origin.requests(), ["/100"]);
}

/// No command.
struct Noise;

impl Message for Noise {
    const MAX_BYTES: usize = Command::MAX_BYTES;

    fn encode(&self, into: &mut [u8]) -> usize {
        into[..30].fill(0xA5);
        30
    }

    fn decode(_: &[u8]) -> Option<Self> {
        None
    }
}

#[test]
fn what_is_no_command_is_counted() {
    let origin = HttpOrigin::new();
    let cache = Cache::start(from(&origin), 1, 824);
    (0..40).for_each(|_| cache.send(&Noise));
    assert_eq!(cache.get(0, "/10"), whole("/10", CacheStatus::Miss));
    cache.wait_until("all are counted", |row| row.malformed.get() == 40);
    cache.wait_for_fetches(1);
    // Nobody has a queue of that name.
    cache.send(&Command::List { reply_to: ReplyTo(4_000_000_000), after: None });
    assert_eq!(cache.get(0, "/10"), whole("/10", CacheStatus::Hit));
}

#[test]
fn what_is_kept_is_listed_and_purged() {
    let origin = HttpOrigin::new();
    let cache = Cache::start(from(&origin), 2, 65_536);
    assert_eq!(cache.get(0, "/none"), not_found(CacheStatus::Miss));
    for number in 10..20 {
        let path = format!("/{number}");
        assert_eq!(cache.get(0, &path), whole(&path, CacheStatus::Miss));
    }
    cache.wait_for_counts([("misses", 11), ("entries", 10), ("reading", 0)]);
    let list = |after: Option<&str>| {
        let after = after.map(|path| path.as_bytes().into());
        let mut replies = cache.replies_to(|reply_to| Command::List { reply_to, after });
        let last = replies.pop();
        let entries: Vec<ListedEntry> = replies
            .into_iter()
            .map(|reply| match reply {
                Reply::Entry(entry) => entry,
                other => panic!("{other:?}"),
            })
            .collect();
        (entries, last == Some(Reply::EndOfList { more: true }))
    };
    let (first, more) = list(None);
    assert!(first.len() == REPLIES - 1 && more);
    let expected = ListedEntry {
        path: b"/10"[..].into(),
        state: EntryState::Fresh,
        bytes: 10,
        readers: 0,
        fresh_ms: first[0].fresh_ms,
        is_fetching: false,
    };
    assert!(first[0] == expected && (50_000..=60_000).contains(&expected.fresh_ms), "{first:?}");
    let (rest, more) = list(Some(std::str::from_utf8(&first[7].path).unwrap()));
    let told: Vec<_> = rest.iter().map(|entry| (&entry.path[..], entry.state)).collect();
    assert_eq!(told, [(&b"/18"[..], EntryState::Fresh), (b"/19", EntryState::Fresh), (b"/none", EntryState::Negative)]);
    assert!(!more);
    let purge = |path: Option<&str>| {
        let path = path.map(|path| path.as_bytes().into());
        cache.replies_to(|reply_to| Command::Purge { reply_to, path })
    };
    assert_eq!(purge(Some("/10")), [Reply::Purged { entries: 1 }]);
    assert_eq!(purge(Some("/10")), [Reply::Purged { entries: 0 }]);
    assert_eq!(cache.get(0, "/10"), whole("/10", CacheStatus::Miss));
    assert_eq!(cache.get(0, "/11"), whole("/11", CacheStatus::Hit));
    cache.wait_for_fetches(12);
    assert_eq!(purge(None), [Reply::Purged { entries: 11 }]);
    assert_eq!(list(None), (vec![], false));
    cache.wait_for_counts([("purged", 12), ("entries", 0), ("negative_entries", 0), ("bytes", 0)]);
}

#[test]
fn an_object_is_asked_about_when_it_is_not_fresh() {
    let origin = HttpOrigin::new();
    let settings = with(from(&origin), GetFileCache { ttl: NO_TIME, negative_ttl: NO_TIME, ..GetFileCache::default() });
    let cache = Cache::start(settings, 1, 824);
    for (fetches, expected) in [(2, CacheStatus::Miss), (4, CacheStatus::Revalidated), (6, CacheStatus::Revalidated)] {
        assert_eq!(cache.get(0, "/3000"), whole("/3000", expected));
        assert_eq!(cache.get(0, "/none"), not_found(CacheStatus::Miss));
        cache.wait_for_fetches(fetches);
    }
    assert_eq!(origin.requests().len(), 6);
    cache.wait_for_counts([("renewed", 2)]);
}

#[test]
fn files_of_a_map_are_as_they_are_now() {
    let home = tempfile::tempdir().unwrap();
    let map = home.path().join("map");
    std::fs::write(&map, "/a a\n/large large\n/gone gone\n").unwrap();
    let large = object("/3000000").unwrap();
    std::fs::write(home.path().join("a"), "one").unwrap();
    std::fs::write(home.path().join("large"), &large).unwrap();
    let settings =
        with(of_map(map.clone()), GetFileCache { ttl: NO_TIME, negative_ttl: NO_TIME, ..GetFileCache::default() });
    let cache = Cache::start(settings, 2, 65_536);
    assert_eq!(cache.get(0, "/a"), Got::whole(b"one", CacheStatus::Miss));
    assert_eq!(cache.get(0, "/large"), Got::whole(&large, CacheStatus::Miss));
    for path in ["/gone", "/none"] {
        assert_eq!(cache.get(0, path), not_found(CacheStatus::Miss));
    }
    cache.wait_for_fetches(4);
    assert_eq!(cache.get(0, "/large"), Got::whole(&large, CacheStatus::Revalidated));
    std::fs::write(home.path().join("new"), "two!").unwrap();
    std::fs::rename(home.path().join("new"), home.path().join("a")).unwrap();
    assert_eq!(cache.get(0, "/a"), Got::whole(b"two!", CacheStatus::Miss));
    cache.wait_for_fetches(6);
    assert_eq!(cache.get(0, "/a"), Got::whole(b"two!", CacheStatus::Revalidated));
    std::fs::remove_file(home.path().join("a")).unwrap();
    assert_eq!(cache.get(0, "/a"), not_found(CacheStatus::Miss));
}

#[test]
fn a_map_that_is_read_again_holds_at_once() {
    let home = tempfile::tempdir().unwrap();
    let map = home.path().join("map");
    std::fs::write(&map, "/a a\n").unwrap();
    std::fs::write(home.path().join("a"), "one").unwrap();
    std::fs::write(home.path().join("b"), "other").unwrap();
    let cache = Cache::start(of_map(map.clone()), 1, 824);
    assert_eq!(cache.get(0, "/a"), Got::whole(b"one", CacheStatus::Miss));
    assert_eq!(cache.get(0, "/b"), not_found(CacheStatus::Miss));
    cache.wait_for_fetches(2);
    std::fs::write(&map, "/a b\n/b a\n").unwrap();
    assert_eq!(cache.get(0, "/a"), Got::whole(b"one", CacheStatus::Hit), "nobody has asked for that");
    cache.reloads.fetch_add(1, Ordering::Release);
    cache.channel.wake_ups.of_cache().send();
    cache.wait_until("what was kept is forgotten", |row| row.entries.get() == 0);
    assert_eq!(cache.get(0, "/a"), Got::whole(b"other", CacheStatus::Miss));
    assert_eq!(cache.get(0, "/b"), Got::whole(b"one", CacheStatus::Miss));
}

#[test]
fn a_process_that_leaves_ends_what_is_under_way_and_its_successor_counts_on() {
    let origin = HttpOrigin::new();
    let mut cache = Cache::start(from(&origin), 3, 824);
    assert_eq!(cache.get(0, "/700"), whole("/700", CacheStatus::Miss));
    let mut reading = cache.ask(0, "/100000");
    let mut buffer = [0; 100];
    while reading.bytes() == 0 {
        if reading.poll() == Next::Pending {
            crate::transfer_support::sleep(cache.channel.wake_ups.of_worker(0));
        }
        reading.copy_out(&mut buffer);
    }
    origin.hold(true);
    let waiting = cache.ask(1, "/200");
    cache.wait_until("it waits", |row| row.waiting.get() == 1);
    let began_ns = cache.row.life.heartbeat_ns.get();
    cache.wait_until("the heartbeat goes on", |row| row.life.heartbeat_ns.get() > began_ns);
    assert_eq!(cache.leave(), 0);
    assert_eq!(cache.read(0, reading, u64::MAX), Got::Refused(Refusal::Unfinished));
    assert_eq!(cache.read(1, waiting, u64::MAX), Got::Refused(Refusal::Unfinished));
    assert!(is_idle(&cache.channel.pool));
    origin.hold(false);
    // "/200" had no answer, and is not counted.
    cache.wait_for_counts([("misses", 2)]);
    cache.begin();
    assert_eq!(cache.get(0, "/700"), whole("/700", CacheStatus::Miss), "it has nothing yet");
    cache.wait_for_counts([("misses", 3), ("reading", 0), ("waiting", 0)]);
}

/// Reads a content that the cache process says comes by descriptor; its bytes.
fn by_descriptor(cache: &Cache, receiver: &DescriptorReceiver, path: &str) -> (CacheStatus, Vec<u8>) {
    let mut reader = cache.ask(1, path);
    while reader.poll() == Next::Pending {
        sleep(cache.channel.wake_ups.of_worker(1));
    }
    assert_eq!(reader.poll(), Next::Elsewhere, "{path}");
    let begun = reader.begun().unwrap();
    let (segment, fd) = receiver.receive().unwrap().expect("it is passed before it is told of");
    assert_eq!(segment, reader.id());
    let file = SealedFile::receive(fd, begun.total).unwrap();
    let mut bytes = vec![0; usize::try_from(begun.total).unwrap()];
    file.read_exact_at(&mut bytes, 0).unwrap();
    let detail = Detail::from_word(begun.detail).unwrap();
    assert!(detail.by_descriptor);
    (detail.from, bytes)
}

#[test]
fn what_is_whole_comes_by_descriptor_to_the_worker_that_is_connected() {
    let origin = HttpOrigin::new();
    let settings = GetFileCache { channel: CacheChannelKind::Memfd, object_bytes: 3 << 20, ..GetFileCache::default() };
    let cache = Cache::start(with(from(&origin), settings), 2, 824);
    let connect = || DescriptorReceiver::connect(cache.channel.generation(), 1, std::process::id());
    let mut receiver = connect();
    cache.wait_until("it listens", |_| {
        receiver = connect();
        receiver.is_ok()
    });
    let receiver = receiver.unwrap();
    let mut passed = (0, 0);
    for (fetches, path) in (1..).zip(["/1", "/280", "/281", "/2000000", "/c1", "/c100000", "/c3000000"]) {
        assert_eq!(cache.get(0, path), whole(path, CacheStatus::Miss), "while it comes, through chunks");
        cache.wait_for_fetches(fetches);
        let content = object(path).unwrap();
        // One of unknown length is moved to memory when it is whole, some of it a turn.
        cache.wait_until("it is passed", |_| {
            let before = cache.row.descriptors_passed.get();
            let mut reader = cache.ask(1, path);
            while reader.poll() == Next::Pending {
                sleep(cache.channel.wake_ups.of_worker(1));
            }
            drop(reader);
            let is_passed = receiver.receive().unwrap().is_some();
            cache.wait_until("it is counted", |row| (row.descriptors_passed.get() > before) == is_passed);
            is_passed
        });
        passed = (cache.row.descriptors_passed.get(), cache.row.bytes_out.get());
        let hit = by_descriptor(&cache, &receiver, path);
        assert!(hit == (CacheStatus::Hit, content.clone()), "{path}");
        cache.wait_for_counts([("descriptors_passed", passed.0 + 1), ("reading", 0)]);
        cache.wait_for_counts([("bytes_out", passed.1 + content.len() as u64)]);
        assert_eq!(cache.get(0, path), whole(path, CacheStatus::Hit), "the other worker gets it through chunks");
        cache.wait_for_counts([("reading", 0)]);
    }
    // What has no bytes and what passes through does not come so.
    for (path, status) in [("/0", CacheStatus::Hit), ("/4000000", CacheStatus::Miss)] {
        assert_eq!(cache.get(1, path), whole(path, CacheStatus::Miss));
        cache.wait_until("its fetch ends", |row| row.fetching.get() == 0);
        assert_eq!(cache.get(1, path), whole(path, status));
    }
    assert_eq!(cache.row.descriptors_passed.get(), passed.0 + 1);
    // What was passed can still be read when it is forgotten.
    let mut reader = cache.ask(1, "/281");
    while reader.poll() == Next::Pending {
        sleep(cache.channel.wake_ups.of_worker(1));
    }
    assert_eq!(reader.poll(), Next::Elsewhere);
    cache.replies_to(|reply_to| Command::Purge { reply_to, path: None });
    let (_, fd) = receiver.receive().unwrap().unwrap();
    let mut bytes = [0; 281];
    SealedFile::receive(fd, 281).unwrap().read_exact_at(&mut bytes, 0).unwrap();
    assert!(bytes[..] == object("/281").unwrap());
}
