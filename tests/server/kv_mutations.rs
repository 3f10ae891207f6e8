//! Calls of the key-value service that are mutated in every way, on many connections: whoever sends them is answered what RFC 5531 says or is
//! closed, nobody gets what another one asked for, no worker dies, and nothing of it stays.
//!
//! `VAULT_TEST_MUTATED_CALLS` says how many there are to be; without it, 20,000. Which they are is drawn from a seed that is printed;
//! `VAULT_TEST_SEED` has those again.

use crate::{crowd, kv, kv_mutator, server};

use std::collections::BTreeMap;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bank_vault::base::onc_rpc::{Credentials, Reply, write_success};
use bank_vault::service::kv::wire::{KvReply, KvRequest};
use bank_vault::store::journal::record::blocks_of;
use bank_vault::store::kv::KvTable;
use crowd::{memory, reset};
use kv::{Kv, kv_server};
use kv_mutator::{End, Mutator, Stream, request_of, xid_of};
use server::{Server, await_that};

const CALLS: u64 = 20_000;
/// Clients at a time.
const CLIENTS: u16 = 24;
/// One call in so many of those that wait for what there is not may be sent: it takes half a second.
const PATIENT: u32 = 100;
/// What a worker may have grown by, KiB.
const GROWN_KIB: u64 = 16 << 10;

/// What the writes that were answered OK have left: for each key the last one, by its version; `None` of a DELETE.
#[derive(Default)]
struct Written(BTreeMap<Vec<u8>, (u64, Option<Vec<u8>>)>);

impl Written {
    fn note(&mut self, key: &[u8], version: u64, value: Option<&[u8]>) {
        let last = self.0.entry(key.to_vec()).or_default();
        assert!(last.0 != version || last.1.as_deref() == value, "{key:02x?}: two writes of version {version}");
        if version > last.0 {
            *last = (version, value.map(<[u8]>::to_vec));
        }
    }

    fn pairs(&self) -> impl Iterator<Item = (&Vec<u8>, u64, &Vec<u8>)> {
        self.0.iter().filter_map(|(key, (version, value))| Some((key, *version, value.as_ref()?)))
    }
}

/// What all clients count.
#[derive(Default)]
struct Tally {
    calls: AtomicU64,
    answers: AtomicU64,
    faults: AtomicU64,
    connections: AtomicU64,
    unreadable: AtomicU64,
    halves: AtomicU64,
    written: Mutex<Written>,
}

/// One connection after the other.
struct Client<'a> {
    address: SocketAddr,
    mutator: Mutator,
    tally: &'a Tally,
}

impl Client<'_> {
    /// A connection from its beginning to its end; it is told whose fault it is if something fails.
    fn visit(&mut self) {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(server::DEADLINE)).unwrap();
        stream.set_write_timeout(Some(server::DEADLINE)).unwrap();
        self.tally.connections.fetch_add(1, Ordering::Relaxed);
        if self.mutator.lots.below(20) == 0 {
            return self.leave_at_once(stream);
        }
        for _ in 0..=self.mutator.lots.below(8) {
            let (bytes, asked) = self.burst();
            let sent = self.send(&mut stream, &bytes);
            assert!(sent || asked.end == End::Unreadable, "the connection is broken");
            for payload in &asked.calls {
                self.read_answer(&mut stream, payload);
            }
            match asked.end {
                End::Whole => {}
                End::Unreadable => {
                    self.tally.unreadable.fetch_add(1, Ordering::Relaxed);
                    return must_end(&mut stream);
                }
                End::Half => {
                    self.tally.halves.fetch_add(1, Ordering::Relaxed);
                    if self.mutator.lots.below(2) == 0 {
                        return reset(stream);
                    }
                    break;
                }
            }
        }
        stream.shutdown(Shutdown::Write).unwrap();
        must_end(&mut stream);
    }

    /// Some calls that nobody waits for; nothing is written by them, since that would not be known.
    fn leave_at_once(&mut self, mut stream: TcpStream) {
        let (bytes, asked) = self.burst();
        let writes = |request| matches!(request, KvRequest::Put { .. } | KvRequest::Delete { .. });
        if !asked.requests().any(writes) {
            self.send(&mut stream, &bytes);
        }
        reset(stream);
    }

    /// The bytes of some calls, and what they must be taken for.
    fn burst(&mut self) -> (Vec<u8>, Stream) {
        loop {
            let count = 1 + self.mutator.lots.below(8);
            let bytes: Vec<u8> = (0..count).flat_map(|_| self.mutator.call()).collect();
            let asked = Stream::read(&bytes);
            let waits = |request| match request {
                KvRequest::Get { after, .. } | KvRequest::Scan { after, .. } => after.0 > 0,
                _ => false,
            };
            if !asked.requests().any(waits) || self.mutator.lots.below(PATIENT) == 0 {
                self.tally.calls.fetch_add(u64::from(count), Ordering::Relaxed);
                return (bytes, asked);
            }
        }
    }

    /// Sends bytes in parts of any size; `false` where the server does not take them any more.
    fn send(&mut self, stream: &mut TcpStream, bytes: &[u8]) -> bool {
        let mut parts = vec![bytes];
        for _ in 0..self.mutator.lots.below(4) {
            let last = parts.pop().unwrap();
            let at = self.mutator.lots.below(u32::try_from(last.len() + 1).unwrap());
            parts.extend(<[&[u8]; 2]>::from(last.split_at(at as usize)));
        }
        parts.into_iter().all(|part| stream.write_all(part).is_ok())
    }

    /// Reads a reply, which must be the one to this call.
    fn read_answer(&mut self, stream: &mut TcpStream, payload: &[u8]) {
        let record = read_record(stream).unwrap_or_else(|error| panic!("no answer to {payload:02x?}: {error}"));
        let reply = Reply::read(&record).unwrap();
        assert_eq!(reply.xid, xid_of(payload), "the answer to {payload:02x?}");
        self.tally.answers.fetch_add(1, Ordering::Relaxed);
        let results = match (reply.results, request_of(payload)) {
            (Ok(results), Some(request)) => (results, request),
            (Err(_), None) => {
                self.tally.faults.fetch_add(1, Ordering::Relaxed);
                return;
            }
            (results, request) => panic!("{request:?} got {results:?}"),
        };
        let (results, request) = results;
        let result = KvReply::read(request.procedure(), results).unwrap();
        let mut written = self.tally.written.lock().unwrap();
        match (request, result) {
            (KvRequest::Put { key, value, .. }, KvReply::Written { version }) => {
                written.note(key, version.0, Some(value));
            }
            (KvRequest::Delete { key, .. }, KvReply::Written { version }) => written.note(key, version.0, None),
            _ => {}
        }
    }
}

/// The payload of a reply, which is one fragment.
fn read_record(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut mark = [0; 4];
    stream.read_exact(&mut mark)?;
    let mark = u32::from_be_bytes(mark);
    assert!((1 << 31 | 20..=1 << 31 | 1 << 17).contains(&mark), "{mark:#x}");
    let mut payload = vec![0; (mark & !(1 << 31)) as usize];
    stream.read_exact(&mut payload)?;
    Ok(payload)
}

/// Holds that nothing more comes.
fn must_end(stream: &mut TcpStream) {
    let mut byte = [0; 1];
    match stream.read(&mut byte) {
        Ok(count) => assert_eq!(count, 0, "an answer to nobody"),
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}"),
    }
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

/// Open descriptors of all workers, and the greatest memory of one, KiB.
fn held(server: &Server) -> (usize, u64) {
    let descriptors = |pid: &u32| fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    let memory = server.workers.iter().map(|pid| memory(*pid)).max().unwrap();
    (server.workers.iter().map(descriptors).sum(), memory)
}

/// Has clients make so many calls altogether.
fn crowd_of(address: SocketAddr, seed: u64, tally: &Tally, calls: u64) {
    std::thread::scope(|scope| {
        for number in 0..CLIENTS {
            let mut client = Client { address, mutator: Mutator::new(seed + u64::from(number), 2 * number), tally };
            scope.spawn(move || {
                while tally.calls.load(Ordering::Relaxed) < calls {
                    client.visit();
                }
            });
        }
    });
}

/// Holds that the table has exactly what was written, and no block more.
fn must_have(server: &Server, address: SocketAddr, written: &Written, free_before: u32) {
    let mut kv = Kv::connect(address);
    let entries = kv.scan_all(b"", 0);
    let wanted: Vec<_> = written
        .pairs()
        .map(|(key, version, value)| (key.clone(), version, u32::try_from(value.len()).unwrap()))
        .collect();
    assert!(entries == wanted, "{} keys, and {} were written", entries.len(), wanted.len());
    for (key, version, value) in written.pairs() {
        assert!(kv.get(key).is_some_and(|(found, bytes)| found == version && bytes == *value), "{key:02x?}");
    }
    assert_eq!(kv.status().keys, wanted.len() as u64);
    let blocks: u32 = written.pairs().map(|(key, _, value)| blocks_of(key.len(), value.len())).sum();
    let running = server.stats();
    let (table, counts) = (running.kv().unwrap(), KvTable::counts(running.table()));
    assert_eq!((counts.keys as usize, counts.blocks), (wanted.len(), blocks));
    assert_eq!(free_before - table.free_blocks(), blocks, "blocks that nobody has");
}

#[test]
fn mutated_calls_are_answered_or_closed_and_leave_nothing() {
    let calls = variable("VAULT_TEST_MUTATED_CALLS").unwrap_or(CALLS);
    let seed = variable("VAULT_TEST_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    println!("VAULT_TEST_SEED={seed} has these calls again");
    let (server, address) = kv_server(&["--workers", "2", "--key-window", "1000000", "--snapshot-every", "100000"]);
    let free_before = server.stats().kv().unwrap().free_blocks();
    let (tally, began) = (Tally::default(), Instant::now());
    // What a worker has once and for all, it has soon.
    crowd_of(address, seed, &tally, 2000.min(calls));
    let is_quiet = || server.connections() == 0;
    await_that("all connections are gone", is_quiet);
    let (descriptors, memory) = held(&server);
    crowd_of(address, seed + 1000, &tally, calls);
    let took = began.elapsed();
    await_that("all connections are gone", is_quiet);
    await_that("so are their descriptors", || held(&server).0 == descriptors);
    let grown = held(&server).1.saturating_sub(memory);
    assert!(grown < GROWN_KIB, "{grown} KiB more than {memory}");
    let running = server.stats();
    let deaths: u32 = running.workers().iter().map(|row| row.life.deaths.get()).sum();
    assert_eq!(deaths, 0, "{}", server.stderr());
    must_have(&server, address, &tally.written.lock().unwrap(), free_before);
    let count = |of: &AtomicU64| of.load(Ordering::Relaxed);
    println!(
        "{} calls on {} connections in {took:.1?}: {} answers, {} of them faults; {} closed as unreadable, {} halves; \
         {grown} KiB more, {} keys",
        count(&tally.calls),
        count(&tally.connections),
        count(&tally.answers),
        count(&tally.faults),
        count(&tally.unreadable),
        count(&tally.halves),
        tally.written.lock().unwrap().pairs().count(),
    );
    // Each of these is a part of what is tried.
    let parts = [&tally.answers, &tally.faults, &tally.unreadable, &tally.halves];
    assert!(parts.iter().all(|part| count(part) > calls / 100));
    assert!(server.stop().status.success());
}

/// What is wrong with a server that answers NULL, whatever it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wrong {
    Nothing,
    /// It answers the call after the one that it was asked.
    OtherXid,
    /// It answers twice.
    Twice,
    /// It answers nobody at the end.
    OneMore,
    /// It does not answer.
    Silent,
}

/// Serves one connection, so wrongly.
fn serve_wrongly(listener: &TcpListener, wrong: Wrong) {
    let (mut stream, _) = listener.accept().unwrap();
    let (mut bytes, mut part) = (Vec::new(), [0; 4096]);
    while let Ok(count) = stream.read(&mut part)
        && count > 0
    {
        bytes.extend_from_slice(&part[..count]);
        let asked = Stream::read(&bytes);
        if asked.end != End::Whole {
            continue;
        }
        bytes.clear();
        for payload in asked.calls {
            let mut reply = Vec::new();
            write_success(xid_of(&payload) + u32::from(wrong == Wrong::OtherXid), &mut reply, |_| {});
            let copies = [1, 1, 2, 1, 0][wrong as usize];
            // The client may have seen enough.
            let _ = stream.write_all(&reply.repeat(copies));
        }
    }
    if wrong == Wrong::OneMore {
        let mut reply = Vec::new();
        write_success(1, &mut reply, |_| {});
        let _ = stream.write_all(&reply);
    }
}

#[test]
fn a_server_that_answers_wrongly_is_caught() {
    for wrong in [Wrong::Nothing, Wrong::OtherXid, Wrong::Twice, Wrong::OneMore, Wrong::Silent] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, tally) = (listener.local_addr().unwrap(), Tally::default());
        let caught = std::thread::scope(|scope| {
            scope.spawn(|| serve_wrongly(&listener, wrong));
            let mut client = Client { address, mutator: Mutator::new(1, 1), tally: &tally };
            let mut stream = TcpStream::connect(address).unwrap();
            let patience = if wrong == Wrong::Silent { Duration::from_millis(50) } else { server::DEADLINE };
            stream.set_read_timeout(Some(patience)).unwrap();
            let visit = AssertUnwindSafe(|| {
                for _ in 0..3 {
                    let mut record = Vec::new();
                    KvRequest::Null.write_call(client.mutator.next_xid(), Credentials::None, &mut record);
                    assert!(client.send(&mut stream, &record));
                    client.read_answer(&mut stream, &record[4..]);
                }
                stream.shutdown(Shutdown::Write).unwrap();
                must_end(&mut stream);
            });
            let caught = catch_unwind(visit).is_err();
            drop(stream);
            caught
        });
        assert_eq!(caught, wrong != Wrong::Nothing, "{wrong:?}");
    }
}
