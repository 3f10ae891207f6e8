//! The key-value service of one instance: what each call is answered.

use std::collections::BTreeMap;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use bank_vault::base::limits::{MAX_RPC_FRAGMENTS, MAX_RPC_RECORD_BYTES, PARTIAL_FRAME_SECONDS};
use bank_vault::base::onc_rpc::{AuthStat, AuthSys, Call, Credentials, Fault, Gids, OpaqueAuth, write_success};
use bank_vault::base::vocab::{Condition, Lsn};
use bank_vault::service::kv::wire::{KV_PROGRAM, KV_VERSION, KvProcedure, KvRefusal, KvRequest};
use bank_vault::store::instance::stats::KvStats;
use bank_vault::store::users::{self, Role};
use nix::sys::signal::Signal;

use crate::kv::{Answer, Kv, delete, get, kv_server, put, put_if, put_once, scan};
use crate::server::{Server, await_that, master, send, unused_name};

/// A counter of all workers.
fn counted(server: &Server, count: impl Fn(&KvStats) -> u64) -> u64 {
    server.stats().workers().iter().map(|row| count(&row.stats.kv)).sum()
}

#[test]
fn a_key_is_written_read_and_taken_away() {
    let (server, address) = kv_server(&["--workers", "1"]);
    let mut kv = Kv::connect(address);
    assert_eq!(kv.call(&KvRequest::Null).unwrap(), Answer::Null);
    assert_eq!(kv.call(&get(b"k")).unwrap(), Answer::Refused(KvRefusal::NotFound));
    assert_eq!(kv.put(b"k", b"value"), 2, "the number of the last record of the write");
    assert_eq!(kv.get(b"k"), Some((2, b"value".to_vec())));
    let node = kv.status();
    assert_eq!((node.primary, node.primary_address, node.keys), (true, address.to_string(), 1));
    assert_eq!((node.term, node.committed, node.applied), (0, 2, 2));
    assert_eq!(kv.delete(b"k"), 4);
    assert_eq!(kv.call(&delete(b"k")).unwrap(), Answer::Refused(KvRefusal::NotFound));
    assert_eq!(kv.get(b"k"), None);
    assert_eq!(counted(&server, |stats| stats.calls.iter().map(|calls| calls.get()).sum()), 8);
    assert_eq!(counted(&server, |stats| stats.results.iter().map(|results| results.get()).sum()), 8);
    assert_eq!(counted(&server, |stats| stats.answer_times.read().count()), 8);
    assert!(server.stop().status.success());
}

#[test]
fn every_status_of_one_instance() {
    let (_server, address) = kv_server(&["--workers", "1", "--kv-max-value", "1000"]);
    let mut kv = Kv::connect(address);
    let mut told = |request: &KvRequest<'_>| kv.call(request).unwrap();
    let refused = Answer::Refused;
    // Conditions on a key that is not there.
    assert_eq!(told(&put_if(Condition::IfVersion(1), b"k", b"v")), Answer::Mismatch(0));
    assert_eq!(
        told(&put_if(Condition::IfAbsent, b"k", b"v")),
        Answer::Written(2),
        "a mismatch without id leaves nothing"
    );
    // On one that is.
    assert_eq!(told(&put_if(Condition::IfAbsent, b"k", b"w")), Answer::Mismatch(2));
    assert_eq!(told(&put_if(Condition::IfVersion(1), b"k", b"w")), Answer::Mismatch(2));
    assert_eq!(told(&put_if(Condition::IfVersion(2), b"k", b"w")), Answer::Written(4));
    let delete_if = |condition| KvRequest::Delete { request_id: None, key: b"k", condition };
    assert_eq!(told(&delete_if(Condition::IfVersion(2))), Answer::Mismatch(4));
    assert_eq!(told(&delete_if(Condition::IfVersion(4))), Answer::Written(6));
    assert_eq!(told(&delete_if(Condition::IfVersion(4))), Answer::Mismatch(0));
    assert_eq!(told(&delete_if(Condition::Always)), refused(KvRefusal::NotFound));
    // Keys and values that cannot be.
    for request in [get(b""), put(b"", b"v"), delete(b"")] {
        assert_eq!(told(&request), refused(KvRefusal::Invalid), "{request:?}");
    }
    let long = vec![b'x'; 1001];
    assert_eq!(told(&put(b"k", &long)), refused(KvRefusal::TooLarge));
    assert_eq!(told(&put(b"k", &long[..1000])), Answer::Written(6 + 1 + 13));
    assert_eq!(told(&put(&[b'k'; 255], b"")), Answer::Written(20 + 1 + 4), "the longest key, and an empty value");
    assert_eq!(told(&get(&[b'k'; 255])), Answer::Found(25, vec![]));
    // Request ids: the first answer is given again, whatever is there now.
    let id = |n: u8| [n; 16];
    assert_eq!(told(&put_once(id(1), b"a", b"1")), Answer::Written(27));
    assert_eq!(told(&put_once(id(1), b"a", b"1")), Answer::Written(27));
    assert_eq!(told(&put_once(id(1), b"a", b"2")), refused(KvRefusal::Conflict));
    let once_if = |n, condition| KvRequest::Put { request_id: Some(id(n)), key: b"a", value: b"3", condition };
    assert_eq!(told(&once_if(2, Condition::IfVersion(5))), Answer::Mismatch(27), "journaled, in one record");
    assert_eq!(told(&put(b"a", b"4")), Answer::Written(30));
    assert_eq!(told(&once_if(2, Condition::IfVersion(5))), Answer::Mismatch(27));
    assert_eq!(told(&once_if(2, Condition::Always)), refused(KvRefusal::Conflict));
    let delete_once = KvRequest::Delete { request_id: Some(id(3)), key: b"not there", condition: Condition::Always };
    assert_eq!(told(&delete_once), refused(KvRefusal::NotFound));
    assert_eq!(told(&put(b"not there", b"")), Answer::Written(33));
    assert_eq!(told(&delete_once), refused(KvRefusal::NotFound));
    // What is seen elsewhere, and not here.
    let after = Lsn(34);
    assert_eq!(told(&KvRequest::Get { key: b"a", after: Lsn(33) }), Answer::Found(30, b"4".to_vec()));
    assert_eq!(told(&KvRequest::Get { key: b"a", after }), refused(KvRefusal::Behind));
    assert_eq!(told(&KvRequest::Scan { from: b"", prefix: b"", limit: 1, after }), refused(KvRefusal::Behind));
}

/// A call of `procedure` with whatever arguments, and another field as `change` has it.
fn call(kv: &mut Kv, procedure: u32, arguments: &[u8], change: impl FnOnce(&mut Call<'_>)) -> Answer {
    let (xid, program, version) = (kv.next_xid, KV_PROGRAM, KV_VERSION);
    let mut record = Vec::new();
    let mut call = Call { xid, program, version, procedure, arguments, ..Call::default() };
    change(&mut call);
    call.write(&mut record);
    kv.expect(KvProcedure::Null);
    kv.send_bytes(&record).unwrap();
    kv.read().unwrap()
}

/// The call NULL with another word in place of the one with that number, behind the mark.
fn with_word(kv: &mut Kv, number: usize, word: u32) -> Answer {
    let mut record = kv.record(&KvRequest::Null);
    record[4 + 4 * number..][..4].copy_from_slice(&word.to_be_bytes());
    kv.send_bytes(&record).unwrap();
    kv.read().unwrap()
}

fn arguments(request: &KvRequest<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    request.write(&mut bytes);
    bytes
}

#[test]
fn errors_of_rpc_are_those_of_the_rfc_and_the_connection_goes_on() {
    let (server, address) = kv_server(&["--workers", "1"]);
    let mut kv = Kv::connect(address);
    let fault = Answer::Fault;
    assert_eq!(call(&mut kv, 0, b"", |call| call.program += 1), fault(Fault::ProgUnavail));
    for version in [0, 2, u32::MAX] {
        let told = call(&mut kv, 0, b"", |call| call.version = version);
        assert_eq!(told, fault(Fault::ProgMismatch { low: 1, high: 1 }));
    }
    for procedure in [6, u32::MAX] {
        assert_eq!(call(&mut kv, procedure, b"", |_| {}), fault(Fault::ProcUnavail));
    }
    // Arguments: none where there should be, bytes behind them, padding, conditions, lengths beyond what there is.
    let put = arguments(&put(b"key", b"value"));
    for (procedure, bytes) in [
        (0, vec![0; 4]),
        (1, vec![]),
        (1, [arguments(&get(b"k")), vec![0; 4]].concat()),
        (2, put[..put.len() - 4].to_vec()),
        (2, [put.as_slice(), &[0; 4]].concat()),
        (2, put.iter().enumerate().map(|(at, byte)| if at == 23 { 1 } else { *byte }).collect()),
        (2, put.iter().enumerate().map(|(at, byte)| if at == put.len() - 9 { 3 } else { *byte }).collect()),
        (2, put.iter().enumerate().map(|(at, byte)| if at == 16 { 0xFF } else { *byte }).collect()),
        (
            2,
            arguments(&KvRequest::Put {
                request_id: None,
                key: b"k",
                value: &[0; 65_537],
                condition: Condition::Always,
            }),
        ),
        (3, vec![0; 16]),
        (4, arguments(&scan(&[0; 256], b"", 1))),
        (5, vec![0; 1]),
    ] {
        assert_eq!(call(&mut kv, procedure, &bytes, |_| {}), fault(Fault::GarbageArgs), "{procedure} {bytes:?}");
    }
    // RPC itself, and who calls. The words of a call: xid, CALL, version of RPC, program, version, procedure, flavor, length.
    assert_eq!(with_word(&mut kv, 2, 3), fault(Fault::RpcMismatch { low: 2, high: 2 }));
    assert_eq!(with_word(&mut kv, 6, 1), fault(Fault::Auth(AuthStat::BADCRED)), "AUTH_SYS without a body");
    assert_eq!(with_word(&mut kv, 7, 401), fault(Fault::Auth(AuthStat::BADCRED)));
    assert_eq!(with_word(&mut kv, 9, 8), fault(Fault::Auth(AuthStat::BADVERF)));
    for flavor in [2, 6, 400_000] {
        let strange = OpaqueAuth { flavor, body: b"body" };
        let told = call(&mut kv, 0, b"", |call| call.credentials = Credentials::Other(strange));
        assert_eq!(told, Answer::Null, "{flavor}: without users everybody may call");
    }
    let me = AuthSys { stamp: 7, machine_name: b"here", uid: 1000, gid: 100, gids: Gids::new(&[4, 24, 27]).unwrap() };
    kv.credentials = Credentials::Sys(me);
    assert_eq!(kv.put(b"key", b"value"), 2, "nothing of all that was done");
    assert_eq!(kv.get(b"key"), Some((2, b"value".to_vec())));
    assert_eq!(counted(&server, |stats| stats.faults.get()), 22);
    // Replies, and what is no message at all, are answered by nothing: the connection is closed.
    let mut reply = Vec::new();
    write_success(5, &mut reply, |_| {});
    for strange in [reply, (1_u32 << 31).to_be_bytes().to_vec(), vec![0x80, 0, 0, 3, 1, 2, 3]] {
        let mut kv = Kv::connect(address);
        let null = kv.record(&KvRequest::Null);
        kv.send_bytes(&[&null[..], &strange, &null].concat()).unwrap();
        assert_eq!(kv.read().unwrap(), Answer::Null);
        assert!(kv.is_closed(), "{strange:?}");
    }
    assert_eq!(counted(&server, |stats| stats.bad_records.get()), 3);
}

#[test]
fn where_there_are_users_callers_are_known_by_their_uid() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("users");
    let roles = [("ann", "teller"), ("bob", "teller"), ("eve", "auditor"), ("tom", "customer:1-2")];
    for (name, role) in roles {
        users::add(&file, name, b"secret", role.parse().unwrap()).unwrap();
    }
    // In their order, from 1000 on.
    let text = fs::read_to_string(&file).unwrap();
    let users: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(users.len(), 4);
    let with_uids: String = users.iter().zip(1000..).map(|(line, uid)| format!("{line}:uid={uid}\n")).collect();
    fs::write(&file, with_uids).unwrap();
    let (_server, address) = kv_server(&["--workers", "1", "--users", file.to_str().unwrap()]);
    let mut kv = Kv::connect(address);
    let uid = |uid| Credentials::Sys(AuthSys { uid, ..AuthSys::default() });
    let all = [get(b"k"), put(b"k", b"v"), delete(b"k"), scan(b"", b"", 0), KvRequest::Status];
    for (credentials, why) in
        [(Credentials::None, AuthStat::TOOWEAK), (uid(0), AuthStat::REJECTEDCRED), (uid(1004), AuthStat::REJECTEDCRED)]
    {
        kv.credentials = credentials;
        assert_eq!(kv.call(&KvRequest::Null).unwrap(), Answer::Null);
        for request in &all {
            assert_eq!(kv.call(request).unwrap(), Answer::Fault(Fault::Auth(why)), "{request:?}");
        }
    }
    // A request id is its user's own.
    for (teller, version) in [(1000, 2), (1001, 4), (1000, 2)] {
        kv.credentials = uid(teller);
        assert_eq!(kv.call(&put_once([7; 16], b"k", teller.to_string().as_bytes())).unwrap(), Answer::Written(version));
    }
    for reader in [1002, 1003] {
        kv.credentials = uid(reader);
        for request in &all {
            let answer = kv.call(request).unwrap();
            let is_forbidden = answer == Answer::Refused(KvRefusal::Forbidden);
            let may = match request {
                KvRequest::Status => true,
                KvRequest::Get { .. } | KvRequest::Scan { .. } => reader == 1002,
                _ => false,
            };
            assert_eq!(is_forbidden, !may, "{reader} {request:?}: {answer:?}");
        }
    }
    assert_eq!(kv.status().applied, 4);
}

/// Records that an operation takes: a head, and pieces of 80 bytes.
fn records(bytes: usize) -> u64 {
    1 + bytes.div_ceil(80) as u64
}

#[test]
fn a_thousand_calls_at_once_are_answered_in_order() {
    let (server, address) = kv_server(&["--workers", "1"]);
    let mut kv = Kv::connect(address);
    let keys: Vec<Vec<u8>> = (0..20).map(|n| format!("key {n:02}").into_bytes()).collect();
    let value = vec![b'v'; 4000];
    let (mut model, mut last) = (BTreeMap::<&[u8], (u64, &[u8])>::new(), 0);
    let (mut requests, mut wanted) = (Vec::new(), Vec::new());
    for n in 0..1000_usize {
        let (key, value) = (keys[n * 7 % 20].as_slice(), &value[..n * 37 % 4000]);
        let (request, answer) = match n * 13 % 11 {
            0..4 => {
                last += records(key.len() + value.len());
                model.insert(key, (last, value));
                (put(key, value), Answer::Written(last))
            }
            4..7 => {
                let found = model.get(key);
                let found = found.map(|(version, value)| Answer::Found(*version, value.to_vec()));
                (get(key), found.unwrap_or(Answer::Refused(KvRefusal::NotFound)))
            }
            7 if model.remove(key).is_some() => {
                last += records(key.len());
                (delete(key), Answer::Written(last))
            }
            7 => (delete(key), Answer::Refused(KvRefusal::NotFound)),
            8 => {
                let entry = |(key, (version, value)): (&&[u8], &(u64, &[u8]))| {
                    (key.to_vec(), *version, u32::try_from(value.len()).unwrap())
                };
                (scan(b"", b"key", 0), Answer::Page(model.iter().map(entry).collect(), false))
            }
            9 => (KvRequest::Null, Answer::Null),
            _ => (put(b"", b""), Answer::Refused(KvRefusal::Invalid)),
        };
        requests.push(request);
        wanted.push(answer);
    }
    let records: Vec<u8> = requests.iter().flat_map(|request| kv.record(request)).collect();
    let mut writer = kv.stream.try_clone().unwrap();
    std::thread::scope(|scope| {
        // Half-closed behind its last call: all of them are answered, and then the server closes, too.
        scope.spawn(move || {
            writer.write_all(&records).unwrap();
            writer.shutdown(Shutdown::Write).unwrap();
        });
        for (number, wanted) in wanted.iter().enumerate() {
            assert_eq!(&kv.read().unwrap(), wanted, "{number}: {:?}", requests[number]);
        }
    });
    assert!(kv.is_closed());
    assert!(server.stop().status.success());
}

/// The record in fragments that have so many bytes each.
fn in_fragments(record: &[u8], bytes: usize) -> Vec<u8> {
    let payload = &record[4..];
    let count = payload.len().div_ceil(bytes);
    let mark = |at: usize, part: &[u8]| u32::try_from(part.len()).unwrap() | u32::from(at + 1 == count) << 31;
    let fragments = payload.chunks(bytes).enumerate();
    fragments.flat_map(|(at, part)| [&mark(at, part).to_be_bytes(), part].concat()).collect()
}

#[test]
fn records_come_in_fragments_and_what_is_none_closes_its_connection_alone() {
    let (server, address) = kv_server(&["--workers", "1"]);
    let (mut kv, mut other) = (Kv::connect(address), Kv::connect(address));
    let value: Vec<u8> = (0..251).cycle().take(65_536).collect();
    let record = kv.record(&put(b"large", &value));
    kv.send_bytes(&in_fragments(&record, 100)).unwrap();
    let version = kv.read().unwrap().version();
    assert_eq!(version, records(5 + 65_536));
    assert_eq!(kv.get(b"large"), Some((version, value.clone())));
    // As many fragments as there may be, empty ones among them, each in a packet of its own.
    let empty = vec![0; 4 * (MAX_RPC_FRAGMENTS - 44)];
    let record = kv.record(&KvRequest::Null);
    assert_eq!(record.len(), 44);
    for part in empty.chunks(400) {
        kv.send_bytes(part).unwrap();
    }
    for part in in_fragments(&record, 1).chunks(3) {
        kv.send_bytes(part).unwrap();
    }
    assert_eq!(kv.read().unwrap(), Answer::Null);
    // One more; one that is too long as its mark says; and as several marks say. What came before is answered.
    let too_long = u32::try_from(MAX_RPC_RECORD_BYTES - 3).unwrap();
    let half = [&(too_long / 2).to_be_bytes()[..], &vec![0; too_long as usize / 2]].concat();
    let strange = [
        vec![0; 4 * MAX_RPC_FRAGMENTS],
        (too_long | 1 << 31).to_be_bytes().to_vec(),
        [half.as_slice(), &half[..4]].concat(),
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
    ];
    for (number, strange) in strange.iter().enumerate() {
        let mut kv = Kv::connect(address);
        let before = kv.record(&get(b"large"));
        kv.send_bytes(&[&before, strange.as_slice()].concat()).unwrap();
        assert_eq!(kv.read().unwrap(), Answer::Found(version, value.clone()), "{number}");
        assert!(kv.is_closed(), "{number}");
        assert_eq!(counted(&server, |stats| stats.bad_records.get()), number as u64 + 1);
    }
    assert_eq!(other.get(b"large"), Some((version, value)), "another one is not concerned");
    // What comes behind is no call, also not for the next worker.
    let mut kv = Kv::connect(address);
    kv.send_bytes(&(too_long | 1 << 31).to_be_bytes()).unwrap();
    assert!(kv.is_closed());
    send(server.workers_now()[0], Signal::SIGKILL);
    let _reset = kv.send(&put(b"smuggled", b""));
    await_that("it is closed", || server.connections() == 2);
    assert_eq!(other.get(b"smuggled"), None);
}

#[test]
fn a_record_that_does_not_end_is_given_up() {
    const PAUSE: Duration = Duration::from_millis(500);
    let (server, address) = kv_server(&["--workers", "1"]);
    let record = Kv::connect(address).record(&put(b"key", b"value"));
    // In its mark, behind that, in what follows, before the last byte, between two fragments, behind a call.
    let two = in_fragments(&record, 40);
    let behind = [record.as_slice(), &record[..30]].concat();
    let halves = [&record[..1], &record[..4], &record[..20], &record[..record.len() - 1], &two[..44], &behind];
    let mut clients: Vec<Kv> = halves.iter().map(|_| Kv::connect(address)).collect();
    for (kv, half) in clients.iter_mut().zip(halves) {
        kv.send_bytes(half).unwrap();
    }
    // One that sends a byte now and then gains nothing by it.
    let (mut slow, began) = (Kv::connect(address), Instant::now());
    slow.stream.set_read_timeout(Some(PAUSE)).unwrap();
    let mut rest = record.iter().cycle();
    let mut is_open = |slow: &mut Kv| {
        slow.send_bytes(&[*rest.next().unwrap()]).is_ok()
            && slow.stream.read(&mut [0; 1]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    };
    while is_open(&mut slow) {}
    let (took, patience) = (began.elapsed(), Duration::from_secs(PARTIAL_FRAME_SECONDS));
    assert!(took + PAUSE >= patience && took < 3 * patience, "{took:?}");
    assert!(clients.pop().is_some_and(|mut kv| kv.read_record().is_ok() && kv.is_closed()), "the call is answered");
    assert!(clients.iter_mut().all(Kv::is_closed));
    assert_eq!(server.stats().workers()[0].stats.slow_dropped.get(), halves.len() as u64 + 1);
    assert_eq!(Kv::connect(address).get(b"key").map(|(_, value)| value), Some(b"value".to_vec()));
}

#[test]
fn options_are_checked_and_only_loopback_is_listened_on() {
    let home = tempfile::tempdir().unwrap();
    let output =
        master(&unused_name(), home.path(), &["--kv-port", "9001", "--kv-max-value", "65537"]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(2) && said.contains("--kv-max-value") && said.contains("65536"), "{said}");
    let file = home.path().join("users");
    users::add(&file, "ann", b"secret", Role::Teller).unwrap();
    let everywhere = ["--workers", "1", "--host", "0.0.0.0", "--users", file.to_str().unwrap()];
    assert_eq!(kv_server(&everywhere).1.ip().to_string(), "127.0.0.1");
    assert_eq!(kv_server(&[&everywhere[..], &["--kv-public"]].concat()).1.ip().to_string(), "0.0.0.0");
}

#[test]
fn a_full_table_is_told_and_has_room_again_after_deletes() {
    let (_server, address) = kv_server(&["--workers", "1", "--kv-mb", "1"]);
    let mut kv = Kv::connect(address);
    let value = vec![7; 60_000];
    let mut keys: Vec<Vec<u8>> = Vec::new();
    let id = |n: usize| [u8::try_from(n + 1).unwrap(); 16];
    let full = loop {
        let key = format!("key {}", keys.len()).into_bytes();
        match kv.call(&put_once(id(keys.len()), &key, &value)).unwrap() {
            Answer::Written(_) => keys.push(key),
            Answer::Refused(KvRefusal::Busy) => break key,
            other => panic!("{other:?}"),
        }
    };
    assert!((8..18).contains(&keys.len()), "{}", keys.len());
    assert_eq!(kv.get(&full), None);
    // A smaller one may fit, and one that takes another's place.
    kv.put(&keys[0], b"small");
    assert_eq!(
        kv.call(&put_once(id(keys.len()), &full, &value)).unwrap(),
        Answer::Refused(KvRefusal::Busy),
        "as before"
    );
    let version = kv.put(&full, &value);
    assert_eq!(kv.get(&full), Some((version, value.clone())));
    assert_eq!(kv.call(&put(b"one more", &value)).unwrap(), Answer::Refused(KvRefusal::Busy));
    for key in keys.iter().chain([&full]) {
        kv.delete(key);
    }
    assert_eq!((kv.status().keys, kv.scan(b"", b"", 0)), (0, (vec![], false)));
    for key in &keys {
        kv.put(key, &value);
    }
    assert_eq!(kv.status().keys, keys.len() as u64);
}

#[test]
fn who_is_silent_makes_room_for_another_connection_and_who_waits_does_not() {
    let (server, address) = kv_server(&["--workers", "1", "--worker-timeout", "60", "--kv-connections", "2"]);
    let instance = server.stats();
    let (service, _) = instance.control().services().find(|(_, name)| *name == "kv").unwrap();
    let stats = &instance.workers()[0].stats.services[service.index()];
    let (mut first, mut second) = (Kv::connect(address), Kv::connect(address));
    first.put(b"k", b"v");
    second.put(b"k", b"v");
    await_that("both are silent", || stats.silent.get() == 2);
    let mut third = Kv::connect(address);
    assert_eq!(third.call(&KvRequest::Null).unwrap(), Answer::Null);
    assert_eq!((stats.evicted.get(), stats.refused.get()), (1, 0));
    assert!(first.is_closed(), "the one that was silent for longest");
    // Two whose writes are not on disk yet are not silent.
    let journal = server.journal_now().unwrap();
    send(journal, Signal::SIGSTOP);
    second.send(&put(b"k", b"second")).unwrap();
    third.send(&put(b"k", b"third")).unwrap();
    await_that("both have their numbers", || instance.table().order().now().lsn == Lsn(8));
    assert!(Kv::connect(address).is_closed());
    assert_eq!((stats.evicted.get(), stats.refused.get()), (1, 1));
    send(journal, Signal::SIGCONT);
    let versions = [&mut second, &mut third].map(|kv| kv.read().unwrap().version());
    assert!(matches!(versions, [6, 8] | [8, 6]), "{versions:?}");
}

#[test]
fn scans_have_the_keys_in_order_by_pages() {
    let (_server, address) = kv_server(&["--workers", "1"]);
    let mut kv = Kv::connect(address);
    assert_eq!(kv.scan(b"", b"", 0), (vec![], false));
    let keys: Vec<Vec<u8>> = (0..1000).map(|n| format!("{}/{:03}", n % 3, n * 7 % 1000).into_bytes()).collect();
    let requests: Vec<_> = keys.iter().map(|key| put(key, &key[..key.len() % 5])).collect();
    kv.send_all(&requests).unwrap();
    let mut model: Vec<_> = keys.iter().map(|key| (key.clone(), kv.read().unwrap().version(), 0)).collect();
    model.sort();
    for limit in [0, 1000, 256, 100, 7] {
        let all = kv.scan_all(b"", limit);
        assert_eq!(all, model, "pages of {limit}");
    }
    let (page, more) = kv.scan(b"", b"", 257);
    assert_eq!((page.len(), more), (256, true), "no page is longer");
    let of_one: Vec<_> = model.iter().filter(|(key, ..)| key.starts_with(b"1/")).cloned().collect();
    assert_eq!(kv.scan_all(b"1/", 50), of_one);
    let from = of_one[100].0.clone();
    assert_eq!(kv.scan(&from, b"1/", 3), (of_one[100..103].to_vec(), true));
    assert_eq!(kv.scan(b"0", b"1/", 2), (of_one[..2].to_vec(), true), "from before the prefix");
    assert_eq!(kv.scan(b"2", b"1/", 2), (vec![], false), "from behind it");
    assert_eq!(kv.scan(&of_one.last().unwrap().0, b"1/", 2), (of_one[of_one.len() - 1..].to_vec(), false));
}

#[test]
fn what_is_known_of_a_scan_does_not_hold_for_the_next_call() {
    let (server, address) = kv_server(&["--workers", "1"]);
    let mut kv = Kv::connect(address);
    let record = kv.record(&scan(&[b'a'; 255], &[b'a'; 255], 0));
    kv.send_bytes(&record[..4]).unwrap();
    let running = server.stats();
    // From the mark it is known how many bytes there must be.
    await_that("the mark is received", || running.connections().iter().any(|slot| slot.moved().0 == 4));
    kv.send_bytes(&record[4..]).unwrap();
    assert_eq!(kv.read().unwrap(), Answer::Page(vec![], false));
    assert_eq!(kv.call(&KvRequest::Null).unwrap(), Answer::Null, "fewer bytes are enough");
}

/// Nothing is shown that is not on disk: also where several pages are there at once.
#[test]
fn scans_wait_for_what_they_show() {
    let (server, address) = kv_server(&["--workers", "1", "--worker-timeout", "60", "--kv-mb", "1"]);
    let mut writer = Kv::connect(address);
    writer.put(b"k", b"old");
    let mut busy: Vec<_> = (0..3).map(|_| Kv::connect(address)).collect();
    busy.iter_mut().for_each(|kv| assert_eq!(kv.call(&KvRequest::Null).unwrap(), Answer::Null));
    let mut readers: Vec<_> = (0..20).map(|_| Kv::connect(address)).collect();
    readers.iter_mut().for_each(|kv| assert_eq!(kv.call(&KvRequest::Null).unwrap(), Answer::Null));
    let (worker, journal) = (server.workers[0], server.journal_now().unwrap());
    send(journal, Signal::SIGSTOP);
    writer.send(&put(b"k", b"new")).unwrap();
    let running = server.stats();
    await_that("it has its number", || running.table().order().now().lsn == Lsn(4));
    send(worker, Signal::SIGSTOP);
    readers.iter_mut().for_each(|kv| kv.send(&scan(b"", b"k", 0)).unwrap());
    // While the worker computes digests of these, its thread has time for several pages.
    let long = vec![1; 65_536];
    for (number, kv) in busy.iter_mut().enumerate() {
        kv.send(&put_once([u8::try_from(number).unwrap() + 1; 16], b"busy", &long)).unwrap();
    }
    send(worker, Signal::SIGCONT);
    await_that("all are answered", || counted(&server, |stats| stats.calls[KvProcedure::Scan.index()].get()) == 20);
    for kv in &mut readers {
        kv.stream.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
        assert!(kv.read_record().is_err(), "what is not on disk is shown");
        kv.stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    }
    send(journal, Signal::SIGCONT);
    for kv in &mut readers {
        assert_eq!(kv.read().unwrap(), Answer::Page(vec![(b"k".to_vec(), 4, 3)], false));
    }
    assert_eq!(writer.read().unwrap(), Answer::Written(4));
}
