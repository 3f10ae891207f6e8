//! `vaultctl audit` and `journal dump` on journals of clusters, and on times that go back.

use std::path::Path;
use std::time::Duration;

use bank_vault::base::vocab::Lsn;
use bank_vault::store::journal::record::{Content, MembershipRecord, Payload, TermRecord};
use bank_vault::store::journal::{OperationRecord, Record, Writer};
use serde_json::Value;

use crate::vaultctl_journal::{Books, audited, open, told, written};

/// A journal as a cluster has it: entry n of term 3 has records 3n−2 to 3n; entry 5 begins term 4, and entry 6 has a change of membership.
/// `spoil` has its hand in each.
fn written_by_a_cluster(data: &Path, spoil: impl Fn(&mut Record)) -> Writer {
    let (_, mut writer) = open(data);
    let mut books = Books::new();
    for lsn in 1..=30_u64 {
        let index = lsn.div_ceil(3);
        let time_ns = 1_700_000_000_000_000_000 + lsn * 1_000_000;
        let content = match lsn {
            15 => Content::Term(TermRecord { lsn: Lsn(lsn), time_ns }),
            18 => {
                let payload = Payload::new(b"who").unwrap();
                Content::Membership(MembershipRecord { lsn: Lsn(lsn), time_ns, payload })
            }
            _ => Content::Operation(books.next_at(lsn)),
        };
        let mut record = Record { term: if index < 5 { 3 } else { 4 }, index, ends_entry: lsn % 3 == 0, content };
        spoil(&mut record);
        assert!(writer.wait_until_prepared(Lsn(lsn), Duration::from_secs(60)));
        let synced = writer.on_disk().0;
        writer.append(&mut [record.encode()], synced).unwrap();
        writer.sync().unwrap();
    }
    writer
}

#[test]
fn a_journal_of_a_cluster_is_audited_and_dumped_with_its_entries() {
    let home = tempfile::tempdir().unwrap();
    let _writer = written_by_a_cluster(home.path(), |_| ());
    let (code, report) = audited(home.path(), &[]);
    let figures = [("records", 30), ("replication", 2), ("deposits", report["deposits"].as_u64().unwrap())];
    assert!(code == 0 && figures.iter().all(|(name, figure)| report[name] == *figure), "{report}");
    let data = home.path().to_str().unwrap();
    let (_, json, _) = told(&["journal", "dump", "--json", "--data", data]);
    let lines: Vec<Value> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for (lsn, kind, term, index, ends) in [
        (12, "deposit", 3, 4, true),
        (14, "transfer", 4, 5, false),
        (15, "term", 4, 5, true),
        (18, "members", 4, 6, true),
    ] {
        let line = &lines[lsn - 1];
        let seen = (&line["kind"], &line["term"], &line["index"], &line["ends_entry"]);
        assert_eq!(seen, (&kind.into(), &term.into(), &index.into(), &ends.into()), "{line}");
    }
    let members = serde_json::json!({"lsn": 18, "time_ns": 1_700_000_000_018_000_000_u64, "kind": "members", "payload": "77686f",
        "term": 4, "index": 6, "ends_entry": true});
    assert_eq!(lines[17], members);
    let (_, text, _) = told(&["journal", "dump", "--data", data, "--from", "15", "--to", "18"]);
    for part in [
        "term      term 4 begins\n",
        "entry 5 of term 4, its last record\n",
        "members   77686f\n",
        "entry 6 of term 4\n",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn records_that_make_up_no_entries_are_found() {
    type Spoil = fn(&mut Record);
    let cases: [(u64, &str, Spoil); 4] = [
        (20, "it is of entry 8 of term 4, and the record before is of entry 7 of term 4", |r| {
            r.index += u64::from(r.lsn().0 >= 20);
        }),
        (22, "it is of entry 8 of term 2, and the record before ends entry 7 of term 4", |r| {
            r.term = if r.lsn().0 >= 22 { 2 } else { r.term };
        }),
        (9, "it is of entry 3 of term 3, and the record before ends entry 3 of term 3", |r| {
            r.ends_entry |= r.lsn().0 == 8;
        }),
        (28, "it is of no entry, and the record before is of entry 9 of term 4", |r| {
            if r.lsn().0 == 27 {
                r.ends_entry = true;
            } else if r.lsn().0 > 27 {
                (r.term, r.index, r.ends_entry) = (0, 0, false);
            }
        }),
    ];
    for (lsn, why, spoil) in cases {
        let home = tempfile::tempdir().unwrap();
        let _writer = written_by_a_cluster(home.path(), spoil);
        let (code, report) = audited(home.path(), &[]);
        assert_eq!((code, &report["offending_lsn"]), (1, &lsn.into()), "{report}");
        assert!(report["offence"].as_str().unwrap().contains(why), "{report}");
    }
}

#[test]
fn times_that_go_back_are_found_in_a_cluster_and_counted_of_an_instance_alone() {
    /// Records are a millisecond apart.
    const APART_NS: u64 = 1_000_000;
    let earlier = |of: u64, by_ns: u64| {
        move |record: &mut Record| match &mut record.content {
            Content::Operation(operation) if operation.lsn.0 == of => operation.time_ns -= by_ns,
            Content::Term(term) if term.lsn.0 == of => term.time_ns -= by_ns,
            _ => {}
        }
    };
    for (lsn, by_ns, wrong) in [(20, APART_NS, false), (20, APART_NS + 1, true), (15, 3 * APART_NS, true)] {
        let home = tempfile::tempdir().unwrap();
        let _writer = written_by_a_cluster(home.path(), earlier(lsn, by_ns));
        let (code, report) = audited(home.path(), &[]);
        assert_eq!(code, i32::from(wrong), "{report}");
        if wrong {
            let said = report["offence"].as_str().unwrap();
            assert_eq!(report["offending_lsn"], lsn, "{report}");
            assert!(said.contains(&format!("is {} ns before", by_ns - APART_NS)), "{said}");
        }
    }
    let home = tempfile::tempdir().unwrap();
    let spoil = |record: &mut OperationRecord| {
        record.time_ns -= if record.lsn.0.is_multiple_of(10) { APART_NS + 1 } else { 0 };
    };
    let (_, writer, _) = written(home.path(), spoil);
    drop(writer);
    let (code, report) = audited(home.path(), &[]);
    assert_eq!((code, &report["times_back"]), (0, &10.into()), "{report}");
    let (_, text, _) = told(&["audit", "--data", home.path().to_str().unwrap()]);
    assert!(text.contains(", 10 go back, as older versions wrote them\n"), "{text}");
}
