//! Frames that somebody who can compute checksums has made: each fault has its own name.

use super::error::WireError;
use super::header::{HEADER_BYTES, Header};
use super::kind::FrameKind;
use super::samples::{self, append, forge, frames, membership};
use super::{Frame, SnapshotFrame, encode_message};
use crate::base::limits::{MAX_ENTRY_RECORDS, MAX_LSN, MAX_MESSAGE_ENTRIES, MAX_SNAPSHOT_CHUNK_BYTES};
use crate::base::vocab::{Cents, Lsn};
use crate::process::replica::message::{EntryKind, EntryRange, Message, MessageKind};
use crate::store::cluster::{Change, ChangeKind, Membership};

fn decode(bytes: &[u8]) -> Result<Frame, WireError> {
    let header = Header::decode(bytes.first_chunk().unwrap())?;
    assert_eq!(header.frame_bytes(), bytes.len());
    Frame::decode(&header, bytes)
}

/// A frame of which `change` has changed the body, with right checksums.
fn changed(frame: &Frame, change: impl FnOnce(&mut Vec<u8>)) -> Result<Frame, WireError> {
    let bytes = frame.encode().unwrap();
    let header = Header::decode(bytes.first_chunk().unwrap()).unwrap();
    let mut body = bytes[HEADER_BYTES..HEADER_BYTES + header.body].to_vec();
    let records = match frame {
        Frame::Message(_, records) => records.as_flattened(),
        _ => &[],
    };
    change(&mut body);
    decode(&forge(header.kind as u8, &body, records))
}

#[test]
fn a_header_is_checked_before_anything_is_held_for_it() {
    let good = samples::append(2).encode().unwrap();
    let with = |change: &dyn Fn(&mut [u8; HEADER_BYTES])| {
        let mut header = *good.first_chunk::<HEADER_BYTES>().unwrap();
        change(&mut header);
        let crc = crc32fast::hash(&header[..20]).to_le_bytes();
        header[20..].copy_from_slice(&crc);
        Header::decode(&header).unwrap_err()
    };
    assert_eq!(with(&|header| header[0] = b'b'), WireError::Magic);
    assert_eq!(with(&|header| header[4] = 1), WireError::Version(1));
    assert_eq!(with(&|header| header[6] = 0), WireError::Kind(0));
    assert_eq!(with(&|header| header[6] = 9), WireError::Kind(9));
    assert_eq!(with(&|header| header[7] = 1), WireError::Reserved);
    assert_eq!(
        with(&|header| header[8..12].fill(0xFF)),
        WireError::Length { kind: FrameKind::Message, length: 0xFFFF_FFFF, most: 131_072 }
    );
    assert_eq!(
        with(&|header| header[12..16].copy_from_slice(&65_537_u32.to_le_bytes())),
        WireError::Records { kind: FrameKind::Message, count: 65_537, most: MAX_ENTRY_RECORDS }
    );
    for (kind, most) in [(1, 256), (2, 32), (3, 1024), (5, 1024), (6, 8 + 262_144), (7, 1024), (8, 1024)] {
        let refused = with(&|header| {
            (header[6], header[12]) = (kind, 0);
            header[8..12].copy_from_slice(&(most + 1_u32).to_le_bytes());
        });
        assert!(matches!(refused, WireError::Length { length, .. } if length == most as usize + 1), "{refused:?}");
        let refused = with(&|header| {
            (header[6], header[12]) = (kind, 1);
            header[8..12].fill(0);
        });
        assert!(matches!(refused, WireError::Records { count: 1, most: 0, .. }), "{refused:?}");
    }
    let mut damaged = *good.first_chunk::<HEADER_BYTES>().unwrap();
    damaged[9] ^= 1;
    assert_eq!(Header::decode(&damaged), Err(WireError::HeaderChecksum));
}

#[test]
fn no_body_may_be_shorter_or_longer_than_what_it_holds() {
    for frame in frames() {
        let is_chunk = matches!(frame, Frame::Snapshot(SnapshotFrame::Chunk { .. }));
        let length = frame.encode().unwrap().len() - HEADER_BYTES;
        for cut in 0..length.min(400) {
            // A chunk goes to the end of its body; so do the records of a message go beyond it.
            if let Ok(shorter) = changed(&frame, |body| body.truncate(body.len().saturating_sub(cut + 1))) {
                assert!(is_chunk, "{shorter:?}");
            }
        }
        let longer = changed(&frame, |body| body.push(0));
        if is_chunk {
            longer.unwrap();
        } else {
            let refused = longer.unwrap_err();
            assert!(matches!(refused, WireError::Trailing(1) | WireError::Length { .. }), "{frame:?}: {refused:?}");
        }
        // And whoever hands in too few bytes gets no frame.
        let bytes = frame.encode().unwrap();
        let header = Header::decode(bytes.first_chunk().unwrap()).unwrap();
        assert_eq!(Frame::decode(&header, &bytes[..bytes.len() - 1]), Err(WireError::Short));
    }
}

#[test]
fn what_a_greeting_says_must_be_possible() {
    let frame = &frames()[0];
    let with = |place: usize, bytes: &[u8]| {
        changed(frame, |body| body[place..place + bytes.len()].copy_from_slice(bytes)).unwrap_err()
    };
    assert_eq!(with(16, &[0; 8]), WireError::Node);
    assert_eq!(with(24, &[0]), WireError::Replica(0));
    assert_eq!(with(24, &[8]), WireError::Replica(8));
    assert_eq!(with(25, &[0; 4]), WireError::Books, "no accounts");
    assert_eq!(with(25, &[0xFF; 4]), WireError::Books, "too many");
    assert_eq!(with(29, &[0xFF; 8]), WireError::Books, "an opening total below zero");
    assert_eq!(with(45, &[0xFF; 8]), WireError::Books, "more operations than there can be");
    assert_eq!(with(57, &[0; 8]), WireError::Books, "segments without records");
    assert_eq!(with(101, &[47]), WireError::Short);
    assert_eq!(with(102, b"\n"), WireError::Address, "it would break a line of the log");
    assert_eq!(with(102, b"\xFF"), WireError::Address);
    assert_eq!(with(65, &[0; 4]), WireError::Address, "the address of a service that it does not have");
    let nowhere = changed(frame, |body| {
        body.truncate(body.len() - 11);
        body.push(0);
    });
    assert_eq!(nowhere, Err(WireError::Address), "a table, and no service for it");
    let empty = changed(frame, |body| {
        body.truncate(101);
        body.push(0);
    });
    assert_eq!(empty, Err(WireError::Address));
    let long = samples::identity(1);
    for wrong in [
        super::super::settings::Identity { peer_address: "a".repeat(47), ..long.clone() },
        super::super::settings::Identity { client_address: String::new(), ..long.clone() },
        super::super::settings::Identity { kv_address: String::new(), ..long.clone() },
        super::super::settings::Identity { kv_blocks: 0, ..long.clone() },
        super::super::settings::Identity { opening: Cents(-1), ..long.clone() },
        super::super::settings::Identity { accounts: 0, ..long },
    ] {
        assert!(super::Greeting { identity: wrong, nonce: [0; 32] }.encode().is_err());
    }
}

/// Where the entries begin in the body of a message.
const AT_ENTRIES: usize = 96;
const ENTRY_BYTES: usize = 33;

#[test]
fn every_fault_of_a_message_is_named() {
    let frame = &append(2);
    let with = |place: usize, bytes: &[u8]| {
        changed(frame, |body| body[place..place + bytes.len()].copy_from_slice(bytes)).unwrap_err()
    };
    assert_eq!(with(0, &[0]), WireError::MessageKind(0));
    assert_eq!(with(0, &[14]), WireError::MessageKind(14));
    assert_eq!(with(0, &[7]), WireError::Entries(3), "a heartbeat has none");
    assert_eq!(with(0, &[9]), WireError::Entries(3), "a snapshot has none");
    assert_eq!(with(1, &[4]), WireError::Flags(4));
    assert_eq!(with(2, &1025_u16.to_le_bytes()), WireError::Entries(MAX_MESSAGE_ENTRIES + 1));
    assert_eq!(with(4, &[1]), WireError::Reserved);
    assert_eq!(with(8, &[0; 8]), WireError::Node);
    assert_eq!(with(16, &[0; 8]), WireError::Node);
    assert_eq!(with(40, &[9]), WireError::Gap { index: 5 }, "they do not follow what the message names");
    assert_eq!(with(32, &[6]), WireError::EntryTerm { index: 5 }, "the log term of the message is later");
    assert_eq!(with(24, &[6]), WireError::EntryTerm { index: 7 }, "the message's term is earlier");
    let second = AT_ENTRIES + ENTRY_BYTES;
    assert_eq!(with(second, &[9]), WireError::Gap { index: 9 });
    assert_eq!(with(second + 8, &[4]), WireError::EntryTerm { index: 6 });
    assert_eq!(with(second + 16, &[0; 8]), WireError::Lsn(0));
    assert_eq!(with(second + 24, &(MAX_LSN + 1).to_le_bytes()), WireError::Lsn(MAX_LSN + 1));
    assert_eq!(with(second + 16, &[0x67]), WireError::Backwards { index: 6 });
    assert_eq!(with(second + 16, &[0x65]), WireError::Gap { index: 6 }, "record 101 is entry 5's");
    assert_eq!(with(second + 32, &[4]), WireError::EntryKind(4));
    let third = second + ENTRY_BYTES;
    assert_eq!(with(third + 24, &[0x68]), WireError::ChangeRecords { index: 7 });
    assert_eq!(with(third + 33, &[4]), WireError::ChangeKind(4));
    assert_eq!(with(third + 34, &[0]), WireError::Replica(0));
    assert_eq!(with(1, &[3]), WireError::Short, "a snapshot is announced");
    let last = changed(&frames()[6], |body| body[1] = 0);
    assert_eq!(last, Err(WireError::Trailing(24 + 2 + 3 * 23)));
    assert_eq!(changed(&frames()[6], |body| body[0] = 7), Err(WireError::Snapshot));
    let heartbeat = &frames()[4];
    assert_eq!(changed(heartbeat, |body| body[0] = 9), Err(WireError::Snapshot), "one without its snapshot");
}

#[test]
fn records_must_be_those_of_the_entries() {
    let Frame::Message(message, records) = append(2) else { unreachable!() };
    let with = |records: &[[u8; 128]]| decode(&Frame::Message(message.clone(), records.to_vec()).encode().unwrap());
    with(&records).unwrap();
    let wrong = |range| samples::records(range);
    let forged = |records: &[[u8; 128]]| {
        let body = encode_message(&message).unwrap()[HEADER_BYTES..].to_vec();
        decode(&forge(4, &body, records.as_flattened()))
    };
    assert_eq!(forged(&wrong(100..=102)), Err(WireError::RecordCount { records: 3, entries: 4 }));
    assert_eq!(forged(&wrong(100..=104)), Err(WireError::RecordCount { records: 5, entries: 4 }));
    assert_eq!(forged(&[]), Err(WireError::RecordCount { records: 0, entries: 4 }));
    assert_eq!(forged(&wrong(101..=104)), Err(WireError::RecordLsn { found: 101, wanted: 100 }));
    let heartbeat = encode_message(&Message { kind: MessageKind::Heartbeat, ..samples::message(0) }).unwrap();
    let loaded = decode(&forge(4, &heartbeat[HEADER_BYTES..], records.as_flattened()));
    assert_eq!(loaded, Err(WireError::RecordCount { records: 4, entries: 0 }));
}

/// A receiver that left the records' checksum out would take this, since all that the body says of them is right.
#[test]
fn a_record_that_was_changed_on_its_way_is_found_by_the_checksum_alone() {
    let good = append(2).encode().unwrap();
    let mut bad = good.clone();
    let amount = good.len() - 4 - 128 + 40;
    bad[amount] ^= 1;
    assert_eq!(decode(&bad), Err(WireError::RecordsChecksum));
    let crc = crc32fast::hash(&bad[bad.len() - 4 - 4 * 128..bad.len() - 4]).to_le_bytes();
    let end = bad.len();
    bad[end - 4..].copy_from_slice(&crc);
    assert!(decode(&bad).is_ok(), "nothing else is wrong with it");
}

/// The same for the body's.
#[test]
fn a_body_that_was_changed_on_its_way_is_found_by_the_checksum_alone() {
    let good = frames()[4].encode().unwrap();
    let mut bad = good.clone();
    bad[HEADER_BYTES + 48] ^= 1;
    assert_eq!(decode(&bad), Err(WireError::BodyChecksum));
    assert!(decode(&forge(4, &bad[HEADER_BYTES..], &[])).is_ok(), "nothing else is wrong with it");
}

#[test]
fn members_are_bounded_and_there_once() {
    let found = &frames()[3];
    let with = |place: usize, bytes: &[u8]| {
        changed(found, |body| body[place..place + bytes.len()].copy_from_slice(bytes)).unwrap_err()
    };
    assert_eq!(with(0, &[0; 16]), WireError::Cluster);
    assert_eq!(with(16, &[0]), WireError::Members(1));
    assert_eq!(with(16, &[7]), WireError::Members(8));
    assert_eq!(with(16, &[255, 255]), WireError::Members(510));
    assert_eq!(with(19, &[2]), WireError::MemberTwice);
    let eight = Membership { voters: (1..=7).map(samples::member).collect(), learners: vec![samples::member(1)] };
    for (members, why) in [
        (Membership::default(), WireError::Members(0)),
        (Membership { voters: vec![], ..membership() }, WireError::Members(1)),
        (eight, WireError::Members(8)),
        (Membership { voters: vec![samples::member(3)], ..membership() }, WireError::MemberTwice),
    ] {
        assert_eq!(super::Found { cluster: samples::cluster(1), members }.encode(), Err(why));
    }
}

#[test]
fn chunks_and_refusals_are_bounded() {
    let chunk = |offset, length| SnapshotFrame::Chunk { offset, bytes: vec![1; length] }.encode();
    assert!(chunk(0, MAX_SNAPSHOT_CHUNK_BYTES).is_ok());
    for refused in [chunk(0, 0), chunk(0, MAX_SNAPSHOT_CHUNK_BYTES + 1), chunk(u64::MAX, 1)] {
        assert_eq!(refused, Err(WireError::Chunk));
    }
    let frames = frames();
    assert_eq!(changed(&frames[8], |body| body.truncate(8)), Err(WireError::Chunk));
    assert_eq!(changed(&frames[8], |body| body[..8].fill(0xFF)), Err(WireError::Chunk));
    assert_eq!(changed(&frames[10], |body| body[8] = 5), Err(WireError::Reason(5)));
    assert_eq!(changed(&frames[7], |body| body[16..24].fill(0)), Err(WireError::Lsn(0)));
}

#[test]
fn what_could_not_be_read_is_not_written() {
    let entry = |index, first, last| EntryRange {
        index,
        term: 9,
        first: Lsn(first),
        last: Lsn(last),
        kind: EntryKind::Operations,
    };
    let with = |entries| encode_message(&Message { entries, ..samples::message(0) }).unwrap_err();
    assert_eq!(with(vec![entry(6, 1, 1)]), WireError::Gap { index: 6 });
    assert_eq!(with(vec![entry(5, 2, 1)]), WireError::Backwards { index: 5 });
    assert_eq!(with(vec![entry(5, 0, 1)]), WireError::Lsn(0));
    assert_eq!(with(vec![entry(5, 1, MAX_LSN + 1)]), WireError::Lsn(MAX_LSN + 1));
    assert!(matches!(with(vec![entry(5, 1, 65_537)]), WireError::Records { count: 65_537, .. }));
    let many: Vec<_> = (5..).zip(1..).take(1025).map(|(index, lsn)| entry(index, lsn, lsn)).collect();
    assert_eq!(with(many), WireError::Entries(1025));
    let change = Change { kind: ChangeKind::Promote, member: samples::member(1) };
    let changing = EntryRange { kind: EntryKind::Change(change), ..entry(5, 1, 2) };
    assert_eq!(with(vec![changing]), WireError::ChangeRecords { index: 5 });
    let last = Message { index: u64::MAX, ..samples::message(0) };
    let beyond = encode_message(&Message { entries: vec![entry(0, 1, 1)], ..last });
    assert_eq!(beyond, Err(WireError::Gap { index: 0 }));
}
