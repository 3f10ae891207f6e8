//! The cache process dies at each of its points, as a process of its own: nothing is left, and its successor answers.

use bank_vault::base::crash_point::CrashPoint;
use bank_vault::process::cache::run;
use bank_vault::store::cache_channel::{CacheStatus, Command};
use bank_vault::store::transfer::repair::{self, is_idle};

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
        of_writer || point.name().starts_with("cache.")
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
