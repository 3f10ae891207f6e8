use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use super::*;
use crate::service::http::rules::{
    Content, ContentType, ETag, Entity, Place, decide, parse, write_error, write_redirect,
};

const LENGTH: u64 = 1000;

fn sheet(gzipped: bool) -> Sheet {
    let modified = UNIX_EPOCH + Duration::from_secs(784_111_777);
    let etag = ETag::of(modified, LENGTH, 7, gzipped);
    Sheet::of(Entity {
        length: LENGTH,
        modified,
        etag,
        content_type: ContentType::of(b"a.txt"),
        gzipped,
        varies: gzipped,
    })
}

fn now() -> DateText {
    DateText::of(UNIX_EPOCH + Duration::from_secs(951_782_400))
}

/// Content that tells where in the file it is from.
fn content() -> Vec<u8> {
    (0..LENGTH).map(|at| b'a' + u8::try_from(at % 26).unwrap()).collect()
}

/// Status line, fields, body. Asserts that the head is one that can be read.
fn take_apart(bytes: &[u8]) -> (String, BTreeMap<String, String>, Vec<u8>) {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("an empty line") + 4;
    let mut lines = [httparse::EMPTY_HEADER; 32];
    let mut response = httparse::Response::new(&mut lines);
    assert_eq!(response.parse(bytes), Ok(httparse::Status::Complete(end)));
    let text = |value: &[u8]| String::from_utf8(value.to_vec()).unwrap();
    let mut fields = BTreeMap::new();
    for line in &*response.headers {
        assert_eq!(fields.insert(line.name.to_owned(), text(line.value)), None, "{} stands twice", line.name);
    }
    (format!("{} {}", response.code.unwrap(), response.reason.unwrap()), fields, bytes[end..].to_vec())
}

/// The answer to the lines of a request, as it would be sent.
fn sent(request: &str, sheet: &Sheet) -> Vec<u8> {
    let bytes = format!("{request}\r\nHost: a\r\n\r\n");
    let request = parse(bytes.as_bytes()).unwrap().unwrap();
    let answer = decide(request.method, &request.conditions, sheet, &now());
    let mut out = Vec::new();
    let tail = Tail { date: &now(), connection: request.connection() };
    let body = answer.write_head(request.method, sheet, &tail, &mut out);
    let content = content();
    let of_file =
        |range: &Range<u64>| &content[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()];
    match body {
        Body::Nothing => (),
        Body::Bytes(range) => out.extend_from_slice(of_file(&range)),
        Body::Pieces(pieces) => pieces.iter().for_each(|piece| match piece {
            Piece::Text(text) => out.extend_from_slice(text),
            Piece::Bytes(range) => out.extend_from_slice(of_file(range)),
        }),
    }
    out
}

#[test]
fn a_whole_file_is_sent_with_this_head() {
    let head = "HTTP/1.1 200 OK\r\nServer: bank-vault\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 1000\r\n\
        ETag: \"ae1b981bc490a00-3e8-7\"\r\nLast-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\nAccept-Ranges: bytes\r\n\
        X-Content-Type-Options: nosniff\r\nDate: Tue, 29 Feb 2000 00:00:00 GMT\r\n\r\n";
    let get = sent("GET / HTTP/1.1", &sheet(false));
    assert_eq!(get, [head.as_bytes(), &content()].concat(), "{}", get.escape_ascii());
    assert_eq!(sent("HEAD / HTTP/1.1", &sheet(false)), head.as_bytes());
}

#[test]
fn a_compressed_form_says_so() {
    let (status, fields, body) = take_apart(&sent("GET / HTTP/1.1", &sheet(true)));
    assert_eq!((status.as_str(), body), ("200 OK", content()));
    assert_eq!((fields["Content-Encoding"].as_str(), fields["Vary"].as_str()), ("gzip", "Accept-Encoding"));
    assert_eq!(fields["Content-Type"], "text/plain; charset=utf-8");
    assert!(fields["ETag"].ends_with("-gz\""));
    let (_, part, _) = take_apart(&sent("GET / HTTP/1.1\r\nRange: bytes=1-2", &sheet(true)));
    assert_eq!((&part["Content-Encoding"], &part["ETag"]), (&fields["Content-Encoding"], &fields["ETag"]));
}

#[test]
fn the_connection_is_spoken_of_where_it_must_be() {
    for (request, wanted) in [
        ("GET / HTTP/1.1", None),
        ("GET / HTTP/1.1\r\nConnection: close", Some("close")),
        ("GET / HTTP/1.0", Some("close")),
        ("GET / HTTP/1.0\r\nConnection: keep-alive", Some("keep-alive")),
    ] {
        for condition in
            ["", "\r\nRange: bytes=0-1", "\r\nRange: bytes=0-1,5-6", "\r\nRange: bytes=5000-", "\r\nIf-None-Match: *"]
        {
            let (_, fields, _) = take_apart(&sent(&format!("{request}{condition}"), &sheet(false)));
            assert_eq!(fields.get("Connection").map(String::as_str), wanted, "{request}{condition}");
            assert_eq!(fields["Date"], "Tue, 29 Feb 2000 00:00:00 GMT");
            assert_eq!(fields["Server"], "bank-vault");
        }
    }
}

#[test]
fn an_unchanged_file_is_a_head_alone() {
    for method in ["GET", "HEAD"] {
        let (status, fields, body) =
            take_apart(&sent(&format!("{method} / HTTP/1.1\r\nIf-None-Match: *"), &sheet(true)));
        assert_eq!((status.as_str(), body.len()), ("304 Not Modified", 0));
        let names: Vec<_> = fields.keys().map(String::as_str).collect();
        assert_eq!(names, ["Date", "ETag", "Server", "Vary"]);
    }
}

/// RFC 9110, section 8.8.2.1.
#[test]
fn no_file_is_younger_than_the_answer() {
    let mut entity = sheet(false).entity;
    for (modified, wanted) in [
        (951_782_399, "Mon, 28 Feb 2000 23:59:59 GMT"),
        (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
        (951_782_401, "Tue, 29 Feb 2000 00:00:00 GMT"),
        (32_503_680_000, "Tue, 29 Feb 2000 00:00:00 GMT"),
    ] {
        entity.modified = UNIX_EPOCH + Duration::from_secs(modified);
        let sheet = Sheet::of(entity.clone());
        for lines in ["", "\r\nRange: bytes=0-1", "\r\nRange: bytes=0-1,5-6"] {
            let (_, fields, _) = take_apart(&sent(&format!("GET / HTTP/1.1{lines}"), &sheet));
            assert_eq!(fields["Last-Modified"], wanted);
            assert_eq!(fields["ETag"], entity.etag.quoted(), "which is of the file alone");
        }
    }
    entity.modified = UNIX_EPOCH - Duration::from_secs(1);
    let (_, fields, _) = take_apart(&sent("GET / HTTP/1.1", &Sheet::of(entity)));
    assert_eq!(fields["Last-Modified"], "Wed, 31 Dec 1969 23:59:59 GMT");
}

#[test]
fn one_part_is_its_bytes() {
    let (status, fields, body) = take_apart(&sent("GET / HTTP/1.1\r\nRange: bytes=26-77", &sheet(false)));
    assert_eq!((status.as_str(), body.as_slice()), ("206 Partial Content", &content()[26..78]));
    assert_eq!((fields["Content-Range"].as_str(), fields["Content-Length"].as_str()), ("bytes 26-77/1000", "52"));
    let whole = take_apart(&sent("GET / HTTP/1.1", &sheet(false))).1;
    for name in ["ETag", "Last-Modified", "Content-Type", "Accept-Ranges"] {
        assert_eq!(fields[name], whole[name]);
    }
}

#[test]
fn several_parts_can_be_taken_apart_again() {
    let (status, fields, body) = take_apart(&sent("GET / HTTP/1.1\r\nRange: bytes=900-,0-9,-5,50-50", &sheet(false)));
    assert_eq!(status, "206 Partial Content");
    assert_eq!(fields["Content-Length"], body.len().to_string());
    assert!(!fields.contains_key("Content-Range"));
    let boundary = fields["Content-Type"].strip_prefix("multipart/byteranges; boundary=").unwrap();
    // As RFC 2046 (section 5.1.1) has it: a delimiter begins with the line end before it.
    let text = format!("\r\n{}", String::from_utf8(body).unwrap());
    let delimiter = format!("\r\n--{boundary}");
    let pieces: Vec<_> = text.split(&delimiter).collect();
    let [before, parts @ .., after] = pieces.as_slice() else { panic!("{pieces:?}") };
    assert_eq!((*before, *after), ("", "--\r\n"));
    let content = String::from_utf8(content()).unwrap();
    let part = |range: &str, bytes: &str| {
        format!("\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Range: bytes {range}/1000\r\n\r\n{bytes}")
    };
    let wanted = [part("900-999", &content[900..]), part("0-9", &content[..10]), part("50-50", &content[50..51])];
    assert_eq!(parts, wanted);
}

#[test]
fn every_error_has_a_page() {
    for status in Status::ALL {
        for (content, connection) in [
            (Content::Sent, Connection::Ends),
            (Content::Described, Connection::Stays),
            (Content::Absent, Connection::Ends),
        ] {
            let mut out = Vec::new();
            write_error(status, content, &Tail { date: &now(), connection }, &mut out);
            let (line, fields, body) = take_apart(&out);
            assert_eq!(line, status.text());
            assert_eq!(fields.get("Connection").is_some_and(|value| value == "close"), connection == Connection::Ends);
            assert_eq!(
                fields.get("Allow").map(String::as_str),
                (status == Status::MethodNotAllowed).then_some("GET, HEAD")
            );
            assert_eq!(fields.get("Retry-After").map(String::as_str), (status == Status::Unavailable).then_some("1"));
            if content != Content::Sent {
                assert_eq!(body, b"");
                assert_eq!(fields["Content-Length"] == "0", content == Content::Absent);
                assert_eq!(fields.contains_key("Content-Type"), content == Content::Described);
                continue;
            }
            assert_eq!(fields["Content-Length"], body.len().to_string());
            let page = String::from_utf8(body).unwrap();
            assert!(page.len() < 1024, "{}", page.len());
            assert!(page.contains(&format!("<title>{status}</title>")) && page.contains(status.hint()));
            assert!(
                !["http:", "https:", "src=", "url("].iter().any(|other| page.contains(other)),
                "it needs nothing else"
            );
        }
    }
}

#[test]
fn errors_about_a_file_say_what_helps() {
    let sheet = sheet(false);
    let (status, fields, body) = take_apart(&sent("GET / HTTP/1.1\r\nRange: bytes=1000-", &sheet));
    assert_eq!((status.as_str(), fields["Content-Range"].as_str()), ("416 Range Not Satisfiable", "bytes */1000"));
    assert_eq!(fields["Content-Length"], body.len().to_string());
    assert!(!fields.contains_key("ETag"), "the page is not the file");
    let (status, _, body) = take_apart(&sent("HEAD / HTTP/1.1\r\nIf-Match: \"x\"", &sheet));
    assert_eq!((status.as_str(), body.len()), ("412 Precondition Failed", 0));
}

#[test]
fn a_redirection_never_leaves_this_server() {
    for (target, location) in [
        ("/a", "/a/"),
        ("/a%20b?c=d", "/a%20b/?c=d"),
        ("/a?b=//evil.example", "/a/?b=//evil.example"),
        ("/a%C3%A4", "/a%C3%A4/"),
        ("/evil.example", "/evil.example/"),
        ("/@evil.example", "/@evil.example/"),
        ("/http:evil.example", "/http:evil.example/"),
    ] {
        let mut out = Vec::new();
        let tail = Tail { date: &now(), connection: Connection::Stays };
        write_redirect(&Place::of(target.as_bytes()).unwrap(), Method::Get, &tail, &mut out);
        let (status, fields, _) = take_apart(&out);
        assert_eq!((status.as_str(), fields["Location"].as_str()), ("301 Moved Permanently", location));
    }
    for target in ["//evil.example", "/%2fevil.example", "/\\evil.example", "/%5cevil.example", "/a%0d%0aLocation:%20b"]
    {
        assert!(Place::of(target.as_bytes()).is_err(), "there is no such place to be sent to: {target}");
    }
}
