//! Asking the new program whether it fits, and being asked.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::resume::Purpose;
use super::{ASK, HandOver, Introduction, RETURNED, VARIABLE, layout};
use crate::base::config::{ConfigError, Settings};
use crate::base::limits::UPGRADE_ANSWER_BYTES;
use crate::ipc::{inherit, process};
use crate::process::master::driver::Driver;
use crate::process::master::supervisor::Event;
use crate::process::master::{MasterError, upgrade};
use crate::service::entry::Entry;

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
    fn ask(path: &Path, question: OwnedFd) -> io::Result<NewProgram> {
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
    fn answer(&mut self, layout: &str) -> Option<Result<Introduction, String>> {
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
    fn describe(&self, version: &str) -> String {
        let path = self.path.display();
        match self.path.canonicalize() {
            Ok(real) if real != self.path => format!("{path} (now {}), version {version}", real.display()),
            _ => format!("{path}, version {version}"),
        }
    }

    /// Whether the path still leads to the file that was asked.
    pub(super) fn is_unchanged(&self) -> bool {
        identity(&self.path).is_ok_and(|now| now == self.identity)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for NewProgram {
    fn drop(&mut self) {
        // Its pid is no stranger's until it is collected, which `answer` does, or the master with whatever else has ended.
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

impl Driver {
    /// Asks the program that stands there now; what is to be reported at once, if it cannot even be asked.
    pub(in crate::process::master) fn check_new_program(&mut self) -> Option<Event> {
        let path = self.common.program.clone();
        let asked = self.hand_over().and_then(|(hand_over, _)| {
            let question = serde_json::to_vec(&hand_over).map_err(io::Error::from)?;
            let mut file = File::from(inherit::message(&question)?);
            io::Seek::rewind(&mut file)?;
            NewProgram::ask(&path, file.into())
        });
        match asked {
            Ok(program) => {
                log::info!("upgrade: asking {} whether it can go on here", path.display());
                self.new_program = Some(program);
                None
            }
            Err(error) => Some(Event::Checked(Err(format!("{} cannot be asked: {error}", path.display())))),
        }
    }

    /// The new program may have answered.
    pub(in crate::process::master) fn hear_new_program(&mut self, now: u64) {
        let Some(program) = &mut self.new_program else { return };
        let Some(answer) = program.answer(&layout(self.common.services)) else { return };
        let result = answer.map(|Introduction { version, stay, .. }| {
            let what = program.describe(&version);
            if stay.is_empty() { what } else { format!("{what}; these stay as they are: {}", stay.join(", ")) }
        });
        self.supervisor.handle(now, Event::Checked(result));
    }
}

/// The other side: reads on standard input what would be handed over, makes every check that is made after `execve(2)`, and
/// says on standard output what this program is.
///
/// # Errors
/// Why this program could not go on.
pub fn check(
    services: &'static [Entry],
    read_settings: &dyn Fn() -> Result<Settings, ConfigError>,
) -> Result<(), MasterError> {
    let layout = layout(services);
    let mut question = Vec::new();
    let read = io::stdin().lock().read_to_end(&mut question);
    read.map_err(|source| MasterError::Io { step: "read what would be handed over", source })?;
    let stay = match serde_json::from_slice::<HandOver>(&question) {
        Ok(left) if left.layout == layout => {
            upgrade::resume::prepare(&left, services, read_settings, Purpose::Check)?.stay
        }
        // Whoever has asked sees by the layout that this cannot be.
        _ => Vec::new(),
    };
    let version = env!("CARGO_PKG_VERSION").to_owned();
    let introduction = Introduction { layout, version, stay: stay.into_iter().map(str::to_owned).collect() };
    let text = serde_json::to_string(&introduction).map_err(io::Error::from);
    let said = text.and_then(|text| writeln!(io::stdout(), "{text}"));
    said.map_err(|source| MasterError::Io { step: "answer", source })
}
