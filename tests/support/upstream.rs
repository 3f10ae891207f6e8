//! HTTP upstreams on loopback that answer each path as a test says, and what a client of GetFile gets of them.

#![allow(dead_code, reason = "each test program that includes this file uses another part of it")]

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

/// An upstream. Its threads end with the test's process.
pub struct Upstream {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

/// What is shared with its threads.
#[derive(Default)]
struct Shared {
    asked: Mutex<BTreeMap<String, u32>>,
    is_held: Mutex<bool>,
    released: Condvar,
}

impl Upstream {
    /// One that answers each request by `answer`, and closes the connection after an error of it.
    pub fn start(answer: impl Fn(&str, &mut TcpStream) -> io::Result<()> + Send + Sync + 'static) -> Upstream {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (shared, answer) = (Arc::new(Shared::default()), Arc::new(answer));
        let of_threads = shared.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (shared, answer) = (of_threads.clone(), answer.clone());
                thread::spawn(move || shared.serve(stream.unwrap(), &*answer));
            }
        });
        Upstream { address, shared }
    }

    /// One that has an [`object`] for each path.
    pub fn of_objects() -> Upstream {
        Upstream::start(|path, stream| match object(path) {
            Some(bytes) => stream.write_all(&whole(&bytes)),
            None => stream.write_all(b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n"),
        })
    }

    /// What a server is told of it.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How often it was asked for anything.
    pub fn requests(&self) -> u32 {
        self.shared.asked.lock().unwrap().values().sum()
    }

    /// How often it was asked for a path.
    pub fn asked(&self, path: &str) -> u32 {
        self.shared.asked.lock().unwrap().get(path).copied().unwrap_or(0)
    }

    /// Answers nothing any more, or goes on.
    pub fn hold(&self, is_held: bool) {
        *self.shared.is_held.lock().unwrap() = is_held;
        self.shared.released.notify_all();
    }
}

impl Shared {
    fn serve(&self, mut stream: TcpStream, answer: &impl Fn(&str, &mut TcpStream) -> io::Result<()>) {
        stream.set_nodelay(true).unwrap();
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
        while let Some(Ok(request)) = lines.next() {
            while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
            let path = request.split(' ').nth(1).unwrap();
            *self.asked.lock().unwrap().entry(path.to_owned()).or_default() += 1;
            drop(self.released.wait_while(self.is_held.lock().unwrap(), |is_held| *is_held).unwrap());
            if answer(path, &mut stream).is_err() {
                return;
            }
        }
    }
}

/// A whole answer with this content.
pub fn whole(content: &[u8]) -> Vec<u8> {
    [format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", content.len()).as_bytes(), content].concat()
}

/// So many bytes, other ones for each name, and at each place.
pub fn content(name: &str, length: usize) -> Vec<u8> {
    let seed = u64::from(crc32fast::hash(name.as_bytes())) << 32;
    let mut bytes = vec![0; length.next_multiple_of(8)];
    bytes.chunks_exact_mut(8).zip(seed..).for_each(|(part, word)| part.copy_from_slice(&word.to_le_bytes()));
    bytes.truncate(length);
    bytes
}

/// The object of the path `/LENGTH/NAME`; there is none of another one.
pub fn object(path: &str) -> Option<Vec<u8>> {
    let (length, _) = path.strip_prefix('/')?.split_once('/')?;
    Some(content(path, length.parse().ok()?))
}

/// What a client of GetFile got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Got {
    /// All of the content.
    Whole,
    /// A head, and less content than it said.
    Short,
    NotFound,
    Error,
    /// Less than a head.
    Nothing,
}

/// What comes of a request for what should be `expected`, until the connection ends in whichever way.
///
/// # Panics
/// A length or a byte is another one, or something comes that the protocol does not have.
pub fn got(mut stream: TcpStream, expected: &[u8]) -> Got {
    let mut bytes = Vec::new();
    if let Err(error) = stream.read_to_end(&mut bytes) {
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }
    let Some(end) = bytes.windows(4).position(|part| part == b"\r\n\r\n") else {
        assert!(b"GETFILE ".starts_with(&bytes[..bytes.len().min(8)]), "{}", bytes.escape_ascii());
        return Got::Nothing;
    };
    let (head, content) = bytes.split_at(end + 4);
    match head {
        b"GETFILE FILE_NOT_FOUND\r\n\r\n" if content.is_empty() => Got::NotFound,
        b"GETFILE ERROR\r\n\r\n" if content.is_empty() => Got::Error,
        head => {
            let ok = format!("GETFILE OK {}\r\n\r\n", expected.len());
            assert_eq!(head.escape_ascii().to_string(), ok.as_bytes().escape_ascii().to_string());
            assert!(content == &expected[..content.len().min(expected.len())], "other bytes");
            if content.len() < expected.len() { Got::Short } else { Got::Whole }
        }
    }
}
