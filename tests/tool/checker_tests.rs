//! The checker of the durability tests is checked: made-up histories, each with one defect that it must name.

use crate::checker;

use bank_vault::base::vocab::{AccountId, Cents, Lsn};
use bank_vault::store::journal::{Kind, OperationRecord, Verdict};
use checker::{Ack, Broken, Compared, Kept, acks_of, judge};

const OPENING: i64 = 1_000;

fn key(number: u8) -> [u8; 16] {
    [number; 16]
}

fn record(lsn: u64, kind: Kind, accounts: (u32, Option<u32>), amount: i64) -> OperationRecord {
    OperationRecord {
        lsn: Lsn(lsn),
        time_ns: lsn,
        kind,
        verdict: Verdict::Done,
        principal: 1,
        accounts: (AccountId(accounts.0), accounts.1.map(AccountId)),
        amount: Cents(amount),
        balances: [Cents::ZERO; 2],
        previous: [Lsn(0); 2],
        key: Some(key(u8::try_from(lsn).unwrap())),
    }
}

/// Five operations on three accounts, one after the other, and what the client heard of them.
fn history() -> (Kept, Vec<Ack>) {
    let deposit = OperationRecord { balances: [Cents(1_100), Cents(0)], ..record(1, Kind::Deposit, (0, None), 100) };
    let transfer = OperationRecord {
        balances: [Cents(800), Cents(1_300)],
        previous: [Lsn(1), Lsn(0)],
        ..record(2, Kind::Transfer, (0, Some(1)), 300)
    };
    let refused = OperationRecord { verdict: Verdict::Insufficient, ..record(3, Kind::Withdraw, (2, None), 1_001) };
    let withdrawal = OperationRecord { balances: [Cents(0), Cents(0)], ..record(4, Kind::Withdraw, (2, None), 1_000) };
    let back = OperationRecord {
        balances: [Cents(1_299), Cents(801)],
        previous: [Lsn(2), Lsn(2)],
        ..record(5, Kind::Transfer, (1, Some(0)), 1)
    };
    let records = vec![deposit, transfer, refused, withdrawal, back];
    let acks = records.iter().map(heard).collect();
    (Kept { openings: vec![OPENING; 3], records, ..Kept::default() }, acks)
}

fn heard(record: &OperationRecord) -> Ack {
    Ack {
        key: record.key.unwrap(),
        begin: record.lsn.0 * 10,
        end: record.lsn.0 * 10 + 5,
        kind: record.kind,
        accounts: record.accounts,
        amount: record.amount,
        status: u16::from(record.verdict.code()),
        balances: record.balances.map(|balance| balance.0),
    }
}

fn complaints(kept: &Kept, acks: &[Ack]) -> Vec<Broken> {
    judge(kept, acks).unwrap_err()
}

#[test]
fn a_faultless_history_is_accepted() {
    let (kept, mut acks) = history();
    assert_eq!(judge(&kept, &acks), Ok(Compared { acks: 5, records: 5 }));
    // Asked again long after, with the first answer; and told that there was no room, which is no answer.
    acks.push(Ack { begin: 1_000, end: 1_001, ..acks[0].clone() });
    acks.push(Ack { key: key(99), status: 6, balances: [0; 2], ..acks[0].clone() });
    assert_eq!(judge(&kept, &acks), Ok(Compared { acks: 6, records: 5 }));
    // Not heard of is not lost.
    assert_eq!(judge(&kept, &acks[..1]), Ok(Compared { acks: 1, records: 5 }));
}

#[test]
fn a_lost_acknowledgement_is_named() {
    let (mut kept, acks) = history();
    kept.records.pop();
    assert_eq!(complaints(&kept, &acks), [Broken::Lost(acks[4].clone())]);
}

#[test]
fn an_operation_done_twice_is_named() {
    let (mut kept, acks) = history();
    let mut again = kept.records[4].clone();
    (again.lsn, again.balances, again.previous) = (Lsn(6), [Cents(1_298), Cents(802)], [Lsn(5); 2]);
    kept.records.push(again);
    let found = complaints(&kept, &acks);
    assert!(found.contains(&Broken::Twice(key(5), [Lsn(5), Lsn(6)])), "{found:?}");
    // The same done twice without a second record.
    let (mut kept, mut acks) = history();
    (kept.records[3].balances[0], acks[3].balances[0]) = (Cents(-1_000), -1_000);
    let why = "a balance does not follow from the one before";
    assert_eq!(complaints(&kept, &acks), [Broken::Impossible { lsn: Lsn(4), why }]);
}

#[test]
fn half_a_transfer_is_named() {
    let why = "a balance does not follow from the one before";
    for (place, balance) in [(0, OPENING + 100), (1, OPENING)] {
        let (mut kept, _) = history();
        kept.records[1].balances[place] = Cents(balance);
        let found = complaints(&kept, &[]);
        assert!(found.contains(&Broken::Impossible { lsn: Lsn(2), why }), "{found:?}");
    }
}

#[test]
fn a_wrong_reply_is_named() {
    let wrong: [fn(&mut Ack); 5] = [
        |ack| ack.balances[0] += 1,
        |ack| ack.balances[1] += 1,
        |ack| ack.status = 5,
        |ack| ack.amount.0 += 1,
        |ack| ack.accounts.0 = AccountId(2),
    ];
    for spoil in wrong {
        let (kept, mut acks) = history();
        spoil(&mut acks[1]);
        assert_eq!(complaints(&kept, &acks), [Broken::OtherAnswer(acks[1].clone(), Lsn(2))]);
    }
    let (kept, mut acks) = history();
    acks[1].status = 9;
    assert_eq!(complaints(&kept, &acks), [Broken::Conflict(acks[1].clone())]);
}

#[test]
fn refusals_are_judged_too() {
    let (mut kept, _) = history();
    kept.records[2].amount = Cents(OPENING);
    let why = "refused, although the account held enough";
    assert_eq!(complaints(&kept, &[]), [Broken::Impossible { lsn: Lsn(3), why }]);
    let (mut kept, _) = history();
    kept.records[2].verdict = Verdict::NoAccount;
    let why = "refused for want of an account that is there";
    assert_eq!(complaints(&kept, &[]), [Broken::Impossible { lsn: Lsn(3), why }]);
}

#[test]
fn an_order_against_real_time_is_named() {
    let (kept, mut acks) = history();
    // Over before the one with the smaller LSN began.
    (acks[3].begin, acks[3].end) = (11, 12);
    (acks[0].begin, acks[0].end) = (13, 14);
    let found = complaints(&kept, &acks);
    assert_eq!(found, [Broken::RealTime { earlier: Lsn(4), later: Lsn(1) }]);
    // Both under way at once: either may have been first.
    acks[0].begin = 12;
    (acks[1].begin, acks[2].begin) = (12, 12);
    assert!(judge(&kept, &acks).is_ok());
}

#[test]
fn gaps_wrong_links_and_wrong_snapshots_are_named() {
    let (mut kept, _) = history();
    kept.records.remove(2);
    assert_eq!(complaints(&kept, &[]), [Broken::Gap { expected: Lsn(3), found: Lsn(4) }]);
    let (mut kept, _) = history();
    kept.records[4].previous[1] = Lsn(1);
    let why = "a link to another record than the account's last";
    assert_eq!(complaints(&kept, &[]), [Broken::Impossible { lsn: Lsn(5), why }]);
    let (mut kept, _) = history();
    kept.snapshot = vec![(800, Lsn(2)), (1_300, Lsn(2)), (OPENING, Lsn(0))];
    assert!(judge(&kept, &[]).is_ok());
    kept.snapshot[1].0 = 1_000;
    assert_eq!(complaints(&kept, &[]), [Broken::Snapshot(AccountId(1), Lsn(2))]);
}

#[test]
fn logs_are_read_as_they_are_documented() {
    let log = "# connection key begin_ns end_ns op account to amount status balance to_balance\n\
               3 00000000000000000000000000000102 10 20 transfer 12 7 250 0 99750 100250\n\
               3 000000000000000000000000000001ff 21 22 withdraw 9 - 100 5 - -\n\
               4 0000000000000000";
    let acks = acks_of(log);
    let mut first = [0; 16];
    first[14..].copy_from_slice(&[1, 2]);
    assert_eq!(acks.len(), 2, "a line that is not whole was never written");
    assert_eq!((acks[0].key, acks[0].begin, acks[0].end), (first, 10, 20));
    assert_eq!((acks[0].accounts, acks[0].balances), ((AccountId(12), Some(AccountId(7))), [99_750, 100_250]));
    assert_eq!((acks[1].kind, acks[1].accounts.1, acks[1].status), (Kind::Withdraw, None, 5));
}
