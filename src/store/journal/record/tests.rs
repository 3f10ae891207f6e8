use proptest::prelude::*;

use super::layout::*;
use super::*;
use crate::base::limits::KEY_BYTES;
use crate::base::vocab::{AccountId, Cents};

fn any_operation() -> impl Strategy<Value = OperationRecord> {
    let kind = prop_oneof![Just(Kind::Deposit), Just(Kind::Withdraw), Just(Kind::Transfer)];
    let verdict = prop_oneof![
        3 => Just(Verdict::Done),
        1 => Just(Verdict::NoAccount),
        1 => Just(Verdict::Insufficient),
        1 => Just(Verdict::Invalid)
    ];
    let key = prop::option::of(any::<[u8; KEY_BYTES]>());
    let money = (1..=i64::MAX, any::<i64>(), 0..=i64::MAX, 0..=i64::MAX);
    let head = (1..=MAX_LSN, any::<u64>(), any::<u32>(), 0..u32::MAX - 1);
    (head, kind, verdict, key, money, any::<[u64; 2]>()).prop_map(
        |((lsn, time_ns, principal, account), kind, verdict, key, (moved, asked, first, second), links)| {
            let done = verdict == Verdict::Done;
            let two = kind == Kind::Transfer;
            // Who was given money has at least that much.
            let first = if kind == Kind::Deposit { first.max(moved) } else { first };
            let second = second.max(moved);
            let [a, b] = links.map(|link| Lsn(link % lsn));
            OperationRecord {
                lsn: Lsn(lsn),
                time_ns,
                kind,
                verdict,
                principal,
                accounts: (AccountId(account), two.then_some(AccountId(account + 1))),
                amount: Cents(if done { moved } else { asked }),
                balances: [Cents(if done { first } else { 0 }), Cents(if done && two { second } else { 0 })],
                previous: [if done { a } else { Lsn(0) }, if done && two { b } else { Lsn(0) }],
                key: if done { key } else { key.or(Some([0; KEY_BYTES])) },
            }
        },
    )
}

fn any_record() -> impl Strategy<Value = Record> {
    let place = prop::option::of((1..=u64::MAX, 1..=MAX_LSN, any::<bool>()));
    let operation = (any_operation(), place).prop_map(|(operation, place)| {
        let (term, index, ends_entry) = place.unwrap_or_default();
        Record { term, index, ends_entry, content: Content::Operation(operation) }
    });
    let payload = prop::collection::vec(any::<u8>(), 0..=MAX_PAYLOAD_BYTES);
    let of_raft = (1..=MAX_LSN, any::<u64>(), 1..=u64::MAX, 1..=MAX_LSN, payload).prop_map(
        |(lsn, time_ns, term, index, payload)| {
            let (lsn, payload) = (Lsn(lsn), Payload::new(&payload));
            let content = match payload {
                None => Content::Term(TermRecord { lsn, time_ns }),
                Some(payload) => Content::Membership(MembershipRecord { lsn, time_ns, payload }),
            };
            Record { term, index, ends_entry: true, content }
        },
    );
    prop_oneof![3 => operation, 1 => of_raft]
}

proptest! {
    #[test]
    fn records_round_trip(record in any_record(), synced in any::<u64>(), chain in any::<u32>()) {
        let mut bytes = record.encode();
        prop_assert_eq!((synced_of(&bytes), stored_crc(&bytes)), (Lsn(0), 0));
        let crc = seal(&mut bytes, Lsn(synced), chain);
        prop_assert!(check(&bytes, chain) && !check(&bytes, !chain));
        prop_assert_eq!((lsn_of(&bytes), synced_of(&bytes), stored_crc(&bytes)), (record.lsn(), Lsn(synced), crc));
        prop_assert_eq!(place_of(&bytes), record.place());
        prop_assert_eq!(Record::decode(&bytes), Ok(record));
    }

    #[test]
    fn the_checksum_is_the_one_that_is_documented(record in any_record(), chain in any::<u32>()) {
        let bytes = record.encode();
        let covered = [&bytes[..124], &chain.to_le_bytes()].concat();
        prop_assert_eq!(computed_crc(&bytes, chain), crc32fast::hash(&covered));
    }

    #[test]
    fn no_bytes_but_those_of_a_record_are_decoded(record in any_record(), place in 0..RECORD_BYTES, to in any::<u8>()) {
        let mut bytes = record.encode();
        bytes[place] = to;
        // Whatever is accepted is written as the same bytes, so nothing is read that was not checked.
        if let Ok(other) = Record::decode(&bytes) {
            let mut again = other.encode();
            again[AT_SYNCED..AT_INDEX].copy_from_slice(&bytes[AT_SYNCED..AT_INDEX]);
            again[AT_CRC..].copy_from_slice(&bytes[AT_CRC..]);
            prop_assert_eq!(again, bytes);
        }
    }
}

#[test]
fn every_flipped_bit_breaks_the_checksum() {
    let mut bytes = deposit().encode();
    seal(&mut bytes, Lsn(3), 77);
    for bit in 0..RECORD_BYTES * 8 {
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(!check(&bytes, 77), "bit {bit}");
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
}

fn deposit() -> OperationRecord {
    OperationRecord {
        lsn: Lsn(9),
        time_ns: 1_700_000_000_000_000_000,
        kind: Kind::Deposit,
        verdict: Verdict::Done,
        principal: 0x1234_5678,
        accounts: (AccountId(5), None),
        amount: Cents(250),
        balances: [Cents(1250), Cents::ZERO],
        previous: [Lsn(7), Lsn(0)],
        key: None,
    }
}

#[test]
fn each_field_that_cannot_be_has_its_error() {
    let wrong = |change: &dyn Fn(&mut RecordBytes)| {
        let mut bytes = deposit().encode();
        change(&mut bytes);
        Record::decode(&bytes).unwrap_err()
    };
    assert_eq!(wrong(&|b| b[AT_LSN] = 0), RecordError::Lsn(Lsn(0)));
    let last = |lsn: u64| move |b: &mut RecordBytes| LittleEndian::write_u64(&mut b[AT_LSN..], lsn);
    assert_eq!(wrong(&last(MAX_LSN + 1)), RecordError::Lsn(Lsn(MAX_LSN + 1)));
    assert_eq!(wrong(&last(u64::MAX)), RecordError::Lsn(Lsn(u64::MAX)));
    assert_eq!(wrong(&|b| b[AT_KIND] = 4), RecordError::Kind(4));
    assert_eq!(wrong(&|b| b[AT_KIND] = 3), RecordError::Second(u32::MAX), "a transfer that was done has two accounts");
    assert_eq!(wrong(&|b| b[AT_VERDICT] = 1), RecordError::Verdict(1));
    assert_eq!(wrong(&|b| b[AT_VERDICT] = 5), RecordError::UnkeyedRefusal);
    assert_eq!(wrong(&|b| b[AT_FLAGS + 1] = 1), RecordError::Flags(0x100));
    assert_eq!(wrong(&|b| b[AT_ACCOUNTS + 4] = 1), RecordError::Second(0xFFFF_FF01));
    assert_eq!(wrong(&|b| b[AT_AMOUNT + 7] = 0x80), RecordError::Amount(Cents(i64::MIN + 250)));
    assert_eq!(wrong(&|b| b[AT_BALANCES + 8] = 1), RecordError::Balance(Cents(1)));
    assert_eq!(wrong(&|b| b[AT_BALANCES + 1] = 0), RecordError::Balance(Cents(1250 % 256)), "less than was put in");
    assert_eq!(wrong(&|b| b[AT_PREVIOUS] = 9), RecordError::Previous(Lsn(9)));
    assert_eq!(wrong(&|b| b[AT_PREVIOUS + 8] = 1), RecordError::Previous(Lsn(1)));
    assert_eq!(wrong(&|b| b[AT_KEY] = 1), RecordError::Key);
    assert_eq!(wrong(&|b| b[AT_REFERENCE] = 1), RecordError::Reserved);
    assert_eq!(wrong(&|b| b[AT_CODE + 3] = 1), RecordError::Reserved);
    assert_eq!(wrong(&|b| b[AT_TERM] = 3), RecordError::Entry { term: 3, index: 0 });
    assert_eq!(wrong(&|b| b[AT_INDEX] = 7), RecordError::Entry { term: 0, index: 7 });
    assert_eq!(wrong(&|b| stamp(b, 1, MAX_LSN + 1, false)), RecordError::Entry { term: 1, index: MAX_LSN + 1 });
    assert_eq!(wrong(&|b| b[AT_FLAGS] = 2), RecordError::NoEntry);
}

#[test]
fn each_field_that_cannot_be_in_a_record_of_raft_has_its_error() {
    let (lsn, time_ns) = (Lsn(9), 1);
    let payload = Payload::new(b"members").unwrap();
    let [term, membership] =
        [Content::Term(TermRecord { lsn, time_ns }), Content::Membership(MembershipRecord { lsn, time_ns, payload })]
            .map(|content| Record { term: 3, index: 7, ends_entry: true, content });
    let wrong = |record: &Record, change: &dyn Fn(&mut RecordBytes)| {
        let mut bytes = record.encode();
        assert_eq!(Record::decode(&bytes).as_ref(), Ok(record));
        change(&mut bytes);
        Record::decode(&bytes).unwrap_err()
    };
    for record in [&term, &membership] {
        assert_eq!(wrong(record, &|b| stamp(b, 0, 0, false)), RecordError::NoEntry);
        assert_eq!(wrong(record, &|b| b[AT_FLAGS] |= 1), RecordError::Flags(3));
        assert_eq!(wrong(record, &|b| b[AT_VERDICT] = 4), RecordError::Reserved);
        assert_eq!(wrong(record, &|b| b[AT_SYNCED - 1] = 4), RecordError::Reserved);
        assert_eq!(wrong(record, &|b| b[AT_CODE] = 4), RecordError::Reserved);
    }
    assert_eq!(wrong(&term, &|b| b[AT_PRINCIPAL] = 4), RecordError::Reserved);
    assert_eq!(wrong(&term, &|b| b[AT_ACCOUNTS] = 4), RecordError::Reserved);
    assert_eq!(wrong(&membership, &|b| b[AT_PRINCIPAL] = 0), RecordError::Payload(0));
    assert_eq!(wrong(&membership, &|b| b[AT_PRINCIPAL] = 65), RecordError::Payload(65));
    assert_eq!(wrong(&membership, &|b| b[AT_PRINCIPAL + 3] = 1), RecordError::Payload(0x0100_0007));
    assert_eq!(wrong(&membership, &|b| b[AT_PRINCIPAL] = 6), RecordError::Reserved, "a byte behind the last one");
    assert_eq!(Payload::new(&[0; MAX_PAYLOAD_BYTES]).unwrap().bytes(), [0; MAX_PAYLOAD_BYTES]);
    assert!(Payload::new(&[]).is_none() && Payload::new(&[0; MAX_PAYLOAD_BYTES + 1]).is_none());
}

#[test]
fn a_stamp_is_replaced_by_the_next_and_changes_nothing_else() {
    let keyed = OperationRecord { key: Some([5; KEY_BYTES]), ..deposit() };
    let mut bytes = keyed.encode();
    assert_eq!(place_of(&bytes), Place { lsn: Lsn(9), ..Place::default() });
    stamp(&mut bytes, 3, 7, true);
    assert_eq!(place_of(&bytes), Place { lsn: Lsn(9), term: 3, index: 7, ends_entry: true });
    stamp(&mut bytes, 4, 8, false);
    let wanted = Record { term: 4, index: 8, ends_entry: false, content: Content::Operation(keyed) };
    assert_eq!(Record::decode(&bytes), Ok(wanted));
}

#[test]
fn a_refused_transfer_keeps_any_account_number() {
    let record = OperationRecord {
        kind: Kind::Transfer,
        verdict: Verdict::NoAccount,
        accounts: (AccountId(u32::MAX), Some(AccountId(u32::MAX))),
        amount: Cents(-3),
        balances: [Cents::ZERO; 2],
        previous: [Lsn(0); 2],
        key: Some([0; KEY_BYTES]),
        ..deposit()
    };
    assert_eq!(Record::decode(&record.encode()), Ok(record.into()));
}

/// The layout is a promise to files that exist: these bytes must never change their meaning.
#[test]
fn the_bytes_of_a_known_record() {
    let mut bytes = deposit().encode();
    let crc = seal(&mut bytes, Lsn(6), 0x0BAD_CAFE);
    let words: Vec<_> = bytes.chunks(8).map(|word| u64::from_le_bytes(word.try_into().unwrap())).collect();
    let time = 1_700_000_000_000_000_000;
    let accounts = 5 | u64::from(u32::MAX) << 32;
    let crc = u64::from(crc) << 32;
    assert_eq!(words, [9, 0, time, 0x1234_5678_0000_0001, accounts, 250, 1250, 0, 7, 0, 0, 0, 6, 0, 0, crc]);
}

/// The same of records that a cluster writes.
#[test]
fn the_bytes_of_known_records_of_a_cluster() {
    let words = |bytes: &RecordBytes| -> Vec<u64> {
        bytes.chunks(8).map(|word| u64::from_le_bytes(word.try_into().unwrap())).collect()
    };
    let mut bytes = deposit().encode();
    stamp(&mut bytes, 3, 7, true);
    let accounts = 5 | u64::from(u32::MAX) << 32;
    let time = 1_700_000_000_000_000_000;
    let wanted = [9, 3, time, 0x1234_5678_0002_0001, accounts, 250, 1250, 0, 7, 0, 0, 0, 0, 7, 0, 0];
    assert_eq!(words(&bytes), wanted);
    let mut bytes = TermRecord { lsn: Lsn(9), time_ns: 8 }.encode();
    stamp(&mut bytes, 3, 7, true);
    assert_eq!(words(&bytes), [9, 3, 8, 0x0002_0010, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0]);
    let payload = Payload::new(b"12345678abc").unwrap();
    let mut bytes = MembershipRecord { lsn: Lsn(9), time_ns: 8, payload }.encode();
    stamp(&mut bytes, 3, 7, true);
    let [first, second] = [*b"12345678", *b"abc\0\0\0\0\0"].map(u64::from_le_bytes);
    assert_eq!(words(&bytes), [9, 3, 8, 0x0000_000b_0002_0011, first, second, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0]);
}
