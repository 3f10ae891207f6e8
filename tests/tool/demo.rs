//! `run_demo.sh` is what newcomers see first: its golden modes must print the golden files, its failure mode must fail as told.

use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Runs the demo with the programs that these tests were built with.
fn demo(arguments: &[&str]) -> Output {
    let programs = Path::new(env!("CARGO_BIN_EXE_master")).parent().unwrap();
    let mut bin = std::ffi::OsString::from("--bin=");
    bin.push(programs);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("run_demo.sh");
    Command::new(script).args(arguments).arg(bin).stdin(Stdio::null()).output().unwrap()
}

#[test]
#[ignore = "needs ps (Debian: procps)"]
fn the_golden_mode_prints_the_golden_file() {
    let output = demo(&["--mode=golden"]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), include_str!("../golden/demo.txt"));
}

#[test]
#[ignore = "needs ps (Debian: procps)"]
fn the_golden_mode_of_the_cluster_prints_its_golden_file() {
    let output = demo(&["--cluster", "--mode=golden"]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), include_str!("../golden/cluster.txt"));
}

#[test]
fn the_failure_mode_names_the_cause_and_ends_with_2() {
    let output = demo(&["--mode=failure"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "ERROR: invalid input or unavailable IPC resource\n");
    let causes = String::from_utf8_lossy(&output.stderr);
    for cause in ["'--workers <COUNT>'", "'70000' for '--kv-max-value <BYTES>'", "is in use by vault-master pid "] {
        assert!(causes.contains(cause), "{cause} is not in: {causes}");
    }
}
