//! `vaultctl user` as its users meet it: exit codes, messages, the file, the terminal.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use nix::pty::openpty;

fn vaultctl(words: &[&str]) -> assert_cmd::Command {
    let mut command = assert_cmd::Command::cargo_bin("vaultctl").unwrap();
    command.args(words);
    command
}

/// Runs `vaultctl user WORDS --users FILE` with a password on its standard input.
fn user(file: &Path, words: &[&str], input: &str) -> Output {
    let all = [&["user"], words, &["--users", file.to_str().unwrap()]].concat();
    vaultctl(&all).write_stdin(input).output().unwrap()
}

/// Exit code, standard output, standard error.
fn told(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

fn in_new_directory() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("vault-data/users");
    (directory, file)
}

#[test]
fn users_are_added_listed_and_removed() {
    let (_directory, file) = in_new_directory();
    let (code, out, err) = told(&user(&file, &["add", "ada", "--role", "teller"], "lovelace\n"));
    assert_eq!((code, err.as_str()), (0, ""));
    assert_eq!(out, format!("added user ada as teller to {}\n", file.display()));
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let added = user(&file, &["add", "charles", "--role", "customer:10-19", "--password-stdin"], "engine");
    assert_eq!(told(&added).0, 0);

    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains("ada:$argon2id$") && !text.contains("lovelace"), "{text}");
    let listed = told(&user(&file, &["list"], ""));
    assert_eq!(listed, (0, "ada      teller\ncharles  customer:10-19\n".to_owned(), String::new()));

    assert_eq!(told(&user(&file, &["remove", "ada"], "")).0, 0);
    assert_eq!(told(&user(&file, &["list"], "")).1, "charles  customer:10-19\n");
}

#[test]
fn what_is_added_can_log_in() {
    let (_directory, file) = in_new_directory();
    user(&file, &["add", "ada", "--role", "auditor"], "love lace\n");
    let users = bank_vault::store::users::Users::load(&file).unwrap();
    assert_eq!(users.verify(b"ada", b"love lace").unwrap().role, bank_vault::store::users::Role::Auditor);
}

#[test]
fn the_state_of_the_file_refuses_with_1() {
    let (_directory, file) = in_new_directory();
    user(&file, &["add", "ada", "--role", "teller"], "x");
    for words in [&["add", "ada", "--role", "auditor"][..], &["remove", "bob"]] {
        let (code, out, err) = told(&user(&file, words, "x"));
        assert_eq!((code, out.as_str()), (1, ""), "{err}");
        assert!(err.starts_with("vaultctl: ") && err.contains(words[1]) && err.contains("vault-data/users"), "{err}");
    }
}

#[test]
fn bad_input_and_missing_things_end_with_2() {
    let (_directory, file) = in_new_directory();
    // Words, input, and what the message must name.
    let cases: [(&[&str], &str, &str); 6] = [
        (&["list"], "", "cannot read the users file"),
        (&["remove", "ada"], "", "cannot read the users file"),
        (&["add", "a:b", "--role", "teller"], "x", "`a:b` is not a user name"),
        (&["add", "ada", "--role", "teller"], "\n", "1 to 255 bytes"),
        (&["add", "ada", "--role", "customer:9-1"], "x", "customer:LO-HI"),
        (&["add", "ada"], "x", "--role"),
    ];
    for (words, input, named) in cases {
        let (code, out, err) = told(&user(&file, words, input));
        assert_eq!((code, out.as_str()), (2, ""), "{words:?}: {err}");
        assert!(err.contains(named), "{words:?}: {err}");
    }
    assert!(!file.exists());
    assert_eq!(vaultctl(&[]).output().unwrap().status.code(), Some(2));
}

#[test]
fn a_file_that_others_may_read_is_warned_about() {
    let (_directory, file) = in_new_directory();
    user(&file, &["add", "ada", "--role", "teller"], "x");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let (code, out, err) = told(&user(&file, &["list"], ""));
    assert_eq!((code, out.as_str()), (0, "ada  teller\n"));
    assert!(err.contains("can be read by others") && err.contains("0644"), "{err}");
}

#[test]
fn two_processes_that_add_at_once_both_land() {
    let (_directory, file) = in_new_directory();
    let names = ["ada", "bob", "cleo", "dora"];
    let add = |name| {
        let words = ["user", "add", name, "--role", "teller", "--users", file.to_str().unwrap()];
        let mut command = Command::new(env!("CARGO_BIN_EXE_vaultctl"));
        command.args(words).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap()
    };
    let mut children = names.map(add);
    // Their passwords are given when all have started, so that they come to the file together.
    for child in &mut children {
        child.stdin.take().unwrap().write_all(b"secret\n").unwrap();
    }
    for child in &mut children {
        assert!(child.wait().unwrap().success());
    }
    let listed = told(&user(&file, &["list"], "")).1;
    for name in names {
        assert!(listed.contains(name), "{name} was lost: {listed}");
    }
}

/// Reads what the terminal shows until it shows `text`.
fn wait_for(screen: &mut File, text: &str) -> String {
    let mut shown = String::new();
    while !shown.contains(text) {
        let mut bytes = [0; 256];
        let count = screen.read(&mut bytes).unwrap();
        shown.push_str(&String::from_utf8_lossy(&bytes[..count]));
    }
    shown
}

/// Runs `user add` on a new terminal and types the answers; gives exit code and screen.
fn add_on_a_terminal(file: &Path, answers: [&str; 2]) -> (i32, String) {
    let terminal = openpty(None, None).unwrap();
    let words = ["user", "add", "ada", "--role", "teller", "--users", file.to_str().unwrap()];
    let mut child = {
        let end = || Stdio::from(terminal.slave.try_clone().unwrap());
        Command::new(env!("CARGO_BIN_EXE_vaultctl"))
            .args(words)
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .spawn()
            .unwrap()
    };
    // Only the child's copies may be left, or the screen would never end.
    drop(terminal.slave);
    let mut screen = File::from(terminal.master);
    let mut shown = String::new();
    for (prompt, answer) in ["Password for ada: ", "The same again: "].into_iter().zip(answers) {
        shown += &wait_for(&mut screen, prompt);
        screen.write_all(answer.as_bytes()).unwrap();
    }
    // A terminal whose other side has closed ends with EIO.
    let mut rest = Vec::new();
    let ended = screen.read_to_end(&mut rest).unwrap_err();
    assert_eq!(ended.raw_os_error(), io::Error::from(nix::Error::EIO).raw_os_error());
    shown += &String::from_utf8(rest).unwrap();
    (child.wait().unwrap().code().unwrap(), shown)
}

#[test]
fn on_a_terminal_the_password_is_asked_twice_and_never_shown() {
    let (_directory, file) = in_new_directory();
    let (code, shown) = add_on_a_terminal(&file, ["secret\r", "secreT\r"]);
    assert_eq!(code, 2, "{shown}");
    assert!(shown.contains("differ") && !shown.contains("secre"), "{shown}");
    assert!(!file.exists());

    let (code, shown) = add_on_a_terminal(&file, ["secret\r", "sex\u{7f}cret\r"]);
    assert_eq!(code, 0, "{shown}");
    assert!(shown.contains("added user ada") && !shown.contains("secre"), "{shown}");
    let users = bank_vault::store::users::Users::load(&file).unwrap();
    assert!(users.verify(b"ada", b"secret").is_some());
}
