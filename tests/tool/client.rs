//! The client binary against the model server: loads that agree, and seeded defects that its checks must catch.

use crate::model_server;

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
fn every_driver_ends_with_balances_that_agree() {
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
    assert_eq!(lines.next(), Some("reconnects=0 timeouts=0 retries=0"));
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
fn an_operation_without_a_key_and_an_answer_is_in_doubt_and_no_mismatch() {
    for (defect, timeouts) in [(Defect::DropAck, 0), (Defect::SwallowAck, 1)] {
        for drive in ["--threads 4 --ops 300", "--connections 4 --ops 300"] {
            let server = ModelServer::start(100, 100_000, defect);
            let text = well(&server, &format!("{drive} {MIX} --verify --timeout 300ms --no-keys"));
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
fn a_latency_counts_from_the_scheduled_time() {
    // One reply never comes; what becomes due until the timeout has to wait.
    let server = ModelServer::start(100, 100_000, Defect::SwallowAck);
    let text = well(&server, "--rate 500 --connections 1 --loops 1 --mix deposit=1 --duration 1s --timeout 300ms");
    let latency = text.lines().find(|line| line.starts_with("latency_ms: ")).unwrap_or_default();
    // About 150 of 500 operations: seen from their sending, all but one of them would be fast.
    assert!(value(latency, "p95").parse::<f64>().unwrap() > 100.0, "{text}");
}

#[test]
fn a_seed_repeats_its_choices() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let choices = |seed: u32| {
        let (server, path) = (ModelServer::start(100, 0, Defect::None), folder.path().join("acks"));
        let load = "--threads 3 --ops 200 --skew zipf:0.5 --no-keys";
        well(&server, &format!("{load} --seed {seed} --ack-log {}", path.display()));
        let log = std::fs::read_to_string(&path).expect("the client wrote the file");
        // Connection, operation, accounts, amount.
        let choice = |line: &str| [0, 4, 5, 6, 7].map(|at| line.split(' ').nth(at).unwrap_or_default().to_owned());
        let mut choices: Vec<_> = log.lines().skip(1).map(choice).collect();
        // The order between threads is not the seed's.
        choices.sort_by_key(|choice| choice[0].clone());
        choices
    };
    let (first, other) = (choices(42), choices(43));
    assert_eq!(first, choices(42));
    assert_ne!(first, other);
    let of =
        |thread: &str| -> Vec<_> { first.iter().filter(|it| it[0] == thread).map(|it| it[1..].to_vec()).collect() };
    assert_ne!(of("0"), of("1"), "each thread has its own sequence");
}

/// The keys of a JSON value, those of its parts included.
fn keys(value: &serde_json::Value) -> Vec<String> {
    let of_parts = match value {
        serde_json::Value::Object(object) => object.values().flat_map(keys).collect(),
        serde_json::Value::Array(array) => array.iter().flat_map(keys).collect(),
        _ => Vec::new(),
    };
    value.as_object().into_iter().flat_map(|object| object.keys().cloned()).chain(of_parts).collect()
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
    let document = include_str!("../../docs/CLIENT.md");
    for key in keys(&result) {
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
    let output = client(&server, "deposit 1 1 --timeout 200ms --no-keys");
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert!(text(&output).contains("it may have been done or not: look at the balance"), "{}", text(&output));
}

#[test]
fn a_one_shot_waits_for_its_login_no_longer_than_it_was_told() {
    // Connections come to its backlog, and nobody ever takes them.
    let deaf = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = deaf.local_addr().unwrap().port().to_string();
    let start = std::time::Instant::now();
    let output = Command::new(env!("CARGO_BIN_EXE_client"))
        .args(["--port", &port, "--timeout", "300ms", "--retry-for", "1s", "ping"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert!(start.elapsed() < std::time::Duration::from_secs(20), "{:?}", start.elapsed());
}

#[test]
fn a_one_shot_with_a_key_is_sent_until_it_is_answered() {
    for defect in [Defect::SwallowAck, Defect::DropAck] {
        let server = ModelServer::start(10, 0, defect);
        well(&server, "--threads 1 --ops 99 --mix deposit=1 --accounts 0-1");
        assert_eq!(well(&server, "deposit 7 12.50 --timeout 200ms"), "account 7: 12.50\n", "{defect:?}");
        assert!(well(&server, "totals").contains("last operation: 100\n"), "{defect:?}");
    }
}

#[test]
fn a_key_names_one_operation() {
    let server = ModelServer::start(10, 0, Defect::None);
    let key = "00112233445566778899aabbccddeeff";
    for _ in 0..3 {
        let said = well(&server, &format!("deposit 7 12.50 -v --key {key}"));
        assert_eq!(said, format!("account 7: 12.50\nkey: {key}\n"));
    }
    for other in ["deposit 7 12.51", "deposit 8 12.50", "withdraw 7 12.50", "transfer 7 8 12.50"] {
        let output = client(&server, &format!("{other} --key {key}"));
        assert_eq!(output.status.code(), Some(1), "{other}: {}", text(&output));
        assert!(text(&output).contains("refused: ERR_CONFLICT"), "{other}: {}", text(&output));
    }
    // A refusal is remembered, too.
    let refused = format!("withdraw 8 1 --key {}", "5".repeat(32));
    assert!(text(&client(&server, &refused)).contains("ERR_INSUFFICIENT"));
    well(&server, "deposit 8 100");
    assert!(text(&client(&server, &refused)).contains("ERR_INSUFFICIENT"));
    let json: serde_json::Value =
        serde_json::from_str(&well(&server, "transfer 8 7 1 --json")).expect("it is one JSON object");
    assert_eq!(json["balances"][1], serde_json::json!({ "account": 7, "balance_cents": 1350 }));
    assert_eq!(json["key"].as_str().map(str::len), Some(32), "{json}");
}

const RETRYING: [&str; 6] = [
    "--threads 4 --ops 500",
    "--threads 2 --ops 1000 --pipeline 16 --xor",
    "--connections 8 --ops 250",
    "--connections 4 --ops 500 --pipeline 8 --loops 2",
    "--rate 4000 --threads 4 --ops 500 --pipeline 4",
    "--threads 1 --ops 2000 --pipeline 64",
];

#[test]
fn a_server_that_drops_connections_does_each_operation_once() {
    for drive in RETRYING {
        let server = ModelServer::start(50, 100_000_000, Defect::Flaky);
        let text = well(&server, &format!("{drive} --mix deposit=3,withdraw=2,transfer=1 --verify"));
        assert!(text.contains("verify: OK") && !text.contains("in doubt"), "{drive}: {text}");
        assert_eq!((value(&text, "ok"), value(&text, "err")), ("2000", "0"), "{drive}: {text}");
        let [reconnects, retries] = ["reconnects", "retries"].map(|key| value(&text, key).parse::<u64>().unwrap());
        assert!(retries >= reconnects && reconnects > 10, "{drive}: {text}");
        assert!(well(&server, "totals").contains("last operation: 2000\n"), "{drive}");
    }
}

#[test]
fn a_server_that_forgets_keys_is_caught() {
    for drive in RETRYING {
        let server = ModelServer::start(50, 100_000_000, Defect::FlakyForgetful);
        let output = client(&server, &format!("{drive} --mix deposit=1 --verify"));
        let text = text(&output);
        assert_eq!(output.status.code(), Some(1), "{drive}: {text}");
        assert!(text.contains("MISMATCH total deposited"), "{drive}: {text}");
    }
}

#[test]
fn what_the_server_has_no_room_for_is_sent_again() {
    for drive in RETRYING {
        let server = ModelServer::start(50, 100_000_000, Defect::NoRoom);
        let text = well(&server, &format!("{drive} --mix deposit=1,withdraw=1 --verify"));
        assert!(text.contains("verify: OK") && !text.contains("ERR_BUSY"), "{drive}: {text}");
        assert_eq!((value(&text, "ok"), value(&text, "reconnects")), ("2000", "0"), "{drive}: {text}");
        assert!(value(&text, "retries").parse::<u64>().unwrap() > 100, "{drive}: {text}");
    }
    // Without --verify it is a reply like any other.
    let server = ModelServer::start(50, 100_000_000, Defect::NoRoom);
    let text = well(&server, "--threads 2 --ops 1000 --mix deposit=1");
    assert!(text.contains("ERR_BUSY") && value(&text, "retries") == "0", "{text}");
}

#[test]
fn a_server_that_never_has_room_is_given_up() {
    for drive in ["--threads 2 --pipeline 4", "--connections 2 --pipeline 4"] {
        let server = ModelServer::start(50, 100_000_000, Defect::NeverRoom);
        let output = client(&server, &format!("{drive} --ops 100 --mix deposit=1 --verify --retry-for 200ms"));
        let text = text(&output);
        assert_eq!(output.status.code(), Some(1), "{drive}: {text}");
        assert!(text.contains("the server still had no room after 200ms"), "{drive}: {text}");
        // Known not to be done: nothing is in doubt.
        assert!(text.contains("verify: OK") && !text.contains("in doubt"), "{drive}: {text}");
        assert_eq!((value(&text, "ok"), value(&text, "err")), ("0", "8"), "{drive}: {text}");
    }
}

#[test]
fn every_acknowledgement_is_logged() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    for drive in RETRYING {
        let path = folder.path().join("acks");
        let server = ModelServer::start(50, 10_000, Defect::Flaky);
        let mix = "--mix deposit=3,withdraw=2,transfer=1,balance=1 --seed 5";
        let text = well(&server, &format!("{drive} {mix} --verify --ack-log {}", path.display()));
        let log = std::fs::read_to_string(&path).expect("the client wrote the file");
        let document = include_str!("../../docs/CLIENT.md");
        assert!(document.contains(log.lines().next().unwrap_or_default()), "docs/CLIENT.md lacks the heading");
        let lines: Vec<Vec<&str>> = log.lines().skip(1).map(|line| line.split(' ').collect()).collect();
        let done = |name: &str| {
            let sum = |cents: &str| cents.parse::<i64>().unwrap();
            lines.iter().filter(|line| line[4] == name && line[8] == "0").map(|line| sum(line[7])).sum::<i64>()
        };
        let [deposited, withdrawn] =
            ["deposit", "withdraw"].map(|name| bank_vault::base::vocab::Cents(done(name)).to_string());
        let totals = well(&server, "totals");
        assert!(totals.contains(&format!("\ndeposited: {deposited}\n")), "{drive}: {totals} {deposited}");
        assert!(totals.contains(&format!("\nwithdrawn: {withdrawn}\n")), "{drive}: {totals} {withdrawn}");
        let keys: std::collections::HashSet<_> = lines.iter().map(|line| line[1]).collect();
        assert!(keys.len() == lines.len() && keys.iter().all(|key| key.len() == 32), "{drive}");
        assert!(
            lines.iter().all(|line| line.len() == 11 && line[2].parse::<u64>().unwrap() <= line[3].parse().unwrap()),
            "{drive}"
        );
        let reads = text.lines().find(|line| line.starts_with("BALANCE")).expect("there were reads");
        let reads: usize = reads.split_whitespace().nth(1).unwrap().parse().unwrap();
        assert_eq!(lines.len() + reads, 2000, "{drive}: {text}");
    }
}

#[test]
fn history_shows_what_happened() {
    let server = ModelServer::start(10, 0, Defect::None);
    well(&server, "deposit 7 100");
    well(&server, "withdraw 7 1.50");
    well(&server, "transfer 7 8 20 --xor");
    let said = well(&server, "history 7 --xor");
    let rows: Vec<Vec<&str>> = said.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[1], ["3", "1970-01-01T00:00:03.000Z", "transfer", "to", "8", "-20.00", "78.50"], "{said}");
    assert_eq!(rows[2], ["2", "1970-01-01T00:00:02.000Z", "withdraw", "-1.50", "98.50"], "{said}");
    assert_eq!(rows[3], ["1", "1970-01-01T00:00:01.000Z", "deposit", "+100.00", "100.00"], "{said}");
    assert!(said.ends_with("nothing before this: the account's opening\n") && rows.len() == 5, "{said}");
    let said = well(&server, "history 8 --json");
    let row: serde_json::Value = serde_json::from_str(said.lines().next().unwrap_or_default()).expect("JSON");
    assert_eq!(
        (&row["kind"], &row["amount_cents"], &row["counterparty"]),
        (&"transfer from".into(), &2000.into(), &7.into())
    );
    assert!(well(&server, "history 7 --limit 1").ends_with("there is more: --before 3\n"));
    assert!(text(&client(&server, "history 99")).contains("HISTORY refused: ERR_NO_ACCOUNT"));
    let said = shell(&server, "history 7 --before 2\nhistory");
    let row: Vec<&str> = said.lines().nth_back(3).unwrap_or_default().split_whitespace().collect();
    assert_eq!(row[2..], ["deposit", "+100.00", "100.00"], "{said}");
    assert!(said.ends_with("history 7 --before 2\nhistory\n"), "{said}");
}

#[test]
fn history_goes_through_all_pages() {
    let server = ModelServer::start(2, 0, Defect::None);
    well(&server, "--threads 1 --ops 300 --mix deposit=1 --accounts 1-1");
    let lsns = |arguments: &str| {
        let said = well(&server, arguments);
        said.lines().filter_map(|line| line.split_whitespace().next()?.parse::<u64>().ok()).collect::<Vec<_>>()
    };
    assert_eq!(lsns("history 1 --all"), (1..=300).rev().collect::<Vec<_>>());
    assert_eq!(lsns("history 1 --limit 150 --before 200"), (50..200).rev().collect::<Vec<_>>());
    assert_eq!(lsns("history 1").len(), 20);
    assert_eq!(lsns("history 0 --all"), Vec::<u64>::new());
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
        let output = client(
            &server,
            &format!("{drive} --duration 1s --mix deposit=1 --verify --timeout 300ms --retry-for 300ms"),
        );
        let text = text(&output);
        assert_eq!(output.status.code(), Some(1), "{drive}: {text}");
        assert!(text.starts_with("RESULT:\n") && text.contains("connection lost, in doubt"), "{drive}: {text}");
        assert!(text.contains("Given up: 3 connections, the first because: "), "{drive}: {text}");
        assert!(text.contains("client: cannot verify: cannot connect to"), "{drive}: {text}");
    }
}
