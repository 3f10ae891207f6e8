//! Requests: what is read is written as it was.
#![no_main]

use bank_vault::base::limits::MAX_CREDENTIAL_BYTES;
use bank_vault::base::vocab::Lsn;
use bank_vault::service::bank::wire::{Decoder, Envelope, Opcode, Request, Step, XorKey};
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
    let after = (flags & 4 == 4).then(|| Lsn(u64::from(flags) << 40));
    let envelope = Envelope { seq: u32::from(flags), key, after, asks_lsn: flags & 8 == 8, xor };
    request.encode_in(&envelope, &mut frame);
    let (used, step) = Decoder::default().step(&frame);
    let Step::Frame(read) = step else { panic!("{step:?}") };
    assert_eq!((used, read.key, read.after, read.header.seq), (frame.len(), key, after, u32::from(flags)));
    let mut decrypted = read.body.to_vec();
    if let Some(xor) = xor {
        xor.apply(&mut decrypted);
    }
    assert_eq!(decrypted, body);
    assert_eq!(Request::of_frame(&read, &decrypted), Ok(request));
});
