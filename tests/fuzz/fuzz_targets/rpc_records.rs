//! Record marking: a stream gives the same records however it is cut, and nothing is held beyond the bound.
#![no_main]

use bank_vault::base::onc_rpc::{RecordLimits, RecordStep, next_record};
use bank_vault_fuzz::pieces;
use libfuzzer_sys::fuzz_target;

const LIMITS: RecordLimits = RecordLimits { bytes: 1024, fragments: 32 };

/// What becomes of a stream that comes in these pieces.
fn steps<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Vec<String> {
    let (mut unread, mut gathered, mut seen) = (Vec::new(), Vec::new(), Vec::new());
    for piece in pieces {
        unread.extend_from_slice(piece);
        loop {
            let taken = match next_record(&unread, LIMITS, &mut gathered) {
                RecordStep::NeedMore { at_least } => {
                    assert!(unread.len() < at_least && at_least <= LIMITS.bytes, "there is room for what it waits for");
                    break;
                }
                RecordStep::Complete { taken, payload } => {
                    assert!(4 <= taken && taken <= LIMITS.bytes && payload.len() + 4 <= taken);
                    seen.push(format!("{payload:?}"));
                    taken
                }
                RecordStep::Fatal(fault) => {
                    seen.push(fault.to_string());
                    return seen;
                }
            };
            unread.drain(..taken);
        }
        assert!(gathered.len() <= LIMITS.bytes);
    }
    seen
}

fuzz_target!(|data: &[u8]| {
    let whole = steps(data.get(1..).into_iter());
    assert_eq!(steps(pieces(data, 50)), whole);
});
