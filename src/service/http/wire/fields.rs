//! The grammar of field values: lists, tokens, weights, entity tags (RFC 9110, section 5.6, 8.8.3, 12.4).
//!
//! They are parsed here because the crate `headers` needs a map of all fields, which is allocated for each request.

/// A field that may stand in one line only (RFC 9110, section 5.5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SingletonField<'b> {
    /// It is not there.
    #[default]
    Absent,
    /// Its value.
    Once(&'b [u8]),
    /// It is there more than once, so that its value is ambiguous.
    Repeated,
}

impl<'b> SingletonField<'b> {
    /// Adds a line.
    #[inline]
    pub(super) fn add(&mut self, value: &'b [u8]) {
        *self = match self {
            SingletonField::Absent => SingletonField::Once(value),
            SingletonField::Once(_) | SingletonField::Repeated => SingletonField::Repeated,
        };
    }

    /// The value, where there is exactly one.
    #[inline]
    #[must_use]
    pub fn once(self) -> Option<&'b [u8]> {
        match self {
            SingletonField::Once(value) => Some(value),
            SingletonField::Absent | SingletonField::Repeated => None,
        }
    }
}

/// A field whose value is a list. Several lines of it are one list (RFC 9110, section 5.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ListField<'b> {
    /// It is not there.
    #[default]
    Absent,
    /// Its only line.
    Once(&'b [u8]),
    /// It has several lines. They are looked for again when they are needed: that is rare, and saves an allocation.
    Several {
        /// The field.
        name: &'static str,
        /// The header section: all lines of the head after the request line, found to be well-formed.
        section: &'b [u8],
    },
}

impl<'b> ListField<'b> {
    /// Adds a line of the field `name` from the header section.
    #[inline]
    pub(super) fn add(&mut self, name: &'static str, value: &'b [u8], section: &'b [u8]) {
        *self = match self {
            ListField::Absent => ListField::Once(value),
            ListField::Once(_) | ListField::Several { .. } => ListField::Several { name, section },
        };
    }

    /// The value of each line.
    pub fn values(self) -> impl Iterator<Item = &'b [u8]> {
        let (once, name, section) = match self {
            ListField::Absent => (None, "", [].as_slice()),
            ListField::Once(value) => (Some(value), "", [].as_slice()),
            ListField::Several { name, section } => (None, name, section),
        };
        let value_of = move |line: &'b [u8]| {
            let (known, value) = line.split_at(line.iter().position(|byte| *byte == b':')?);
            known.eq_ignore_ascii_case(name.as_bytes()).then(|| trim(value[1..].trim_ascii_end()))
        };
        once.into_iter().chain(section.split(|byte| *byte == b'\n').filter_map(value_of))
    }
}

/// The members of a list whose members have no commas, without white space around them, and without empty ones.
pub fn members(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(trim).filter(|member| !member.is_empty())
}

/// The value without optional white space (space, tab) on either side.
pub fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// A number of decimal digits and nothing else. `None`: it is none; `Some(None)`: it does not fit into 64 bits.
#[allow(clippy::option_option, reason = "a malformed number and a large one are answered differently")]
pub fn digits(text: &[u8]) -> Option<Option<u64>> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(str::from_utf8(text).ok()?.parse().ok())
}

/// Whether a text is a token (RFC 9110, section 5.6.2).
pub fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(is_token_byte)
}

/// Whether a byte may stand in a token.
pub fn is_token_byte(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte)
}

/// A weight in thousandths: 1000 is preferred most, 0 is not acceptable.
type Weight = u16;

/// What Accept-Encoding says about the codings that matter here.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct AcceptEncoding {
    gzip: Option<Weight>,
    identity: Option<Weight>,
    any: Option<Weight>,
}

impl AcceptEncoding {
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

    /// Whether a response is to be coded with gzip: gzip (or `*`, if gzip is not named) is acceptable, and `identity` has no
    /// greater weight (RFC 9110, section 12.5.3).
    pub(super) fn prefer_gzip(self) -> bool {
        let gzip = self.gzip.or(self.any).unwrap_or(0);
        gzip > 0 && self.identity.is_none_or(|identity| gzip >= identity)
    }
}

/// Parses a weight parameter (RFC 9110, section 12.4.2): `q=1`, `q=0.001`.
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

/// An entity tag, a member of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntityTag<'b> {
    /// Whether it is weak.
    pub weak: bool,
    /// With its quotes.
    pub opaque: &'b [u8],
}

/// The entity tags of a list, up to the first member that is malformed. Metadata tags may have commas.
pub fn entity_tags(mut rest: &[u8]) -> impl Iterator<Item = EntityTag<'_>> {
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
        Some(EntityTag { weak, opaque })
    })
}

#[cfg(test)]
mod tests {
    use std::str;

    use super::*;

    #[test]
    fn weights_decide_about_gzip() {
        for (lines, wanted) in [
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
            let mut accepted = AcceptEncoding::default();
            lines.iter().for_each(|line| accepted.add(line.as_bytes()));
            assert_eq!(accepted.prefer_gzip(), wanted, "{lines:?}");
        }
    }

    #[test]
    fn lines_of_one_list_are_found_again() {
        let lines = b"Host: a\r\nx-list: 1, 2\r\nX-Other: 3\r\nX-LIST:\t4 \r\nX-List:\r\n\r\n";
        let mut list = ListField::default();
        assert_eq!(list.values().count(), 0);
        list.add("x-list", b"1, 2", lines);
        assert_eq!(list.values().collect::<Vec<_>>(), [b"1, 2"]);
        list.add("x-list", b"4", lines);
        assert_eq!(list.values().collect::<Vec<_>>(), [b"1, 2" as &[u8], b"4", b""]);
    }

    #[test]
    fn tags_are_read_up_to_the_first_that_is_none() {
        let read = |text: &'static str| -> Vec<(bool, &str)> {
            entity_tags(text.as_bytes()).map(|tag| (tag.weak, str::from_utf8(tag.opaque).unwrap())).collect()
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
