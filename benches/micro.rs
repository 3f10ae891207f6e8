//! What the parts of a request cost, each alone in one process. `cargo bench --bench micro`; less than a minute.
//!
//! The memory is what the server has, POSIX shared memory made by the same code, and its names are gone before anything is
//! measured: a benchmark that is killed leaves nothing behind.

use std::hint::black_box;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use bank_vault::base::limits::MAX_REPLY_BYTES;
use bank_vault::base::vocab::{AccountId, Cents, Lsn, OnDisk};
use bank_vault::ipc::fdpass;
use bank_vault::ipc::lane::{Consumer, LaneRing, LaneSemaphores, Producer, Taken, Ticket, semaphore_names};
use bank_vault::ipc::names::Generation;
use bank_vault::ipc::robust::{Acquired, RobustMutex};
use bank_vault::ipc::segment::{self, Segment};
use bank_vault::ipc::semaphore;
use bank_vault::service::bank::wire::{Decoder, Frame, Opcode, Request, Response, Step, checksum};
use bank_vault::service::http::rules::{Cache, decide, etag, media_type};
use bank_vault::service::http::wire::{
    ConnectionField, FileResponse, GeneralFields, HttpDate, Method, Representation, RepresentationMetadata, TargetPath,
    parse,
};
use bank_vault::store::access_log::{AccessLog, Entry, Full, LONGEST_LINE, Target, Writer};
use bank_vault::store::ledger::teller::Asker;
use bank_vault::store::ledger::{Completion, Operation, Shape, Table, Teller, cut};
use criterion::Criterion;

/// The server's default.
const ACCOUNTS: u32 = 10_000;
/// Enough that no account runs dry, whatever is moved.
const BALANCE: Cents = Cents(1 << 40);
/// Random choices are drawn beforehand, so that drawing them is not measured; a power of two.
const CHOICES: usize = 1 << 14;
const DEPTH: u32 = 64;

fn generation() -> Generation {
    Generation { instance: format!("bench-{}", std::process::id()), boot: 1 }
}

/// A table whose names are unlinked already.
fn table(ring: u32) -> Table {
    let names = ["accounts", "intents", "journal", "keys", "key-index"].map(|object| generation().name(object));
    let shape = Shape {
        accounts: ACCOUNTS,
        initial_balance: BALANCE,
        ring,
        key_window: 1_000_000,
        replies_wait: false,
        replicated: false,
        key_values: false,
    };
    let table = Table::create(names.each_ref().map(String::as_str), 1, &shape).expect("there is room in /dev/shm");
    names.iter().for_each(|name| segment::unlink(name).expect("it was just made"));
    table
}

/// Evenly spread pairs of different accounts, the same ones in every run (xorshift, Marsaglia 2003).
fn pairs() -> Vec<(AccountId, AccountId)> {
    let mut state = 0x9E37_79B9_u32;
    let mut draw = |below: u32| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state % below
    };
    let pair = |_| {
        let from = draw(ACCOUNTS);
        let to = (from + 1 + draw(ACCOUNTS - 1)) % ACCOUNTS;
        (AccountId(from), AccountId(to))
    };
    (0..CHOICES).map(pair).collect()
}

/// One after the other, for ever.
fn in_turn<T: Copy>(choices: &[T]) -> impl FnMut() -> T {
    let mut at = 0;
    move || {
        at = (at + 1) % CHOICES;
        choices[at]
    }
}

fn frame(bytes: &[u8]) -> Frame<'_> {
    match Decoder::default().step(bytes) {
        (_, Step::Frame(frame)) => frame,
        other => panic!("a frame of our own is right: {other:?}"),
    }
}

fn wire(criterion: &mut Criterion) {
    let request = Request::Transfer { from: AccountId(4711), to: AccountId(815), amount: Cents(12_345) };
    let response = Response::Transfer { from_balance: Cents(1_000_000), to_balance: Cents(2_000_000) };
    let mut asked = Vec::new();
    request.encode(7, None, None, &mut asked);
    let mut answered = [0; MAX_REPLY_BYTES];
    let length = response.write(7, None, &mut answered);
    let mut group = criterion.benchmark_group("wire");
    group.bench_function("CRC of a TRANSFER", |bencher| bencher.iter(|| checksum(black_box(&asked))));
    group.bench_function("encode request", |bencher| {
        let mut out = Vec::with_capacity(64);
        bencher.iter(|| {
            out.clear();
            black_box(&request).encode(black_box(7), None, None, &mut out);
            out.len()
        });
    });
    group.bench_function("decode request", |bencher| {
        bencher.iter(|| {
            let frame = frame(black_box(&asked));
            Request::decode(Opcode::Transfer, frame.body).is_ok()
        });
    });
    group.bench_function("encode response", |bencher| {
        let mut out = [0; MAX_REPLY_BYTES];
        bencher.iter(|| black_box(&response).write(black_box(7), None, &mut out));
    });
    group.bench_function("decode response", |bencher| {
        bencher.iter(|| {
            let frame = frame(black_box(&answered[..length]));
            Response::decode(&frame.header, frame.body).is_ok()
        });
    });
    group.finish();
}

fn lock(criterion: &mut Criterion) {
    let name = generation().name("lock");
    let locks = Segment::<(), RobustMutex>::create(&name, 1, 1, 1, |(), locks| locks[0].init(&name))
        .expect("there is room in /dev/shm");
    segment::unlink(&name).expect("it was just made");
    let lock = &locks.elements()[0];
    let mut group = criterion.benchmark_group("lock");
    group.bench_function("robust, free: lock, unlock", |bencher| {
        bencher.iter(|| matches!(lock.lock(Duration::from_millis(1), || ()), Acquired::Held(_)));
    });
    group.finish();
}

fn ledger(criterion: &mut Criterion) {
    let table = table(0);
    let mut teller = Teller::new(&table, 0, || ());
    let pairs = pairs();
    let amount = Cents(1);
    let unattended = |_: Result<&_, _>| Completion::UNATTENDED;
    let mut group = criterion.benchmark_group("ledger");
    group.bench_function("transfer", |bencher| {
        let mut next = in_turn(&pairs);
        bencher.iter(|| {
            let (from, to) = next();
            teller.carry_out(Operation::Transfer { from, to, amount }, &Asker::ANYBODY, unattended).is_ok()
        });
    });
    group.bench_function("deposit", |bencher| {
        let mut next = in_turn(&pairs);
        bencher.iter(|| {
            teller.carry_out(Operation::Deposit { account: next().0, amount }, &Asker::ANYBODY, unattended).is_ok()
        });
    });
    group.bench_function("balance", |bencher| {
        let mut next = in_turn(&pairs);
        bencher.iter(|| teller.balance(next().0).is_ok());
    });
    group.bench_function("cut of 10,000 accounts", |bencher| {
        bencher.iter(|| cut::take(&table).expect("nobody dies here"));
    });
    group.finish();
    journaled(criterion);
}

/// The same with a journal, whose process does not take part, and with keys.
fn journaled(criterion: &mut Criterion) {
    let table = table(1 << 16);
    let mut teller = Teller::new(&table, 0, || ());
    let pairs = pairs();
    let mut group = criterion.benchmark_group("ledger, journaled");
    for keyed in [false, true] {
        let mut next = in_turn(&pairs);
        let mut number = 0u128;
        group.bench_function(if keyed { "transfer with a key" } else { "transfer" }, |bencher| {
            bencher.iter(|| {
                let (from, to) = next();
                number += 1;
                let asker = Asker { principal: 1, key: keyed.then(|| number.to_le_bytes()) };
                if number.is_multiple_of(1 << 15) {
                    table.sequencer().set_on_disk_alone(OnDisk(table.order().now().lsn), Lsn(u64::MAX));
                }
                let operation = Operation::Transfer { from, to, amount: Cents(1) };
                teller.carry_out(operation, &asker, |_| Completion::UNATTENDED).is_ok()
            });
        });
    }
    group.finish();
}

/// A lane whose names are unlinked already.
fn lane() -> (Segment<(), LaneRing>, LaneSemaphores) {
    let name = generation().name("lanes");
    let ring = Segment::create(&name, 1, 1, 1, |(), _| Ok(())).expect("there is room in /dev/shm");
    segment::unlink(&name).expect("it was just made");
    let names = semaphore_names(0).map(|object| generation().name(&object));
    let semaphores = LaneSemaphores::create(&names, DEPTH).expect("there is room in /dev/shm");
    names.iter().for_each(|name| semaphore::unlink(name).expect("it was just made"));
    (ring, semaphores)
}

fn hand_over(criterion: &mut Criterion) {
    let (ring, semaphores) = lane();
    let mut producer = Producer::new(&ring.elements()[0], semaphores.clone(), DEPTH);
    let mut consumer = Consumer::new(&ring.elements()[0], semaphores);
    let ticket = Ticket { slot: 7, generation: 1, accepted_ns: 1 };
    let mut group = criterion.benchmark_group("hand-over");
    group.bench_function("lane: push, take", |bencher| {
        bencher.iter(|| {
            producer.push(black_box(ticket)).expect("it is empty");
            consumer.take()
        });
    });
    let (master, worker) = fdpass::pair().expect("descriptors are left");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port on loopback");
    let client = TcpStream::connect(listener.local_addr().expect("it is bound")).expect("it listens");
    let (accepted, _) = listener.accept().expect("a client has connected");
    let mut bytes = [0; Ticket::BYTES];
    group.bench_function("lane, SCM_RIGHTS, close", |bencher| {
        bencher.iter(|| {
            producer.push(black_box(ticket)).expect("it is empty");
            fdpass::send(master.as_fd(), &ticket.to_bytes(), Some(accepted.as_fd())).expect("it is empty");
            let message = fdpass::receive(worker.as_fd(), &mut bytes).expect("a message waits");
            assert_eq!(consumer.take(), Taken::Ticket(ticket));
            drop(message);
        });
    });
    group.finish();
    drop(client);
}

fn access_log(criterion: &mut Criterion) {
    let entry = Entry {
        address: [192, 0, 2, 7].into(),
        time: "21/Nov/2026:17:06:51 +0000",
        request: b"GET /static/js/app.4f2a91c0.js?v=20261121 HTTP/1.1",
        status: 200,
        bytes: 48_213,
        referer: Some(b"https://bank.example/accounts/4711/statement"),
        agent: Some(b"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
        duration: Duration::from_micros(123),
        cache_status: None,
    };
    let mut line = Vec::with_capacity(LONGEST_LINE);
    let mut group = criterion.benchmark_group("access log");
    group.bench_function("a line's text", |bencher| {
        bencher.iter(|| {
            line.clear();
            black_box(&entry).write(&mut line);
            line.len()
        });
    });
    let home = tempfile::tempdir().expect("there is room for temporary files");
    let target = Target {
        path: home.path().join("access.log"),
        rotate_bytes: 10 << 20,
        keep: 1,
        interval: bank_vault::store::access_log::INTERVAL,
    };
    let log = AccessLog::create(&generation(), 1, target).expect("there is room in /dev/shm");
    AccessLog::unlink(&generation()).expect("it was just made");
    let event_loop = std::thread::current();
    let mut handle =
        Writer::start(Box::leak(Box::new(log)), 0, move || event_loop.unpark()).expect("a thread can be had");
    // With its share of the log thread's work, as far as that is slower.
    group.bench_function("append, as fast as the file takes it", |bencher| {
        bencher.iter(|| {
            while handle.append(&line) == Err(Full) {
                std::thread::park();
            }
        });
    });
    handle.finish().expect("there is room for temporary files");
}

/// What a browser sends with every request for a picture.
const BROWSER: &str = "GET /static/pictures/landscape.jpg HTTP/1.1\r\nHost: localhost:8080\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n\
    Accept: image/avif,image/webp,image/png,image/svg+xml,image/*;q=0.8,*/*;q=0.5\r\nAccept-Language: en-US,en;q=0.5\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\nConnection: keep-alive\r\nReferer: http://localhost:8080/index.html\r\n\
    Sec-Fetch-Dest: image\r\nSec-Fetch-Mode: no-cors\r\nSec-Fetch-Site: same-origin\r\nPriority: u=5, i\r\n\r\n";
/// What wrk sends.
const WRK: &str = "GET /index.html HTTP/1.1\r\nHost: localhost:8080\r\n\r\n";
/// Files in the cache.
const FILES: usize = 1000;

fn http(criterion: &mut Criterion) {
    let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
    let metadata = |path: &str| RepresentationMetadata {
        length: 4096,
        modified,
        etag: etag(modified, 4096, 7, false),
        media_type: media_type(path.as_bytes()),
        gzipped: false,
        varies: false,
    };
    let mut cache: Cache<Rc<[u8]>, Representation> = Cache::new(1 << 30);
    for path in (0..FILES).map(|file| format!("static/{file}.html")).chain(["index.html".to_owned()]) {
        assert!(cache.insert(path.as_bytes().into(), Representation::new(metadata(&path)), 4096), "it fits");
    }
    let date = HttpDate::of(modified);
    let mut out = Vec::with_capacity(1024);
    let mut group = criterion.benchmark_group("http");
    for (name, head) in [("parse a browser's head", BROWSER), ("parse wrk's head", WRK)] {
        group.bench_function(name, |bencher| bencher.iter(|| parse(black_box(head.as_bytes())).is_ok()));
    }
    group.bench_function("target to path", |bencher| {
        bencher.iter(|| TargetPath::parse(black_box(b"/static/pictures/landscape.jpg")).is_ok());
    });
    group.bench_function("cache: acquire, release", |bencher| {
        bencher.iter(|| {
            let handle = cache.acquire(black_box(b"index.html".as_slice())).expect("it is there");
            cache.release(handle);
        });
    });
    let file = Representation::new(metadata("index.html"));
    let general = GeneralFields { date: &date, connection: ConnectionField::Omitted };
    group.bench_function("head of a 200", |bencher| {
        bencher.iter(|| {
            out.clear();
            FileResponse::Full.write_head(Method::Get, black_box(&file), &general, &mut out)
        });
    });
    for (name, head) in [("a browser's request to its head", BROWSER), ("wrk's request to its head", WRK)] {
        let key = b"index.html".as_slice();
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let request = parse(black_box(head.as_bytes())).expect("it is right").expect("it is whole");
                let path = TargetPath::parse(request.target).expect("a path");
                black_box(path.path());
                let handle = cache.acquire(black_box(key)).expect("it is there");
                let file = cache.get(&handle);
                let answer = decide(request.method, &request.conditions, file, &date);
                out.clear();
                let general = GeneralFields { date: &date, connection: request.connection() };
                let body = answer.write_head(request.method, file, &general, &mut out);
                cache.release(handle);
                body
            });
        });
    }
    group.finish();
}

fn main() {
    let short = Criterion::default().warm_up_time(Duration::from_millis(300));
    let mut criterion = short.measurement_time(Duration::from_millis(1500)).sample_size(50).configure_from_args();
    for bench in [wire, lock, ledger, hand_over, http, access_log] {
        bench(&mut criterion);
    }
    criterion.final_summary();
}
