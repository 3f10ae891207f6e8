//! Against an rpcbind that answers as it is told to.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::socket::{Backlog, listen};
use tempfile::TempDir;

use super::*;
use crate::base::config::Kv;
use crate::base::onc_rpc::{Call, Fault, OpaqueAuth, Reply, Sink};

const PROGRAM: Program = Program { program: 77, version: 1 };
const ADDRESS: &str = "127.0.0.1:9001";
const OURS: &str = "127.0.0.1.35.41";

/// What a question is answered.
enum Answer {
    /// These numbers.
    Numbers(&'static [u32]),
    /// The list of all entries, which are of [`PROGRAM`] at these addresses, by "tcp", and one of another.
    Entries(&'static [&'static str]),
    Fault(Fault),
    /// These bytes, whatever was asked.
    Bytes(Vec<u8>),
    /// With the number of another call.
    OtherCall,
    /// Nothing.
    Silence,
    /// The beginning of an answer, byte by byte, as slowly as can be.
    Trickle,
    /// The connection is closed.
    Close,
}

/// What was asked: version, procedure, arguments.
type Asked = (u32, u32, Vec<u8>);

/// An rpcbind.
struct Fake {
    home: TempDir,
    places: Places,
    thread: JoinHandle<Vec<Asked>>,
}

impl Fake {
    /// One with a Unix socket that answers so, one question after the other.
    fn new(answers: Vec<Answer>) -> Fake {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("rpcbind.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let places = places(vec![home.path().join("nothing"), path], "127.0.0.1:1".parse().unwrap());
        let thread = std::thread::spawn(move || serve(answers, || listener.accept().unwrap().0));
        Fake { home, places, thread }
    }

    /// A portmapper.
    fn portmapper(answers: Vec<Answer>) -> Fake {
        let home = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let places = places(vec![home.path().join("nothing")], listener.local_addr().unwrap());
        let accept = move || UnixStream::from(OwnedFd::from(listener.accept().unwrap().0));
        Fake { home, places, thread: std::thread::spawn(move || serve(answers, accept)) }
    }

    /// Ends it, and returns what it was asked.
    fn asked(self) -> Vec<Asked> {
        // A connection without a question is the last.
        match self.places.socket() {
            Some(path) => drop(UnixStream::connect(path).unwrap()),
            None => drop(std::net::TcpStream::connect(self.places.portmapper).unwrap()),
        }
        drop(self.home);
        self.thread.join().unwrap()
    }

    fn procedures(self) -> Vec<u32> {
        self.asked().into_iter().map(|(_, procedure, _)| procedure).collect()
    }

    fn register(&self) -> Result<Vec<String>, RpcbindError> {
        register(PROGRAM, ADDRESS.parse().unwrap(), &self.places)
    }
}

fn places(sockets: Vec<PathBuf>, portmapper: SocketAddr) -> Places {
    Places { sockets, portmapper, patience: Duration::from_secs(10) }
}

fn serve(answers: Vec<Answer>, mut accept: impl FnMut() -> UnixStream) -> Vec<Asked> {
    let (mut answers, mut asked) = (answers.into_iter(), Vec::new());
    loop {
        let mut stream = accept();
        let mut mark = [0; 4];
        if stream.read_exact(&mut mark).is_err() {
            return asked;
        }
        let mut record = vec![0; (u32::from_be_bytes(mark) & !(1 << 31)) as usize];
        stream.read_exact(&mut record).unwrap();
        let call = Call::read(&record).unwrap();
        assert_eq!((call.program, call.verifier), (100_000, OpaqueAuth::NONE));
        asked.push((call.version, call.procedure, call.arguments.to_vec()));
        answer(answers.next().expect("one question more than expected"), call.xid, &mut stream);
    }
}

fn answer(answer: Answer, xid: u32, stream: &mut UnixStream) {
    let mut results = Vec::new();
    let mut reply = Reply { xid, verifier: OpaqueAuth::NONE, results: Ok(&[]) };
    match answer {
        Answer::Numbers(numbers) => numbers.iter().for_each(|number| results.put_u32(*number)),
        Answer::Entries(addresses) => {
            let all = addresses.iter().map(|address| (PROGRAM.program, *address)).chain([(5, OURS)]);
            for (program, address) in all {
                [1, program, PROGRAM.version].iter().for_each(|number| results.put_u32(*number));
                [b"tcp", address.as_bytes(), b"superuser"].iter().for_each(|text| results.put_opaque(text));
            }
            results.put_u32(0);
        }
        Answer::Fault(fault) => reply.results = Err(fault),
        Answer::OtherCall => reply.xid = xid.wrapping_add(1),
        Answer::Bytes(bytes) => return stream.write_all(&bytes).unwrap(),
        Answer::Silence => {
            assert_eq!(stream.read(&mut [0]).unwrap(), 0, "until the other side gives up");
            return;
        }
        Answer::Trickle => {
            stream.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
            stream.write_all(&[0x80, 0, 0xFF, 0xFF]).unwrap();
            while stream.read(&mut [0]).is_err() && stream.write_all(&[0]).is_ok() {}
            return;
        }
        Answer::Close => return,
    }
    if reply.results.is_ok() {
        reply.results = Ok(&results);
    }
    let mut record = Vec::new();
    reply.write(&mut record);
    // In two pieces, of which the first ends in the middle of the mark.
    stream.write_all(&record[..2]).unwrap();
    stream.write_all(&record[2..]).unwrap();
}

const YES: Answer = Answer::Numbers(&[1]);
const NO: Answer = Answer::Numbers(&[0]);

#[test]
fn a_program_is_registered_with_its_universal_address_and_its_owner() {
    let fake = Fake::new(vec![YES]);
    assert_eq!(fake.register().unwrap(), Vec::<String>::new());
    let [(4, 1, arguments)] = &fake.asked()[..] else { panic!() };
    let mut wanted = Vec::new();
    Entry::all(PROGRAM, ADDRESS.parse().unwrap())[0].write(nix::unistd::geteuid().as_raw(), &mut wanted);
    assert_eq!(arguments, &wanted);
    // Who listens at :: has two entries.
    let fake = Fake::new(vec![YES, YES]);
    register(PROGRAM, "[::]:9001".parse().unwrap(), &fake.places).unwrap();
    let asked = fake.asked();
    let holds = |asked: &Asked, text: &str| asked.2.windows(text.len()).any(|part| part == text.as_bytes());
    assert!(holds(&asked[0], "tcp6") && holds(&asked[0], "::.35.41"), "{asked:?}");
    assert!(holds(&asked[1], "0.0.0.0.35.41"), "{asked:?}");
}

#[test]
fn what_a_killed_server_left_is_replaced() {
    let fake = Fake::new(vec![NO, Answer::Entries(&["127.0.0.1.0.7"]), YES, YES]);
    assert_eq!(fake.register().unwrap(), ["127.0.0.1.0.7"]);
    assert_eq!(fake.procedures(), [1, 4, 2, 1]);
    // What is another user's stays.
    let fake = Fake::new(vec![NO, Answer::Entries(&["127.0.0.1.0.7"]), NO, NO]);
    let said = fake.register().unwrap_err().to_string();
    assert!(
        said.contains("SET for program 0x4d version 1 by tcp at 127.0.0.1.35.41") && said.contains("user"),
        "{said}"
    );
    assert_eq!(fake.procedures(), [1, 4, 2, 1]);
}

#[test]
fn only_an_own_registration_is_taken_out() {
    let address = ADDRESS.parse().unwrap();
    for (entries, last, procedures) in [
        (&["127.0.0.1.0.7", OURS][..], Some(YES), &[4, 2][..]),
        (&[OURS], Some(NO), &[4, 2]),
        (&["127.0.0.1.0.7"], None, &[4]),
        (&[], None, &[4]),
    ] {
        let is_refused = matches!(last, Some(Answer::Numbers([0])));
        let fake = Fake::new([Answer::Entries(entries)].into_iter().chain(last).collect());
        assert_eq!(withdraw(PROGRAM, address, &fake.places).is_err(), is_refused);
        assert_eq!(fake.procedures(), procedures);
    }
}

#[test]
fn an_older_rpcbind_is_asked_in_its_version() {
    let fake =
        Fake::new(vec![Answer::Fault(Fault::ProgMismatch { low: 2, high: 3 }), NO, Answer::Entries(&[]), YES, YES]);
    fake.register().unwrap();
    let asked: Vec<_> = fake.asked().into_iter().map(|(version, procedure, _)| (version, procedure)).collect();
    assert_eq!(asked, [(4, 1), (3, 1), (3, 4), (3, 2), (3, 1)]);
    let mismatch = || Answer::Fault(Fault::ProgMismatch { low: 2, high: 2 });
    let fake = Fake::new(vec![mismatch(), mismatch()]);
    let said = fake.register().unwrap_err().to_string();
    assert!(said.contains("refuses SET: PROG_MISMATCH, versions 2 to 2"), "{said}");
    assert_eq!(fake.procedures().len(), 2);
}

#[test]
fn the_portmapper_is_asked_where_there_is_no_socket() {
    let fake = Fake::portmapper(vec![NO, Answer::Numbers(&[7]), YES, YES, Answer::Numbers(&[9001]), YES]);
    assert_eq!(fake.register().unwrap(), ["127.0.0.1.0.7"]);
    withdraw(PROGRAM, ADDRESS.parse().unwrap(), &fake.places).unwrap();
    let said = register(PROGRAM, "[::1]:9001".parse().unwrap(), &fake.places).unwrap_err().to_string();
    assert!(said.contains("knows no tcp6"), "{said}");
    let asked = fake.asked();
    let procedures: Vec<_> = asked.iter().map(|(version, procedure, _)| (*version, *procedure)).collect();
    assert_eq!(procedures, [(2, 1), (2, 3), (2, 2), (2, 1), (2, 3), (2, 2)]);
    let bytes: Vec<u8> = [77_u32, 1, 6, 9001].iter().flat_map(|number| number.to_be_bytes()).collect();
    assert!(asked.iter().all(|(.., arguments)| *arguments == bytes), "{asked:?}");
}

#[test]
fn no_answer_of_its_holds_anybody_up_or_is_believed() {
    let weak = Fault::Auth(crate::base::onc_rpc::AuthStat::TOOWEAK);
    for (bad, said) in [
        (Answer::Silence, "has not answered SET within 50 ms"),
        (Answer::Trickle, "has not answered SET within 50 ms"),
        (Answer::Close, "asked SET: "),
        (Answer::OtherCall, "another call"),
        (Answer::Bytes(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()), "is no answer: a record of"),
        (Answer::Bytes([0; 8192].to_vec()), "more than 1024 fragments"),
        (Answer::Bytes([0x80, 0, 0, 0].to_vec()), "too early"),
        (Answer::Numbers(&[]), "too early"),
        (Answer::Numbers(&[2]), "neither false nor true"),
        (Answer::Numbers(&[1, 1]), "4 bytes too many"),
        (Answer::Fault(weak), "refuses SET: AUTH_ERROR: AUTH_TOOWEAK (it believes root only"),
        (Answer::Fault(Fault::SystemErr), "refuses SET: SYSTEM_ERR"),
    ] {
        // Only who does not answer is given up for that.
        let patience = if said.contains("within") { Duration::from_millis(50) } else { Duration::from_secs(10) };
        let mut fake = Fake::new(vec![bad]);
        fake.places.patience = patience;
        let error = fake.register().unwrap_err().to_string();
        assert!(error.contains(said) && error.contains("rpcbind.sock"), "{error}");
        assert_eq!(fake.procedures(), [1], "nothing else is asked");
    }
    // A list without an end.
    let endless: Vec<u8> = [0x80, 0, 0, 0xFF].into_iter().chain([0; 251]).collect();
    let fake = Fake::new(vec![NO, Answer::Bytes(endless)]);
    assert!(fake.register().is_err());
    assert_eq!(fake.procedures(), [1, 4]);
}

#[test]
fn one_whose_queue_is_full_is_not_waited_for() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("full");
    let listener = UnixListener::bind(&path).unwrap();
    listen(&listener, Backlog::new(1).unwrap()).unwrap();
    let mut waiting = Vec::new();
    while let Ok(stream) = super::socket::Stream::to_path(&path) {
        waiting.push(stream);
    }
    assert!(!waiting.is_empty() && waiting.len() < 10);
    let places = places(vec![path], "127.0.0.1:1".parse().unwrap());
    let began = Instant::now();
    let error = register(PROGRAM, ADDRESS.parse().unwrap(), &places).unwrap_err();
    assert!(matches!(error, RpcbindError::Connect { .. }), "{error}");
    assert!(began.elapsed() < places.patience);
}

#[test]
fn without_rpcbind_a_start_is_refused_only_where_that_is_asked_for() {
    let home = tempfile::tempdir().unwrap();
    let nowhere = places(vec![home.path().join("nothing")], "127.0.0.1:1".parse().unwrap());
    let settings = |port, rpcbind| Settings { kv: Kv { port, rpcbind, ..Kv::default() }, ..Settings::default() };
    for (port, mode, is_refused) in [
        (0, RpcbindMode::Require, false),
        (9001, RpcbindMode::Require, true),
        (9001, RpcbindMode::Try, false),
        (9001, RpcbindMode::No, false),
    ] {
        let result = register_services(&settings(port, mode), &nowhere);
        assert_eq!(result.is_err(), is_refused, "{mode:?}: {result:?}");
        assert_eq!(check(&settings(port, mode), &nowhere).is_err(), is_refused, "{mode:?}");
        withdraw_services(&settings(port, mode), &nowhere);
    }
    let said = register_services(&settings(9001, RpcbindMode::Require), &nowhere).unwrap_err().to_string();
    assert!(said.contains("127.0.0.1:1") && said.contains("is rpcbind running?"), "{said}");
    let fake = Fake::new(vec![Answer::Entries(&["127.0.0.1.0.7"])]);
    check(&settings(9001, RpcbindMode::Require), &fake.places).unwrap();
    assert_eq!(fake.procedures(), [4], "a check changes nothing");
    // Whoever does not want it asks nobody.
    for (port, mode) in [(0, RpcbindMode::Require), (9001, RpcbindMode::No)] {
        let fake = Fake::new(vec![]);
        register_services(&settings(port, mode), &fake.places).unwrap();
        withdraw_services(&settings(port, mode), &fake.places);
        assert!(fake.procedures().is_empty());
    }
}
