use std::time::{Duration, UNIX_EPOCH};

use proptest::prelude::*;

use super::*;
use crate::service::http::rules::{ContentType, ETag, Entity};

use Answer::{NotModified, PreconditionFailed, Unsatisfiable, Whole};

const MODIFIED: u64 = 784_111_777;
const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
const EARLIER: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
const LATER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

/// 2026-11-25, at noon.
fn now() -> DateText {
    DateText::of(UNIX_EPOCH + Duration::from_secs(1_795_608_000))
}

fn sheet(length: u64) -> Sheet {
    // Half a second behind the second that dates can tell.
    let modified = UNIX_EPOCH + Duration::from_millis(MODIFIED * 1000 + 500);
    let etag = ETag::of(modified, length, 7, false);
    let content_type = ContentType::of(b"a.txt");
    Sheet::of(Entity { length, modified, etag, content_type, gzipped: false, varies: false })
}

#[test]
fn several_parts_of_a_compressed_form_are_the_whole() {
    let mut entity = sheet(100).entity;
    entity.gzipped = true;
    let sheet = Sheet::of(entity);
    assert_eq!(asked(&sheet, &[("range", "bytes=0-1,5-6")]), Whole);
    assert_eq!(asked(&sheet, &[("range", "bytes=0-1,2-6")]), part(0, 7));
}

fn part(first: u64, end: u64) -> Answer {
    Answer::Part(first..end)
}

/// A line of a condition; `ETAG` stands for the file's tag.
fn asked(sheet: &Sheet, lines: &[(&str, &str)]) -> Answer {
    let tag = sheet.entity.etag.quoted();
    let lines: Vec<_> = lines.iter().map(|(name, value)| (*name, value.replace("ETAG", tag))).collect();
    let mut conditions = Conditions::default();
    let section: String = lines.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    for (name, value) in &lines {
        let line = match *name {
            "match" => {
                conditions.if_match.add("match", value.as_bytes(), section.as_bytes());
                continue;
            }
            "none" => {
                conditions.if_none_match.add("none", value.as_bytes(), section.as_bytes());
                continue;
            }
            "since" => &mut conditions.if_modified_since,
            "unmodified" => &mut conditions.if_unmodified_since,
            "if-range" => &mut conditions.if_range,
            "range" => &mut conditions.range,
            other => panic!("{other}"),
        };
        line.add(value.as_bytes());
    }
    decide(Method::Get, &conditions, sheet, &now())
}

#[test]
fn conditions_take_precedence_as_prescribed() {
    let sheet = sheet(100);
    let table: &[(&[(&str, &str)], Answer)] = &[
        (&[], Whole),
        // If-Match: strong.
        (&[("match", "ETAG")], Whole),
        (&[("match", "*")], Whole),
        (&[("match", "\"x\", ETAG")], Whole),
        (&[("match", "W/ETAG")], PreconditionFailed),
        (&[("match", "\"x\"")], PreconditionFailed),
        (&[("match", "")], PreconditionFailed),
        (&[("match", "ETAG"), ("match", "\"x\"")], Whole),
        (&[("match", "\"x\""), ("match", "ETAG")], Whole),
        (&[("match", "\"x\""), ("match", "W/ETAG")], PreconditionFailed),
        (&[("match", "\"x\""), ("match", "*")], PreconditionFailed),
        (&[("match", "*, \"x\"")], PreconditionFailed),
        (&[("match", "ETAG"), ("unmodified", EARLIER)], Whole),
        (&[("match", "\"x\""), ("none", "ETAG")], PreconditionFailed),
        // If-Unmodified-Since.
        (&[("unmodified", DATE)], Whole),
        (&[("unmodified", LATER)], Whole),
        (&[("unmodified", EARLIER)], PreconditionFailed),
        (&[("unmodified", "soon")], Whole),
        (&[("unmodified", EARLIER), ("unmodified", EARLIER)], Whole),
        (&[("unmodified", EARLIER), ("range", "bytes=0-1")], PreconditionFailed),
        // If-None-Match: weak.
        (&[("none", "ETAG")], NotModified),
        (&[("none", "W/ETAG")], NotModified),
        (&[("none", "*")], NotModified),
        (&[("none", "\"a,b\" ,, W/\"x\", ETAG")], NotModified),
        (&[("none", "\"x\"")], Whole),
        (&[("none", "x, ETAG")], Whole),
        (&[("none", "ETAG"), ("none", "\"x\"")], NotModified),
        (&[("none", "\"x\""), ("none", "\"y\", W/ETAG")], NotModified),
        (&[("none", "\"x\""), ("none", "\"y\"")], Whole),
        (&[("none", "\"x\""), ("none", "\"y\""), ("since", LATER)], Whole),
        (&[("none", "*"), ("none", "\"x\"")], Whole),
        (&[("none", "\"x\""), ("since", LATER)], Whole),
        (&[("none", "ETAG"), ("since", EARLIER)], NotModified),
        (&[("none", "ETAG"), ("match", "ETAG")], NotModified),
        (&[("none", "ETAG"), ("range", "bytes=0-1")], NotModified),
        // If-Modified-Since.
        (&[("since", DATE)], NotModified),
        (&[("since", "Sunday, 06-Nov-94 08:49:37 GMT")], NotModified),
        (&[("since", "Sun Nov  6 08:49:37 1994")], NotModified),
        (&[("since", LATER)], NotModified),
        (&[("since", EARLIER)], Whole),
        (&[("since", "1")], Whole),
        (&[("since", "Sun, 06 Nov 1894 08:49:37 GMT")], Whole),
        (&[("since", "Sat, 31 Dec 2016 23:59:60 GMT")], NotModified),
        (&[("unmodified", "Sun, 06 Nov 1894 08:49:37 GMT")], PreconditionFailed),
        (&[("unmodified", "Sat, 31 Dec 2016 23:59:60 GMT")], Whole),
        (&[("unmodified", "Sunday, 06-Nov-95 08:49:37 GMT")], Whole),
        (&[("unmodified", "Monday, 06-Nov-78 08:49:37 GMT")], PreconditionFailed),
        (&[("since", DATE), ("since", DATE)], Whole),
        (&[("since", EARLIER), ("range", "bytes=0-1")], part(0, 2)),
        // If-Range: strong.
        (&[("if-range", "ETAG"), ("range", "bytes=0-1")], part(0, 2)),
        (&[("if-range", "W/ETAG"), ("range", "bytes=0-1")], Whole),
        (&[("if-range", "\"x\""), ("range", "bytes=0-1")], Whole),
        (&[("if-range", "ETAG, ETAG"), ("range", "bytes=0-1")], Whole),
        (&[("if-range", "*"), ("range", "bytes=0-1")], Whole),
        (&[("if-range", DATE), ("range", "bytes=0-1")], part(0, 2)),
        (&[("if-range", LATER), ("range", "bytes=0-1")], Whole),
        (&[("if-range", EARLIER), ("range", "bytes=0-1")], Whole),
        (&[("if-range", "x"), ("range", "bytes=0-1")], Whole),
        (&[("if-range", "ETAG"), ("if-range", "ETAG"), ("range", "bytes=0-1")], Whole),
        (&[("if-range", "\"x\""), ("range", "bytes=100-")], Whole),
        (&[("if-range", "ETAG")], Whole),
        (&[("range", "bytes=0-1"), ("range", "bytes=0-1")], Whole),
    ];
    for (lines, wanted) in table {
        assert_eq!(asked(&sheet, lines), *wanted, "{lines:?}");
    }
}

/// RFC 9110, section 8.8.2.1 and 8.8.2.2: a file that was changed in the future, by its server's clock, was changed now; and a
/// second that is not over is no strong validator.
#[test]
fn no_file_is_younger_than_its_answer() {
    let sheet = sheet(100);
    let at = |seconds: u64| DateText::of(UNIX_EPOCH + Duration::from_secs(seconds));
    let conditions =
        |date| Conditions { if_range: Line::Once(date), range: Line::Once(b"bytes=0-1"), ..Conditions::default() };
    let asked = |date: &'static str, seconds| decide(Method::Get, &conditions(date.as_bytes()), &sheet, &at(seconds));
    assert_eq!(asked(DATE, MODIFIED + 1), part(0, 2));
    assert_eq!(asked(DATE, MODIFIED), Whole);
    assert_eq!(asked(EARLIER, MODIFIED - 1), Whole);
    let since = |seconds| {
        let conditions = Conditions { if_modified_since: Line::Once(EARLIER.as_bytes()), ..Conditions::default() };
        decide(Method::Get, &conditions, &sheet, &at(seconds))
    };
    assert_eq!((since(MODIFIED), since(MODIFIED - 1)), (Whole, NotModified));
}

#[test]
fn ranges_are_cut_to_the_file() {
    let many = |count: usize| format!("bytes={}", (0..count).map(|at| format!("{0}-{0},", at * 2)).collect::<String>());
    let sixteen = (0..16).map(|at| at * 2..at * 2 + 1).collect();
    for (range, wanted) in [
        ("bytes=0-0", part(0, 1)),
        ("bytes=0-99", part(0, 100)),
        ("bytes=0-", part(0, 100)),
        ("BYTES=99-", part(99, 100)),
        ("bytes=99-100", part(99, 100)),
        ("bytes=5-18446744073709551615", part(5, 100)),
        ("bytes=5-99999999999999999999999", part(5, 100)),
        ("bytes=-1", part(99, 100)),
        ("bytes=-100", part(0, 100)),
        ("bytes=-99999999999999999999999", part(0, 100)),
        ("bytes= 1-2 ,\t, 4-5 ", Answer::Parts(vec![1..3, 4..6])),
        ("bytes=50-59,0-9", Answer::Parts(vec![50..60, 0..10])),
        ("bytes=0-9,10-19", part(0, 20)),
        ("bytes=10-19,0-9", part(0, 20)),
        ("bytes=0-9,5-19", part(0, 20)),
        ("bytes=0-9,50-59,10-49", part(0, 60)),
        ("bytes=80-89,0-9,20-29,5-24", Answer::Parts(vec![80..90, 0..30])),
        ("bytes=0-9,200-", part(0, 10)),
        ("bytes=200-,-0,-1", part(99, 100)),
        ("bytes=0-,-1", Whole),
        ("bytes=0-60,0-60", Whole),
        ("bytes=100-", Unsatisfiable),
        ("bytes=-0", Unsatisfiable),
        ("bytes=100-200,300-400", Unsatisfiable),
        ("bytes=99999999999999999999999-", Unsatisfiable),
        ("bytes=", Whole),
        ("bytes=,", Whole),
        ("bytes=-", Whole),
        ("bytes=1", Whole),
        ("bytes=2-1", Whole),
        ("bytes=200-100", Whole),
        ("bytes=0-1,2-1", Whole),
        ("bytes=a-b", Whole),
        ("bytes=0-1;2-3", Whole),
        ("bytes=+0-1", Whole),
        ("bytes=0--1", Whole),
        ("bytes=--1", Whole),
        ("bytes=0 - 1", Whole),
        ("bytes=0x0-1", Whole),
        ("bytes =0-1", Whole),
        ("bytes", Whole),
        ("", Whole),
        ("items=0-1", Whole),
        ("0-1", Whole),
        (&many(16), Answer::Parts(sixteen)),
        (&many(17), Whole),
    ] {
        assert_eq!(asked(&sheet(100), &[("range", range)]), wanted, "{range}");
    }
    for (range, wanted) in [("bytes=0-", Unsatisfiable), ("bytes=0-0", Unsatisfiable), ("bytes=-1", Whole)] {
        assert_eq!(asked(&sheet(0), &[("range", range)]), wanted, "{range} of nothing");
    }
    assert_eq!(asked(&sheet(u64::MAX), &[("range", "bytes=1-18446744073709551615")]), part(1, u64::MAX));
}

#[test]
fn head_knows_no_ranges() {
    let conditions = Conditions { range: Line::Once(b"bytes=0-1"), ..Conditions::default() };
    assert_eq!(decide(Method::Head, &conditions, &sheet(100), &now()), Whole);
}

proptest! {
    #[test]
    fn parts_hold_exactly_what_was_asked_for(length in 0u64..60, ranges in proptest::collection::vec((0u64..70, 0u64..20), 1..20)) {
        let list: Vec<_> = ranges.iter().map(|(first, more)| format!("{first}-{}", first + more)).collect();
        let value = format!("bytes={}", list.join(", "));
        let covered = |parts: &[Range<u64>]| (0..length).map(|at| parts.iter().any(|part| part.contains(&at))).collect::<Vec<_>>();
        let wanted: Vec<_> = ranges.iter().map(|(first, more)| *first..first + more + 1).collect();
        let parts = match cut(value.as_bytes(), length) {
            Answer::Part(part) => vec![part],
            Answer::Parts(parts) => parts,
            Unsatisfiable => Vec::new(),
            Whole => {
                let sum: u64 = wanted.iter().map(|part| part.end.min(length).saturating_sub(part.start)).sum();
                prop_assert!(sum > length || ranges.len() > MAX_RANGES);
                return Ok(());
            }
            other => panic!("{other:?}"),
        };
        prop_assert_eq!(covered(&parts), covered(&wanted));
        for (at, part) in parts.iter().enumerate() {
            prop_assert!(part.start < part.end && part.end <= length);
            prop_assert!(parts[..at].iter().all(|other| other.end < part.start || part.end < other.start));
        }
    }

    #[test]
    fn no_condition_is_a_panic(value: Vec<u8>, text in "(bytes=|W/|[\",*0-9-]|ETAG| ){0,12}", length: u64) {
        for value in [value.as_slice(), text.as_bytes()] {
            let line = Line::Once(value);
            let conditions = Conditions {
                if_match: List::Absent, if_none_match: List::Once(value), if_modified_since: line, if_unmodified_since: line,
                if_range: Line::Absent, range: line,
            };
            let _ = decide(Method::Get, &conditions, &sheet(length), &now());
            let list = List::Several { name: "match", lines: value };
            let conditions = Conditions { if_match: list, if_range: line, ..conditions };
            let _ = decide(Method::Get, &conditions, &sheet(length), &now());
        }
    }
}
