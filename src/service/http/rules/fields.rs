//! What the values of header fields are made of: lists, tokens, weights, entity tags (RFC 9110, section 5.6, 8.8.3, 12.4).

/// A field that means something only if it stands in one line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Line<'b> {
    /// It is not there.
    #[default]
    Absent,
    /// Its value.
    Once(&'b [u8]),
    /// It is there more than once; which one counts, nobody can say.
    Repeated,
}

impl<'b> Line<'b> {
    /// Takes note of one more line.
    #[inline]
    pub(super) fn add(&mut self, value: &'b [u8]) {
        *self = match self {
            Line::Absent => Line::Once(value),
            Line::Once(_) | Line::Repeated => Line::Repeated,
        };
    }

    /// The value, where there is exactly one.
    #[inline]
    #[must_use]
    pub fn once(self) -> Option<&'b [u8]> {
        match self {
            Line::Once(value) => Some(value),
            Line::Absent | Line::Repeated => None,
        }
    }
}

/// A field whose value is a list, which may come in several lines that are one list together (RFC 9110, section 5.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum List<'b> {
    /// It is not there.
    #[default]
    Absent,
    /// Its only line.
    Once(&'b [u8]),
    /// It has several lines. They are looked for again when they are needed: that is rare, and needs no allocation.
    Several {
        /// The field.
        name: &'static str,
        /// All lines of the head behind the request line, which were found to be well-formed.
        lines: &'b [u8],
    },
}

impl<'b> List<'b> {
    /// Takes note of one more line, of field `name`, among `lines`.
    #[inline]
    pub(super) fn add(&mut self, name: &'static str, value: &'b [u8], lines: &'b [u8]) {
        *self = match self {
            List::Absent => List::Once(value),
            List::Once(_) | List::Several { .. } => List::Several { name, lines },
        };
    }

    /// The value of each line.
    pub fn values(self) -> impl Iterator<Item = &'b [u8]> {
        let (once, name, lines) = match self {
            List::Absent => (None, "", [].as_slice()),
            List::Once(value) => (Some(value), "", [].as_slice()),
            List::Several { name, lines } => (None, name, lines),
        };
        let value_of = move |line: &'b [u8]| {
            let (known, value) = line.split_at(line.iter().position(|byte| *byte == b':')?);
            known.eq_ignore_ascii_case(name.as_bytes()).then(|| trim(value[1..].trim_ascii_end()))
        };
        once.into_iter().chain(lines.split(|byte| *byte == b'\n').filter_map(value_of))
    }
}

/// The members of a list without commas inside of them, spaces trimmed, empty ones left out.
pub(super) fn members(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(trim).filter(|member| !member.is_empty())
}

/// Without the optional white space (space, tab) on either side.
pub(super) fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// A number of decimal digits alone. `None`: something else, or nothing; `Some(None)`: larger than 64 bits hold.
#[allow(clippy::option_option, reason = "no number and too large a number are answered differently")]
pub(super) fn digits(text: &[u8]) -> Option<Option<u64>> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let add = |sum: u64, digit: &u8| sum.checked_mul(10)?.checked_add(u64::from(digit - b'0'));
    Some(text.iter().try_fold(0, add))
}

/// Whether a text is a token (RFC 9110, section 5.6.2).
pub(super) fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(is_token_byte)
}

/// Whether a byte may stand in a token.
pub(super) fn is_token_byte(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte)
}

/// A weight in thousandths: what a client would like best has 1000, what it does not take has 0.
type Weight = u16;

/// What the lines of Accept-Encoding said so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Codings {
    gzip: Option<Weight>,
    identity: Option<Weight>,
    any: Option<Weight>,
}

impl Codings {
    pub(super) fn add(&mut self, value: &[u8]) {
        for member in members(value) {
            let mut parts = member.split(|byte| *byte == b';').map(trim);
            let coding = parts.next().unwrap_or_default();
            let weight = parts.next().map_or(1000, |parameter| weight(parameter).unwrap_or(0));
            if coding.eq_ignore_ascii_case(b"gzip") || coding.eq_ignore_ascii_case(b"x-gzip") {
                self.gzip = Some(weight);
            } else if coding.eq_ignore_ascii_case(b"identity") {
                self.identity = Some(weight);
            } else if coding == b"*" {
                self.any = Some(weight);
            }
        }
    }

    /// Whether an answer may come as gzip, and had better not come as it is: gzip is named, or everything that is not named may
    /// come, and what is not coded has no greater weight (RFC 9110, section 12.5.3).
    pub(super) fn prefer_gzip(self) -> bool {
        let gzip = self.gzip.or(self.any).unwrap_or(0);
        gzip > 0 && self.identity.is_none_or(|identity| gzip >= identity)
    }
}

/// The weight that a parameter is (RFC 9110, section 12.4.2): `q=1`, `q=0.001`.
fn weight(parameter: &[u8]) -> Option<Weight> {
    let [b'q' | b'Q', b'=', weight @ ..] = parameter else { return None };
    let (whole, places) = match weight {
        [whole] => (*whole, [].as_slice()),
        [whole, b'.', places @ ..] if places.len() <= 3 => (*whole, places),
        _ => return None,
    };
    if !places.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let places = (0..3).fold(0, |sum, at| sum * 10 + places.get(at).map_or(0, |digit| Weight::from(digit - b'0')));
    match (whole, places) {
        (b'0', places) => Some(places),
        (b'1', 0) => Some(1000),
        _ => None,
    }
}

/// One member of a list of entity tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tag<'b> {
    pub(super) weak: bool,
    /// With its quotes.
    pub(super) opaque: &'b [u8],
}

/// The entity tags of a list, up to the first thing that is none: commas may stand inside of them.
pub(super) fn tags(mut rest: &[u8]) -> impl Iterator<Item = Tag<'_>> {
    std::iter::from_fn(move || {
        while let [b' ' | b'\t' | b',', after @ ..] = rest {
            rest = after;
        }
        let (weak, quoted) = match rest {
            [b'W', b'/', quoted @ ..] => (true, quoted),
            quoted => (false, quoted),
        };
        let inner = quoted.strip_prefix(b"\"")?;
        let length = inner.iter().position(|byte| *byte == b'"')?;
        let (opaque, after) = quoted.split_at(length + 2);
        let is_character = |byte: &u8| *byte == 0x21 || (0x23..=0x7e).contains(byte) || *byte >= 0x80;
        if !inner[..length].iter().all(is_character) || !matches!(trim(after).first(), None | Some(b',')) {
            rest = &[];
            return None;
        }
        rest = after;
        Some(Tag { weak, opaque })
    })
}

#[cfg(test)]
mod tests {
    use std::str;

    use super::*;

    #[test]
    fn weights_decide_about_gzip() {
        for (lines, accepted) in [
            (&["gzip"] as &[&str], true),
            (&["GZIP"], true),
            (&["x-gzip"], true),
            (&["gzip, deflate, br, zstd"], true),
            (&["deflate;q=1.0 , gzip ; q=0.001"], true),
            (&["gzip;q=1.000"], true),
            (&["gzip;Q=0.5"], true),
            (&["deflate", "gzip"], true),
            (&["*"], true),
            (&["identity, *;q=0.1"], false),
            (&["identity;q=0.1, *"], true),
            (&[], false),
            (&[""], false),
            (&["identity"], false),
            (&["gzip;q=0"], false),
            (&["gzip;q=0.000"], false),
            (&["gzip;q=0.0000"], false),
            (&["gzip; q=0, *"], false),
            (&["*;q=0"], false),
            (&["*;q=0, gzip"], true),
            (&["gzip;q=2"], false),
            (&["gzip;q=1.001"], false),
            (&["gzip;q=-1"], false),
            (&["gzip;q="], false),
            (&["gzip;q"], false),
            (&["gzipped"], false),
            (&["br;q=1, not gzip"], false),
            (&["gzip, identity"], true),
            (&["identity", "gzip;q=0.9"], false),
            (&["gzip;q=0.5, identity;q=0.499"], true),
            (&["gzip;q=0.5, identity;q=0.501"], false),
            (&["identity;q=0, *;q=0.001"], true),
            (&["identity;q=0"], false),
        ] {
            let mut codings = Codings::default();
            lines.iter().for_each(|line| codings.add(line.as_bytes()));
            assert_eq!(codings.prefer_gzip(), accepted, "{lines:?}");
        }
    }

    #[test]
    fn lines_of_one_list_are_found_again() {
        let lines = b"Host: a\r\nx-list: 1, 2\r\nX-Other: 3\r\nX-LIST:\t4 \r\nX-List:\r\n\r\n";
        let mut list = List::default();
        assert_eq!(list.values().count(), 0);
        list.add("x-list", b"1, 2", lines);
        assert_eq!(list.values().collect::<Vec<_>>(), [b"1, 2"]);
        list.add("x-list", b"4", lines);
        assert_eq!(list.values().collect::<Vec<_>>(), [b"1, 2" as &[u8], b"4", b""]);
    }

    #[test]
    fn tags_are_read_up_to_the_first_that_is_none() {
        let read = |text: &'static str| -> Vec<(bool, &str)> {
            tags(text.as_bytes()).map(|tag| (tag.weak, str::from_utf8(tag.opaque).unwrap())).collect()
        };
        assert_eq!(read(r#""a", W/"b" ,,"c,d""#), [(false, r#""a""#), (true, r#""b""#), (false, r#""c,d""#)]);
        assert_eq!(read(r#""""#), [(false, r#""""#)]);
        for none in ["", "*", "a", r#"w/"a""#, r#""a"#, r#""a"b"#, r#""a b""#, r#"W/ "a""#] {
            assert_eq!(read(none), [], "{none}");
        }
        assert_eq!(read(r#""a", b, "c""#), [(false, r#""a""#)]);
    }

    #[test]
    fn numbers_are_digits_alone() {
        assert_eq!(digits(b"0"), Some(Some(0)));
        assert_eq!(digits(b"18446744073709551615"), Some(Some(u64::MAX)));
        assert_eq!(digits(b"18446744073709551616"), Some(None));
        for none in ["", "+1", "-1", "1 ", " 1", "1,1", "0x1", "1.0", "\u{661}"] {
            assert_eq!(digits(none.as_bytes()), None, "{none}");
        }
    }
}
