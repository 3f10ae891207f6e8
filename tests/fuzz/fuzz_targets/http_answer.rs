//! From a request to the head of its answer: parts lie in the file, apart from each other, and heads can be read again.
#![no_main]

use std::time::{Duration, UNIX_EPOCH};

use bank_vault::service::http::rules::{
    Answer, Body, ContentType, DateText, ETag, Entity, Method, Piece, Sheet, Status, Tail, decide, parse,
};
use libfuzzer_sys::fuzz_target;

const MODIFIED: u64 = 784_111_777;

fuzz_target!(|data: &[u8]| {
    let Some((&[length, zipped, ahead], fields)) = data.split_first_chunk() else { return };
    let length = u64::from(length);
    let modified = UNIX_EPOCH + Duration::from_secs(MODIFIED);
    let date = DateText::of(modified + Duration::from_secs(100) - Duration::from_secs(u64::from(ahead)));
    let gzipped = zipped % 2 == 1;
    let sheet = Sheet::of(Entity {
        length,
        modified,
        etag: ETag::of(modified, 7, 7, gzipped),
        content_type: ContentType::of(b"a.txt"),
        gzipped,
        varies: gzipped,
    });
    let method = if zipped & 2 == 2 { "HEAD" } else { "GET" };
    let head = [format!("{method} / HTTP/1.1\r\nHost: a\r\n").as_bytes(), fields, b"\r\n\r\n"].concat();
    let Ok(Some(request)) = parse(&head) else { return };
    let answer = decide(request.method, &request.conditions, &sheet, &date);
    let parts = match &answer {
        Answer::Part(part) => std::slice::from_ref(part),
        Answer::Parts(parts) => parts.as_slice(),
        _ => &[],
    };
    for (at, part) in parts.iter().enumerate() {
        assert!(part.start < part.end && part.end <= length);
        assert!(parts[..at].iter().all(|other| other.end < part.start || part.end < other.start));
    }
    let mut out = Vec::new();
    let tail = Tail { date: &date, connection: request.connection() };
    let body = answer.write_head(request.method, &sheet, &tail, &mut out);
    let mut lines = [httparse::EMPTY_HEADER; 32];
    let mut response = httparse::Response::new(&mut lines);
    let end = response.parse(&out).expect("it is right").unwrap();
    assert_eq!(response.code, Some(answer.status().code()));
    let field = |name: &str| {
        let mut found = response.headers.iter().filter(|line| line.name == name);
        let value = found.next().map(|line| std::str::from_utf8(line.value).expect("ASCII"));
        assert!(found.next().is_none(), "{name} stands twice");
        value
    };
    let text = |date: &DateText| String::from_utf8(date.as_bytes().to_vec()).expect("ASCII");
    assert_eq!(field("Date"), Some(&*text(&date)));
    if let Some(changed) = field("Last-Modified") {
        let wanted = if ahead > 100 { &date } else { &DateText::of(modified) };
        assert_eq!(changed, text(wanted));
    }
    let sent: u64 = match body {
        Body::Nothing => (out.len() - end) as u64,
        Body::Bytes(range) => range.end - range.start,
        Body::Pieces(pieces) => pieces.iter().map(Piece::length).sum(),
    };
    if request.method == Method::Head || answer.status() == Status::NotModified {
        assert_eq!(sent, 0);
    } else {
        assert_eq!(field("Content-Length"), Some(&*sent.to_string()));
    }
});
