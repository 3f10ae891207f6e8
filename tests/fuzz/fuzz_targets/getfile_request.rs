//! Requests of GetFile: what is read of some bytes stays what it is when more come, and a path is written as it was read.
#![no_main]

use bank_vault::service::getfile::wire::request::{MAX_REQUEST_BYTES, Parsed, RequestPath, parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let whole = parse(data);
    // Whoever gets fewer bytes first learns the same, or has to wait.
    for end in 0..data.len().min(64) {
        let sooner = parse(&data[..end]);
        assert!(sooner == Parsed::Incomplete || sooner == whole, "{sooner:?}, then {whole:?}");
    }
    match whole {
        Parsed::Incomplete => assert!(data.len() < MAX_REQUEST_BYTES),
        Parsed::Request(path) => {
            let mut written = Vec::new();
            path.write_request(&mut written);
            assert_eq!(parse(&written), Parsed::Request(path));
            assert_eq!(RequestPath::new(path.as_bytes()), Some(path));
            let climbs = path.as_bytes().windows(2).any(|two| two == b"..");
            assert!(climbs || !path.climbs());
        }
        Parsed::Malformed | Parsed::TooLong => {}
    }
});
