//! `kv_client` against servers that hold keys in memory and do what they are told: what it shows, its exit codes, and how it follows.

use std::collections::{BTreeMap, HashMap};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use bank_vault::base::limits::MAX_KV_PAGE;
use bank_vault::base::onc_rpc::{Call, write_refusal};
use bank_vault::base::vocab::Lsn;
use bank_vault::service::kv::wire::{KvRefusal, KvReply, KvRequest, NodeStatus, RequestId, ScanEntry, write_page};

/// Where nobody listens.
const NOBODY: &str = "127.0.0.1:1";

/// A promise that members break.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    /// A byte of what is read is another one.
    ChangedByte,
    /// What is read is the value of another key.
    OtherKey,
    /// Writes are answered, and not done, once every key is there.
    LostWrite,
    /// A read finds nothing.
    Missing,
}

/// What all members of a cluster hold.
#[derive(Default)]
pub struct Store {
    keys: BTreeMap<Vec<u8>, (Lsn, Vec<u8>)>,
    pub last: u64,
    /// The replies to writes with these ids.
    known: HashMap<RequestId, Vec<u8>>,
    /// The address of the primary.
    primary: String,
    /// So many writes are carried out, and their connection is closed without a reply.
    pub replies_lost: u32,
    /// So many writes are answered that there is no quorum, once no reply is lost any more.
    pub without_quorum: u32,
    /// After so long.
    quorum_wait: Duration,
    /// Which promise is broken, if one is.
    pub defect: Option<Defect>,
    /// Procedures that were asked for, with the address of who was asked.
    asked: Vec<(u32, String)>,
}

pub type Shared = Arc<Mutex<Store>>;

/// A server that lives as long as the test's process. The first one is the primary.
pub fn member(store: &Shared) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mut locked = store.lock().unwrap();
    if locked.primary.is_empty() {
        locked.primary.clone_from(&address);
    }
    drop(locked);
    let (store, own) = (store.clone(), address.clone());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (store, own) = (store.clone(), own.clone());
            thread::spawn(move || serve(&store, &own, stream.unwrap()));
        }
    });
    address
}

fn serve(store: &Shared, own: &str, mut stream: TcpStream) {
    let mut mark = [0; 4];
    while stream.read_exact(&mut mark).is_ok() {
        let mut record = vec![0; (u32::from_be_bytes(mark) & !(1 << 31)) as usize];
        stream.read_exact(&mut record).unwrap();
        let call = Call::read(&record).unwrap();
        let left = store.lock().unwrap().without_quorum;
        let reply = reply(&mut store.lock().unwrap(), own, &call);
        let locked = store.lock().unwrap();
        let wait = if locked.without_quorum < left { locked.quorum_wait } else { Duration::ZERO };
        drop(locked);
        thread::sleep(wait);
        match reply {
            // One that was not waited for is nobody's.
            Some(reply) => _ = stream.write_all(&reply),
            None => return,
        }
    }
}

/// The reply to a call; `None` where it is lost.
fn reply(store: &mut Store, own: &str, call: &Call<'_>) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let request = match KvRequest::of_call(call) {
        Ok(request) => request,
        Err(fault) => {
            write_refusal(call.xid, fault, &mut bytes);
            return Some(bytes);
        }
    };
    store.asked.push((call.procedure, own.to_owned()));
    let primary = store.primary.clone();
    let reply = match request {
        KvRequest::Null => KvReply::Null,
        KvRequest::Status => KvReply::Node(NodeStatus {
            primary: primary == own,
            primary_address: &primary,
            term: 3,
            committed: Lsn(store.last),
            applied: Lsn(store.last),
            keys: store.keys.len() as u64,
        }),
        KvRequest::Get { .. } if store.defect == Some(Defect::Missing) => KvReply::Refused(KvRefusal::NotFound),
        KvRequest::Get { key, after } if after.0 <= store.last => {
            let others = store.keys.iter().find(|(other, _)| store.defect == Some(Defect::OtherKey) && *other != key);
            match others.map(|(_, held)| held).or_else(|| store.keys.get(key)) {
                Some((version, value)) => {
                    let mut value = value.clone();
                    if store.defect == Some(Defect::ChangedByte) {
                        *value.last_mut().unwrap() ^= 1;
                    }
                    KvReply::Found { version: *version, value: &value }.write(call.xid, &mut bytes);
                    return Some(bytes);
                }
                None => KvReply::Refused(KvRefusal::NotFound),
            }
        }
        KvRequest::Get { .. } => KvReply::Refused(KvRefusal::Behind),
        KvRequest::Scan { from, prefix, limit, .. } => {
            let most = if limit == 0 { MAX_KV_PAGE } else { MAX_KV_PAGE.min(limit as usize) };
            let found = store.keys.iter().filter(|(key, _)| key.as_slice() >= from && key.starts_with(prefix));
            let entries: Vec<_> = found
                .map(|(key, (version, value))| ScanEntry {
                    key,
                    version: *version,
                    value_bytes: u32::try_from(value.len()).unwrap(),
                })
                .collect();
            write_page(call.xid, entries.iter().copied().take(most), entries.len() > most, &mut bytes);
            return Some(bytes);
        }
        KvRequest::Put { .. } | KvRequest::Delete { .. } if primary != own => KvReply::Refused(KvRefusal::NotPrimary),
        KvRequest::Put { .. } | KvRequest::Delete { .. } if store.without_quorum > 0 && store.replies_lost == 0 => {
            store.without_quorum -= 1;
            KvReply::Refused(KvRefusal::NoQuorum)
        }
        KvRequest::Put { request_id, key, value, condition } => {
            return write(store, call, request_id, condition, key, Some(value));
        }
        KvRequest::Delete { request_id, key, condition } => {
            return write(store, call, request_id, condition, key, None);
        }
    };
    reply.write(call.xid, &mut bytes);
    Some(bytes)
}

fn write(
    store: &mut Store,
    call: &Call<'_>,
    request_id: Option<RequestId>,
    condition: bank_vault::base::vocab::Condition,
    key: &[u8],
    value: Option<&[u8]>,
) -> Option<Vec<u8>> {
    let id = request_id.expect("every write has one");
    let mut bytes = Vec::new();
    if let Some(known) = store.known.get(&id) {
        bytes.clone_from(known);
        bytes[4..8].copy_from_slice(&call.xid.to_be_bytes());
    } else {
        let current = store.keys.get(key).map_or(Lsn(0), |(version, _)| *version);
        let reply = match value {
            _ if !condition.admits(current) => KvReply::Mismatch { current },
            None if current == Lsn(0) => KvReply::Refused(KvRefusal::NotFound),
            _ => {
                store.last += 10;
                let version = Lsn(store.last);
                match value {
                    Some(_) if store.defect == Some(Defect::LostWrite) && current.0 > 0 => {}
                    Some(value) => drop(store.keys.insert(key.to_vec(), (version, value.to_vec()))),
                    None => drop(store.keys.remove(key)),
                }
                KvReply::Written { version }
            }
        };
        reply.write(call.xid, &mut bytes);
        store.known.insert(id, bytes.clone());
    }
    if store.replies_lost > 0 {
        store.replies_lost -= 1;
        return None;
    }
    Some(bytes)
}

fn run(servers: &str, words: &[&str], input: &[u8]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kv_client"));
    command.arg(format!("--server={servers}")).args(words);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // Most read nothing, and may have ended already.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

/// What it shows where it succeeds.
fn shown(servers: &str, words: &[&str]) -> String {
    let output = run(servers, words, b"");
    assert!(output.status.success() && output.stderr.is_empty(), "{words:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// What it says where it fails with that code: then it shows nothing.
fn fails(code: i32, servers: &str, words: &[&str]) -> String {
    let output = run(servers, words, b"");
    assert_eq!((output.status.code(), output.stdout.len()), (Some(code), 0), "{words:?}: {output:?}");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.lines().count() >= 1, "{words:?}: {said}");
    said
}

#[test]
fn each_command_shows_what_came_of_it() {
    let store = Shared::default();
    let at = &member(&store);
    assert_eq!(shown(at, &["put", "colour", "green"]), "version 10\n");
    assert_eq!(shown(at, &["get", "colour"]), "green\n");
    assert_eq!(shown(at, &["get", "colour", "--raw"]), "green");
    assert_eq!(shown(at, &["--json", "get", "colour"]), "{\"key\":\"colour\",\"value\":\"green\",\"version\":10}\n");
    assert_eq!(shown(at, &["cas", "colour", "10", "red"]), "version 20\n");
    assert_eq!(shown(at, &["put", "empty", "", "--json"]), "{\"version\":30}\n");
    assert_eq!(shown(at, &["get", "empty"]), "\n");
    let output = run(at, &["put", "bytes", "-"], b"\xFF\0");
    assert_eq!(output.stdout, b"version 40\n", "{output:?}");
    assert_eq!(run(at, &["get", "bytes", "--raw"], b"").stdout, b"\xFF\0");
    assert!(shown(at, &["get", "bytes", "--json"]).contains("\"value_hex\":\"ff00\""));
    assert_eq!(shown(at, &["scan"]), "bytes\t40\t2\ncolour\t20\t3\nempty\t30\t0\n");
    assert_eq!(shown(at, &["scan", "", "--from", "c", "--limit", "1"]), "colour\t20\t3\n");
    assert_eq!(shown(at, &["scan", "em", "--json"]), "[{\"bytes\":0,\"key\":\"empty\",\"version\":30}]\n");
    assert_eq!(shown(at, &["delete", "empty", "--if-version", "30"]), "version 50\n");
    let wanted = format!("primary yes\nprimary address {at}\nterm 3\ncommitted 50\napplied 50\nkeys 2\n");
    assert_eq!(shown(at, &["status"]), wanted);
}

#[test]
fn what_is_refused_ends_with_1_and_what_cannot_be_asked_with_2() {
    let store = Shared::default();
    let at = &member(&store);
    shown(at, &["put", "k", "v"]);
    for (words, said) in [
        (&["get", "nothing"][..], "KV_NOT_FOUND: there is no such key"),
        (&["delete", "nothing"], "KV_NOT_FOUND"),
        (&["cas", "k", "9", "w"], "KV_VERSION_MISMATCH: the key has version 10"),
        (&["cas", "nothing", "9", "w"], "KV_VERSION_MISMATCH: the key is not there"),
        (&["put", "k", "w", "--if-absent"], "the key has version 10"),
        (&["get", "k", "--after", "99", "--timeout", "1"], "KV_BEHIND"),
    ] {
        let all = fails(1, at, words);
        assert!(all.starts_with("kv_client: ") && all.contains(said) && all.lines().count() == 1, "{all}");
    }
    let (long_key, long_value) = ("k".repeat(256), "v".repeat(65_537));
    for (servers, words, said) in [
        (at.as_str(), &["get", ""][..], "1 to 255 bytes"),
        (at, &["put", &long_key, "v"], "1 to 255 bytes"),
        (at, &["scan", &long_key], "at most 255 bytes"),
        (at, &["put", "k", &long_value], "at most 65536 bytes"),
        (at, &["cas", "k", "new", "v"], "invalid value"),
        (at, &["put", "k", "v", "--request-id", "7"], "32 hex digits"),
        (at, &["frobnicate"], "unrecognized subcommand"),
        (NOBODY, &["get", "k"], "Connection refused"),
        ("no port", &["get", "k"], "no port"),
    ] {
        let all = fails(2, servers, words);
        assert!(all.contains(said), "{words:?}: {all}");
    }
    assert_eq!(shown(at, &["get", "k"]), "v\n", "nothing was changed");
}

#[test]
fn a_scan_goes_through_all_pages() {
    let store = Shared::default();
    let at = &member(&store);
    let long = |byte: u8| [vec![b'x'; 254], vec![byte]].concat();
    let keys: Vec<Vec<u8>> =
        (0..600).map(|number| format!("key {number:03}").into_bytes()).chain((b'a'..b'f').map(long)).collect();
    for key in &keys {
        store.lock().unwrap().keys.insert(key.clone(), (Lsn(1), b"v".to_vec()));
    }
    let all: Vec<_> = keys.iter().map(|key| format!("{}\t1\t1\n", String::from_utf8_lossy(key))).collect();
    assert_eq!(shown(at, &["scan"]), all.concat());
    assert_eq!(shown(at, &["scan", "key", "--limit", "300"]), all[..300].concat());
    assert_eq!(shown(at, &["scan", "--from", "key 599"]), all[599..].concat());
    assert_eq!(shown(at, &["scan", "z"]), "");
}

#[test]
fn the_primary_is_followed_and_nothing_is_done_twice() {
    let store = Shared::default();
    let primary = member(&store);
    let (one, two) = (member(&store), member(&store));
    let asked = |procedure: u32| -> Vec<String> {
        let mut locked = store.lock().unwrap();
        std::mem::take(&mut locked.asked)
            .into_iter()
            .filter(|asked| asked.0 == procedure)
            .map(|asked| asked.1)
            .collect()
    };
    // A follower leads to the primary, which was not named; and one that is gone is passed over.
    assert_eq!(shown(&one, &["put", "k", "1"]), "version 10\n");
    assert_eq!(asked(2), [one.clone(), primary.clone()]);
    assert_eq!(shown(&format!("{NOBODY},{one},{two}"), &["put", "k", "2"]), "version 20\n");
    assert_eq!(asked(2), [one.clone(), primary.clone()]);
    // Reads go to the primary where there are several, unless any will do.
    assert_eq!(shown(&format!("{one},{two}"), &["get", "k"]), "2\n");
    assert_eq!(asked(1), std::slice::from_ref(&primary));
    assert_eq!(shown(&format!("{one},{two}"), &["get", "k", "--any"]), "2\n");
    assert_eq!(asked(1), std::slice::from_ref(&one));
    // Lost replies are asked for again, under the same id.
    store.lock().unwrap().replies_lost = 3;
    assert_eq!(shown(&format!("{primary},{one}"), &["put", "k", "3"]), "version 30\n");
    assert_eq!(store.lock().unwrap().last, 30);
    store.lock().unwrap().without_quorum = 2;
    assert_eq!(shown(&primary, &["delete", "k"]), "version 40\n");
    store.lock().unwrap().without_quorum = u32::MAX;
    let said = fails(1, &primary, &["put", "k", "4", "--timeout", "1"]);
    assert!(said.contains("KV_NO_QUORUM"), "{said}");
    // A try that would be cut short is not begun, for nobody would know of it.
    store.lock().unwrap().quorum_wait = Duration::from_millis(1200);
    let said = fails(1, &primary, &["put", "k", "4", "--timeout", "2"]);
    assert!(said.contains("KV_NO_QUORUM"), "{said}");
    store.lock().unwrap().quorum_wait = Duration::ZERO;
    // A refusal does not speak of the try before, which was carried out.
    store.lock().unwrap().replies_lost = 1;
    let said = fails(2, &primary, &["put", "k", "4", "--timeout", "1"]);
    assert!(said.contains("KV_NO_QUORUM") && said.contains("whether it was done is not known"), "{said}");
    store.lock().unwrap().without_quorum = 0;
    store.lock().unwrap().replies_lost = u32::MAX;
    let said = fails(2, &primary, &["put", "k", "5", "--timeout", "1"]);
    assert!(said.contains("whether it was done is not known"), "{said}");
    store.lock().unwrap().replies_lost = 0;
    let id = ["--request-id", "000102030405060708090a0b0c0d0e0f"];
    let first = shown(&primary, &[&["put", "k", "6"][..], &id].concat());
    assert_eq!(shown(&primary, &[&["put", "k", "6"][..], &id].concat()), first);
}
