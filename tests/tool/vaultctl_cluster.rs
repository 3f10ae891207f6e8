//! `vaultctl cluster secret` as its users meet it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;

fn secret(file: Option<&Path>) -> (i32, String, String) {
    let mut command = assert_cmd::Command::cargo_bin("vaultctl").unwrap();
    let Output { status, stdout, stderr } = command.args(["cluster", "secret"]).args(file).output().unwrap();
    (status.code().unwrap(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

#[test]
fn a_secret_is_made_once_and_is_ours_alone() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("secret");
    let made = format!("made {}; give every member of the cluster the same\n", file.display());
    assert_eq!(secret(Some(&file)), (0, made, String::new()));
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o7777, 0o600);
    let line = fs::read_to_string(&file).unwrap();
    assert!(line.len() == 65 && line.trim_end().bytes().all(|byte| byte.is_ascii_hexdigit()), "{line}");
    let (code, out, err) = secret(Some(&file));
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.contains("there is already something at") && err.contains(file.to_str().unwrap()), "{err}");
    assert_eq!(fs::read_to_string(&file).unwrap(), line);
    let (code, _, err) = secret(Some(&home.path().join("nowhere/secret")));
    assert!(code == 2 && err.contains("cannot write a new secret to"), "{err}");
}

#[test]
fn without_a_file_a_new_one_is_shown_each_time() {
    let (first, second) = (secret(None), secret(None));
    assert_eq!((first.0, first.1.len(), first.2.as_str()), (0, 65, ""));
    assert_ne!(first.1, second.1);
}
