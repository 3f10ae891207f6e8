//! The house rules that a compiler does not check: who may know whom, where `unsafe` may stand, how long a file or a function may be.
//!
//! What a file knows is found by `support/imports.rs`, in its syntax tree.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::path::Path;

#[path = "support/imports.rs"]
mod imports;
#[path = "support/measure.rs"]
mod measure;
#[path = "support/room_rules.rs"]
mod room_rules;

use imports::{Edge, Source, edges};
use measure::Measure;
use room_rules::{BANS, Ban, FLOORS, NEIGHBOURS};

const LINES_OF_A_FUNCTION: usize = 70;

fn read(folders: &[&str]) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders: Vec<_> = folders.iter().map(|folder| root.join(folder)).filter(|folder| folder.is_dir()).collect();
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if path.is_dir() {
                // What a build of the fuzz targets leaves is not ours.
                folders.extend((path.file_name() != Some("target".as_ref())).then_some(path));
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push(Source { path: path.strip_prefix(root).unwrap().to_str().unwrap().to_owned(), text });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn code() -> Vec<Source> {
    read(&["src", "ipc", "bin"])
}

/// Whether a file is in one of these folders, or is one of these files; `FOLDER/*.rs` are those that are not further down.
fn is_in(path: &str, any: &[&str]) -> bool {
    any.iter().any(|place| match place.strip_suffix("*.rs") {
        Some(folder) => path.strip_prefix(folder).is_some_and(|file| !file.contains('/')),
        None => path.starts_with(place),
    })
}

/// Which floor a file is on. A floor's own `mod.rs` lists its rooms and holds what all of them share.
fn floor(path: &str) -> Option<usize> {
    FLOORS.iter().position(|rooms| is_in(path, rooms))
}

/// The room that a file is in: `src/store/ledger/`, or `src/base/vocab.rs`.
fn room(path: &str) -> &str {
    let depth = if path.starts_with("src/") { 3 } else { 1 };
    match path.match_indices('/').nth(depth - 1) {
        Some((end, _)) => &path[..=end],
        None => path,
    }
}

/// What is wrong with an edge, if anything.
fn breach(edge: &Edge) -> Option<String> {
    let from = floor(&edge.from)?;
    if let Some(to) = floor(&edge.to) {
        if to > from {
            return Some("imports point downward only".to_owned());
        }
        let (room, other) = (room(&edge.from), room(&edge.to));
        let may = |(who, whom): &&(&str, &[&str])| is_in(&edge.from, &[who]) && is_in(&edge.to, whom);
        if to == from && room != other && !NEIGHBOURS.iter().any(|entry| may(&entry)) {
            return Some(format!("{room} must not know {other}"));
        }
    }
    let holds_for = |ban: &&Ban| is_in(&edge.from, ban.who) && !is_in(&edge.from, ban.spared);
    let banned = |ban: &&Ban| is_in(&edge.to, ban.knows) && !is_in(&edge.to, ban.but);
    BANS.iter().filter(holds_for).find(banned).map(|ban| ban.why.to_owned())
}

fn breaches(edges: &[Edge]) -> BTreeMap<(&str, &str), String> {
    let told = |edge: &Edge, why: &str| format!("{}:{} uses {} ({}): {why}", edge.from, edge.line, edge.to, edge.path);
    let found = edges.iter().filter_map(|edge| breach(edge).map(|why| (edge, why)));
    found.map(|(edge, why)| ((edge.from.as_str(), edge.to.as_str()), told(edge, &why))).collect()
}

/// The edges within the crate, by the file that they come from.
fn by_file<'a>(edges: &[&'a Edge]) -> BTreeMap<&'a str, Vec<&'a Edge>> {
    let mut by_file: BTreeMap<&str, Vec<&Edge>> = BTreeMap::new();
    let inner = edges.iter().filter(|edge| floor(&edge.to).is_some());
    inner.for_each(|edge| by_file.entry(&edge.from).or_default().push(edge));
    by_file
}

/// The shortest circle that leads through a file, as the edges that make it.
fn circle_through<'a>(edges: &BTreeMap<&'a str, Vec<&'a Edge>>, start: &'a str) -> Option<Vec<&'a Edge>> {
    let mut came: BTreeMap<&str, &Edge> = BTreeMap::new();
    let mut waiting = VecDeque::from([start]);
    while let Some(file) = waiting.pop_front() {
        for edge in edges.get(file).into_iter().flatten() {
            if came.contains_key(edge.to.as_str()) {
                continue;
            }
            came.insert(&edge.to, edge);
            waiting.push_back(&edge.to);
            if edge.to == start {
                let mut circle = vec![came[start]];
                while circle[0].from != start {
                    circle.insert(0, came[circle[0].from.as_str()]);
                }
                return Some(circle);
            }
        }
    }
    None
}

/// The shortest circle of all, if there is one.
fn shortest_circle(edges: &[&Edge]) -> Option<String> {
    let by_file = by_file(edges);
    let circles = by_file.keys().filter_map(|file| circle_through(&by_file, file));
    let told = |edge: &&Edge| format!("{}:{} uses {} ({})", edge.from, edge.line, edge.to, edge.path);
    circles.min_by_key(Vec::len).map(|circle| circle.iter().map(told).collect::<Vec<_>>().join("\n  "))
}

#[test]
fn imports_point_downward_and_know_no_more_than_they_may() {
    let edges = edges(&code());
    let breaches = breaches(&edges);
    assert!(breaches.is_empty(), "who must not know whom: {:#?}", breaches.values());
}

#[test]
fn there_are_no_circles() {
    let edges = edges(&code());
    if let Some(circle) = shortest_circle(&edges.iter().collect::<Vec<_>>()) {
        panic!("a circle of imports:\n  {circle}");
    }
}

#[test]
fn every_place_that_the_tables_name_is_there() {
    let neighbours = NEIGHBOURS.iter().flat_map(|(who, whom)| [*who].into_iter().chain(whom.iter().copied()));
    let banned = BANS.iter().flat_map(|ban| [ban.who, ban.spared, ban.knows, ban.but].concat());
    let ours = |place: &&str| ["src/", "ipc/", "bin/"].iter().any(|folder| place.starts_with(folder));
    let files = code();
    let is_there = |place: &&str| files.iter().any(|file| is_in(&file.path, &[place]));
    let gone: BTreeSet<_> = neighbours.chain(banned).filter(ours).filter(|place| !is_there(place)).collect();
    assert!(gone.is_empty(), "a rule about what is not there holds nothing: {gone:?}");
}

/// Files in memory.
fn written(files: &[(&str, &str)]) -> Vec<Source> {
    files.iter().map(|(path, text)| Source { path: (*path).to_owned(), text: (*text).to_owned() }).collect()
}

/// A house with a façade, into which `text` is put as `src/service/bank/rules/deep.rs`.
fn house_with(text: &str) -> Vec<Source> {
    written(&[
        ("bin/master.rs", "use bank_vault::process::run; fn main() { run(); }"),
        (
            "src/lib.rs",
            "#[path = \"../ipc/mod.rs\"] pub mod ipc; pub mod base; pub mod store; pub mod service; pub mod process;",
        ),
        ("ipc/mod.rs", "#[macro_export] macro_rules! shared { () => { $crate::ipc::Memory } } pub struct Memory;"),
        ("src/base/mod.rs", "pub mod vocab;"),
        ("src/base/vocab.rs", "pub struct Cents; #[cfg(test)] mod tests { use crate::process::run; }"),
        ("src/store/mod.rs", "pub mod ledger;"),
        ("src/store/ledger/mod.rs", "mod table; mod teller; pub use table::Table; pub use teller::*;"),
        ("src/store/ledger/table.rs", "pub struct Table;"),
        ("src/store/ledger/teller.rs", "use super::Table; pub struct Teller(Table);"),
        ("src/service/mod.rs", "pub mod bank;"),
        ("src/service/bank/mod.rs", "pub mod rules; pub mod wire;"),
        ("src/service/bank/wire.rs", "pub struct Frame;"),
        ("src/service/bank/rules/mod.rs", "mod deep; pub(crate) use deep::Deep;"),
        ("src/service/bank/rules/deep.rs", text),
        ("src/process/mod.rs", "pub fn run() { let _ = crate::store::ledger::Teller::default(); }"),
    ])
}

/// The files that `src/service/bank/rules/deep.rs` uses.
fn used_by(text: &str) -> Vec<String> {
    let found = edges(&house_with(text)).into_iter().filter(|edge| edge.from == "src/service/bank/rules/deep.rs");
    found.map(|edge| edge.to).collect()
}

#[test]
fn an_edge_is_found_however_it_is_written() {
    for text in [
        "use crate::store::ledger::Table;",
        "use crate::{base, store::{self, ledger::{Table as T}}};",
        "use crate::store; fn f() { let _ = store::ledger::Table; }",
        "fn f() { let _ = crate::store::ledger::Table; }",
        "fn f() { use super::super::super::super::store::ledger as l; fn g(_: l::Table) {} }",
        "fn f(_: Option<super::super::super::super::store::ledger::Table>) {}",
        "fn f() { assert_eq!(1, { crate::store::ledger::Table; 1 }); }",
        "fn f() { make! { use crate::store::{ledger::{Table}}; } }",
        "#[serde(with = \"crate::store::ledger::Table\")] struct S;",
        "mod inside { use super::super::super::super::super::store::ledger::*; fn f(_: Table) {} }",
        "impl From<crate::store::ledger::Table> for u8 {}",
    ] {
        let used = used_by(text);
        let table = "src/store/ledger/table.rs".to_owned();
        assert!(used.contains(&table), "{text}: {used:?}");
    }
}

#[test]
fn what_is_no_edge_is_not_taken_for_one() {
    for text in [
        "#[cfg(test)] use crate::store::ledger::Table;",
        "#[cfg(all(test, feature = \"model\"))] mod tests { use crate::store::ledger::Table; }",
        "/// [`crate::store::ledger::Table`]\nstruct S;",
        "fn f() -> &'static str { \"crate::store::ledger::Table\" }",
        "struct Table; fn f(_: Table, ledger: u8) { println!(\"{}\", ledger.store) }",
    ] {
        assert_eq!(used_by(text), Vec::<String>::new(), "{text}");
    }
    // Of others, what they define; the façade of its own folder, and what a macro expands to, is not the caller's.
    assert_eq!(
        used_by("use nix::sys::{socket, signal::*}; fn f() { socket::bind(); }"),
        ["nix::sys::signal", "nix::sys::socket", "nix::sys::socket::bind"]
    );
    assert_eq!(used_by("use crate::shared; fn f() { shared!(); }"), ["ipc/mod.rs"]);
    assert_eq!(used_by("use crate::store::ledger::Teller;"), ["src/store/ledger/teller.rs"]);
}

#[test]
fn a_seeded_breach_is_seen() {
    let breaches_of = |text: &str| breaches(&edges(&house_with(text))).into_values().collect::<Vec<_>>();
    assert_eq!(
        breaches_of("use crate::base::vocab::Cents; use crate::service::bank::wire::Frame;"),
        Vec::<String>::new()
    );
    for text in ["fn f() { crate::process::run(); }", "use crate::{base::vocab, process::{run}};"] {
        let found = breaches_of(text);
        assert!(found.len() == 1 && found[0].contains("deep.rs:1 uses src/process/mod.rs"), "{text}: {found:?}");
    }
    let edge = |from: &str, to: &str| Edge { from: from.to_owned(), to: to.to_owned(), line: 1, path: String::new() };
    for (from, to) in [
        ("ipc/net.rs", "src/base/vocab.rs"),
        ("src/base/vocab.rs", "src/base/logging.rs"),
        ("src/service/http/session/desk.rs", "src/service/bank/wire/frame.rs"),
        ("src/process/worker/mod.rs", "src/process/master/mod.rs"),
        ("src/process/worker/mod.rs", "src/store/journal/writer.rs"),
        ("src/process/master/books.rs", "src/store/ledger/teller.rs"),
        ("src/tool/client/mod.rs", "src/tool/vaultctl/mod.rs"),
        ("src/tool/client/mod.rs", "ipc/process.rs"),
        ("src/service/http/rules/cache/mod.rs", "std::sync::Mutex"),
        ("src/store/journal/writer.rs", "std::net::TcpStream"),
    ] {
        assert!(breach(&edge(from, to)).is_some(), "{from} -> {to}");
    }
}

#[test]
fn a_seeded_circle_is_told_file_by_file() {
    let circle_with = |text: &str| shortest_circle(&edges(&house_with(text)).iter().collect::<Vec<_>>());
    assert_eq!(circle_with("pub struct Deep;"), None, "a façade is no circle");
    let mut sources = house_with("use crate::store::ledger::Table;\npub struct Deep;");
    sources.iter_mut().find(|source| source.path.ends_with("table.rs")).unwrap().text =
        "\nfn f() { log!(super::super::super::service::bank::rules::Deep); }\npub struct Table;".to_owned();
    let edges = edges(&sources);
    assert_eq!(
        shortest_circle(&edges.iter().collect::<Vec<_>>()).unwrap().lines().collect::<Vec<_>>(),
        [
            "src/service/bank/rules/deep.rs:1 uses src/store/ledger/table.rs (crate::store::ledger::Table)",
            "  src/store/ledger/table.rs:2 uses src/service/bank/rules/deep.rs \
             (super::super::super::service::bank::rules::Deep)"
        ]
    );
    // A `mod.rs` that is more than a façade is a file like others.
    let mut sources = house_with("use super::LIMIT; pub struct Deep;");
    sources.iter_mut().find(|source| source.path.ends_with("rules/mod.rs")).unwrap().text =
        "mod deep; pub use deep::Deep; const LIMIT: u8 = 1; fn f(_: Deep) {}".to_owned();
    let circle = shortest_circle(&imports::edges(&sources).iter().collect::<Vec<_>>()).unwrap();
    assert!(circle.contains("rules/mod.rs:1 uses src/service/bank/rules/deep.rs (Deep)"), "{circle}");
}

#[test]
fn unsafe_stands_in_ipc_only() {
    let lines = |source: &Source| {
        Measure::of(source).unsafe_lines.into_iter().map(|line| format!("{}:{line}", source.path)).collect::<Vec<_>>()
    };
    let outside: Vec<_> = read(&["src", "bin"]).iter().flat_map(lines).collect();
    assert!(outside.is_empty(), "{outside:#?}");
    assert!(!read(&["ipc"]).iter().flat_map(lines).collect::<Vec<_>>().is_empty(), "and it is found where it stands");
    for text in [
        "fn f() { unsafe { g() } }",
        "unsafe fn f() {}",
        "unsafe impl Send for S {}",
        "unsafe trait T {}",
        "unsafe extern \"C\" { fn f(); }",
        "#[unsafe(no_mangle)] fn f() {}",
        "make! { fn f() { unsafe { g() } } }",
    ] {
        assert_eq!(Measure::of(&written(&[("f.rs", text)])[0]).unsafe_lines, BTreeSet::from([1]), "{text}");
    }
    assert!(Measure::of(&written(&[("f.rs", "/// unsafe\nfn f() { say(\"unsafe\"); }")])[0]).unsafe_lines.is_empty());
}

#[test]
fn no_file_is_too_long_to_be_read() {
    let length = |source: &&Source| source.text.lines().count();
    let files = read(&["src", "ipc", "bin", "tests", "examples", "benches"]);
    let long: Vec<_> = files.iter().filter(|file| length(file) > 600).map(|file| &file.path).collect();
    assert!(long.is_empty(), "over 600 lines: {long:?}");
    let middling = files.iter().filter(|file| length(file) > 300).count();
    assert!(middling * 5 < files.len(), "most files are under 300 lines: {middling} of {} are not", files.len());
}

#[test]
fn no_function_is_too_long_to_be_read() {
    let mut long = BTreeMap::new();
    for source in &code() {
        for (name, lines) in Measure::of(source).functions {
            if lines >= LINES_OF_A_FUNCTION {
                long.insert(format!("{}: {name}", source.path), lines);
            }
        }
    }
    assert!(long.is_empty(), "{LINES_OF_A_FUNCTION} lines or more: {long:#?}");
    let text = format!("fn f() {{\n{}}}", "g();\n".repeat(68));
    assert_eq!(Measure::of(&written(&[("f.rs", &text)])[0]).functions, [("f".to_owned(), 70)]);
}
