//! Byte ranges (RFC 9110, section 14).
//!
//! They are parsed here because the crate `http-range-header` rejects ranges that overlap. Here they are merged.

use std::ops::Range;

use crate::base::limits::MAX_RANGES;
use crate::service::http::wire::FileResponse;
use crate::service::http::wire::fields::{digits, members};

/// The response to a Range field. A value that is no list of byte ranges is ignored (RFC 9110, section 14.2).
///
/// More ranges than [`MAX_RANGES`], or ranges that overlap so much that their sum is longer than the file, are an attack or a
/// mistake; then the full representation is the cheaper response.
pub(super) fn select(value: &[u8], length: u64) -> FileResponse {
    const UNIT: &[u8] = b"bytes=";
    let list = match value.split_at_checked(UNIT.len()) {
        Some((unit, list)) if unit.eq_ignore_ascii_case(UNIT) => list,
        _ => return FileResponse::Full,
    };
    let (mut count, mut bytes, mut parts) = (0, 0u64, Vec::new());
    for member in members(list) {
        count += 1;
        if count > MAX_RANGES {
            return FileResponse::Full;
        }
        match resolve(member, length) {
            RangeSpec::Malformed => return FileResponse::Full,
            RangeSpec::Unsatisfiable => (),
            RangeSpec::Part(part) => {
                bytes = bytes.saturating_add(part.end - part.start);
                merge(&mut parts, part);
            }
        }
    }
    // A suffix of an empty file is satisfiable, but no Content-Range can express it.
    let empty_part = length == 0 && !parts.is_empty();
    if count == 0 || bytes > length || empty_part {
        return FileResponse::Full;
    }
    match parts.len() {
        0 => FileResponse::Unsatisfiable,
        1 => FileResponse::Partial(parts.swap_remove(0)),
        _ => FileResponse::Multipart(parts),
    }
}

/// A range-spec, resolved for a file of a certain length.
enum RangeSpec {
    /// It is none of `first-last`, `first-` and `-count`, or last comes before first.
    Malformed,
    /// It begins after the end of the file, or is a suffix of no bytes.
    Unsatisfiable,
    /// It is empty only if the file is.
    Part(Range<u64>),
}

fn resolve(member: &[u8], length: u64) -> RangeSpec {
    // No file is longer than 64 bits can say.
    let number = |text: &[u8]| digits(text).map(|number| number.unwrap_or(u64::MAX));
    let Some(dash) = member.iter().position(|byte| *byte == b'-') else { return RangeSpec::Malformed };
    let (first, last) = (&member[..dash], &member[dash + 1..]);
    match (number(first), number(last)) {
        (None, Some(0)) if first.is_empty() => RangeSpec::Unsatisfiable,
        (None, Some(count)) if first.is_empty() => RangeSpec::Part(length.saturating_sub(count)..length),
        (Some(first), None) if last.is_empty() && first < length => RangeSpec::Part(first..length),
        (Some(_), None) if last.is_empty() => RangeSpec::Unsatisfiable,
        (Some(first), Some(last)) if first > last => RangeSpec::Malformed,
        (Some(first), Some(last)) if first < length => RangeSpec::Part(first..last.saturating_add(1).min(length)),
        (Some(_), Some(_)) => RangeSpec::Unsatisfiable,
        _ => RangeSpec::Malformed,
    }
}

/// Adds a part to parts that neither overlap nor touch, and keeps them so: those that the new part overlaps or touches are merged
/// with it, at the position of the first of them.
fn merge(parts: &mut Vec<Range<u64>>, part: Range<u64>) {
    let touches = |other: &Range<u64>| other.start <= part.end && part.start <= other.end;
    let place = parts.iter().position(touches).unwrap_or(parts.len());
    let mut union = part.clone();
    parts.retain(|other| {
        let apart = !touches(other);
        if !apart {
            union = union.start.min(other.start)..union.end.max(other.end);
        }
        apart
    });
    parts.insert(place, union);
}
