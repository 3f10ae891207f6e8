//! Asking for a new password: unseen on a terminal, or from a pipe.

use std::io::{self, Read, Stdin, Write};
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};

use crate::base::limits::MAX_CREDENTIAL_BYTES;
use crate::tool::signals;

/// What a terminal sends for the keys that end or correct a line.
const CONTROL_C: u8 = 0x03;
const CONTROL_D: u8 = 0x04;
const CONTROL_U: u8 = 0x15;
const BACKSPACE: [u8; 2] = [0x08, 0x7f];

/// Why there is no password.
#[derive(Debug, thiserror::Error)]
pub(super) enum PasswordError {
    /// Turning the terminal's echo off or on again.
    #[error("cannot set the terminal so that it does not show the password: {0}; use --password-stdin")]
    Terminal(nix::Error),
    /// Reading or prompting.
    #[error("cannot read the password: {0}")]
    Read(#[from] io::Error),
    #[error("the input ended before a whole password was given; nothing was changed")]
    Ended,
    #[error("interrupted; nothing was changed")]
    Interrupted,
    #[error("the two passwords differ; nothing was changed, try again")]
    Differ,
}

/// Reads a password to the end of `input`, less one line end.
pub(super) fn read_all(input: impl Read) -> Result<Vec<u8>, PasswordError> {
    let mut password = Vec::new();
    // Room for the longest password and its line end, and one byte more to see that there is too much.
    let most = u64::try_from(MAX_CREDENTIAL_BYTES + 3).unwrap_or(u64::MAX);
    input.take(most).read_to_end(&mut password)?;
    if password.last() == Some(&b'\n') {
        password.pop();
        if password.last() == Some(&b'\r') {
            password.pop();
        }
    }
    Ok(password)
}

/// Asks on the terminal behind `input`, twice, showing nothing of what is typed.
pub(super) fn ask_twice(input: &Stdin, name: &str) -> Result<Vec<u8>, PasswordError> {
    let _unseen = Unseen::begin(input.as_fd())?;
    let mut keys = input.lock().bytes();
    let first = ask(&mut keys, &format!("Password for {name}: "))?;
    let second = ask(&mut keys, "The same again: ")?;
    if first == second { Ok(first) } else { Err(PasswordError::Differ) }
}

fn ask(keys: impl Iterator<Item = io::Result<u8>>, prompt: &str) -> Result<Vec<u8>, PasswordError> {
    // On the standard error, so that a redirected output holds no prompts.
    let mut terminal = io::stderr();
    terminal.write_all(prompt.as_bytes())?;
    let line = read_line(keys);
    // The line end that was typed has not been shown either.
    terminal.write_all(b"\n")?;
    line
}

/// The line that these keys make; the terminal does not edit it, as its line mode is off.
fn read_line(keys: impl Iterator<Item = io::Result<u8>>) -> Result<Vec<u8>, PasswordError> {
    let mut line = Vec::new();
    for key in keys {
        match key? {
            b'\n' | b'\r' => return Ok(line),
            CONTROL_C => return Err(PasswordError::Interrupted),
            CONTROL_D if line.is_empty() => return Err(PasswordError::Ended),
            CONTROL_U => line.clear(),
            key if BACKSPACE.contains(&key) => remove_character(&mut line),
            key => line.push(key),
        }
    }
    Err(PasswordError::Ended)
}

/// Takes off the last UTF-8 character, which is what the person at the keyboard means.
fn remove_character(line: &mut Vec<u8>) {
    let is_continuation = |byte: u8| byte & 0xc0 == 0x80;
    while line.pop().is_some_and(is_continuation) {}
}

/// While it lives, the terminal shows nothing, and gives keys one by one.
///
/// Signals by key are off as well: a Control-C is a key like others here. Whatever signal ends or stops this process otherwise, the
/// terminal is set back before.
struct Unseen<'a> {
    terminal: BorrowedFd<'a>,
    before: Termios,
}

impl<'a> Unseen<'a> {
    fn begin(terminal: BorrowedFd<'a>) -> Result<Unseen<'a>, PasswordError> {
        let before = tcgetattr(terminal).map_err(PasswordError::Terminal)?;
        let mut unseen = before.clone();
        unseen.local_flags.remove(LocalFlags::ECHO | LocalFlags::ICANON | LocalFlags::ISIG | LocalFlags::IEXTEN);
        let (shown, hidden) = (before.clone(), unseen.clone());
        signals::guard_terminal(None, move |act| {
            // A terminal that has gone away cannot be set, and need not be.
            let _ = tcsetattr(io::stdin(), SetArg::TCSANOW, &shown);
            act();
            let _ = tcsetattr(io::stdin(), SetArg::TCSANOW, &hidden);
        })?;
        // Flushing drops what was typed, and shown, before the prompt.
        tcsetattr(terminal, SetArg::TCSAFLUSH, &unseen).map_err(PasswordError::Terminal)?;
        Ok(Unseen { terminal, before })
    }
}

impl Drop for Unseen<'_> {
    fn drop(&mut self) {
        // A terminal that has gone away cannot be set back, and need not be.
        let _ = tcsetattr(self.terminal, SetArg::TCSADRAIN, &self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(keys: &[u8]) -> Result<Vec<u8>, PasswordError> {
        read_line(keys.iter().map(|key| Ok(*key)))
    }

    #[test]
    fn a_line_ends_at_return_and_can_be_corrected() {
        assert_eq!(typed(b"secret\nrest").unwrap(), b"secret");
        assert_eq!(typed(b"secret\r").unwrap(), b"secret");
        assert_eq!(typed(b"\x7fsex\x7fcreet\x08\x08t\n").unwrap(), b"secret");
        assert_eq!(typed("zü\u{7f}u\n".as_bytes()).unwrap(), b"zu");
        assert_eq!(typed(b"wrong\x15right\n").unwrap(), b"right");
    }

    #[test]
    fn a_line_can_be_given_up() {
        assert!(matches!(typed(b"sec\x03ret\n"), Err(PasswordError::Interrupted)));
        assert!(matches!(typed(b"\x04"), Err(PasswordError::Ended)));
        assert!(matches!(typed(b"secret"), Err(PasswordError::Ended)));
    }

    #[test]
    fn a_pipe_loses_one_line_end() {
        for (input, password) in
            [("secret\n", "secret"), ("secret\r\n", "secret"), ("secret", "secret"), ("a\n\n", "a\n")]
        {
            assert_eq!(read_all(input.as_bytes()).unwrap(), password.as_bytes());
        }
        assert!(read_all(io::repeat(b'x')).unwrap().len() > MAX_CREDENTIAL_BYTES, "too long is seen as too long");
    }
}
