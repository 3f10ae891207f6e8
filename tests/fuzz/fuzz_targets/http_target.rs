//! Targets: no path leads outside of the root, and a folder's own address leads to it.
#![no_main]

use bank_vault::service::http::rules::media_type;
use bank_vault::service::http::wire::TargetPath;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = media_type(data);
    let Ok(target) = TargetPath::parse(data) else { return };
    let path = target.path();
    assert!(!path.starts_with(b"/") && !path.ends_with(b"/"));
    assert!(!path.iter().any(|byte| byte.is_ascii_control() || *byte == b'\\'));
    let is_wrong = |segment: &[u8]| matches!(segment, b"" | b"." | b"..");
    assert!(path.is_empty() || !path.split(|byte| *byte == b'/').any(is_wrong));
    let address = target.directory_location();
    assert!(address.starts_with('/') && !address.starts_with("//"));
    assert!(address.bytes().all(|byte| byte.is_ascii_graphic()));
    let again = TargetPath::parse(address.as_bytes()).expect("an address of our own");
    assert_eq!((again.path(), again.is_directory()), (path, true));
    assert_eq!(again.directory_location(), address);
});
