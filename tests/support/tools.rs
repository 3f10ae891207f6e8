//! Programs that a test executes and that are not everywhere. A test without its tool fails, and says what to install: what does not
//! run must not look as if it had passed.

use std::process::{Command, Stdio};

/// A command that executes `program`, which Debian's `package` has.
///
/// # Panics
/// It is not installed.
#[must_use]
pub fn tool(program: &str, package: &str) -> Command {
    let found = Command::new("sh")
        .args(["-c", "command -v \"$0\"", program])
        .env("PATH", path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status();
    assert!(found.is_ok_and(|status| status.success()), "{program} is needed: apt-get install {package}");
    let mut command = Command::new(program);
    command.env("PATH", path());
    command
}

/// Where programs are, those for administrators too: not every user looks there.
fn path() -> String {
    format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default())
}
