//! Pages against the plain list of what happened.

use std::time::Duration;

use super::*;
use crate::base::vocab::Cents;
use crate::store::journal::{Kind, OperationRecord, RecordBytes, Verdict, Writer};

const ACCOUNTS: u32 = 4;

/// A journal in which record n is a deposit into account `of(n)`, with segments of `per_segment` records.
fn journal(records: u64, per_segment: u64, of: impl Fn(u64) -> u32) -> (tempfile::TempDir, Directory, Writer) {
    let home = tempfile::tempdir().unwrap();
    let directory = Directory::open_or_create(home.path(), ACCOUNTS, Cents(100), per_segment).unwrap();
    let mut writer = Writer::resume(&directory, Lsn(0)).unwrap();
    let mut accounts = [(Lsn(0), Cents(100)); ACCOUNTS as usize];
    for lsn in 1..=records {
        let account = of(lsn);
        let (last, balance) = &mut accounts[account as usize];
        let previous = [std::mem::replace(last, Lsn(lsn)), Lsn(0)];
        *balance = Cents(balance.0 + 1);
        let record = OperationRecord {
            lsn: Lsn(lsn),
            time_ns: lsn * 1_000_000,
            kind: Kind::Deposit,
            verdict: Verdict::Done,
            principal: 1,
            accounts: (AccountId(account), None),
            amount: Cents(1),
            balances: [*balance, Cents::ZERO],
            previous,
            key: None,
        };
        let mut batch: [RecordBytes; 1] = [record.encode()];
        assert!(writer.wait_until_prepared(Lsn(lsn), Duration::from_secs(60)));
        writer.append(&mut batch, Lsn(0)).unwrap();
    }
    writer.sync().unwrap();
    (home, directory, writer)
}

fn page(directory: &Directory, account: u32, head: u64, before: u64, limit: usize) -> (Vec<u64>, Next) {
    let page = PageRequest { account: AccountId(account), head: Lsn(head), before: Lsn(before), limit };
    let read = page.read(directory).unwrap();
    (read.entries.iter().map(|entry| entry.lsn.0).collect(), read.next)
}

#[test]
fn every_page_is_what_the_whole_list_has_there() {
    // Accounts 0 and 2; nothing happens to 1 and 3.
    let (_home, directory, _writer) = journal(60, 32, |lsn| if lsn % 3 == 0 { 0 } else { 2 });
    let all: Vec<u64> = (1..=60).rev().filter(|lsn| lsn % 3 == 0).collect();
    for before in 0..=70 {
        for limit in [1, 2, 7, 100] {
            let older: Vec<u64> = all.iter().copied().filter(|&lsn| before == 0 || lsn < before).collect();
            let wanted = &older[..limit.min(older.len())];
            let next = match wanted.last() {
                Some(&last) if older.len() > limit => Next::Before(Lsn(last)),
                _ => Next::Opening,
            };
            assert_eq!(page(&directory, 0, 60, before, limit), (wanted.to_vec(), next), "before {before}, {limit}");
        }
    }
    assert_eq!(page(&directory, 1, 0, 0, 5), (vec![], Next::Opening), "nothing has happened to it");
    assert_eq!(page(&directory, 1, 0, 40, 5), (vec![], Next::Opening));
}

#[test]
fn what_was_removed_is_said_to_be() {
    let (_home, directory, mut writer) = journal(100, 32, |lsn| if lsn == 100 || lsn < 36 { 0 } else { 2 });
    assert_eq!(writer.remove_before(Lsn(34), 0).unwrap(), 1);
    // 1 to 32 are gone.
    assert_eq!(page(&directory, 0, 100, 0, 109), (vec![100, 35, 34, 33], Next::Trimmed));
    assert_eq!(page(&directory, 0, 100, 0, 4), (vec![100, 35, 34, 33], Next::Trimmed), "although the page is full");
    assert_eq!(page(&directory, 0, 100, 0, 3), (vec![100, 35, 34], Next::Before(Lsn(34))));
    assert_eq!(page(&directory, 0, 100, 33, 3), (vec![], Next::Trimmed));
    assert_eq!(page(&directory, 0, 100, 9, 3), (vec![], Next::Trimmed));
    assert_eq!(page(&directory, 3, 5, 0, 3), (vec![], Next::Trimmed), "its last record is gone");
}

#[test]
fn a_long_search_ends_with_where_to_go_on() {
    let busy = |lsn| lsn <= 10 || lsn > 5000;
    let (_home, directory, _writer) = journal(9200, 4096, |lsn| if busy(lsn) { 0 } else { 2 });
    let (entries, next) = page(&directory, 0, 9200, 5000, 20);
    assert_eq!((entries, next), (vec![], Next::Before(Lsn(5000 - MAX_SEARCHED_RECORDS))));
    assert_eq!(page(&directory, 0, 9200, 5000 - MAX_SEARCHED_RECORDS, 3), (vec![10, 9, 8], Next::Before(Lsn(8))));
    assert_eq!(
        page(&directory, 0, 9200, 5002, 2),
        (vec![5001, 10], Next::Before(Lsn(10))),
        "found before the search ends"
    );
    // So busy an account that its last record is far off: found from below.
    assert_eq!(page(&directory, 2, 5000, 4000, 1), (vec![3999], Next::Before(Lsn(3999))));
}
