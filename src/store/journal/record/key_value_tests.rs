use proptest::prelude::*;

use super::*;
use crate::base::limits::MAX_LSN;
use crate::store::journal::record::layout::{AT_INDEX, RECORD_BYTES, place_of, stamp};
use crate::store::journal::record::{Content, Record};
use crate::store::journal::test_support::{kv_head, kv_put};

fn head() -> KvHead {
    KvHead {
        lsn: Lsn(9),
        time_ns: 1_700_000_000_000_000_000,
        kind: KvKind::Put,
        verdict: KvVerdict::Done,
        principal: 0x1234_5678,
        key_bytes: 3,
        value_bytes: 1000,
        condition: Condition::IfVersion(7),
        fingerprint: *b"0123456789abcdef",
        previous: Lsn(7),
        keys: 2,
        blocks: 6,
        request: Some(*b"request-id-of-16"),
    }
}

fn decode(bytes: &RecordBytes) -> Result<KvHead, RecordError> {
    Record::decode(bytes).map(|record| match record.content {
        Content::KvHead(head) => head,
        other => panic!("{other:?}"),
    })
}

/// The layout is a promise to files that exist: these bytes must never change their meaning.
#[test]
fn the_bytes_of_known_records() {
    let words = |bytes: &RecordBytes| -> Vec<u64> {
        bytes.chunks(8).map(|word| u64::from_le_bytes(word.try_into().unwrap())).collect()
    };
    let word = |bytes: &[u8; 8]| u64::from_le_bytes(*bytes);
    let time = 1_700_000_000_000_000_000;
    let mut bytes = head().encode();
    stamp(&mut bytes, 3, 5, false);
    let lengths = 1000 | 3 << 32 | 2 << 40;
    let (counts, request) = (2 | 6 << 32, [word(b"request-"), word(b"id-of-16")]);
    let fingerprint = [word(b"01234567"), word(b"89abcdef")];
    let wanted = [9, 3, time, 0x1234_5678_0001_0020, lengths, 7, counts, fingerprint[0], fingerprint[1], 0];
    assert_eq!(words(&bytes)[..10], wanted);
    assert_eq!(words(&bytes)[10..], [request[0], request[1], 0, 5, 7, 0]);
    let refusal = KvHead { kind: KvKind::Delete, verdict: KvVerdict::Mismatch, value_bytes: 0, ..head() };
    let refusal = KvHead { condition: Condition::IfAbsent, ..refusal };
    assert_eq!(refusal.encode()[24..28], [33, 2, 1, 0]);
    assert_eq!(refusal.encode()[32..48], [0, 0, 0, 0, 3, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);

    let data: Vec<_> = (1..=u8::try_from(PIECE_BYTES).unwrap()).collect();
    let bytes = KvPiece::of(Lsn(10), 8, &data).encode();
    assert_eq!(
        bytes[..28],
        [[10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], [0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 34, 80, 0, 0]].concat()
    );
    assert_eq!((&bytes[28..96], &bytes[112..124]), (&data[..68], &data[68..]));
    assert_eq!((&bytes[96..112], &bytes[124..]), (&[0; 16][..], &[0; 4][..]));
    let verdicts = [KvVerdict::Done, KvVerdict::NotFound, KvVerdict::Mismatch, KvVerdict::Full];
    assert_eq!(verdicts.map(KvVerdict::code), [0, 1, 2, 6]);
}

#[test]
fn a_write_has_as_many_records_as_its_bytes_need_and_the_version_is_its_last() {
    assert_eq!([1, 79, 80, 81, 160, 161].map(write_records), [2, 2, 2, 3, 3, 4]);
    assert_eq!(MAX_WRITE_RECORDS, 824);
    let put = kv_head(100, KvKind::Put, 255, MAX_KV_VALUE_BYTES);
    assert_eq!((put.records(), put.version()), (MAX_WRITE_RECORDS, Lsn(100 + MAX_WRITE_RECORDS - 1)));
    let delete = kv_head(100, KvKind::Delete, 81, 0);
    assert_eq!((delete.records(), delete.version()), (3, Lsn(102)), "which key, is in the pieces");
    let refusal = KvHead { verdict: KvVerdict::Full, request: Some([1; 16]), ..put };
    assert_eq!((refusal.records(), refusal.data_bytes(), refusal.version()), (1, 0, Lsn(100)));
}

#[test]
fn keys_and_values_take_whole_blocks() {
    let of = |key, value| blocks_of(key, value);
    assert_eq!([of(1, 0), of(1, 223), of(224, 0), of(1, 224), of(255, 0)], [1, 1, 1, 2, 2]);
    assert_eq!([of(24, 448), of(24, 449)], [2, 3]);
    assert_eq!(of(255, MAX_KV_VALUE_BYTES), 266);
}

#[test]
fn each_field_that_cannot_be_has_its_error() {
    let wrong = |change: &dyn Fn(&mut RecordBytes)| {
        let mut bytes = head().encode();
        assert_eq!(decode(&bytes), Ok(head()));
        change(&mut bytes);
        Record::decode(&bytes).unwrap_err()
    };
    let outcome = |verdict: KvVerdict| RecordError::Outcome(verdict.name());
    assert_eq!(wrong(&|b| b[AT_KIND] = 31), RecordError::Reserved, "of a kind that has no link in this place");
    assert_eq!(wrong(&|b| b[AT_KIND] = 35), RecordError::Reserved);
    assert_eq!(wrong(&|b| b[AT_VERDICT] = 3), RecordError::Verdict(3));
    assert_eq!(wrong(&|b| b[AT_VERDICT] = 1), outcome(KvVerdict::NotFound));
    assert_eq!(wrong(&|b| b[AT_VERDICT] = 2), outcome(KvVerdict::Mismatch));
    assert_eq!(wrong(&|b| b[AT_FLAGS] = 4), RecordError::Flags(4));
    assert_eq!(wrong(&|b| b[AT_FLAGS] = 0), RecordError::Key);
    assert_eq!(wrong(&|b| b[AT_VALUE_BYTES + 2] = 1), RecordError::Lengths { key: 3, value: 66_536 });
    assert_eq!(wrong(&|b| b[AT_KEY_BYTES] = 0), RecordError::Lengths { key: 0, value: 1000 });
    assert_eq!(
        wrong(&|b| b[AT_KIND] = 33),
        RecordError::Lengths { key: 3, value: 1000 },
        "a key that goes has no value"
    );
    assert_eq!(wrong(&|b| b[AT_CONDITION] = 3), RecordError::Condition(3));
    assert_eq!(wrong(&|b| b[AT_CONDITION] = 1), RecordError::Condition(1), "a version, and no condition on it");
    assert_eq!(wrong(&|b| b[AT_EXPECTED] = 6), outcome(KvVerdict::Done), "it was not as was wanted");
    assert_eq!(wrong(&|b| b[AT_CONDITION + 1] = 1), RecordError::Reserved);
    assert_eq!(wrong(&|b| b[AT_EXPECTED - 1] = 1), RecordError::Reserved);
    assert_eq!(wrong(&|b| b[AT_UNUSED] = 1), RecordError::Reserved);
    assert_eq!(wrong(&|b| b[AT_KEY - 1] = 1), RecordError::Reserved);
    assert_eq!(wrong(&|b| b[AT_CODE] = 1), RecordError::Reserved);
    assert_eq!(wrong(&|b| b[AT_REFERENCE] = 9), RecordError::Previous(Lsn(9)));
    assert_eq!(wrong(&|b| b[AT_REFERENCE + 7] = 1), RecordError::Previous(Lsn(7 | 1 << 56)));
    assert_eq!(wrong(&|b| b[AT_KEYS] = 0), outcome(KvVerdict::Done), "there is this one");
    assert_eq!(wrong(&|b| b[AT_BLOCKS] = 5), outcome(KvVerdict::Done), "this one takes 5, and there is another");
    assert_eq!(wrong(&|b| b[AT_KEYS] = 3), outcome(KvVerdict::Done));
    assert_eq!(wrong(&|b| b[AT_BLOCKS + 1] = 2), outcome(KvVerdict::Done), "more than the other can take");
    assert_eq!(wrong(&|b| b[AT_LSN] = 0), RecordError::Lsn(Lsn(0)));
    let unkeyed = |b: &mut RecordBytes| {
        b[AT_FLAGS] = 0;
        b[AT_KEY..AT_SYNCED].fill(0);
    };
    assert_eq!(wrong(&unkeyed), RecordError::Reserved, "a fingerprint is of a request id");
}

#[test]
fn each_field_of_a_piece_that_cannot_be_has_its_error() {
    let piece = KvPiece::of(Lsn(10), 8, b"value");
    let wrong = |change: &dyn Fn(&mut RecordBytes)| {
        let mut bytes = piece.encode();
        assert_eq!(Record::decode(&bytes).unwrap().content, Content::KvPiece(piece));
        change(&mut bytes);
        Record::decode(&bytes).unwrap_err()
    };
    assert_eq!(wrong(&|b| b[AT_VERDICT] = 0), RecordError::Payload(0));
    assert_eq!(wrong(&|b| b[AT_VERDICT] = 81), RecordError::Payload(81));
    assert_eq!(wrong(&|b| b[AT_VERDICT] = 4), RecordError::Reserved, "a byte behind the last one");
    assert_eq!(wrong(&|b| b[AT_SYNCED - 1] = 1), RecordError::Reserved);
    assert_eq!(wrong(&|b| b[AT_CRC - 1] = 1), RecordError::Reserved);
    assert_eq!(wrong(&|b| b[AT_FLAGS] |= 1), RecordError::Flags(1));
    assert_eq!(wrong(&|b| b[AT_INDEX] = 1), RecordError::Entry { term: 0, index: 1 });
}

/// What follows from what: a table of version, condition, verdict and counts.
#[test]
fn what_cannot_have_come_of_a_write_is_refused() {
    use Condition::{Always, IfAbsent, IfVersion};
    use KvKind::{Delete, Put};
    use KvVerdict::{Done, Full, Mismatch, NotFound};
    let of = |kind, previous, condition, verdict, (keys, blocks)| {
        let value_bytes = if kind == Put { 1000 } else { 0 };
        let head = KvHead { kind, previous: Lsn(previous), condition, verdict, keys, blocks, value_bytes, ..head() };
        decode(&head.encode()).is_ok()
    };
    let may = [
        (Put, 0, Always, Done, (1, 5)),
        (Put, 0, IfAbsent, Done, (1, 5)),
        (Put, 7, IfVersion(7), Done, (1, 5)),
        (Put, 7, IfVersion(7), Full, (1, 5)),
        (Put, 0, Always, Full, (1, 1)),
        (Put, 0, Always, Full, (0, 0)),
        (Put, 7, IfVersion(6), Mismatch, (1, 1)),
        (Put, 7, IfAbsent, Mismatch, (1, 266)),
        (Put, 0, IfVersion(0), Mismatch, (0, 0)),
        (Put, 0, IfVersion(3), Mismatch, (4, 4)),
        (Delete, 7, Always, Done, (0, 0)),
        (Delete, 7, IfVersion(7), Done, (2, 532)),
        (Delete, 0, Always, NotFound, (0, 0)),
        (Delete, 0, IfVersion(7), Mismatch, (0, 0)),
    ];
    for (kind, previous, condition, verdict, counts) in may {
        assert!(
            of(kind, previous, condition, verdict, counts),
            "{kind:?} {previous} {condition:?} {verdict:?} {counts:?}"
        );
    }
    let may_not = [
        (Put, 7, IfAbsent, Done, (1, 5)),
        (Put, 0, IfVersion(0), Done, (1, 5)),
        (Put, 0, IfVersion(7), Done, (1, 5)),
        (Put, 7, IfVersion(6), Full, (1, 5)),
        (Put, 7, IfVersion(7), Mismatch, (1, 5)),
        (Put, 0, Always, NotFound, (0, 0)),
        (Put, 7, IfAbsent, Mismatch, (0, 0)),
        (Put, 7, IfAbsent, Mismatch, (1, 267)),
        (Put, 0, Always, Done, (1, 6)),
        (Put, 0, Always, Full, (0, 1)),
        (Put, 0, Always, Full, (2, 1)),
        (Delete, 0, Always, Done, (0, 0)),
        (Delete, 7, Always, Done, (0, 1)),
        (Delete, 7, Always, Done, (2, 533)),
        (Delete, 7, Always, NotFound, (1, 1)),
        (Delete, 7, Always, Full, (1, 1)),
        (Delete, 0, IfVersion(7), NotFound, (0, 0)),
    ];
    for (kind, previous, condition, verdict, counts) in may_not {
        assert!(
            !of(kind, previous, condition, verdict, counts),
            "{kind:?} {previous} {condition:?} {verdict:?} {counts:?}"
        );
    }
    let mut unkeyed = KvHead { verdict: Full, ..head() }.encode();
    unkeyed[AT_FLAGS] = 0;
    unkeyed[AT_KEY..AT_SYNCED].fill(0);
    assert_eq!(decode(&unkeyed), Err(RecordError::UnkeyedRefusal));
}

fn any_head() -> impl Strategy<Value = KvHead> {
    let lengths = (1..=u8::MAX, 0..=u32::try_from(MAX_KV_VALUE_BYTES).unwrap());
    let asked = (any::<bool>(), 0..3u8, any::<u64>(), lengths, any::<u32>(), any::<u64>());
    let found = (1..=MAX_LSN, any::<u64>(), any::<bool>(), 0..1000u32, 0..266u32, any::<bool>());
    (asked, found, prop::option::of(any::<[u8; KEY_BYTES]>()), any::<Fingerprint>()).prop_map(
        |(
            (deletes, condition, expected, (key_bytes, value_bytes), principal, time_ns),
            found,
            request,
            fingerprint,
        )| {
            let (lsn, previous, is_met, others, more, is_full) = found;
            let kind = if deletes { KvKind::Delete } else { KvKind::Put };
            let value_bytes = if deletes { 0 } else { value_bytes };
            let previous = Lsn(previous % lsn);
            let expected = if is_met { previous.0 } else { expected };
            let condition = Condition::from_code(condition, if condition == 2 { expected } else { 0 }).unwrap();
            let verdict = match (condition.admits(previous), previous > Lsn(0)) {
                (false, _) => KvVerdict::Mismatch,
                (true, false) if deletes => KvVerdict::NotFound,
                (true, _) if is_full && !deletes => KvVerdict::Full,
                (true, _) => KvVerdict::Done,
            };
            let done = verdict == KvVerdict::Done;
            let request = request.or((!done).then_some([0; KEY_BYTES]));
            let fingerprint = if request.is_some() { fingerprint } else { Fingerprint::default() };
            let has_own = if done { !deletes } else { previous > Lsn(0) };
            let own = if done { blocks_of(key_bytes.into(), value_bytes as usize) } else { 1 };
            let keys = others + u32::from(has_own);
            let blocks = others * (1 + more % 266) + if has_own { own } else { 0 };
            let lsn = Lsn(lsn);
            KvHead {
                lsn,
                time_ns,
                kind,
                verdict,
                principal,
                key_bytes,
                value_bytes,
                condition,
                fingerprint,
                previous,
                keys,
                blocks,
                request,
            }
        },
    )
}

fn any_record() -> impl Strategy<Value = Record> {
    let place = prop::option::of((1..=u64::MAX, 1..=MAX_LSN, any::<bool>()));
    let piece = (1..=MAX_LSN, any::<u64>(), prop::collection::vec(any::<u8>(), 1..=PIECE_BYTES))
        .prop_map(|(lsn, time_ns, data)| Content::KvPiece(KvPiece::of(Lsn(lsn), time_ns, &data)));
    let content = prop_oneof![any_head().prop_map(Content::KvHead), piece];
    (content, place).prop_map(|(content, place)| {
        let (term, index, ends_entry) = place.unwrap_or_default();
        Record { term, index, ends_entry, content }
    })
}

proptest! {
    #[test]
    fn records_round_trip(record in any_record()) {
        let bytes = record.encode();
        prop_assert_eq!(place_of(&bytes), record.place());
        prop_assert_eq!(is_piece(&bytes), record.is_piece());
        prop_assert_eq!(Record::decode(&bytes), Ok(record));
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
fn the_pieces_of_a_test_s_put_are_those_of_its_bytes() {
    let records = kv_put(5, 3, 200);
    assert_eq!(records.len() as u64, write_records(203));
    assert_eq!(records.iter().map(Record::is_piece).collect::<Vec<_>>(), [false, true, true, true]);
}
