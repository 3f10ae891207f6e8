//! The clients in `examples/` that others would write, by rpcgen and by hand, against a real server; and their calls as Wireshark decodes them.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::kv::{Kv, kv_server};
use crate::tools::tool;

/// What the C client says of a server that holds nothing yet.
const SAID: &str = "\
NULL: answered
PUT: KV_OK, version 2
GET: KV_OK, version 2, value green
compare and set: KV_OK, version 4
compare and set: KV_VERSION_MISMATCH, version 4
PUT if absent: KV_OK, version 7
PUT: KV_INVALID
SCAN: KV_OK, and there are more
  colour, version 4, 3 bytes
SCAN: KV_OK, and these are all
  colour, version 4, 3 bytes
  shape, version 7, 5 bytes
DELETE: KV_OK, version 9
GET: KV_NOT_FOUND
STATUS: KV_OK, primary, 1 keys, committed to version 9
";

/// The procedures that it calls, in their order.
const CALLED: [u32; 12] = [0, 2, 1, 2, 2, 2, 2, 4, 4, 3, 1, 5];

fn text(output: Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn examples() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")
}

/// Builds the C client by its own Makefile, in `folder`.
fn make(folder: &Path) {
    for name in ["Makefile", "main.c"] {
        std::fs::copy(examples().join("kv_rpcgen").join(name), folder.join(name)).unwrap();
    }
    let interface = examples().parent().unwrap().join("docs/kv.x");
    drop(tool("rpcgen", "rpcsvc-proto"));
    drop(tool("gcc", "gcc libtirpc-dev"));
    let words = [format!("INTERFACE={}", interface.display()), "CC=gcc -Werror".to_owned()];
    text(tool("make", "make").args(words).current_dir(folder).output().unwrap());
}

/// Runs the C client against this server.
fn run(folder: &Path, server: SocketAddr) -> Output {
    let mut client = Command::new(folder.join("kv"));
    client.args([server.ip().to_string(), server.port().to_string()]).output().unwrap()
}

/// What went by, in its order: whether the server sent it, and the bytes.
type Session = Arc<Mutex<Vec<(bool, Vec<u8>)>>>;

/// Stands between one client and the server, and writes down what they say.
fn listen_in(server: SocketAddr) -> (SocketAddr, Session) {
    let session = Session::default();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, noted) = (listener.local_addr().unwrap(), session.clone());
    thread::spawn(move || {
        let client = listener.accept().unwrap().0;
        let server = TcpStream::connect(server).unwrap();
        let copy = |from: &TcpStream, to: &TcpStream, is_reply: bool| {
            let (mut from, mut to, noted) = (from.try_clone().unwrap(), to.try_clone().unwrap(), noted.clone());
            let mut part = vec![0; 1 << 16];
            move || {
                while let Ok(count @ 1..) = from.read(&mut part) {
                    // Noted before it goes on: the answer to it comes behind it.
                    noted.lock().unwrap().push((is_reply, part[..count].to_vec()));
                    to.write_all(&part[..count]).unwrap();
                }
                let _ = to.shutdown(std::net::Shutdown::Write);
            }
        };
        thread::spawn(copy(&server, &client, true));
        copy(&client, &server, false)();
    });
    (address, session)
}

/// What tshark makes of a session: for each packet the fields that say what message it is, and what is wrong with it.
fn decoded(folder: &Path, session: &[(bool, Vec<u8>)]) -> Vec<String> {
    let lines = session.iter().map(|(is_reply, bytes)| {
        let hex: String = bytes.iter().map(|byte| format!(" {byte:02x}")).collect();
        format!("{}\n000000{hex}\n", if *is_reply { 'I' } else { 'O' })
    });
    std::fs::write(folder.join("session.txt"), lines.collect::<String>()).unwrap();
    let words = ["-q", "-D", "-T", "40000,9001", "session.txt", "session.pcapng"];
    text(tool("text2pcap", "wireshark-common").args(words).current_dir(folder).output().unwrap());
    let mut tshark = tool("tshark", "tshark");
    tshark.args(["-r", "session.pcapng", "-d", "tcp.port==9001,rpc", "-o", "rpc.dissect_unknown_programs:TRUE"]);
    tshark.args(["-T", "fields", "-E", "occurrence=f", "-E", "separator=,"]);
    for field in ["rpc.msgtyp", "rpc.program", "rpc.procedure", "rpc.state_accept", "_ws.expert.message"] {
        tshark.args(["-e", field]);
    }
    text(tshark.current_dir(folder).output().unwrap()).lines().map(str::to_owned).collect()
}

#[test]
#[ignore = "needs make, rpcgen, libtirpc and tshark"]
fn a_client_by_rpcgen_calls_every_procedure_and_tshark_decodes_it() {
    let folder = tempfile::tempdir().unwrap();
    make(folder.path());
    let (server, address) = kv_server(&["--workers", "1", "--accounts", "10", "--kv-mb", "1"]);
    let (between, session) = listen_in(address);
    assert_eq!(text(run(folder.path(), between)), SAID);
    let mut session = session.lock().unwrap().clone();

    let wanted = CALLED
        .iter()
        .flat_map(|procedure| [format!("0,824377368,{procedure},,"), format!("1,824377368,{procedure},0,")]);
    let wanted: Vec<_> = wanted.collect();
    assert_eq!(decoded(folder.path(), &session), wanted);
    // A verifier that is longer than its reply is seen to be wrong.
    let reply = &mut session.last_mut().unwrap().1;
    reply[20..24].copy_from_slice(&[0, 0, 1, 0]);
    let seen = decoded(folder.path(), &session);
    assert!(seen[..23] == wanted[..23] && seen[23].contains("Malformed"), "{seen:?}");

    drop(server);
    assert_eq!(run(folder.path(), address).status.code(), Some(2), "nobody is there");
}

#[test]
#[ignore = "needs python3"]
fn a_client_by_hand_puts_and_gets() {
    let (_server, address) = kv_server(&["--workers", "1", "--accounts", "10", "--kv-mb", "1"]);
    let by_hand = |key: &str, value: &str| {
        let mut python = tool("python3", "python3");
        let words = [&address.ip().to_string(), &address.port().to_string(), key, value];
        python.arg(examples().join("kv_by_hand.py")).args(words).output().unwrap()
    };
    assert_eq!(text(by_hand("colour", "green")), "version 2 value green\n");
    let long = "x".repeat(60_000);
    let mut kv = Kv::connect(address);
    for (key, value) in [("k", ""), ("k", "1"), ("depth", &long), ("größe", "äß")] {
        let said = text(by_hand(key, value));
        let (version, found) = kv.get(key.as_bytes()).unwrap();
        assert!(found == value.as_bytes() && said == format!("version {version} value {value}\n"), "{key}: {said}");
    }
    let refused = by_hand("", "of no key");
    assert_eq!((refused.status.code(), refused.stdout.len()), (Some(1), 0));
    assert!(String::from_utf8_lossy(&refused.stderr).ends_with("00000000 00000007\n"), "{refused:?}");
}

#[test]
fn a_follower_that_stays_behind_is_named_also_where_the_last_try_was_cut_short() {
    let (_server, address) = kv_server(&["--workers", "1", "--accounts", "10", "--kv-mb", "1"]);
    Kv::connect(address).put(b"k", b"v");
    // It waits for 500 ms before it says so, so the second try is not answered any more.
    let mut client = Command::new(env!("CARGO_BIN_EXE_kv_client"));
    let words = ["get", "k", "--after", "99", "--timeout", "1", "--server", &address.to_string()];
    let output = client.args(words).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && said.starts_with("kv_client: KV_BEHIND: "), "{output:?}");
}
