//! What a peer may send and should not.

use super::golden_tests::{calls, golden, payload, replies};
use super::*;

fn refused(call: &[u8]) -> Fault {
    match Call::read(call) {
        Err(CallFault::Refused { xid: 7, fault }) => fault,
        other => panic!("{other:?}"),
    }
}

/// A call of AUTH_SYS by these credentials, whose length is `length`.
fn call_by(length: u32, credentials: &[u8]) -> Vec<u8> {
    let head: Vec<u8> = [7, 0, 2, 5, 1, 0, 1, length].iter().flat_map(|number: &u32| number.to_be_bytes()).collect();
    [&head, credentials, &[0; 8]].concat()
}

#[test]
fn a_call_that_is_cut_off_is_answered_by_what_is_missing() {
    let whole = payload(&golden("call_sys"));
    for length in 0..whole.len() {
        let cut = &whole[..length];
        match length {
            0..8 => assert_eq!(Call::read(cut), Err(CallFault::NoCall)),
            8..24 => assert_eq!(refused(cut), Fault::GarbageArgs),
            // Flavor, length, and 40 bytes.
            24..72 => assert_eq!(refused(cut), Fault::Auth(AuthStat::BADCRED), "{length}"),
            _ => assert_eq!(refused(cut), Fault::Auth(AuthStat::BADVERF), "{length}"),
        }
    }
    assert_eq!(Call::read(&payload(&golden("reply_success"))), Err(CallFault::NoCall), "a reply");
}

#[test]
fn other_versions_of_rpc_are_told_which_one_there_is() {
    let mut call = payload(&golden("call_sys"));
    for version in [0, 1, 3, u32::MAX] {
        call[8..12].copy_from_slice(&version.to_be_bytes());
        assert_eq!(refused(&call), Fault::RpcMismatch { low: 2, high: 2 });
        // Whatever stands behind it in that version.
        assert_eq!(refused(&call[..12]), Fault::RpcMismatch { low: 2, high: 2 });
    }
}

#[test]
fn credentials_are_bounded() {
    let bad = Fault::Auth(AuthStat::BADCRED);
    let sys = |machine: u32, gids: u32, count: usize| {
        let machine_name = vec![b'm'; machine as usize + xdr::padding_of(machine as usize)];
        let gids: Vec<u8> = [1, 2, gids].iter().flat_map(|number: &u32| number.to_be_bytes()).collect();
        let body = [&[0; 4], machine.to_be_bytes().as_slice(), &machine_name, &gids, &vec![0; 4 * count]].concat();
        call_by(u32::try_from(body.len()).unwrap(), &body)
    };
    assert!(Call::read(&sys(252, 16, 16)).is_ok());
    // A name that is too long, too many groups, more groups than said, fewer.
    for call in [sys(256, 0, 0), sys(4, 17, 17), sys(4, 1, 2), sys(4, 2, 1), sys(4, u32::MAX, 1)] {
        assert_eq!(refused(&call), bad);
    }
    assert_eq!(refused(&call_by(401, &[0; 404])), bad);
    assert_eq!(refused(&call_by(u32::MAX, &[0; 40])), bad);
    assert_eq!(Call::read(&sys(3, 0, 0)), Err(CallFault::Refused { xid: 7, fault: bad }), "padding that is `m`");
    // Of flavors that are not looked into, and of AUTH_NONE, any bytes up to the bound.
    for flavor in [0, 2, 6, u32::MAX] {
        let mut call = call_by(400, &[9; 400]);
        call[24..28].copy_from_slice(&flavor.to_be_bytes());
        assert!(Call::read(&call).is_ok());
        call[31] += 1;
        assert_eq!(refused(&call), bad);
    }
    let mut verified = call_by(0, &[]);
    verified[24..28].fill(0);
    assert!(Call::read(&verified).is_ok());
    verified[36..40].copy_from_slice(&401_u32.to_be_bytes());
    verified.extend([0; 404]);
    assert_eq!(refused(&verified), Fault::Auth(AuthStat::BADVERF));
}

#[test]
fn what_is_written_is_never_more_than_may_be_read() {
    let long = [b'x'; 500];
    let name = AuthSys { machine_name: &long, gids: Gids::new(&[1; 16]).unwrap(), ..AuthSys::default() };
    for credentials in [Credentials::Sys(name), Credentials::Other(OpaqueAuth { flavor: 9, body: &long })] {
        let verifier = OpaqueAuth { flavor: 9, body: &long };
        let mut record = Vec::new();
        Call { credentials, verifier, ..Call::default() }.write(&mut record);
        let payload = payload(&record);
        assert_eq!(Call::read(&payload).unwrap().verifier.body.len(), 400);
    }
    assert_eq!(Gids::new(&[0; 17]), None);
}

#[test]
fn replies_that_are_cut_or_changed_are_read_or_refused() {
    for (name, reply) in replies() {
        let whole = payload(&golden(name));
        for length in 0..whole.len() {
            let cut = Reply::read(&whole[..length]);
            // Results go to the end of a reply, so fewer of them are results too.
            let fewer = reply.results.is_ok() && length >= reply::SUCCESS_HEAD_BYTES - 4;
            assert!(cut.is_err() || fewer, "{name} of {length} bytes: {cut:?}");
        }
        let longer = Reply::read(&[whole.as_slice(), b"more"].concat()).map(|reply| reply.results.is_ok());
        assert!(longer == Err(XdrError::Trailing(4)) || longer == Ok(true), "{name}: {longer:?}");
    }
    let unknown = |at: usize, value: u8| {
        let mut reply = payload(&golden("reply_prog_unavail"));
        reply[at] = value;
        Reply::read(&reply).unwrap_err()
    };
    assert_eq!(unknown(7, 0), XdrError::Unknown { what: "reply", value: 0 });
    assert_eq!(unknown(11, 2), XdrError::Unknown { what: "kind of reply", value: 2 });
    assert_eq!(unknown(23, 6), XdrError::Unknown { what: "status of a reply", value: 6 });
    let mut denied = payload(&golden("reply_auth_tooweak"));
    denied[15] = 2;
    assert_eq!(Reply::read(&denied), Err(XdrError::Unknown { what: "reason to deny a call", value: 2 }));
    denied[15] = 1;
    denied[16..].fill(0xFF);
    let stat = Reply::read(&denied).unwrap().results.unwrap_err();
    assert_eq!(stat.to_string(), "AUTH_ERROR: an unknown reason");
}

/// Every byte of a message changed to each of some others: what is read then is written as it was.
#[test]
fn no_changed_byte_makes_a_panic_or_a_message_that_is_written_otherwise() {
    let names = calls().into_iter().map(|(name, _)| name).chain(replies().into_iter().map(|(name, _)| name));
    for name in names {
        let whole = payload(&golden(name));
        for at in 0..whole.len() {
            for value in [0, 1, 2, 4, 0x7F, 0x80, 0xFF, whole[at] ^ 1, whole[at].wrapping_add(1)] {
                let mut changed = whole.clone();
                changed[at] = value;
                let mut again = Vec::new();
                if let Ok(call) = Call::read(&changed) {
                    // What AUTH_NONE says is dropped.
                    if call.credentials == Credentials::None && changed[28..32] != [0; 4] {
                        continue;
                    }
                    call.write(&mut again);
                } else if let Ok(reply) = Reply::read(&changed) {
                    reply.write(&mut again);
                } else {
                    continue;
                }
                assert_eq!(payload(&again), changed, "{name}: byte {at} is {value}");
            }
        }
    }
}
