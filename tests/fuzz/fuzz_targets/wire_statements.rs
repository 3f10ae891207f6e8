//! Pages of a statement: what is read is written as it was.
#![no_main]

use bank_vault::base::limits::MAX_FRAME_BYTES;
use bank_vault::service::bank::wire::{Decoder, Statement, Step};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(statement) = Statement::decode(data) else { return };
    if 18 + data.len() > MAX_FRAME_BYTES {
        return;
    }
    let mut frame = Vec::new();
    statement.encode(7, None, &mut frame);
    let (used, step) = Decoder::default().step(&frame);
    let Step::Frame(read) = step else { panic!("{step:?}") };
    assert_eq!((used, read.body), (frame.len(), data));
});
