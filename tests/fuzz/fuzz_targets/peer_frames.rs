//! Frames between peers: what is accepted is written back as it was, and what is not has a name and was not held beyond its bound.
#![no_main]

use bank_vault::process::replica::peers::wire::{Frame, HEADER_BYTES, Header};
use libfuzzer_sys::fuzz_target;

/// The frame with right checksums: else hardly any would be seen.
fn mended(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let number = |bytes: &[u8], at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    let (body, records) = (number(&bytes, 8) as usize, number(&bytes, 12) as usize);
    let behind = HEADER_BYTES.saturating_add(body);
    let end = behind.saturating_add(records.saturating_mul(128));
    if let Some(body) = bytes.get(HEADER_BYTES..behind) {
        let crc = crc32fast::hash(body).to_le_bytes();
        bytes[16..20].copy_from_slice(&crc);
    }
    if records > 0 && bytes.len() >= end.saturating_add(4) {
        let crc = crc32fast::hash(&bytes[behind..end]).to_le_bytes();
        bytes[end..end + 4].copy_from_slice(&crc);
    }
    let crc = crc32fast::hash(&bytes[..20]).to_le_bytes();
    bytes[20..24].copy_from_slice(&crc);
    bytes
}

fuzz_target!(|data: &[u8]| {
    let Some((mend, data)) = data.split_first() else { return };
    if data.len() < HEADER_BYTES {
        return;
    }
    let bytes = if mend % 2 == 0 { mended(data) } else { data.to_vec() };
    let Some(header) = bytes.first_chunk().and_then(|head| Header::decode(head).ok()) else { return };
    let length = header.frame_bytes();
    assert!(length <= HEADER_BYTES + 256 * 1024 + 8 + 65_536 * 128 + 4);
    match Frame::decode(&header, &bytes) {
        Ok(frame) => {
            assert_eq!(frame.kind(), header.kind);
            assert_eq!(frame.encode().as_deref(), Ok(&bytes[..length]));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
