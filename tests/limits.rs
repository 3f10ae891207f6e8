//! `docs/LIMITS.md` against the source: every public bound has a row with its true value, every row is of a bound, every metric and
//! every option that it names is there, and the defaults of options are true.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use bank_vault::status::cache::Cache;
use bank_vault::status::cluster::{Cluster, Member};
use bank_vault::status::sample::Worker;
use bank_vault::status::{Sample, metrics};

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The rows of all tables of the page whose first cell is code that begins with `prefix`: that code, and the other cells.
fn rows(page: &str) -> Vec<(String, Vec<String>)> {
    let cells = |line: &str| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
    let rows = page.lines().filter(|line| line.starts_with("| `")).map(|line| {
        let mut cells = cells(line);
        let name = cells.remove(0).trim_matches('`').to_owned();
        (name, cells)
    });
    rows.collect()
}

/// What stands between backquotes in a cell.
fn code(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The number that a text begins with.
fn first_number(text: &str) -> Option<i128> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text[..digits].parse().ok()
}

/// The value of a constant's expression: numbers and constants, combined from left to right.
fn value_of(expression: &str, known: &BTreeMap<String, i128>) -> i128 {
    let words = expression.replace(['(', ')'], "").replace(" as u64", "");
    let number = |word: &str| {
        let number = known.get(word).copied().or_else(|| word.replace('_', "").parse().ok());
        number.unwrap_or_else(|| panic!("`{word}` in {expression}"))
    };
    let words: Vec<&str> = words.split_whitespace().collect();
    words[1..].chunks(2).fold(number(words[0]), |value, pair| match (pair[0], number(pair[1])) {
        ("+", operand) => value + operand,
        ("-", operand) => value - operand,
        ("*", operand) => value * operand,
        ("/", operand) => value / operand,
        ("<<", operand) => value << operand,
        (other, _) => panic!("`{other}` in {expression}"),
    })
}

/// The public constants of `limits.rs`, with their values.
fn bounds() -> BTreeMap<String, i128> {
    let mut known = BTreeMap::new();
    for line in read("src/base/limits.rs").lines() {
        let Some((name, rest)) = line.strip_prefix("pub const ").and_then(|rest| rest.split_once(": ")) else {
            continue;
        };
        let expression = rest.split_once(" = ").unwrap().1.trim_end_matches(';');
        let value = value_of(expression, &known);
        known.insert(name.to_owned(), value);
    }
    known
}

#[test]
fn every_bound_is_on_the_page_with_its_value_and_nothing_else() {
    let bounds = bounds();
    assert!(
        bounds.len() > 40 && bounds["MAX_STATEMENT_ENTRIES"] == 109 && bounds["MAX_ACCOUNTS"] == 1 << 30,
        "{bounds:?}"
    );
    let page = read("docs/LIMITS.md");
    let told: BTreeMap<String, i128> = rows(&page)
        .into_iter()
        .filter(|(name, _)| !name.starts_with("--"))
        .map(|(name, cells)| {
            let number = first_number(&cells[0]).unwrap_or_else(|| panic!("{name}: {cells:?}"));
            assert!(cells[0].contains(' ') || cells[0].contains(':'), "{name} has no unit");
            (name, number)
        })
        .collect();
    assert_eq!(told, bounds, "docs/LIMITS.md and src/base/limits.rs");
}

#[test]
fn every_metric_and_option_that_the_page_names_is_there() {
    // One worker, a cache process and a cluster, so that what is of these is shown.
    let cluster = Cluster { members: vec![Member::default()], ..Cluster::default() };
    let (workers, cache) = (vec![Worker::default()], Some(Cache::default()));
    let sample = Sample { workers, cache, cluster: Some(cluster), ..Sample::default() };
    let text = metrics(&sample);
    // The page names no metric by the name that it has had.
    let metrics: BTreeSet<&str> = text
        .lines()
        .filter(|line| !line.contains("(old name, "))
        .filter_map(|line| line.strip_prefix("# HELP ")?.split(' ').next())
        .collect();
    let example = read("docs/vault.toml");
    let settings: toml::Table = example.parse().unwrap();
    let (mut metrics_named, mut options_named) = (0, 0);
    for (name, cells) in rows(&read("docs/LIMITS.md")) {
        let all: Vec<String> = cells.iter().flat_map(|cell| code(cell)).chain([name.clone()]).collect();
        for metric in all.iter().filter(|code| code.starts_with("vault_")) {
            assert!(metrics.contains(metric.as_str()), "{name}: there is no metric {metric}");
            metrics_named += 1;
        }
        for option in all.iter().filter_map(|code| code.strip_prefix("--")) {
            let is_there =
                example.lines().any(|line| line.trim_start_matches("# ").starts_with(&format!("{option} = ")));
            assert!(is_there, "{name}: there is no option --{option}");
            options_named += 1;
        }
        if let Some(option) = name.strip_prefix("--") {
            let default = settings[option].as_integer().map(i128::from);
            assert_eq!(first_number(&cells[0]), default, "the default of --{option}");
        }
    }
    assert!(metrics_named > 50 && options_named > 20, "{metrics_named} metrics and {options_named} options are named");
    // What was made to show that a bound was met is named by one.
    let page = read("docs/LIMITS.md");
    let of_bounds = ["evicted", "refused", "dropped", "failed", "overloaded", "waiting", "held"];
    let untold: Vec<_> = metrics
        .iter()
        .filter(|metric| of_bounds.iter().any(|part| metric.contains(part)) && !page.contains(&format!("`{metric}`")))
        .collect();
    assert!(untold.is_empty(), "{untold:?}");
}

#[test]
fn every_counter_of_bounds_is_described() {
    let sample = Sample { workers: vec![Worker::default()], ..Sample::default() };
    let json: serde_json::Value = serde_json::from_str(&sample.json()).unwrap();
    let described = read("docs/STATUS.md");
    let fields = json["workers"][0]["bounds"].as_object().unwrap();
    let untold: Vec<_> = fields.keys().filter(|field| !described.contains(&format!("`{field}`"))).collect();
    assert!(fields.len() > 10 && untold.is_empty(), "{untold:?}");
}

#[test]
fn a_page_that_is_wrong_would_be_seen() {
    let known = BTreeMap::from([("A_B".to_owned(), 10)]);
    for (expression, value) in
        [("65_536", 65_536), ("16 * 1024", 16_384), ("1 << 30", 1 << 30), ("8 + 8 + 1", 17), ("(A_B - 1 - 2) / 3", 2)]
    {
        assert_eq!(value_of(expression, &known), value, "{expression}");
    }
    let page = "| `X_Y` | 12 s | closed | `vault_a`, `vault_b` | `--x` |\n| name |\n";
    let rows = rows(page);
    assert_eq!(rows.len(), 1);
    assert_eq!((rows[0].0.as_str(), first_number(&rows[0].1[0])), ("X_Y", Some(12)));
    assert_eq!(
        (code(&rows[0].1[2]), code(&rows[0].1[3])),
        (vec!["vault_a".to_owned(), "vault_b".into()], vec!["--x".into()])
    );
}
