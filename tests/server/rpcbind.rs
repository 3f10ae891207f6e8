//! Registration of the key-value service at Debian's rpcbind, in namespaces of a test's own: with a /run and a network that nobody else has.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use crate::narrow::Wrapper;
use crate::refusal::refused;
use crate::server::{Server, await_that};
use crate::tools::tool;

/// A line that no command writes.
const END: &str = "~ end of output ~";

/// A shell in namespaces of mounts, of networks and of processes, all of which end when this does.
struct Namespaces {
    shell: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Namespaces {
    fn new() -> Namespaces {
        let run = format!("while read -r line; do eval \"$line\" 2>&1; echo '{END}'; done");
        let mut shell = tool("unshare", "util-linux")
            .args(["--mount", "--net", "--pid", "--fork", "--kill-child", "sh", "-c", &run])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (input, output) = (shell.stdin.take().unwrap(), BufReader::new(shell.stdout.take().unwrap()));
        let mut namespaces = Namespaces { shell, input, output };
        assert_eq!(namespaces.say("ip link set lo up && mount -t tmpfs none /run"), "");
        namespaces
    }

    /// What a line of shell writes.
    fn say(&mut self, line: &str) -> String {
        writeln!(self.input, "{line}").unwrap();
        let mut said = String::new();
        while !said.ends_with(&format!("{END}\n")) {
            assert_ne!(self.output.read_line(&mut said).unwrap(), 0, "{said}");
        }
        said.truncate(said.len() - END.len() - 1);
        said
    }

    /// Starts rpcbind, and waits until it answers; its process id there is `$rpcbind`.
    fn start_rpcbind(&mut self) {
        assert_eq!(self.say("rpcbind -f & rpcbind=$!"), "");
        await_that("rpcbind answers", || self.say("rpcinfo >/run/list 2>&1 && echo yes") == "yes\n");
    }

    /// The addresses by which the key-value service is registered, with the transport of each.
    fn registered(&mut self) -> Vec<String> {
        let said = self.say("rpcinfo");
        let entries = said.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let own = entries.filter(|words| words[0] == (0x3123_0018).to_string());
        let own = own.map(|words| format!("version {} {} {} {}", words[1], words[2], words[3], words.last().unwrap()));
        own.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// What executes the server in here. Its process id and its shared memory are the test's.
    fn program(&self) -> Wrapper {
        let words = format!("nsenter --target {} --mount --net", self.shell.id());
        Wrapper::behind(&words, Path::new(env!("CARGO_BIN_EXE_master")))
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}

const ARGS: [&str; 8] = ["--workers", "1", "--http-port", "0", "--key-window", "1000", "--segment-records", "4096"];

fn with<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&ARGS[..], more].concat()
}

#[test]
#[ignore = "needs root and rpcbind"]
fn rpcbind_lists_the_service_while_the_server_runs() {
    drop(tool("rpcbind", "rpcbind"));
    let mut namespaces = Namespaces::new();
    namespaces.start_rpcbind();
    let program = namespaces.program();
    let start = |more: &[&str]| Server::start_program(&program.path(), &with(more));

    let server = start(&["--kv-port", "9001", "--rpcbind", "require"]);
    assert_eq!(namespaces.registered(), ["version 1 tcp 127.0.0.1.35.41 superuser"]);
    let old = namespaces.say("rpcinfo -p 127.0.0.1");
    let is_there = |line: &str| line.split_whitespace().eq(["824377368", "1", "tcp", "9001"]);
    assert!(old.lines().any(is_there), "{old}");
    assert!(server.stop().status.success());
    assert_eq!(namespaces.registered(), Vec::<String>::new(), "it is taken out at the end");

    // What a killed server has left is replaced.
    let mut killed = start(&["--kv-port", "9001"]);
    killed.kill_all();
    assert_eq!(namespaces.registered().len(), 1);
    let server = start(&["--kv-port", "9002"]);
    assert_eq!(namespaces.registered(), ["version 1 tcp 127.0.0.1.35.42 superuser"]);
    assert!(!server.stderr().contains("WARN"), "{}", server.stderr());
    // Of two, the later one is registered, and the earlier one leaves it alone.
    let later = start(&["--host", "::1", "--kv-port", "9003"]);
    let last = start(&["--kv-port", "9004"]);
    assert!(server.stop().status.success());
    assert_eq!(
        namespaces.registered(),
        ["version 1 tcp 127.0.0.1.35.44 superuser", "version 1 tcp6 ::1.35.43 superuser"]
    );
    assert!(later.stop().status.success() && last.stop().status.success());
    assert_eq!(namespaces.registered(), Vec::<String>::new());
    let quiet = start(&["--kv-port", "9001", "--rpcbind", "no"]);
    assert_eq!(namespaces.registered(), Vec::<String>::new());
    assert!(quiet.stop().status.success());

    // Without its socket it is asked as a portmapper is.
    assert_eq!(namespaces.say("mv /run/rpcbind.sock /run/elsewhere"), "");
    let server = start(&["--kv-port", "9005", "--rpcbind", "require"]);
    assert!(server.stderr().contains("is registered at rpcbind for 127.0.0.1:9005"), "{}", server.stderr());
    assert_eq!(namespaces.say("mv /run/elsewhere /run/rpcbind.sock"), "");
    assert_eq!(namespaces.registered(), ["version 1 tcp 0.0.0.0.35.45 superuser"]);
    assert!(server.stop().status.success());
}

#[test]
#[ignore = "needs root and rpcbind"]
fn an_rpcbind_that_is_not_there_or_hangs_is_a_warning_or_a_refusal() {
    drop(tool("rpcbind", "rpcbind"));
    let mut namespaces = Namespaces::new();
    let program = namespaces.program();
    let both = |why: &str| {
        let server = Server::start_program(&program.path(), &with(&["--kv-port", "9001"]));
        let said = server.stderr();
        let warnings: Vec<_> = said.lines().filter(|line| line.contains("WARN")).collect();
        let is_one = warnings.len() == 1 && ["9001", "--rpcbind no", why].iter().all(|part| warnings[0].contains(part));
        assert!(is_one, "{why}: {said}");
        let stopped = server.stop();
        assert!(stopped.status.success());
        let said = refused(&program.path(), &with(&["--kv-port", "9001", "--rpcbind", "require"]));
        assert!(said.contains("--rpcbind require") && said.contains("--rpcbind try") && said.contains(why), "{said}");
    };
    both("127.0.0.1:111: Connection refused (os error 111); is rpcbind running?");
    namespaces.start_rpcbind();
    assert_eq!(namespaces.say("kill -STOP $rpcbind"), "");
    both("/run/rpcbind.sock has not answered");
    // The shell may say that it was killed.
    namespaces.say("kill -KILL $rpcbind; wait $rpcbind");
    both("/run/rpcbind.sock: Connection refused");
}
