//! Heads of responses of GetFile: what is read is written again, and is known as soon as it is there.
#![no_main]

use bank_vault::service::getfile::wire::response::{MAX_HEAD_BYTES, Response};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    match Response::parse(data) {
        Ok(None) => assert!(data.len() < MAX_HEAD_BYTES),
        Ok(Some((response, length))) => {
            assert!(length <= data.len() && data[..length].ends_with(b"\r\n\r\n"));
            assert_eq!(Response::parse(&data[..length]), Ok(Some((response, length))));
            assert!((0..length).all(|end| Response::parse(&data[..end]) == Ok(None)));
            let mut written = Vec::new();
            response.write_head(&mut written);
            assert_eq!(Response::parse(&written), Ok(Some((response, written.len()))));
        }
        Err(_) => {}
    }
});
