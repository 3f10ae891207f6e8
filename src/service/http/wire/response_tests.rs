use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use super::*;
use crate::service::http::wire::{
    ConnectionField, ETag, Generated, HttpDate, PageContent, RepresentationMetadata, TargetPath, write_error,
    write_generated, write_redirect,
};

use ConnectionField::{Close, KeepAlive, Omitted};
use FileResponse::{Full, Multipart, NotModified, Partial, PreconditionFailed, Unsatisfiable};

const LENGTH: u64 = 1000;

fn file(gzipped: bool) -> Representation {
    let modified = UNIX_EPOCH + Duration::from_secs(784_111_777);
    let etag = ETag::new(if gzipped { "5-3e8-7-gz" } else { "5-3e8-7" });
    let (length, media_type) = (LENGTH, "text/plain");
    Representation::new(RepresentationMetadata { length, modified, etag, media_type, gzipped, varies: gzipped })
}

fn now() -> HttpDate {
    HttpDate::of(UNIX_EPOCH + Duration::from_secs(951_782_400))
}

/// Content that shows the position of each byte in the file.
fn content() -> Vec<u8> {
    (0..LENGTH).map(|at| b'a' + u8::try_from(at % 26).unwrap()).collect()
}

/// The bytes of a response as they are sent.
fn bytes_of(response: &FileResponse, method: Method, connection: ConnectionField, file: &Representation) -> Vec<u8> {
    let mut out = Vec::new();
    let body = response.write_head(method, file, &GeneralFields { date: &now(), connection }, &mut out);
    let content = content();
    let of_file =
        |range: &Range<u64>| &content[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()];
    match body {
        Body::Empty => (),
        Body::File(range) => out.extend_from_slice(of_file(&range)),
        Body::Multipart(parts) => parts.iter().for_each(|part| match part {
            BodyPart::Text(text) => out.extend_from_slice(text),
            BodyPart::File(range) => out.extend_from_slice(of_file(range)),
        }),
    }
    out
}

fn get(response: &FileResponse, gzipped: bool) -> String {
    String::from_utf8(bytes_of(response, Method::Get, Omitted, &file(gzipped))).unwrap()
}

/// Status line, fields, body, as another parser reads them.
fn take_apart(bytes: &[u8]) -> (String, BTreeMap<String, String>, Vec<u8>) {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("an empty line") + 4;
    let mut lines = [httparse::EMPTY_HEADER; 32];
    let mut response = httparse::Response::new(&mut lines);
    assert_eq!(response.parse(bytes), Ok(httparse::Status::Complete(end)));
    let text = |value: &[u8]| String::from_utf8(value.to_vec()).unwrap();
    let mut fields = BTreeMap::new();
    for line in &*response.headers {
        assert_eq!(fields.insert(line.name.to_owned(), text(line.value)), None, "{} is repeated", line.name);
    }
    (format!("{} {}", response.code.unwrap(), response.reason.unwrap()), fields, bytes[end..].to_vec())
}

const FULL: &str = "HTTP/1.1 200 OK\r\nServer: bank-vault\r\nContent-Type: text/plain; charset=utf-8\r\n\
    Content-Length: 1000\r\nETag: \"5-3e8-7\"\r\nLast-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\nAccept-Ranges: bytes\r\n\
    X-Content-Type-Options: nosniff\r\nDate: Tue, 29 Feb 2000 00:00:00 GMT\r\n\r\n";

#[test]
fn a_full_response_has_these_bytes() {
    assert_eq!(get(&Full, false), format!("{FULL}{}", String::from_utf8(content()).unwrap()));
    assert_eq!(bytes_of(&Full, Method::Head, Omitted, &file(false)), FULL.as_bytes());
}

#[test]
fn a_coded_response_has_these_bytes() {
    let head = "HTTP/1.1 200 OK\r\nServer: bank-vault\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 1000\r\n\
        Content-Encoding: gzip\r\nETag: \"5-3e8-7-gz\"\r\nLast-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
        Vary: Accept-Encoding\r\nAccept-Ranges: bytes\r\nX-Content-Type-Options: nosniff\r\n\
        Date: Tue, 29 Feb 2000 00:00:00 GMT\r\n\r\n";
    assert_eq!(get(&Full, true), format!("{head}{}", String::from_utf8(content()).unwrap()));
}

#[test]
fn not_modified_has_these_bytes() {
    let head = "HTTP/1.1 304 Not Modified\r\nServer: bank-vault\r\nETag: \"5-3e8-7-gz\"\r\nVary: Accept-Encoding\r\n\
        Date: Tue, 29 Feb 2000 00:00:00 GMT\r\n\r\n";
    assert_eq!(get(&NotModified, true), head);
    assert_eq!(bytes_of(&NotModified, Method::Head, Omitted, &file(true)), head.as_bytes());
}

#[test]
fn one_part_has_these_bytes() {
    let head = "HTTP/1.1 206 Partial Content\r\nServer: bank-vault\r\nContent-Type: text/plain; charset=utf-8\r\n\
        Content-Length: 4\r\nContent-Range: bytes 26-29/1000\r\nContent-Encoding: gzip\r\nETag: \"5-3e8-7-gz\"\r\n\
        Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\nVary: Accept-Encoding\r\nAccept-Ranges: bytes\r\n\
        X-Content-Type-Options: nosniff\r\nDate: Tue, 29 Feb 2000 00:00:00 GMT\r\n\r\n";
    assert_eq!(get(&Partial(26..30), true), format!("{head}abcd"));
}

/// RFC 9110, section 14.6, and RFC 2046, section 5.1.1.
#[test]
fn several_parts_have_these_bytes() {
    let head = "HTTP/1.1 206 Partial Content\r\nServer: bank-vault\r\n\
        Content-Type: multipart/byteranges; boundary=5-3e8-7\r\nContent-Length: 194\r\nETag: \"5-3e8-7\"\r\n\
        Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\nAccept-Ranges: bytes\r\nX-Content-Type-Options: nosniff\r\n\
        Date: Tue, 29 Feb 2000 00:00:00 GMT\r\n\r\n";
    let body = "--5-3e8-7\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Range: bytes 999-999/1000\r\n\r\nl\r\n\
        --5-3e8-7\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Range: bytes 0-1/1000\r\n\r\nab\r\n\
        --5-3e8-7--\r\n";
    assert_eq!(body.len(), 194);
    let response = Multipart(vec![999..1000, 0..2]);
    assert_eq!(get(&response, false), format!("{head}{body}"));
    assert_eq!(bytes_of(&response, Method::Head, Omitted, &file(false)), head.as_bytes());
}

#[test]
fn errors_about_a_file_have_the_fields_that_help() {
    let (status, fields, body) = take_apart(get(&Unsatisfiable, false).as_bytes());
    assert_eq!((status.as_str(), fields["Content-Range"].as_str()), ("416 Range Not Satisfiable", "bytes */1000"));
    assert_eq!(fields["Content-Length"], body.len().to_string());
    assert!(!fields.contains_key("ETag"), "the page is not the file");
    let (status, fields, body) = take_apart(&bytes_of(&PreconditionFailed, Method::Head, Omitted, &file(false)));
    assert_eq!((status.as_str(), body.len()), ("412 Precondition Failed", 0));
    assert_ne!(fields["Content-Length"], "0");
    assert!(!get(&PreconditionFailed, false).ends_with("\r\n\r\n"));
}

#[test]
fn every_response_says_what_becomes_of_the_connection() {
    let responses = [Full, NotModified, PreconditionFailed, Partial(0..2), Multipart(vec![0..2, 5..7]), Unsatisfiable];
    for response in responses {
        for (connection, wanted) in [(Omitted, None), (KeepAlive, Some("keep-alive")), (Close, Some("close"))] {
            let (status, fields, _) = take_apart(&bytes_of(&response, Method::Get, connection, &file(false)));
            assert_eq!(status, response.status().text());
            assert_eq!(fields.get("Connection").map(String::as_str), wanted, "{response:?}");
            assert_eq!(fields["Date"], "Tue, 29 Feb 2000 00:00:00 GMT");
            assert_eq!(fields["Server"], "bank-vault");
        }
    }
}

/// RFC 9110, section 8.8.2.1.
#[test]
fn last_modified_is_no_later_than_date() {
    let mut metadata = file(false).metadata().clone();
    for (modified, wanted) in [
        (951_782_399, "Mon, 28 Feb 2000 23:59:59 GMT"),
        (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
        (951_782_401, "Tue, 29 Feb 2000 00:00:00 GMT"),
        (32_503_680_000, "Tue, 29 Feb 2000 00:00:00 GMT"),
    ] {
        metadata.modified = UNIX_EPOCH + Duration::from_secs(modified);
        let file = Representation::new(metadata.clone());
        for response in [Full, Partial(0..2), Multipart(vec![0..2, 5..7])] {
            let (_, fields, _) = take_apart(&bytes_of(&response, Method::Get, Omitted, &file));
            assert_eq!(fields["Last-Modified"], wanted);
            assert_eq!(fields["ETag"], "\"5-3e8-7\"", "it depends on the file alone");
        }
    }
    metadata.modified = UNIX_EPOCH - Duration::from_secs(1);
    let (_, fields, _) = take_apart(&bytes_of(&Full, Method::Get, Omitted, &Representation::new(metadata)));
    assert_eq!(fields["Last-Modified"], "Wed, 31 Dec 1969 23:59:59 GMT");
}

#[test]
fn the_cache_accounts_for_all_texts_of_a_representation() {
    let file = file(true);
    let heads = [&file.full, &file.not_modified, &file.content_type, &file.common].map(|text| text.len());
    assert_eq!(file.heap_bytes(), heads.iter().sum::<usize>() + "\"5-3e8-7-gz\"".len());
}

#[test]
fn an_error_has_these_bytes() {
    let mut out = Vec::new();
    let general = GeneralFields { date: &now(), connection: Close };
    write_error(Status::NotFound, PageContent::Sent, &general, &mut out);
    let text = String::from_utf8(out).unwrap();
    let (head, page) = text.split_once("\r\n\r\n").unwrap();
    let wanted = format!(
        "HTTP/1.1 404 Not Found\r\nServer: bank-vault\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {}\r\n\
        X-Content-Type-Options: nosniff\r\nDate: Tue, 29 Feb 2000 00:00:00 GMT\r\nConnection: close",
        page.len()
    );
    assert_eq!(head, wanted);
    assert!(
        page.starts_with("<!doctype html>\n<html lang=\"en\">\n") && page.ends_with("<footer>bank-vault</footer>\n")
    );
    assert!(page.contains("<h1>404 Not Found</h1>\n<p>There is nothing at this address.</p>\n"), "{page}");
}

#[test]
fn every_error_has_a_page() {
    for status in Status::ALL {
        for (content, connection) in
            [(PageContent::Sent, Close), (PageContent::Omitted, Omitted), (PageContent::Empty, Close)]
        {
            let mut out = Vec::new();
            write_error(status, content, &GeneralFields { date: &now(), connection }, &mut out);
            let (line, fields, body) = take_apart(&out);
            assert_eq!(line, status.text());
            assert_eq!(fields.get("Connection").is_some_and(|value| value == "close"), connection == Close);
            assert_eq!(
                fields.get("Allow").map(String::as_str),
                (status == Status::MethodNotAllowed).then_some("GET, HEAD")
            );
            assert_eq!(fields.get("Retry-After").map(String::as_str), (status == Status::Unavailable).then_some("1"));
            if content != PageContent::Sent {
                assert_eq!(body, b"");
                assert_eq!(fields["Content-Length"] == "0", content == PageContent::Empty);
                assert_eq!(fields.contains_key("Content-Type"), content == PageContent::Omitted);
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
fn generated_content_has_these_bytes() {
    let written = |method, text| {
        let (status, content_type, fields) = (Status::Unavailable, "text/plain", "X-More: 1\r\n");
        let mut out = b"before".to_vec();
        let general = GeneralFields { date: &now(), connection: KeepAlive };
        write_generated(&Generated { status, content_type, fields, text }, method, &general, &mut out);
        String::from_utf8(out).unwrap()
    };
    let head = |length| {
        format!(
            "beforeHTTP/1.1 503 Service Unavailable\r\nServer: bank-vault\r\nContent-Type: text/plain\r\n\
            Cache-Control: no-store\r\n{length}X-Content-Type-Options: nosniff\r\nX-More: 1\r\n\
            Date: Tue, 29 Feb 2000 00:00:00 GMT\r\nConnection: keep-alive\r\n\r\n"
        )
    };
    assert_eq!(written(Method::Get, Some("text")), head("Content-Length: 4\r\n") + "text");
    assert_eq!(written(Method::Head, Some("text")), head("Content-Length: 4\r\n"));
    assert_eq!(written(Method::Get, None), head(""), "a stream has no length");
}

#[test]
fn a_redirection_never_leads_to_another_server() {
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
        let general = GeneralFields { date: &now(), connection: Omitted };
        write_redirect(&TargetPath::parse(target.as_bytes()).unwrap(), Method::Get, &general, &mut out);
        let (status, fields, _) = take_apart(&out);
        assert_eq!((status.as_str(), fields["Location"].as_str()), ("301 Moved Permanently", location));
    }
    for target in ["//evil.example", "/%2fevil.example", "/\\evil.example", "/%5cevil.example", "/a%0d%0aLocation:%20b"]
    {
        assert!(TargetPath::parse(target.as_bytes()).is_err(), "no file has this target: {target}");
    }
}
