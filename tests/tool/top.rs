//! `vaultctl top` on a terminal: it shows, leaves when asked to, ends when the instance ends, and gives the terminal back.

use crate::{server, terminal};

use server::{Server, unused_name};
use terminal::{FIRST_SCREEN, OTHER_SCREEN, OnTerminal};

/// `vaultctl top` on a terminal.
fn top(instance: &str) -> OnTerminal {
    OnTerminal::start(env!("CARGO_BIN_EXE_vaultctl"), &["top", "--interval", "0.1", "--instance", instance])
}

#[test]
fn it_shows_until_somebody_has_seen_enough_and_gives_the_terminal_back() {
    let server = Server::start(&["--workers", "2"]);
    for key in ["q", "\x1b", "\x03"] {
        let mut shown = top(&server.instance);
        shown.await_text("running");
        assert!(shown.said.contains(OTHER_SCREEN) && shown.is_raw());
        for worker in &server.workers {
            shown.await_text(&worker.to_string());
        }
        shown.press(key);
        shown.await_text(FIRST_SCREEN);
        assert!(shown.end().success(), "{key:?}: {:?}", shown.said);
        assert!(!shown.is_raw());
    }
    drop(server.stop());
}

#[test]
fn it_ends_with_the_instance_and_says_so() {
    let server = Server::start(&["--workers", "1"]);
    let mut shown = top(&server.instance);
    shown.await_text("running");
    let instance = server.instance.clone();
    drop(server.stop());
    shown.await_text(&format!("instance `{instance}` has ended"));
    assert!(shown.end().success() && !shown.is_raw(), "{:?}", shown.said);
}

#[test]
fn without_an_instance_or_a_terminal_it_says_what_is_missing() {
    let instance = unused_name();
    let top = |words: &[&str]| {
        let mut command = assert_cmd::Command::cargo_bin("vaultctl").unwrap();
        let output = command.args(["top", "--instance"]).args(words).output().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    for words in [&[&*instance][..], &[&*instance, "--once"], &[&*instance, "--once", "--json"]] {
        let (code, said) = top(words);
        assert!(code == 2 && said.contains("runs here"), "{said}");
    }
    for words in [&[&*instance, "--interval", "0"][..], &[&*instance, "--json"], &[&*instance, "--interval", "x"]] {
        assert_eq!(top(words).0, 2);
    }
    let server = Server::start(&["--workers", "1"]);
    let (code, said) = top(&[&server.instance]);
    assert!(code == 2 && said.contains("--once"), "{said}");
    drop(server.stop());
}
