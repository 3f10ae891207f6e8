//! Heads of requests: no cut changes what becomes of one, and what is accepted is what the crate `httparse` reads as well.
#![no_main]

use bank_vault::base::limits::MAX_HEAD_BYTES;
use bank_vault::service::http::wire::{Method, PageContent, content_for, parse};
use libfuzzer_sys::fuzz_target;

fn verdict(bytes: &[u8]) -> Option<Result<usize, u16>> {
    match parse(bytes) {
        Ok(None) => None,
        Ok(Some(request)) => Some(Ok(request.head_bytes)),
        Err(rejection) => Some(Err(rejection.status.code())),
    }
}

fuzz_target!(|data: &[u8]| {
    let whole = verdict(data);
    if whole.is_none() {
        assert!(data.len() < MAX_HEAD_BYTES + 2, "it has an end");
    }
    // Every cut of a short one; of a long one some, and all near its ends.
    let step = 1 + data.len() / 256;
    for end in (0..data.len()).filter(|end| end % step == 0 || *end < 64 || data.len() - end < 64) {
        let seen = verdict(&data[..end]);
        assert!(seen.is_none() || seen == whole, "{end} bytes: {seen:?}, all: {whole:?}");
    }
    let input = data.strip_prefix(b"\r\n").unwrap_or(data);
    if let Err(rejection) = parse(data) {
        assert!(!rejection.line.contains(&b'\n') && !rejection.line.contains(&b'\r'));
        assert!(!input.starts_with(b"HEAD ") || content_for(data) != PageContent::Sent);
    }
    let Ok(Some(request)) = parse(data) else { return };
    let head = &data[..request.head_bytes];
    assert!(head.ends_with(b"\r\n\r\n"));
    assert_eq!(parse(head), Ok(Some(request)), "what follows means nothing");
    assert_eq!(content_for(head), PageContent::from(request.method));
    assert!(request.minor_version == 1 || request.minor_version == 0);
    // The other reader wants targets of UTF-8, and knows no later minor version.
    if std::str::from_utf8(request.line).is_err() {
        return;
    }
    let mut input = input.to_vec();
    if let Some(at) = input.windows(9).position(|nine| nine.starts_with(b" HTTP/1.") && nine[8] > b'1') {
        input[at + 8] = b'1';
    }
    let mut lines = [httparse::EMPTY_HEADER; 64];
    let mut theirs = httparse::Request::new(&mut lines);
    let length = theirs.parse(&input).expect("it is right to others, too").unwrap();
    assert_eq!(length, request.head_bytes - (data.len() - input.len()));
    assert_eq!(theirs.version, Some(request.minor_version));
    assert_eq!(theirs.method, Some(if request.method == Method::Get { "GET" } else { "HEAD" }));
    let named = |name: &str| theirs.headers.iter().filter(|line| line.name.eq_ignore_ascii_case(name)).count();
    assert!(named("host") <= 1 && named("content-length") <= 1 && named("transfer-encoding") == 0);
    assert_eq!(request.conditions.if_match.values().count(), named("if-match"));
    assert_eq!(request.conditions.if_none_match.values().count(), named("if-none-match"));
});
