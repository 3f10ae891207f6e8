//! A blocking HTTP client for system tests, which sends whatever bytes it is given, and a server with files to serve.

#![allow(dead_code, reason = "each test program that includes this file uses another part of it")]

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;

use crate::server::{Server, unused_name, unused_port};

/// No answer takes longer, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server with HTTP, and the folder that it serves.
pub struct Site {
    /// The server.
    pub server: Server,
    /// Where it listens for HTTP.
    pub address: SocketAddr,
    home: TempDir,
}

impl Site {
    /// A server that serves these files, with `args` beside those that it needs for that.
    pub fn with(files: &[(&str, &[u8])], args: &[&str]) -> Site {
        Site::armed(files, args, &[])
    }

    /// The same, with these variables in the environment.
    pub fn armed(files: &[(&str, &[u8])], args: &[&str], environment: &[(&str, &str)]) -> Site {
        let home = tempfile::tempdir().unwrap();
        let root = home.path().join("www");
        fs::create_dir(&root).unwrap();
        for (path, bytes) in files {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        let port = unused_port().to_string();
        let own = ["--accounts", "10", "--http-port", &port, "--www", root.to_str().unwrap()];
        let server = Server::start_with(&unused_name(), &[&own[..], args].concat(), environment);
        let address = SocketAddr::new(server.address.ip(), port.parse().unwrap());
        Site { server, address, home }
    }

    /// A path in the served folder.
    pub fn path(&self, path: &str) -> PathBuf {
        self.home.path().join("www").join(path)
    }

    /// A path beside the served folder.
    pub fn outside(&self, path: &str) -> PathBuf {
        self.home.path().join(path)
    }

    /// A new connection.
    pub fn visit(&self) -> Visitor {
        Visitor::to(self.address)
    }

    /// The answer to one GET, over a connection of its own.
    pub fn get(&self, target: &str) -> Answer {
        self.visit().get(target)
    }

    /// What stands in the access log, once it has `lines` lines.
    pub fn log(&self, lines: usize) -> Vec<String> {
        let path = self.server.data().join("access.log");
        self.server.signal(nix::sys::signal::Signal::SIGUSR1);
        let read = || fs::read_to_string(&path).unwrap_or_default();
        crate::server::await_that("the lines are in the log", || read().lines().count() >= lines);
        read().lines().map(str::to_owned).collect()
    }
}

/// A connection.
pub struct Visitor {
    pub stream: TcpStream,
    reader: BufReader<TcpStream>,
}

/// An answer.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    /// Names in lower case, and values, in their order.
    pub fields: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    /// The value of a field.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Visitor {
    /// Connects.
    pub fn to(address: SocketAddr) -> Visitor {
        Visitor::over(TcpStream::connect_timeout(&address, PATIENCE).unwrap())
    }

    /// Speaks over this connection.
    pub fn over(stream: TcpStream) -> Visitor {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Visitor { reader: BufReader::new(stream.try_clone().unwrap()), stream }
    }

    /// Sends bytes.
    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Asks for a target, with more lines in the head, each with its end.
    pub fn ask(&mut self, method: &str, target: &str, more: &str) -> Answer {
        self.send(format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\n{more}\r\n").as_bytes());
        self.read(method == "HEAD").unwrap()
    }

    /// Asks for a target.
    pub fn get(&mut self, target: &str) -> Answer {
        self.ask("GET", target, "")
    }

    /// The next answer; of a HEAD, without a body.
    pub fn read(&mut self, of_head: bool) -> io::Result<Answer> {
        let line = self.line()?;
        let status = line.strip_prefix("HTTP/1.1 ").and_then(|rest| rest[..3].parse().ok());
        let status = status.unwrap_or_else(|| panic!("no status line: {line:?}"));
        let mut fields = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("no field: {line:?}"));
            fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let mut answer = Answer { status, fields, body: Vec::new() };
        let length = answer.field("content-length").map_or(0, |text| text.parse().unwrap());
        if !of_head && status != 304 {
            answer.body = vec![0; length];
            self.reader.read_exact(&mut answer.body)?;
        }
        Ok(answer)
    }

    /// The next line of an answer, without its end.
    pub fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.reader.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let line = line.strip_suffix("\r\n").or_else(|| line.strip_suffix('\n'));
        Ok(line.ok_or(io::ErrorKind::UnexpectedEof)?.to_owned())
    }

    /// Whatever comes until the server closes.
    pub fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        // A reset is an end as well.
        let _ = self.reader.read_to_end(&mut rest);
        rest
    }

    /// Whether the server has closed, and nothing more came before.
    pub fn is_closed(&mut self) -> bool {
        self.rest().is_empty()
    }
}
