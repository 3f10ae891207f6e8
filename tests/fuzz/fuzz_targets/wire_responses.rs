//! Responses: what is read is written as it was.
#![no_main]

use bank_vault::base::limits::{MAX_CLUSTER_REPLY_BYTES, MAX_REPLY_BYTES};
use bank_vault::service::bank::wire::{Cluster, Decoder, Flags, Frame, Header, Response, Step};
use libfuzzer_sys::fuzz_target;

/// The one frame that `bytes` are.
fn frame(bytes: &[u8]) -> Frame<'_> {
    let (used, step) = Decoder::default().step(bytes);
    let Step::Frame(frame) = step else { panic!("{step:?}") };
    assert_eq!(used, bytes.len());
    frame
}

fuzz_target!(|data: &[u8]| {
    let Some((&[high, low, flags], body)) = data.split_first_chunk() else { return };
    let Some(flags) = Flags::from_bits(flags & (Flags::ERROR.bits() | Flags::LSN.bits())) else { return };
    let length = u32::try_from(18 + body.len()).unwrap_or(u32::MAX);
    let header = Header { length, flags, opcode: u16::from_be_bytes([high, low]), seq: 7 };
    let (lsn, rest) = Frame { header, key: None, after: None, body }.reply();
    if let Ok(cluster) = Cluster::decode(rest) {
        let mut out = Vec::new();
        cluster.encode_as_of(7, None, lsn, &mut out);
        assert!(out.len() <= MAX_CLUSTER_REPLY_BYTES);
        assert_eq!(frame(&out).reply(), (lsn, rest));
    }
    let Ok(response) = Response::decode(&header, rest) else { return };
    let mut out = [0; MAX_REPLY_BYTES];
    let length = response.write_as_of(7, None, lsn, &mut out);
    let read = frame(&out[..length]);
    assert_eq!(read.reply(), (lsn, rest));
    // An error carries no LSN, whatever its flag says.
    if !flags.contains(Flags::ERROR) {
        assert_eq!((read.body, read.header), (body, header));
    }
    assert_eq!(Response::decode(&read.header, rest), Ok(response));
});
