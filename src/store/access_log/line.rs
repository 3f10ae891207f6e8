//! The text of a line: the combined log format, the duration behind it, and where there is a cache process what that has said.
//!
//! ```text
//! ADDRESS - - [21/Nov/2026:17:06:51 +0000] "GET / HTTP/1.1" 200 1234 "REFERER" "AGENT" 0.000123
//! ADDRESS - - [21/Nov/2026:17:06:51 +0000] "GETFILE GET /a" 200 1234 "-" "-" 0.000123 hit
//! ```
//!
//! A line is printable ASCII. Every other byte of what a client sent, and `"` and `\`, becomes `\xHH`. So no client can
//! forge a line or a field, or send commands to a terminal. A text that is too long is cut and ends in `\...`, which no escaped text
//! contains.

use std::io::Write;
use std::net::IpAddr;
use std::time::Duration;

use crate::base::calendar;
use crate::base::limits::MAX_ACCESS_LOG_LINE_BYTES as LONGEST_LINE;

/// Bytes of the request line, as it is written.
const LONGEST_REQUEST: usize = 1024;
/// Bytes of the referer, and of the agent, as they are written.
const LONGEST_HEADER: usize = 256;
/// Bytes of a [`Timestamp`].
const LONGEST_TIMESTAMP: usize = 48;
/// Bytes of the cache status.
const LONGEST_CACHE_STATUS: usize = 16;
/// What a text that was cut ends in.
const CUT: &[u8] = b"\\...";

const _: () = {
    let address = "ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255%4294967295".len();
    let numbers = "65535".len() + 2 * "18446744073709551615".len() + ".999999".len();
    let between = " - - [] \"\"   \"\" \"\"  \n".len();
    let texts = LONGEST_TIMESTAMP + LONGEST_REQUEST + 2 * LONGEST_HEADER + LONGEST_CACHE_STATUS;
    assert!(address + texts + numbers + between <= LONGEST_LINE);
};

/// The time in a line; it is formatted only when the second changes.
pub struct Timestamp {
    second: u64,
    text: String,
}

impl Default for Timestamp {
    fn default() -> Self {
        Timestamp { second: 0, text: calendar::log_utc(0) }
    }
}

impl Timestamp {
    /// The time `unix_ms`, milliseconds since 1970, as a line has it.
    pub fn at(&mut self, unix_ms: u64) -> &str {
        let second = unix_ms / 1000;
        if second != self.second {
            *self = Timestamp { second, text: calendar::log_utc(second) };
        }
        &self.text
    }
}

/// What a line tells of one request.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// The client's address.
    pub address: IpAddr,
    /// When the request came, as of [`Timestamp::at`].
    pub time: &'a str,
    /// The request line as it was sent, without its end.
    pub request: &'a [u8],
    /// The status of the response.
    pub status: u16,
    /// Bytes of the response's body that were sent.
    pub bytes: u64,
    /// The `Referer` header, if there was one.
    pub referer: Option<&'a [u8]>,
    /// The `User-Agent` header, if there was one.
    pub agent: Option<&'a [u8]>,
    /// From the request's last byte to the response's.
    pub duration: Duration,
    /// Where the answer comes from, in one word; `None` where no cache process is asked.
    pub cache_status: Option<&'a str>,
}

impl Entry<'_> {
    /// Appends the line, with its newline, to `line`; allocates only until `line` has room for the longest line.
    pub fn write(&self, line: &mut Vec<u8>) {
        line.reserve(LONGEST_LINE);
        push_address(self.address, line);
        line.extend_from_slice(b" - - [");
        line.extend_from_slice(&self.time.as_bytes()[..self.time.len().min(LONGEST_TIMESTAMP)]);
        line.extend_from_slice(b"] \"");
        push_escaped(self.request, LONGEST_REQUEST, line);
        line.extend_from_slice(b"\" ");
        push_number(self.status.into(), 1, line);
        line.push(b' ');
        push_number(self.bytes, 1, line);
        for header in [self.referer, self.agent] {
            line.extend_from_slice(b" \"");
            push_escaped(header.unwrap_or(b"-"), LONGEST_HEADER, line);
            line.push(b'"');
        }
        line.push(b' ');
        push_number(self.duration.as_secs(), 1, line);
        line.push(b'.');
        push_number(self.duration.subsec_micros().into(), 6, line);
        if let Some(status) = self.cache_status {
            line.push(b' ');
            line.extend_from_slice(&status.as_bytes()[..status.len().min(LONGEST_CACHE_STATUS)]);
        }
        line.push(b'\n');
    }
}

fn push_address(address: IpAddr, line: &mut Vec<u8>) {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            for (place, octet) in address.octets().into_iter().enumerate() {
                if place > 0 {
                    line.push(b'.');
                }
                push_number(octet.into(), 1, line);
            }
        }
        // Writing to a vector does not fail.
        IpAddr::V6(address) => _ = write!(line, "{address}"),
    }
}

/// Decimal, with at least `digits` digits (at most 20).
fn push_number(mut n: u64, digits: usize, line: &mut Vec<u8>) {
    let mut text = [b'0'; 20];
    let mut at = text.len();
    while n > 0 || at > text.len() - digits {
        at -= 1;
        text[at] = b"0123456789"[usize::try_from(n % 10).unwrap_or(0)];
        n /= 10;
    }
    line.extend_from_slice(&text[at..]);
}

/// Whether a byte is written as it is.
#[inline]
const fn is_plain(byte: u8) -> bool {
    byte >= b' ' && byte <= b'~' && byte != b'"' && byte != b'\\'
}

/// Appends `text`, escaped, to `line`, in at most `limit` bytes.
fn push_escaped(text: &[u8], limit: usize, line: &mut Vec<u8>) {
    let begin = line.len();
    // Where to cut, should the rest not fit.
    let mut cut = begin;
    // Sixteen at a time without a branch for each, since nearly all texts are plain.
    for chunk in text.chunks(16) {
        if line.len() + chunk.len() <= begin + limit - CUT.len()
            && chunk.iter().fold(true, |plain, &byte| plain & is_plain(byte))
        {
            line.extend_from_slice(chunk);
            cut = line.len();
            continue;
        }
        for &byte in chunk {
            if is_plain(byte) {
                line.push(byte);
            } else {
                let digit = |four_bits: u8| b"0123456789abcdef"[usize::from(four_bits)];
                line.extend_from_slice(&[b'\\', b'x', digit(byte >> 4), digit(byte & 15)]);
            }
            if line.len() > begin + limit {
                line.truncate(cut);
                line.extend_from_slice(CUT);
                return;
            }
            if line.len() <= begin + limit - CUT.len() {
                cut = line.len();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn line_of(entry: &Entry<'_>) -> String {
        let mut line = Vec::new();
        entry.write(&mut line);
        String::from_utf8(line).unwrap()
    }

    fn plain() -> Entry<'static> {
        Entry {
            address: [192, 0, 2, 7].into(),
            time: "21/Nov/2026:17:06:51 +0000",
            request: b"GET / HTTP/1.1",
            status: 200,
            bytes: 1234,
            referer: None,
            agent: Some(b"curl/8.5.0"),
            duration: Duration::from_micros(123),
            cache_status: None,
        }
    }

    #[test]
    fn a_line_is_of_the_combined_format() {
        let begin = "192.0.2.7 - - [21/Nov/2026:17:06:51 +0000] \"GET / HTTP/1.1\" 200 1234 \"-\" \"curl/8.5.0\"";
        assert_eq!(line_of(&plain()), format!("{begin} 0.000123\n"));
        let entry = Entry { address: "2001:db8::1".parse().unwrap(), bytes: 0, ..plain() };
        assert!(line_of(&entry).starts_with("2001:db8::1 - - ["));
        let mapped =
            Entry { address: "::ffff:192.0.2.7".parse().unwrap(), duration: Duration::from_secs(3661), ..plain() };
        assert_eq!(line_of(&mapped), format!("{begin} 3661.000000\n"));
        let cached = Entry { cache_status: Some("revalidated"), ..plain() };
        assert_eq!(line_of(&cached), format!("{begin} 0.000123 revalidated\n"));
    }

    #[test]
    fn a_client_cannot_forge_a_line_or_speak_to_a_terminal() {
        let request = b"GET /\"\r\n10.0.0.1 - - \\x0a\x1b]0;pwned\x07\x7f\xc2\x9b HTTP/1.1";
        let line = line_of(&Entry { request, ..plain() });
        let wanted = r#""GET /\x22\x0d\x0a10.0.0.1 - - \x5cx0a\x1b]0;pwned\x07\x7f\xc2\x9b HTTP/1.1" 200"#;
        assert!(line.contains(wanted), "{line}");
    }

    #[test]
    fn what_is_too_long_is_cut_between_escapes_and_says_so() {
        let field = |text: &[u8], limit| {
            let mut line = b"before".to_vec();
            push_escaped(text, limit, &mut line);
            String::from_utf8(line.split_off(6)).unwrap()
        };
        assert_eq!(field(&[b'a'; 32], 32), "a".repeat(32));
        assert_eq!(field(&[b'a'; 33], 32), format!("{}\\...", "a".repeat(28)));
        assert_eq!(field(b"\n\n\n\n", 16), "\\x0a\\x0a\\x0a\\x0a");
        assert_eq!(field(b"\n\n\n\n\n", 17), "\\x0a\\x0a\\x0a\\...");
        assert_eq!(field(b"a\n\n\n\n", 16), "a\\x0a\\x0a\\...");
        let line = line_of(&Entry { request: &[b'/'; 9000], referer: Some(&[0; 9000]), ..plain() });
        assert!(line.contains("//\\...\" 200") && line.contains("\\x00\\...\" \"curl"), "{line}");
    }

    #[test]
    fn a_timestamp_follows_the_second() {
        let mut timestamp = Timestamp::default();
        assert_eq!(timestamp.at(999), "01/Jan/1970:00:00:00 +0000");
        assert_eq!(timestamp.at(1_795_280_811_999), "21/Nov/2026:17:06:51 +0000");
        assert_eq!(timestamp.at(1_795_280_812_000), "21/Nov/2026:17:06:52 +0000");
        assert!(timestamp.at(u64::MAX).len() <= LONGEST_TIMESTAMP);
    }

    /// Undoes the escapes; and whether the text was cut.
    fn unescaped(text: &str) -> (Vec<u8>, bool) {
        let whole = text.strip_suffix("\\...");
        let mut bytes = whole.unwrap_or(text).bytes();
        let mut out = Vec::new();
        while let Some(byte) = bytes.next() {
            if byte == b'\\' {
                assert_eq!(bytes.next(), Some(b'x'));
                let digits = [bytes.next().unwrap(), bytes.next().unwrap()];
                out.push(u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap());
            } else {
                out.push(byte);
            }
        }
        (out, whole.is_some())
    }

    fn assert_kept(field: &str, sent: &[u8], limit: usize) -> Result<(), TestCaseError> {
        let (kept, cut) = unescaped(field);
        prop_assert!(field.len() <= limit);
        prop_assert!(if cut { sent.starts_with(&kept) && kept.len() < sent.len() } else { sent == kept }, "{}", field);
        // Nothing is cut that would have fitted: one more byte takes four at most.
        prop_assert!(!cut || field.len() + 4 > limit, "{field}");
        Ok(())
    }

    fn hostile(longest: usize) -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![any::<u8>(), prop::sample::select(b"\"\\\n\r\t\x1bx -[]".to_vec()), 0x20u8..0x7f];
        prop::collection::vec(byte, 0..longest)
    }

    proptest! {
        #[test]
        fn any_bytes_make_one_printable_line_that_reads_back(
            request in hostile(1100),
            referer in prop::option::of(hostile(280)),
            agent in prop::option::of(hostile(280)),
            (status, bytes, micros, address) in any::<(u16, u64, u64, IpAddr)>(),
        ) {
            let entry = Entry {
                address,
                request: &request,
                status,
                bytes,
                referer: referer.as_deref(),
                agent: agent.as_deref(),
                duration: Duration::from_micros(micros),
                ..plain()
            };
            let line = line_of(&entry);
            prop_assert!(line.len() <= LONGEST_LINE);
            let text = line.strip_suffix('\n').unwrap();
            prop_assert!(text.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{}", text);
            let parts: Vec<_> = text.split('"').collect();
            prop_assert_eq!(parts.len(), 7, "three quoted fields: {}", text);
            let head = format!("{} - - [{}] ", address.to_canonical(), entry.time);
            prop_assert_eq!(parts[0], head);
            assert_kept(parts[1], &request, LONGEST_REQUEST)?;
            prop_assert_eq!(parts[2], format!(" {status} {bytes} "));
            assert_kept(parts[3], referer.as_deref().unwrap_or(b"-"), LONGEST_HEADER)?;
            assert_kept(parts[5], agent.as_deref().unwrap_or(b"-"), LONGEST_HEADER)?;
            prop_assert_eq!(parts[6], format!(" {}.{:06}", micros / 1_000_000, micros % 1_000_000));
        }
    }
}
