use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

#[test]
fn a_secret_is_one_line_of_enough_hex_digits() {
    let digits = "00fF".repeat(8);
    let bytes: Vec<u8> = [0x00, 0xFF].repeat(8);
    for end in ["", "\n", "\r\n"] {
        assert_eq!(Secret::parse(format!("{digits}{end}").as_bytes()), Ok(Secret(bytes.clone())), "{end:?}");
    }
    assert!(Secret::parse("a".repeat(MAX_SECRET_DIGITS).as_bytes()).is_ok());
    for (text, why) in [
        (String::new(), TextError::Length(0)),
        ("a".repeat(31), TextError::Length(31)),
        ("a".repeat(33), TextError::Length(33)),
        ("a".repeat(30), TextError::Length(30)),
        ("a".repeat(MAX_SECRET_DIGITS + 2), TextError::Length(MAX_SECRET_DIGITS + 2)),
        (format!("{digits}\n\n"), TextError::Lines),
        (format!("{digits}\n{digits}\n"), TextError::Lines),
        (format!(" {digits}"), TextError::Digit { column: 1 }),
        (format!("{digits} \n"), TextError::Digit { column: 33 }),
        (format!("{digits}é"), TextError::Digit { column: 33 }),
    ] {
        assert_eq!(Secret::parse(text.as_bytes()), Err(why), "{text:?}");
    }
}

#[test]
fn what_is_made_is_ours_alone_and_can_be_read() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("secret");
    make(&path).unwrap();
    let metadata = fs::metadata(&path).unwrap();
    assert_eq!((metadata.mode() & 0o7777, metadata.len()), (0o600, 65));
    let first = Secret::load(&path).unwrap();
    assert_eq!(first.bytes().len(), DRAWN_BYTES);
    assert_eq!(format!("{first:?}"), "Secret(…)", "it is never shown");
    assert!(matches!(make(&path), Err(SecretError::Exists { .. })));
    assert_eq!(Secret::load(&path).unwrap(), first, "it is still there");
    let other = home.path().join("other");
    make(&other).unwrap();
    assert_ne!(Secret::load(&other).unwrap(), first);
}

#[test]
fn the_ownership_table_over_all_inputs() {
    for is_file in [true, false] {
        for (owner, user) in [(1000, 1000), (1001, 1000), (ROOT, 1000), (ROOT, ROOT), (1000, ROOT)] {
            for mode in [0o600, 0o400, 0o700, 0o640, 0o604, 0o620, 0o602, 0o666, 0o1600] {
                let found = Found { is_file, owner, mode, user };
                let good = is_file && (owner == user || owner == ROOT) && [0o600, 0o400, 0o700, 0o1600].contains(&mode);
                assert_eq!(found.judge().is_ok(), good, "{found:?}");
            }
        }
    }
}

#[test]
fn a_file_that_others_can_get_at_is_refused_by_its_name() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("secret");
    let told = |path: &Path| Secret::load(path).unwrap_err().to_string();
    assert!(told(&path).ends_with("make one with `vaultctl cluster secret`") && told(&path).contains("No such file"));
    make(&path).unwrap();
    for mode in [0o640, 0o604, 0o666] {
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        let error = told(&path);
        assert!(error.contains(path.to_str().unwrap()) && error.contains(&format!("(mode {mode:04o})")), "{error}");
    }
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    let link = home.path().join("link");
    symlink(&path, &link).unwrap();
    assert!(told(&link).contains("it is a symbolic link"), "{}", told(&link));
    assert!(told(home.path()).contains("it is no regular file"), "{}", told(home.path()));
    let pipe = home.path().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(told(&pipe).contains("it is no regular file"), "{}", told(&pipe));
    fs::write(&path, "guess me\n").unwrap();
    assert!(told(&path).contains("no hex digit at column 1") && !told(&path).contains("guess"), "{}", told(&path));
}
