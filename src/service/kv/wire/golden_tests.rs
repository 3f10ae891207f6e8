//! Calls and replies have the bytes that `docs/kv.x` says, and any of them is read as it was written.

use proptest::collection::vec;
use proptest::prelude::*;

use super::samples::{me, pages, replies, requests, xid};
use super::*;
use crate::base::limits::{MAX_KV_PAGE, MAX_KV_VALUE_BYTES, MAX_RPC_FRAGMENTS, MAX_RPC_RECORD_BYTES};
use crate::base::onc_rpc::golden_tests::{golden, payload};
use crate::base::onc_rpc::{Call, Credentials, RecordLimits, RecordStep, Reply, Room, next_record};
use crate::base::vocab::{Condition, Lsn};

/// The results in a reply of this program, mark included.
fn results(record: &[u8]) -> Vec<u8> {
    Reply::read(&payload(record)).unwrap().results.unwrap().to_vec()
}

#[test]
fn calls_have_the_bytes_of_the_interface() {
    for (name, request) in requests() {
        let record = golden(name);
        let call = payload(&record);
        let call = Call::read(&call).unwrap();
        assert_eq!(KvRequest::of_call(&call), Ok(request), "{name}");
        assert_eq!(call.procedure, request.procedure().code());
        let credentials = if name == "kv_get_after" { me() } else { Credentials::None };
        assert_eq!(call.credentials, credentials);
        let mut written = Vec::new();
        request.write_call(xid(&record), credentials, &mut written);
        assert_eq!(written, record, "{name}");
    }
}

#[test]
fn a_call_in_several_fragments_is_the_same_call() {
    let limits = RecordLimits { bytes: MAX_RPC_RECORD_BYTES, fragments: MAX_RPC_FRAGMENTS };
    let (record, mut gathered) = (golden("fragments"), Vec::new());
    let RecordStep::Complete { taken, payload } = next_record(&record, limits, &mut gathered) else { panic!() };
    let request = KvRequest::of_call(&Call::read(payload).unwrap()).unwrap();
    let one = requests().into_iter().find(|(name, _)| *name == "kv_put_version").unwrap().1;
    assert_eq!((taken, request), (record.len(), one));
}

#[test]
fn replies_have_the_bytes_of_the_interface() {
    for (name, procedure, reply) in replies() {
        let record = golden(name);
        assert_eq!(KvReply::read(procedure, &results(&record)), Ok(reply), "{name}");
        let mut written = b"before".to_vec();
        let said = reply.write(xid(&record), &mut written);
        assert_eq!((&written[6..], said.bytes), (record.as_slice(), record.len()), "{name}");
        assert!(said.bytes <= WRITE_REPLY_BYTES || matches!(procedure, KvProcedure::Get | KvProcedure::Status));
    }
    for (name, entries, more) in pages() {
        let record = golden(name);
        let read = results(&record);
        let KvReply::Page(page) = KvReply::read(KvProcedure::Scan, &read).unwrap() else { panic!("{name}") };
        assert_eq!((page.entries().collect::<Vec<_>>(), page.more), (entries.clone(), more), "{name}");
        assert_eq!((page.len(), page.is_empty()), (entries.len(), entries.is_empty()));
        let mut memory = vec![0; record.len()];
        let mut room = Room::new(&mut memory);
        let said = KvReply::Page(page).write(xid(&record), &mut room);
        assert_eq!((room.written().unwrap(), said.bytes), (record.clone().as_mut_slice(), record.len()), "{name}");
    }
}

#[test]
fn the_version_of_a_write_is_put_in_place_when_it_is_known() {
    for (name, _, reply) in replies() {
        let mut record = golden(name);
        let said = reply.write(xid(&record), &mut Vec::new());
        assert_eq!(said.version_at.is_some(), matches!(reply, KvReply::Written { .. }), "{name}");
        put_version(&mut record, said, Lsn(0xABCD));
        let mut wanted = golden(name);
        if let KvReply::Written { .. } = reply {
            wanted.clear();
            KvReply::Written { version: Lsn(0xABCD) }.write(xid(&record), &mut wanted);
            assert_eq!(wanted.len(), WRITE_REPLY_BYTES);
        }
        assert_eq!(record, wanted, "{name}");
    }
}

#[test]
fn a_page_has_no_more_entries_than_it_may() {
    let keys: Vec<[u8; 255]> = (0..=u8::MAX).map(|byte| [byte; 255]).chain([[255; 255]]).collect();
    let entries = |count: usize| keys[..count].iter().map(|key| ScanEntry { key, version: Lsn(7), value_bytes: 9 });
    for (count, more) in [(MAX_KV_PAGE, false), (MAX_KV_PAGE + 1, true)] {
        let mut record = Vec::new();
        let said = write_page(1, entries(count), false, &mut record);
        assert_eq!((said.bytes, record.len()), (MAX_SCAN_REPLY_BYTES, MAX_SCAN_REPLY_BYTES));
        let read = results(&record);
        let KvReply::Page(page) = KvReply::read(KvProcedure::Scan, &read).unwrap() else { panic!() };
        assert_eq!((page.len(), page.more), (MAX_KV_PAGE, more));
    }
    let mut record = Vec::new();
    KvReply::Found { version: Lsn(1), value: &[1; MAX_KV_VALUE_BYTES] }.write(1, &mut record);
    assert_eq!(record.len(), MAX_GET_REPLY_BYTES);
    assert!(record.len() <= MAX_KV_REPLY_BYTES && MAX_KV_REPLY_BYTES < MAX_RPC_RECORD_BYTES);
}

fn any_condition() -> impl Strategy<Value = Condition> {
    prop_oneof![Just(Condition::Always), Just(Condition::IfAbsent), any::<u64>().prop_map(Condition::IfVersion)]
}

proptest! {
    #[test]
    fn any_request_is_read_as_it_was_written(
        procedure in 0_u32..6,
        key in vec(any::<u8>(), 0..=255),
        other in vec(any::<u8>(), 0..=255),
        value in vec(any::<u8>(), 0..3000),
        request_id in proptest::option::of(any::<[u8; 16]>().prop_filter("none", |id| *id != [0; 16])),
        (condition, after, limit) in (any_condition(), any::<u64>().prop_map(Lsn), any::<u32>()),
    ) {
        let request = match KvProcedure::of(procedure).unwrap() {
            KvProcedure::Null => KvRequest::Null,
            KvProcedure::Get => KvRequest::Get { key: &key, after },
            KvProcedure::Put => KvRequest::Put { request_id, key: &key, value: &value, condition },
            KvProcedure::Delete => KvRequest::Delete { request_id, key: &key, condition },
            KvProcedure::Scan => KvRequest::Scan { from: &key, prefix: &other, limit, after },
            KvProcedure::Status => KvRequest::Status,
        };
        let mut record = Vec::new();
        request.write_call(limit, me(), &mut record);
        prop_assert!(record.len() <= MAX_KV_CALL_BYTES);
        let call = payload(&record);
        let call = Call::read(&call).unwrap();
        prop_assert_eq!((call.xid, KvRequest::of_call(&call)), (limit, Ok(request)));
    }

    #[test]
    fn any_page_is_read_as_it_was_written(
        entries in vec((vec(any::<u8>(), 0..=255), any::<u64>(), any::<u32>()), 0..20),
        more in any::<bool>(),
    ) {
        let mut written = Vec::new();
        for (key, version, value_bytes) in &entries {
            written.push(ScanEntry { key, version: Lsn(*version), value_bytes: *value_bytes });
        }
        let mut record = Vec::new();
        write_page(9, written.iter().copied(), more, &mut record);
        let read = results(&record);
        let KvReply::Page(page) = KvReply::read(KvProcedure::Scan, &read).unwrap() else { panic!() };
        prop_assert_eq!((page.entries().collect::<Vec<_>>(), page.more), (written, more));
    }

    #[test]
    fn any_bytes_are_read_without_panic(procedure in 0_u32..6, bytes in vec(any::<u8>(), 0..200)) {
        let procedure = KvProcedure::of(procedure).unwrap();
        let _ = (KvRequest::read(procedure, &bytes), KvReply::read(procedure, &bytes));
    }
}
