//! The client binary against the model server: loads that agree, and seeded defects that its checks must catch.

#[path = "support/model_server.rs"]
mod model_server;

use std::process::{Command, Output};

use assert_cmd::cargo::cargo_bin;
use model_server::{Defect, ModelServer};

/// Runs the client against a server.
fn client(server: &ModelServer, arguments: &str) -> Output {
    Command::new(cargo_bin("client"))
        .args(["--port", &server.address.port().to_string()])
        .args(arguments.split_whitespace())
        .output()
        .expect("the client binary can be run")
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A load that must end well; its output.
fn well(server: &ModelServer, arguments: &str) -> String {
    let output = client(server, arguments);
    assert_eq!(output.status.code(), Some(0), "{arguments}: {}", text(&output));
    text(&output)
}

/// The value behind `key=` in the result.
fn value<'t>(text: &'t str, key: &str) -> &'t str {
    let from = text.find(&format!("{key}=")).unwrap_or_else(|| panic!("no {key} in {text}")) + key.len() + 1;
    text[from..].split_whitespace().next().unwrap_or_default()
}

const MIX: &str = "--mix transfer=10,withdraw=20,deposit=30,balance=30,ping=5,totals=5";

#[test]
fn every_way_of_driving_ends_with_books_that_agree() {
    for (load, total) in [
        ("--threads 8 --ops 300", 2400),
        ("--threads 3 --ops 2000 --pipeline 64 --skew zipf:0.99", 6000),
        ("--connections 50 --ops 100", 5000),
        ("--connections 20 --ops 500 --pipeline 16 --loops 2 --xor", 10_000),
        ("--threads 4 --ops 200 --xor", 800),
    ] {
        let server = ModelServer::start(200, 1000, Defect::None);
        let text = well(&server, &format!("{load} {MIX} --verify"));
        assert!(text.contains("verify: OK"), "{load}: {text}");
        assert_eq!(value(&text, "total_ops"), total.to_string(), "{load}: {text}");
    }
}

#[test]
fn the_result_has_its_form() {
    let server = ModelServer::start(100, 0, Defect::None);
    let output = client(&server, "--threads 5 --ops 100 --accounts 0-49");
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("RESULT:"));
    let counts = lines.next().unwrap_or_default();
    assert!(counts.starts_with("total_ops=500 ok=") && counts.ends_with('s'), "{counts}");
    let (ok, err): (u64, u64) = (value(counts, "ok").parse().unwrap(), value(counts, "err").parse().unwrap());
    assert_eq!(ok + err, 500);
    assert!(err > 0, "empty accounts must refuse some withdrawals");
    let throughput = lines.next().unwrap_or_default();
    assert!(throughput.starts_with("throughput=") && throughput.ends_with(" req/s"), "{throughput}");
    let latency = lines.next().unwrap_or_default();
    assert!(latency.starts_with("latency_ms: p50="), "{latency}");
    for key in ["p50", "p95", "p99", "max"] {
        assert!(value(latency, key).parse::<f64>().is_ok(), "{latency}");
    }
    assert_eq!(lines.next(), Some("reconnects=0 timeouts=0"));
    assert!(text.contains("ERR_INSUFFICIENT") && text.contains("TRANSFER"), "{text}");
}

#[test]
fn every_seeded_defect_is_caught() {
    for (defect, complaint) in [
        (Defect::LoseACent, "MISMATCH opening total"),
        (Defect::PhantomAck, "MISMATCH total deposited"),
        (Defect::TornTotals, "TOTALS replies during the run"),
    ] {
        for drive in ["--threads 4 --ops 1000", "--connections 4 --ops 1000 --pipeline 8"] {
            let server = ModelServer::start(100, 100_000, defect);
            let output = client(&server, &format!("{drive} {MIX} --verify"));
            let text = text(&output);
            assert_eq!(output.status.code(), Some(1), "{defect:?} {drive}: {text}");
            assert!(text.contains(complaint), "{defect:?} {drive}: {text}");
        }
    }
}

#[test]
fn an_operation_without_an_answer_is_in_doubt_and_no_mismatch() {
    for (defect, timeouts) in [(Defect::DropAck, 0), (Defect::SwallowAck, 1)] {
        for drive in ["--threads 4 --ops 300", "--connections 4 --ops 300"] {
            let server = ModelServer::start(100, 100_000, defect);
            let text = well(&server, &format!("{drive} {MIX} --verify --timeout 300ms"));
            assert!(text.contains("verify: 1 operations in doubt"), "{defect:?} {drive}: {text}");
            assert!(text.contains("verify: OK"), "{text}");
            assert_eq!(value(&text, "reconnects"), "1", "{text}");
            assert_eq!(value(&text, "timeouts"), timeouts.to_string(), "{text}");
            assert_eq!(value(&text, "total_ops"), "1200", "{text}");
        }
    }
}

#[test]
fn a_schedule_is_kept() {
    let server = ModelServer::start(100, 100_000, Defect::None);
    let text = well(&server, "--rate 2000 --threads 10 --duration 1s --warmup 200ms --verify");
    let total: u64 = value(&text, "total_ops").parse().unwrap();
    assert!((1900..=2010).contains(&total), "{text}");
}

#[test]
fn churn_makes_a_connection_for_every_ping() {
    let server = ModelServer::start(100, 0, Defect::None);
    let before = server.connections();
    let text = well(&server, "--churn --threads 4 --ops 25");
    // One more asks how many accounts there are.
    assert_eq!(server.connections() - before, 101, "{text}");
    assert_eq!((value(&text, "ok"), value(&text, "err")), ("100", "0"), "{text}");
    assert!(text.contains("PING") && !text.contains("TRANSFER"), "{text}");
}

#[test]
fn a_seed_repeats_its_choices() {
    let counts = || {
        let server = ModelServer::start(100, 0, Defect::None);
        let text = well(&server, "--threads 1 --ops 500 --seed 42");
        value(&text, "ok").to_owned()
    };
    assert_eq!(counts(), counts());
}

#[test]
fn files_are_written_as_documented() {
    let server = ModelServer::start(100, 0, Defect::None);
    let folder = tempfile::tempdir().expect("a temporary directory");
    let (json, hdr) = (folder.path().join("result.json"), folder.path().join("result.hdr"));
    well(&server, &format!("--threads 2 --ops 100 --verify --json {} --hdr {}", json.display(), hdr.display()));
    let read = |path| std::fs::read_to_string(path).expect("the client wrote the file");
    let result: serde_json::Value = serde_json::from_str(&read(&json)).expect("it is JSON");
    assert_eq!(result["schema"], 1);
    assert_eq!(result["total_ops"], 200);
    assert_eq!(result["verify"]["agrees"], true);
    assert_eq!(result["plan"]["connections"], 2);
    let document = include_str!("../docs/CLIENT.md");
    for key in result.as_object().expect("an object").keys() {
        assert!(document.contains(&format!("`{key}`")), "docs/CLIENT.md lacks {key}");
    }
    let log = read(&hdr);
    assert!(log.trim_start().starts_with("Value") && log.contains("Total count    =          200"), "{log}");
    let output = client(&server, "--threads 1 --ops 1 --json /nowhere/result.json");
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert!(text(&output).contains("/nowhere/result.json"));
}

#[test]
fn what_cannot_be_done_is_said_with_the_right_code() {
    let server = ModelServer::start(100, 0, Defect::None);
    for (arguments, code, said) in [
        ("--pass wrong --ops 1", 1, "LOGIN refused: ERR_AUTH"),
        ("--accounts 5-5", 2, "a transfer needs two accounts"),
        ("--mix dance=1", 2, "dance"),
        ("--accounts 100-101 --verify", 1, "BALANCE refused: ERR_NO_ACCOUNT"),
    ] {
        let output = client(&server, arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments}: {}", text(&output));
        assert!(text(&output).contains(said), "{arguments}: {}", text(&output));
    }
    let nobody = ModelServer::nobody("127.0.0.1:1".parse().expect("an address"));
    let output = client(&nobody, "--ops 1");
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output).contains("cannot connect to 127.0.0.1:1"), "{}", text(&output));
}

#[test]
fn one_shots_answer_in_words() {
    let server = ModelServer::start(100, 1000, Defect::None);
    for (arguments, said) in [
        ("balance 12", "account 12: 10.00\n"),
        ("deposit 12 25.00", "account 12: 35.00\n"),
        ("withdraw 12 5.5 --xor", "account 12: 29.50\n"),
        ("transfer 12 13 5", "account 12: 24.50\naccount 13: 15.00\n"),
        ("totals", "accounts: 100\nsum: 1019.50\ndeposited: 25.00\nwithdrawn: 5.50\nlast operation: 3\n"),
    ] {
        assert_eq!(well(&server, arguments), said, "{arguments}");
    }
    assert!(well(&server, "ping").starts_with("the server's clock: 1 ms since 1970, answered in "));
    for (arguments, code, said) in [
        ("balance 100", 1, "client: BALANCE refused: ERR_NO_ACCOUNT\n"),
        ("withdraw 1 10.01", 1, "client: WITHDRAW refused: ERR_INSUFFICIENT\n"),
        ("transfer 1 1 1", 1, "client: TRANSFER refused: ERR_INVALID\n"),
        ("deposit 1 -1", 1, "client: DEPOSIT refused: ERR_INVALID\n"),
    ] {
        let output = client(&server, arguments);
        assert_eq!((output.status.code(), text(&output).as_str()), (Some(code), said), "{arguments}");
    }
    for arguments in ["deposit 1 2.345", "balance", "--threads 3 balance 1"] {
        assert_eq!(client(&server, arguments).status.code(), Some(2), "{arguments}");
    }
}

#[test]
fn a_one_shot_without_an_answer_says_that_it_may_have_been_done() {
    let server = ModelServer::start(10, 100_000, Defect::SwallowAck);
    well(&server, "--threads 1 --ops 99 --mix deposit=1");
    let output = client(&server, "deposit 1 1 --timeout 200ms");
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert!(text(&output).contains("it may have been done or not"), "{}", text(&output));
}

/// What the shell says to these lines.
fn shell(server: &ModelServer, lines: &str) -> String {
    let output = assert_cmd::Command::new(cargo_bin("client"))
        .args(["--port", &server.address.port().to_string(), "shell"])
        .write_stdin(lines)
        .output()
        .expect("the client binary can be run");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    text(&output)
}

#[test]
fn the_shell_follows_its_menu_and_typed_commands() {
    let server = ModelServer::start(10, 1000, Defect::None);
    let menu = "1\n7\n2\n7\n3.25\n3\n7\n1\n1\n99\n2\n7\n1000\n1\nseven\n4\nbalance 7\n";
    let said = shell(&server, menu);
    let answers: Vec<&str> = said.lines().skip_while(|line| !line.starts_with("or type")).skip(1).collect();
    assert_eq!(
        answers,
        [
            "account 7: 10.00",
            "account 7: 6.75",
            "account 7: 7.75",
            "Account not found",
            "Withdraw amount must be less than balance",
            "`seven` is not an account number",
            "Goodbye",
        ]
    );
    let said = shell(&server, "transfer 7 8 1\nbalance\nshell\nfly away\nhelp\nhistory");
    assert!(said.contains("account 7: 6.75\naccount 8: 11.00"), "{said}");
    assert!(said.contains("the following required arguments were not provided"), "{said}");
    assert!(said.contains("that is no command of the shell") && said.contains("'fly'"), "{said}");
    assert!(said.contains("deposit ACCOUNT AMOUNT") && said.contains("fly away\nhelp\nhistory"), "{said}");
}

#[test]
fn every_fault_is_answered_by_the_document() {
    let server = ModelServer::start(10, 1000, Defect::None);
    let text = well(&server, "faults");
    assert!(text.lines().count() >= 15 && text.lines().all(|line| line.starts_with("right ")), "{text}");
}

#[test]
fn a_wrong_answer_to_a_fault_is_seen() {
    let server = ModelServer::start(10, 1000, Defect::TrustChecksums);
    let output = client(&server, "faults");
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    let text = text(&output);
    let wrong: Vec<&str> = text.lines().filter(|line| line.starts_with("WRONG ")).collect();
    assert!(wrong.len() == 3 && wrong[0].contains("bad CRC"), "{text}");
}

#[test]
fn a_server_that_goes_away_costs_the_connections_but_not_the_result() {
    for drive in ["--threads 3 --pipeline 4", "--connections 3 --pipeline 4"] {
        let server = ModelServer::start(100, 100_000, Defect::GoAway);
        let output = client(&server, &format!("{drive} --duration 1s --mix deposit=1 --verify --timeout 300ms"));
        let text = text(&output);
        assert_eq!(output.status.code(), Some(1), "{drive}: {text}");
        assert!(text.starts_with("RESULT:\n") && text.contains("connection lost, in doubt"), "{drive}: {text}");
        assert!(text.contains("Given up: 3 connections, the first because: "), "{drive}: {text}");
        assert!(text.contains("client: cannot verify: cannot connect to"), "{drive}: {text}");
    }
}
