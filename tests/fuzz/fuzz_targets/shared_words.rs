//! Words that stand in shared memory, which is input: roles, framing, progress, control requests. No word is a panic, and what one means is
//! written as the same.
#![no_main]

use bank_vault::service::bank::wire::{Decoder, XorKey};
use bank_vault::store::connection::slot::Progress;
use bank_vault::store::instance::control_requests::ControlRequest;
use bank_vault::store::users::Role;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((word, rest)) = data.split_first_chunk() else { return };
    let word = u64::from_le_bytes(*word);
    let [low, high] = [word as u32, (word >> 32) as u32];
    if let Some(role) = Role::from_bits(word) {
        assert_eq!(role.to_bits(), word);
        assert_eq!(role.to_string().parse(), Ok(role));
    }
    assert_eq!(Progress::from_word(word).to_word(), word);
    assert_eq!(XorKey::from_bits(low).to_bits(), low);
    if let Some(request) = ControlRequest::from_words(low, high, &String::from_utf8_lossy(rest)) {
        let (kind, argument, name) = request.to_words();
        assert_eq!(ControlRequest::from_words(kind, argument, name), Some(request));
    }
    let mut decoder = Decoder::from_bits(low);
    assert_eq!(Decoder::from_bits(decoder.to_bits()), decoder);
    let (used, _) = decoder.step(rest);
    assert!(used <= rest.len());
});
