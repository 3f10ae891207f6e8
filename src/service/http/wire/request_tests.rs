use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::base::limits::{MAX_BODY_BYTES, MAX_METHOD_BYTES, MAX_TARGET_BYTES};
use crate::service::http::wire::{ListField, SingletonField};

use Status::{
    BadRequest, ContentTooLarge, ExpectationFailed, HeadTooLarge, LengthRequired, MethodNotAllowed, NotImplemented,
    UriTooLong, VersionNotSupported,
};

/// What is wrong, the bytes, the answer. Behind a `GET / HTTP/1.1` where the bytes begin with a `+`.
const HOSTILE: &[(&str, &str, Status)] = &[
    ("line feeds alone", "GET / HTTP/1.1\nHost: a\n\n", BadRequest),
    ("a line feed alone after the request line", "GET / HTTP/1.1\nHost: a\r\n\r\n", BadRequest),
    ("a line feed alone after a header", "+Host: a\nX: b\r\n\r\n", BadRequest),
    ("a line feed alone as the empty line", "+Host: a\r\n\n", BadRequest),
    ("a line feed alone between two carriage returns", "+Host: a\r\nX: y\n\r\n\r\n", BadRequest),
    ("a carriage return alone after the request line", "GET / HTTP/1.1\rHost: a\r\n\r\n", BadRequest),
    ("a carriage return inside a value", "+Host: a\rb\r\n\r\n", BadRequest),
    ("a carriage return inside a name", "+Ho\rst: a\r\n\r\n", BadRequest),
    ("two carriage returns", "+Host: a\r\r\n\r\n", BadRequest),
    ("a line that hides behind a carriage return", "+Host: a\r\nX: y\rContent-Length: 5\r\n\r\n", BadRequest),
    ("a line feed first", "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", BadRequest),
    ("two empty lines first", "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", BadRequest),
    ("a carriage return first", "\rGET / HTTP/1.1\r\nHost: a\r\n\r\n", BadRequest),
    ("a space before the method", " GET / HTTP/1.1\r\nHost: a\r\n\r\n", BadRequest),
    ("a space before the first header", "+ Host: a\r\n\r\n", BadRequest),
    ("a space before the colon", "+Host : a\r\n\r\n", BadRequest),
    ("a tab before the colon", "+Host\t: a\r\n\r\n", BadRequest),
    ("a space before the colon of Content-Length", "+Host: a\r\nContent-Length : 5\r\n\r\n", BadRequest),
    ("a space before the colon of Transfer-Encoding", "+Host: a\r\nTransfer-Encoding : chunked\r\n\r\n", BadRequest),
    ("a value folded by a space", "+Host: a\r\nX: b\r\n c\r\n\r\n", BadRequest),
    ("a value folded by a tab", "+Host: a\r\nX: b\r\n\tc\r\n\r\n", BadRequest),
    ("a folded Transfer-Encoding", "+Host: a\r\nTransfer-Encoding:\r\n chunked\r\n\r\n", BadRequest),
    ("a header without a colon", "+Host: a\r\nX\r\n\r\n", BadRequest),
    ("a header without a name", "+Host: a\r\n: b\r\n\r\n", BadRequest),
    ("a name with a space", "+Host: a\r\nX Y: b\r\n\r\n", BadRequest),
    ("a name with a bracket", "+Host: a\r\nX(: b\r\n\r\n", BadRequest),
    ("a name beyond ASCII", "+Host: a\r\n\u{e4}: b\r\n\r\n", BadRequest),
    ("a NUL in a value", "+Host: a\r\nX: b\0c\r\n\r\n", BadRequest),
    ("a NUL in a name", "+Host: a\r\nX\0: b\r\n\r\n", BadRequest),
    ("a NUL in the target", "GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", BadRequest),
    ("a bell in a value", "+Host: a\r\nX: \x07\r\n\r\n", BadRequest),
    ("an escape in a value", "+Host: a\r\nUser-Agent: \x1b[2J\r\n\r\n", BadRequest),
    ("a DEL in a value", "+Host: a\r\nX: \x7f\r\n\r\n", BadRequest),
    ("a form feed in a value", "+Host: a\r\nX: \x0c\r\n\r\n", BadRequest),
    ("two lengths", "+Host: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", BadRequest),
    ("two equal lengths", "+Host: a\r\nContent-Length: 5\r\ncontent-length: 5\r\n\r\n", BadRequest),
    ("a list of lengths", "+Host: a\r\nContent-Length: 5, 5\r\n\r\n", BadRequest),
    ("a positive length", "+Host: a\r\nContent-Length: +5\r\n\r\n", BadRequest),
    ("a negative length", "+Host: a\r\nContent-Length: -5\r\n\r\n", BadRequest),
    ("a hexadecimal length", "+Host: a\r\nContent-Length: 0x5\r\n\r\n", BadRequest),
    ("a length with a fraction", "+Host: a\r\nContent-Length: 5.0\r\n\r\n", BadRequest),
    ("a length with a space", "+Host: a\r\nContent-Length: 5 5\r\n\r\n", BadRequest),
    ("no length at all", "+Host: a\r\nContent-Length:\r\n\r\n", BadRequest),
    ("a length beyond 64 bits", "+Host: a\r\nContent-Length: 18446744073709551616\r\n\r\n", BadRequest),
    ("a length that wraps to 5", "+Host: a\r\nContent-Length: 18446744073709551621\r\n\r\n", BadRequest),
    ("the largest length", "+Host: a\r\nContent-Length: 18446744073709551615\r\n\r\n", ContentTooLarge),
    ("a body just too large", "+Host: a\r\nContent-Length: 65537\r\n\r\n", ContentTooLarge),
    ("length, then coding", "+Host: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", BadRequest),
    ("coding, then length", "+Host: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", BadRequest),
    ("coding and a length of 0", "+Host: a\r\nTransfer-Encoding: identity\r\nContent-Length: 0\r\n\r\n", BadRequest),
    ("a coded body", "+Host: a\r\nTransfer-Encoding: chunked\r\n\r\n", LengthRequired),
    ("an unknown coding", "+Host: a\r\nTransfer-Encoding: x, chunked\r\n\r\n", NotImplemented),
    ("a coding that is known elsewhere", "+Host: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", NotImplemented),
    (
        "codings in two lines",
        "+Host: a\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n",
        NotImplemented,
    ),
    ("a coding without an end", "+Host: a\r\nTransfer-Encoding: xchunked\r\n\r\n", BadRequest),
    ("gzip alone", "+Host: a\r\nTransfer-Encoding: gzip\r\n\r\n", BadRequest),
    ("identity", "+Host: a\r\nTransfer-Encoding: identity\r\n\r\n", BadRequest),
    ("chunked, and more", "+Host: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n", BadRequest),
    (
        "chunked, and more in another line",
        "+Host: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n",
        BadRequest,
    ),
    ("chunked twice", "+Host: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n", BadRequest),
    ("chunked with a parameter", "+Host: a\r\nTransfer-Encoding: chunked;a=b\r\n\r\n", BadRequest),
    ("a coding of nothing", "+Host: a\r\nTransfer-Encoding:\r\n\r\n", BadRequest),
    ("a coding in quotes", "+Host: a\r\nTransfer-Encoding: \"chunked\"\r\n\r\n", BadRequest),
    ("a coded body in HTTP/1.0", "GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", BadRequest),
    ("several codings in HTTP/1.0", "GET / HTTP/1.0\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", BadRequest),
    ("no host", "+\r\n", BadRequest),
    ("an empty host", "+Host:\r\n\r\n", BadRequest),
    ("two hosts", "+Host: a\r\nHost: b\r\n\r\n", BadRequest),
    ("two equal hosts", "+Host: a\r\nHOST: a\r\n\r\n", BadRequest),
    ("two hosts in HTTP/1.0", "GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", BadRequest),
    ("two hosts in a list", "+Host: a, b\r\n\r\n", BadRequest),
    ("a host with a path", "+Host: a/b\r\n\r\n", BadRequest),
    ("a host with a user", "+Host: u@a\r\n\r\n", BadRequest),
    ("a host with a zone", "+Host: [fe80::1%25eth0]\r\n\r\n", BadRequest),
    ("an address that is none", "+Host: [::g]\r\n\r\n", BadRequest),
    ("an address without its end", "+Host: [::1\r\n\r\n", BadRequest),
    ("an address of version 4 in brackets", "+Host: [127.0.0.1]\r\n\r\n", BadRequest),
    ("a host in an absolute target that is none", "GET http://[::g]/ HTTP/1.1\r\nHost: a\r\n\r\n", BadRequest),
    ("a malformed host beside an absolute target", "GET http://a/ HTTP/1.1\r\nHost: a b\r\n\r\n", BadRequest),
    ("a host with a port that is none", "+Host: a:b\r\n\r\n", BadRequest),
    ("no host beside an absolute target", "GET http://a/ HTTP/1.1\r\n\r\n", BadRequest),
    ("an absolute target without authority", "GET http:///a HTTP/1.1\r\nHost: a\r\n\r\n", BadRequest),
    ("an absolute target with a user", "GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n", BadRequest),
    ("another scheme", "GET https://a/ HTTP/1.1\r\nHost: a\r\n\r\n", BadRequest),
    ("a file's address", "GET file:///etc/passwd HTTP/1.1\r\nHost: a\r\n\r\n", BadRequest),
    ("an authority as target", "GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n", BadRequest),
    ("an asterisk as target", "GET * HTTP/1.1\r\nHost: a\r\n\r\n", BadRequest),
    ("a relative target", "GET a/b HTTP/1.1\r\nHost: a\r\n\r\n", BadRequest),
    ("no target", "GET HTTP/1.1\r\nHost: a\r\n\r\n", BadRequest),
    ("an empty target", "GET  HTTP/1.1\r\nHost: a\r\n\r\n", BadRequest),
    ("two spaces before the target", "GET  / HTTP/1.1\r\nHost: a\r\n\r\n", BadRequest),
    ("two spaces behind the target", "GET /  HTTP/1.1\r\nHost: a\r\n\r\n", BadRequest),
    ("a tab for a space", "GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", BadRequest),
    ("a space inside the target", "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", BadRequest),
    ("a space behind the version", "GET / HTTP/1.1 \r\nHost: a\r\n\r\n", BadRequest),
    ("a request of HTTP/0.9", "GET /\r\n", BadRequest),
    ("the version in small letters", "GET / http/1.1\r\nHost: a\r\n\r\n", BadRequest),
    ("another protocol", "GET / RTSP/1.0\r\nHost: a\r\n\r\n", BadRequest),
    ("a version of many digits", "GET / HTTP/1.10\r\nHost: a\r\n\r\n", BadRequest),
    ("a version of one number", "GET / HTTP/2\r\nHost: a\r\n\r\n", BadRequest),
    ("a version of letters", "GET / HTTP/a.b\r\nHost: a\r\n\r\n", BadRequest),
    ("a later minor version without host", "GET / HTTP/1.2\r\n\r\n", BadRequest),
    ("HTTP/3.0", "GET / HTTP/3.0\r\nHost: a\r\n\r\n", VersionNotSupported),
    ("HTTP/2.0", "GET / HTTP/2.0\r\nHost: a\r\n\r\n", VersionNotSupported),
    ("HTTP/0.9 by name", "GET / HTTP/0.9\r\n\r\n", VersionNotSupported),
    ("the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", VersionNotSupported),
    ("POST", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", MethodNotAllowed),
    ("POST, coded", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", MethodNotAllowed),
    (
        "POST, length and coding",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        BadRequest,
    ),
    ("DELETE", "DELETE / HTTP/1.1\r\nHost: a\r\n\r\n", MethodNotAllowed),
    ("TRACE", "TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", MethodNotAllowed),
    ("OPTIONS *", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", MethodNotAllowed),
    ("CONNECT", "CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", MethodNotAllowed),
    ("PUT", "PUT / HTTP/1.1\r\nHost: a\r\n\r\n", MethodNotAllowed),
    ("PATCH", "PATCH / HTTP/1.1\r\nHost: a\r\n\r\n", MethodNotAllowed),
    ("get in small letters", "get / HTTP/1.1\r\nHost: a\r\n\r\n", NotImplemented),
    ("a method that nobody knows", "BREW / HTTP/1.1\r\nHost: a\r\n\r\n", NotImplemented),
    ("a method of others", "PROPFIND / HTTP/1.1\r\nHost: a\r\n\r\n", NotImplemented),
    ("a method without an end", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", NotImplemented),
    ("another expectation", "+Host: a\r\nExpect: 200-ok\r\n\r\n", ExpectationFailed),
    ("one expectation too many", "+Host: a\r\nExpect: 100-continue\r\nExpect: x\r\n\r\n", ExpectationFailed),
    ("a method with a bracket", "GE(T / HTTP/1.1\r\nHost: a\r\n\r\n", BadRequest),
    ("a method with a NUL", "GE\0T / HTTP/1.1\r\nHost: a\r\n\r\n", BadRequest),
    ("a greeting of TLS", "\x16\x03\x01\x02\0\x01\0\x01\x7c\x03\x03", BadRequest),
    ("a greeting of SSH", "SSH-2.0-OpenSSH_9.6\r\n", BadRequest),
    ("a frame of the ledger", "\0\0\0\x12", BadRequest),
];

fn bytes_of(text: &str) -> Vec<u8> {
    let whole = text.strip_prefix('+').map(|rest| format!("GET / HTTP/1.1\r\n{rest}"));
    whole.as_deref().unwrap_or(text).as_bytes().to_vec()
}

fn accepted(bytes: &[u8]) -> Request<'_> {
    match parse(bytes) {
        Ok(Some(request)) => request,
        other => panic!("{other:?}: {}", bytes.escape_ascii()),
    }
}

#[test]
fn every_hostile_head_has_its_answer() {
    for (name, text, status) in HOSTILE {
        let bytes = bytes_of(text);
        let rejection = parse(&bytes).expect_err(name);
        assert_eq!(rejection.status, *status, "{name}");
        assert!(!rejection.line.contains(&b'\n'), "{name}");
        // However it comes, and whatever comes behind it, it never becomes a request.
        for end in 0..bytes.len() {
            assert!(!matches!(parse(&bytes[..end]), Ok(Some(_))), "{name}, of {end} bytes");
        }
        let more = [bytes.as_slice(), b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"].concat();
        assert_eq!(parse(&more).map_err(|rejection| rejection.status), Err(*status), "{name}, with more behind it");
    }
}

const BROWSER: &str = "GET /pictures/a%20cat.png?size=2 HTTP/1.1\r\nHost: localhost:8080\r\nUser-Agent: Mozilla/5.0 (X11)\r\n\
    Accept: image/avif,image/webp,*/*;q=0.8\r\nAccept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br\r\n\
    Connection: keep-alive\r\nReferer: http://localhost:8080/\r\nIf-None-Match: W/\"a\"\r\nRange: bytes=0-4\r\n\r\n";

#[test]
fn a_browsers_request_is_understood() {
    let request = accepted(BROWSER.as_bytes());
    let conditions = Conditions {
        if_none_match: ListField::Once(b"W/\"a\""),
        range: SingletonField::Once(b"bytes=0-4"),
        ..Conditions::default()
    };
    let wanted = Request {
        method: Method::Get,
        target: b"/pictures/a%20cat.png?size=2",
        authority: b"localhost:8080",
        line: b"GET /pictures/a%20cat.png?size=2 HTTP/1.1",
        minor_version: 1,
        head_bytes: BROWSER.len(),
        body_bytes: 0,
        keep_alive: true,
        conditions,
        accepts_gzip: true,
        referer: b"http://localhost:8080/",
        agent: b"Mozilla/5.0 (X11)",
    };
    assert_eq!(request, wanted);
    assert_eq!(request.connection(), ConnectionField::Omitted);
}

#[test]
fn what_is_unusual_but_right_is_accepted() {
    for (text, target, authority, body) in [
        ("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "/", "a", 0),
        ("HEAD /x HTTP/1.0\r\n\r\n", "/x", "", 0),
        ("+HOST:a\r\n\r\n", "/", "a", 0),
        ("+Host: \t a \t \r\nX:\r\nY: \u{e4}\t!\r\n\r\n", "/", "a", 0),
        ("GET http://b:1/x?y HTTP/1.1\r\nHost: a\r\n\r\n", "/x?y", "b:1", 0),
        ("GET HTTP://b HTTP/1.1\r\nHost: a\r\n\r\n", "/", "b", 0),
        ("GET http://b?y HTTP/1.1\r\nHost: a\r\n\r\n", "/", "b", 0),
        ("GET http://b/ HTTP/1.0\r\n\r\n", "/", "b", 0),
        ("GET //x HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", "//x", "[::1]:80", 0),
        ("GET /\u{e4} HTTP/1.1\r\nHost: a\r\n\r\n", "/\u{e4}", "a", 0),
        ("+Host: a\r\nContent-Length: 00005\r\n\r\nhello", "/", "a", 5),
        ("+Host: a\r\nContent-Length: 65536\r\nExpect: 100-continue\r\n\r\n", "/", "a", MAX_BODY_BYTES),
        ("GET / HTTP/1.2\r\nHost: a\r\n\r\n", "/", "a", 0),
        ("GET / HTTP/1.9\r\nHost: a\r\n\r\n", "/", "a", 0),
        ("GET / HTTP/1.0\r\nExpect: x\r\n\r\n", "/", "", 0),
        ("+Host: a%20b:\r\n\r\n", "/", "a%20b:", 0),
        ("GET http://[v1.a]:1/ HTTP/1.1\r\nHost: [::1]\r\n\r\n", "/", "[v1.a]:1", 0),
    ] {
        let bytes = bytes_of(text);
        let request = accepted(&bytes);
        assert_eq!((request.target, request.authority), (target.as_bytes(), authority.as_bytes()), "{text}");
        assert_eq!(request.body_bytes, body, "{text}");
        assert_eq!(bytes.len() - request.head_bytes, if text.ends_with("hello") { 5 } else { 0 }, "{text}");
    }
}

#[test]
fn connection_is_a_list_of_words() {
    for (minor, lines, wanted) in [
        (1, "", ConnectionField::Omitted),
        (1, "Connection: close\r\n", ConnectionField::Close),
        (1, "connection: CLOSE\r\n", ConnectionField::Close),
        (1, "Connection: te ,close,\r\n", ConnectionField::Close),
        (1, "Connection: keep-alive\r\nConnection: close\r\n", ConnectionField::Close),
        (1, "Connection: closed\r\n", ConnectionField::Omitted),
        (1, "Connection: not close\r\n", ConnectionField::Omitted),
        (0, "", ConnectionField::Close),
        (0, "Connection: Keep-Alive\r\n", ConnectionField::KeepAlive),
        (0, "Connection: x\r\nConnection: y, keep-alive\r\n", ConnectionField::KeepAlive),
        (0, "Connection: keep-alive, close\r\n", ConnectionField::Close),
        (1, "Content-Length: 5\r\n", ConnectionField::Omitted),
        (1, "Expect: 100-continue\r\n", ConnectionField::Omitted),
        (1, "Expect: 100-Continue\r\nContent-Length: 5\r\n", ConnectionField::Close),
        (2, "", ConnectionField::Omitted),
    ] {
        let bytes = format!("GET / HTTP/1.{minor}\r\nHost: a\r\n{lines}\r\n");
        assert_eq!(accepted(bytes.as_bytes()).connection(), wanted, "{minor} {lines}");
    }
}

#[test]
fn a_list_in_two_lines_is_one_and_what_is_no_list_is_known_to_stand_twice() {
    let bytes = bytes_of(
        "+Host: a\r\nRange: bytes=0-\r\nIf-Match: \"a\"\r\nrange: bytes=1-\r\nIF-MATCH:\t\"b\", \"c\" \r\n\r\n",
    );
    let conditions = accepted(&bytes).conditions;
    assert_eq!((conditions.range, conditions.if_none_match), (SingletonField::Repeated, ListField::Absent));
    assert_eq!(conditions.if_match.values().collect::<Vec<_>>(), [b"\"a\"" as &[u8], b"\"b\", \"c\""]);
}

#[test]
fn a_head_may_be_as_large_as_the_limits_and_no_larger() {
    let head = |target: usize, filler: usize| {
        format!("GET /{} HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "t".repeat(target - 1), "x".repeat(filler)).into_bytes()
    };
    let around = head(1, 0).len() - 1;
    let answer = |bytes: &[u8]| parse(bytes).map(|request| request.is_some()).map_err(|rejection| rejection.status);
    assert_eq!(answer(&head(MAX_TARGET_BYTES, 0)), Ok(true));
    let long = head(MAX_TARGET_BYTES + 1, 0);
    assert_eq!(answer(&long), Err(UriTooLong));
    let seen = "GET ".len() + MAX_TARGET_BYTES;
    assert_eq!(answer(&long[..seen]), Ok(false), "it may end here");
    for end in seen + 1..long.len() {
        assert_eq!(answer(&long[..end]), Err(UriTooLong), "as soon as it is certain: {end}");
    }
    let whole = head(1, MAX_HEAD_BYTES - around - 1);
    assert_eq!((whole.len(), answer(&whole)), (MAX_HEAD_BYTES, Ok(true)));
    assert_eq!(answer(&[b"\r\n", whole.as_slice()].concat()), Ok(true));
    let large = head(1, MAX_HEAD_BYTES - around);
    assert_eq!(answer(&large), Err(HeadTooLarge));
    assert_eq!(answer(&large[..MAX_HEAD_BYTES - 1]), Ok(false));
    assert_eq!(answer(&large[..MAX_HEAD_BYTES]), Err(HeadTooLarge));
    let lines = |count: usize| bytes_of(&format!("+Host: a\r\n{}\r\n", "X: y\r\n".repeat(count - 1)));
    assert_eq!(answer(&lines(MAX_HEADERS)), Ok(true));
    assert_eq!(answer(&lines(MAX_HEADERS + 1)), Err(HeadTooLarge));
    let method = |bytes: usize| [vec![b'G'; bytes].as_slice(), b" / HTTP/1.1\r\nHost: a\r\n\r\n"].concat();
    assert_eq!(answer(&[b'G'; MAX_METHOD_BYTES]), Ok(false));
    for bytes in [MAX_METHOD_BYTES, MAX_METHOD_BYTES + 1, MAX_HEAD_BYTES] {
        assert_eq!(answer(&method(bytes)), Err(NotImplemented));
    }
}

/// What a page goes with, by how much of the request is there: none of it before it is known not to be a HEAD.
#[test]
fn a_head_is_never_answered_with_a_page() {
    for (bytes, wanted) in [
        ("", PageContent::Empty),
        ("\r\n", PageContent::Empty),
        ("H", PageContent::Empty),
        ("\r\nHEAD", PageContent::Empty),
        ("HEAD ", PageContent::Omitted),
        ("\r\nHEAD /", PageContent::Omitted),
        ("HEAD\r\n", PageContent::Omitted),
        ("HEAD\0", PageContent::Omitted),
        ("HEADER", PageContent::Sent),
        ("GET", PageContent::Sent),
        ("G", PageContent::Sent),
        ("head ", PageContent::Sent),
        ("\x16\x03", PageContent::Sent),
        (" HEAD / HTTP/1.1", PageContent::Sent),
    ] {
        assert_eq!(content_for(bytes.as_bytes()), wanted, "{bytes:?}");
    }
    for (name, text, _) in HOSTILE.iter().filter(|(_, text, _)| text.starts_with('+') || text.starts_with("GET ")) {
        let get = bytes_of(text);
        let head = [b"HEAD", &get["GET".len()..]].concat();
        assert_eq!(content_for(&get), PageContent::Sent, "{name}");
        assert_eq!((content_for(&head), parse(&head).is_err()), (PageContent::Omitted, true), "{name}");
    }
}

/// Heads with two faults or more: which of them is answered does not depend on how much had come when it was looked for.
#[test]
fn no_cut_changes_the_answer() {
    let long = |bytes: usize| "t".repeat(bytes);
    let many = "X: y\r\n".repeat(MAX_HEADERS + 1);
    let mut heads: Vec<String> =
        HOSTILE.iter().map(|(_, text, _)| String::from_utf8(bytes_of(text)).unwrap()).collect();
    heads.extend([
        format!("GET /{} HTTP/1.1\r\nHost : a\r\n\r\n", long(MAX_TARGET_BYTES)),
        format!("GET /{} HTTP/2.0\r\n\r\n", long(MAX_TARGET_BYTES)),
        format!("BREW /{} HTTP/1.1\r\n\r\n", long(MAX_TARGET_BYTES)),
        format!("GET /{}\n", long(MAX_TARGET_BYTES)),
        format!("GET /{}\0 HTTP/1.1\r\n\r\n", long(MAX_TARGET_BYTES - 1)),
        format!("GET /{}\0 HTTP/1.1\r\n\r\n", long(MAX_TARGET_BYTES)),
        format!("GET / HTTP/1.1\r\nHost: a\r\n{many}Y : z\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: a\n{many}\r\n"),
        format!("GET / HTTP/1.1\r\nHost : a\r\n{many}\r\n"),
        format!("GET / HTTP/1.1\r\nX: {}\nY : z\r\n\r\n", long(MAX_HEAD_BYTES)),
        format!("GET / HTTP/1.1\r\nX: \0{}\r\n\r\n", long(MAX_HEAD_BYTES)),
        format!("\r\nGET / HTTP/1.1\r\nX: {}\r\n\r\n", long(MAX_HEAD_BYTES)),
    ]);
    for head in heads {
        let bytes = head.as_bytes();
        let wanted = parse(bytes).map(|_| ()).map_err(|rejection| rejection.status);
        assert!(wanted.is_err(), "{head}");
        for first in 0..bytes.len() {
            // Of each length on its own: a verdict there is the verdict of all that come later.
            if let Err(rejection) = parse(&bytes[..first]) {
                assert_eq!(Err(rejection.status), wanted, "{first} bytes of {head:?}");
            }
        }
    }
}

/// Texts that requests are made of, so that random ones get far.
fn any_piece() -> impl Strategy<Value = Vec<u8>> {
    let known = [
        "GET",
        "HEAD",
        "POST",
        " ",
        "/",
        "/a",
        "http://a/",
        "*",
        "HTTP/1.1",
        "HTTP/1.0",
        "HTTP/2.0",
        "\r\n",
        "\r\n\r\n",
        "\r",
        "\n",
        "Host: a\r\n",
        "Content-Length:",
        "Transfer-Encoding:",
        "Connection:",
        "Range:",
        "5",
        ":",
        "\t",
        "\0",
    ];
    let known = proptest::sample::select(known.to_vec()).prop_map(|text| text.as_bytes().to_vec());
    prop_oneof![8 => known, 1 => vec(any::<u8>(), 0..8)]
}

fn any_line() -> impl Strategy<Value = String> {
    let name = "[A-Za-z][A-Za-z0-9-]{0,12}";
    let known =
        ["Range: bytes=0-1", "If-Match: *", "Connection: close", "Accept-Encoding: gzip;q=0", "Referer: http://b/"];
    let other = (name, "[ -~]{0,30}").prop_filter_map("a name that means something", |(name, value)| {
        let means = ["host", "content-length", "transfer-encoding", "expect"];
        (!means.contains(&name.to_ascii_lowercase().as_str())).then(|| format!("{name}: {value}"))
    });
    prop_oneof![proptest::sample::select(known.to_vec()).prop_map(str::to_owned), other]
}

proptest! {
    #[test]
    fn no_cut_changes_what_becomes_of_a_stream(pieces in vec(any_piece(), 0..24), long in 0usize..4, at in 0usize..24) {
        let mut pieces = pieces;
        let filler = [0, 100, MAX_TARGET_BYTES, MAX_HEAD_BYTES][long];
        pieces.insert(at.min(pieces.len()), vec![b'x'; filler]);
        let bytes = pieces.concat();
        let wanted = parse(&bytes).map(|request| request.map(|request| request.head_bytes)).map_err(|it| it.status);
        // Of a long filler, some cuts stand for all.
        for first in (0..bytes.len()).filter(|cut| filler < 1000 || cut % 97 == 0 || bytes.len() - cut < 200 || *cut < 200) {
            let seen = parse(&bytes[..first]).map(|request| request.map(|request| request.head_bytes)).map_err(|it| it.status);
            prop_assert!(seen == Ok(None) || seen == wanted, "{seen:?} of {first} bytes, {wanted:?} of all: {}", bytes.escape_ascii());
        }
    }

    #[test]
    fn no_bytes_are_a_panic(pieces in vec(any_piece(), 0..24)) {
        let bytes = pieces.concat();
        if let Ok(Some(request)) = parse(&bytes) {
            // What was accepted is the same request by itself, and none before its last byte.
            let head = &bytes[..request.head_bytes];
            prop_assert!(head.ends_with(b"\r\n\r\n"));
            prop_assert_eq!(parse(head), Ok(Some(request)));
            for end in 0..head.len() {
                prop_assert_eq!(parse(&head[..end]), Ok(None));
            }
            let text = head.escape_ascii().to_string();
            let without_line_ends = text.replace("\\r\\n", "");
            prop_assert!(!without_line_ends.contains("\\n") && !without_line_ends.contains("\\r"), "{}", text);
        }
    }

    #[test]
    fn a_request_is_none_until_it_is_whole(
        head_only: bool, target in "/[!-~]{0,40}", lines in vec(any_line(), 0..12), behind in vec(any::<u8>(), 0..40),
    ) {
        let method = if head_only { "HEAD" } else { "GET" };
        let lines: String = lines.into_iter().map(|line| line + "\r\n").collect();
        let head = format!("{method} {target} HTTP/1.1\r\nHost: a\r\n{lines}\r\n").into_bytes();
        for end in 0..head.len() {
            prop_assert_eq!(parse(&head[..end]), Ok(None));
        }
        let request = accepted(&head);
        prop_assert_eq!((request.target, request.head_bytes), (target.as_bytes(), head.len()));
        let more = [head.as_slice(), &behind].concat();
        prop_assert_eq!(parse(&more), Ok(Some(request)));
    }
}
