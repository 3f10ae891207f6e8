//! `DATA/raft` on a disk that forgets: what was synced is what is read, or something newer.

use super::*;
use crate::base::vocab::{Cents, Lsn};
use crate::store::cluster::identity::ClusterId;
use crate::store::cluster::members::{NodeId, ReplicaId};
use crate::store::cluster::state::Commit;
use crate::store::journal::disk::forgetful::{Dice, Forgetful};

fn directory_on(disk: &Forgetful) -> Directory {
    Directory::open_or_create_on(Arc::new(disk.clone()), Path::new("/data"), 4, Cents(1000), 32).unwrap()
}

/// State number `number` of one node; a later number is a later state.
fn state(number: u64) -> State {
    State {
        cluster: ClusterId::new([9; 16]),
        term: 1 + number / 4,
        commit: Commit { index: number + 1, lsn: Lsn(number + 1) },
        ..State::fresh(NodeId::new(5).unwrap(), ReplicaId::new(2).unwrap())
    }
}

fn number_of(file: &StateFile) -> u64 {
    let number = file.state().commit.index - 1;
    assert_eq!(*file.state(), state(number), "one state, not a mixture");
    number
}

#[test]
fn a_directory_without_the_file_is_fresh() {
    let disk = Forgetful::default();
    let directory = directory_on(&disk);
    assert!(StateFile::open(&directory).unwrap().is_none() && read_state(&directory).unwrap().is_none());
    let file = StateFile::create(&directory, state(3)).unwrap();
    assert_eq!((file.state(), read_state(&directory).unwrap()), (&state(3), Some(state(3))));
    assert_eq!(StateFile::open(&directory_on(&disk.crash(1))).unwrap().unwrap().state(), &state(3), "durably");
}

/// In each life states are saved, some synced, one call may fail, and then the process dies, or the power fails.
#[test]
fn what_was_synced_is_what_is_read_or_something_newer() {
    let (mut newer, mut refused) = (0, 0);
    for seed in 0..2000 {
        let mut dice = Dice(seed);
        let mut disk = Forgetful::default();
        drop(StateFile::create(&directory_on(&disk), state(0)).unwrap());
        let (mut synced, mut last) = (0, 0);
        for life in 0..6 {
            let mut file = StateFile::open(&directory_on(&disk)).unwrap().unwrap();
            let found = number_of(&file);
            assert!((synced..=last).contains(&found), "seed {seed}, life {life}: {found} of {synced} to {last}");
            newer += u64::from(found > synced);
            // It was synced when it was opened.
            (synced, last) = (found, found);
            if dice.below(3) == 0 {
                disk.fail_call("raft", 1 + dice.below(8) as u64, libc::EIO);
            }
            for _ in 0..dice.below(7) {
                let sync = dice.below(3) == 0;
                last += 1;
                match file.save(&state(last), sync) {
                    Ok(()) if sync => synced = last,
                    Ok(()) => {}
                    Err(_) => {
                        refused += 1;
                        assert!(matches!(file.save(&state(last), true), Err(StateFileError::Failed { .. })), "final");
                        break;
                    }
                }
            }
            disk.fail_call("no call", 1, libc::EIO);
            drop(file);
            if dice.below(3) > 0 {
                disk = disk.crash(seed * 31 + life);
            }
        }
    }
    assert!(newer > 100 && refused > 100, "{newer} newer, {refused} refused");
}

#[test]
fn one_damaged_slot_leaves_the_other_and_two_are_named() {
    let disk = Forgetful::default();
    let directory = directory_on(&disk);
    let mut file = StateFile::create(&directory, state(0)).unwrap();
    file.save(&state(1), true).unwrap();
    let path = path_of(&directory);
    let read_now = || read_state(&directory);
    disk.tamper(&path, |bytes| bytes[SLOT_BYTES + 70] ^= 1);
    assert_eq!(read_now().unwrap(), Some(state(0)));
    disk.tamper(&path, |bytes| bytes[70] ^= 1);
    let said = read_now().unwrap_err().to_string();
    for part in ["/data/raft is damaged", "byte 0", "byte 4096", "checksum is wrong", "vaultctl cluster remove"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    disk.tamper(&path, |bytes| bytes.truncate(SLOT_BYTES + 100));
    let slots = [SlotError::Crc, SlotError::Short];
    assert!(matches!(read_now(), Err(StateFileError::Damaged { slots: found, .. }) if found == slots));
    disk.tamper(&path, |bytes| bytes[70] ^= 1);
    assert_eq!(read_now().unwrap(), Some(state(0)));
}

#[test]
fn a_state_that_cannot_be_is_not_written() {
    let disk = Forgetful::default();
    let mut file = StateFile::create(&directory_on(&disk), state(5)).unwrap();
    disk.take_log();
    let wrong = State { keep: Some(Lsn(1)), ..state(6) };
    assert!(matches!(file.save(&wrong, true), Err(StateFileError::Senseless { .. })));
    assert_eq!(disk.take_log().len(), 0);
    file.save(&state(6), true).unwrap();
    assert_eq!(disk.take_log(), ["write raft", "sync raft"]);
    file.save(&state(7), false).unwrap();
    file.save(&state(8), false).unwrap();
    assert_eq!(disk.take_log(), ["write raft", "write raft"], "into the same slot");
    assert_eq!(number_of(&StateFile::open(&directory_on(&disk)).unwrap().unwrap()), 8);
}
