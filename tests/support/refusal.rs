//! Starts that must be refused.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use bank_vault::ipc::names;

use crate::server::unused_name;

/// Runs `program` as a server that must not start on `data`: exit code 2, one line, nothing left. The line.
pub fn refused_on(program: &Path, data: &Path, args: &[&str]) -> String {
    let name = unused_name();
    let was_there = data.exists();
    let mut command = Command::new(program);
    command.args(["--instance", &name, "--data"]).arg(data).args(args).env_remove("RUST_LOG");
    if !args.contains(&"--port") {
        command.args(["--port", "0"]);
    }
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{args:?}: {output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    assert!(said.lines().count() == 1 && said.starts_with("master: "), "one line: {said}");
    assert_eq!(names::objects_of(&name).unwrap(), vec![], "{said}");
    assert!(was_there || !data.exists(), "{} was made although {said}", data.display());
    said
}

/// As [`refused_on`], on a data directory that is not there, in a folder where every user may make one.
pub fn refused(program: &Path, args: &[&str]) -> String {
    let home = tempfile::tempdir().unwrap();
    // For those tests that run it as another user.
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o777)).unwrap();
    refused_on(program, &home.path().join("data"), args)
}
