//! What tools say goes where it should, whole, or they say that it did not: full devices, readers that have gone, files.

use crate::kv::{Kv, kv_address, kv_server};
use crate::server;

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use server::Server;

const CLIENT: &str = env!("CARGO_BIN_EXE_client");
const KV_CLIENT: &str = env!("CARGO_BIN_EXE_kv_client");
const VAULTCTL: &str = env!("CARGO_BIN_EXE_vaultctl");
const MASTER: &str = env!("CARGO_BIN_EXE_master");

/// A way to call a tool that has something to say.
struct Call {
    program: &'static str,
    args: Vec<String>,
    stdin: &'static str,
}

impl Call {
    /// Runs it with this standard output.
    fn run(&self, stdout: impl Into<Stdio>) -> Output {
        let mut command = Command::new(self.program);
        command.args(&self.args).env_remove("RUST_LOG").stdin(Stdio::piped()).stdout(stdout).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // Most read nothing, and may have ended already.
        let _ = child.stdin.take().unwrap().write_all(self.stdin.as_bytes());
        child.wait_with_output().unwrap()
    }

    fn name(&self) -> String {
        let program = Path::new(self.program).file_name().unwrap().to_str().unwrap();
        format!("{program} {}", self.args.join(" "))
    }
}

/// Every subcommand of every program.
fn calls(server: &Server, users: &Path) -> Vec<Call> {
    let port = server.address.port();
    let data = server.data();
    let kv = kv_address(server).to_string();
    let version = Kv::connect(kv_address(server)).put(b"once", b"green");
    let (data, users, instance) = (data.to_str().unwrap(), users.to_str().unwrap(), &server.instance);
    let lines = [
        (CLIENT, "--threads 2 --ops 20 --verify --port {port}", ""),
        (CLIENT, "--connections 2 --ops 20 --port {port}", ""),
        (CLIENT, "--churn --threads 2 --ops 3 --port {port}", ""),
        (CLIENT, "deposit 1 5 --port {port}", ""),
        (CLIENT, "deposit 1 5 --json --port {port}", ""),
        (CLIENT, "withdraw 1 1 --port {port}", ""),
        (CLIENT, "transfer 1 2 1 -v --port {port}", ""),
        (CLIENT, "balance 1 --port {port}", ""),
        (CLIENT, "ping --port {port}", ""),
        (CLIENT, "totals --port {port}", ""),
        (CLIENT, "history 1 --port {port}", ""),
        (CLIENT, "history 1 --all --json --port {port}", ""),
        (CLIENT, "faults --port {port}", ""),
        (CLIENT, "shell --port {port}", "balance 1\nhistory 1\nhelp\nnonsense\n4\n"),
        (CLIENT, "--help", ""),
        (CLIENT, "balance --help", ""),
        (CLIENT, "--version", ""),
        (KV_CLIENT, "put colour green --server {kv}", ""),
        (KV_CLIENT, "put colour - --json --server {kv}", "blue"),
        (KV_CLIENT, "put other x --server {kv}", ""),
        (KV_CLIENT, "get colour --server {kv}", ""),
        (KV_CLIENT, "get colour --raw --server {kv}", ""),
        (KV_CLIENT, "get colour --json --server {kv}", ""),
        (KV_CLIENT, "cas once {version} red --server {kv}", ""),
        (KV_CLIENT, "scan --server {kv}", ""),
        (KV_CLIENT, "scan --json --server {kv}", ""),
        (KV_CLIENT, "status --server {kv}", ""),
        (KV_CLIENT, "status --json --server {kv}", ""),
        (KV_CLIENT, "delete other --server {kv}", ""),
        (KV_CLIENT, "--help", ""),
        (KV_CLIENT, "help scan", ""),
        (KV_CLIENT, "--version", ""),
        (VAULTCTL, "inspect --instance {instance}", ""),
        (VAULTCTL, "inspect --json --instance {instance}", ""),
        (VAULTCTL, "top --once --interval 0.1 --instance {instance}", ""),
        (VAULTCTL, "top --once --json --interval 0.1 --instance {instance}", ""),
        (VAULTCTL, "audit --instance {instance}", ""),
        (VAULTCTL, "audit --json --data {data}", ""),
        (VAULTCTL, "journal dump --data {data}", ""),
        (VAULTCTL, "journal dump --json --instance {instance}", ""),
        (VAULTCTL, "clean --dry-run --instance {instance}-none", ""),
        (VAULTCTL, "user add somebody --role teller --users {users}", "secret"),
        (VAULTCTL, "user list --users {users}", ""),
        (VAULTCTL, "user remove somebody --users {users}", ""),
        (VAULTCTL, "snapshot --instance {instance}", ""),
        (VAULTCTL, "rebalance --instance {instance}", ""),
        (VAULTCTL, "crash-points", ""),
        (VAULTCTL, "--help", ""),
        (VAULTCTL, "help audit", ""),
        (VAULTCTL, "--version", ""),
        (MASTER, "--help", ""),
        (MASTER, "--version", ""),
    ];
    let fill = |text: &str| {
        let text = text.replace("{port}", &port.to_string()).replace("{instance}", instance);
        let text = text.replace("{kv}", &kv).replace("{version}", &version.to_string());
        text.replace("{data}", data).replace("{users}", users)
    };
    let args = |line: &str| fill(line).split(' ').map(str::to_owned).collect();
    lines.into_iter().map(|(program, line, stdin)| Call { program, args: args(line), stdin }).collect()
}

fn small_server() -> Server {
    kv_server(&["--workers", "1", "--accounts", "10", "--initial-balance", "100.00", "--kv-mb", "1"]).0
}

#[test]
fn a_result_that_cannot_be_written_is_a_failure() {
    let (server, folder) = (small_server(), tempfile::tempdir().unwrap());
    for call in calls(&server, &folder.path().join("users")) {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let output = call.run(full);
        let said = String::from_utf8_lossy(&output.stderr);
        let name = call.name();
        assert_eq!(output.status.code(), Some(2), "{name}: {said}");
        let program = name.split(' ').next().unwrap();
        let line = format!("{program}: cannot write the result to the standard output: No space left on device");
        assert_eq!(said.matches(&line).count(), 1, "{name}: {said}");
    }
}

#[test]
fn a_reader_that_has_gone_is_no_failure() {
    let (server, folder) = (small_server(), tempfile::tempdir().unwrap());
    for call in calls(&server, &folder.path().join("users")) {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let output = call.run(writer);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), &*said), (Some(0), ""), "{}", call.name());
    }
}

#[test]
fn what_is_done_is_said_to_be_done_although_its_answer_is_lost() {
    let server = small_server();
    let port = server.address.port().to_string();
    let full = File::options().write(true).open("/dev/full").unwrap();
    let kv = kv_address(&server).to_string();
    for (program, args, done) in [
        (CLIENT, &["deposit", "3", "5", "--port", &port][..], Some("DEPOSIT is done")),
        (KV_CLIENT, &["put", "k", "v", "--server", &kv], Some("the write is done")),
        (KV_CLIENT, &["get", "k", "--server", &kv], None),
    ] {
        let args = args.iter().map(ToString::to_string).collect();
        let output = Call { program, args, stdin: "" }.run(full.try_clone().unwrap());
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(done.unwrap_or("is not all\n")) && said.contains("is done") == done.is_some(), "{said}");
    }
}

#[test]
fn an_error_that_nobody_can_be_told_has_its_exit_code_all_the_same() {
    let server = small_server();
    let port = server.address.port().to_string();
    let kv = kv_address(&server).to_string();
    let (reader, closed) = io::pipe().unwrap();
    drop(reader);
    let closed = File::from(std::os::fd::OwnedFd::from(closed));
    let full = File::options().write(true).open("/dev/full").unwrap();
    for stderr in [full, closed] {
        for (program, args, code) in [
            (CLIENT, &["balance", "4000000", "--port", &port][..], 1),
            (CLIENT, &["balance", "1", "--port", "1"], 2),
            (CLIENT, &["--nonsense"], 2),
            (CLIENT, &["balance", "1", "--threads", "2"], 2),
            (KV_CLIENT, &["get", "nothing", "--server", &kv], 1),
            (KV_CLIENT, &["get", "k", "--server", "127.0.0.1:1"], 2),
            (KV_CLIENT, &["--nonsense"], 2),
            (KV_CLIENT, &["put", "", "v"], 2),
            (VAULTCTL, &["inspect", "--instance", "nobody-has-this-name"], 2),
            (VAULTCTL, &["user", "list", "--users", "/nowhere/users"], 2),
            (VAULTCTL, &["--nonsense"], 2),
            (MASTER, &["--config", "/nowhere/vault.toml"], 2),
            (MASTER, &["--users", "/nowhere/users"], 2),
            (MASTER, &["--nonsense"], 2),
        ] {
            let mut command = Command::new(program);
            command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr.try_clone().unwrap());
            assert_eq!(command.status().unwrap().code(), Some(code), "{program} {args:?}");
        }
    }
}

fn load(server: &Server, folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(CLIENT);
    command.current_dir(folder).args(["--port", &server.address.port().to_string(), "--threads", "2", "--ops", "20"]);
    command.args(args).stdin(Stdio::null()).output().unwrap()
}

#[test]
fn one_place_that_takes_no_result_keeps_it_from_no_other() {
    let (server, folder) = (small_server(), tempfile::tempdir().unwrap());
    let there = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
    for (json, hdr, acks, broken) in [
        ("json", "hdr", "/dev/full", 1),
        ("json", "/dev/full", "acks", 1),
        ("/dev/full", "hdr", "acks", 1),
        ("/dev/full", "/dev/full", "/dev/full", 3),
    ] {
        let output = load(&server, folder.path(), &["--json", json, "--hdr", hdr, "--ack-log", acks]);
        let (result, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(result.starts_with("RESULT:\ntotal_ops=40 "), "{result}");
        assert_eq!(said.matches("client: cannot write /dev/full: No space left on device").count(), broken, "{said}");
        if json == "json" {
            let report: serde_json::Value = serde_json::from_str(&there(json)).unwrap();
            assert_eq!(report["total_ops"], 40);
        }
        assert!(hdr != "hdr" || there(hdr).contains("#[Max "), "{said}");
        assert!(acks != "acks" || there(acks).ends_with('\n'), "{said}");
    }
}

#[test]
fn files_of_an_earlier_run_stay_until_there_is_something_better() {
    let (server, folder) = (small_server(), tempfile::tempdir().unwrap());
    let args = ["--json", "json", "--hdr", "hdr", "--ack-log", "acks"];
    assert!(load(&server, folder.path(), &args).status.success());
    let read = || ["json", "hdr", "acks"].map(|name| fs::read(folder.path().join(name)).unwrap());
    let before = read();
    // A run that comes to nothing.
    let mut command = Command::new(CLIENT);
    let output = command.current_dir(folder.path()).args(["--port", "1"]).args(args).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(read() == before, "what was there is gone");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3, "and nothing else was left");
}

#[test]
fn reports_replace_files_and_write_to_devices() {
    let (server, folder) = (small_server(), tempfile::tempdir().unwrap());
    let path = folder.path().join("json");
    File::create(&path).unwrap();
    let before = fs::metadata(&path).unwrap().ino();
    let output = load(&server, folder.path(), &["--json", "json", "--hdr", "/dev/stdout"]);
    assert!(output.status.success(), "{output:?}");
    assert_ne!(fs::metadata(&path).unwrap().ino(), before, "a whole new file, renamed");
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.starts_with("RESULT:") && said.contains("#[Max "), "{said}");
}
