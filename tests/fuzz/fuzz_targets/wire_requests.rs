//! Requests: what is read is written as it was.
#![no_main]

use bank_vault::base::limits::MAX_CREDENTIAL_BYTES;
use bank_vault::service::bank::wire::{Decoder, Opcode, Request, Step, XorKey};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((&[choice, flags], body)) = data.split_first_chunk() else { return };
    let opcode = Opcode::ALL[usize::from(choice) % Opcode::ALL.len()];
    let Ok(request) = Request::decode(opcode, body) else { return };
    assert_eq!(request.opcode(), opcode);
    if let Request::Login { user, pass } = request {
        assert!(user.len() <= MAX_CREDENTIAL_BYTES && pass.len() <= MAX_CREDENTIAL_BYTES);
    }
    let key = [flags; 16];
    let key = (flags & 1 == 1 && opcode.is_money()).then_some(&key);
    let xor = (flags & 2 == 2).then(|| XorKey::from_bits(u32::from(flags) << 13));
    let mut frame = Vec::new();
    request.encode(u32::from(flags), key, xor, &mut frame);
    let (used, step) = Decoder::default().step(&frame);
    let Step::Frame(read) = step else { panic!("{step:?}") };
    assert_eq!((used, read.key, read.header.seq), (frame.len(), key, u32::from(flags)));
    let mut decrypted = read.body.to_vec();
    if let Some(xor) = xor {
        xor.apply(&mut decrypted);
    }
    assert_eq!(decrypted, body);
    assert_eq!(Request::of_frame(&read, &decrypted), Ok(request));
});
