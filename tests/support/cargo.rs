//! Cargo, for tests that build what only they run.

use std::process::Command;

/// Beginnings of the names of variables that cargo and nextest give to the tests that they run, and to nobody else.
const OF_TESTS: [&str; 4] = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_"];

/// Cargo as whoever runs the tests has it. A build script that asks for a variable is run again when that has changed, and what depends on
/// it is compiled again: of `ring`, which asks for those above, that is nearly everything, at each run of the tests, and once more at
/// the build after it.
pub fn cargo() -> Command {
    let mut command = Command::new(env!("CARGO"));
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| OF_TESTS.iter().any(|beginning| name.starts_with(beginning))) {
            command.env_remove(name);
        }
    }
    command
}
