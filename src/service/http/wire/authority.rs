//! Host and port in Host and in targets of absolute form (RFC 3986, section 3.2).
//!
//! They are checked here because `Authority` of the crate `http` may have a user's name, and is not checked as strictly.

use std::net::Ipv6Addr;

use super::fields::digits;

/// Whether a text is `host` or `host:port`. The host must not be empty, and no user's name may precede it (RFC 9110, section 4.2.1
/// and 4.2.4). A name may have percent escapes.
pub(super) fn is_authority(text: &[u8]) -> bool {
    if let Some(rest) = text.strip_prefix(b"[") {
        let Some(end) = rest.iter().position(|byte| *byte == b']') else { return false };
        is_address(&rest[..end]) && is_port(&rest[end + 1..])
    } else {
        let (name, port) = text.split_at(text.iter().position(|byte| *byte == b':').unwrap_or(text.len()));
        !name.is_empty() && is_name(name) && is_port(port)
    }
}

/// Whether a text may stand between brackets: it is an IPv6 address (without a zone, which means nothing on another machine), or
/// an address of a later version of IP.
fn is_address(text: &[u8]) -> bool {
    let is_future = |text: &[u8]| {
        let [b'v' | b'V', rest @ ..] = text else { return false };
        let Some(dot) = rest.iter().position(|byte| *byte == b'.') else { return false };
        let (version, address) = (&rest[..dot], &rest[dot + 1..]);
        let hexadecimal = !version.is_empty() && version.iter().all(u8::is_ascii_hexdigit);
        hexadecimal && !address.is_empty() && address.iter().all(|byte| is_plain(*byte) || *byte == b':')
    };
    str::from_utf8(text).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok()) || is_future(text)
}

fn is_name(mut text: &[u8]) -> bool {
    while let Some((byte, rest)) = text.split_first() {
        text = match (byte, rest) {
            (b'%', [high, low, rest @ ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => rest,
            (byte, rest) if is_plain(*byte) => rest,
            _ => return false,
        };
    }
    true
}

/// Whether a byte may stand in a name: the unreserved characters and the delimiters of parts.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(&byte)
}

/// Whether a text is empty, a colon, or a colon and the number of a port.
fn is_port(text: &[u8]) -> bool {
    match text {
        [] | [b':'] => true,
        [b':', port @ ..] => matches!(digits(port), Some(Some(0..=65_535))),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RIGHT: &[&str] = &[
        "a",
        "localhost",
        "localhost:8080",
        "127.0.0.1:80",
        "a_b.c-d",
        "a:",
        "A.b.",
        "a%2fb",
        "xn--bcher-kva.example",
        "a(b)",
        "256.1.1.1",
        "a:65535",
        "a:00080",
        "a!$&'()*+,;=~",
        // Addresses.
        "[::1]",
        "[::1]:8080",
        "[::]",
        "[::]:",
        "[2001:db8::8a2e:370:7334]",
        "[::ffff:192.0.2.1]",
        "[1:2:3:4:5:6:7:8]",
        "[1:2:3:4:5:6:7::]",
        "[FE80::ABCD]",
        "[v1.a]",
        "[vF.a:b]:80",
    ];

    const WRONG: &[&str] = &[
        "",
        ":80",
        ":",
        "a:b",
        "a:65536",
        "a:123456",
        "a:-1",
        "a:+1",
        "a: 1",
        "a b",
        "a/b",
        "a@b",
        "u:p@b",
        "@a",
        "a#",
        "a?b",
        "a\\b",
        "a\tb",
        "<a>",
        "a\"",
        "\u{e4}",
        "a:1:2",
        "::1",
        "a%",
        "a%2",
        "a%g0",
        "a|b",
        "a^b",
        "a`b",
        "{a}",
        // Addresses.
        "[::1",
        "::1]",
        "[]",
        "[]:80",
        "[::1]a",
        "[::1]:x",
        "[::1]:65536",
        "[g::]",
        "[1]",
        "[1:2:3:4:5:6:7]",
        "[1:2:3:4:5:6:7:8:9]",
        "[1::2::3]",
        "[:::]",
        "[12345::]",
        "[1.2.3.4]",
        "[::1.2.3]",
        "[::1.2.3.256]",
        "[::01.2.3.4]",
        "[fe80::1%eth0]",
        "[fe80::1%25eth0]",
        "[ ::1]",
        "[::1 ]",
        "[v.a]",
        "[v1.]",
        "[v1]",
        "[vg.a]",
        "[v1.a/b]",
        "[[::1]]",
        "a[::1]",
        "[::1][::1]",
        "u@[::1]",
    ];

    #[test]
    fn authorities_are_told_from_other_texts() {
        for right in RIGHT {
            assert!(is_authority(right.as_bytes()), "{right}");
        }
        for wrong in WRONG {
            assert!(!is_authority(wrong.as_bytes()), "{wrong}");
        }
    }
}
