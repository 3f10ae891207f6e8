//! Record marking (RFC 5531, section 11): a record is one or more fragments, each behind a mark of four bytes, whose highest bit says that
//! it is the last one and whose others are its length.
//!
//! Where a record ends is found anew each time that more of it has come: nothing is remembered meanwhile, so whoever takes a connection
//! over goes on from its bytes alone. Hence the bound on fragments, which is also one on the work that each further byte can cause.

use super::xdr::Sink;

/// Bytes of a mark.
pub const MARK_BYTES: usize = 4;
/// The bit of a mark that says that the fragment is the record's last.
pub const LAST: u32 = 1 << 31;

/// What a record may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordLimits {
    /// Bytes of a record, its marks included.
    pub bytes: usize,
    /// Fragments of a record, those without bytes included.
    pub fragments: usize,
}

/// What a stream begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordStep<'a> {
    /// Not yet a whole record.
    NeedMore {
        /// Bytes that the record takes at least: with fewer there is nothing to look for.
        at_least: usize,
    },
    /// A whole record.
    Complete {
        /// Bytes of the stream that it takes, its marks included.
        taken: usize,
        /// What is in it, without its marks.
        payload: &'a [u8],
    },
    /// Nothing that comes can be read any more.
    Fatal(RecordFault),
}

/// Why a stream is no sequence of records, or none that is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordFault {
    /// A record that takes more bytes than allowed, as far as its marks say.
    #[error("a record of {bytes} bytes at least, and {most} is the most")]
    TooLong {
        /// What it takes at least.
        bytes: usize,
        /// What is allowed.
        most: usize,
    },
    /// A record of more fragments than allowed.
    #[error("a record of more than {most} fragments")]
    TooManyFragments {
        /// What is allowed.
        most: usize,
    },
}

/// Looks at the record with which `unread` begins. Its payload is borrowed from there where it has one fragment with bytes at most, else
/// it is gathered in `gathered`, whose former contents are dropped and which never grows beyond what `limits` allows.
#[inline]
#[must_use]
pub fn next_record<'a>(unread: &'a [u8], limits: RecordLimits, gathered: &'a mut Vec<u8>) -> RecordStep<'a> {
    let (mut at, mut with_bytes, mut only) = (0, 0, 0..0);
    for _ in 0..limits.fragments {
        let begin = at + MARK_BYTES;
        if begin > limits.bytes {
            return RecordStep::Fatal(RecordFault::TooLong { bytes: begin, most: limits.bytes });
        }
        let Some(mark) = unread.get(at..).and_then(|rest| rest.first_chunk()).map(|mark| u32::from_be_bytes(*mark))
        else {
            return RecordStep::NeedMore { at_least: begin };
        };
        let length = (mark & !LAST) as usize;
        let end = begin.saturating_add(length);
        if end > limits.bytes {
            return RecordStep::Fatal(RecordFault::TooLong { bytes: end, most: limits.bytes });
        }
        if unread.len() < end {
            return RecordStep::NeedMore { at_least: end };
        }
        if length > 0 {
            with_bytes += 1;
            only = begin..end;
        }
        if mark & LAST != 0 {
            let payload = if with_bytes <= 1 { &unread[only] } else { gather(&unread[..end], gathered) };
            return RecordStep::Complete { taken: end, payload };
        }
        at = end;
    }
    RecordStep::Fatal(RecordFault::TooManyFragments { most: limits.fragments })
}

/// The payload of a whole record.
fn gather<'a>(mut record: &[u8], gathered: &'a mut Vec<u8>) -> &'a [u8] {
    gathered.clear();
    gathered.reserve(record.len());
    while let Some((mark, rest)) = record.split_first_chunk() {
        let length = (u32::from_be_bytes(*mark) & !LAST) as usize;
        let (fragment, rest) = rest.split_at_checked(length).unwrap_or((rest, &[]));
        gathered.extend_from_slice(fragment);
        record = rest;
    }
    gathered
}

/// Begins a record of one fragment, and returns where, for [`end_record`].
#[inline]
pub fn begin_record(sink: &mut impl Sink) -> usize {
    let at = sink.len();
    sink.put_u32(0);
    at
}

/// Ends the record that began at `at`: from now on its mark says how long it is.
#[inline]
pub fn end_record(sink: &mut impl Sink, at: usize) {
    let length = u32::try_from(sink.len() - at - MARK_BYTES).unwrap_or(u32::MAX);
    sink.amend(at, LAST | length);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: RecordLimits = RecordLimits { bytes: 64, fragments: 8 };

    fn fragment(is_last: bool, bytes: &[u8]) -> Vec<u8> {
        let mark = u32::try_from(bytes.len()).unwrap() | if is_last { LAST } else { 0 };
        [&mark.to_be_bytes(), bytes].concat()
    }

    fn step(unread: &[u8]) -> Result<(usize, Vec<u8>), RecordStep<'static>> {
        match next_record(unread, LIMITS, &mut Vec::new()) {
            RecordStep::Complete { taken, payload } => Ok((taken, payload.to_vec())),
            RecordStep::NeedMore { at_least } => Err(RecordStep::NeedMore { at_least }),
            RecordStep::Fatal(fault) => Err(RecordStep::Fatal(fault)),
        }
    }

    #[test]
    fn one_fragment_is_borrowed_and_several_are_gathered() {
        let one = [fragment(true, b"abcd"), b"next".to_vec()].concat();
        let mut gathered = b"old".to_vec();
        let RecordStep::Complete { taken: 8, payload } = next_record(&one, LIMITS, &mut gathered) else { panic!() };
        assert!(std::ptr::eq(payload, &raw const one[4..8]), "no copy");
        assert_eq!(gathered, b"old");
        for (record, payload) in [
            (fragment(true, b""), b"".as_slice()),
            ([fragment(false, b"abcd"), fragment(true, b"")].concat(), b"abcd"),
            ([fragment(false, b""), fragment(true, b"abcd")].concat(), b"abcd"),
            ([fragment(false, b"a"), fragment(false, b""), fragment(true, b"bcd")].concat(), b"abcd"),
        ] {
            let with_more = [record.as_slice(), &[1; 20]].concat();
            assert_eq!(step(&with_more), Ok((record.len(), payload.to_vec())));
            for length in 0..record.len() {
                let Err(RecordStep::NeedMore { at_least }) = step(&record[..length]) else { panic!("{length}") };
                assert!(length < at_least && at_least <= record.len());
            }
        }
    }

    #[test]
    fn what_is_too_long_is_seen_as_soon_as_it_is_claimed() {
        let fault = |unread: &[u8]| match step(unread) {
            Err(RecordStep::Fatal(fault)) => fault,
            other => panic!("{other:?}"),
        };
        let too_long = |bytes| RecordFault::TooLong { bytes, most: 64 };
        assert_eq!(fault(&(LAST | 61).to_be_bytes()), too_long(65));
        assert_eq!(step(&fragment(true, &[1; 60])).unwrap().0, 64);
        assert_eq!(fault(&u32::MAX.to_be_bytes()), too_long(4 + (u32::MAX >> 1) as usize));
        // Behind the first fragment there is room for 24 bytes, of which the next mark takes four.
        let first = fragment(false, &[1; 36]);
        assert_eq!(fault(&[first.clone(), 21_u32.to_be_bytes().to_vec()].concat()), too_long(65));
        assert_eq!(step(&[first, fragment(true, &[1; 20])].concat()).unwrap().0, 64);
        // A record that is full has no room for another mark: more is not waited for.
        assert_eq!(fault(&fragment(false, &[1; 60])), too_long(68));
        assert_eq!(fault(&[0; 32]), RecordFault::TooManyFragments { most: 8 });
        assert_eq!(step(&[vec![0; 28], fragment(true, b"end!")].concat()), Ok((36, b"end!".to_vec())));
    }

    #[test]
    fn a_record_that_is_written_is_read() {
        let mut stream = b"before".to_vec();
        let at = begin_record(&mut stream);
        stream.put_opaque(b"hello");
        end_record(&mut stream, at);
        assert_eq!(step(&stream[6..]), Ok((16, b"\0\0\0\x05hello\0\0\0".to_vec())));
    }

    proptest! {
        #[test]
        fn fragments_are_put_together(parts in proptest::collection::vec("[a-z]{0,12}", 1..8), behind in "[a-z]{0,9}") {
            let last = parts.len() - 1;
            let pieces = parts.iter().enumerate().map(|(at, part)| fragment(at == last, part.as_bytes()));
            let record = pieces.collect::<Vec<_>>().concat();
            let stream = [record.as_slice(), behind.as_bytes()].concat();
            if record.len() <= LIMITS.bytes {
                prop_assert_eq!(step(&stream), Ok((record.len(), parts.concat().into_bytes())));
            } else {
                let is_too_long = matches!(step(&stream), Err(RecordStep::Fatal(RecordFault::TooLong { .. })));
                prop_assert!(is_too_long);
            }
        }

        #[test]
        fn more_bytes_never_change_what_was_decided(bytes in proptest::collection::vec(0_u8..4, 0..80)) {
            let whole = step(&bytes);
            for length in 0..bytes.len() {
                let sooner = step(&bytes[..length]);
                let waits = matches!(sooner, Err(RecordStep::NeedMore { .. }));
                prop_assert!(waits || sooner == whole, "{sooner:?}, then {whole:?}");
            }
        }
    }
}
