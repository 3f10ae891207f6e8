//! What a client may send and should not, and what a server should not.

use super::samples::{pages, replies, requests};
use super::*;
use crate::base::onc_rpc::golden_tests::{golden, payload};
use crate::base::onc_rpc::{Call, Fault, XdrError};
use crate::base::vocab::Condition;

/// What stands behind the head of a message of AUTH_NONE.
fn body(name: &str, head: usize) -> Vec<u8> {
    payload(&golden(name)).split_off(head)
}

fn arguments(request: &KvRequest<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    request.write(&mut bytes);
    bytes
}

#[test]
fn every_request_ends_where_its_last_argument_does() {
    for (name, request) in requests() {
        let whole = arguments(&request);
        for length in 0..whole.len() {
            assert_eq!(
                KvRequest::read(request.procedure(), &whole[..length]),
                Err(XdrError::Short),
                "{name} of {length} bytes"
            );
        }
        for more in [1, 4] {
            let longer = [whole.as_slice(), &[0; 4][..more]].concat();
            assert_eq!(KvRequest::read(request.procedure(), &longer), Err(XdrError::Trailing(more)), "{name}");
        }
    }
}

#[test]
fn other_programs_versions_and_procedures_are_not_this_one() {
    let call = payload(&golden("kv_get"));
    let call = Call::read(&call).unwrap();
    assert!(KvRequest::of_call(&call).is_ok());
    assert_eq!(KvRequest::of_call(&Call { program: 100_000, version: 9, ..call }), Err(Fault::ProgUnavail));
    for version in [0, 2, u32::MAX] {
        let of_other = KvRequest::of_call(&Call { version, procedure: 99, ..call });
        assert_eq!(of_other, Err(Fault::ProgMismatch { low: 1, high: 1 }));
    }
    for procedure in [6, u32::MAX] {
        assert_eq!(KvRequest::of_call(&Call { procedure, ..call }), Err(Fault::ProcUnavail));
    }
    assert_eq!(KvRequest::of_call(&Call { arguments: b"", ..call }), Err(Fault::GarbageArgs));
    assert_eq!(KvRequest::of_call(&Call { procedure: 0, ..call }), Err(Fault::GarbageArgs), "NULL has no arguments");
}

#[test]
fn keys_and_values_are_bounded() {
    let too_long = |length, most| Err(XdrError::TooLong { length, most });
    let key = vec![b'k'; 256];
    let long = arguments(&KvRequest::Get { key: &key, after: crate::base::vocab::Lsn(0) });
    assert_eq!(KvRequest::read(KvProcedure::Get, &long), too_long(256, 255));
    let value = vec![b'v'; 65_537];
    let put = |value| arguments(&KvRequest::Put { request_id: None, key: b"k", value, condition: Condition::Always });
    assert!(KvRequest::read(KvProcedure::Put, &put(&value[1..])).is_ok());
    assert_eq!(KvRequest::read(KvProcedure::Put, &put(&value)), too_long(65_537, 65_536));
    // Lengths that are claimed and not there.
    for length in [256, 0x8000_0000, u32::MAX] {
        let claims = [length.to_be_bytes().as_slice(), &[0; 64]].concat();
        assert_eq!(KvRequest::read(KvProcedure::Get, &claims), too_long(length, 255));
        assert_eq!(KvRequest::read(KvProcedure::Scan, &claims), too_long(length, 255));
        assert_eq!(
            KvRequest::read(KvProcedure::Delete, &[&[0; 16], claims.as_slice()].concat()),
            too_long(length, 255)
        );
        let page = [&[0; 4], 257_u32.to_be_bytes().as_slice(), &[0; 8]].concat();
        let refused = KvReply::read(KvProcedure::Scan, &page).unwrap_err();
        assert_eq!(refused, XdrError::TooLong { length: 257, most: 256 });
    }
}

#[test]
fn there_are_three_conditions_and_what_is_expected_counts_with_one() {
    let mut delete = arguments(&KvRequest::Delete { request_id: None, key: b"k", condition: Condition::Always });
    let at = delete.len() - 12;
    delete[at + 11] = 9;
    for (code, wanted) in [
        ([0, 0, 0, 0], Ok(Condition::Always)),
        ([0, 0, 0, 1], Ok(Condition::IfAbsent)),
        ([0, 0, 0, 2], Ok(Condition::IfVersion(9))),
        ([0, 0, 0, 3], Err(3)),
        ([0, 0, 1, 0], Err(256)),
        ([255; 4], Err(u32::MAX)),
    ] {
        delete[at..at + 4].copy_from_slice(&code);
        let read = KvRequest::read(KvProcedure::Delete, &delete);
        match wanted {
            Ok(wanted) => {
                let is_it = matches!(read, Ok(KvRequest::Delete { condition, .. }) if condition == wanted);
                assert!(is_it, "{read:?}");
            }
            Err(value) => assert_eq!(read, Err(XdrError::Unknown { what: "kv_condition", value })),
        }
    }
}

/// Bytes before the arguments of a call, and before the results of a reply.
const HEADS: (usize, usize) = (40, 24);

#[test]
fn no_changed_byte_makes_a_panic_or_a_request_that_is_written_otherwise() {
    for (name, request) in requests() {
        let whole = arguments(&request);
        // Of a write: where its condition begins, behind which what is expected may be dropped.
        let is_write = matches!(request, KvRequest::Put { .. } | KvRequest::Delete { .. });
        let end = if is_write { whole.len() - 12 } else { whole.len() };
        for at in 0..whole.len() {
            for value in 0..=u8::MAX {
                let mut changed = whole.clone();
                changed[at] = value;
                if let Ok(read) = KvRequest::read(request.procedure(), &changed) {
                    let again = arguments(&read);
                    assert_eq!(KvRequest::read(request.procedure(), &again), Ok(read));
                    assert_eq!(again[..end], changed[..end], "{name}: byte {at} is {value}");
                }
            }
            // A long value is as good as a short one.
            if at > 200 && at + 64 < whole.len() {
                break;
            }
        }
    }
}

#[test]
fn results_that_are_cut_or_changed_are_read_or_refused() {
    let all = replies().into_iter().map(|(name, procedure, _)| (name, procedure));
    for (name, procedure) in all.chain(pages().into_iter().map(|(name, ..)| (name, KvProcedure::Scan))) {
        let whole = body(name, HEADS.1);
        assert!(KvReply::read(procedure, &whole).is_ok(), "{name}");
        for length in 0..whole.len() {
            assert_eq!(KvReply::read(procedure, &whole[..length]), Err(XdrError::Short), "{name} of {length} bytes");
        }
        let longer = [whole.as_slice(), &[0; 4]].concat();
        assert_eq!(KvReply::read(procedure, &longer), Err(XdrError::Trailing(4)), "{name}");
        for (at, value) in (0..whole.len()).flat_map(|at| (0..=u8::MAX).map(move |value| (at, value))) {
            let mut changed = whole.clone();
            changed[at] = value;
            if let Ok(read) = KvReply::read(procedure, &changed) {
                let mut again = Vec::new();
                read.write(1, &mut again);
                assert_eq!(payload(&again)[HEADS.1..], changed, "{name}: byte {at} is {value}");
            }
        }
    }
    for procedure in [KvProcedure::Get, KvProcedure::Scan, KvProcedure::Status] {
        let mismatch = KvReply::read(procedure, &[0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(mismatch, Err(XdrError::Unknown { what: "status of this procedure", value: 2 }));
    }
    assert_eq!(body("kv_get", HEADS.0)[..4], [0, 0, 0, 6], "a key behind a head of that length");
}
