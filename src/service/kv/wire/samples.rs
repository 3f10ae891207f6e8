//! Requests and results, and by which names of `tests/fixtures/onc-rpc/messages.py` their bytes are known.

use super::*;
use crate::base::onc_rpc::{AuthSys, Credentials, Gids};
use crate::base::vocab::{Condition, Lsn};

const ID: RequestId = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16];

pub fn me() -> Credentials<'static> {
    let gids = Gids::new(&[4, 24, 27]).unwrap();
    Credentials::Sys(AuthSys { stamp: 0x0102_0304, machine_name: b"host7", uid: 1000, gid: 100, gids })
}

pub fn requests() -> Vec<(&'static str, KvRequest<'static>)> {
    let (key, after, id) = (b"colour".as_slice(), Lsn(0), Some(ID));
    let condition = Condition::Always;
    let version = Condition::IfVersion;
    vec![
        ("kv_null", KvRequest::Null),
        ("kv_get", KvRequest::Get { key, after }),
        ("kv_get_after", KvRequest::Get { key: &[b'k'; 255], after: Lsn(0x0102_0304_0506_0708) }),
        ("kv_get_empty", KvRequest::Get { key: b"", after }),
        ("kv_put", KvRequest::Put { request_id: id, key, value: b"green", condition }),
        (
            "kv_put_absent",
            KvRequest::Put { request_id: None, key: b"\0\xFF", value: b"", condition: Condition::IfAbsent },
        ),
        (
            "kv_put_version",
            KvRequest::Put { request_id: None, key: b"a", value: &[b'v'; 1021], condition: version(77) },
        ),
        ("kv_delete", KvRequest::Delete { request_id: id, key, condition }),
        ("kv_delete_version", KvRequest::Delete { request_id: None, key, condition: version(u64::MAX) }),
        ("kv_scan", KvRequest::Scan { from: b"", prefix: b"", limit: 0, after }),
        ("kv_scan_from", KvRequest::Scan { from: b"user/7\0", prefix: b"user/", limit: 100, after: Lsn(9) }),
        ("kv_status", KvRequest::Status),
    ]
}

/// Results of one procedure each, but for pages, which are written from what is in them.
pub fn replies() -> Vec<(&'static str, KvProcedure, KvReply<'static>)> {
    use KvProcedure as P;
    let node = NodeStatus {
        primary: true,
        primary_address: "10.0.0.1:9001",
        term: 3,
        committed: Lsn(100),
        applied: Lsn(99),
        keys: 12,
    };
    vec![
        ("null_done", P::Null, KvReply::Null),
        ("get_found", P::Get, KvReply::Found { version: Lsn(41), value: b"green" }),
        ("get_not_found", P::Get, KvReply::Refused(KvRefusal::NotFound)),
        ("get_behind", P::Get, KvReply::Refused(KvRefusal::Behind)),
        ("put_done", P::Put, KvReply::Written { version: Lsn(0x000F_EDCB_A987_6543) }),
        ("put_mismatch", P::Put, KvReply::Mismatch { current: Lsn(0) }),
        ("put_not_primary", P::Put, KvReply::Refused(KvRefusal::NotPrimary)),
        ("delete_done", P::Delete, KvReply::Written { version: Lsn(43) }),
        ("delete_mismatch", P::Delete, KvReply::Mismatch { current: Lsn(42) }),
        ("delete_forbidden", P::Delete, KvReply::Refused(KvRefusal::Forbidden)),
        ("scan_busy", P::Scan, KvReply::Refused(KvRefusal::Busy)),
        ("status_primary", P::Status, KvReply::Node(node)),
        ("status_nobody", P::Status, KvReply::Node(NodeStatus::default())),
    ]
}

/// Pages: their entries, and whether there are more.
pub fn pages() -> Vec<(&'static str, Vec<ScanEntry<'static>>, bool)> {
    let two = vec![
        ScanEntry { key: b"a", version: Lsn(1), value_bytes: 0 },
        ScanEntry { key: b"abcd\0", version: Lsn(5), value_bytes: 65_536 },
    ];
    vec![("scan_empty", Vec::new(), false), ("scan_two", two, true)]
}

/// The number of a message, which stands behind its mark.
pub fn xid(record: &[u8]) -> u32 {
    u32::from_be_bytes(*record[4..].first_chunk().unwrap())
}
