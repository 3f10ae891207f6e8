//! The house rules that a compiler does not check: who may know whom, where `unsafe` may stand, how large a file may be.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Room → the rooms that it may import. Whatever is not listed is forbidden.
const ALLOWED: &[(&str, &[&str])] = &[
    // Floor 0: words.
    ("vocab", &[]),
    ("limits", &[]),
    ("calendar", &[]),
    ("defect", &[]),
    // What tools owe whoever runs them: results written whole, or said not to be.
    ("output", &[]),
    // Floor 1: what the kernel gives. It knows nothing of a bank.
    ("ipc", &[]),
    ("crash_point", &["ipc"]),
    ("logging", &["limits", "ipc"]),
    // And signals obeyed, after what must not be left undone.
    ("signals", &["ipc"]),
    // Floor 2: pure rules.
    ("wire", &["vocab", "limits"]),
    ("http", &["limits"]),
    ("config", &["vocab", "limits", "defect"]),
    // Not the accounts, not the sockets, not even shared memory: files alone.
    ("journal", &["vocab", "limits"]),
    // Floor 3: rules meet resources.
    // Of the journal, what a record looks like; not its files.
    ("ledger", &["vocab", "limits", "ipc", "crash_point", "defect", "journal"]),
    ("connection", &["limits", "ipc", "crash_point"]),
    ("service", &["vocab", "limits", "wire", "journal", "ledger", "connection"]),
    ("instance", &["vocab", "limits", "ipc", "logging", "ledger", "connection", "access_log"]),
    // Neither HTTP nor connections: lines come in, a file comes out.
    ("access_log", &["calendar", "limits", "ipc", "crash_point"]),
    // It looks, and changes nothing.
    (
        "status",
        &[
            "vocab",
            "limits",
            "calendar",
            "config",
            "ipc",
            "wire",
            "http",
            "journal",
            "ledger",
            "connection",
            "instance",
        ],
    ),
    // Floor 4: processes and tools.
    (
        "worker",
        &[
            "vocab",
            "config",
            "limits",
            "ipc",
            "crash_point",
            "wire",
            "journal",
            "ledger",
            "connection",
            "service",
            "instance",
            "http",
            "access_log",
            "status",
        ],
    ),
    ("journald", &["vocab", "config", "ipc", "crash_point", "journal", "ledger", "instance"]),
    // Not wire: it never reads a byte that a client sent. Of the ledger it knows how to settle and to sum up, not how to
    // move money.
    (
        "master",
        &[
            "vocab",
            "config",
            "limits",
            "ipc",
            "crash_point",
            "defect",
            "logging",
            "journal",
            "ledger",
            "connection",
            "service",
            "instance",
            "access_log",
            "worker",
            "journald",
        ],
    ),
    // It proves that the protocol document is enough.
    ("client", &["vocab", "limits", "calendar", "output", "signals", "wire"]),
    (
        "vaultctl",
        &[
            "vocab",
            "limits",
            "calendar",
            "output",
            "signals",
            "config",
            "ipc",
            "crash_point",
            "wire",
            "journal",
            "ledger",
            "connection",
            "service",
            "access_log",
            "instance",
            "status",
        ],
    ),
    // Floor 5: doors.
    ("bin/master", &["config", "defect", "logging", "master", "output"]),
    ("bin/client", &["client", "output", "signals"]),
    ("bin/vaultctl", &["output", "vaultctl"]),
];

/// Names by which the master must not reach into the ledger, although it may settle and sum up.
const NOT_FOR_MASTER: &[&str] = &["Teller", "ledger::rules", "ledger::teller"];
/// What of the journal the ledger and the services may know: records, not files.
const OF_RECORDS_ONLY: &[&str] = &["ledger", "service", "status"];

fn sources(folder: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The room that a file is in.
fn room_of(path: &Path) -> String {
    let relative = path.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap();
    let parts: Vec<_> = relative.iter().map(|part| part.to_str().unwrap()).collect();
    match parts.as_slice() {
        ["ipc", ..] => "ipc".to_owned(),
        ["bin", file] => format!("bin/{}", file.trim_end_matches(".rs")),
        ["src", file] => file.trim_end_matches(".rs").to_owned(),
        ["src", room, ..] => (*room).to_owned(),
        other => panic!("{other:?}"),
    }
}

/// The text without comments and without its unit tests, which may know more.
fn code_of(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let code = text.split("#[cfg(test)]").next().unwrap();
    code.lines().map(|line| line.split("//").next().unwrap()).collect::<Vec<_>>().join("\n")
}

/// The rooms that a text names, as `crate::ROOM` or `bank_vault::ROOM`, also inside `use crate::{…}`.
fn rooms_named(code: &str) -> Vec<String> {
    let mut named = Vec::new();
    for prefix in ["crate::", "bank_vault::"] {
        for (at, _) in code.match_indices(prefix) {
            let rest = &code[at + prefix.len()..];
            if let Some(list) = rest.strip_prefix('{') {
                let list = list.split_once(';').map_or(list, |(list, _)| list);
                let mut depth = 0;
                for piece in list.split_inclusive([',', '{', '}']) {
                    if depth == 0 {
                        named.push(first_word(piece.trim_start()));
                    }
                    depth += i32::from(piece.ends_with('{')) - i32::from(piece.ends_with('}'));
                }
            } else {
                named.push(first_word(rest));
            }
        }
    }
    named.retain(|name| !name.is_empty());
    named
}

fn first_word(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

fn forbidden_imports(allowed: &BTreeMap<&str, &[&str]>, room: &str, code: &str) -> Vec<String> {
    let may = allowed.get(room).unwrap_or_else(|| panic!("room `{room}` is not in the list"));
    let is_room = |name: &String| allowed.contains_key(name.as_str());
    rooms_named(code).into_iter().filter(is_room).filter(|name| name != room && !may.contains(&name.as_str())).collect()
}

#[test]
fn imports_point_downward_only() {
    let allowed: BTreeMap<_, _> = ALLOWED.iter().copied().collect();
    let mut wrong = Vec::new();
    for path in ["src", "ipc", "bin"].into_iter().flat_map(sources) {
        let room = room_of(&path);
        if room == "lib" {
            continue;
        }
        let code = code_of(&path);
        wrong.extend(
            forbidden_imports(&allowed, &room, &code).iter().map(|name| format!("{room} imports {name}: {path:?}")),
        );
        if OF_RECORDS_ONLY.contains(&room.as_str()) {
            let files = code.replace("crate::journal::record::", "").contains("crate::journal");
            wrong.extend(files.then(|| format!("{room} knows more of the journal than records: {path:?}")));
        }
        if room == "master" {
            wrong.extend(
                NOT_FOR_MASTER.iter().filter(|name| code.contains(**name)).map(|name| format!("master: {name}")),
            );
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_forbidden_import_would_be_seen() {
    let allowed: BTreeMap<_, _> = ALLOWED.iter().copied().collect();
    for code in
        ["use crate::ledger::Table;", "use crate::{limits, ledger::{rules, table}};", "let x = crate::ledger::take();"]
    {
        assert_eq!(forbidden_imports(&allowed, "wire", code), ["ledger"], "{code}");
    }
    assert_eq!(forbidden_imports(&allowed, "wire", "use crate::{limits, vocab::Cents};"), Vec::<String>::new());
}

#[test]
fn unsafe_stands_in_ipc_only() {
    let names_it =
        |path: &PathBuf| code_of(path).split(|c: char| !c.is_alphanumeric() && c != '_').any(|w| w == "unsafe");
    let outside: Vec<_> = ["src", "bin"].into_iter().flat_map(sources).filter(names_it).collect();
    assert!(outside.is_empty(), "{outside:?}");
    assert!(sources("ipc").iter().any(names_it), "and it is found where it stands");
}

#[test]
fn no_file_is_too_long_to_be_read() {
    let length = |path: &PathBuf| fs::read_to_string(path).unwrap().lines().count();
    let folders = ["src", "ipc", "bin", "tests", "examples", "benches"];
    let files: Vec<_> = folders
        .into_iter()
        .filter(|f| Path::new(env!("CARGO_MANIFEST_DIR")).join(f).is_dir())
        .flat_map(sources)
        .collect();
    let long: Vec<_> = files.iter().filter(|path| length(path) > 600).collect();
    assert!(long.is_empty(), "over 600 lines: {long:?}");
    let middling = files.iter().filter(|path| length(path) > 300).count();
    assert!(middling * 5 < files.len(), "most files are under 300 lines: {middling} of {} are not", files.len());
}
