//! The bytes of each frame, as documented: what one version sends, the next must understand.

use super::samples::{append, forge, frames};
use super::*;
use proptest::prelude::*;

/// Hex digits; what else stands between them is for the reader.
fn bytes(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(16)).collect();
    digits.chunks(2).map(|pair| u8::try_from(pair[0] << 4 | pair[1]).unwrap()).collect()
}

fn ascii(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

/// A frame around a body of hex digits.
fn framed(kind: u8, body: &str, records: &[u8]) -> Vec<u8> {
    forge(kind, &bytes(body), records)
}

#[test]
fn every_frame_has_the_bytes_that_are_documented() {
    let zeros = "00".repeat(16);
    let books = "10270000 40420f0000000000 40420f0000000000 0000000000000000 0d0c0b0a 0000080000000000 00000400";
    let members = format!(
        "02 01 | 01 0100000000000000 0d {} | 02 0200000000000000 0d {} | 03 0300000000000000 0d {}",
        ascii("10.0.0.1:7000"),
        ascii("10.0.0.2:7000"),
        ascii("10.0.0.3:7000")
    );
    // `|` and blanks are no digits.
    let numbers = "0100000000000000 0200000000000000 0900000000000000 0300000000000000 0400000000000000 0500000000000000 \
                   0600000000000000 0700000000000000 0800000000000000 ffffffffffffffff";
    let greeting = |cluster: &str, number: u8, nonce: &str| {
        let [peers, clients, key_values] =
            [format!("10.0.0.{number}:7000"), format!("[::1]:400{number}"), format!("[::1]:900{number}")];
        let addresses = format!("0d {} 0a {} 0a {}", ascii(&peers), ascii(&clients), ascii(&key_values));
        format!("{cluster} 0{number}00000000000000 0{number} {books} {} {addresses}", nonce.repeat(32))
    };
    let snapshot = format!("4d00000000000000 0800000000000000 d204000000000000 {members}");
    let begin = format!("4d00000000000000 0800000000000000 d204000000000000 0000000002000000 {members}");
    let entries = format!(
        "0500000000000000 0500000000000000 6400000000000000 6500000000000000 01 \
         0600000000000000 0600000000000000 6600000000000000 6600000000000000 02 \
         0700000000000000 0700000000000000 6700000000000000 6700000000000000 03 02 03 0300000000000000 0d {}",
        ascii("10.0.0.3:7000")
    );
    let Frame::Message(_, records) = append(2) else { unreachable!() };
    let wanted = [
        framed(1, &greeting(&zeros, 1, "ab"), &[]),
        framed(1, &greeting(&"c1".repeat(16), 2, "cd"), &[]),
        framed(2, &"ef".repeat(32), &[]),
        framed(3, &format!("{} {members}", "c1".repeat(16)), &[]),
        framed(4, &format!("07 01 0000 00000000 {numbers} 0100000000000000"), &[]),
        framed(4, &format!("01 01 0300 00000000 {numbers} ffffffffffffffff {entries}"), records.as_flattened()),
        framed(4, &format!("09 02 0000 00000000 {numbers} 0000000000000000 {snapshot}"), &[]),
        framed(5, &begin, &[]),
        framed(6, &format!("0000000001000000 {}", ascii("vault")), &[]),
        framed(7, "4d00000000000000", &[]),
        framed(8, "4d00000000000000 04", &[]),
    ];
    let frames = frames();
    assert_eq!(frames.len(), wanted.len());
    for (frame, wanted) in frames.iter().zip(&wanted) {
        assert_eq!(&frame.encode().unwrap(), wanted, "{frame:?}");
        let header = Header::decode(wanted.first_chunk().unwrap()).unwrap();
        assert_eq!((header.frame_bytes(), header.kind), (wanted.len(), frame.kind()));
        assert_eq!(&Frame::decode(&header, wanted).unwrap(), frame);
    }
}

#[test]
fn the_codes_of_messages_stay_what_they_are() {
    use crate::process::replica::message::{Message, MessageKind as Kind};
    let all = [
        (1, Kind::Append),
        (2, Kind::AppendResponse),
        (3, Kind::RequestPreVote),
        (4, Kind::RequestPreVoteResponse),
        (5, Kind::RequestVote),
        (6, Kind::RequestVoteResponse),
        (7, Kind::Heartbeat),
        (8, Kind::HeartbeatResponse),
        (10, Kind::TimeoutNow),
        (11, Kind::TransferLeader),
        (12, Kind::ReadIndex),
        (13, Kind::ReadIndexResponse),
    ];
    for (code, kind) in all {
        let message = Message { kind, ..samples::message(0) };
        let frame = encode_message(&message).unwrap();
        assert_eq!(frame[HEADER_BYTES], code);
        let header = Header::decode(frame.first_chunk().unwrap()).unwrap();
        assert_eq!(Frame::decode(&header, &frame), Ok(Frame::Message(message, Vec::new())));
    }
}

/// Appends of any entries that follow each other.
fn any_append() -> impl Strategy<Value = Frame> {
    use crate::base::vocab::Lsn;
    use crate::process::replica::message::{EntryKind, EntryRange, Message, MessageKind};
    let numbers = (any::<[u64; 7]>(), any::<i64>(), any::<bool>());
    let entries = proptest::collection::vec((0..20_u64, 0..3_u64, 0..3_u8), 0..40);
    (numbers, entries, 0..u64::MAX / 2, 1..1_u64 << 51).prop_map(|((n, priority, reject), entries, index, first)| {
        let (mut term, mut next) = (n[0] / 2, first);
        let log_term = term;
        let entries: Vec<_> = (index + 1..)
            .zip(entries)
            .map(|(index, (more, later, kind))| {
                term += later;
                let kind = match kind {
                    0 => EntryKind::Operations,
                    1 => EntryKind::Term,
                    _ => EntryKind::Change(crate::store::cluster::Change {
                        kind: crate::store::cluster::ChangeKind::Remove,
                        member: samples::member(4),
                    }),
                };
                let last = if matches!(kind, EntryKind::Change(_)) { next } else { next + more };
                let entry = EntryRange { index, term, first: Lsn(next), last: Lsn(last), kind };
                next = last + 1;
                entry
            })
            .collect();
        let records = samples::records(first..=next - 1);
        let message = Message {
            kind: MessageKind::Append,
            from: samples::node(n[1] | 1),
            to: samples::node(n[2] | 1),
            term,
            log_term,
            index,
            commit: n[3],
            commit_term: n[4],
            reject,
            reject_hint: n[5],
            request_snapshot: n[6],
            priority,
            context: n[0],
            entries,
            snapshot: None,
        };
        Frame::Message(message, records)
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read(frame in any_append()) {
        let bytes = frame.encode().unwrap();
        let header = Header::decode(bytes.first_chunk().unwrap()).unwrap();
        prop_assert_eq!(header.frame_bytes(), bytes.len());
        prop_assert_eq!(Frame::decode(&header, &bytes).unwrap(), frame);
    }

    #[test]
    fn greetings_and_chunks_round_trip(
        nonce in any::<[u8; 32]>(),
        cluster in any::<[u8; 16]>(),
        (accounts, opening, key_window) in (1..=crate::base::limits::MAX_ACCOUNTS, 0..=i64::MAX, any::<u64>()),
        (operations, openings, segment_records) in (0..=crate::base::limits::MAX_LSN, any::<u32>(), 1..=u64::MAX),
        address in "[!-~]{1,46}",
        kv_blocks in any::<u32>(),
        chunk in proptest::collection::vec(any::<u8>(), 1..3000),
        offset in 0..u64::MAX / 2,
    ) {
        let identity = crate::process::replica::peers::settings::Identity {
            cluster: crate::store::cluster::ClusterId::new(cluster),
            accounts,
            opening: crate::base::vocab::Cents(opening),
            key_window,
            operations: crate::base::vocab::Lsn(operations),
            openings,
            segment_records,
            peer_address: address.clone(),
            kv_address: if kv_blocks == 0 { String::new() } else { address.clone() },
            kv_blocks,
            client_address: address,
            ..samples::identity(7)
        };
        for frame in [
            Frame::Greeting(Greeting { identity, nonce }),
            Frame::Proof(nonce),
            Frame::Snapshot(SnapshotFrame::Chunk { offset, bytes: chunk }),
        ] {
            let bytes = frame.encode().unwrap();
            let header = Header::decode(bytes.first_chunk().unwrap()).unwrap();
            prop_assert_eq!(Frame::decode(&header, &bytes).unwrap(), frame);
        }
    }

    /// One bit anywhere, and nothing of the frame is used.
    #[test]
    fn damage_is_found(frame in any_append(), place in any::<prop::sample::Index>(), bit in 0..8_u8) {
        let mut bytes = frame.encode().unwrap();
        let place = place.index(bytes.len());
        bytes[place] ^= 1 << bit;
        let header = Header::decode(bytes.first_chunk().unwrap());
        prop_assert!(header.is_err() == (place < HEADER_BYTES), "{place}");
        if let Ok(header) = header {
            let error = Frame::decode(&header, &bytes).unwrap_err();
            prop_assert!(matches!(error, WireError::BodyChecksum | WireError::RecordsChecksum), "{error:?}");
        }
    }
}
