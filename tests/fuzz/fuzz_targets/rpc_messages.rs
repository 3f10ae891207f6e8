//! Calls and replies of ONC RPC: what is read is written as it was, and what is refused has an answer that can be read.
#![no_main]

use bank_vault::base::onc_rpc::{Call, CallFault, Credentials, Reply, write_refusal};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    match Call::read(data) {
        Ok(call) => {
            let mut record = Vec::new();
            call.write(&mut record);
            assert_eq!(Call::read(&record[4..]), Ok(call));
            if call.credentials != Credentials::None {
                assert_eq!(&record[4..], data);
            }
        }
        Err(CallFault::Refused { xid, fault }) => {
            let mut record = Vec::new();
            write_refusal(xid, fault, &mut record);
            let reply = Reply::read(&record[4..]).unwrap();
            assert_eq!((reply.xid, reply.results), (xid, Err(fault)));
        }
        Err(CallFault::NoCall) => {}
    }
    if let Ok(reply) = Reply::read(data) {
        let mut record = Vec::new();
        reply.write(&mut record);
        assert_eq!(&record[4..], data);
    }
});
