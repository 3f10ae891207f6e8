//! Any message is read as it was written.

use proptest::collection::vec;
use proptest::prelude::*;

use super::golden_tests::payload;
use super::*;

proptest! {
    #[test]
    fn calls(
        numbers in any::<[u32; 7]>(),
        flavor in 0_u32..4,
        body in vec(any::<u8>(), 0..=400),
        gids in vec(any::<u32>(), 0..=16),
        arguments in vec(any::<u8>(), 0..100),
    ) {
        let [xid, program, version, procedure, stamp, uid, gid] = numbers;
        let machine_name = &body[..body.len().min(255)];
        let credentials = match flavor {
            0 => Credentials::None,
            1 => Credentials::Sys(AuthSys { stamp, machine_name, uid, gid, gids: Gids::new(&gids).unwrap() }),
            _ => Credentials::Other(OpaqueAuth { flavor, body: &body }),
        };
        let verifier = OpaqueAuth { flavor: stamp, body: &body };
        let call = Call { xid, program, version, procedure, credentials, verifier, arguments: &arguments };
        let mut record = Vec::new();
        call.write(&mut record);
        let sys_is_too_long = flavor == 1 && 20 + machine_name.len().next_multiple_of(4) + 4 * gids.len() > 400;
        prop_assert!(!sys_is_too_long, "every AUTH_SYS that is within its own bounds is within that of all");
        let read = payload(&record);
        prop_assert_eq!(Call::read(&read), Ok(call));
    }

    #[test]
    fn replies(numbers in any::<[u32; 4]>(), which in 0_u8..8, bytes in vec(any::<u8>(), 0..=400)) {
        let [xid, flavor, low, high] = numbers;
        let results = match which {
            0 => Err(Fault::ProgUnavail),
            1 => Err(Fault::ProgMismatch { low, high }),
            2 => Err(Fault::ProcUnavail),
            3 => Err(Fault::GarbageArgs),
            4 => Err(Fault::SystemErr),
            5 => Err(Fault::RpcMismatch { low, high }),
            6 => Err(Fault::Auth(AuthStat(low))),
            _ => Ok(bytes.as_slice()),
        };
        let is_denied = matches!(results, Err(Fault::RpcMismatch { .. } | Fault::Auth(_)));
        let verifier = if is_denied { OpaqueAuth::NONE } else { OpaqueAuth { flavor, body: &bytes } };
        let reply = Reply { xid, verifier, results };
        let mut record = Vec::new();
        reply.write(&mut record);
        let read = payload(&record);
        prop_assert_eq!(Reply::read(&read), Ok(reply));
    }

    #[test]
    fn any_bytes_are_read_without_panic(bytes in vec(any::<u8>(), 0..200)) {
        let _ = (Call::read(&bytes), Reply::read(&bytes));
    }
}
