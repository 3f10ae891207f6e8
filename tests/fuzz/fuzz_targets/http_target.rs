//! Targets: no place lies outside of the root, and a folder's own address leads to it.
#![no_main]

use bank_vault::service::http::rules::{ContentType, Place};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = ContentType::of(data);
    let Ok(place) = Place::of(data) else { return };
    let path = place.path();
    assert!(!path.starts_with(b"/") && !path.ends_with(b"/"));
    assert!(!path.iter().any(|byte| byte.is_ascii_control() || *byte == b'\\'));
    let is_wrong = |segment: &[u8]| matches!(segment, b"" | b"." | b"..");
    assert!(path.is_empty() || !path.split(|byte| *byte == b'/').any(is_wrong));
    let address = place.directory_address();
    assert!(address.starts_with('/') && !address.starts_with("//"));
    assert!(address.bytes().all(|byte| byte.is_ascii_graphic()));
    let again = Place::of(address.as_bytes()).expect("an address of our own");
    assert_eq!((again.path(), again.is_directory()), (path, true));
    assert_eq!(again.directory_address(), address);
});
