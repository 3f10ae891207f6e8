//! The load of `benches/cluster.sh` for etcd: transfers between two accounts, each a transaction that compares and puts two keys. And that of
//! `benches/kv.sh`: one key is put at a time (`--put-bytes`).
//!
//! It speaks gRPC itself, over HTTP/2 (RFC 9113): the JSON gateway would have the server translate each request. What it does beside that is
//! little, so that most of two cores is left to etcd: no proper header compression (RFC 7541) but the entries of the first request, and of an
//! answer it reads nothing but `TxnResponse.succeeded`. Flow control is left to what the two sides grant each other at the beginning, so what
//! is under way on a connection must be less than 64 KiB.
//!
//! Every request under way has accounts of its own, whose balances the generator knows. So a transfer is one transaction, without a
//! read before it, and none ever fails because of another: etcd is spared what a real client would have to do.
//!
//! `cargo run --release --example etcd_load -- --server 127.0.0.1:2379 --connections 100 --seconds 2`

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use clap::Parser;
use hdrhistogram::Histogram;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

/// Keeps transfers under way on many connections to an etcd.
#[derive(Parser)]
struct Options {
    /// Where the server is.
    #[arg(long)]
    server: SocketAddr,
    /// Connections.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=4096))]
    connections: u16,
    /// Transfers under way on each of them.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    pipeline: u16,
    /// Accounts, which the requests under way share among themselves, two each at least.
    #[arg(long, default_value_t = 10_000)]
    accounts: u32,
    /// Threads, an event loop each.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    threads: u16,
    /// Put a value of so many bytes to one account at a time, instead of transfers.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=8192))]
    put_bytes: Option<u16>,
    /// How long transfers are begun.
    #[arg(long)]
    seconds: f64,
}

/// What every account has at first.
const OPENING: u64 = 100_000_000;
/// Accounts that one transaction fills; etcd takes 128 operations.
const FILLED_AT_ONCE: usize = 100;
/// After so long without any answer a run has failed.
const SILENCE: Duration = Duration::from_secs(20);
/// HTTP/2's frames: kinds and flags.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const FRAME_HEADER: usize = 9;
/// What later requests have instead of the first one's headers: two entries of the static table, and the four that the first one added.
const LATER_HEADERS: &[u8] = &[0x83, 0x86, 0xc1, 0xc0, 0xbf, 0xbe];

/// The headers of a connection's first request; each literal is added to the table.
fn first_headers(options: &Options) -> Vec<u8> {
    let authority = options.server.to_string();
    let mut block = vec![0x83, 0x86];
    let mut literal = |name: &[u8], value: &str| {
        block.extend_from_slice(name);
        block.push(u8::try_from(value.len()).unwrap_or(0));
        block.extend_from_slice(value.as_bytes());
    };
    literal(&[0x44], if options.put_bytes.is_some() { "/etcdserverpb.KV/Put" } else { "/etcdserverpb.KV/Txn" });
    literal(&[0x41], &authority);
    literal(&[0x5f], "application/grpc");
    literal(b"\x40\x02te", "trailers");
    block
}

fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let length = u32::try_from(payload.len()).unwrap_or(0).to_be_bytes();
    out.extend_from_slice(&length[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

/// A field of protobuf that has a length: seven bits in each byte, the lowest first.
fn field(out: &mut Vec<u8>, number: u8, content: &[u8]) {
    out.push(number << 3 | 2);
    let mut length = content.len();
    while length > 127 {
        out.push(u8::try_from(length & 127).unwrap_or(0) | 128);
        length >>= 7;
    }
    out.push(u8::try_from(length).unwrap_or(0));
    out.extend_from_slice(content);
}

fn key(account: u32) -> Vec<u8> {
    format!("account:{account:012}").into_bytes()
}

/// `Compare`: the value of that account is equal to that one.
fn compare(account: u32, balance: u64) -> Vec<u8> {
    let mut compare = vec![2 << 3, 3];
    field(&mut compare, 3, &key(account));
    field(&mut compare, 7, &balance.to_be_bytes());
    compare
}

/// `RequestOp`: puts that value.
fn put(account: u32, balance: u64) -> Vec<u8> {
    let (mut put, mut operation) = (Vec::new(), Vec::new());
    field(&mut put, 1, &key(account));
    field(&mut put, 2, &balance.to_be_bytes());
    field(&mut operation, 2, &put);
    operation
}

/// `TxnResponse.succeeded`, in a message with gRPC's five bytes before it.
fn has_succeeded(message: &[u8]) -> bool {
    let mut rest = message.get(5..).unwrap_or_default();
    while let [tag, next, ..] = *rest {
        match tag {
            // The header and the responses, whose lengths are below 128.
            0x0a | 0x1a => rest = rest.get(2 + usize::from(next)..).unwrap_or_default(),
            0x10 => return next == 1,
            _ => return false,
        }
    }
    false
}

/// One transfer after the other, between accounts of its own.
struct Lane {
    first: u32,
    balances: Vec<u64>,
    filled: usize,
    began: Instant,
    /// What the balances are if the transfer under way succeeds.
    change: Option<[(usize, u64); 2]>,
    /// The value that is put, where there are no transfers.
    value: Option<Vec<u8>>,
    /// Whether what is under way counts.
    is_counted: bool,
    answer: Vec<u8>,
}

impl Lane {
    /// Whether the answer that has come says that it was done.
    fn is_done(&mut self) -> bool {
        let message = std::mem::take(&mut self.answer);
        // The answer to a put is a header, or an error without a message.
        if self.value.is_some() { message.get(5) == Some(&0x0a) } else { has_succeeded(&message) }
    }

    fn account(&self, place: usize) -> u32 {
        self.first + u32::try_from(place).unwrap_or(0)
    }

    /// The next transaction: fills accounts as long as there are some to be filled.
    fn next(&mut self, rng: &mut SmallRng) -> Vec<u8> {
        let mut request = Vec::new();
        let count = self.balances.len();
        if let Some(value) = &self.value {
            field(&mut request, 1, &key(self.account(rng.random_range(0..count))));
            field(&mut request, 2, value);
            (self.is_counted, self.began) = (self.filled == count, Instant::now());
            self.filled = count;
            return request;
        }
        if self.filled < count {
            let upto = count.min(self.filled + FILLED_AT_ONCE);
            (self.filled..upto).for_each(|place| field(&mut request, 2, &put(self.account(place), OPENING)));
            self.filled = upto;
            return request;
        }
        let from = rng.random_range(0..count);
        let to = (from + rng.random_range(1..count)) % count;
        let change = [(from, self.balances[from] - 1), (to, self.balances[to] + 1)];
        change.iter().for_each(|(place, _)| {
            field(&mut request, 1, &compare(self.account(*place), self.balances[*place]));
        });
        change.iter().for_each(|(place, balance)| field(&mut request, 2, &put(self.account(*place), *balance)));
        self.change = Some(change);
        (self.is_counted, self.began) = (true, Instant::now());
        request
    }
}

struct Connection {
    stream: TcpStream,
    out: Vec<u8>,
    sent: usize,
    coming: Vec<u8>,
    headers: Vec<u8>,
    next_stream: u32,
    lanes: Vec<Lane>,
    of_stream: HashMap<u32, usize>,
}

impl Connection {
    fn new(options: &Options, first_lane: u32, each: u32) -> io::Result<Connection> {
        let stream = TcpStream::connect(options.server)?;
        stream.set_nodelay(true)?;
        let mut out = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        frame(&mut out, SETTINGS, 0, 0, &[]);
        // All that can be granted: more than a run receives.
        frame(&mut out, WINDOW_UPDATE, 0, 0, &(0x7fff_ffff_u32 - 65_535).to_be_bytes());
        let lane = |number: u32| Lane {
            first: (first_lane + number) * each,
            balances: vec![OPENING; each as usize],
            filled: 0,
            began: Instant::now(),
            change: None,
            value: options.put_bytes.map(|bytes| vec![b'v'; bytes.into()]),
            is_counted: false,
            answer: Vec::new(),
        };
        let lanes = (0..u32::from(options.pipeline)).map(lane).collect();
        let (headers, of_stream) = (first_headers(options), HashMap::new());
        Ok(Connection { stream, out, sent: 0, coming: Vec::new(), headers, next_stream: 1, lanes, of_stream })
    }

    fn begin(&mut self, lane: usize, rng: &mut SmallRng) {
        let request = self.lanes[lane].next(rng);
        let mut message = vec![0];
        message.extend_from_slice(&u32::try_from(request.len()).unwrap_or(0).to_be_bytes());
        message.extend_from_slice(&request);
        frame(&mut self.out, HEADERS, END_HEADERS, self.next_stream, &self.headers);
        frame(&mut self.out, DATA, END_STREAM, self.next_stream, &message);
        self.headers = LATER_HEADERS.to_vec();
        self.of_stream.insert(self.next_stream, lane);
        self.next_stream += 2;
    }

    fn send(&mut self) -> io::Result<()> {
        while self.sent < self.out.len() {
            match self.stream.write(&self.out[self.sent..]) {
                Ok(count) => self.sent += count,
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected) => {
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
        self.out.clear();
        self.sent = 0;
        Ok(())
    }

    /// Reads what has come; the lanes whose answers are complete go to `done`.
    fn receive(&mut self, buffer: &mut [u8], done: &mut Vec<usize>) -> io::Result<()> {
        loop {
            match self.stream.read(buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => {
                    self.coming.extend_from_slice(&buffer[..count]);
                    if count < buffer.len() {
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        let coming = std::mem::take(&mut self.coming);
        let mut rest = &coming[..];
        while let Some(header) = rest.first_chunk::<FRAME_HEADER>() {
            let length = u32::from_be_bytes([0, header[0], header[1], header[2]]) as usize;
            let stream = u32::from_be_bytes([header[5], header[6], header[7], header[8]]);
            let Some(payload) = rest.get(FRAME_HEADER..FRAME_HEADER + length) else { break };
            self.take(header[3], header[4], stream, payload, done)?;
            rest = &rest[FRAME_HEADER + length..];
        }
        self.coming.extend_from_slice(rest);
        Ok(())
    }

    fn take(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8], done: &mut Vec<usize>) -> io::Result<()> {
        match kind {
            SETTINGS if flags & ACK == 0 => frame(&mut self.out, SETTINGS, ACK, 0, &[]),
            PING if flags & ACK == 0 => frame(&mut self.out, PING, ACK, 0, payload),
            GOAWAY | RST_STREAM => return Err(io::Error::other("the server ends a connection or a request")),
            DATA | HEADERS => {
                let Some(&lane) = self.of_stream.get(&stream) else { return Ok(()) };
                if kind == DATA {
                    self.lanes[lane].answer.extend_from_slice(payload);
                }
                if flags & END_STREAM != 0 {
                    self.of_stream.remove(&stream);
                    done.push(lane);
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// What came of a thread's transfers: when they began, their latencies, and how many failed.
struct Tally {
    began: Instant,
    latencies_ns: Histogram<u64>,
    failed: u64,
}

/// Fills the accounts, waits for the other threads, and keeps transfers under way.
fn drive(options: &Options, first: u32, count: u32, each: u32, all_filled: &Barrier) -> io::Result<Tally> {
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(1024);
    let mut buffer = vec![0; 64 * 1024];
    let mut rng = SmallRng::seed_from_u64(u64::from(first));
    let latencies_ns = Histogram::new_with_bounds(1, 60_000_000_000, 3).map_err(io::Error::other)?;
    let mut tally = Tally { began: Instant::now(), latencies_ns, failed: 0 };
    let pipeline = u32::from(options.pipeline);
    let mut connections = Vec::new();
    for number in 0..count {
        let mut connection = Connection::new(options, (first + number) * pipeline, each)?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        poll.registry().register(&mut connection.stream, Token(number as usize), interest)?;
        (0..connection.lanes.len()).for_each(|lane| connection.begin(lane, &mut rng));
        connections.push(connection);
    }
    let mut under_way = count * pipeline;
    let (mut filling, mut until) = (true, None);
    let mut done = Vec::new();
    while under_way > 0 {
        poll.poll(&mut events, Some(SILENCE))?;
        if events.is_empty() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        for event in &events {
            let connection = &mut connections[event.token().0];
            connection.receive(&mut buffer, &mut done)?;
            let now = Instant::now();
            for place in done.drain(..) {
                let lane = &mut connection.lanes[place];
                let is_right = lane.is_done();
                if !is_right && filling {
                    return Err(io::Error::other("the accounts cannot be filled"));
                }
                if lane.is_counted {
                    let taken = u64::try_from((now - lane.began).as_nanos()).unwrap_or(u64::MAX);
                    tally.latencies_ns.saturating_record(taken);
                    tally.failed += u64::from(!is_right);
                    let change = lane.change.take().filter(|_| is_right);
                    change.iter().flatten().for_each(|(at, balance)| lane.balances[*at] = *balance);
                }
                let is_next =
                    if filling { lane.filled < lane.balances.len() } else { until.is_some_and(|until| now < until) };
                if is_next {
                    connection.begin(place, &mut rng);
                } else {
                    under_way -= 1;
                }
            }
            connection.send()?;
        }
        if under_way == 0 && filling {
            all_filled.wait();
            filling = false;
            tally.began = Instant::now();
            until = Some(tally.began + Duration::from_secs_f64(options.seconds));
            under_way = count * pipeline;
            for connection in &mut connections {
                (0..connection.lanes.len()).for_each(|lane| connection.begin(lane, &mut rng));
                connection.send()?;
            }
        }
    }
    Ok(tally)
}

fn main() -> Result<std::process::ExitCode, Box<dyn std::error::Error>> {
    let options = Options::parse();
    let connections = u32::from(options.connections);
    // Each has a connection at least.
    let threads = connections.min(options.threads.into());
    let each = (options.accounts / (connections * u32::from(options.pipeline))).max(2);
    let all_filled = Barrier::new(threads as usize);
    let mut tallies = Vec::new();
    std::thread::scope(|scope| {
        let share = |thread: u32| (connections * thread / threads, connections * (thread + 1) / threads);
        let drivers: Vec<_> = (0..threads)
            .map(|thread| {
                let (first, end) = share(thread);
                let (options, all_filled) = (&options, &all_filled);
                scope.spawn(move || {
                    // The others wait for this one.
                    drive(options, first, end - first, each, all_filled).unwrap_or_else(|error| {
                        eprintln!("etcd_load: {error}");
                        std::process::exit(1)
                    })
                })
            })
            .collect();
        tallies.extend(drivers.into_iter().filter_map(|driver| driver.join().ok()));
    });
    let mut latencies_ns = Histogram::<u64>::new_with_bounds(1, 60_000_000_000, 3)?;
    let (mut failed, mut seconds) = (0, 0.0_f64);
    for tally in &tallies {
        latencies_ns.add(&tally.latencies_ns)?;
        failed += tally.failed;
        seconds = seconds.max(tally.began.elapsed().as_secs_f64());
    }
    let at = |quantile| latencies_ns.value_at_quantile(quantile) / 1000;
    println!(
        "transfers={} failed={failed} seconds={seconds:.3} throughput={:.0} p50_us={} p99_us={}",
        latencies_ns.len(),
        (latencies_ns.len() - failed) as f64 / seconds,
        at(0.5),
        at(0.99)
    );
    Ok(if failed == 0 && !latencies_ns.is_empty() {
        std::process::ExitCode::SUCCESS
    } else {
        std::process::ExitCode::FAILURE
    })
}
