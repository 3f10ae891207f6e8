//! Whether a file is sent, or a part of it, or only that it did not change (RFC 9110, section 13.2.2 and 14).

use std::ops::Range;

use super::date::{DateText, parse_date};
use super::entity::Sheet;
use super::fields::{Line, List, digits, members, tags, trim};
use super::request::{Conditions, Method};
use crate::base::limits::MAX_RANGES;

/// What a file's request is answered with. Ranges are of the bytes that are sent, none of them empty or beyond the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The whole file: 200.
    Whole,
    /// The client has it: 304.
    NotModified,
    /// It is not the one that the client means: 412.
    PreconditionFailed,
    /// A part of it: 206.
    Part(Range<u64>),
    /// Several parts of it, apart from each other, in the order asked for: 206, `multipart/byteranges`.
    Parts(Vec<Range<u64>>),
    /// None of the parts asked for exists: 416.
    Unsatisfiable,
}

/// Decides, in the order that RFC 9110 (section 13.2.2) prescribes, at the time of `date`, which is the answer's Date. No
/// allocation, unless several ranges are asked for.
#[must_use]
pub fn decide(method: Method, conditions: &Conditions, sheet: &Sheet, date: &DateText) -> Answer {
    if !may_proceed(conditions, sheet, date) {
        return Answer::PreconditionFailed;
    }
    if is_known(conditions, sheet, date) {
        return Answer::NotModified;
    }
    let answer = match (method, conditions.range) {
        (Method::Get, Line::Once(range)) if range_applies(conditions.if_range, sheet, date) => {
            cut(range, sheet.entity.length)
        }
        _ => Answer::Whole,
    };
    match answer {
        // The field that names the encoding would seem to be about all of the parts together.
        Answer::Parts(_) if sheet.entity.gzipped => Answer::Whole,
        answer => answer,
    }
}

/// If-Match, or in its absence If-Unmodified-Since.
fn may_proceed(conditions: &Conditions, sheet: &Sheet, date: &DateText) -> bool {
    match (conditions.if_match, conditions.if_unmodified_since) {
        (List::Absent, since) => date_of(since, date).is_none_or(|since| sheet.modified_at(date) <= since),
        (list, _) => matches(list, sheet, Comparison::Strong),
    }
}

/// If-None-Match, or in its absence If-Modified-Since.
fn is_known(conditions: &Conditions, sheet: &Sheet, date: &DateText) -> bool {
    match (conditions.if_none_match, conditions.if_modified_since) {
        (List::Absent, since) => date_of(since, date).is_some_and(|since| sheet.modified_at(date) <= since),
        (list, _) => matches(list, sheet, Comparison::Weak),
    }
}

/// The date of a field; what is none, or stands there twice, is no condition (RFC 9110, section 13.1.3 and 13.1.4).
fn date_of(field: Line, date: &DateText) -> Option<i64> {
    field.once().and_then(|value| parse_date(value, date.seconds()))
}

/// If-Range: the parts are wanted only of the file that the client has some of. A date must be the very one that was sent,
/// and is then taken for a strong validator if the second that it names is over.
fn range_applies(if_range: Line, sheet: &Sheet, date: &DateText) -> bool {
    match if_range {
        Line::Absent => true,
        Line::Repeated => false,
        Line::Once(value) if value.starts_with(b"\"") || value.starts_with(b"W/") => {
            value == sheet.entity.etag.quoted().as_bytes()
        }
        Line::Once(value) => {
            let modified = sheet.modified_at(date);
            modified < date.seconds() && parse_date(value, date.seconds()) == Some(modified)
        }
    }
}

/// How two tags are compared (RFC 9110, section 8.8.3.2). Our own are strong.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Strong,
    Weak,
}

fn matches(list: List, sheet: &Sheet, comparison: Comparison) -> bool {
    let own = sheet.entity.etag.quoted().as_bytes();
    let is_own = |value| tags(value).any(|tag| tag.opaque == own && (!tag.weak || comparison == Comparison::Weak));
    // An asterisk stands alone, or is nothing.
    matches!(list, List::Once(value) if trim(value) == b"*") || list.values().any(is_own)
}

/// The parts that a Range field asks for. What is no list of byte ranges is passed over, as RFC 9110 (section 14.2) wants it.
///
/// More ranges than [`MAX_RANGES`], or ranges that overlap so much that they are more than the file, are an attack or a
/// mistake; the whole is the cheaper answer.
fn cut(value: &[u8], length: u64) -> Answer {
    const UNIT: &[u8] = b"bytes=";
    let list = match value.split_at_checked(UNIT.len()) {
        Some((unit, list)) if unit.eq_ignore_ascii_case(UNIT) => list,
        _ => return Answer::Whole,
    };
    let (mut asked, mut bytes, mut parts) = (0, 0u64, Vec::new());
    for member in members(list) {
        asked += 1;
        match resolve(member, length) {
            Asked::Malformed => return Answer::Whole,
            Asked::Beyond => (),
            Asked::Part(_) if asked > MAX_RANGES => return Answer::Whole,
            Asked::Part(part) => {
                bytes = bytes.saturating_add(part.end - part.start);
                merge(&mut parts, part);
            }
        }
    }
    // The last bytes of an empty file exist, all none of them; but a 206 has no words for that.
    let nothing_to_cut = length == 0 && !parts.is_empty();
    if asked == 0 || asked > MAX_RANGES || bytes > length || nothing_to_cut {
        return Answer::Whole;
    }
    match parts.len() {
        0 => Answer::Unsatisfiable,
        1 => Answer::Part(parts.swap_remove(0)),
        _ => Answer::Parts(parts),
    }
}

/// One member of a list of ranges, held against the length of the file.
enum Asked {
    /// `first-last`, `first-` or `-count` it is not, or last comes before first.
    Malformed,
    /// The file does not reach that far, or no bytes are asked for.
    Beyond,
    /// Empty only in an empty file.
    Part(Range<u64>),
}

fn resolve(member: &[u8], length: u64) -> Asked {
    // A number beyond 64 bits is beyond any file.
    let number = |text: &[u8]| digits(text).map(|number| number.unwrap_or(u64::MAX));
    let Some(dash) = member.iter().position(|byte| *byte == b'-') else { return Asked::Malformed };
    let (first, last) = (&member[..dash], &member[dash + 1..]);
    match (number(first), number(last)) {
        (None, Some(0)) if first.is_empty() => Asked::Beyond,
        (None, Some(count)) if first.is_empty() => Asked::Part(length.saturating_sub(count)..length),
        (Some(first), None) if last.is_empty() && first < length => Asked::Part(first..length),
        (Some(_), None) if last.is_empty() => Asked::Beyond,
        (Some(first), Some(last)) if first > last => Asked::Malformed,
        (Some(first), Some(last)) if first < length => Asked::Part(first..last.saturating_add(1).min(length)),
        (Some(_), Some(_)) => Asked::Beyond,
        _ => Asked::Malformed,
    }
}

/// Adds a part to parts that are apart from each other, and keeps them so: what it overlaps or touches becomes one with it, at
/// the place of the first of them.
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

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
