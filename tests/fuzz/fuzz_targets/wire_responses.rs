//! Responses: what is read is written as it was.
#![no_main]

use bank_vault::base::limits::MAX_REPLY_BYTES;
use bank_vault::service::bank::wire::{Decoder, Flags, Header, Response, Step};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((&[high, low, flags], body)) = data.split_first_chunk() else { return };
    let Some(flags) = Flags::from_bits(flags & Flags::ERROR.bits()) else { return };
    let length = u32::try_from(18 + body.len()).unwrap_or(u32::MAX);
    let header = Header { length, flags, opcode: u16::from_be_bytes([high, low]), seq: 7 };
    let Ok(response) = Response::decode(&header, body) else { return };
    let mut out = [0; MAX_REPLY_BYTES];
    let length = response.write(7, None, &mut out);
    let (used, step) = Decoder::default().step(&out[..length]);
    let Step::Frame(frame) = step else { panic!("{step:?}") };
    assert_eq!((used, frame.body, frame.header), (length, body, header));
    assert_eq!(Response::decode(&frame.header, frame.body), Ok(response));
});
