//! Upstreams on loopback that do as they like.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// An upstream. Its threads end with the test's process.
pub struct Hostile {
    pub address: SocketAddr,
    requests: Arc<Mutex<Vec<(usize, String)>>>,
}

/// A connection to it, as it sees it.
pub struct Connection {
    pub stream: TcpStream,
    /// Which, by order.
    pub number: usize,
    requests: Arc<Mutex<Vec<(usize, String)>>>,
}

impl Hostile {
    /// One that does this with every connection, on a thread of its own.
    pub fn new(behave: impl Fn(&mut Connection) + Send + Sync + 'static) -> Hostile {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (behave, seen) = (Arc::new(behave), requests.clone());
        thread::spawn(move || {
            for (number, stream) in listener.incoming().enumerate() {
                let (behave, requests) = (behave.clone(), seen.clone());
                let mut connection = Connection { stream: stream.unwrap(), number, requests };
                thread::spawn(move || behave(&mut connection));
            }
        });
        Hostile { address, requests }
    }

    /// One that answers every connection's first request with these bytes, and closes.
    pub fn saying(answer: impl Into<Vec<u8>>) -> Hostile {
        let answer = answer.into();
        Hostile::new(move |connection| {
            connection.request();
            connection.say(&answer);
        })
    }

    /// The requests that have come, with the number of their connections.
    pub fn requests(&self) -> Vec<(usize, String)> {
        self.requests.lock().unwrap().clone()
    }
}

impl Connection {
    /// Reads the head of a request. Returns whether there is one.
    pub fn request(&mut self) -> bool {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            match self.stream.read(&mut byte) {
                Ok(1) => head.push(byte[0]),
                _ => return false,
            }
        }
        self.requests.lock().unwrap().push((self.number, String::from_utf8_lossy(&head).into_owned()));
        true
    }

    /// The head of the request that was read last.
    pub fn last_request(&self) -> String {
        let requests = self.requests.lock().unwrap();
        requests
            .iter()
            .rev()
            .find(|(number, _)| *number == self.number)
            .map_or_else(String::new, |(_, head)| head.clone())
    }

    /// Writes; who does not listen any more does not matter.
    pub fn say(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Is silent until the other side closes. Returns whether that was so within ten seconds.
    pub fn wait_for_end(&mut self) -> bool {
        self.stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest).is_ok()
    }
}
