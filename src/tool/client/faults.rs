//! Sends malformed frames and bad requests, and checks the answers against the protocol document.

use std::io::{self, Write};
use std::net::{Shutdown, TcpStream};

use crate::base::limits::{HEADER_BYTES, MAX_FRAME_BYTES, MAX_STRIKES};
use crate::base::vocab::{AccountId, Cents};
use crate::service::bank::wire::{Opcode, Request, Status, checksum};
use crate::tool::client::connection::{Connection, Server, receive};
use crate::tool::client::error::{ClientError, CommandError};
use crate::tool::client::receive_buffer::ReceiveBuffer;
use crate::tool::output;

/// The seq of the PING that shows whether a connection is still open.
const ALIVE_SEQ: u32 = 0xA11E;
/// The seq of everything else.
const SEQ: u32 = 77;

/// The checked part of an answer: the request that it answers, and its status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Answer {
    opcode: u16,
    seq: u32,
    status: Status,
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match Opcode::try_from(self.opcode) {
            Ok(opcode) => write!(f, "{} to {opcode} {}", self.status, self.seq),
            Err(_) => write!(f, "{} to opcode {:#06x} seq {}", self.status, self.opcode, self.seq),
        }
    }
}

/// The fate of the connection after a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It stays open: a PING is answered.
    Lives,
    /// The server closes it.
    Closes,
}

/// How the bytes are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sending {
    /// All at once.
    AtOnce,
    /// A byte at a time, each in a segment of its own.
    ByteByByte,
    /// All at once, and then no more: the client's half of the connection is shut.
    ThenShut,
}

/// The answers on a connection, up to its end or to the answer to the last PING.
#[derive(Debug, PartialEq, Eq)]
struct Behaviour {
    answers: Vec<Answer>,
    fate: Fate,
}

impl std::fmt::Display for Behaviour {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.answers.iter().try_for_each(|answer| write!(f, "{answer}, "))?;
        f.write_str(match self.fate {
            Fate::Lives => "the connection lives",
            Fate::Closes => "the server closes",
        })
    }
}

/// Bytes to send, and the behaviour that the document demands.
struct Case {
    name: &'static str,
    logged_in: bool,
    bytes: Vec<u8>,
    sending: Sending,
    due: Behaviour,
}

impl Case {
    /// A case of a client that is logged in, sends all bytes at once, and stays connected.
    fn new(name: &'static str, bytes: Vec<u8>, answers: Vec<Answer>) -> Case {
        let due = Behaviour { answers, fate: Fate::Lives };
        Case { name, logged_in: true, bytes, sending: Sending::AtOnce, due }
    }

    fn closing(mut self) -> Case {
        self.due.fate = Fate::Closes;
        self
    }

    fn sent(self, sending: Sending) -> Case {
        Case { sending, ..self }
    }

    fn before_login(self) -> Case {
        Case { logged_in: false, ..self }
    }
}

fn encode(request: Request<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    request.encode(SEQ, None, None, &mut bytes);
    bytes
}

/// The request changed as told, its checksum made right again.
fn forge(request: Request<'_>, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = encode(request);
    change(&mut bytes);
    let crc = checksum(&bytes).to_be_bytes();
    bytes[HEADER_BYTES - crc.len()..HEADER_BYTES].copy_from_slice(&crc);
    bytes
}

fn to(opcode: Opcode, status: Status) -> Answer {
    Answer { opcode: opcode.code(), seq: SEQ, status }
}

/// The answer to bytes that are no frame.
const NO_FRAME: Answer = Answer { opcode: 0, seq: 0, status: Status::BadFrame };
const BALANCE: Request<'_> = Request::Balance { account: AccountId(0) };
const DEPOSIT: Request<'_> = Request::Deposit { account: AccountId(0), amount: Cents(1) };

/// A frame whose body was changed on its way.
fn bad_crc() -> Vec<u8> {
    let mut bytes = encode(BALANCE);
    bytes[HEADER_BYTES] ^= 1;
    bytes
}

fn then_ping(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.extend(encode(Request::Ping));
    bytes
}

/// Malformed frames, and good ones that come in pieces.
fn framing_cases() -> Vec<Case> {
    let oversize = (MAX_FRAME_BYTES as u64 + 1).to_be_bytes();
    let pong = to(Opcode::Ping, Status::Ok);
    let skipped = to(Opcode::Balance, Status::BadCrc);
    let refused = to(Opcode::Deposit, Status::BadFrame);
    let strikes = usize::from(MAX_STRIKES);
    vec![
        Case::new("bad CRC", bad_crc(), vec![skipped]),
        Case::new("bad CRC, then a good frame", then_ping(bad_crc()), vec![skipped, pong]),
        Case::new("bad magic, then a good frame", then_ping(forge(DEPOSIT, |b| b[4] ^= 0xFF)), vec![NO_FRAME, pong]),
        Case::new("bad version, then a good frame", then_ping(forge(DEPOSIT, |b| b[6] = 9)), vec![NO_FRAME, pong]),
        Case::new("unknown flag, then a good frame", then_ping(forge(DEPOSIT, |b| b[7] = 0x80)), vec![refused, pong]),
        Case::new("truncated frame", encode(DEPOSIT)[..25].to_vec(), vec![]).sent(Sending::ThenShut).closing(),
        Case::new("oversize length", forge(DEPOSIT, |b| b[..4].copy_from_slice(&oversize[4..])), vec![refused])
            .closing(),
        Case::new("one byte at a time", encode(BALANCE), vec![to(Opcode::Balance, Status::Ok)])
            .sent(Sending::ByteByByte),
        Case::new("three bad frames", bad_crc().repeat(strikes), vec![skipped; strikes]).closing(),
    ]
}

/// Frames that are no request, or a request that cannot be granted.
fn request_cases() -> Vec<Case> {
    let unknown = Answer { opcode: 0x7777, seq: SEQ, status: Status::BadFrame };
    let wrong_login = Request::Login { user: b"demo", pass: b"no" };
    let no_account = Request::Balance { account: AccountId(u32::MAX) };
    let zero = Request::Deposit { account: AccountId(0), amount: Cents(0) };
    let negative = Request::Withdraw { account: AccountId(0), amount: Cents(-1) };
    let short = forge(DEPOSIT, |bytes| {
        bytes.truncate(25);
        bytes[3] = 25;
    });
    let answered = |request: Request<'_>, status| (encode(request), vec![to(request.opcode(), status)]);
    let case = |name, (bytes, answers)| Case::new(name, bytes, answers);
    vec![
        case("deposit before login", answered(DEPOSIT, Status::Auth)).before_login(),
        case("ping before login", answered(Request::Ping, Status::Ok)).before_login(),
        case("wrong password", answered(wrong_login, Status::Auth)).before_login(),
        Case::new("unknown opcode", forge(Request::Ping, |b| b[8..10].fill(0x77)), vec![unknown]),
        Case::new("short body", short, vec![to(Opcode::Deposit, Status::BadFrame)]),
        case("amount of zero", answered(zero, Status::Invalid)),
        case("negative amount", answered(negative, Status::Invalid)),
        case("unknown account", answered(no_account, Status::NoAccount)),
    ]
}

/// Runs every case and prints a line for each; true when all answers were right.
pub fn run(server: &Server) -> Result<bool, CommandError> {
    let mut all_right = true;
    for case in framing_cases().into_iter().chain(request_cases()) {
        let found = probe(server, &case)?;
        let right = found == case.due;
        all_right &= right;
        let line = if right {
            format!("right  {:<31} {found}", case.name)
        } else {
            format!("WRONG  {:<31} {found}; due: {}", case.name, case.due)
        };
        // A reader that closed the pipe does not change the exit code.
        output::print_line(&line)?;
    }
    Ok(all_right)
}

fn probe(server: &Server, case: &Case) -> Result<Behaviour, ClientError> {
    // The cases do not follow --xor: most are about bytes without a readable body.
    let mut stream = if case.logged_in { Connection::open(server)?.into_parts().0 } else { server.connect()? };
    let lost = |source| ClientError::from_io("sending a wrong frame", server.target.timeout, source);
    send(&mut stream, case).map_err(lost)?;
    if case.sending != Sending::ThenShut {
        let mut ping = Vec::new();
        Request::Ping.encode(ALIVE_SEQ, None, None, &mut ping);
        // This may fail where the server has closed already; its answers can still be read.
        let _ = stream.write_all(&ping);
    }
    observe(&mut stream, server)
}

fn send(stream: &mut TcpStream, case: &Case) -> io::Result<()> {
    match case.sending {
        Sending::AtOnce => stream.write_all(&case.bytes),
        Sending::ByteByByte => case.bytes.chunks(1).try_for_each(|byte| stream.write_all(byte)),
        Sending::ThenShut => {
            stream.write_all(&case.bytes)?;
            stream.shutdown(Shutdown::Write)
        }
    }
}

/// Collects answers until the last PING's, or the end of the connection.
fn observe(stream: &mut TcpStream, server: &Server) -> Result<Behaviour, ClientError> {
    let mut received = ReceiveBuffer::for_replies(8);
    let mut answers = Vec::new();
    loop {
        while let Some((header, response)) = received.next_reply()? {
            if (header.opcode, header.seq) == (Opcode::Ping.code(), ALIVE_SEQ) {
                return Ok(Behaviour { answers, fate: Fate::Lives });
            }
            answers.push(Answer { opcode: header.opcode, seq: header.seq, status: response.status() });
        }
        match receive(stream, received.raw(), server.target.timeout, "waiting for an answer") {
            // A server that closes with bytes unread resets the connection.
            Err(ClientError::Lost { source, .. })
                if matches!(source.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset) =>
            {
                return Ok(Behaviour { answers, fate: Fate::Closes });
            }
            done => done?,
        }
    }
}
