//! `vaultctl audit` and `journal dump` on journals with writes to a key-value store, with one defect each.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use bank_vault::base::vocab::{Cents, Committed, Condition, Lsn};
use bank_vault::store::journal::record::{
    Fingerprint, KvHead, KvKind, KvPiece, KvVerdict, PIECE_BYTES, RecordBytes, blocks_of,
};
use bank_vault::store::journal::snapshot::Header;
use bank_vault::store::journal::{Directory, SnapshotWriter, Writer};
use serde_json::Value;

use crate::vaultctl_journal::{ACCOUNTS, Books, OPENING, PER_SEGMENT, append, audited, open, told};

/// A key, its version, and its value.
type Pair = (Vec<u8>, u64, Vec<u8>);

/// A store that writes records as a server does, with a hand in them for defects.
struct Store {
    writer: Writer,
    directory: Directory,
    /// By key: version and value.
    held: BTreeMap<Vec<u8>, (u64, Vec<u8>)>,
    last: u64,
}

impl Store {
    fn new(data: &Path) -> Store {
        let (directory, writer) = open(data);
        Store { writer, directory, held: BTreeMap::new(), last: 0 }
    }

    fn counts(&self) -> (u32, u32) {
        let blocks = self.held.iter().map(|(key, (_, value))| blocks_of(key.len(), value.len()));
        (u32::try_from(self.held.len()).unwrap(), blocks.sum())
    }

    /// Writes `value` to `key`, or deletes it, after `spoil` had its hand in the head; gives its LSN.
    fn write(&mut self, key: &str, value: Option<&[u8]>, spoil: impl FnOnce(&mut KvHead)) -> u64 {
        let before = self.held.get(key.as_bytes()).map_or(0, |(version, _)| *version);
        let lsn = self.last + 1;
        let mut head = KvHead {
            lsn: Lsn(lsn),
            time_ns: 1_700_000_000_000_000_000 + lsn * 1_000_000,
            kind: if value.is_some() { KvKind::Put } else { KvKind::Delete },
            verdict: KvVerdict::Done,
            principal: 7,
            key_bytes: u8::try_from(key.len()).unwrap(),
            value_bytes: u32::try_from(value.map_or(0, <[u8]>::len)).unwrap(),
            condition: Condition::Always,
            fingerprint: Fingerprint::default(),
            previous: Lsn(before),
            keys: 0,
            blocks: 0,
            request: None,
        };
        match value {
            Some(value) => _ = self.held.insert(key.as_bytes().to_vec(), (head.version().0, value.to_vec())),
            None => _ = self.held.remove(key.as_bytes()),
        }
        (head.keys, head.blocks) = self.counts();
        spoil(&mut head);
        let data = [key.as_bytes(), value.unwrap_or_default()].concat();
        self.append(&head, &data);
        lsn
    }

    /// A refusal with this request id.
    fn refuse(&mut self, request: [u8; 16], spoil: impl FnOnce(&mut KvHead)) -> u64 {
        let (lsn, (keys, blocks)) = (self.last + 1, self.counts());
        let mut head = KvHead {
            lsn: Lsn(lsn),
            time_ns: 1_700_000_000_000_000_000 + lsn * 1_000_000,
            kind: KvKind::Put,
            verdict: KvVerdict::Mismatch,
            principal: 7,
            key_bytes: 3,
            value_bytes: 10,
            condition: Condition::IfVersion(u64::MAX),
            fingerprint: *b"what was called ",
            previous: Lsn(0),
            keys,
            blocks,
            request: Some(request),
        };
        spoil(&mut head);
        self.append(&head, &[]);
        lsn
    }

    fn append(&mut self, head: &KvHead, data: &[u8]) {
        let pieces = (head.lsn.0 + 1..).zip(data.chunks(PIECE_BYTES));
        let pieces = pieces.map(|(lsn, bytes)| KvPiece::of(Lsn(lsn), head.time_ns, bytes).encode());
        let mut records: Vec<RecordBytes> = std::iter::once(head.encode()).chain(pieces).collect();
        self.last += records.len() as u64;
        assert!(self.writer.wait_until_prepared(Lsn(self.last), Duration::from_secs(60)));
        self.writer.append(&mut records, self.writer.on_disk().0).unwrap();
        self.writer.sync().unwrap();
    }

    /// What it has now.
    fn pairs(&self) -> Vec<Pair> {
        self.held.iter().map(|(key, (version, value))| (key.clone(), *version, value.clone())).collect()
    }

    /// A snapshot after record `cut` that has these pairs and is finished now.
    fn snapshot(&self, cut: u64, pairs: &[Pair]) {
        let header = Header { lsn: Lsn(cut), accounts: ACCOUNTS, deposited: Cents::ZERO, withdrawn: Cents::ZERO };
        let mut snapshot = SnapshotWriter::begin_with_pairs(&self.directory, header).unwrap();
        (0..ACCOUNTS).for_each(|_| snapshot.push(Cents(OPENING), Lsn(0)).unwrap());
        pairs.iter().for_each(|(key, version, value)| snapshot.push_pair(key, Lsn(*version), value).unwrap());
        snapshot.covers(Lsn(self.last));
        snapshot.finish(Committed(Lsn(self.last))).unwrap();
    }

    /// Some writes: 3 keys are left.
    fn some(data: &Path) -> Store {
        let mut store = Store::new(data);
        store.write("one", Some(&[1; 300]), |_| ());
        store.write("two", Some(&[2; 5000]), |head| head.condition = Condition::IfAbsent);
        store.refuse([1; 16], |_| ());
        store.write("one", Some(b""), |_| ());
        store.write("three", Some(b"3"), |_| ());
        store.write("two", None, |_| ());
        store.write("four", Some(&[4; 700]), |head| {
            (head.request, head.fingerprint) = (Some([4; 16]), [9; 16]);
        });
        store
    }
}

fn offence(data: &Path, more: &[&str]) -> (Option<u64>, String) {
    let (code, report) = audited(data, more);
    assert_eq!(code, 1, "{report}");
    (report["offending_lsn"].as_u64(), report["offence"].as_str().unwrap().to_owned())
}

#[test]
fn a_store_without_defect_is_found_right_and_counted() {
    let home = tempfile::tempdir().unwrap();
    let mut store = Store::some(home.path());
    let (cut, pairs) = (store.last, store.pairs());
    // A snapshot that lacks what was changed, deleted or written anew while it was made.
    store.write("three", Some(b"33"), |_| ());
    store.write("one", None, |_| ());
    store.write("five", Some(b"5"), |_| ());
    store.snapshot(cut, &pairs[..1]);
    assert_eq!(pairs[0].0, b"four");
    store.write("two", Some(&[2; 80]), |_| ());
    let (code, report) = audited(home.path(), &[]);
    assert_eq!((code, &report["whole"]), (0, &true.into()), "{report}");
    let (keys, blocks) = store.counts();
    let wanted =
        [("kv_puts", 8), ("kv_deletes", 2), ("kv_refusals", 1), ("kv_keys", 4), ("keyed", 2), ("snapshots", 1)];
    for (name, value) in wanted.into_iter().chain([("records", store.last), ("kv_blocks", blocks.into())]) {
        assert_eq!(report[name], value, "{name}: {report}");
    }
    assert_eq!((keys, report.get("replication")), (4, None));
    let (_, text, _) = told(&["audit", "--data", home.path().to_str().unwrap()]);
    assert!(text.contains(&format!("8 puts, 2 deletes, 1 refused; 4 keys in {blocks} blocks")), "{text}");

    // From the snapshot on, once the beginning is gone: in the middle of a write.
    assert!(store.writer.remove_before(Lsn(cut), 0).unwrap() > 1);
    store.write("one", Some(b"again"), |_| ());
    let (code, report) = audited(home.path(), &[]);
    assert_eq!((code, &report["from_snapshot"], &report["kv_keys"]), (0, &cut.into(), &5.into()), "{report}");
    // And also there a defect is found, whether the snapshot has the key or lacked it.
    let wrong = store.write("four", Some(b"x"), |head| head.previous.0 -= 1);
    let (lsn, said) = offence(home.path(), &[]);
    assert!(lsn == Some(wrong) && said.contains("key \"four\" had version"), "{said}");
}

#[test]
fn each_defect_of_a_write_is_found_at_its_head() {
    type Spoil = fn(&mut KvHead);
    let cases: [(&str, Option<&[u8]>, &str, Spoil); 7] = [
        ("one", Some(b"x"), "had version {says} before; by the journal it had {was}", |head| head.previous.0 -= 1),
        ("one", None, "had version {says} before", |head| head.previous.0 -= 1),
        ("new", Some(b"x"), "had version 7 before; by the journal it had 0", |head| head.previous.0 = 7),
        ("one", Some(b"x"), "had version 0 before", |head| head.previous.0 = 0),
        ("one", Some(b"x"), "2 keys in 5 blocks afterwards; by the journal there were 3 in 5", |head| head.keys -= 1),
        ("one", Some(b"x"), "3 keys in 6 blocks", |head| head.blocks += 1),
        ("one", None, "2 keys in 5 blocks", |head| head.blocks += 1),
    ];
    for (key, value, why, spoil) in cases {
        let home = tempfile::tempdir().unwrap();
        let mut store = Store::some(home.path());
        let mut version = 0;
        let lsn = store.write(key, value, |head| {
            version = head.previous.0;
            spoil(head);
        });
        store.write("three", Some(b"4"), |_| ());
        let (found, said) = offence(home.path(), &[]);
        let first = lsn - (lsn - 1) % PER_SEGMENT;
        let path = store.directory.segment_path(Lsn(first)).display().to_string();
        let why = why.replace("{says}", &(version.max(1) - 1).to_string()).replace("{was}", &version.to_string());
        assert!(found == Some(lsn) && said.contains(&why) && said.contains(&path), "{why}: {said}");
    }
    let home = tempfile::tempdir().unwrap();
    let mut store = Store::some(home.path());
    let lsn = store.refuse([2; 16], |head| head.blocks += 1);
    let (found, said) = offence(home.path(), &[]);
    assert!(found == Some(lsn) && said.contains("blocks afterwards"), "{said}");
}

#[test]
fn a_call_that_was_done_twice_is_found_within_the_window() {
    for (fingerprint, why) in [([9; 16], "it was done twice"), ([8; 16], "with another call")] {
        let home = tempfile::tempdir().unwrap();
        let mut store = Store::some(home.path());
        let lsn =
            store.write("four", Some(b"x"), |head| (head.request, head.fingerprint) = (Some([4; 16]), fingerprint));
        let (found, said) = offence(home.path(), &[]);
        assert!(found == Some(lsn) && said.contains(why), "{said}");
        assert_eq!(audited(home.path(), &["--key-window", "5"]).0, 0, "the first is forgotten by then");
    }
}

#[test]
fn a_snapshot_that_lies_of_a_key_is_found() {
    type Lie = fn(&mut Vec<Pair>);
    let lies: [(&str, Lie); 6] = [
        ("says that key \"four\" had version", |pairs| pairs[0].1 -= 1),
        ("has another value of key \"four\" than version", |pairs| pairs[0].2[699] ^= 1),
        ("has another value of key \"four\" than version", |pairs| pairs[0].2.truncate(699)),
        ("has key \"fou \" with version", |pairs| pairs[0].0[3] = b' '),
        ("has key \"one\" twice", |pairs| pairs.push(pairs[1].clone())),
        ("lacks key \"three\", which was there and was not changed", |pairs| _ = pairs.remove(2)),
    ];
    for (why, lie) in lies {
        let home = tempfile::tempdir().unwrap();
        let mut store = Store::some(home.path());
        let (cut, mut pairs) = (store.last, store.pairs());
        assert_eq!(pairs.iter().map(|pair| &pair.0[..]).collect::<Vec<_>>(), [&b"four"[..], b"one", b"three"]);
        lie(&mut pairs);
        store.write("one", Some(b"changed while it was made"), |_| ());
        store.snapshot(cut, &pairs);
        store.write("three", Some(b"changed afterwards"), |_| ());
        let (_, said) = offence(home.path(), &[]);
        assert!(said.contains(why) && said.contains(&format!("{cut:020}.snapshot")), "{why}: {said}");
    }
}

#[test]
fn writes_are_dumped_as_one_and_record_by_record() {
    let home = tempfile::tempdir().unwrap();
    let mut store = Store::some(home.path());
    store.write("b\u{e4}r", Some(b"binary"), |_| ());
    append(&mut store.writer, &Books::new().next_at(store.last + 1));
    let data = home.path().to_str().unwrap();
    let dump = |more: &[&str]| {
        let (code, out, err) = told(&[&["journal", "dump", "--data", data], more].concat());
        assert_eq!((code, err.as_str()), (0, ""));
        out
    };
    let lines = |more: &[&str]| -> Vec<Value> {
        dump(&[&["--json"], more].concat()).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let writes = lines(&[]);
    assert_eq!(writes.len(), 9, "one for each operation");
    let first = &writes[0]["write"];
    assert_eq!((&writes[0]["kind"], &first["key"], &first["verdict"]), (&"put".into(), &"one".into(), &"done".into()));
    let numbers = ["key_bytes", "value_bytes", "version", "previous", "keys", "blocks", "records"];
    assert_eq!(numbers.map(|name| first[name].as_u64().unwrap()), [3, 300, 5, 0, 1, 2, 5]);
    assert_eq!(writes[1]["write"]["condition"], "if absent");
    let refusal = &writes[2]["write"];
    assert_eq!((&refusal["verdict"], refusal.get("key")), (&"version mismatch".into(), None));
    assert_eq!(refusal["request_id"], "01".repeat(16));
    assert_eq!(refusal["expected"], u64::MAX);
    assert_eq!((&writes[5]["kind"], &writes[5]["write"]["key"]), (&"delete".into(), &"two".into()));
    assert_eq!(writes[7]["write"]["key_hex"], "62c3a472");
    assert_eq!((&writes[8]["kind"], writes[8].get("write")), (&"deposit".into(), None));
    let records = lines(&["--records"]);
    assert_eq!(records.len() as u64, store.last + 1);
    assert_eq!(
        (&records[1]["kind"], &records[1]["payload"]),
        (&"piece".into(), &format!("6f6e65{}", "01".repeat(77)).into())
    );
    let text = dump(&["--to", "6"]);
    let [_, put, other] = text.lines().collect::<Vec<_>>()[..] else { panic!("{text}") };
    assert!(
        put.contains("put")
            && put.contains("done        \"one\", value of 300 bytes; version 5 after 0; 1 keys, 2 blocks"),
        "{put}"
    );
    assert!(other.contains("\"two\", value of 5000 bytes, if absent; version"), "{other}");
}
