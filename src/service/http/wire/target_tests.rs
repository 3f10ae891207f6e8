use proptest::prelude::*;

use super::*;

use Status::{BadRequest, NotFound};

/// Targets that try to reach something else, and what comes of them: refused, or a path that is only a strange name.
const ATTEMPTS: &[(&str, Result<&str, Status>)] = &[
    // Plain.
    ("/..", Err(NotFound)),
    ("/../", Err(NotFound)),
    ("/../etc/passwd", Err(NotFound)),
    ("/../../../../../../etc/passwd", Err(NotFound)),
    ("/a/..", Err(NotFound)),
    ("/a/../b", Err(NotFound)),
    ("/a/../../b", Err(NotFound)),
    ("/.", Err(NotFound)),
    ("/./a", Err(NotFound)),
    ("/a/./b", Err(NotFound)),
    ("/a/.", Err(NotFound)),
    ("/../?a", Err(NotFound)),
    ("/a/..?b", Err(NotFound)),
    // Absolute, and with empty segments.
    ("//", Err(NotFound)),
    ("//etc/passwd", Err(NotFound)),
    ("///etc/passwd", Err(NotFound)),
    ("/a//b", Err(NotFound)),
    ("/a//", Err(NotFound)),
    ("//evil.example/..", Err(NotFound)),
    ("//evil.example/%2e%2e", Err(NotFound)),
    ("etc/passwd", Err(BadRequest)),
    ("", Err(BadRequest)),
    ("*", Err(BadRequest)),
    ("?/", Err(BadRequest)),
    ("..", Err(BadRequest)),
    // Encoded once.
    ("/%2e%2e", Err(NotFound)),
    ("/%2E%2e/etc/passwd", Err(NotFound)),
    ("/.%2e/etc/passwd", Err(NotFound)),
    ("/%2e./etc/passwd", Err(NotFound)),
    ("/%2e", Err(NotFound)),
    ("/a/%2e/b", Err(NotFound)),
    ("/%2e%2e%2fetc%2fpasswd", Err(NotFound)),
    ("/..%2fetc/passwd", Err(NotFound)),
    ("/%2fetc/passwd", Err(NotFound)),
    ("/a%2Fb", Err(NotFound)),
    ("/%2f", Err(NotFound)),
    ("/a/..%3f", Ok("a/..?")),
    // Encoded twice: decoded once.
    ("/%252e%252e", Ok("%2e%2e")),
    ("/%252e%252e%252fetc%252fpasswd", Ok("%2e%2e%2fetc%2fpasswd")),
    ("/%25%32%65%25%32%65", Ok("%2e%2e")),
    ("/%%32%65", Err(BadRequest)),
    ("/..%252f", Ok("..%2f")),
    // Backslashes and Windows.
    ("/..\\", Err(NotFound)),
    ("/..\\..\\etc", Err(NotFound)),
    ("/a\\b", Err(NotFound)),
    ("/%5c..%5c", Err(NotFound)),
    ("/..%5Cetc", Err(NotFound)),
    ("/\\evil.example", Err(NotFound)),
    ("/%5cevil.example", Err(NotFound)),
    ("/C:\\boot.ini", Err(NotFound)),
    ("/C:/boot.ini", Ok("C:/boot.ini")),
    ("/C:..", Ok("C:..")),
    // NUL and control characters.
    ("/%00", Err(BadRequest)),
    ("/a%00.html", Err(BadRequest)),
    ("/..%00/", Err(BadRequest)),
    ("/\0", Err(BadRequest)),
    ("/a%0d%0aSet-Cookie:%20b", Err(BadRequest)),
    ("/a%0A", Err(BadRequest)),
    ("/a%1b[2J", Err(BadRequest)),
    ("/a%7f", Err(BadRequest)),
    ("/a%09b", Err(BadRequest)),
    // Escapes that are none.
    ("/%", Err(BadRequest)),
    ("/%2", Err(BadRequest)),
    ("/a%2", Err(BadRequest)),
    ("/%zz", Err(BadRequest)),
    ("/%u002e%u002e", Err(BadRequest)),
    ("/%2 e", Err(BadRequest)),
    ("/%+2e", Err(BadRequest)),
    ("/%-1", Err(BadRequest)),
    ("/a%/b", Err(BadRequest)),
    ("/%2%65", Err(BadRequest)),
    // Fragments.
    ("/a#b", Err(BadRequest)),
    ("/a?b#c", Err(BadRequest)),
    ("/#/../", Err(BadRequest)),
    // Dots that are none, and names that begin or end with dots.
    ("/...", Ok("...")),
    ("/..a", Ok("..a")),
    ("/a..", Ok("a..")),
    ("/.. /a", Ok(".. /a")),
    ("/%20../a", Ok(" ../a")),
    ("/..;/a", Ok("..;/a")),
    ("/\u{ff0e}\u{ff0e}/a", Ok("\u{ff0e}\u{ff0e}/a")),
    ("/\u{2025}/a", Ok("\u{2025}/a")),
    ("/%e2%80%a5/a", Ok("\u{2025}/a")),
    ("/\u{2024}\u{2024}/a", Ok("\u{2024}\u{2024}/a")),
    ("/%ef%bc%8e%ef%bc%8e%ef%bc%8fetc", Ok("\u{ff0e}\u{ff0e}\u{ff0f}etc")),
];

fn assert_harmless(parsed: &TargetPath) {
    let path = parsed.path();
    assert!(!path.starts_with(b"/") && !path.ends_with(b"/"), "{parsed:?}");
    assert!(!path.contains(&0) && !path.contains(&b'\\') && !path.iter().any(u8::is_ascii_control), "{parsed:?}");
    let segments: Vec<_> = path.split(|byte| *byte == b'/').collect();
    assert!(path.is_empty() || segments.iter().all(|segment| !matches!(*segment, b"" | b"." | b"..")), "{parsed:?}");
    // What a redirection sends the client to is this very directory, and no other server's.
    let address = parsed.directory_location();
    assert!(address.starts_with('/') && !address.starts_with("//"), "{address}");
    let (before, query) = address.split_once('?').map_or((&*address, None), |(before, query)| (before, Some(query)));
    assert!(before.ends_with('/') && address.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\'), "{address}");
    assert_eq!(query.is_some(), !parsed.query.is_empty());
    let again = TargetPath::parse(address.as_bytes()).expect("an address of our own");
    assert_eq!((again.path(), again.is_directory()), (path, true));
    assert_eq!(again.directory_location(), address);
}

#[test]
fn every_attempt_stays_below_the_root() {
    for (target, wanted) in ATTEMPTS {
        let parsed = TargetPath::parse(target.as_bytes());
        if let Ok(parsed) = &parsed {
            assert_harmless(parsed);
        }
        assert_eq!(
            parsed.as_ref().map(TargetPath::path).map_err(|error| *error),
            wanted.map(str::as_bytes),
            "{target}"
        );
    }
}

#[test]
fn overlong_forms_are_bytes_and_no_dots() {
    for (target, path) in [
        (b"/%c0%ae%c0%ae/a" as &[u8], b"\xc0\xae\xc0\xae/a" as &[u8]),
        (b"/%c0%af", b"\xc0\xaf"),
        (b"/%e0%80%ae%e0%80%ae", b"\xe0\x80\xae\xe0\x80\xae"),
        (b"/%f0%80%80%ae", b"\xf0\x80\x80\xae"),
        (b"/\xc0\xae\xc0\xae/a", b"\xc0\xae\xc0\xae/a"),
        (b"/%ff%FE", b"\xff\xfe"),
    ] {
        let parsed = TargetPath::parse(target).unwrap();
        assert_harmless(&parsed);
        assert_eq!(parsed.path(), path);
    }
}

#[test]
fn ordinary_targets_are_ordinary_paths() {
    for (target, path, directory) in [
        ("/", "", true),
        ("/?q", "", true),
        ("/a", "a", false),
        ("/a/", "a", true),
        ("/a/b.html?c=d/../e", "a/b.html", false),
        ("/a/?b", "a", true),
        ("/a?", "a", false),
        ("/a%20b/%C3%A4.txt", "a b/\u{e4}.txt", false),
        ("/a+b", "a+b", false),
        ("/100%25", "100%", false),
        ("/.well-known/x", ".well-known/x", false),
        ("/a:b@c", "a:b@c", false),
    ] {
        let parsed = TargetPath::parse(target.as_bytes()).unwrap();
        assert_eq!((parsed.path(), parsed.is_directory()), (path.as_bytes(), directory), "{target}");
        assert_eq!(matches!(parsed.path, Cow::Borrowed(_)), !target.contains('%'), "{target}");
        assert_harmless(&parsed);
    }
}

#[test]
fn a_directory_is_sent_to_its_own_address() {
    for (target, address) in [
        ("/", "/"),
        ("/a", "/a/"),
        ("/a/b?c", "/a/b/?c"),
        ("/a?", "/a/?"),
        ("/?a=b&c=%20d", "/?a=b&c=%20d"),
        ("/a?b/../c?d%2F%%", "/a/?b/../c?d%2F%%"),
        ("/a?\u{e4}<>\"^`{|}\\", "/a/?%C3%A4%3C%3E%22%5E%60%7B%7C%7D%5C"),
        ("/a%20b%3fc", "/a%20b%3Fc/"),
        ("/%25", "/%25/"),
        ("/\u{e4}", "/%C3%A4/"),
        ("/evil.example", "/evil.example/"),
        ("/http:%20", "/http:%20/"),
        ("/%40:a", "/@:a/"),
    ] {
        assert_eq!(TargetPath::parse(target.as_bytes()).unwrap().directory_location(), address, "{target}");
    }
}

proptest! {
    #[test]
    fn no_target_leaves_the_root(target in prop_oneof![
        "/?([.]|/|%2e|%2F|%25|%5c|%00|\\\\|a|%c0%ae|[?#]|\u{e4}){0,12}",
        "/[ -~]{0,20}",
    ]) {
        if let Ok(parsed) = TargetPath::parse(target.as_bytes()) {
            assert_harmless(&parsed);
        }
    }

    #[test]
    fn no_bytes_are_a_panic(mut target: Vec<u8>) {
        target.insert(0, b'/');
        if let Ok(parsed) = TargetPath::parse(&target) {
            assert_harmless(&parsed);
        }
    }

    #[test]
    fn every_name_can_be_asked_for(name in proptest::collection::vec(any::<u8>(), 1..20)) {
        let escaped: String = name.iter().map(|byte| format!("%{byte:02x}")).collect();
        let possible = !name.iter().any(|byte| byte.is_ascii_control() || matches!(byte, b'/' | b'\\'))
            && name != b"." && name != b"..";
        let target = format!("/{escaped}");
        let parsed = TargetPath::parse(target.as_bytes());
        prop_assert_eq!(parsed.as_ref().ok().map(TargetPath::path), possible.then_some(name.as_slice()));
    }
}
