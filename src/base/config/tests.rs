//! Precedence, every refusal, and that help, file and defaults tell the same story.

use super::*;
use clap::{CommandFactory, Parser};

const EXAMPLE: &str = include_str!("../../../docs/vault.toml");

fn command_line(words: &[&str]) -> Result<Settings, String> {
    let options = Options::try_parse_from([&["master"], words].concat()).map_err(|e| e.to_string())?;
    Settings::load(options).map_err(|e| e.to_string())
}

fn file(text: &str) -> Result<Settings, String> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("vault.toml");
    std::fs::write(&path, text).unwrap();
    command_line(&["--config", path.to_str().unwrap()])
}

/// The names that the TOML form knows, taken from its refusal of one that it does not.
fn names_in_toml() -> Vec<String> {
    let refusal = toml::from_str::<Values>("no-such-setting = 1").unwrap_err().message().to_owned();
    let mut names: Vec<_> = refusal.split('`').skip(3).step_by(2).map(str::to_owned).collect();
    names.sort();
    names
}

/// Those of a service that is not offered yet.
fn names_hidden() -> Vec<String> {
    let command = Options::command();
    let hidden = command.get_arguments().filter(|argument| argument.is_hide_set());
    hidden.filter_map(|argument| argument.get_long().map(str::to_owned)).collect()
}

fn names_in_help() -> Vec<String> {
    let mut names: Vec<_> = Options::command()
        .get_arguments()
        .filter_map(|argument| argument.get_long().map(str::to_owned))
        .filter(|name| !["config", "check-upgrade", "break"].contains(&name.as_str()))
        .collect();
    names.sort();
    names
}

#[test]
fn the_command_line_wins_over_the_file_and_the_file_over_the_defaults() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("vault.toml");
    std::fs::write(&path, "port = 1000\naccounts = 5\ninitial-balance = \"12.50\"\naccept = \"shared\"\n").unwrap();
    let settings = command_line(&["--config", path.to_str().unwrap(), "--port", "2000"]).unwrap();
    assert_eq!(
        settings,
        Settings {
            port: 2000,
            accounts: 5,
            initial_balance: Cents(1250),
            accept: AcceptMode::Shared,
            ..Settings::default()
        }
    );
}

#[test]
fn nothing_said_gives_the_defaults() {
    assert_eq!(command_line(&[]).unwrap(), Settings::default());
    assert_eq!(file("").unwrap(), Settings::default());
}

#[test]
fn the_annotated_example_is_the_defaults_and_names_every_setting() {
    assert_eq!(file(EXAMPLE).unwrap(), Settings::default());
    let hidden = names_hidden();
    for name in names_in_toml().into_iter().filter(|name| !hidden.contains(name)) {
        let named = EXAMPLE.lines().any(|line| line.trim_start_matches("# ").starts_with(&format!("{name} = ")));
        assert!(named, "docs/vault.toml does not tell of `{name}`");
    }
}

#[test]
fn help_and_file_name_the_same_settings() {
    assert!(names_in_toml().len() >= 15, "{:?}", names_in_toml());
    assert_eq!(names_in_help(), names_in_toml());
}

#[test]
fn help_tells_the_true_defaults() {
    let command = Options::command();
    let example: toml::Table = EXAMPLE.parse().unwrap();
    for argument in command.get_arguments() {
        let (Some(name), Some(help)) = (argument.get_long(), argument.get_help()) else { continue };
        let Some(value) = example.get(name) else { continue };
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        assert!(help.to_string().contains(&format!("[default: {value}]")), "--{name}: {help}");
    }
}

#[test]
fn zero_turns_the_timeout_and_the_limit_off() {
    let settings = command_line(&["--idle-timeout", "0", "--rate-limit", "0"]).unwrap();
    assert_eq!((settings.idle_timeout, settings.rate_limit), (None, None));
    let settings = command_line(&["--idle-timeout", "7", "--rate-limit", "50"]).unwrap();
    assert_eq!((settings.idle_timeout, settings.rate_limit), (Some(Duration::from_secs(7)), NonZeroU32::new(50)));
}

/// Setting, refused value, and a part of the range that the refusal must name.
const REFUSED: &[(&str, &str, &str)] = &[
    ("host", "localhost:1", "127.0.0.1"),
    ("port", "-1", "0 to 65535"),
    ("port", "65536", "0 to 65535"),
    ("workers", "0", "1 to 64"),
    ("workers", "65", "1 to 64"),
    ("accounts", "0", "1 to 1073741824"),
    ("accounts", "1073741825", "1 to 1073741824"),
    ("initial-balance", "1.234", "0.00 and more"),
    ("initial-balance", "-0.01", "0.00 and more"),
    ("initial-balance", "9223372036854.78", "0.00 to 9223372036854.77"),
    ("instance", "", "1 to 32 characters"),
    ("instance", "Vault", "a-z"),
    ("instance", "a/b", "a-z"),
    ("instance", "abcdefghijklmnopqrstuvwxyz0123456", "1 to 32 characters"),
    ("max-connections", "0", "1 to 65536"),
    ("max-connections", "65537", "1 to 65536"),
    ("idle-timeout", "-1", "0 to 31536000"),
    ("idle-timeout", "31536001", "0 to 31536000"),
    ("login-timeout", "0", "1 to 3600"),
    ("login-timeout", "3601", "1 to 3600"),
    ("rate-limit", "-1", "0 to 1000000000"),
    ("rate-limit", "1000000001", "0 to 1000000000"),
    ("queue-depth", "0", "1 to 256"),
    ("queue-depth", "257", "1 to 256"),
    ("worker-timeout", "0", "1 to 3600"),
    ("worker-timeout", "3601", "1 to 3600"),
    ("accept", "thundering", "dispatch"),
    ("durability", "maybe", "none"),
    ("flush-interval", "0", "1 to 60000"),
    ("flush-interval", "60001", "1 to 60000"),
    ("key-window", "0", "1 to 100000000"),
    ("key-window", "100000001", "1 to 100000000"),
    ("snapshot-every", "-1", "0 to"),
    ("segment-records", "4095", "4096 to 8388608"),
    ("segment-records", "8388609", "4096 to 8388608"),
    ("getfile-cache-mb", "-1", "0 to 1048576"),
    ("getfile-object-mb", "0", "1 to 1048576"),
    ("getfile-ttl", "-1", "0 to 31536000"),
    ("getfile-negative-ttl", "31536001", "0 to 31536000"),
    ("getfile-upstream-timeout", "0", "1 to 3600"),
    ("getfile-upstream", "ftp://h", "http:// or https://"),
    ("cache-channel", "pipes", "memfd"),
    ("cache-segments", "0", "1 to 1024"),
    ("cache-segments", "1025", "1 to 1024"),
    ("cache-segment-bytes", "256", "its header of 256"),
    ("cache-segment-bytes", "823", "824 to 67108864"),
    ("cache-segment-bytes", "67108865", "824 to 67108864"),
    ("replica-id", "0", "1 to 7"),
    ("replica-id", "8", "1 to 7"),
    ("kv-port", "65536", "0 to 65535"),
    ("kv-mb", "0", "1 to 65536"),
    ("kv-mb", "65537", "1 to 65536"),
    ("kv-max-value", "0", "1 to 65536"),
    ("kv-max-value", "65537", "1 to 65536"),
    ("kv-connections", "0", "1 to 65536"),
    ("rpcbind", "maybe", "require"),
    ("peers", "1=h", "HOST:PORT"),
    ("peers", "8=h:1", "1 to 7"),
];

/// Numbers stand bare in TOML; the rest is text.
fn toml_line(name: &str, value: &str) -> String {
    let is_number = value.parse::<i64>().is_ok();
    if is_number { format!("{name} = {value}\n") } else { format!("{name} = \"{value}\"\n") }
}

#[test]
fn every_refusal_names_setting_value_and_range_from_either_source() {
    for (name, value, range) in REFUSED {
        let by_file = file(&toml_line(name, value)).unwrap_err();
        let by_line = command_line(&[&format!("--{name}={value}")]).unwrap_err();
        for refusal in [by_file, by_line] {
            for part in [name, value, range] {
                assert!(refusal.contains(part), "{name}={value}: `{part}` is not named in: {refusal}");
            }
        }
    }
}

#[test]
fn every_numeric_range_includes_its_ends() {
    for range in [
        range::PORT,
        range::WORKERS,
        range::ACCOUNTS,
        range::CONNECTIONS,
        range::IDLE_TIMEOUT,
        range::RATE_LIMIT,
        range::QUEUE_DEPTH,
        range::WORKER_TIMEOUT,
        range::GETFILE_CACHE_MB,
        range::GETFILE_OBJECT_MB,
        range::GETFILE_TTL,
        range::GETFILE_NEGATIVE_TTL,
        range::GETFILE_UPSTREAM_TIMEOUT,
        range::CACHE_SEGMENTS,
        range::CACHE_SEGMENT_BYTES,
        range::KV_PORT,
        range::KV_MB,
        range::KV_MAX_VALUE,
        range::KV_CONNECTIONS,
    ] {
        for end in [range.least, range.most] {
            command_line(&[&format!("--{}={end}", range.name)]).unwrap();
        }
        assert!(names_in_toml().iter().any(|name| name == range.name), "{}", range.name);
    }
}

#[test]
fn a_word_for_a_number_is_refused_with_the_range() {
    let refusal = command_line(&["--workers", "many"]).unwrap_err();
    assert!(refusal.contains("many") && refusal.contains("1 to 64"), "{refusal}");
    let refusal = command_line(&["--port", "99999999999999999999"]).unwrap_err();
    assert!(refusal.contains("0 to 65535"), "{refusal}");
}

#[test]
fn an_empty_path_is_refused_by_name() {
    for name in ["data", "users", "opening-balances", "cluster-secret"] {
        let refusal = file(&toml_line(name, "")).unwrap_err();
        assert!(refusal.starts_with(name) && refusal.contains("empty"), "{refusal}");
        let refusal = command_line(&[&format!("--{name}=")]).unwrap_err();
        assert!(refusal.contains(name), "{refusal}");
    }
}

#[test]
fn an_unknown_key_and_a_missing_file_are_named() {
    let refusal = file("port = 1\nprot = 2\n").unwrap_err();
    assert!(refusal.contains("unknown field `prot`") && refusal.contains("line 2"), "{refusal}");
    let refusal = command_line(&["--config", "/nonexistent/vault.toml"]).unwrap_err();
    assert!(refusal.contains("/nonexistent/vault.toml") && refusal.contains("--config"), "{refusal}");
}

#[test]
fn the_opening_total_is_checked_against_the_accounts() {
    let greatest = command_line(&["--accounts", "1", "--initial-balance", "92233720368547758.07"]).unwrap();
    assert_eq!(greatest.initial_balance, Cents(i64::MAX));
    let refusal = command_line(&["--accounts", "2", "--initial-balance", "92233720368547758.07"]).unwrap_err();
    assert!(refusal.contains("each of 2 accounts"), "{refusal}");
}

#[test]
fn without_users_only_loopback_is_served() {
    for host in ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"] {
        command_line(&["--host", host]).unwrap();
    }
    for host in ["0.0.0.0", "192.0.2.1", "::", "::ffff:192.0.2.1"] {
        let refusal = command_line(&["--host", host]).unwrap_err();
        assert!(refusal.contains("demo") && refusal.contains("--users") && refusal.contains(host), "{refusal}");
        command_line(&["--host", host, "--users", "users"]).unwrap();
    }
}

#[test]
fn getfile_has_one_source_and_the_cache_process_where_it_is_of_use() {
    let port = ["--getfile-port", "7779"];
    for (words, uses_cache) in [
        (&["--getfile-root", "d"][..], false),
        (&["--getfile-map", "m"], true),
        (&["--getfile-map", "m", "--getfile-cache-mb", "0"], false),
        (&["--getfile-upstream", "http://h/d/"], true),
        (&["--getfile-upstream", "http://h", "--getfile-cache-mb", "0"], true),
    ] {
        let settings = command_line(&[&port, words].concat()).unwrap();
        assert_eq!(settings.getfile.uses_cache(), uses_cache, "{words:?}");
        let refusal = command_line(words).unwrap_err();
        assert!(refusal.contains("--getfile-port"), "{refusal}");
        let refusal =
            command_line(&[&port, words, &["--getfile-root", "e", "--getfile-upstream", "http://i"]].concat());
        assert!(refusal.is_err(), "{words:?}");
    }
    let refusal = command_line(&port).unwrap_err();
    assert!(["--getfile-root", "--getfile-map", "--getfile-upstream"].iter().all(|name| refusal.contains(name)));
}

#[test]
fn the_key_value_service_is_off_and_then_on_loopback_unless_it_is_named() {
    assert!(!Settings::default().kv.is_on());
    let words = ["--kv-port=9001", "--kv-mb=1", "--kv-max-value=1000", "--kv-connections=7", "--rpcbind=require"];
    let settings = command_line(&words).unwrap();
    let (rpcbind, public) = (RpcbindMode::Require, false);
    let kv = Kv { port: 9001, table_bytes: 1 << 20, max_value_bytes: 1000, connections: 7, public, rpcbind };
    assert!(kv.is_on());
    assert_eq!(settings.kv, kv);
    let by_file = "kv-port = 9001\nkv-mb = 1\nkv-max-value = 1000\nkv-connections = 7\nrpcbind = \"require\"\n";
    assert_eq!(file(by_file).unwrap(), settings);
    for (host, local) in
        [("0.0.0.0", "127.0.0.1"), ("192.0.2.1", "127.0.0.1"), ("::", "::1"), ("127.0.0.3", "127.0.0.3")]
    {
        let (host, local): (IpAddr, IpAddr) = (host.parse().unwrap(), local.parse().unwrap());
        assert_eq!((kv.host(host), Kv { public: true, ..kv.clone() }.host(host)), (local, host));
    }
    assert!(command_line(&["--kv-public"]).unwrap().kv.public && file("kv-public = true").unwrap().kv.public);
    let names = ["kv-port", "kv-mb", "kv-max-value", "kv-connections", "rpcbind"];
    assert_eq!(Settings::default().differences(&settings), names);
}

const CLUSTER: [&str; 6] =
    ["--replica-id", "2", "--peers", "3=[::1]:7900,1=one:7900,2=10.0.0.2:7900", "--cluster-secret", "secret"];

#[test]
fn a_cluster_is_named_as_a_whole_or_not_at_all() {
    let settings = command_line(&CLUSTER).unwrap();
    let cluster = settings.cluster.clone().unwrap();
    let peers: Vec<_> = cluster.peers.iter().map(|(replica, address)| (replica.number(), &address[..])).collect();
    assert_eq!(peers, [(1, "one:7900"), (2, "10.0.0.2:7900"), (3, "[::1]:7900")]);
    assert_eq!((cluster.replica.number(), cluster.own_address()), (2, "10.0.0.2:7900"));
    assert_eq!(cluster.secret, Path::new("secret"));
    let by_file = "replica-id = 2\npeers = \"3=[::1]:7900,1=one:7900,2=10.0.0.2:7900\"\ncluster-secret = \"secret\"\n";
    assert_eq!(file(by_file).unwrap(), settings);
    let text = serde_json::to_string(&settings).unwrap();
    assert_eq!(serde_json::from_str::<Settings>(&text).unwrap(), settings, "an upgrade hands it over");
    for named in [[true, false, false], [false, true, false], [false, false, true], [true, true, false]] {
        let words: Vec<_> =
            CLUSTER.chunks(2).zip(named).filter(|(_, named)| *named).flat_map(|(pair, _)| pair).collect();
        let refusal = command_line(&words.into_iter().copied().collect::<Vec<_>>()).unwrap_err();
        for (pair, named) in CLUSTER.chunks(2).zip(named) {
            let (before, after) = refusal.split_once("without").unwrap();
            let name = &pair[0][2..];
            assert!(if named { before } else { after }.contains(name), "{named:?}: {refusal}");
        }
    }
}

#[test]
fn a_cluster_has_this_instance_among_its_peers_and_all_on_disk() {
    let with = |words: &[&'static str]| command_line(&[&CLUSTER[2..], words].concat());
    let refusal = with(&["--replica-id", "4"]).unwrap_err();
    assert!(refusal.contains("`4` is not among the peers"), "{refusal}");
    for durability in ["async", "none"] {
        let refusal = with(&["--replica-id", "1", "--durability", durability]).unwrap_err();
        assert!(refusal.contains(durability) && refusal.contains("peers") && refusal.contains("sync"), "{refusal}");
        assert_eq!(refusal.lines().count(), 1);
    }
    for mode in ["dispatch", "shared", "reuseport"] {
        with(&["--replica-id", "1", "--durability", "sync", "--accept", mode]).unwrap();
    }
}

#[test]
fn another_cluster_is_a_difference_and_an_upgrade_keeps_the_one_that_runs() {
    let alone = Settings::default();
    let member = command_line(&CLUSTER).unwrap();
    let other = command_line(&[&["--replica-id", "1"][..], &CLUSTER[2..]].concat()).unwrap();
    assert_eq!(alone.differences(&member), ["replica-id", "peers", "cluster-secret"]);
    assert_eq!(member.differences(&other), ["replica-id"]);
    let (kept, stay) = other.upgraded_from(&member);
    assert_eq!((kept, stay), (member, vec!["replica-id"]));
}

#[test]
fn the_command_is_well_formed() {
    Options::command().debug_assert();
}

#[cfg(not(feature = "break-it"))]
#[test]
fn a_server_for_money_cannot_be_told_to_break() {
    assert!(command_line(&["--break", "repair"]).unwrap_err().contains("unexpected argument"));
    assert!(file("break = \"repair\"").unwrap_err().contains("unknown field"));
}
