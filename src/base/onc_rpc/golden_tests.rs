//! The bytes of messages, made by `tests/fixtures/onc-rpc/messages.py` from the RFCs alone.

use super::*;
use crate::base::limits::{MAX_RPC_FRAGMENTS, MAX_RPC_RECORD_BYTES};

/// The record of that name, mark included.
pub fn golden(name: &str) -> Vec<u8> {
    let lines = include_str!("../../../tests/fixtures/onc-rpc/messages.txt").lines();
    let hex = lines.filter_map(|line| line.split_once(' ')).find(|(found, _)| *found == name).expect(name).1;
    let digits = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(digits).collect()
}

/// What is in a record that has all of `record`.
pub fn payload(record: &[u8]) -> Vec<u8> {
    let limits = RecordLimits { bytes: MAX_RPC_RECORD_BYTES, fragments: MAX_RPC_FRAGMENTS };
    match next_record(record, limits, &mut Vec::new()) {
        RecordStep::Complete { taken, payload } if taken == record.len() => payload.to_vec(),
        other => panic!("{other:?}"),
    }
}

/// Calls, and by which names their bytes are known.
pub fn calls() -> Vec<(&'static str, Call<'static>)> {
    let kv = Call { program: 0x3123_0018, version: 1, ..Call::default() };
    let me = AuthSys {
        stamp: 0x0102_0304,
        machine_name: b"host7",
        uid: 1000,
        gid: 100,
        gids: Gids::new(&[4, 24, 27]).unwrap(),
    };
    let full = AuthSys {
        stamp: u32::MAX,
        machine_name: &[b'm'; 255],
        uid: u32::MAX - 1,
        gid: 0,
        gids: Gids::new(&std::array::from_fn::<u32, 16, _>(|gid| u32::try_from(gid).unwrap())).unwrap(),
    };
    let token = |body| OpaqueAuth { flavor: 6, body };
    let (other, verifier) = (Credentials::Other(token(b"token")), token(&[0; 400]));
    vec![
        ("call_none", Call { xid: 0xDEAD_BEEF, procedure: 3, arguments: b"args", ..kv }),
        ("call_sys", Call { xid: 7, credentials: Credentials::Sys(me), ..kv }),
        ("call_sys_full", Call { xid: 8, procedure: 1, credentials: Credentials::Sys(full), ..kv }),
        ("call_other", Call { xid: 9, procedure: 2, credentials: other, verifier, arguments: b"12345678", ..kv }),
    ]
}

/// Replies, and by which names their bytes are known.
pub fn replies() -> Vec<(&'static str, Reply<'static>)> {
    let reply = |xid, results| Reply { xid, verifier: OpaqueAuth::NONE, results };
    let verifier = OpaqueAuth { flavor: 2, body: b"abc" };
    vec![
        ("reply_success", reply(0xDEAD_BEEF, Ok(b"results.".as_slice()))),
        ("reply_verifier", Reply { verifier, ..reply(5, Ok(&[])) }),
        ("reply_prog_unavail", reply(1, Err(Fault::ProgUnavail))),
        ("reply_prog_mismatch", reply(2, Err(Fault::ProgMismatch { low: 1, high: 3 }))),
        ("reply_proc_unavail", reply(3, Err(Fault::ProcUnavail))),
        ("reply_garbage_args", reply(4, Err(Fault::GarbageArgs))),
        ("reply_system_err", reply(5, Err(Fault::SystemErr))),
        ("reply_rpc_mismatch", reply(6, Err(Fault::RpcMismatch { low: 2, high: 2 }))),
        ("reply_auth_tooweak", reply(7, Err(Fault::Auth(AuthStat::TOOWEAK)))),
        ("reply_auth_rejectedcred", reply(8, Err(Fault::Auth(AuthStat::REJECTEDCRED)))),
    ]
}

#[test]
fn calls_have_the_bytes_of_the_rfc() {
    for (name, call) in calls() {
        let bytes = golden(name);
        assert_eq!(Call::read(&payload(&bytes)), Ok(call), "{name}");
        let mut written = b"before".to_vec();
        call.write(&mut written);
        assert_eq!(written[6..], bytes, "{name}");
        let mut memory = vec![0; bytes.len()];
        let mut room = Room::new(&mut memory);
        Call { arguments: &[], ..call }.write_with(&mut room, |room| room.put(call.arguments));
        assert_eq!(room.written().unwrap(), bytes, "{name}");
    }
}

#[test]
fn replies_have_the_bytes_of_the_rfc() {
    for (name, reply) in replies() {
        let bytes = golden(name);
        assert_eq!(Reply::read(&payload(&bytes)), Ok(reply), "{name}");
        let mut written = Vec::new();
        reply.write(&mut written);
        assert_eq!(written, bytes, "{name}");
        if let Err(fault) = reply.results {
            let mut written = Vec::new();
            write_refusal(reply.xid, fault, &mut written);
            assert_eq!(written, bytes, "{name}");
            assert!(bytes.len() <= reply::MAX_FAULT_REPLY_BYTES, "{name}");
        }
    }
    let mut written = Vec::new();
    write_success(0xDEAD_BEEF, &mut written, |sink| sink.put(b"results."));
    assert_eq!(written, golden("reply_success"));
    assert_eq!(written.len(), reply::SUCCESS_HEAD_BYTES + 8);
}
