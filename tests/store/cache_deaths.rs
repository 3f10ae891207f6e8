//! The cache process dies at each of its points, as a process of its own: nothing is left, and its successor answers.

use bank_vault::base::config::CacheChannelKind;
use bank_vault::base::crash_point::CrashPoint;
use bank_vault::ipc::memfd::SealedFile;
use bank_vault::process::cache::run;
use bank_vault::store::cache_channel::{CacheStatus, Command, DescriptorReceiver};
use bank_vault::store::transfer::Next;
use bank_vault::store::transfer::repair::{self, is_idle};
use nix::unistd::Pid;

use crate::cache_support::{Cache, Got, from};
use crate::http_origin::{HttpOrigin, object};
use crate::transfer_support::{child, dying, was_killed};

const PATH: &str = "/500";

#[test]
fn a_cache_process_that_dies_anywhere_is_succeeded_by_one_that_answers() {
    let origin = HttpOrigin::new();
    let points = CrashPoint::ALL.iter().copied().filter(|point| {
        use CrashPoint::{TransferAnnounced, TransferFilled, TransferHandedOver, TransferPickedUp, TransferWritten};
        let of_writer =
            [TransferPickedUp, TransferAnnounced, TransferFilled, TransferHandedOver, TransferWritten].contains(point);
        of_writer || point.name().starts_with("cache.") && *point != CrashPoint::CacheDescriptorPassed
    });
    let mut seen = [false; 3];
    for point in points {
        // All of the content fits into the segment, so the process comes by each point without its reader.
        let cache = Cache::without_process(from(&origin), 1, 824);
        cache.row.life.begin(1);
        let first = dying(point, 1, || assert_eq!(run(cache.arguments()), 0));
        let reader = cache.ask(0, PATH);
        assert!(was_killed(first), "{point:?}");
        repair::cache_died(&cache.channel.pool, &cache.channel.wake_ups);
        cache.row.life.begin(1);
        let second = child(|| assert_eq!(run(cache.arguments()), 0));
        if !reader.is_picked_up() {
            seen[0] = true;
            cache.send(&Command::Get { segment: reader.id(), owner: 0, path: PATH.as_bytes().into() });
        }
        let content = object(PATH).unwrap();
        let whole = Got::whole(&content, CacheStatus::Miss);
        match cache.read(0, reader, u64::MAX) {
            Got::Broken => {
                seen[1] = true;
                assert_eq!(cache.get(0, PATH), whole, "{point:?}");
            }
            got => {
                seen[2] = true;
                assert_eq!(got, whole, "{point:?}");
            }
        }
        cache.row.life.ask_to_leave();
        cache.channel.wake_ups.of_cache().send();
        assert!(!was_killed(second), "{point:?}");
        assert!(is_idle(&cache.channel.pool), "{point:?}");
    }
    assert_eq!(seen, [true; 3], "not picked up, picked up, and given whole");
}

#[test]
fn a_cache_process_that_dies_with_a_descriptor_passed_has_not_answered() {
    let origin = HttpOrigin::new();
    let mut settings = from(&origin);
    settings.cache.channel = CacheChannelKind::Memfd;
    for point in [CrashPoint::CacheDescriptorPassed, CrashPoint::TransferAnnounced, CrashPoint::TransferWritten] {
        let cache = Cache::without_process(settings.clone(), 1, 824);
        let content = object(PATH).unwrap();
        let connect = |pid: Pid| {
            let mut receiver = Err(std::io::ErrorKind::NotConnected.into());
            cache.wait_until("it listens", |_| {
                receiver =
                    DescriptorReceiver::connect(cache.channel.generation(), 0, u32::try_from(pid.as_raw()).unwrap());
                receiver.is_ok()
            });
            receiver.unwrap()
        };
        cache.row.life.begin(1);
        // The first one is answered through the chunks, since it comes only then.
        let hit = if point == CrashPoint::CacheDescriptorPassed { 1 } else { 2 };
        let first = dying(point, hit, || assert_eq!(run(cache.arguments()), 0));
        let receiver = connect(first);
        assert_eq!(cache.get(0, PATH), Got::whole(&content, CacheStatus::Miss));
        cache.wait_for_fetches(1);
        let mut reader = cache.ask(0, PATH);
        assert!(was_killed(first), "{point:?}");
        repair::cache_died(&cache.channel.pool, &cache.channel.wake_ups);
        let was_told = point != CrashPoint::CacheDescriptorPassed;
        assert_eq!(reader.poll(), if was_told { Next::Elsewhere } else { Next::Broken }, "{point:?}");
        // What is passed outlives who passed it; one that nobody is told of is named by a segment that is not asked for any more.
        let (segment, fd) = receiver.receive().unwrap().unwrap();
        assert_eq!(segment, reader.id());
        let mut bytes = vec![0; content.len()];
        SealedFile::receive(fd, content.len() as u64).unwrap().read_exact_at(&mut bytes, 0).unwrap();
        assert!(bytes == content && receiver.receive().is_err());
        drop(reader);
        assert!(is_idle(&cache.channel.pool), "{point:?}");

        cache.row.life.begin(1);
        let second = child(|| assert_eq!(run(cache.arguments()), 0));
        connect(second);
        assert_eq!(cache.get(0, PATH), Got::whole(&content, CacheStatus::Miss));
        cache.row.life.ask_to_leave();
        cache.channel.wake_ups.of_cache().send();
        assert!(!was_killed(second), "{point:?}");
    }
}
