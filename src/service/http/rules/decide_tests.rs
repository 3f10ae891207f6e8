use std::ops::Range;
use std::time::{Duration, UNIX_EPOCH};

use proptest::prelude::*;

use super::*;
use crate::base::limits::MAX_RANGES;
use crate::service::http::rules::{etag, media_type};
use crate::service::http::wire::{ListField, RepresentationMetadata, parse};

use FileResponse::{Full, NotModified, PreconditionFailed, Unsatisfiable};

const MODIFIED: u64 = 784_111_777;
const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
const EARLIER: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
const LATER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

/// 2026-11-25, at noon.
fn now() -> HttpDate {
    HttpDate::of(UNIX_EPOCH + Duration::from_secs(1_795_608_000))
}

fn file(length: u64) -> Representation {
    // Half a second behind the second that dates can tell.
    let modified = UNIX_EPOCH + Duration::from_millis(MODIFIED * 1000 + 500);
    let etag = etag(modified, length, 7, false);
    let media_type = media_type(b"a.txt");
    Representation::new(RepresentationMetadata { length, modified, etag, media_type, gzipped: false, varies: false })
}

#[test]
fn several_parts_of_a_coded_file_are_the_whole() {
    let mut metadata = file(100).metadata().clone();
    metadata.gzipped = true;
    let file = Representation::new(metadata);
    assert_eq!(asked(&file, &[("range", "bytes=0-1,5-6")]), Full);
    assert_eq!(asked(&file, &[("range", "bytes=0-1,2-6")]), part(0, 7));
}

fn part(first: u64, end: u64) -> FileResponse {
    FileResponse::Partial(first..end)
}

/// The response to a request with these fields. `ETAG` stands for the tag of the file.
fn asked(file: &Representation, fields: &[(&str, &str)]) -> FileResponse {
    let tag = file.metadata().etag.quoted();
    let name = |short| match short {
        "match" => "If-Match",
        "none" => "If-None-Match",
        "since" => "If-Modified-Since",
        "unmodified" => "If-Unmodified-Since",
        "if-range" => "If-Range",
        "range" => "Range",
        other => panic!("{other}"),
    };
    let lines: String =
        fields.iter().map(|(short, value)| format!("{}: {}\r\n", name(*short), value.replace("ETAG", tag))).collect();
    let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
    let request = parse(head.as_bytes()).unwrap().unwrap();
    decide(request.method, &request.conditions, file, &now())
}

#[test]
fn conditions_take_precedence_as_prescribed() {
    let file = file(100);
    let table: &[(&[(&str, &str)], FileResponse)] = &[
        (&[], Full),
        // If-Match: strong.
        (&[("match", "ETAG")], Full),
        (&[("match", "*")], Full),
        (&[("match", "\"x\", ETAG")], Full),
        (&[("match", "W/ETAG")], PreconditionFailed),
        (&[("match", "\"x\"")], PreconditionFailed),
        (&[("match", "")], PreconditionFailed),
        (&[("match", "ETAG"), ("match", "\"x\"")], Full),
        (&[("match", "\"x\""), ("match", "ETAG")], Full),
        (&[("match", "\"x\""), ("match", "W/ETAG")], PreconditionFailed),
        (&[("match", "\"x\""), ("match", "*")], PreconditionFailed),
        (&[("match", "*, \"x\"")], PreconditionFailed),
        (&[("match", "ETAG"), ("unmodified", EARLIER)], Full),
        (&[("match", "\"x\""), ("none", "ETAG")], PreconditionFailed),
        // If-Unmodified-Since.
        (&[("unmodified", DATE)], Full),
        (&[("unmodified", LATER)], Full),
        (&[("unmodified", EARLIER)], PreconditionFailed),
        (&[("unmodified", "soon")], Full),
        (&[("unmodified", EARLIER), ("unmodified", EARLIER)], Full),
        (&[("unmodified", EARLIER), ("range", "bytes=0-1")], PreconditionFailed),
        // If-None-Match: weak.
        (&[("none", "ETAG")], NotModified),
        (&[("none", "W/ETAG")], NotModified),
        (&[("none", "*")], NotModified),
        (&[("none", "\"a,b\" ,, W/\"x\", ETAG")], NotModified),
        (&[("none", "\"x\"")], Full),
        (&[("none", "x, ETAG")], Full),
        (&[("none", "ETAG"), ("none", "\"x\"")], NotModified),
        (&[("none", "\"x\""), ("none", "\"y\", W/ETAG")], NotModified),
        (&[("none", "\"x\""), ("none", "\"y\"")], Full),
        (&[("none", "\"x\""), ("none", "\"y\""), ("since", LATER)], Full),
        (&[("none", "*"), ("none", "\"x\"")], Full),
        (&[("none", "\"x\""), ("since", LATER)], Full),
        (&[("none", "ETAG"), ("since", EARLIER)], NotModified),
        (&[("none", "ETAG"), ("match", "ETAG")], NotModified),
        (&[("none", "ETAG"), ("range", "bytes=0-1")], NotModified),
        // If-Modified-Since.
        (&[("since", DATE)], NotModified),
        (&[("since", "Sunday, 06-Nov-94 08:49:37 GMT")], NotModified),
        (&[("since", "Sun Nov  6 08:49:37 1994")], NotModified),
        (&[("since", LATER)], NotModified),
        (&[("since", EARLIER)], Full),
        (&[("since", "1")], Full),
        (&[("since", "Sun, 06 Nov 1894 08:49:37 GMT")], Full),
        (&[("since", "Sat, 31 Dec 2016 23:59:60 GMT")], NotModified),
        (&[("unmodified", "Sun, 06 Nov 1894 08:49:37 GMT")], PreconditionFailed),
        (&[("unmodified", "Sat, 31 Dec 2016 23:59:60 GMT")], Full),
        (&[("unmodified", "Sunday, 06-Nov-95 08:49:37 GMT")], Full),
        (&[("unmodified", "Monday, 06-Nov-78 08:49:37 GMT")], PreconditionFailed),
        (&[("since", DATE), ("since", DATE)], Full),
        (&[("since", EARLIER), ("range", "bytes=0-1")], part(0, 2)),
        // If-Range: strong.
        (&[("if-range", "ETAG"), ("range", "bytes=0-1")], part(0, 2)),
        (&[("if-range", "W/ETAG"), ("range", "bytes=0-1")], Full),
        (&[("if-range", "\"x\""), ("range", "bytes=0-1")], Full),
        (&[("if-range", "ETAG, ETAG"), ("range", "bytes=0-1")], Full),
        (&[("if-range", "*"), ("range", "bytes=0-1")], Full),
        (&[("if-range", DATE), ("range", "bytes=0-1")], part(0, 2)),
        (&[("if-range", LATER), ("range", "bytes=0-1")], Full),
        (&[("if-range", EARLIER), ("range", "bytes=0-1")], Full),
        (&[("if-range", "x"), ("range", "bytes=0-1")], Full),
        (&[("if-range", "ETAG"), ("if-range", "ETAG"), ("range", "bytes=0-1")], Full),
        (&[("if-range", "\"x\""), ("range", "bytes=100-")], Full),
        (&[("if-range", "ETAG")], Full),
        (&[("range", "bytes=0-1"), ("range", "bytes=0-1")], Full),
    ];
    for (lines, wanted) in table {
        assert_eq!(asked(&file, lines), *wanted, "{lines:?}");
    }
}

/// RFC 9110, section 8.8.2.1 and 8.8.2.2: a file that was changed in the future, by its server's clock, was changed now; and a
/// second that is not over is no strong validator.
#[test]
fn no_file_is_younger_than_its_answer() {
    let file = file(100);
    let at = |seconds: u64| HttpDate::of(UNIX_EPOCH + Duration::from_secs(seconds));
    let conditions = |date| Conditions {
        if_range: SingletonField::Once(date),
        range: SingletonField::Once(b"bytes=0-1"),
        ..Conditions::default()
    };
    let asked = |date: &'static str, seconds| decide(Method::Get, &conditions(date.as_bytes()), &file, &at(seconds));
    assert_eq!(asked(DATE, MODIFIED + 1), part(0, 2));
    assert_eq!(asked(DATE, MODIFIED), Full);
    assert_eq!(asked(EARLIER, MODIFIED - 1), Full);
    let since = |seconds| {
        let conditions =
            Conditions { if_modified_since: SingletonField::Once(EARLIER.as_bytes()), ..Conditions::default() };
        decide(Method::Get, &conditions, &file, &at(seconds))
    };
    assert_eq!((since(MODIFIED), since(MODIFIED - 1)), (Full, NotModified));
}

#[test]
fn ranges_are_cut_to_the_file() {
    let many = |count: usize| format!("bytes={}", (0..count).map(|at| format!("{0}-{0},", at * 2)).collect::<String>());
    let beyond = |count: usize| format!("bytes={}", "200-,".repeat(count));
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
        ("bytes= 1-2 ,\t, 4-5 ", FileResponse::Multipart(vec![1..3, 4..6])),
        ("bytes=50-59,0-9", FileResponse::Multipart(vec![50..60, 0..10])),
        ("bytes=0-9,10-19", part(0, 20)),
        ("bytes=10-19,0-9", part(0, 20)),
        ("bytes=0-9,5-19", part(0, 20)),
        ("bytes=0-9,50-59,10-49", part(0, 60)),
        ("bytes=80-89,0-9,20-29,5-24", FileResponse::Multipart(vec![80..90, 0..30])),
        ("bytes=0-9,200-", part(0, 10)),
        ("bytes=200-,-0,-1", part(99, 100)),
        ("bytes=0-,-1", Full),
        ("bytes=0-60,0-60", Full),
        ("bytes=100-", Unsatisfiable),
        ("bytes=-0", Unsatisfiable),
        ("bytes=100-200,300-400", Unsatisfiable),
        ("bytes=99999999999999999999999-", Unsatisfiable),
        ("bytes=", Full),
        ("bytes=,", Full),
        ("bytes=-", Full),
        ("bytes=1", Full),
        ("bytes=2-1", Full),
        ("bytes=200-100", Full),
        ("bytes=0-1,2-1", Full),
        ("bytes=a-b", Full),
        ("bytes=a-0", Full),
        ("bytes=0-1;2-3", Full),
        ("bytes=+0-1", Full),
        ("bytes=0--1", Full),
        ("bytes=--1", Full),
        ("bytes=0 - 1", Full),
        ("bytes=0x0-1", Full),
        ("bytes =0-1", Full),
        ("bytes", Full),
        ("", Full),
        ("items=0-1", Full),
        ("0-1", Full),
        (&many(16), FileResponse::Multipart(sixteen)),
        (&many(17), Full),
        (&beyond(16), Unsatisfiable),
        (&beyond(17), Full),
    ] {
        assert_eq!(asked(&file(100), &[("range", range)]), wanted, "{range}");
    }
    for (range, wanted) in [("bytes=0-", Unsatisfiable), ("bytes=0-0", Unsatisfiable), ("bytes=-1", Full)] {
        assert_eq!(asked(&file(0), &[("range", range)]), wanted, "{range} of nothing");
    }
    assert_eq!(asked(&file(u64::MAX), &[("range", "bytes=1-18446744073709551615")]), part(1, u64::MAX));
}

#[test]
fn head_knows_no_ranges() {
    let conditions = Conditions { range: SingletonField::Once(b"bytes=0-1"), ..Conditions::default() };
    assert_eq!(decide(Method::Head, &conditions, &file(100), &now()), Full);
}

proptest! {
    #[test]
    fn parts_hold_exactly_what_was_asked_for(length in 0u64..60, ranges in proptest::collection::vec((0u64..70, 0u64..20), 1..20)) {
        let list: Vec<_> = ranges.iter().map(|(first, more)| format!("{first}-{}", first + more)).collect();
        let value = format!("bytes={}", list.join(", "));
        let covered = |parts: &[Range<u64>]| (0..length).map(|at| parts.iter().any(|part| part.contains(&at))).collect::<Vec<_>>();
        let wanted: Vec<_> = ranges.iter().map(|(first, more)| *first..first + more + 1).collect();
        let parts = match ranges::select(value.as_bytes(), length) {
            FileResponse::Partial(part) => vec![part],
            FileResponse::Multipart(parts) => parts,
            Unsatisfiable => Vec::new(),
            Full => {
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
            let line = SingletonField::Once(value);
            let conditions = Conditions {
                if_match: ListField::Absent, if_none_match: ListField::Once(value), if_modified_since: line, if_unmodified_since: line,
                if_range: SingletonField::Absent, range: line,
            };
            let _ = decide(Method::Get, &conditions, &file(length), &now());
            let list = ListField::Several { name: "match", section: value };
            let conditions = Conditions { if_match: list, if_range: line, ..conditions };
            let _ = decide(Method::Get, &conditions, &file(length), &now());
        }
    }
}
