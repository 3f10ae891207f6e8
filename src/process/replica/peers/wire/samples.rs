//! One of each frame, for tests.

use byteorder::{ByteOrder, LittleEndian};

use super::{Found, Frame, Greeting, SnapshotFrame, SnapshotRefusal};
use crate::base::vocab::{Cents, Lsn};
use crate::process::replica::message::{EntryKind, EntryRange, Message, MessageKind, SnapshotRef};
use crate::process::replica::peers::settings::Identity;
use crate::store::cluster::{Change, ChangeKind, ClusterId, Member, Membership, NodeId, ReplicaId};
use crate::store::journal::record::{RECORD_BYTES, RecordBytes};

pub fn replica(number: u8) -> ReplicaId {
    ReplicaId::new(number).unwrap()
}

pub fn node(number: u64) -> NodeId {
    NodeId::new(number).unwrap()
}

pub fn member(number: u8) -> Member {
    Member { replica: replica(number), node: node(u64::from(number)), address: format!("10.0.0.{number}:7000") }
}

/// Members 1 and 2, and 3 that learns.
pub fn membership() -> Membership {
    Membership { voters: vec![member(1), member(2)], learners: vec![member(3)] }
}

/// What node and replica `number` says; fresh.
pub fn identity(number: u8) -> Identity {
    Identity {
        cluster: None,
        node: node(u64::from(number)),
        replica: replica(number),
        peer_address: format!("10.0.0.{number}:7000"),
        client_address: format!("[::1]:400{number}"),
        kv_address: format!("[::1]:900{number}"),
        accounts: 10_000,
        opening: Cents(1_000_000),
        key_window: 1_000_000,
        operations: Lsn(0),
        openings: 0x0A0B_0C0D,
        segment_records: 524_288,
        kv_blocks: 262_144,
    }
}

pub fn cluster(byte: u8) -> ClusterId {
    ClusterId::new([byte; 16]).unwrap()
}

/// A message with every number different, and without entries.
pub fn message(context: u64) -> Message {
    Message {
        kind: MessageKind::Append,
        from: node(1),
        to: node(2),
        term: 9,
        log_term: 3,
        index: 4,
        commit: 5,
        commit_term: 6,
        reject: true,
        reject_hint: 7,
        request_snapshot: 8,
        priority: -1,
        context,
        entries: Vec::new(),
        snapshot: None,
    }
}

pub fn record(lsn: u64) -> RecordBytes {
    let mut record = [u8::try_from(lsn % 251).unwrap(); RECORD_BYTES];
    LittleEndian::write_u64(&mut record, lsn);
    record
}

pub fn records(range: std::ops::RangeInclusive<u64>) -> Vec<RecordBytes> {
    range.map(record).collect()
}

/// Entries 5, 6 and 7: `operations` operations from LSN 100, a term's first, and a change of membership.
pub fn append(operations: u64) -> Frame {
    let last = 100 + operations;
    let entry = |index, first, last, kind| EntryRange { index, term: index, first: Lsn(first), last: Lsn(last), kind };
    let change = Change { kind: ChangeKind::Promote, member: member(3) };
    let entries = vec![
        entry(5, 100, last - 1, EntryKind::Operations),
        entry(6, last, last, EntryKind::Term),
        entry(7, last + 1, last + 1, EntryKind::Change(change)),
    ];
    Frame::Message(Message { entries, ..message(u64::MAX) }, records(100..=last + 1))
}

pub fn snapshot_ref() -> SnapshotRef {
    SnapshotRef { index: 77, term: 8, last: Lsn(1234), membership: membership() }
}

/// One of each kind.
pub fn frames() -> Vec<Frame> {
    let told = Message { kind: MessageKind::Snapshot, snapshot: Some(snapshot_ref()), reject: false, ..message(0) };
    vec![
        Frame::Greeting(Greeting { identity: identity(1), nonce: [0xAB; 32] }),
        Frame::Greeting(Greeting {
            identity: Identity { cluster: Some(cluster(0xC1)), ..identity(2) },
            nonce: [0xCD; 32],
        }),
        Frame::Proof([0xEF; 32]),
        Frame::Found(Found { cluster: cluster(0xC1), members: membership() }),
        Frame::Message(Message { kind: MessageKind::Heartbeat, ..message(1) }, Vec::new()),
        append(2),
        Frame::Message(told, Vec::new()),
        Frame::Snapshot(SnapshotFrame::Begin { snapshot: snapshot_ref(), bytes: 1 << 33 }),
        Frame::Snapshot(SnapshotFrame::Chunk { offset: 1 << 32, bytes: b"vault".to_vec() }),
        Frame::Snapshot(SnapshotFrame::End { index: 77 }),
        Frame::Snapshot(SnapshotFrame::Refuse { index: 77, why: SnapshotRefusal::Busy }),
    ]
}

/// A frame around a body: its checksums are computed here by another way than there.
pub fn forge(kind: u8, body: &[u8], records: &[u8]) -> Vec<u8> {
    let count = u32::try_from(records.len() / 128).unwrap();
    let mut frame = b"BVPR\x03\x00".to_vec();
    frame.extend([kind, 0]);
    frame.extend(u32::try_from(body.len()).unwrap().to_le_bytes());
    frame.extend(count.to_le_bytes());
    frame.extend(crc(body));
    frame.extend(crc(&frame.clone()));
    frame.extend(body);
    frame.extend(records);
    if count > 0 {
        frame.extend(crc(records));
    }
    frame
}

/// CRC-32 (IEEE 802.3), bit by bit.
fn crc(bytes: &[u8]) -> [u8; 4] {
    let step = |crc: u32, _| if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 };
    let sum = bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step));
    (!sum).to_le_bytes()
}
