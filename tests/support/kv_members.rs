//! The key-value store of a cluster: what its members have, and what a member that is cut off may say.

#![allow(dead_code, reason = "each test program that includes this file uses another part of it")]

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;

use bank_vault::base::vocab::Lsn;
use bank_vault::service::kv::wire::{KvRefusal, KvRequest, RequestId};
use serde_json::Value;

use crate::cluster::Cluster;
use crate::kv::{Answer, Entry, Kv, get};

/// GETs that are sent at once.
const AT_ONCE: usize = 64;

/// A connection to a member, as somebody who may write.
pub fn connect(cluster: &Cluster, index: usize) -> Kv {
    let mut kv = Kv::connect(cluster.kv_address(index));
    kv.credentials = cluster.kv_credentials();
    kv
}

/// A GET of somebody who has seen that version.
#[must_use]
pub fn get_after(key: &[u8], after: u64) -> KvRequest<'_> {
    KvRequest::Get { key, after: Lsn(after) }
}

/// A key by what the others have to be compared with: its version and its value.
pub type Pair = (Vec<u8>, u64, Vec<u8>);

/// All pairs of a server, as of what it has.
///
/// # Panics
/// It does not count as many keys as it lists, or a GET of one of them says something else.
pub fn pairs_at(kv: &mut Kv) -> Vec<Pair> {
    let entries: Vec<Entry> = kv.scan_all(b"", 100);
    assert_eq!(kv.status().keys, entries.len() as u64);
    let mut pairs = Vec::with_capacity(entries.len());
    for part in entries.chunks(AT_ONCE) {
        kv.send_all(&part.iter().map(|(key, ..)| get(key)).collect::<Vec<_>>()).unwrap();
        for (key, version, bytes) in part {
            let Answer::Found(found, value) = kv.read().unwrap() else { panic!("{key:02x?} is gone") };
            assert_eq!((found, value.len()), (*version, *bytes as usize), "{key:02x?}");
            pairs.push((key.clone(), *version, value));
        }
    }
    pairs
}

/// Starts who is down, and waits until all have the same pairs, which these are.
pub fn equal_pairs(cluster: &mut Cluster) -> Vec<Pair> {
    cluster.start_members();
    let primary = cluster.await_known_primary();
    cluster.await_equal();
    let wanted = pairs_at(&mut connect(cluster, primary));
    for index in cluster.living() {
        let pairs = pairs_at(&mut connect(cluster, index));
        let differs = || pairs.iter().zip(&wanted).find(|(one, other)| one != other);
        assert!(pairs == wanted, "the pairs of member {index} are not those of {primary}: {:02x?}", differs());
    }
    wanted
}

/// Holds that all members have the same pairs, and that their journals agree with themselves and in the counts.
pub fn must_agree(mut cluster: Cluster) {
    let keys = equal_pairs(&mut cluster).len();
    // One of them as an operator would; nothing is written any more.
    cluster.stop(cluster.primary());
    cluster.living().into_iter().for_each(|index| cluster.kill(index));
    let data: Vec<_> = (0..cluster.servers.len()).map(|index| cluster.data(index)).collect();
    let counts: BTreeSet<[u64; 2]> = data.iter().map(|data| audited(data)).collect();
    assert!(counts.len() == 1 && counts.iter().all(|counts| counts[0] == keys as u64), "{keys}: {counts:?}");
}

/// The keys and blocks that a data directory has, which its audit passes.
///
/// # Panics
/// It does not.
pub fn audited(data: &Path) -> [u64; 2] {
    let report = vaultctl(&["audit", "--json", "--data", &data.display().to_string()]);
    let report: Value = serde_json::from_str(&report).unwrap();
    ["kv_keys", "kv_blocks"].map(|name| report[name].as_u64().unwrap())
}

/// What `vaultctl` prints.
pub fn vaultctl(words: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_vaultctl")).args(words).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// An id for a request that is sent twice.
pub fn request_id(number: u8) -> RequestId {
    [number; 16]
}

/// Whether this is one of the answers that tell nothing: a refusal for want of a majority, or the end of the connection.
pub fn tells_nothing(answer: &std::io::Result<Answer>) -> bool {
    match answer {
        Ok(answer) => *answer == Answer::Refused(KvRefusal::NoQuorum),
        Err(error) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
    }
}
