//! Power fails, and disks fail, at every moment of a transfer and of an installation: the books are the old ones or the new ones.

use super::test_support::{Found, books, found, stream, take_in};
use super::*;
use crate::base::vocab::Lsn;
use crate::store::journal::disk::forgetful::{Dice, Forgetful};
use crate::store::journal::test_support::directory_on;

/// What comes, in books of another owner; and what a start finds where it has all come.
fn coming() -> (Vec<u8>, Found) {
    let (first, bytes) = stream(&books(1, 20, &[(22, 2), (40, 1)]), 35, 60, 1 << 20).unwrap();
    (bytes, found(&books(1, 20, &[]), first))
}

/// Old books: with more, fewer and the same segments as those that come.
fn old(seed: u64) -> Forgetful {
    match seed % 3 {
        0 => books(9, 3, &[(4, 1)]),
        1 => books(9, 20, &[(13, 1), (40, 0)]),
        _ => books(9, 33, &[]),
    }
}

#[test]
fn a_transfer_that_is_broken_off_anywhere_leaves_the_old_books_and_can_be_begun_anew() {
    let (bytes, new) = coming();
    let (mut broken_off, mut whole) = (0, 0);
    for seed in 0..200 {
        let mut dice = Dice(seed);
        let disk = old(seed);
        let before = found(&disk, Lsn(0));
        disk.fail_call("", 1 + dice.below(90) as u64, libc::EIO);
        let most = 1 + dice.below(3000);
        let finished = if dice.below(4) == 0 {
            // The process dies in the middle.
            let mut sink = SnapshotSink::create(&directory_on(&disk), bytes.len() as u64, Lsn(60));
            let _ = sink.as_mut().map(|sink| sink.write(&bytes[..dice.below(bytes.len())]));
            false
        } else {
            take_in(&disk, &bytes, 60, most).is_ok()
        };
        broken_off += u64::from(!finished);
        let disk = disk.crash(seed * 31);
        assert_eq!(found(&disk, Lsn(0)), before, "seed {seed}: without the intent nothing changes");
        let end = incoming_end(&directory_on(&disk)).unwrap();
        assert!(end == Some(Lsn(60)) || !finished, "seed {seed}: what is finished is durable");
        let disk = if end.is_some() {
            // What is marked as whole is.
            whole += 1;
            let copy = disk.crash(0);
            assert!(finish_install(&directory_on(&copy), Lsn(60)).unwrap());
            assert_eq!(found(&copy, Lsn(0)), new, "seed {seed}");
            disk
        } else {
            disk
        };
        discard_incoming(&directory_on(&disk)).unwrap();
        assert_eq!(incoming_end(&directory_on(&disk)).unwrap(), None);
        take_in(&disk, &bytes, 60, most).unwrap();
        finish_install(&directory_on(&disk), Lsn(60)).unwrap();
        assert_eq!(found(&disk.crash(seed), Lsn(0)), new, "seed {seed}");
    }
    assert!(broken_off > 50 && whole > 50, "{broken_off} broken off, {whole} whole");
}

#[test]
fn an_installation_that_is_broken_off_at_any_call_is_finished_by_the_next_start() {
    let (bytes, new) = coming();
    let (mut broken_off, mut mixed) = (0, 0);
    for kind in 0..3 {
        let prepared = old(kind);
        take_in(&prepared, &bytes, 60, 1 << 20).unwrap();
        let before = found(&prepared, Lsn(0));
        for call in 1.. {
            // Without a crash first: how many calls there are.
            let counted = prepared.crash(0);
            counted.fail_call("", call, libc::EIO);
            if finish_install(&directory_on(&counted), Lsn(60)).is_ok() {
                break;
            }
            for seed in 0..8 {
                let disk = prepared.crash(seed);
                disk.fail_call("", call, libc::EIO);
                broken_off += u64::from(finish_install(&directory_on(&disk), Lsn(60)).is_err());
                let mut disk = disk.crash(seed * 57 + call);
                // Without the intent a start would find something else than the old or the new books.
                let unfinished = disk.crash(seed);
                let seen = std::panic::catch_unwind(|| found(&unfinished, Lsn(0)));
                mixed += u64::from(seen.is_err() || seen.is_ok_and(|seen| seen != before && seen != new));
                // The start after it may be broken off as well.
                let mut dice = Dice(seed * 1000 + call);
                for attempt in 0..3 {
                    disk.fail_call("", 1 + dice.below(20) as u64, libc::EIO);
                    let _ = finish_install(&directory_on(&disk), Lsn(60));
                    disk = disk.crash(seed * 91 + attempt);
                }
                finish_install(&directory_on(&disk), Lsn(60)).unwrap();
                let disk = disk.crash(seed);
                assert_eq!(found(&disk, Lsn(0)), new, "kind {kind}, call {call}, seed {seed}");
                assert!(disk.files().iter().all(|file| !file.starts_with("/data/incoming")), "{disk:?}");
                assert!(!finish_install(&directory_on(&disk), Lsn(60)).unwrap());
            }
        }
    }
    assert!(broken_off > 200, "{broken_off}");
    assert!(mixed > 50, "the failures were hard enough: {mixed} would have been no start");
}

#[test]
fn a_discarded_transfer_is_never_taken_for_whole_wherever_that_is_broken_off() {
    let (bytes, _) = coming();
    let prepared = old(0);
    take_in(&prepared, &bytes, 60, 1 << 20).unwrap();
    let before = found(&prepared, Lsn(0));
    let segments =
        |disk: &Forgetful| disk.files().iter().filter(|file| file.starts_with("/data/incoming/journal")).count();
    let whole = segments(&prepared);
    for call in 1.. {
        let counted = prepared.crash(0);
        counted.fail_call("", call, libc::EIO);
        let done = discard_incoming(&directory_on(&counted)).is_ok();
        for seed in 0..20 {
            let disk = counted.crash(seed);
            let there = segments(&disk);
            let end = incoming_end(&directory_on(&disk)).unwrap();
            assert!(end.is_none() || there == whole, "call {call}, seed {seed}: {disk:?}");
            assert_eq!(found(&disk, Lsn(0)), before);
            discard_incoming(&directory_on(&disk)).unwrap();
        }
        if done {
            break;
        }
    }
}

#[test]
fn only_what_the_intent_is_of_is_installed() {
    let (bytes, _) = coming();
    let disk = old(1);
    let directory = directory_on(&disk);
    assert!(!finish_install(&directory, Lsn(60)).unwrap(), "nothing is there");
    take_in(&disk, &bytes, 60, 1000).unwrap();
    let before = found(&disk, Lsn(0));
    let refused = finish_install(&directory, Lsn(57)).unwrap_err();
    assert!(matches!(refused, InstallError::OtherEnd { found: Lsn(60), wanted: Lsn(57), .. }), "{refused}");
    let mark = std::path::Path::new("/data/incoming/closed");
    disk.tamper(mark, |bytes| bytes[30] ^= 1);
    let refused = finish_install(&directory, Lsn(60)).unwrap_err();
    assert!(matches!(refused, InstallError::Mark(_)), "{refused}");
    assert_eq!(incoming_end(&directory).unwrap(), None);
    crate::store::journal::disk::Disk::remove(&disk, mark).unwrap();
    let refused = finish_install(&directory, Lsn(60)).unwrap_err();
    assert!(matches!(refused, InstallError::NotWhole { .. }), "{refused}");
    assert_eq!(found(&disk, Lsn(0)), before);
}
