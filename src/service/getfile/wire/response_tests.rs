use super::response::{BadHead, MAX_HEAD_BYTES, Response};

#[test]
fn heads_have_these_bytes() {
    for (response, bytes) in [
        (Response::Ok(0), "GETFILE OK 0\r\n\r\n"),
        (Response::Ok(u64::MAX), "GETFILE OK 18446744073709551615\r\n\r\n"),
        (Response::FileNotFound, "GETFILE FILE_NOT_FOUND\r\n\r\n"),
        (Response::Error, "GETFILE ERROR\r\n\r\n"),
        (Response::Invalid, "GETFILE INVALID\r\n\r\n"),
    ] {
        let mut written = Vec::new();
        response.write_head(&mut written);
        assert_eq!(written, bytes.as_bytes());
        assert_eq!(Response::parse(&written), Ok(Some((response, written.len()))));
        written.extend_from_slice(b"\r\n\r\nGETFILE OK 7\r\n\r\n");
        assert_eq!(Response::parse(&written), Ok(Some((response, bytes.len()))), "content follows");
        for end in 0..bytes.len() {
            assert_eq!(Response::parse(&bytes.as_bytes()[..end]), Ok(None), "{}", &bytes[..end]);
        }
    }
}

#[test]
fn what_other_servers_write_is_read() {
    for (head, expected) in [
        ("GETFILE FILE_NOT_FOUND 0\r\n\r\n", Ok(Response::FileNotFound)),
        ("GETFILE FILE_NOT_FOUND \r\n\r\n", Ok(Response::FileNotFound)),
        ("GETFILE ERROR 0 \r\n\r\n", Ok(Response::Error)),
        ("GETFILE INVALID 00\r\n\r\n", Ok(Response::Invalid)),
        ("GETFILE OK 5 \r\n\r\n", Ok(Response::Ok(5))),
        ("GETFILE OK 0005\r\n\r\n", Ok(Response::Ok(5))),
        ("GETFILE OK\r\n\r\n", Err(BadHead::Length)),
        ("GETFILE OK \r\n\r\n", Err(BadHead::Length)),
        ("GETFILE OK  5\r\n\r\n", Err(BadHead::Length)),
        ("GETFILE OK -1\r\n\r\n", Err(BadHead::Length)),
        ("GETFILE OK +1\r\n\r\n", Err(BadHead::Length)),
        ("GETFILE OK 1 2\r\n\r\n", Err(BadHead::Length)),
        ("GETFILE OK 0x10\r\n\r\n", Err(BadHead::Length)),
        ("GETFILE OK 5\n\r\n\r\n", Err(BadHead::Length)),
        ("GETFILE OK 18446744073709551616\r\n\r\n", Err(BadHead::Length)),
        ("GETFILE FILE_NOT_FOUND 1\r\n\r\n", Err(BadHead::Length)),
        ("GETFILE FILE_NOT_FOUND x\r\n\r\n", Err(BadHead::Length)),
        ("GETFILE MAYBE 1\r\n\r\n", Err(BadHead::Status)),
        ("GETFILE \r\n\r\n", Err(BadHead::Status)),
        ("GETFILE ok 1\r\n\r\n", Err(BadHead::Status)),
        ("HTTP/1.1 200 OK\r\n\r\n", Err(BadHead::Scheme)),
        ("GETFILES", Err(BadHead::Scheme)),
    ] {
        let parsed = Response::parse(head.as_bytes());
        assert_eq!(parsed, expected.map(|response| Some((response, head.len()))), "{}", head.escape_debug());
    }
}

#[test]
fn a_head_that_does_not_end_is_given_up() {
    let head = [b"GETFILE OK ", &[b'0'; MAX_HEAD_BYTES][..]].concat();
    assert_eq!(Response::parse(&head[..MAX_HEAD_BYTES - 1]), Ok(None));
    assert_eq!(Response::parse(&head[..MAX_HEAD_BYTES]), Err(BadHead::TooLong));
    let late = [&head[..MAX_HEAD_BYTES], b"1\r\n\r\n"].concat();
    assert_eq!(Response::parse(&late), Err(BadHead::TooLong));
}
