//! An HTTP server on loopback whose objects are a function of their paths: `/N` has N bytes, `/cN` is sent in chunks without a length, `/errorN`
//! is in error, `/huge` is larger than any memory, `/short` ends before its end, and nothing else is there. It may be held up before it answers.

use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

/// What is shared with its threads.
#[derive(Default)]
struct Shared {
    requests: Mutex<Vec<String>>,
    is_held: Mutex<bool>,
    released: Condvar,
}

/// The server. Its threads end with the test's process.
pub struct HttpOrigin {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

/// The bytes of an object: a pattern that is nowhere the same.
pub fn object(path: &str) -> Option<Vec<u8>> {
    let length: usize = path.trim_start_matches(['/', 'c']).parse().ok()?;
    let seed = path.bytes().fold(7_u32, |seed, byte| seed.wrapping_mul(31).wrapping_add(byte.into()));
    Some(crate::transfer_support::contents(seed, length))
}

impl HttpOrigin {
    pub fn new() -> HttpOrigin {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let of_threads = shared.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let shared = of_threads.clone();
                thread::spawn(move || serve(&stream.unwrap(), &shared));
            }
        });
        HttpOrigin { address, shared }
    }

    /// The paths that were asked for.
    pub fn requests(&self) -> Vec<String> {
        self.shared.requests.lock().unwrap().clone()
    }

    /// Answers nothing any more, or goes on.
    pub fn hold(&self, is_held: bool) {
        *self.shared.is_held.lock().unwrap() = is_held;
        self.shared.released.notify_all();
    }
}

/// One connection; whoever does not listen any more does not matter.
fn serve(stream: &TcpStream, shared: &Shared) {
    let mut lines = BufReader::new(stream).lines();
    while let Some(Ok(request)) = lines.next() {
        let mut asks_if_changed = false;
        while let Some(Ok(line)) = lines.next().filter(|line| line.as_ref().is_ok_and(|line| !line.is_empty())) {
            asks_if_changed |= line.to_lowercase().starts_with("if-none-match: \"v\"");
        }
        let path = request.split(' ').nth(1).unwrap().to_owned();
        shared.requests.lock().unwrap().push(path.clone());
        let held = shared.released.wait_while(shared.is_held.lock().unwrap(), |is_held| *is_held).unwrap();
        drop(held);
        if answer(stream, &path, asks_if_changed).is_err() {
            return;
        }
    }
}

fn answer(mut stream: &TcpStream, path: &str, asks_if_changed: bool) -> std::io::Result<()> {
    if path.starts_with("/error") {
        return stream.write_all(b"HTTP/1.1 500 Hm\r\nContent-Length: 0\r\n\r\n");
    }
    let said = match path {
        "/huge" => Some(1_u64 << 60),
        "/short" => Some(100_000),
        _ => None,
    };
    if let Some(said) = said {
        stream.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {said}\r\n\r\nhello").as_bytes())?;
        return stream.shutdown(Shutdown::Write);
    }
    let Some(bytes) = object(path) else {
        return stream.write_all(b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n");
    };
    if asks_if_changed {
        return stream.write_all(b"HTTP/1.1 304 Same\r\nETag: \"v\"\r\n\r\n");
    }
    if !path.starts_with("/c") {
        let head = format!("HTTP/1.1 200 OK\r\nETag: \"v\"\r\nContent-Length: {}\r\n\r\n", bytes.len());
        stream.write_all(head.as_bytes())?;
        return stream.write_all(&bytes);
    }
    stream.write_all(b"HTTP/1.1 200 OK\r\nETag: \"v\"\r\nTransfer-Encoding: chunked\r\n\r\n")?;
    for chunk in bytes.chunks(50_000) {
        stream.write_all(&[format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat())?;
    }
    stream.write_all(b"0\r\n\r\n")
}
