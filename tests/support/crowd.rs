//! Hostile clients in threads, and how long a well-behaved one waits meanwhile.

#![allow(dead_code, reason = "each test program that includes this file uses another part of it")]

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, socket};

/// Threads that do the same again and again, until this is dropped.
pub struct Crowd {
    is_over: Arc<AtomicBool>,
    rounds: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

impl Crowd {
    /// `count` threads, each of which calls what `member` gives for it.
    pub fn of<F: FnMut() + Send + 'static>(count: usize, member: impl Fn() -> F) -> Crowd {
        let (is_over, rounds) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let threads = (0..count).map(|_| {
            let (is_over, rounds, mut act) = (is_over.clone(), rounds.clone(), member());
            thread::spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    act();
                    rounds.fetch_add(1, Ordering::Relaxed);
                }
            })
        });
        let threads = threads.collect();
        Crowd { is_over, rounds, threads }
    }

    /// How often all of them together have done it.
    pub fn rounds(&self) -> u64 {
        self.rounds.load(Ordering::Relaxed)
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        let panicked = self.threads.drain(..).map(JoinHandle::join).filter(Result::is_err).count();
        if !thread::panicking() {
            assert_eq!(panicked, 0, "hostile clients failed");
        }
    }
}

/// Connects, sends `begin` and then zeros, until the server has enough of it or 64 MiB are sent; how many bytes it took.
pub fn flood(address: SocketAddr, begin: &[u8]) -> u64 {
    let Ok(mut stream) = TcpStream::connect_timeout(&address, Duration::from_secs(10)) else { return 0 };
    stream.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
    if stream.write_all(begin).is_err() {
        return 0;
    }
    flood_over(&mut stream)
}

/// As [`flood`], over a connection that is there.
pub fn flood_over(stream: &mut TcpStream) -> u64 {
    const ENOUGH: u64 = 64 << 20;
    let (zeros, mut sent) = (vec![0; 1 << 20], 0);
    while sent < ENOUGH {
        match stream.write(&zeros) {
            Ok(count) => sent += count as u64,
            Err(_) => break,
        }
    }
    sent
}

/// Connects from `source`, another address of this machine.
pub fn connect_from(source: [u8; 4], address: SocketAddr) -> TcpStream {
    let SocketAddr::V4(address) = address else { panic!("{address}") };
    let made = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
    let [a, b, c, d] = source;
    bind(made.as_raw_fd(), &SockaddrIn::new(a, b, c, d, 0)).unwrap();
    connect(made.as_raw_fd(), &SockaddrIn::from(address)).unwrap();
    TcpStream::from(made)
}

/// Closes at once, with a reset.
pub fn reset(stream: TcpStream) {
    let linger = nix::libc::linger { l_onoff: 1, l_linger: 0 };
    nix::sys::socket::setsockopt(&stream, nix::sys::socket::sockopt::Linger, &linger).unwrap();
}

/// How long `act` takes at most, of as many times as fit into `during`; and how often that is. Where it takes longer than what is bearable,
/// it is measured once or twice more: a machine that is busy with other tests holds it up now and then, and a server that does so, always.
pub fn longest(during: Duration, bearable: Duration, mut act: impl FnMut()) -> (Duration, usize) {
    let mut measured = longest_once(during, &mut act);
    for _ in 0..2 {
        if measured.0 >= bearable {
            println!("it took {:?}, and is measured again", measured.0);
            measured = longest_once(during, &mut act);
        }
    }
    measured
}

fn longest_once(during: Duration, act: &mut impl FnMut()) -> (Duration, usize) {
    let begin = Instant::now();
    let (mut longest, mut count) = (Duration::ZERO, 0);
    while begin.elapsed() < during {
        let start = Instant::now();
        act();
        longest = longest.max(start.elapsed());
        count += 1;
    }
    (longest, count)
}

/// Bytes that the kernel holds of one direction of a connection, at most: in the buffers of both ends, which grow with what is sent
/// (`tcp(7)`).
pub fn held_by_kernel() -> u64 {
    let largest = |name| -> u64 {
        let sizes = fs::read_to_string(format!("/proc/sys/net/ipv4/{name}")).unwrap();
        sizes.split_whitespace().next_back().unwrap().parse().unwrap()
    };
    largest("tcp_rmem") + largest("tcp_wmem")
}

/// Memory of a process that is its own, in KiB (`RssAnon` of `proc_pid_status(5)`).
pub fn memory(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Whether the server has closed, with an end or a reset, and nothing more came before. Waits for that.
pub fn is_closed(stream: &mut TcpStream) -> bool {
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    match stream.read(&mut [0; 1]) {
        Ok(count) => count == 0,
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}
