//! From a request to the head of its response: parts lie in the file, apart from each other, and heads can be read again.
#![no_main]

use std::time::{Duration, UNIX_EPOCH};

use bank_vault::service::http::rules::{decide, etag, media_type};
use bank_vault::service::http::wire::{
    Body, BodyPart, FileResponse, GeneralFields, HttpDate, Method, Representation, RepresentationMetadata, Status,
    parse,
};
use libfuzzer_sys::fuzz_target;

const MODIFIED: u64 = 784_111_777;

fuzz_target!(|data: &[u8]| {
    let Some((&[length, zipped, ahead], fields)) = data.split_first_chunk() else { return };
    let length = u64::from(length);
    let modified = UNIX_EPOCH + Duration::from_secs(MODIFIED);
    let date = HttpDate::of(modified + Duration::from_secs(100) - Duration::from_secs(u64::from(ahead)));
    let gzipped = zipped % 2 == 1;
    let file = Representation::new(RepresentationMetadata {
        length,
        modified,
        etag: etag(modified, 7, 7, gzipped),
        media_type: media_type(b"a.txt"),
        gzipped,
        varies: gzipped,
    });
    let method = if zipped & 2 == 2 { "HEAD" } else { "GET" };
    let head = [format!("{method} / HTTP/1.1\r\nHost: a\r\n").as_bytes(), fields, b"\r\n\r\n"].concat();
    let Ok(Some(request)) = parse(&head) else { return };
    let response = decide(request.method, &request.conditions, &file, &date);
    let parts = match &response {
        FileResponse::Partial(part) => std::slice::from_ref(part),
        FileResponse::Multipart(parts) => parts.as_slice(),
        _ => &[],
    };
    for (at, part) in parts.iter().enumerate() {
        assert!(part.start < part.end && part.end <= length);
        assert!(parts[..at].iter().all(|other| other.end < part.start || part.end < other.start));
    }
    let mut out = Vec::new();
    let general = GeneralFields { date: &date, connection: request.connection() };
    let body = response.write_head(request.method, &file, &general, &mut out);
    let mut lines = [httparse::EMPTY_HEADER; 32];
    let mut parsed = httparse::Response::new(&mut lines);
    let end = parsed.parse(&out).expect("it is right").unwrap();
    assert_eq!(parsed.code, Some(response.status().code()));
    let field = |name: &str| {
        let mut found = parsed.headers.iter().filter(|line| line.name == name);
        let value = found.next().map(|line| std::str::from_utf8(line.value).expect("ASCII"));
        assert!(found.next().is_none(), "{name} stands twice");
        value
    };
    let text = |date: &HttpDate| String::from_utf8(date.as_bytes().to_vec()).expect("ASCII");
    assert_eq!(field("Date"), Some(&*text(&date)));
    if let Some(changed) = field("Last-Modified") {
        let wanted = if ahead > 100 { &date } else { &HttpDate::of(modified) };
        assert_eq!(changed, text(wanted));
    }
    let sent: u64 = match body {
        Body::Empty => (out.len() - end) as u64,
        Body::File(range) => range.end - range.start,
        Body::Multipart(parts) => parts.iter().map(BodyPart::length).sum(),
    };
    if request.method == Method::Head || response.status() == Status::NotModified {
        assert_eq!(sent, 0);
    } else {
        assert_eq!(field("Content-Length"), Some(&*sent.to_string()));
    }
});
