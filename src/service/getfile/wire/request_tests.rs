use super::request::{MAX_REQUEST_BYTES, Parsed, RequestPath, parse};
use crate::base::limits::MAX_GETFILE_PATH_BYTES;

fn wanted(path: &[u8]) -> Parsed<'_> {
    Parsed::Request(RequestPath::new(path).unwrap())
}

#[test]
fn requests_are_read_as_the_protocol_says() {
    for (bytes, expected) in [
        (&b"GETFILE GET /\r\n\r\n"[..], wanted(b"/")),
        (b"GETFILE GET /a/b.txt\r\n\r\n", wanted(b"/a/b.txt")),
        (b"GETFILE GET /a \r\n\r\n", wanted(b"/a")),
        (b"GETFILE GET /%20?x=1#y\r\n\r\n", wanted(b"/%20?x=1#y")),
        (b"GETFILE GET /\xff\x01\t\r\n\r\n", wanted(b"/\xff\x01\t")),
        (b"GETFILE GET /a\r\n\r\nwhat follows \0 is not looked at", wanted(b"/a")),
        (b"", Parsed::Incomplete),
        (b"GETFILE GET ", Parsed::Incomplete),
        (b"GETFILE GET /a\r\n\r", Parsed::Incomplete),
        (b"GETFILE GET /a ", Parsed::Incomplete),
        (b"GETFILE GET /a  \r\n\r\n", Parsed::Malformed),
        (b"GETFILE GET  /a\r\n\r\n", Parsed::Malformed),
        (b"GETFILE  GET /a\r\n\r\n", Parsed::Malformed),
        (b" GETFILE GET /a\r\n\r\n", Parsed::Malformed),
        (b"GETFILE GET a\r\n\r\n", Parsed::Malformed),
        (b"GETFILE GET \r\n\r\n", Parsed::Malformed),
        (b"GETFILE GET\r\n\r\n", Parsed::Malformed),
        (b"GETFILE PUT /a\r\n\r\n", Parsed::Malformed),
        (b"getfile get /a\r\n\r\n", Parsed::Malformed),
        (b"GET / HTTP/1.1\r\n\r\n", Parsed::Malformed),
        (b"GETFILE GET /a b\r\n\r\n", Parsed::Malformed),
        (b"GETFILE GET /a\0\r\n\r\n", Parsed::Malformed),
        (b"GETFILE GET /a\n\n", Parsed::Malformed),
        (b"GETFILE GET /a\r\r\n\r\n", Parsed::Malformed),
        (b"GETFILE GET /a\r\nHost: x\r\n\r\n", Parsed::Malformed),
    ] {
        assert_eq!(parse(bytes), expected, "{}", bytes.escape_ascii());
    }
}

#[test]
fn every_beginning_of_a_request_is_incomplete() {
    for request in [&b"GETFILE GET /some/path\r\n\r\n"[..], b"GETFILE GET /some/path \r\n\r\n"] {
        for end in 0..request.len() {
            assert_eq!(parse(&request[..end]), Parsed::Incomplete, "{}", request[..end].escape_ascii());
        }
    }
}

#[test]
fn a_path_has_a_longest_length() {
    let request = |length: usize, end: &str| [b"GETFILE GET ", &vec![b'/'; length][..], end.as_bytes()].concat();
    let longest = request(MAX_GETFILE_PATH_BYTES, " \r\n\r\n");
    assert_eq!((parse(&longest), longest.len()), (wanted(&[b'/'; MAX_GETFILE_PATH_BYTES]), MAX_REQUEST_BYTES));
    assert_eq!(parse(&request(MAX_GETFILE_PATH_BYTES, "")), Parsed::Incomplete);
    for end in ["", "\r\n\r\n", " \r\n\r\n"] {
        assert_eq!(parse(&request(MAX_GETFILE_PATH_BYTES + 1, end)), Parsed::TooLong);
    }
    assert!(RequestPath::new(&[b'/'; MAX_GETFILE_PATH_BYTES + 1]).is_none());
}

#[test]
fn a_component_of_two_dots_climbs() {
    for (path, climbs) in [
        ("/..", true),
        ("/a/../b", true),
        ("/a/..", true),
        ("/...", false),
        ("/a..b", false),
        ("/.", false),
        ("/", false),
    ] {
        assert_eq!(RequestPath::new(path.as_bytes()).unwrap().climbs(), climbs, "{path}");
    }
}

#[test]
fn a_written_request_has_these_bytes() {
    let mut bytes = Vec::new();
    RequestPath::new(b"/a/b").unwrap().write_request(&mut bytes);
    assert_eq!(bytes, b"GETFILE GET /a/b\r\n\r\n");
}
