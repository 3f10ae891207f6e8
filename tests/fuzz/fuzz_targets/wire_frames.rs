//! Framing: a stream gives the same steps however it is cut, in the server's decoder and in the client's buffer.
#![no_main]

use bank_vault::base::limits::MAX_FRAME_BYTES;
use bank_vault::service::bank::wire::{Decoder, Step, checksum};
use bank_vault::tool::client::receive_buffer::ReceiveBuffer;
use bank_vault_fuzz::pieces;
use libfuzzer_sys::fuzz_target;

/// What becomes of a stream that comes in these pieces.
fn steps<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Vec<String> {
    let (mut decoder, mut unread, mut seen) = (Decoder::default(), Vec::new(), Vec::new());
    for piece in pieces {
        unread.extend_from_slice(piece);
        loop {
            assert_eq!(Decoder::from_bits(decoder.to_bits()), decoder, "it outlives a worker");
            let (used, step) = decoder.step(&unread);
            let fatal = matches!(step, Step::Fatal { .. });
            if step == Step::NeedMore {
                unread.drain(..used);
                assert!(unread.len() <= MAX_FRAME_BYTES, "a receive ring has room for what it waits for");
                break;
            }
            assert!(used > 0);
            seen.push(format!("{step:?}"));
            unread.drain(..used);
            if fatal {
                return seen;
            }
        }
    }
    seen
}

/// The frame that `bytes` begin with, with a right checksum: else hardly any would be seen.
fn mended(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let mut at = 1;
    while let Some(head) = bytes.get(at..at + 18) {
        let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        if length < 18 || bytes.len() < at + length {
            break;
        }
        let crc = checksum(&bytes[at..at + length]);
        bytes[at + 14..at + 18].copy_from_slice(&crc.to_be_bytes());
        at += length;
    }
    bytes
}

fuzz_target!(|data: &[u8]| {
    let bytes = if data.first().is_some_and(|first| first % 2 == 0) { mended(data) } else { data.to_vec() };
    let whole = steps(bytes.get(1..).into_iter());
    assert_eq!(steps(pieces(&bytes, 50)), whole);
    // The client takes the same for frames, up to the first that is none.
    let mut received = ReceiveBuffer::for_replies(1);
    let mut frames = 0;
    for mut piece in pieces(&bytes, 50) {
        while !piece.is_empty() {
            let Ok((read, _)) = received.raw().read_from(&mut piece) else { return };
            assert!(read > 0, "there is always room for a frame");
            loop {
                match received.next_frame() {
                    Ok(Some(_)) => frames += 1,
                    Ok(None) => break,
                    Err(_) => return,
                }
            }
        }
    }
    assert_eq!(frames, whole.iter().filter(|step| step.starts_with("Frame")).count());
});
