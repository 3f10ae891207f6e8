//! The demands of RFC 9110 (semantics) and RFC 9112 (HTTP/1.1) on an origin server that serves files: the section, the demand, a
//! request that shows it, and the expected response.

use crate::visitor;

use std::fs::{File, FileTimes};
use std::io::ErrorKind;
use std::time::{Duration, SystemTime};

use visitor::{Answer, Site};

/// The bytes of the page.
const PAGE: &[u8] = b"0123456789";
/// The time of its last change, and the seconds before and after.
const MODIFIED: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

/// A row of a table: section, demand, request, response, separated by `::`.
///
/// The lines of a request are separated by `|`; its last empty line is omitted. `ETAG` and `LONG` stand for the entity tag of the page
/// and for 7,999 letters. A response is a status and conditions, separated by `; `: a field and its value (`*`: any), `no` and a field,
/// `body` and the body, `empty` (there is no body), `closes` (and nothing more is sent), `stays` (and the next request is answered).
type Row<'a> = [&'a str; 4];

const MESSAGES: &str = "
9112 2.2 :: an empty line before the request is ignored :: |GET /page HTTP/1.1|Host: a :: 200; body 0123456789; stays
9112 2.2 :: a bare CR is invalid :: GET /page HTTP/1.1|Host: a|X: b\rc :: 400; closes
9112 2.2 :: white space before the first field is rejected :: GET /page HTTP/1.1| Host: a :: 400; closes
9112 2.3 :: the answer has the server's own version :: GET /page HTTP/1.0 :: 200; closes
9110 2.5 :: a later minor version is served as the latest known :: GET /page HTTP/1.2|Host: a :: 200; stays
9110 2.5 :: and however late it is :: HEAD /page HTTP/1.9|Host: a :: 200; empty; stays
9110 15.6.6 :: another major version is not supported :: GET /page HTTP/2.0|Host: a :: 505; closes
9110 15.6.6 :: nor an earlier one :: GET /page HTTP/0.9 :: 505; closes
9112 2.3 :: the version is case-sensitive :: GET /page http/1.1|Host: a :: 400; closes
9112 3 :: lines of 8,000 bytes are supported :: GET /LONG HTTP/1.1|Host: a :: 404; stays
9112 3 :: a longer target is answered 414 :: GET /LONGx HTTP/1.1|Host: a :: 414; closes
9112 3 :: a method that is too long is answered 501 :: GETGETGETGETGETGETGETGETGETGETGETGET / HTTP/1.1|Host: a :: 501; closes
9112 3 :: an invalid request line is answered 400 :: GET /page  HTTP/1.1|Host: a :: 400; closes
9112 3 :: so is a target with a space, and not mended :: GET /a page HTTP/1.1|Host: a :: 400; closes
9110 9.1 :: methods are case-sensitive :: get /page HTTP/1.1|Host: a :: 501; closes
9110 9.1 :: an unknown method is answered 501 :: BREW /page HTTP/1.1|Host: a :: 501; closes; no allow
9110 9.1 :: a known one that is not allowed 405 :: DELETE /page HTTP/1.1|Host: a :: 405; closes
9110 15.5.6 :: 405 says what is allowed :: POST /page HTTP/1.1|Host: a|Content-Length: 0 :: 405; allow: GET, HEAD
9110 9.3.7 :: OPTIONS of the server is known :: OPTIONS * HTTP/1.1|Host: a :: 405; allow: GET, HEAD
9110 9.3.8 :: TRACE is known :: TRACE /page HTTP/1.1|Host: a :: 405; allow: GET, HEAD
9110 9.3.6 :: CONNECT is known :: CONNECT a:80 HTTP/1.1|Host: a:80 :: 405; allow: GET, HEAD
9112 3.2.1 :: the origin form :: GET /page?query HTTP/1.1|Host: a :: 200; body 0123456789
9112 3.2.2 :: the absolute form :: GET http://b/page?query HTTP/1.1|Host: a :: 200; body 0123456789
9110 4.2.3 :: schemes are case-insensitive :: GET HTTP://b/page HTTP/1.1|Host: a :: 200
9110 4.2.3 :: an empty path is the root :: GET http://b HTTP/1.1|Host: a :: 403; stays
9110 4.2.1 :: an http address without host is rejected :: GET http:///page HTTP/1.1|Host: a :: 400; closes
9110 4.2.4 :: so is one with a user's name :: GET http://u:p@a/page HTTP/1.1|Host: a :: 400; closes
9110 7.4 :: https is rejected where it is not spoken :: GET https://a/page HTTP/1.1|Host: a :: 400; closes
9112 3.2.4 :: the asterisk form is for OPTIONS alone :: GET * HTTP/1.1|Host: a :: 400; closes
9112 3.2.3 :: the authority form is for CONNECT alone :: GET a:80 HTTP/1.1|Host: a :: 400; closes
9112 3.2 :: no Host is answered 400 :: GET /page HTTP/1.1 :: 400; closes
9112 3.2 :: so are two :: GET /page HTTP/1.1|Host: a|Host: a :: 400; closes
9112 3.2 :: so is an invalid one :: GET /page HTTP/1.1|Host: a b :: 400; closes
9112 3.2 :: a list is invalid :: GET /page HTTP/1.1|Host: a, b/c :: 400; closes
9112 3.2 :: so is a user's name :: GET /page HTTP/1.1|Host: u@a :: 400; closes
9112 3.2 :: and an address that is none :: GET /page HTTP/1.1|Host: [::g] :: 400; closes
9112 3.2 :: and one of version 4 in brackets :: GET /page HTTP/1.1|Host: [127.0.0.1]:80 :: 400; closes
9112 3.2 :: and a port that is none :: GET /page HTTP/1.1|Host: [::1]:8o :: 400; closes
9112 3.2 :: an address of version 6 is valid :: GET /page HTTP/1.1|Host: [2001:db8::7]:8080 :: 200; stays
9112 3.2 :: so is one with one of version 4 in it :: GET /page HTTP/1.1|Host: [::ffff:192.0.2.1] :: 200
9112 3.2 :: and one of the future :: GET /page HTTP/1.1|Host: [v1.a:b] :: 200
9112 3.2 :: HTTP/1.0 needs no Host :: GET /page HTTP/1.0 :: 200; closes
9112 3.2 :: but two are wrong there, too :: GET /page HTTP/1.0|Host: a|Host: b :: 400; closes
9112 5.1 :: white space before the colon is answered 400 :: GET /page HTTP/1.1|Host : a :: 400; closes
9112 5.1 :: a field without a name is none :: GET /page HTTP/1.1|Host: a|: b :: 400; closes
9112 5 :: a line without a colon is none :: GET /page HTTP/1.1|Host: a|b :: 400; closes
9110 5.1 :: names are case-insensitive :: GET /page HTTP/1.1|hOsT: a :: 200
9112 5.1 :: white space around a value is no part of it :: GET /page HTTP/1.1|Host:\t a \t :: 200
9112 5.2 :: folded lines are answered 400 :: GET /page HTTP/1.1|Host: a|X: b| c :: 400; closes
9110 5.5 :: NUL in a value is invalid :: GET /page HTTP/1.1|Host: a|X: \0 :: 400; closes
9110 5.5 :: bytes beyond ASCII are not :: GET /page HTTP/1.1|Host: a|X: \u{e4} :: 200
9110 5.1 :: unknown fields are ignored :: GET /page HTTP/1.1|Host: a|X-Nobody: knows :: 200
9110 7.8 :: so is Upgrade, where nothing is upgraded to :: GET /page HTTP/1.1|Host: a|Connection: upgrade|Upgrade: h2c :: 200; stays
";

const BODIES: &str = "
9112 6.1 :: an unknown coding is answered 501 :: GET /page HTTP/1.1|Host: a|Transfer-Encoding: x, chunked :: 501; closes
9112 6.1 :: codings in two lines are one list :: GET /page HTTP/1.1|Host: a|Transfer-Encoding: gzip|Transfer-Encoding: chunked :: 501; closes
9112 6.1 :: a coding in HTTP/1.0 is faulty :: GET /page HTTP/1.0|Transfer-Encoding: chunked :: 400; closes
9112 6.1 :: as is one beside a length :: GET /page HTTP/1.1|Host: a|Transfer-Encoding: chunked|Content-Length: 0 :: 400; closes
9112 6.1 :: on either side of it :: GET /page HTTP/1.1|Host: a|Content-Length: 0|Transfer-Encoding: chunked :: 400; closes
9112 6.3 :: chunked must be the last coding :: GET /page HTTP/1.1|Host: a|Transfer-Encoding: chunked, identity :: 400; closes
9112 6.3 :: whatever the method :: POST /page HTTP/1.1|Host: a|Transfer-Encoding: chunked, identity :: 400; closes
9112 6.3 :: also in two lines :: GET /page HTTP/1.1|Host: a|Transfer-Encoding: chunked|Transfer-Encoding: gzip :: 400; closes
9112 6.3 :: or there is no end :: GET /page HTTP/1.1|Host: a|Transfer-Encoding: gzip :: 400; closes
9112 7.1 :: chunked is applied once :: GET /page HTTP/1.1|Host: a|Transfer-Encoding: chunked, chunked :: 400; closes
9112 7.1 :: and has no parameters :: GET /page HTTP/1.1|Host: a|Transfer-Encoding: chunked;a=b :: 400; closes
9112 7 :: names of codings are case-insensitive :: GET /page HTTP/1.1|Host: a|Transfer-Encoding: CHUNKED :: 411; closes
9112 6.3 :: a body without length may be answered 411 :: HEAD /page HTTP/1.1|Host: a|Transfer-Encoding: chunked :: 411; empty; closes
9110 8.6 :: a malformed length is invalid :: GET /page HTTP/1.1|Host: a|Content-Length: +1 :: 400; closes
9110 8.6 :: as is a negative one :: GET /page HTTP/1.1|Host: a|Content-Length: -1 :: 400; closes
9110 8.6 :: and a list :: GET /page HTTP/1.1|Host: a|Content-Length: 1, 1 :: 400; closes
9110 8.6 :: and two of them :: GET /page HTTP/1.1|Host: a|Content-Length: 1|Content-Length: 1 :: 400; closes
9110 8.6 :: numbers do not overflow :: GET /page HTTP/1.1|Host: a|Content-Length: 18446744073709551617 :: 400; closes
9110 15.5.14 :: a body that is too large is answered 413 :: GET /page HTTP/1.1|Host: a|Content-Length: 65537 :: 413; closes
9110 10.1.1 :: 100-continue is answered at once :: GET /page HTTP/1.1|Host: a|Expect: 100-continue|Content-Length: 5 :: 200; body 0123456789; connection: close; closes
9110 10.1.1 :: and is nothing without a body :: GET /page HTTP/1.1|Host: a|Expect: 100-Continue :: 200; stays
9110 10.1.1 :: HTTP/1.0 has no expectations :: GET /page HTTP/1.0|Expect: x :: 200; closes
9110 10.1.1 :: others are answered 417 :: GET /page HTTP/1.1|Host: a|Expect: x :: 417; closes
9112 9.3 :: HTTP/1.1 stays :: GET /page HTTP/1.1|Host: a :: 200; no connection; stays
9112 9.6 :: close ends it, and the answer says so :: GET /page HTTP/1.1|Host: a|Connection: close :: 200; connection: close; closes
9110 5.3 :: in whichever line of the list :: GET /page HTTP/1.1|Host: a|Connection: x|Connection: y ,CLOSE :: 200; connection: close; closes
9112 9.3 :: HTTP/1.0 does not stay :: GET /page HTTP/1.0|Host: a :: 200; connection: close; closes
9112 9.3 :: unless it says so :: GET /page HTTP/1.0|Connection: Keep-Alive :: 200; connection: keep-alive; stays
9112 9.3 :: which goes for errors, too :: GET /nothing HTTP/1.0|Connection: keep-alive :: 404; connection: keep-alive; stays
9112 9.3 :: close is stronger :: GET /page HTTP/1.0|Connection: keep-alive, close :: 200; connection: close; closes
";

const ANSWERS: &str = "
9110 9.3.1 :: GET gets a representation :: GET /page HTTP/1.1|Host: a :: 200; body 0123456789; content-length: 10
9110 9.3.2 :: HEAD gets the same fields and no content :: HEAD /page HTTP/1.1|Host: a :: 200; empty; content-length: 10; etag: ETAG; stays
9110 9.3.2 :: also of a file that is not there :: HEAD /nothing HTTP/1.1|Host: a :: 404; empty; stays
9110 9.3.2 :: of a folder :: HEAD /folder HTTP/1.1|Host: a :: 301; empty; stays
9110 9.3.2 :: of what may not be seen :: HEAD / HTTP/1.1|Host: a :: 403; empty; stays
9110 9.3.2 :: under a condition that fails :: HEAD /page HTTP/1.1|Host: a|If-Match: \"x\" :: 412; empty; stays
9110 9.3.2 :: of a malformed target :: HEAD /%zz HTTP/1.1|Host: a :: 400; empty; stays
9110 9.3.2 :: without Host :: HEAD /page HTTP/1.1 :: 400; empty; closes
9110 9.3.2 :: with a field that is none :: HEAD /page HTTP/1.1|Host: a|X :: 400; empty; closes
9110 9.3.2 :: with a line that is none :: HEAD /page :: 400; empty; closes
9110 9.3.2 :: in another version :: HEAD /page HTTP/2.0|Host: a :: 505; empty; closes
9110 9.3.2 :: of a target that is too long :: HEAD /LONGx HTTP/1.1|Host: a :: 414; empty; closes
9110 9.3.2 :: in a head that is too long :: HEAD /page HTTP/1.1|Host: a|X: LONG|Y: LONG :: 431; empty; closes
9110 9.3.2 :: with a body that is too large :: HEAD /page HTTP/1.1|Host: a|Content-Length: 65537 :: 413; empty; closes
9110 9.3.2 :: with another expectation :: HEAD /page HTTP/1.1|Host: a|Expect: x :: 417; empty; closes
9110 9.3.2 :: of what the server shows of itself :: HEAD /_vault/health HTTP/1.1|Host: localhost :: 200; empty; stays
9110 9.3.2 :: and has not :: HEAD /_vault/nothing HTTP/1.1|Host: localhost :: 404; empty; stays
9110 9.3.2 :: or shows to others only :: HEAD /_vault/ HTTP/1.1|Host: evil.example :: 403; empty; stays
9110 9.3.2 :: and of what never ends :: HEAD /_vault/events HTTP/1.1|Host: localhost :: 200; empty; closes
9110 6.6.1 :: answers of every kind have a Date :: GET /page HTTP/1.1|Host: a :: 200; date: *
9110 6.6.1 :: redirects :: GET /folder HTTP/1.1|Host: a :: 301; date: *
9110 6.6.1 :: and errors :: BREW / HTTP/1.1|Host: a :: 501; date: *
9110 8.8.2 :: Last-Modified is sent :: GET /page HTTP/1.1|Host: a :: 200; last-modified: Sun, 06 Nov 1994 08:49:37 GMT
9110 8.8.3 :: ETag is sent :: GET /page HTTP/1.1|Host: a :: 200; etag: ETAG
9110 14.3 :: Accept-Ranges is sent :: GET /page HTTP/1.1|Host: a :: 200; accept-ranges: bytes
9110 8.3 :: Content-Type is sent :: GET /page.mjs HTTP/1.1|Host: a :: 200; content-type: text/javascript; charset=utf-8
8081 4.4 :: fonts have types of their own :: GET /font.woff HTTP/1.1|Host: a :: 200; content-type: font/woff
9110 15.4.2 :: a redirect has a Location :: GET /folder HTTP/1.1|Host: a :: 301; location: /folder/
9110 10.2.2 :: with the query that was sent :: GET /folder?a=b&c=%20d HTTP/1.1|Host: a :: 301; location: /folder/?a=b&c=%20d
9110 10.2.2 :: also of the server's own pages :: GET /_vault?a=b HTTP/1.1|Host: localhost :: 301; location: /_vault/?a=b
9110 12.5.3 :: a coding that is wanted is used :: GET /zipped HTTP/1.1|Host: a|Accept-Encoding: br|Accept-Encoding: gzip :: 200; content-encoding: gzip
9110 12.5.5 :: and what depends on it is said :: GET /zipped HTTP/1.1|Host: a :: 200; no content-encoding; vary: Accept-Encoding
9110 12.5.3 :: a weight of 0 is not acceptable :: GET /zipped HTTP/1.1|Host: a|Accept-Encoding: *, gzip;q=0 :: 200; no content-encoding
9110 12.5.3 :: the greatest weight is preferred :: GET /zipped HTTP/1.1|Host: a|Accept-Encoding: gzip;q=0.1, identity :: 200; no content-encoding
";

const CONDITIONS: &str = "
9110 13.1.2 :: If-None-Match that names it: 304 :: GET /page HTTP/1.1|Host: a|If-None-Match: ETAG :: 304; empty; stays
9110 15.4.5 :: 304 has the fields that caches need :: GET /zipped HTTP/1.1|Host: a|If-None-Match: * :: 304; etag: *; date: *; vary: Accept-Encoding
9110 13.1.2 :: tags are compared weakly :: GET /page HTTP/1.1|Host: a|If-None-Match: W/ETAG :: 304; empty
9110 5.3 :: two lines are one list :: GET /page HTTP/1.1|Host: a|If-None-Match: \"x\"|If-None-Match: ETAG :: 304; empty
9110 5.3 :: in any order :: GET /page HTTP/1.1|Host: a|If-None-Match: ETAG|X: y|if-none-match: \"x\" :: 304; empty
9110 5.3 :: and need not name it :: GET /page HTTP/1.1|Host: a|If-None-Match: \"x\"|If-None-Match: \"y\" :: 200
9110 5.6.1.2 :: empty members are ignored :: GET /page HTTP/1.1|Host: a|If-None-Match: , ,\"x\",, ETAG , :: 304; empty
9110 13.1.2 :: an asterisk is any :: HEAD /page HTTP/1.1|Host: a|If-None-Match: * :: 304; empty; stays
9110 13.1.1 :: If-Match that names it :: GET /page HTTP/1.1|Host: a|If-Match: \"x\"|If-Match: ETAG :: 200
9110 13.1.1 :: or does not: 412 :: GET /page HTTP/1.1|Host: a|If-Match: \"x\" :: 412; stays
9110 13.1.1 :: tags are compared strongly :: GET /page HTTP/1.1|Host: a|If-Match: W/ETAG :: 412
9110 13.2.2 :: If-Match comes first :: GET /page HTTP/1.1|Host: a|If-None-Match: ETAG|If-Match: \"x\" :: 412
9110 13.2.1 :: no condition counts where there is no file :: GET /nothing HTTP/1.1|Host: a|If-Match: \"x\" :: 404
9110 13.1.3 :: If-Modified-Since :: GET /page HTTP/1.1|Host: a|If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT :: 304; empty
9110 13.1.3 :: a second before :: GET /page HTTP/1.1|Host: a|If-Modified-Since: Sun, 06 Nov 1994 08:49:36 GMT :: 200
9110 5.6.7 :: as RFC 850 has it :: GET /page HTTP/1.1|Host: a|If-Modified-Since: Sunday, 06-Nov-94 08:49:37 GMT :: 304; empty
9110 5.6.7 :: as asctime has it :: GET /page HTTP/1.1|Host: a|If-Modified-Since: Sun Nov  6 08:49:37 1994 :: 304; empty
9110 5.6.7 :: two digits mean the past, not far in the future :: GET /page HTTP/1.1|Host: a|If-Modified-Since: Tuesday, 01-Jan-80 00:00:00 GMT :: 200
9110 5.6.7 :: before 1970 :: GET /page HTTP/1.1|Host: a|If-Unmodified-Since: Sat, 01 Jan 1966 00:00:00 GMT :: 412
9110 5.6.7 :: in a leap second :: GET /page HTTP/1.1|Host: a|If-Modified-Since: Sat, 31 Dec 2016 23:59:60 GMT :: 304; empty
9110 13.1.3 :: what is no date is ignored :: GET /page HTTP/1.1|Host: a|If-Modified-Since: Sun, 06 Nov 2094 25:00:00 GMT :: 200
9110 13.1.3 :: so are two of them :: GET /page HTTP/1.1|Host: a|If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT|If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT :: 200
9110 13.1.3 :: and any beside If-None-Match :: GET /page HTTP/1.1|Host: a|If-None-Match: \"x\"|If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT :: 200
9110 13.1.4 :: If-Unmodified-Since :: GET /page HTTP/1.1|Host: a|If-Unmodified-Since: Sun, 06 Nov 1994 08:49:36 GMT :: 412
9110 13.1.4 :: is ignored beside If-Match :: GET /page HTTP/1.1|Host: a|If-Match: ETAG|If-Unmodified-Since: Sun, 06 Nov 1994 08:49:36 GMT :: 200
9110 15.3.7 :: a part :: GET /page HTTP/1.1|Host: a|Range: bytes=2-4 :: 206; body 234; content-range: bytes 2-4/10; content-length: 3; etag: ETAG; date: *
9110 14.1.2 :: from somewhere to the end :: GET /page HTTP/1.1|Host: a|Range: bytes=8- :: 206; body 89; content-range: bytes 8-9/10
9110 14.1.2 :: the last bytes :: GET /page HTTP/1.1|Host: a|Range: bytes=-3 :: 206; body 789; content-range: bytes 7-9/10
9110 14.1.2 :: more of them than there are :: GET /page HTTP/1.1|Host: a|Range: bytes=-99 :: 206; body 0123456789; content-range: bytes 0-9/10
9110 14.1.2 :: an end beyond the end :: GET /page HTTP/1.1|Host: a|Range: bytes=9-99999999999999999999 :: 206; body 9
9110 14.1 :: units are case-insensitive :: GET /page HTTP/1.1|Host: a|Range: BYTES=0-0 :: 206; body 0
9110 14.2 :: an unknown unit is ignored :: GET /page HTTP/1.1|Host: a|Range: lines=0-0 :: 200
9110 14.1.1 :: an invalid range is ignored :: GET /page HTTP/1.1|Host: a|Range: bytes=4-2 :: 200
9110 14.1.1 :: with all that stand beside it :: GET /page HTTP/1.1|Host: a|Range: bytes=0-0, x :: 200
9110 14.2 :: HEAD has no ranges :: HEAD /page HTTP/1.1|Host: a|Range: bytes=0-0 :: 200; empty; content-length: 10
9110 14.2 :: a range comes after the conditions :: GET /page HTTP/1.1|Host: a|Range: bytes=0-0|If-None-Match: ETAG :: 304; empty
9110 15.5.17 :: 416 says how long it is :: GET /page HTTP/1.1|Host: a|Range: bytes=10- :: 416; content-range: bytes */10; stays
9110 14.1.2 :: no last bytes are none :: GET /page HTTP/1.1|Host: a|Range: bytes=-0 :: 416; content-range: bytes */10
9110 15.3.7.2 :: several parts have their own fields :: GET /page HTTP/1.1|Host: a|Range: bytes=0-0,5-6 :: 206; no content-range; content-type: *
9110 15.3.7.2 :: but one is one :: GET /page HTTP/1.1|Host: a|Range: bytes=0-1,2-3,99- :: 206; body 0123; content-range: bytes 0-3/10
9110 13.1.5 :: If-Range that names it :: GET /page HTTP/1.1|Host: a|Range: bytes=0-0|If-Range: ETAG :: 206; body 0
9110 13.1.5 :: weakly is not enough :: GET /page HTTP/1.1|Host: a|Range: bytes=0-0|If-Range: W/ETAG :: 200
9110 13.1.5 :: by its date :: GET /page HTTP/1.1|Host: a|Range: bytes=0-0|If-Range: Sun, 06 Nov 1994 08:49:37 GMT :: 206; body 0
9110 13.1.5 :: no later one :: GET /page HTTP/1.1|Host: a|Range: bytes=0-0|If-Range: Sun, 06 Nov 1994 08:49:38 GMT :: 200
9110 13.1.5 :: otherwise all is sent, not 416 :: GET /page HTTP/1.1|Host: a|Range: bytes=10-|If-Range: \"x\" :: 200
9110 13.1.5 :: and without a range it means nothing :: GET /page HTTP/1.1|Host: a|If-Range: \"x\" :: 200; body 0123456789
";

fn site() -> Site {
    let files: [(&str, &[u8]); 6] = [
        ("page", PAGE),
        ("page.mjs", PAGE),
        ("font.woff", PAGE),
        ("folder/index.html", PAGE),
        ("zipped", PAGE),
        ("zipped.gz", b"\x1f\x8b zipped"),
    ];
    let site = Site::with(&files, &["--workers", "2"]);
    set_time(&site, "page", SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777));
    site
}

fn set_time(site: &Site, file: &str, time: SystemTime) {
    let file = File::options().write(true).open(site.path(file)).unwrap();
    file.set_times(FileTimes::new().set_modified(time)).unwrap();
}

/// The conditions that a response does not meet.
fn faults(answer: &Answer, conditions: &[&str], tag: &str) -> Vec<String> {
    let wrong = |condition: &&&str| match condition.split_once(' ').unwrap_or((condition, "")) {
        ("closes" | "stays" | "empty", "") => false,
        ("body", body) => answer.body != body.as_bytes(),
        ("no", name) => answer.field(name).is_some(),
        (name, "*") => answer.field(name.trim_end_matches(':')).is_none(),
        (name, value) if name.ends_with(':') => {
            answer.field(name.trim_end_matches(':')) != Some(&value.replace("ETAG", tag))
        }
        other => panic!("{other:?}"),
    };
    conditions.iter().filter(wrong).map(|condition| (*condition).to_owned()).collect()
}

/// Checks one row; the error says what is wrong with the response.
fn check(site: &Site, tag: &str, [section, demand, request, wanted]: Row) -> Result<(), String> {
    let lines = request.replace("ETAG", tag).replace("LONG", &"l".repeat(7_999)).replace('|', "\r\n");
    let mut visitor = site.visit();
    visitor.send(format!("{lines}\r\n\r\n").as_bytes());
    let of_head = request.trim_start_matches('|').starts_with("HEAD");
    let mut answer = visitor.read(of_head).map_err(|error| format!("RFC {section}, {demand}: {error}"))?;
    let mut conditions: Vec<&str> = wanted.split("; ").collect();
    // This value has a semicolon itself.
    if let Some(at) = conditions.iter().position(|part| part.starts_with("charset")) {
        conditions.drain(at - 1..=at);
        conditions.push("content-type: text/javascript; charset=utf-8");
    }
    let status = conditions.remove(0);
    let mut wrong = faults(&answer, &conditions, tag);
    if answer.status.to_string() != status {
        wrong.push(format!("{status}, and not {}", answer.status));
    }
    // A body that should not be there would be read as the next response.
    if conditions.contains(&"closes") {
        let rest = visitor.rest();
        if !rest.is_empty() {
            wrong.push(format!("the end, and not {}", rest.escape_ascii()));
        }
    } else if conditions.contains(&"stays") || conditions.contains(&"empty") {
        visitor.send(b"GET /page HTTP/1.1\r\nHost: next\r\nConnection: close\r\n\r\n");
        answer = visitor.read(false).map_err(|error| format!("RFC {section}, {demand}: then {error}"))?;
        if answer.body != PAGE {
            wrong.push("another request".to_owned());
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(format!("RFC {section}, {demand}: {request:?}: {wrong:?}")) }
}

fn check_all(table: &str) {
    let site = site();
    let tag = site.get("/page").field("etag").unwrap().to_owned();
    let rows = table.trim().split('\n').map(|row| {
        let columns: Vec<_> = row.split(" :: ").collect();
        <Row>::try_from(columns).unwrap_or_else(|row| panic!("{row:?} are not four columns"))
    });
    let wrong: Vec<String> = rows.filter_map(|row| check(&site, &tag, row).err()).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn messages_are_read_as_demanded() {
    check_all(MESSAGES);
}

#[test]
fn bodies_and_connections_end_as_demanded() {
    check_all(BODIES);
}

#[test]
fn answers_say_what_is_demanded() {
    check_all(ANSWERS);
}

#[test]
fn conditions_and_ranges_hold_as_demanded() {
    check_all(CONDITIONS);
}

/// The checks of the tables can fail.
#[test]
fn a_wrong_row_is_seen() {
    let site = site();
    let tag = site.get("/page").field("etag").unwrap().to_owned();
    let request = "GET /page HTTP/1.1|Host: a";
    for wrong in
        ["404", "200; closes", "200; body x", "200; no etag", "200; allow: *", "200; etag: x", "200; connection: close"]
    {
        // A connection that should close and does not would be read for ever.
        if !wrong.contains("closes") {
            assert!(check(&site, &tag, ["", "", request, wrong]).is_err(), "{wrong}");
        }
    }
    let head = ["", "", "HEAD /page HTTP/1.1|Host: a", "200; body x"];
    assert!(check(&site, &tag, head).is_err());
    assert_eq!(check(&site, &tag, ["", "", request, "200; body 0123456789; etag: ETAG; stays"]), Ok(()));
}

/// RFC 9110, section 8.8.2.1, for a file whose time is in the future, and for each worker.
#[test]
fn no_file_is_younger_than_its_answer() {
    let site = site();
    let ahead = SystemTime::now() + Duration::from_secs(100_000);
    set_time(&site, "page", ahead);
    set_time(&site, "folder/index.html", SystemTime::UNIX_EPOCH - Duration::from_secs(86_400));
    let mut tags = Vec::new();
    // So many connections that both workers are reached, each with a cache of its own.
    let mut visitors: Vec<_> = (0..4).map(|_| site.visit()).collect();
    for _ in 0..3 {
        for visitor in &mut visitors {
            let answer = visitor.get("/page");
            assert_eq!(answer.field("last-modified"), answer.field("date"));
            tags.push(answer.field("etag").unwrap().to_owned());
            let old = visitor.get("/folder/");
            assert_eq!(old.field("last-modified"), Some("Wed, 31 Dec 1969 00:00:00 GMT"));
        }
    }
    tags.dedup();
    assert_eq!(tags.len(), 1, "the tag is that of the file");
    let served = site.server.stats().workers().iter().filter(|row| row.stats.services[1].accepted.get() > 0).count();
    assert_eq!(served, 2, "both workers have answered");
    let modified = visitors[0].get("/page").field("last-modified").unwrap().to_owned();
    assert_ne!(modified, MODIFIED);
}

/// A HEAD request that is cut off anywhere, and answered with 408, gets no page.
#[test]
fn who_is_not_known_to_want_a_page_gets_none() {
    let site = Site::with(&[("page", PAGE)], &["--http-timeout", "1", "--workers", "1"]);
    let begun = ["HEAD", "HEAD /page HTTP/1.1\r\nHost: a\r\n", "\r\nHEA", "\r\n", "G", "GET /page HTTP/1.1\r\n"];
    let mut visitors = begun.map(|begun| {
        let mut visitor = site.visit();
        visitor.send(begun.as_bytes());
        (begun, visitor)
    });
    for (begun, visitor) in &mut visitors {
        let no_page = !begun.starts_with('G');
        let answer = visitor.read(no_page).unwrap();
        assert_eq!(answer.status, 408, "{begun:?}");
        assert_eq!(answer.body.is_empty(), no_page, "{begun:?}");
        assert!(visitor.is_closed(), "{begun:?}");
    }
}

/// Neither does one for which there is no room, whether it was read before the response or not.
#[test]
fn a_head_without_a_place_has_no_page() {
    let large = vec![b'x'; 20_000_000];
    let site = Site::with(&[("page", PAGE), ("large", &large)], &["--http-connections", "2", "--workers", "1"]);
    let busy = [site.visit(), site.visit()].map(|mut visitor| {
        visitor.send(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(visitor.line().unwrap(), "HTTP/1.1 200 OK");
        visitor
    });
    let mut refused = site.visit();
    refused.send(b"HEAD /page HTTP/1.1\r\nHost: a\r\n\r\n");
    let answer = refused.read(true).unwrap();
    assert_eq!((answer.status, answer.field("retry-after")), (503, Some("1")));
    assert!(refused.is_closed());
    drop(busy);
}

/// If a head has several errors, the status does not depend on the pieces in which it arrives.
#[test]
fn a_head_with_two_faults_is_answered_the_same_however_it_is_cut() {
    let site = site();
    let long = "l".repeat(8_000);
    let fields = "X: y\r\n".repeat(80);
    for (head, status) in [
        (format!("GET /{long} HTTP/1.1\r\nHost : a\r\n\r\n"), 414),
        (format!("GET /{long} HTTP/1.1\nHost: a\r\n\r\n"), 414),
        (format!("GET /\0{long} HTTP/1.1\r\nHost: a\r\n\r\n"), 400),
        (format!("GET / HTTP/1.1\r\nHost : a\r\n{fields}\r\n"), 400),
        (format!("GET / HTTP/1.1\r\nHost: a\n{fields}\r\n"), 431),
        (format!("BREW /{long} HTTP/2.0\r\n\r\n"), 414),
    ] {
        let cuts = (1..head.len()).step_by(head.len() / 12).chain([head.len() - 3, head.len()]);
        for cut in cuts {
            let mut visitor = site.visit();
            for part in [&head[..cut], &head[cut..]] {
                // The response may have been sent, and the connection closed, already.
                match std::io::Write::write_all(&mut visitor.stream, part.as_bytes()) {
                    Err(error) if !matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => {
                        panic!("{error}")
                    }
                    _ => {}
                }
            }
            assert_eq!(visitor.read(false).unwrap().status, status, "cut at {cut}: {head:.40?}");
        }
    }
}
