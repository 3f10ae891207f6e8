//! A journal that was cut or damaged while no server ran: a torn end is cut and reported, damage is named and nothing is
//! started on it.

use crate::{asker, bank, checker, server};

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use asker::Asker;
use bank::Bank;
use bank_vault::base::vocab::{AccountId, Cents, Lsn};
use bank_vault::store::journal::segment::offset_of;
use bank_vault::store::journal::{Directory, RECORD_BYTES, RecoveryError, Replay, recover};
use checker::{Kept, judge};
use server::{Server, master, unused_name};
use tempfile::TempDir;

const RECORDS: u64 = 12;
const ARGS: [&str; 6] = ["--workers", "1", "--accounts", "20", "--initial-balance", "1000.00"];

/// What a server left that was stopped in order after [`RECORDS`] operations.
struct Left {
    home: TempDir,
    kept: Kept,
    segment: PathBuf,
    /// The whole file, undamaged.
    bytes: Vec<u8>,
}

impl Left {
    fn behind_a_server() -> Left {
        let home = tempfile::tempdir().unwrap();
        let data = home.path().join("data");
        let server = Server::start_on(&data, &ARGS);
        let mut asker = Asker::new(server.address, 20, 77);
        (0..RECORDS).for_each(|_| asker.ask().unwrap());
        let acks = std::mem::take(&mut asker.acks);
        drop(asker);
        assert!(server.stop().status.success());
        let kept = Kept::read(&data);
        assert_eq!(judge(&kept, &acks).unwrap().records, 12);
        let segment = Directory::open(&data).unwrap().segment_path(Lsn(1));
        Left { kept, bytes: fs::read(&segment).unwrap(), segment, home }
    }

    fn data(&self) -> PathBuf {
        self.home.path().join("data")
    }

    /// The same, had the power failed right after the last answer: without the mark of an orderly stop.
    fn behind_a_loss_of_power() -> Left {
        let left = Left::behind_a_server();
        fs::remove_file(left.data().join("closed")).unwrap();
        left
    }

    /// Where record `lsn` begins.
    fn offset(&self, lsn: u64) -> usize {
        usize::try_from(offset_of(Lsn(lsn), Directory::open(&self.data()).unwrap().records_per_segment())).unwrap()
    }

    /// What is left of the records when the journal ends within byte `cut`, and whether anything is left beside them.
    fn must_be_cut_at(&self, cut: usize, kept: &Kept) {
        let whole = (cut - self.offset(1)) / RECORD_BYTES;
        assert_eq!(kept.records, self.kept.records[..whole], "cut at byte {cut}");
    }
}

/// Every byte of the last three records, and the one behind them.
fn cuts(left: &Left) -> std::ops::RangeInclusive<usize> {
    left.offset(RECORDS - 2)..=left.offset(RECORDS + 1)
}

#[test]
fn a_journal_that_ends_at_any_byte_is_read_up_to_there() {
    let left = Left::behind_a_loss_of_power();
    for cut in cuts(&left) {
        fs::write(&left.segment, &left.bytes[..cut]).unwrap();
        let kept = Kept::read(&left.data());
        left.must_be_cut_at(cut, &kept);
        assert!(kept.torn.is_some_and(|torn| torn.from.0 == kept.records.len() as u64 + 1), "cut at byte {cut}");
        // The same when the file system had given the file its length, and not all of its contents.
        let mut zeros = left.bytes.clone();
        zeros[cut..].fill(0);
        fs::write(&left.segment, &zeros).unwrap();
        let kept = Kept::read(&left.data());
        // A record whose last bytes were zeros anyway is whole again.
        let record_end = (cut - left.offset(1)).next_multiple_of(RECORD_BYTES) + left.offset(1);
        let restored = left.bytes.get(cut..record_end).is_some_and(|lost| lost.iter().all(|&byte| byte == 0));
        let cut = if restored { record_end } else { cut };
        left.must_be_cut_at(cut, &kept);
        let at_an_end = (cut - left.offset(1)).is_multiple_of(RECORD_BYTES);
        assert_eq!(kept.torn.is_none(), at_an_end, "zeros from byte {cut} on");
    }
}

#[test]
fn a_server_starts_behind_a_torn_end_and_goes_on() {
    let left = Left::behind_a_loss_of_power();
    // A start costs a hundred times what reading does; `VAULT_TEST_ALL_BYTES` is for those who have the time.
    let step = if std::env::var_os("VAULT_TEST_ALL_BYTES").is_some() { 1 } else { 37 };
    for cut in cuts(&left).step_by(step) {
        fs::write(&left.segment, &left.bytes[..cut]).unwrap();
        let mut server = Server::start_on(&left.data(), &ARGS);
        let whole = (cut - left.offset(1)) / RECORD_BYTES;
        let reported = format!("a torn tail from record {} on", whole + 1);
        assert!(server.stderr().contains(&reported), "cut at byte {cut}: {}", server.stderr());
        if cut > left.offset(whole as u64 + 1) {
            let said = server.stderr();
            let file = said.split("are kept in ").nth(1).unwrap().split_whitespace().next().unwrap();
            let tail = &left.bytes[left.offset(whole as u64 + 1)..cut];
            assert!(fs::read(file).unwrap() == tail, "cut at byte {cut}: {said}");
        }
        assert_eq!(Bank::demo(server.address).totals().lsn.0, whole as u64, "cut at byte {cut}");
        let mut asker = Asker::new(server.address, 20, 78);
        asker.ask().unwrap();
        server.kill_all();
        let kept = Kept::read(&left.data());
        assert_eq!(kept.records[..whole], left.kept.records[..whole], "cut at byte {cut}");
        assert_eq!(judge(&kept, &asker.acks).unwrap().records, whole + 1, "cut at byte {cut}");
        assert_eq!(kept.torn, None, "cut at byte {cut}");
    }
}

/// The fields of a record, as `docs/ARCHITECTURE.md` places them.
const FIELDS: [(&str, usize); 17] = [
    ("lsn", 0),
    ("term", 8),
    ("time", 16),
    ("kind", 24),
    ("verdict", 25),
    ("flags", 26),
    ("principal", 28),
    ("first account", 32),
    ("second account", 36),
    ("amount", 40),
    ("first balance", 48),
    ("second balance", 56),
    ("first link", 64),
    ("second link", 72),
    ("key", 80),
    ("synced", 96),
    ("checksum", 124),
];
const DAMAGED: u64 = 6;

#[test]
fn a_flipped_bit_in_any_field_keeps_a_server_from_starting() {
    let left = Left::behind_a_server();
    let offset = left.offset(DAMAGED);
    for (field, at) in FIELDS {
        let mut damaged = left.bytes.clone();
        damaged[offset + at] ^= 4;
        fs::write(&left.segment, &damaged).unwrap();
        let output = master(&unused_name(), &left.data(), &ARGS).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{field}: {said}");
        assert_eq!(output.stdout, b"", "{field}");
        let place = format!("record {DAMAGED}, byte {offset} of {}", left.segment.display());
        assert!(said.contains(&place) && said.contains("vaultctl repair"), "{field}: {said}");
        assert!(fs::read(&left.segment).unwrap() == damaged, "{field}: nothing was changed");
    }
}

#[test]
fn after_an_orderly_stop_a_flipped_bit_in_the_last_record_keeps_a_server_from_starting() {
    let left = Left::behind_a_server();
    let offset = left.offset(RECORDS);
    let must_not_start = |what: &str| {
        let output = master(&unused_name(), &left.data(), &ARGS).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{what}: {said}");
        let named = said.contains(&format!("record {RECORDS}, byte {offset} of {}", left.segment.display()));
        assert!(named && said.contains("the orderly stop after record 12"), "{what}: {said}");
    };
    let mut damaged = left.bytes.clone();
    damaged[offset + 45] ^= 4;
    fs::write(&left.segment, &damaged).unwrap();
    must_not_start("a flipped bit");
    fs::write(&left.segment, &left.bytes[..offset + 45]).unwrap();
    must_not_start("a missing end");
    damaged[offset..offset + RECORD_BYTES].fill(0);
    fs::write(&left.segment, &damaged).unwrap();
    must_not_start("zeros");
    // Also when a run that did nothing was killed in between.
    fs::write(&left.segment, &left.bytes).unwrap();
    let mut server = Server::start_on(&left.data(), &ARGS);
    server.kill_all();
    fs::write(&left.segment, &damaged).unwrap();
    must_not_start("after another start");
}

#[test]
fn what_others_could_have_changed_is_refused_in_one_line() {
    use std::os::unix::fs::PermissionsExt;
    let left = Left::behind_a_server();
    let refusal = |what: &str| {
        let output = master(&unused_name(), &left.data(), &ARGS).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), said.lines().count()), (Some(2), 1), "{what}: {said}");
        said
    };
    let allow = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    for path in [left.data(), left.data().join("journal"), left.segment.clone()] {
        let before = fs::metadata(&path).unwrap().permissions().mode();
        allow(&path, 0o777);
        let said = refusal("mode");
        assert!(said.contains(&format!("{} is not trusted", path.display())) && said.contains("chmod"), "{said}");
        let args = [&ARGS[..], &["--durability", "none"]].concat();
        let output = master(&unused_name(), &left.data(), &args).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(2) && said.contains("is not trusted"), "also where it is ignored: {said}");
        allow(&path, before);
    }
    let aside = left.home.path().join("aside");
    fs::rename(&left.segment, &aside).unwrap();
    std::os::unix::fs::symlink(&aside, &left.segment).unwrap();
    let said = refusal("link");
    assert!(said.contains(&format!("{} is not trusted: it is a symbolic link", left.segment.display())), "{said}");
    fs::rename(&aside, &left.segment).unwrap();
    assert!(Server::start_on(&left.data(), &ARGS).stop().status.success());
}

struct Nobody;

impl Replay for Nobody {
    fn snapshot_account(&mut self, _: AccountId, _: Cents, _: Lsn) {}
    fn snapshot_pair(&mut self, _: &[u8], _: Lsn, _: &[u8]) {}
    fn record(&mut self, _: &bank_vault::store::journal::Record) {}
}

fn complaint(data: &Path) -> Option<RecoveryError> {
    recover(&Directory::open(data).unwrap(), Lsn(1), &mut Nobody, |_| ()).err()
}

#[test]
fn any_flipped_bit_is_named() {
    let left = Left::behind_a_server();
    let offset = left.offset(DAMAGED);
    let segment = fs::File::options().write(true).open(&left.segment).unwrap();
    for (record, offset) in [(DAMAGED, offset), (RECORDS, left.offset(RECORDS))] {
        for bit in 0..8 * RECORD_BYTES {
            let at = offset + bit / 8;
            let byte = left.bytes[at];
            segment.write_all_at(&[byte ^ (1 << (bit % 8))], at as u64).unwrap();
            match complaint(&left.data()) {
                Some(RecoveryError::Corrupt { path, offset: at, lsn, .. }) => {
                    assert_eq!((path, at, lsn), (left.segment.clone(), offset as u64, Lsn(record)), "bit {bit}");
                }
                other => panic!("bit {bit}: {other:?}"),
            }
            segment.write_all_at(&[byte], at as u64).unwrap();
        }
    }
    assert!(fs::read(&left.segment).unwrap() == left.bytes && complaint(&left.data()).is_none());
}
