//! The client against servers that are one ledger: it finds the primary, follows it, and loses and doubles nothing.

use crate::{model_server, server};

use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Output, Stdio};

use assert_cmd::cargo::cargo_bin;
use model_server::{Defect, ModelServer};
use server::{Server, await_that, unused_port};

fn list(addresses: &[SocketAddr]) -> String {
    addresses.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(",")
}

fn addresses(servers: &[ModelServer]) -> Vec<SocketAddr> {
    servers.iter().map(|server| server.address).collect()
}

/// An address where nobody listens.
fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn client(servers: &[SocketAddr], arguments: &str) -> Output {
    Command::new(cargo_bin("client"))
        .args(["--server", &list(servers)])
        .args(arguments.split_whitespace())
        .output()
        .expect("the client binary can be run")
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// What must end well; its output.
fn well(servers: &[SocketAddr], arguments: &str) -> String {
    let output = client(servers, arguments);
    assert_eq!(output.status.code(), Some(0), "{arguments}: {}", text(&output));
    text(&output)
}

fn shell(servers: &[SocketAddr], arguments: &[&str], lines: &str) -> String {
    let output = assert_cmd::Command::new(cargo_bin("client"))
        .args(["--server", &list(servers), "shell"])
        .args(arguments)
        .write_stdin(lines)
        .output()
        .expect("the client binary can be run");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    text(&output)
}

/// The value behind `key=` in the result.
fn value(text: &str, key: &str) -> u64 {
    let from = text.find(&format!("{key}=")).unwrap_or_else(|| panic!("no {key} in {text}")) + key.len() + 1;
    text[from..].split_whitespace().next().unwrap_or_default().parse().unwrap()
}

#[test]
fn the_primary_is_found_wherever_it_stands_in_the_list() {
    let servers = addresses(&ModelServer::cluster(3, 10, 1000, Defect::None, 0));
    let (gone, [a, b, primary]) = (nobody(), [servers[0], servers[1], servers[2]]);
    for list in [vec![primary], vec![primary, a], vec![a, b, primary], vec![gone, a, primary], vec![a], vec![gone, b]] {
        assert_eq!(well(&list, "balance 7"), "account 7: 10.00\n", "{list:?}");
        assert!(well(&list, "history 7").contains("the account's opening"), "{list:?}");
        let load = well(&list, "--threads 3 --ops 50 --mix balance=1 --verify");
        assert!(load.contains("verify: OK") && value(&load, "err") == 0, "{list:?}: {load}");
        let load = well(&list, "--connections 3 --ops 50 --mix deposit=1,withdraw=1 --no-keys --accounts 0-6");
        assert!(value(&load, "total_ops") == 150 && !load.contains("NOT_PRIMARY"), "{list:?}: {load}");
    }
    let output = client(&[gone, nobody()], "balance 7 --retry-for 200ms");
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    // Two followers name a third one.
    assert_eq!(well(&[a, b], "deposit 7 1"), "account 7: 11.00\n");
}

#[test]
fn a_server_that_is_stopped_is_given_up_after_the_timeout_of_a_request() {
    let servers = addresses(&ModelServer::cluster(3, 10, 1000, Defect::None, 0));
    // The kernel makes the connection, and nobody ever reads it.
    let stopped = TcpListener::bind("127.0.0.1:0").unwrap();
    let list = [stopped.local_addr().unwrap(), servers[0], servers[1], servers[2]];
    let begun = std::time::Instant::now();
    assert_eq!(well(&list, "balance 7 --timeout 500ms"), "account 7: 10.00\n");
    for driver in ["--threads 3", "--connections 3"] {
        let load = well(&list, &format!("{driver} --ops 50 --mix balance=1 --timeout 500ms"));
        assert_eq!(value(&load, "ok"), 150, "{load}");
    }
    // A LOGIN has a minute.
    assert!(begun.elapsed() < std::time::Duration::from_secs(30), "{:?}", begun.elapsed());
}

const DRIVERS: [&str; 5] = [
    "--threads 4 --ops 500",
    "--threads 2 --ops 1000 --pipeline 16 --xor",
    "--connections 8 --ops 250",
    "--connections 4 --ops 500 --pipeline 8 --loops 2",
    "--rate 4000 --threads 4 --ops 500 --pipeline 4",
];

#[test]
fn a_load_goes_through_failovers_and_its_balances_agree() {
    for drive in DRIVERS {
        let servers = ModelServer::cluster(3, 50, 100_000_000, Defect::None, 300);
        let text =
            well(&addresses(&servers), &format!("{drive} --mix deposit=3,withdraw=2,transfer=1,balance=2 --verify"));
        assert!(text.contains("verify: OK") && !text.contains("in doubt"), "{drive}: {text}");
        assert_eq!((value(&text, "ok"), value(&text, "err")), (2000, 0), "{drive}: {text}");
        assert!(value(&text, "reconnects") > 0 && value(&text, "retries") > 0, "{drive}: {text}");
        assert!((4..=7).contains(&servers[0].moves()), "{drive}: {} failovers", servers[0].moves());
    }
}

/// The last operation before a failover has no answer: without a key it is in doubt, and no other is.
#[test]
fn what_has_no_key_is_in_doubt_where_it_may_have_been_done_and_sent_again_where_not() {
    for drive in ["--threads 1 --ops 1000", "--connections 1 --ops 1000"] {
        let servers = ModelServer::cluster(3, 50, 100_000_000, Defect::None, 300);
        let text = well(&addresses(&servers), &format!("{drive} --mix deposit=1 --verify --no-keys"));
        assert!(text.contains("verify: 3 operations in doubt") && text.contains("verify: OK"), "{drive}: {text}");
        assert_eq!((value(&text, "ok"), value(&text, "err")), (997, 3), "{drive}: {text}");
        assert!(!text.contains("NOT_PRIMARY") && !text.contains("NO_QUORUM"), "{drive}: {text}");
    }
}

#[test]
fn a_cluster_that_forgets_keys_is_caught() {
    for drive in DRIVERS {
        let servers = ModelServer::cluster(3, 50, 100_000_000, Defect::FlakyForgetful, 300);
        let output = client(&addresses(&servers), &format!("{drive} --mix deposit=1 --verify"));
        let text = text(&output);
        assert_eq!(output.status.code(), Some(1), "{drive}: {text}");
        assert!(text.contains("MISMATCH total deposited"), "{drive}: {text}");
    }
}

#[test]
fn the_shell_says_nothing_of_a_failover() {
    for arguments in [&[][..], &["--no-keys"], &["--read-from", "any"]] {
        // The withdrawal is the last operation of its primary; without a key it would be in doubt.
        let servers = ModelServer::cluster(3, 10, 1000, Defect::None, if arguments == ["--no-keys"] { 0 } else { 2 });
        let lines = "3\n7\n1\n1\n7\n2\n7\n0.50\n1\n7\nhistory 7\n4\n";
        let said = shell(&addresses(&servers), arguments, lines);
        let answers: Vec<&str> = said.lines().skip_while(|line| !line.starts_with("or type")).skip(1).collect();
        assert_eq!(
            answers[..4],
            ["account 7: 11.00", "account 7: 11.00", "account 7: 10.50", "account 7: 10.50"],
            "{arguments:?}: {said}"
        );
        assert!(answers.last() == Some(&"Goodbye") && said.contains("the account's opening"), "{said}");
        assert!(!said.contains("primary") && !said.contains("ERR_"), "{said}");
    }
}

#[test]
fn reads_go_to_any_server_and_see_what_was_written() {
    let servers = ModelServer::cluster(3, 10, 1000, Defect::None, 0);
    let list = addresses(&servers);
    let lines = |count: usize| "deposit 7 1\nbalance 7\nhistory 7\n".repeat(count);
    let mut asked = 0;
    for _ in 0..20 {
        let said = shell(&list, &["--read-from", "any"], &lines(2));
        assert!(!said.contains("ERR_"), "{said}");
        asked += 4;
        if servers[0].follower_reads() > 0 {
            break;
        }
    }
    let by_followers = servers[0].follower_reads();
    assert!(by_followers > 0 && by_followers <= asked, "{by_followers} of {asked}");
    // Followers that are behind are not believed: the primary answers.
    servers[0].set_behind(true);
    let said = shell(&list, &["--read-from", "any"], &lines(2));
    let balances: Vec<&str> = said.lines().filter(|line| line.starts_with("account 7")).collect();
    assert!(balances[0] == balances[1] && balances[2] == balances[3] && balances[1] != balances[2], "{said}");
    // Without a primary they are all that there is.
    servers[0].set_behind(false);
    assert!(well(&list[..2], "balance 7 --read-from any").starts_with("account 7: "));
    let output = client(&list, "--read-from any --ops 1");
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
}

/// A real server that is killed, and started again on the same data where the client looks next.
#[test]
fn a_load_goes_on_where_the_ledger_comes_back() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let ports = [unused_port(), unused_port()];
    let start = |port: u16| {
        let port = port.to_string();
        Server::start_on(
            &data,
            &["--port", &port, "--workers", "2", "--accounts", "100", "--initial-balance", "1000.00"],
        )
    };
    let list = ports.map(|port| format!("127.0.0.1:{port}")).join(",");
    let mut running = start(ports[0]);
    for (port, drive) in [(1, ["--threads", "4"]), (0, ["--connections", "4"])] {
        let before = running.stats().table().order().now().lsn.0;
        let load = Command::new(cargo_bin("client"))
            .args([
                "--server",
                &list,
                "--ops",
                "3000",
                "--retry-for",
                "30s",
                "--verify",
                "--mix",
                "deposit=3,withdraw=1",
            ])
            .args(drive)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        await_that("the load has begun", || running.stats().table().order().now().lsn.0 > before + 500);
        running.kill_all();
        running = start(ports[port]);
        let output = load.wait_with_output().unwrap();
        let text = text(&output);
        assert_eq!(output.status.code(), Some(0), "{drive:?}: {text}");
        assert!(text.contains("verify: OK") && !text.contains("in doubt"), "{drive:?}: {text}");
        assert!(value(&text, "total_ops") == 12_000 && value(&text, "reconnects") > 0, "{drive:?}: {text}");
    }
}
