//! The new program, while it runs beside this one and is asked whether it fits.

use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::hand_over::{ASK, Introduction, RETURNED, VARIABLE};
use crate::base::limits::UPGRADE_ANSWER_BYTES;
use crate::ipc::process;

/// Characters of a new program's complaint that are passed on.
const MESSAGE_CHARACTERS: usize = 1000;

/// A program that runs beside this one, and was asked whether it could go on in its place. Dropped, it is killed.
pub struct NewProgram {
    path: PathBuf,
    identity: Identity,
    process: Child,
}

/// Which file a path leads to, and in which version: device, inode, size, time of the last change.
type Identity = (u64, u64, u64, i64, i64);

fn identity(path: &Path) -> io::Result<Identity> {
    let file = std::fs::metadata(path)?;
    Ok((file.dev(), file.ino(), file.size(), file.mtime(), file.mtime_nsec()))
}

impl NewProgram {
    /// Starts it and asks; its answer comes when it ends.
    pub(super) fn ask(path: &Path, question: OwnedFd) -> io::Result<NewProgram> {
        let mut words = std::env::args_os();
        let mut command = Command::new(path);
        if let Some(own_name) = words.next() {
            command.arg0(own_name);
        }
        command.args(words).arg(ASK).env_remove(VARIABLE).env_remove(RETURNED);
        command.stdin(Stdio::from(question)).stdout(Stdio::piped()).stderr(Stdio::piped());
        // A group of its own, so that what it may have started is killed with it.
        command.process_group(0);
        process::die_with_parent(&mut command);
        Ok(NewProgram { identity: identity(path)?, process: command.spawn()?, path: path.to_owned() })
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> i32 {
        i32::try_from(self.process.id()).unwrap_or(0)
    }

    /// What it says of itself, once it has ended; `None` before.
    pub(super) fn answer(&mut self, layout: &str) -> Option<Result<Introduction, String>> {
        let status = self.process.try_wait().ok()??;
        let path = self.path.display();
        let said = self.process.stdout.take().map(read_what_is_there).unwrap_or_default();
        let complained = self.process.stderr.take().map(read_what_is_there).unwrap_or_default();
        if !status.success() {
            return Some(Err(format!("{path} cannot go on here ({status}): {}", beginning(&complained))));
        }
        Some(match serde_json::from_str::<Introduction>(&said) {
            Ok(introduction) if introduction.layout == layout => Ok(introduction),
            Ok(Introduction { layout: other, .. }) => {
                Err(format!("{path} has `{other}`, this server has `{layout}`: restart it instead"))
            }
            Err(_) => Err(format!("{path} does not say what it is, but `{}`", beginning(&said))),
        })
    }

    /// Where it is, where that leads to, and its version.
    pub(super) fn describe(&self, version: &str) -> String {
        let path = self.path.display();
        match self.path.canonicalize() {
            Ok(real) if real != self.path => format!("{path} (now {}), version {version}", real.display()),
            _ => format!("{path}, version {version}"),
        }
    }

    /// Whether the path still leads to the same file.
    pub(super) fn is_unchanged(&self) -> bool {
        identity(&self.path).is_ok_and(|now| now == self.identity)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for NewProgram {
    fn drop(&mut self) {
        // Its pid is not reused before it is reaped, by `answer` or by the master.
        if let Ok(None) = self.process.try_wait() {
            let _ = killpg(Pid::from_raw(self.pid()), Signal::SIGKILL);
        }
    }
}

/// As much of what a program has said as a message can take.
fn beginning(text: &str) -> &str {
    let text = text.trim();
    text.char_indices().nth(MESSAGE_CHARACTERS).map_or(text, |(end, _)| &text[..end])
}

/// Reads what lies in a pipe, without waiting for more: somebody else may have the other end open.
fn read_what_is_there(pipe: impl Read + AsFd) -> String {
    let mut bytes = Vec::new();
    if fcntl(pipe.as_fd(), FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).is_ok() {
        // It ends with WouldBlock, or with the end.
        let _ = pipe.take(UPGRADE_ANSWER_BYTES as u64).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
