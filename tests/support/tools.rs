//! Programs that a test executes and that are not everywhere, and what only root can do. A test that wants such a thing says so,
//! `#[ignore = "needs strace"]`: then `cargo test` names it as not run, and whoever runs it nevertheless, as CI does, sees it fail for
//! want of its tool, and which package has it. What does not run must not look as if it had passed.

#![allow(dead_code, reason = "each test program that includes this file uses another part of it")]

use std::process::{Command, Stdio};

/// Every Debian has it.
const ESSENTIAL: &str = "util-linux";

/// Insists that a test which wants more than a compiler says so: then it runs only on demand.
///
/// # Panics
/// It was run without.
pub fn must_be_on_demand() {
    let asked = std::env::args().any(|argument| argument == "--ignored" || argument == "--include-ignored");
    assert!(asked, "this test wants what is not everywhere: it must say #[ignore = \"needs …\"]");
}

/// A command that executes `program`, which Debian's `package` has.
///
/// # Panics
/// It is not installed, or the test does not say that it needs it.
#[must_use]
pub fn tool(program: &str, package: &str) -> Command {
    if package != ESSENTIAL {
        must_be_on_demand();
    }
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
