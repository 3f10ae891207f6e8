//! The load of `benches/files.sh`: it opens a connection, sends a request, reads to the end of the stream, and begins
//! again. It knows no protocol, so servers of different ones can be compared by it. An answer is right if it is as long
//! as the first one, which must be the content that is asked for and a head.
//!
//! `cargo run --release --example connection_load -- --port 8080 --content-bytes 6 --seconds 2 --request $'GET /hello.txt HTTP/1.0\r\n\r\n'`

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use hdrhistogram::Histogram;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

/// Sends one request on each of many connections to this machine, and reads what comes to its end.
#[derive(Parser)]
struct Options {
    /// The server's port.
    #[arg(long)]
    port: u16,
    /// What is sent, byte by byte.
    #[arg(long)]
    request: String,
    /// Bytes of content in a right answer; its head is longer than nothing and shorter than 1,024 bytes.
    #[arg(long)]
    content_bytes: u64,
    /// Requests under way at a time.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=4096))]
    connections: u16,
    /// Threads, an event loop each.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    threads: u16,
    /// How long requests are begun.
    #[arg(long, required_unless_present = "requests")]
    seconds: Option<f64>,
    /// How many requests are begun.
    #[arg(long, conflicts_with = "seconds")]
    requests: Option<u64>,
    /// Seconds after which what is under way has failed.
    #[arg(long, default_value_t = 60.0)]
    timeout: f64,
}

const HEAD_BYTES: u64 = 1024;
const MAX_LATENCY_NS: u64 = 600_000_000_000;
const BUFFER_BYTES: usize = 128 * 1024;
/// A run with as many failures is over.
const MAX_FAILED: u64 = 100;

/// What the threads share.
struct Run {
    options: Options,
    /// When the last request is begun.
    until: Option<Instant>,
    /// When the run has failed.
    deadline: Instant,
    begun: AtomicU64,
    failed: AtomicU64,
    /// Bytes of the first answer, head and content; 0 before it.
    answer_bytes: AtomicU64,
}

impl Run {
    fn new(options: Options, now: Instant) -> Run {
        let after = |seconds: f64| now + Duration::from_secs_f64(seconds);
        let (until, deadline) = (options.seconds.map(after), after(options.timeout + options.seconds.unwrap_or(0.0)));
        let counters = [(); 3].map(|()| AtomicU64::new(0));
        let [begun, failed, answer_bytes] = counters;
        Run { options, until, deadline, begun, failed, answer_bytes }
    }

    /// Whether one more request is to be begun, which then is counted.
    fn take(&self, now: Instant) -> bool {
        self.until.is_none_or(|until| now < until)
            && self.failed.load(Ordering::Relaxed) < MAX_FAILED
            && self.begun.fetch_add(1, Ordering::Relaxed) < self.options.requests.unwrap_or(u64::MAX)
    }

    /// Whether an answer of so many bytes is right.
    fn check(&self, received: u64) -> Result<(), String> {
        let content = self.options.content_bytes;
        if !(content + 1..content + HEAD_BYTES).contains(&received) {
            return Err(format!("an answer of {received} bytes, which is not a head and {content} bytes"));
        }
        match self.answer_bytes.compare_exchange(0, received, Ordering::Relaxed, Ordering::Relaxed) {
            Err(first) if first != received => Err(format!("an answer of {received} bytes, the first one had {first}")),
            _ => Ok(()),
        }
    }
}

/// One request and its answer.
struct Exchange {
    stream: TcpStream,
    began: Instant,
    sent: usize,
    received: u64,
}

impl Exchange {
    fn begin(run: &Run, poll: &Poll, token: Token, began: Instant) -> io::Result<Exchange> {
        let stream = TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, run.options.port)))?;
        let mut exchange = Exchange { stream, began, sent: 0, received: 0 };
        // On loopback a connection is usually there at once, and so nobody needs to wait until it can be written to.
        let is_sent = exchange.send(run.options.request.as_bytes())?;
        let interest = if is_sent { Interest::READABLE } else { Interest::READABLE | Interest::WRITABLE };
        poll.registry().register(&mut exchange.stream, token, interest)?;
        Ok(exchange)
    }

    /// Sends what remains of `request`. False when the kernel takes no more for now.
    fn send(&mut self, request: &[u8]) -> io::Result<bool> {
        while self.sent < request.len() {
            match self.stream.write(&request[self.sent..]) {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Sends and receives what can be. True at the end of the stream.
    fn turn(&mut self, request: &[u8], buffer: &mut [u8], may_have_ended: bool) -> io::Result<bool> {
        if !self.send(request)? {
            return Ok(false);
        }
        loop {
            match self.stream.read(buffer) {
                Ok(0) => return Ok(true),
                Ok(count) => {
                    self.received += count as u64;
                    // A short read counts as drained; what comes after it is a new event.
                    if count < buffer.len() && !may_have_ended {
                        return Ok(false);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
    }
}

/// What came of the requests of a thread.
struct Tally {
    latencies_ns: Histogram<u64>,
    bytes: u64,
    last_answer: Option<Instant>,
    first_failure: Option<String>,
}

impl Tally {
    fn new() -> Result<Tally, hdrhistogram::CreationError> {
        let latencies_ns = Histogram::new_with_bounds(1, MAX_LATENCY_NS, 3)?;
        Ok(Tally { latencies_ns, bytes: 0, last_answer: None, first_failure: None })
    }

    fn add(&mut self, other: Tally) -> Result<(), hdrhistogram::AdditionError> {
        self.bytes += other.bytes;
        self.last_answer = self.last_answer.max(other.last_answer);
        self.first_failure = self.first_failure.take().or(other.first_failure);
        self.latencies_ns.add(other.latencies_ns)
    }

    fn answered(&mut self, exchange: &Exchange) {
        let now = Instant::now();
        self.latencies_ns.saturating_record(u64::try_from((now - exchange.began).as_nanos()).unwrap_or(u64::MAX));
        self.bytes += exchange.received;
        self.last_answer = Some(now);
    }

    fn failed(&mut self, run: &Run, why: impl FnOnce() -> String) {
        run.failed.fetch_add(1, Ordering::Relaxed);
        self.first_failure.get_or_insert_with(why);
    }
}

/// Keeps `connections` requests under way until the run is over.
fn drive(run: &Run, connections: usize) -> io::Result<Tally> {
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(1024);
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut tally = Tally::new().map_err(io::Error::other)?;
    let mut under_way: Vec<Option<Exchange>> = Vec::new();
    under_way.resize_with(connections, || None);
    let mut count = 0;
    for (slot, exchange) in under_way.iter_mut().enumerate() {
        *exchange = next(run, &poll, &mut tally, Token(slot));
        count += usize::from(exchange.is_some());
    }
    while count > 0 {
        let left = run.deadline.saturating_duration_since(Instant::now());
        match poll.poll(&mut events, Some(left)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            polled => polled?,
        }
        if events.is_empty() && left.is_zero() {
            for exchange in under_way.iter().flatten() {
                tally.failed(run, || format!("no end of an answer after {} bytes", exchange.received));
            }
            break;
        }
        for event in &events {
            let Some(slot) = under_way.get_mut(event.token().0) else { continue };
            let Some(exchange) = slot else { continue };
            let is_over = exchange.turn(run.options.request.as_bytes(), &mut buffer, event.is_read_closed());
            match is_over.map_err(|error| error.to_string()) {
                Ok(false) => continue,
                Ok(true) => match run.check(exchange.received) {
                    Ok(()) => tally.answered(exchange),
                    Err(why) => tally.failed(run, || why),
                },
                Err(why) => tally.failed(run, || why),
            }
            *slot = None;
            *slot = next(run, &poll, &mut tally, event.token());
            count -= usize::from(slot.is_none());
        }
    }
    Ok(tally)
}

/// Begins the next request, if there is one.
fn next(run: &Run, poll: &Poll, tally: &mut Tally, token: Token) -> Option<Exchange> {
    loop {
        let now = Instant::now();
        if !run.take(now) {
            return None;
        }
        match Exchange::begin(run, poll, token, now) {
            Ok(exchange) => return Some(exchange),
            Err(error) => tally.failed(run, || error.to_string()),
        }
    }
}

fn main() -> Result<std::process::ExitCode, Box<dyn std::error::Error>> {
    let began = Instant::now();
    let run = Run::new(Options::parse(), began);
    let (threads, connections) = (usize::from(run.options.threads), usize::from(run.options.connections));
    let mut total = Tally::new()?;
    std::thread::scope(|scope| {
        let drivers: Vec<_> = (0..threads)
            .map(|thread| (connections + thread) / threads)
            .map(|share| {
                scope.spawn({
                    let run = &run;
                    move || drive(run, share)
                })
            })
            .collect();
        for driver in drivers {
            total.add(driver.join().map_err(|_| "a thread panicked")??)?;
        }
        Ok::<(), Box<dyn std::error::Error>>(())
    })?;
    let failed = run.failed.load(Ordering::Relaxed);
    let (answered, bytes) = (total.latencies_ns.len(), total.bytes);
    let seconds = total.last_answer.map_or(0.0, |last| (last - began).as_secs_f64());
    let per_second = |count: u64| if seconds > 0.0 { count as f64 / seconds } else { 0.0 };
    let at = |quantile| total.latencies_ns.value_at_quantile(quantile) / 1000;
    println!(
        "requests={answered} failed={failed} bytes={bytes} seconds={seconds:.3} requests_per_s={:.0} bytes_per_s={:.0} \
         p50_us={} p99_us={} max_us={}",
        per_second(answered),
        per_second(bytes),
        at(0.5),
        at(0.99),
        total.latencies_ns.max() / 1000,
    );
    if let Some(why) = &total.first_failure {
        eprintln!("connection_load: {failed} requests failed, the first one: {why}");
    }
    Ok(if failed == 0 && answered > 0 { std::process::ExitCode::SUCCESS } else { std::process::ExitCode::FAILURE })
}
