use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::base::limits::MAX_FRAME_BYTES;
use crate::base::vocab::{AccountId, Cents, Lsn};
use crate::service::bank::wire::{Envelope, Request, UnknownOpcode};

/// A step that owns its bytes, so that it outlives the buffer it was read from.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Seen {
    Frame { opcode: u16, seq: u32, key: Option<[u8; 16]>, after: Option<Lsn>, body: Vec<u8> },
    Reject(Status, u16, u32),
    Fatal(Status, u16, u32),
}

/// Reads a stream that arrives in the given pieces, the way a server does, carrying the state as bits in between.
fn read_in_pieces<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<Seen> {
    let mut seen = Vec::new();
    let mut pending = Vec::new();
    let mut bits = Decoder::default().to_bits();
    for piece in pieces {
        pending.extend_from_slice(piece);
        let mut decoder = Decoder::from_bits(bits);
        loop {
            let (used, step) = decoder.step(&pending);
            let more = match step {
                Step::NeedMore => false,
                Step::Frame(frame) => {
                    let Header { opcode, seq, .. } = frame.header;
                    let (key, after) = (frame.key.copied(), frame.after);
                    seen.push(Seen::Frame { opcode, seq, key, after, body: frame.body.to_vec() });
                    true
                }
                Step::Reject { status, opcode, seq } => {
                    seen.push(Seen::Reject(status, opcode, seq));
                    true
                }
                Step::Fatal { status, opcode, seq } => {
                    seen.push(Seen::Fatal(status, opcode, seq));
                    return seen;
                }
            };
            pending.drain(..used);
            if !more {
                break;
            }
        }
        bits = decoder.to_bits();
    }
    seen
}

fn read_whole(stream: &[u8]) -> Vec<Seen> {
    read_in_pieces([stream])
}

fn deposit(seq: u32) -> Vec<u8> {
    let mut out = Vec::new();
    Request::Deposit { account: AccountId(12), amount: Cents(2500) }.encode(seq, None, None, &mut out);
    out
}

/// A piece of a stream: frames, nearly-frames and noise.
fn any_piece() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => any::<u32>().prop_map(deposit),
        1 => any::<(u32, [u8; 16])>().prop_map(|(seq, key)| {
            let mut out = Vec::new();
            Request::Ping.encode(seq, Some(&key), None, &mut out);
            out
        }),
        1 => any::<(u32, u64, bool)>().prop_map(|(seq, after, asks_lsn)| {
            let mut out = Vec::new();
            Request::Ping.encode_in(&Envelope { seq, after: Some(Lsn(after)), asks_lsn, ..Envelope::default() }, &mut out);
            out
        }),
        2 => vec(any::<u8>(), 0..60),
        1 => (0u8..=255, 4000usize..9000).prop_map(|(byte, count)| vec![byte; count]),
        2 => (any::<u32>(), 0usize..30, any::<u8>()).prop_map(|(seq, at, byte)| {
            let mut frame = deposit(seq);
            frame[at] = byte;
            frame
        }),
        1 => (any::<u32>(), 0usize..30).prop_map(|(seq, cut)| deposit(seq)[..cut].to_vec()),
    ]
}

fn has_plausible_start(bytes: &[u8], within: usize) -> bool {
    (0..within).any(|at| matches!(outlook(&bytes[at..]), Outlook::Plausible))
}

proptest! {
    #[test]
    fn every_split_gives_the_same_steps(pieces in vec(any_piece(), 1..8), cuts in vec(1usize..50, 1..40)) {
        let stream = pieces.concat();
        let mut rest = stream.as_slice();
        let mut split = Vec::new();
        for cut in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, after) = rest.split_at((*cut).min(rest.len()));
            split.push(piece);
            rest = after;
        }
        prop_assert_eq!(read_in_pieces(split), read_whole(&stream));
        prop_assert_eq!(read_in_pieces(stream.chunks(1)), read_whole(&stream));
    }

    #[test]
    fn a_frame_behind_garbage_is_found(garbage in vec(any::<u8>(), 1..10_000), seq: u32) {
        let mut stream = garbage.clone();
        stream.extend(deposit(seq));
        // Garbage that itself looks like a header is judged as one, and may take the frame with it.
        prop_assume!(!has_plausible_start(&stream, garbage.len()) && stream[4..6] != MAGIC.to_be_bytes());
        let seen = read_whole(&stream);
        let (last, before) = seen.split_last().unwrap();
        prop_assert!(matches!(last, Seen::Frame { seq: found, .. } if *found == seq), "{:?}", seen);
        prop_assert!(before.iter().all(|step| *step == Seen::Reject(Status::BadFrame, 0, 0)));
        // The first byte is one strike, and every further limit's worth of bytes another.
        prop_assert_eq!(before.len(), 1 + (garbage.len() - 1) / MAX_FRAME_BYTES);
    }

    #[test]
    fn any_state_word_is_a_state(bits: u32, input in vec(any::<u8>(), 0..100)) {
        let mut decoder = Decoder::from_bits(bits);
        let (used, _) = decoder.step(&input);
        prop_assert!(used <= input.len());
        prop_assert_eq!(Decoder::from_bits(decoder.to_bits()), decoder);
    }
}

#[test]
fn no_flipped_bit_makes_another_frame() {
    let good = deposit(7);
    for bit in 0..good.len() * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        // What follows lets a frame that got longer be judged, too.
        bad.extend_from_slice(&[0; MAX_FRAME_BYTES]);
        let frames = read_whole(&bad).into_iter().filter(|step| matches!(step, Seen::Frame { .. })).count();
        assert_eq!(frames, 0, "bit {bit}");
    }
}

/// A frame with a right checksum around whatever header fields are asked for.
fn forged(length: u32, magic: u16, version: u8, flags: u8) -> Vec<u8> {
    let mut frame = vec![0; 30];
    BigEndian::write_u32(&mut frame[AT_LENGTH..], length);
    BigEndian::write_u16(&mut frame[AT_MAGIC..], magic);
    frame[AT_VERSION] = version;
    frame[AT_FLAGS] = flags;
    BigEndian::write_u16(&mut frame[AT_OPCODE..], 2);
    BigEndian::write_u32(&mut frame[AT_SEQ..], 9);
    let crc = checksum(&frame);
    BigEndian::write_u32(&mut frame[AT_CRC..], crc);
    frame
}

#[test]
fn bad_headers_are_refused_by_name_and_the_next_frame_is_found() {
    let readable = Seen::Reject(Status::BadFrame, 2, 9);
    let unreadable = Seen::Reject(Status::BadFrame, 0, 0);
    for (frame, refusal) in [
        (forged(30, 0xC0DF, 1, 0), &unreadable),
        (forged(5000, 0xC0DF, 1, 0), &unreadable),
        (forged(30, MAGIC, 2, 0), &unreadable),
        (forged(30, MAGIC, 1, 32), &readable),
        (forged(17, MAGIC, 1, 0), &readable),
        (forged(33, MAGIC, 1, 4), &readable),
        (forged(25, MAGIC, 1, 8), &readable),
        (forged(41, MAGIC, 1, 12), &readable),
        (forged(0, MAGIC, 1, 0), &readable),
    ] {
        let seen = read_whole(&[frame, deposit(1)].concat());
        assert_eq!(seen.len(), 2, "{seen:?}");
        assert_eq!(&seen[0], refusal);
        assert!(matches!(seen[1], Seen::Frame { seq: 1, .. }));
    }
}

#[test]
fn a_length_beyond_the_limit_is_fatal() {
    assert_eq!(read_whole(&forged(MAX_LENGTH + 1, MAGIC, 1, 0)), [Seen::Fatal(Status::BadFrame, 2, 9)]);
    assert_eq!(read_whole(&forged(u32::MAX, MAGIC, 3, 0)), [Seen::Fatal(Status::BadFrame, 0, 0)]);
    // With the limit itself the rest can be trusted: the search for the next frame begins.
    assert_eq!(read_whole(&forged(MAX_LENGTH, MAGIC, 3, 0)), [Seen::Reject(Status::BadFrame, 0, 0)]);
    // The limit itself is legal, and waits for its bytes.
    assert_eq!(read_whole(&forged(MAX_LENGTH, MAGIC, 1, 0)), []);
}

#[test]
fn a_state_beyond_the_limit_is_the_limit() {
    let limit = Decoder::from_bits(MAX_LENGTH);
    assert_eq!(limit.to_bits(), MAX_LENGTH);
    for bits in [MAX_LENGTH + 1, u32::MAX] {
        assert_eq!(Decoder::from_bits(bits), limit);
    }
    assert_eq!(Decoder::from_bits(MAX_LENGTH - 1).to_bits(), MAX_LENGTH - 1);
}

#[test]
fn each_4096_skipped_bytes_are_refused_once() {
    let refusals = |bytes: usize| read_whole(&vec![0xFF; bytes]).len();
    // The first byte is refused with its header; a strike more comes with each 4096 that follow.
    assert_eq!([4096, 4097, 8192, 8193].map(refusals), [1, 2, 2, 3]);
}

#[test]
fn what_cannot_begin_a_frame_is_skipped_before_its_header_is_whole() {
    let mut decoder = Decoder::from_bits(1);
    // A length beyond the limit, one below a header, an unknown flag. A last byte of zero stays: a length may begin with it.
    for (start, skipped) in
        [(forged(5000, MAGIC, 1, 0), 7), (forged(17, MAGIC, 1, 0), 7), (forged(30, MAGIC, 1, 32), 8)]
    {
        assert_eq!(decoder.step(&start[..=AT_FLAGS]), (skipped, Step::NeedMore), "{start:?}");
    }
    assert_eq!(decoder.step(&forged(30, MAGIC, 1, 0)[..=AT_FLAGS]), (0, Step::NeedMore));
}

#[test]
fn a_bad_checksum_skips_exactly_its_frame() {
    let mut bad = deposit(3);
    bad[20] ^= 1;
    let seen = read_whole(&[bad, deposit(4)].concat());
    assert_eq!(seen[0], Seen::Reject(Status::BadCrc, 2, 3));
    assert!(matches!(seen[1], Seen::Frame { seq: 4, .. }) && seen.len() == 2);
}

#[test]
fn nothing_is_decided_on_a_part_of_a_header() {
    let mut decoder = Decoder::default();
    assert_eq!(decoder.step(&[0xFF; HEADER_BYTES - 1]), (0, Step::NeedMore));
    assert_eq!(decoder, Decoder::default());
}

#[test]
fn an_unknown_opcode_is_a_frame_all_the_same() {
    let mut frame = forged(30, MAGIC, 1, 0);
    BigEndian::write_u16(&mut frame[AT_OPCODE..], 0x7777);
    let crc = checksum(&frame);
    BigEndian::write_u32(&mut frame[AT_CRC..], crc);
    assert!(matches!(read_whole(&frame)[..], [Seen::Frame { opcode: 0x7777, .. }]));
    assert_eq!(crate::service::bank::wire::Opcode::try_from(0x7777), Err(UnknownOpcode(0x7777)));
}
