//! A server of GetFile that answers whatever bytes a test wants, and the client that is sent against it.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::Value;
use tempfile::TempDir;

/// The server. Each connection has a thread, and ends when what answers it returns.
pub struct FileServer {
    pub address: SocketAddr,
    asked: Arc<AtomicU64>,
    is_over: Arc<AtomicBool>,
}

impl FileServer {
    /// A server that reads the request of each connection, and answers.
    pub fn start(answer: impl Fn(&str, &mut TcpStream) + Send + Sync + 'static) -> FileServer {
        let asked = Arc::<AtomicU64>::default();
        let count = asked.clone();
        FileServer::accept(asked, move |stream| serve(stream, &count, &answer))
    }

    /// A server that closes each connection at once.
    pub fn deaf() -> FileServer {
        FileServer::accept(Arc::default(), drop)
    }

    fn accept(asked: Arc<AtomicU64>, serve: impl Fn(TcpStream) + Send + Sync + 'static) -> FileServer {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let is_over = Arc::<AtomicBool>::default();
        let server = FileServer { address, asked, is_over: is_over.clone() };
        let serve = Arc::new(serve);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok).take_while(|_| !is_over.load(Ordering::Relaxed)) {
                let serve = serve.clone();
                std::thread::spawn(move || serve(stream));
            }
        });
        server
    }

    /// Requests so far.
    pub fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }

    /// A command that executes `client getfile` against this server.
    pub fn client(&self, arguments: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_client"));
        command.args(["getfile", "-p", &self.address.port().to_string()]);
        command.args(arguments.split_whitespace()).stdin(Stdio::null());
        command
    }
}

impl Drop for FileServer {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        // Wakes the listener.
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(mut stream: TcpStream, asked: &AtomicU64, answer: &impl Fn(&str, &mut TcpStream)) {
    stream.set_nodelay(true).unwrap();
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") {
        if !matches!(stream.read(&mut byte), Ok(1)) {
            return;
        }
        request.push(byte[0]);
    }
    asked.fetch_add(1, Ordering::Relaxed);
    let request = String::from_utf8(request).unwrap();
    let path = request.strip_prefix("GETFILE GET ").and_then(|rest| rest.strip_suffix("\r\n\r\n"));
    answer(path.expect("a request as the protocol has it"), &mut stream);
}

/// Sends what a client may have closed the connection before.
pub fn send(stream: &mut TcpStream, bytes: &[u8]) {
    let _ = stream.write_all(bytes);
}

/// Sends a file, or that there is none.
pub fn send_file(stream: &mut TcpStream, content: Option<&[u8]>) {
    match content {
        Some(content) => {
            send(stream, format!("GETFILE OK {}\r\n\r\n", content.len()).as_bytes());
            send(stream, content);
        }
        None => send(stream, b"GETFILE FILE_NOT_FOUND\r\n\r\n"),
    }
}

/// A folder of its own for a run of the client, which begins there.
pub struct Folder(pub TempDir);

impl Folder {
    pub fn new() -> Folder {
        Folder(tempfile::tempdir().unwrap())
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn write(&self, name: &str, contents: impl AsRef<[u8]>) {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, contents).unwrap();
    }

    /// The names of all files below it, sorted.
    pub fn files(&self) -> Vec<String> {
        let mut files = Vec::new();
        let mut folders = vec![self.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
                match entry.file_type().unwrap().is_dir() {
                    true => folders.push(entry.path()),
                    false => files.push(entry.path().strip_prefix(self.path()).unwrap().to_string_lossy().into_owned()),
                }
            }
        }
        files.sort();
        files
    }

    /// Runs the client here with a workload of these lines; its exit code, its report, and what it said.
    pub fn run(&self, server: &FileServer, lines: &str, arguments: &str) -> (Option<i32>, Value, String) {
        let elsewhere = Folder::new();
        elsewhere.write("list", lines);
        let [list, report] = ["list", "report"].map(|name| elsewhere.path().join(name));
        let mut command = server.client(arguments);
        let output = command.current_dir(self.path()).arg("-w").arg(list).arg("--json").arg(&report).output().unwrap();
        let json = std::fs::read(report).ok().map_or(Value::Null, |json| serde_json::from_slice(&json).unwrap());
        (output.status.code(), json, said(&output))
    }
}

/// What a program wrote to its standard output and its standard error.
pub fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
