//! `vaultctl audit`, `journal dump` and `repair`: on journals with one defect each, and beside servers.

use crate::{bank, server};

use std::fs;
use std::path::Path;
use std::process::Output;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bank::{Bank, deposit, transfer, withdraw};
use bank_vault::base::vocab::{AccountId, Cents, Committed, Lsn};
use bank_vault::store::journal::record::{seal, stored_crc, synced_of};
use bank_vault::store::journal::snapshot::Header;
use bank_vault::store::journal::{
    Directory, Kind, OperationRecord, Record, RecordBytes, SnapshotWriter, Verdict, Writer,
};
use serde_json::Value;
use server::{Server, master, unused_name};

pub(super) const ACCOUNTS: u32 = 6;
pub(super) const OPENING: i64 = 1000;
pub(super) const PER_SEGMENT: u64 = 32;

fn vaultctl(words: &[&str]) -> Output {
    assert_cmd::Command::cargo_bin("vaultctl").unwrap().args(words).output().unwrap()
}

/// Exit code, standard output, standard error.
pub(super) fn told(words: &[&str]) -> (i32, String, String) {
    let output = vaultctl(words);
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

/// Exit code and figures of an audit.
pub(super) fn audited(data: &Path, more: &[&str]) -> (i32, Value) {
    let (code, out, err) = told(&[&["audit", "--json", "--data", data.to_str().unwrap()], more].concat());
    (code, serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out}{err}")))
}

/// Books that write records as a server does, with a hand in them for defects.
pub(super) struct Books {
    pub(super) accounts: [(i64, u64); ACCOUNTS as usize],
    flows: [i64; 2],
    lsn: u64,
}

impl Books {
    pub(super) fn new() -> Self {
        Books { accounts: [(OPENING, 0); ACCOUNTS as usize], flows: [0; 2], lsn: 0 }
    }

    fn side(&mut self, account: u32, change: i64) -> (Cents, Lsn) {
        let (balance, last) = &mut self.accounts[account as usize];
        *balance += change;
        (Cents(*balance), Lsn(std::mem::replace(last, self.lsn)))
    }

    /// OperationRecord after record: deposits, withdrawals, transfers, and now and then a refusal; every fourth has a key.
    pub(super) fn next(&mut self) -> OperationRecord {
        self.next_at(self.lsn + 1)
    }

    /// [`Books::next`], as record `lsn`.
    pub(super) fn next_at(&mut self, lsn: u64) -> OperationRecord {
        self.lsn = lsn;
        let account = |n: u64| u32::try_from(n % u64::from(ACCOUNTS)).unwrap();
        let (first, second, cents) =
            (account(lsn), account(lsn * 3 + 1 + lsn % 2), i64::try_from(lsn % 7).unwrap() + 1);
        let kind = match lsn % 3 {
            0 => Kind::Deposit,
            1 => Kind::Withdraw,
            _ if first == second => Kind::Deposit,
            _ => Kind::Transfer,
        };
        let mut record = OperationRecord {
            lsn: Lsn(lsn),
            time_ns: 1_700_000_000_000_000_000 + lsn * 1_000_000,
            kind,
            verdict: if lsn.is_multiple_of(20) { Verdict::Insufficient } else { Verdict::Done },
            principal: 7,
            accounts: (AccountId(first), (kind == Kind::Transfer).then_some(AccountId(second))),
            amount: Cents(cents),
            balances: [Cents::ZERO; 2],
            previous: [Lsn(0); 2],
            key: lsn.is_multiple_of(4).then(|| u128::from(lsn).to_le_bytes()),
        };
        if record.is_done() {
            let sides = match kind {
                Kind::Deposit => [Some((first, cents)), None],
                Kind::Withdraw => [Some((first, -cents)), None],
                Kind::Transfer => [Some((first, -cents)), Some((second, cents))],
            };
            for (place, (account, change)) in sides.into_iter().enumerate().filter_map(|(at, side)| Some((at, side?))) {
                (record.balances[place], record.previous[place]) = self.side(account, change);
            }
            let (came, went) = record.deposited_and_withdrawn();
            self.flows = [self.flows[0] + came.0, self.flows[1] + went.0];
        }
        record
    }

    /// A snapshot of these books, after `change` had its hand in it.
    pub(super) fn snapshot(&self, directory: &Directory, change: impl Fn(&mut [(i64, u64)], &mut [i64; 2])) {
        let (mut accounts, mut flows) = (self.accounts, self.flows);
        change(&mut accounts, &mut flows);
        let [deposited, withdrawn] = flows.map(Cents);
        let header = Header { lsn: Lsn(self.lsn), accounts: ACCOUNTS, deposited, withdrawn };
        let mut snapshot = SnapshotWriter::begin(directory, header).unwrap();
        for (balance, lsn) in accounts {
            snapshot.push(Cents(balance), Lsn(lsn)).unwrap();
        }
        snapshot.finish(Committed(Lsn(self.lsn))).unwrap();
    }
}

pub(super) fn open(data: &Path) -> (Directory, Writer) {
    let directory = Directory::open_or_create(data, ACCOUNTS, Cents(OPENING), PER_SEGMENT).unwrap();
    let writer = Writer::resume(&directory, Lsn(0)).unwrap();
    (directory, writer)
}

/// The bytes of record `lsn` in the segment that begins with record `first`.
fn place(lsn: usize, first: usize) -> std::ops::Range<usize> {
    let start = 4096 + (lsn - first) * 128;
    start..start + 128
}

pub(super) fn append(writer: &mut Writer, record: &OperationRecord) {
    assert!(writer.wait_until_prepared(record.lsn, Duration::from_secs(60)));
    let mut batch: [RecordBytes; 1] = [record.encode()];
    writer.append(&mut batch, writer.on_disk().0).unwrap();
    writer.sync().unwrap();
}

/// A journal of 100 records in which `spoil` had its hand in each.
pub(super) fn written(data: &Path, mut spoil: impl FnMut(&mut OperationRecord)) -> (Directory, Writer, Books) {
    let (directory, mut writer) = open(data);
    let mut books = Books::new();
    for _ in 0..100 {
        let mut record = books.next();
        spoil(&mut record);
        append(&mut writer, &record);
    }
    (directory, writer, books)
}

#[test]
fn a_journal_without_defect_is_found_right_and_counted() {
    let home = tempfile::tempdir().unwrap();
    let (directory, mut writer, mut books) = written(home.path(), |_| ());
    books.snapshot(&directory, |_, _| ());
    let at_100 = books.accounts;
    for _ in 0..50 {
        append(&mut writer, &books.next());
    }
    let (code, report) = audited(home.path(), &[]);
    let sum: i64 = books.accounts.iter().map(|(balance, _)| balance).sum();
    let [came, went] = books.flows;
    let wanted =
        [("records", 150), ("last_lsn", 150), ("refusals", 7), ("keyed", 37), ("snapshots", 1), ("sum_cents", sum)];
    for (name, value) in wanted.into_iter().chain([("deposited_cents", came), ("withdrawn_cents", went)]) {
        assert_eq!(report[name], value, "{name}");
    }
    assert_eq!((code, &report["whole"]), (0, &true.into()), "{report}");
    let kinds = ["deposits", "withdrawals", "transfers", "refusals"].map(|kind| report[kind].as_u64().unwrap());
    assert_eq!(kinds.iter().sum::<u64>(), 150);

    // The same from a snapshot on, once the beginning is gone; and a second one, of which an account is newer than its cut.
    assert_eq!(writer.remove_before(Lsn(100), 0).unwrap(), 3);
    let cut = (books.lsn, books.flows);
    let changed = books.next();
    append(&mut writer, &changed);
    let header = Header { lsn: Lsn(cut.0), accounts: ACCOUNTS, deposited: Cents(cut.1[0]), withdrawn: Cents(cut.1[1]) };
    let mut snapshot = SnapshotWriter::begin(&directory, header).unwrap();
    books.accounts.iter().for_each(|&(balance, lsn)| snapshot.push(Cents(balance), Lsn(lsn)).unwrap());
    snapshot.finish(Committed(Lsn(books.lsn))).unwrap();
    assert_ne!(at_100, books.accounts);
    let (code, report) = audited(home.path(), &[]);
    assert_eq!(
        (code, &report["from_snapshot"], &report["first_lsn"], &report["snapshots"]),
        (0, &100.into(), &97.into(), &1.into())
    );
    let (code, out, _) = told(&["audit", "--data", home.path().to_str().unwrap()]);
    assert!(code == 0 && out.contains("all is right") && out.contains("the snapshot of record 100"), "{out}");
}

#[test]
fn each_defect_is_found_at_its_record() {
    type Spoil = fn(&mut OperationRecord);
    let cases: [(&str, u64, &str, Spoil); 7] = [
        ("a balance", 50, "by the amounts it held", |r| r.balances[0].0 += i64::from(r.lsn == Lsn(50))),
        ("the other side", 50, "by the amounts it held", |r| r.balances[1].0 += i64::from(r.lsn == Lsn(50))),
        ("an amount", 50, "by the amounts it held", |r| r.amount.0 += i64::from(r.lsn == Lsn(50))),
        ("a link", 50, "changed account 2 before", |r| r.previous[0].0 -= u64::from(r.lsn == Lsn(50))),
        ("an overdraft", 49, "which held", |r| {
            if r.lsn == Lsn(49) {
                r.amount = Cents(1 << 40);
            }
        }),
        ("a key with another request", 80, "is that of record 72, of the same user, with another request", |r| {
            if r.lsn == Lsn(80) {
                r.key = Some(72u128.to_le_bytes());
            }
        }),
        ("a kind", 51, "by the amounts it held", |r| {
            if r.lsn == Lsn(51) {
                r.kind = Kind::Withdraw;
            }
        }),
    ];
    for (name, lsn, why, spoil) in cases {
        let home = tempfile::tempdir().unwrap();
        let (directory, ..) = written(home.path(), spoil);
        let (code, report) = audited(home.path(), &[]);
        assert_eq!(
            (code, &report["offending_lsn"], &report["whole"]),
            (1, &lsn.into(), &false.into()),
            "{name}: {report}"
        );
        let said = report["offence"].as_str().unwrap();
        let first = lsn - (lsn - 1) % PER_SEGMENT;
        let place = format!("byte {} of {}", 4096 + (lsn - first) * 128, directory.segment_path(Lsn(first)).display());
        assert!(said.contains(why) && said.contains(&place), "{name}: {said}");
    }
}

#[test]
fn a_request_that_was_done_twice_is_found_within_the_window_of_keys() {
    let home = tempfile::tempdir().unwrap();
    let (_directory, mut writer, mut books) = written(home.path(), |_| ());
    for _ in 0..3 {
        append(&mut writer, &books.next());
    }
    // The request of record 88 once more, as if its key had been forgotten: a withdrawal, rightly entered.
    let mut other = Books::new();
    let first = (0..88).map(|_| other.next()).last().unwrap();
    assert_eq!(first.kind, Kind::Withdraw);
    books.lsn += 1;
    let (balance, previous) = books.side(first.accounts.0.0, -first.amount.0);
    let twice =
        OperationRecord { balances: [balance, Cents::ZERO], previous: [previous, Lsn(0)], lsn: Lsn(104), ..first };
    append(&mut writer, &twice);
    let (code, report) = audited(home.path(), &[]);
    assert_eq!((code, &report["offending_lsn"]), (1, &104.into()), "{report}");
    assert!(report["offence"].as_str().unwrap().contains("it was done twice"), "{report}");
    assert_eq!(audited(home.path(), &["--key-window", "16"]).0, 0, "record 88 is the 17th last");
    assert_eq!(audited(home.path(), &["--key-window", "17"]).0, 1);
}

#[test]
fn a_snapshot_that_lies_is_found() {
    type Lie = fn(&mut [(i64, u64)], &mut [i64; 2]);
    let lies: [(&str, Lie); 3] = [
        ("account 4 held", |accounts, _| accounts[4].0 += 1),
        ("after record 1;", |accounts, _| accounts[4].1 = 1),
        ("had come in", |_, flows| flows[0] += 1),
    ];
    for (why, lie) in lies {
        let home = tempfile::tempdir().unwrap();
        let (directory, mut writer, mut books) = written(home.path(), |_| ());
        books.snapshot(&directory, lie);
        append(&mut writer, &books.next());
        let (code, report) = audited(home.path(), &[]);
        assert_eq!((code, &report["offending_lsn"]), (1, &100.into()), "{report}");
        let said = report["offence"].as_str().unwrap();
        assert!(said.contains(why) && said.contains("00000000000000000100.snapshot"), "{said}");
    }
    let home = tempfile::tempdir().unwrap();
    let (directory, _writer, books) = written(home.path(), |_| ());
    books.snapshot(&directory, |_, _| ());
    let path = directory.snapshots().join("00000000000000000100.snapshot");
    let mut bytes = fs::read(&path).unwrap();
    bytes[100] ^= 1;
    fs::write(&path, bytes).unwrap();
    let (code, report) = audited(home.path(), &[]);
    assert!(code == 1 && report["offence"].as_str().unwrap().contains("damaged"), "{report}");
}

#[test]
fn lost_and_flipped_records_are_found() {
    let path = |directory: &Directory| directory.segment_path(Lsn(33));
    type Defect = fn(&mut Vec<u8>);
    let defects: [(&str, Defect); 3] = [
        ("a flipped bit", |bytes| bytes[place(40, 33).start + 40] ^= 4),
        ("zeros", |bytes| bytes[place(40, 33)].fill(0)),
        ("the record before, again", |bytes| bytes.copy_within(place(39, 33), place(40, 33).start)),
    ];
    for (name, defect) in defects {
        let home = tempfile::tempdir().unwrap();
        let (directory, writer, _) = written(home.path(), |_| ());
        drop(writer);
        let mut bytes = fs::read(path(&directory)).unwrap();
        defect(&mut bytes);
        fs::write(path(&directory), bytes).unwrap();
        let (code, report) = audited(home.path(), &[]);
        assert_eq!(
            (code, &report["offending_lsn"], &report["records"]),
            (1, &40.into(), &39.into()),
            "{name}: {report}"
        );
    }
    let home = tempfile::tempdir().unwrap();
    let (directory, writer, _) = written(home.path(), |_| ());
    drop(writer);
    fs::remove_file(directory.segment_path(Lsn(1))).unwrap();
    let (code, report) = audited(home.path(), &[]);
    assert!(code == 1 && report["offence"].as_str().unwrap().contains("begins with record 33"), "{report}");
    let (code, _, err) = told(&["audit", "--data", "/nowhere/at/all"]);
    assert!(code == 2 && err.contains("/nowhere/at/all/format"), "{err}");
}

#[test]
fn records_are_dumped_as_they_are() {
    let home = tempfile::tempdir().unwrap();
    let (_directory, _writer, _) = written(home.path(), |_| ());
    let data = home.path().to_str().unwrap();
    let dump = |more: &[&str]| {
        let (code, out, err) = told(&[&["journal", "dump", "--data", data], more].concat());
        assert_eq!((code, err.as_str()), (0, ""));
        out
    };
    let mut books = Books::new();
    let lines: Vec<Value> = dump(&["--json"]).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 100);
    for line in &lines {
        let record = books.next();
        let amount = (line["lsn"].as_u64(), line["amount_cents"].as_i64(), line["time_ns"].as_u64());
        assert_eq!(amount, (Some(record.lsn.0), Some(record.amount.0), Some(record.time_ns)));
        assert_eq!(line["verdict"], if record.is_done() { "done" } else { "insufficient" });
        assert_eq!(line["key"].is_string(), record.key.is_some());
        let balance = record.is_done().then_some(record.balances[0].0);
        assert_eq!(line["balances_cents"][0].as_i64(), balance);
    }
    let some = dump(&["--json", "--from", "10", "--to", "60", "--account", "3"]);
    let wanted = lines[9..60].iter().filter(|line| line["accounts"].as_array().unwrap().contains(&3.into()));
    assert!(some.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).eq(wanted.cloned()));
    let text = dump(&["--from", "8", "--to", "8"]);
    assert_eq!(text.lines().count(), 3, "a heading, and a line for each side of a transfer: {text}");
    assert!(text.contains("transfer") && text.contains("2023-11-14T22:13:20.008Z"), "{text}");
}

#[test]
fn a_damaged_journal_is_refused_repaired_and_served() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let (directory, writer, _) = written(&data, |_| ());
    drop(writer);
    let path = directory.segment_path(Lsn(33));
    let mut bytes = fs::read(&path).unwrap();
    let offset = 4096 + (50 - 33) * 128;
    bytes[offset + 40] ^= 4;
    fs::write(&path, &bytes).unwrap();

    let args = ["--workers", "1", "--accounts", "6"];
    let refused = master(&unused_name(), &data, &args).output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    for part in [&*path.display().to_string(), &format!("byte {offset} "), "record 50", "vaultctl repair"] {
        assert!(refused.status.code() == Some(2) && said.contains(part), "{part} in {said}");
    }
    let text = data.to_str().unwrap();
    let (code, out, err) = told(&["repair", "--data", text]);
    assert!(code == 1 && out.is_empty() && err.contains("record 50") && err.contains("--yes"), "{out}{err}");
    assert_eq!(fs::read(&path).unwrap(), bytes, "nothing was changed");
    let (code, out, err) = told(&["repair", "--data", text, "--yes"]);
    assert!(code == 0 && out.contains("the journal ends with record 49") && out.contains("removed-"), "{out}{err}");
    let (code, out, _) = told(&["repair", "--data", text, "--yes"]);
    assert!(code == 0 && out.contains("nothing to repair"), "{out}");

    let server = Server::start_on(&data, &args);
    let mut books = Books::new();
    while books.lsn < 49 {
        books.next();
    }
    let mut bank = Bank::demo(server.address);
    for (account, (balance, _)) in (0..).zip(books.accounts) {
        assert_eq!(bank.balance(account), Cents(balance));
    }
    let (code, _, err) = told(&["repair", "--data", server.data().to_str().unwrap(), "--yes"]);
    assert!(code == 1 && err.contains(&format!("pid {}", server.master)) && err.contains("is in use"), "{err}");
    drop(server.stop());
}

#[test]
fn a_running_server_is_audited_under_load_and_agrees_in_memory() {
    let args = ["--workers", "2", "--accounts", "50", "--initial-balance", "10.00", "--snapshot-every", "2000"];
    let server = Server::start(&args);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for seed in 0..3u32 {
            let (server, stop) = (&server, &stop);
            scope.spawn(move || {
                let mut bank = Bank::demo(server.address);
                let mut number = seed;
                while !stop.load(Ordering::Relaxed) {
                    // In batches, and every other one with a key.
                    for _ in 0..64 {
                        number += 3;
                        let (from, to) = (number * 7 % 50, (number * 11 + 1) % 50);
                        let request = [deposit(to, 9), withdraw(from, 5), transfer(from, to, 3)][number as usize % 3];
                        let key = number.is_multiple_of(2).then(|| u128::from(number).to_le_bytes());
                        bank.send_with_key(&request, key).unwrap();
                    }
                    (0..64).for_each(|_| assert!(bank.read().is_ok()));
                }
            });
        }
        // Also when an assertion fails: else they would go on for ever.
        let _stop = OnDrop(|| stop.store(true, Ordering::Relaxed));
        let mut last = 0;
        for round in 0..6 {
            server::await_that("there is something new", || server_lsn(&server) >= last + 500);
            let words = [&["audit", "--json", "--instance"][..], &[&server.instance]].concat();
            let (code, out, err) = told(&words);
            assert_eq!(code, 0, "round {round}: {out}{err}");
            let report: Value = serde_json::from_str(&out).unwrap();
            assert!(report["last_lsn"].as_u64().unwrap() >= last && report["running"] == true, "{report}");
            last = report["last_lsn"].as_u64().unwrap();
        }
    });
    // At rest every account can be compared.
    let (code, report) = audited(&server.data(), &[]);
    assert_eq!((code, &report["memory_agrees"], &report["memory_skipped"]), (0, &50.into(), &0.into()), "{report}");
    let shown = told(&["inspect", "--json", "--instance", &server.instance]).1;
    let journal = serde_json::from_str::<Value>(&shown).unwrap()["journal"].clone();
    assert_eq!((&journal["state"], &journal["waiting"]), (&"open".into(), &0.into()), "{journal}");
    assert_eq!((&journal["last_lsn"], &journal["committed_lsn"]), (&report["last_lsn"], &report["last_lsn"]));
    assert_eq!((&journal["records"], &journal["process"]["name"]), (&report["last_lsn"], &"vault-journal".into()));
    // Some may be of segments that are removed by now.
    let (keys, keyed) = (journal["keys"].as_u64().unwrap(), report["keyed"].as_u64().unwrap());
    assert!(
        journal["key_window"] == 10_000 && (keyed.min(10_000)..=10_000).contains(&keys),
        "{journal}, {keyed} keyed"
    );
    assert!(journal["groups"].as_u64().unwrap() > 0 && journal["records_per_group"].as_f64().unwrap() >= 1.0);
    let text = told(&["inspect", "--instance", &server.instance]).1;
    assert!(text.contains("journal: open, pid ") && text.contains("  keys known "), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    drop(server.stop());
}

#[test]
fn memory_that_does_not_agree_with_the_journal_is_found() {
    let server = Server::start(&["--workers", "1", "--accounts", "9", "--initial-balance", "10.00"]);
    let mut bank = Bank::demo(server.address);
    bank.call(&deposit(3, 100)).unwrap();
    bank.call(&deposit(7, 100)).unwrap();
    assert_eq!(audited(&server.data(), &[]).0, 0);
    // The last record is written again with another amount, a balance to match, and a right checksum.
    let directory = Directory::open(&server.data()).unwrap();
    let path = directory.segment_path(Lsn(1));
    let good = fs::read(&path).unwrap();
    let [before, last]: [RecordBytes; 2] = [1, 2].map(|lsn| good[place(lsn, 1)].try_into().unwrap());
    let mut record = Record::decode(&last).unwrap().into_operation().unwrap();
    (record.amount.0, record.balances[0].0) = (101, record.balances[0].0 + 1);
    let mut other = record.encode();
    seal(&mut other, synced_of(&last), stored_crc(&before));
    let mut changed = good.clone();
    changed[place(2, 1)].copy_from_slice(&other);
    fs::write(&path, changed).unwrap();
    let (code, report) = audited(&server.data(), &[]);
    assert_eq!((code, &report["offending_lsn"]), (1, &2.into()), "{report}");
    let said = report["offence"].as_str().unwrap();
    assert!(said.contains("the server has account 7 at 11.00 after record 2; by the journal it held 11.01"), "{said}");

    // What the server made durable must be there; what is behind it may be anything.
    let mut lost = good.clone();
    lost[place(2, 1)].fill(0);
    fs::write(&path, lost).unwrap();
    let (code, report) = audited(&server.data(), &[]);
    assert_eq!((code, &report["offending_lsn"]), (1, &2.into()), "{report}");
    assert!(
        report["offence"].as_str().unwrap().contains("the running server, which made record 2 durable"),
        "{report}"
    );
    let mut begun = good.clone();
    begun[place(3, 1)].fill(0x55);
    begun[place(4, 1)].copy_from_slice(&good[place(1, 1)]);
    fs::write(&path, begun).unwrap();
    assert_eq!(audited(&server.data(), &[]).0, 0);
    fs::write(&path, good).unwrap();
    drop(server.stop());
}

/// Does it at the end of the scope, however that ends.
struct OnDrop<F: Fn()>(F);

impl<F: Fn()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

fn server_lsn(server: &Server) -> u64 {
    bank_vault::store::instance::stale::open_running(&server.instance).unwrap().table().sequencer().committed().0.0
}
