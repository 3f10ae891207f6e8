//! Whatever ends or stops a program that has a terminal in its hands, the terminal is given back.

use crate::{server, terminal};

use std::os::unix::process::ExitStatusExt;
use std::path::Path;

use nix::sys::signal::Signal;
use server::Server;
use tempfile::TempDir;
use terminal::{FIRST_SCREEN, OTHER_SCREEN, OnTerminal};

const ENDING: [Signal; 6] =
    [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM, Signal::SIGUSR1, Signal::SIGALRM];
const CURSOR_SHOWN: &str = "\x1b[?25h";
const PASTE_OFF: &str = "\x1b[?2004l";

/// A program that has taken the terminal.
struct Taken {
    on: OnTerminal,
    /// What is shown when the terminal is given back.
    given_back: &'static str,
    /// What shows that it has been taken again.
    taken_again: &'static str,
}

fn top(server: &Server) -> Taken {
    let args = ["top", "--interval", "3600", "--instance", &server.instance];
    let mut on = OnTerminal::start(env!("CARGO_BIN_EXE_vaultctl"), &args);
    on.await_text(OTHER_SCREEN);
    // It has drawn, and waits for keys.
    on.await_text("interval;");
    Taken { on, given_back: FIRST_SCREEN, taken_again: OTHER_SCREEN }
}

fn shell(server: &Server) -> Taken {
    let args = ["shell", "--port", &server.address.port().to_string()];
    let mut on = OnTerminal::start(env!("CARGO_BIN_EXE_client"), &args);
    on.await_text("> ");
    Taken { on, given_back: PASTE_OFF, taken_again: "" }
}

fn password(users: &Path) -> Taken {
    let args = ["user", "add", "ada", "--role", "teller", "--users", users.to_str().unwrap()];
    let mut on = OnTerminal::start(env!("CARGO_BIN_EXE_vaultctl"), &args);
    on.await_text("Password for ada: ");
    Taken { on, given_back: "", taken_again: "" }
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// Each of the programs.
fn all(server: &Server, folder: &TempDir) -> [Taken; 3] {
    [top(server), shell(server), password(&folder.path().join("users"))]
}

#[test]
fn a_signal_that_ends_it_gives_the_terminal_back_first() {
    let (server, folder) = (Server::start(&["--workers", "1", "--accounts", "10"]), folder());
    for signal in ENDING {
        for mut taken in all(&server, &folder) {
            assert!(taken.on.is_raw(), "{:?}", taken.on.said);
            taken.on.signal(signal);
            let status = taken.on.end();
            assert_eq!(status.signal(), Some(signal as i32), "{status:?}: {:?}", taken.on.said);
            assert!(!taken.on.is_raw(), "{signal}: {:?}", taken.on.said);
            taken.on.await_text(taken.given_back);
            if taken.given_back == FIRST_SCREEN {
                taken.on.await_text(CURSOR_SHOWN);
            }
        }
    }
    assert!(!folder.path().join("users").exists(), "nobody was added");
}

#[test]
fn while_it_is_stopped_the_terminal_is_the_shells() {
    let (server, folder) = (Server::start(&["--workers", "1", "--accounts", "10"]), folder());
    for mut taken in all(&server, &folder) {
        taken.on.said.clear();
        taken.on.signal(Signal::SIGTSTP);
        taken.on.await_stop();
        assert!(!taken.on.is_raw(), "{:?}", taken.on.said);
        taken.on.await_text(taken.given_back);
        taken.on.said.clear();
        taken.on.signal(Signal::SIGCONT);
        taken.on.await_raw();
        taken.on.await_text(taken.taken_again);
        if taken.taken_again == OTHER_SCREEN {
            taken.on.await_text("interval;");
        }
        // And what a shell does to end a stopped job.
        taken.on.signal(Signal::SIGTSTP);
        taken.on.await_stop();
        taken.on.signal(Signal::SIGTERM);
        taken.on.signal(Signal::SIGCONT);
        assert_eq!(taken.on.end().signal(), Some(Signal::SIGTERM as i32));
        assert!(!taken.on.is_raw());
    }
}

#[test]
fn what_was_stopped_goes_on_as_if_nothing_had_been() {
    let (server, folder) = (Server::start(&["--workers", "1", "--accounts", "10"]), folder());
    let [mut top, mut shell, mut password] = all(&server, &folder);
    for taken in [&top, &shell, &password] {
        taken.on.signal(Signal::SIGTSTP);
        taken.on.await_stop();
        taken.on.signal(Signal::SIGCONT);
        taken.on.await_raw();
    }
    top.on.press("q");
    assert!(top.on.end().success());
    shell.on.press("balance 1\r");
    shell.on.await_text("account 1: 0.00");
    shell.on.press("quit\r");
    assert!(shell.on.end().success());
    password.on.press("secret\r");
    password.on.await_text("The same again: ");
    password.on.press("secret\r");
    password.on.await_text("added user ada");
    assert!(password.on.end().success() && !password.on.said.contains("secret"));
    assert!([&top, &shell, &password].iter().all(|taken| !taken.on.is_raw()));
}

#[test]
fn control_z_stops_the_live_view() {
    let server = Server::start(&["--workers", "1"]);
    let mut taken = top(&server);
    taken.on.said.clear();
    taken.on.press("\x1a");
    taken.on.await_text(FIRST_SCREEN);
    taken.on.await_stop();
    assert!(!taken.on.is_raw());
    taken.on.signal(Signal::SIGCONT);
    taken.on.await_text(OTHER_SCREEN);
    assert!(taken.on.press_until_end("q").success());
}

#[test]
fn the_live_view_ends_with_its_window() {
    let server = Server::start(&["--workers", "1"]);
    let mut taken = top(&server);
    // The test still has the terminal's inner side, so no signal comes: the end of the outer one is all there is to see.
    taken.on.go_away();
    let status = taken.on.end();
    // Whichever thread sees it first.
    assert!(status.signal() == Some(Signal::SIGHUP as i32) || status.code() == Some(2), "{status:?}");
}
