//! The URL of the upstream, and of what is below it.

use percent_encoding::{AsciiSet, CONTROLS, percent_encode};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// What cannot stand for itself in the path of a URL. Whatever is not ASCII cannot either. A percent sign stands for itself in a path
/// of GetFile, and for nothing else.
const ENCODED: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// Why a URL cannot be that of an upstream.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BadUrl {
    /// It is none.
    #[error("{0}: not a URL")]
    Malformed(String),
    /// It is of another protocol.
    #[error("{0}: the URL of an upstream begins with http:// or https://")]
    Scheme(String),
    /// Paths could not be appended.
    #[error("{0}: the URL of an upstream has neither a query nor a fragment")]
    Query(String),
}

/// The URL that paths are appended to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaseUrl(String);

impl BaseUrl {
    /// Checks a URL.
    ///
    /// # Errors
    /// It is none, or none that paths can be appended to.
    pub fn new(text: &str) -> Result<Self, BadUrl> {
        let url: ureq::http::Uri = text.parse().map_err(|_| BadUrl::Malformed(text.to_owned()))?;
        if !matches!(url.scheme_str(), Some("http" | "https")) {
            return Err(BadUrl::Scheme(text.to_owned()));
        }
        if url.query().is_some() || text.contains('#') {
            return Err(BadUrl::Query(text.to_owned()));
        }
        let authority = url.authority().map_or("", |authority| authority.as_str());
        // Behind a user's name, and behind the colons of an IPv6 address.
        let says_port = authority.rsplit(['@', ']']).next().is_some_and(|rest| rest.contains(':'));
        match url.host() {
            Some(host) if !host.is_empty() && says_port == url.port_u16().is_some() => {
                Ok(BaseUrl(text.trim_end_matches('/').to_owned()))
            }
            _ => Err(BadUrl::Malformed(text.to_owned())),
        }
    }

    /// The URL of a path, which begins with a slash.
    #[must_use]
    pub fn join(&self, path: &[u8]) -> String {
        format!("{}{}", self.0, percent_encode(path, ENCODED))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_appended_and_encoded_where_needed() {
        for (base, path, expected) in [
            ("http://h", &b"/"[..], "http://h/"),
            ("http://h/", b"/a", "http://h/a"),
            ("https://h:8443/pre/", b"/a/b.txt", "https://h:8443/pre/a/b.txt"),
            ("http://[::1]:80", b"/a", "http://[::1]:80/a"),
            ("http://me:pw@[::1]/", b"/a", "http://me:pw@[::1]/a"),
            ("http://h", b"/a?b#c%20", "http://h/a%3Fb%23c%2520"),
            ("http://h", b"/\xff\x01\t\"<>[]\\^`{|}\x7f", "http://h/%FF%01%09%22%3C%3E%5B%5D%5C%5E%60%7B%7C%7D%7F"),
            ("http://h", b"/a-._~!$&'()*+,;=:@//", "http://h/a-._~!$&'()*+,;=:@//"),
        ] {
            let url = BaseUrl::new(base).unwrap().join(path);
            assert_eq!(url, expected);
            let parsed: Result<ureq::http::Uri, _> = url.parse();
            assert!(parsed.is_ok(), "{url}");
        }
    }

    #[test]
    fn what_is_no_upstream_is_refused() {
        let told = |text: &str| BaseUrl::new(text).unwrap_err();
        for text in ["", "http://", "http:///a", "http://h:99999", "http://h:", "http://[::1]:x", "http://a b", "h h"] {
            assert_eq!(told(text), BadUrl::Malformed(text.to_owned()));
        }
        for text in ["ftp://h", "h", "/a", "h:80", "file://h/a"] {
            assert_eq!(told(text), BadUrl::Scheme(text.to_owned()));
        }
        for text in ["http://h/?a", "http://h/?", "http://h/#a"] {
            assert_eq!(told(text), BadUrl::Query(text.to_owned()));
        }
    }
}
