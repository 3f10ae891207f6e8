//! The ceiling of any server that speaks this protocol: it takes the same frames, answers with frames of the right
//! length, opcode, seq and checksum, and does nothing else. No ledger, no checks, no limits: only for measuring against.
//!
//! `cargo run --release --example echo_server -- --threads 2 --port 0`

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use bank_vault::base::limits::HEADER_BYTES;
use bank_vault::base::vocab::{Cents, Lsn, SessionId};
use bank_vault::service::bank::wire::{Opcode, Response, Status, Totals};
use byteorder::{BigEndian, ByteOrder};
use clap::Parser;
use crossbeam_channel::{Receiver, Sender, unbounded};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token, Waker};

/// Answers every frame with a prepared reply, as fast as the kernel allows.
#[derive(Parser)]
struct Options {
    /// Event loops, a thread each.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: u16,
    /// The port to listen on; 0 takes a free one.
    #[arg(long, default_value_t = 7777)]
    port: u16,
}

/// Offsets in the header (docs/PROTOCOL.md).
const SEQ: usize = 10;
const CRC: usize = 14;
const WAKE: Token = Token(usize::MAX);

/// A reply with seq 0, and what each byte of another seq does to its checksum.
///
/// A CRC is linear: the checksum of a frame is that of the same frame with seq 0, XOR one number for each byte of seq.
/// So a right checksum costs four look-ups, and the client is measured with its checks on.
struct Prepared {
    frame: Vec<u8>,
    crc: u32,
    change: Box<[[u32; 256]; 4]>,
}

impl Prepared {
    fn new(response: &Response) -> Prepared {
        let crc_with = |seq: u32| {
            let mut frame = Vec::new();
            response.encode(seq, None, &mut frame);
            let crc = BigEndian::read_u32(&frame[CRC..]);
            (frame, crc)
        };
        let (frame, crc) = crc_with(0);
        let mut change = Box::new([[0; 256]; 4]);
        for (place, row) in change.iter_mut().enumerate() {
            for (byte, value) in (0u8..=255).zip(row.iter_mut()) {
                let mut seq = [0; 4];
                seq[place] = byte;
                *value = crc_with(u32::from_be_bytes(seq)).1 ^ crc;
            }
        }
        Prepared { frame, crc, change }
    }

    fn answer(&self, seq: [u8; 4], out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&self.frame);
        let frame = &mut out[start..];
        let change = self.change.iter().zip(seq).fold(0, |sum, (row, byte)| sum ^ row[usize::from(byte)]);
        frame[SEQ..SEQ + 4].copy_from_slice(&seq);
        BigEndian::write_u32(&mut frame[CRC..], self.crc ^ change);
    }
}

/// One prepared reply for each opcode, by its index.
fn prepare() -> Vec<Prepared> {
    let balance = Cents(100_000);
    let totals = Totals { accounts: 10_000, sum: Cents(0), deposited: Cents(0), withdrawn: Cents(0), lsn: Lsn(0) };
    let replies = Opcode::ALL.map(|opcode| match opcode {
        Opcode::Login => Response::Login { session: SessionId(1) },
        Opcode::Deposit => Response::Deposit { balance },
        Opcode::Withdraw => Response::Withdraw { balance },
        Opcode::Transfer => Response::Transfer { from_balance: balance, to_balance: balance },
        Opcode::Balance => Response::Balance { balance },
        Opcode::History | Opcode::Cluster => Response::Error { opcode: opcode.code(), status: Status::BadFrame },
        Opcode::Ping => Response::Ping { server_time_ms: 0 },
        Opcode::Totals => Response::Totals(totals),
    });
    replies.iter().map(Prepared::new).collect()
}

struct Client {
    stream: TcpStream,
    input: Box<[u8]>,
    filled: usize,
    out: Vec<u8>,
    written: usize,
}

impl Client {
    fn new(stream: TcpStream) -> Client {
        Client { stream, input: vec![0; 16 * 1024].into(), filled: 0, out: Vec::new(), written: 0 }
    }

    /// Reads, answers and writes until the socket has nothing more. `Ok(false)`: the client is gone.
    fn turn(&mut self, prepared: &[Prepared]) -> io::Result<bool> {
        loop {
            if !self.flush()? {
                return Ok(true);
            }
            let room = &mut self.input[self.filled..];
            let size = room.len();
            let count = match self.stream.read(room) {
                Ok(0) => return Ok(false),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                Err(error) => return Err(error),
            };
            self.filled += count;
            if !self.answer_all(prepared) {
                return Ok(false);
            }
            // A short read on a stream socket counts as drained.
            if !self.flush()? || count < size {
                return Ok(true);
            }
        }
    }

    /// Answers every whole frame. False when the bytes make no sense.
    fn answer_all(&mut self, prepared: &[Prepared]) -> bool {
        let mut at = 0;
        while let Some(head) = self.input[at..self.filled].first_chunk::<HEADER_BYTES>() {
            let length = BigEndian::read_u32(head) as usize;
            let Ok(opcode) = Opcode::try_from(BigEndian::read_u16(&head[8..])) else { return false };
            if !(HEADER_BYTES..=4096).contains(&length) {
                return false;
            }
            if self.filled - at < length {
                break;
            }
            let seq = [head[SEQ], head[SEQ + 1], head[SEQ + 2], head[SEQ + 3]];
            prepared[opcode.index()].answer(seq, &mut self.out);
            at += length;
        }
        self.input.copy_within(at..self.filled, 0);
        self.filled -= at;
        true
    }

    /// Writes what is to be written. False when the kernel takes no more for now.
    fn flush(&mut self) -> io::Result<bool> {
        while self.written < self.out.len() {
            match self.stream.write(&self.out[self.written..]) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        self.out.clear();
        self.written = 0;
        Ok(true)
    }
}

/// One event loop: takes new clients from the channel and serves all it has.
fn serve(mut poll: Poll, arrivals: &Receiver<TcpStream>) -> io::Result<()> {
    let prepared = prepare();
    let mut events = Events::with_capacity(1024);
    let mut clients: Vec<Option<Client>> = Vec::new();
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            polled => polled?,
        }
        for event in &events {
            if event.token() == WAKE {
                for mut stream in arrivals.try_iter() {
                    let free = clients.iter().position(Option::is_none).unwrap_or(clients.len());
                    poll.registry().register(&mut stream, Token(free), Interest::READABLE | Interest::WRITABLE)?;
                    if free == clients.len() {
                        clients.push(None);
                    }
                    clients[free] = Some(Client::new(stream));
                }
            } else if let Some(client) = clients.get_mut(event.token().0)
                && let Some(open) = client
                && !matches!(open.turn(&prepared), Ok(true))
            {
                *client = None;
            }
        }
    }
}

fn main() -> io::Result<()> {
    let options = Options::parse();
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], options.port)))?;
    let mut loops: Vec<(Sender<TcpStream>, Arc<Waker>)> = Vec::new();
    for _ in 0..options.threads {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKE)?);
        let (sender, arrivals) = unbounded();
        loops.push((sender, waker));
        std::thread::spawn(move || serve(poll, &arrivals));
    }
    println!("listening on {}", listener.local_addr()?);
    for (sender, waker) in loops.iter().cycle() {
        let (stream, _) = listener.accept()?;
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        // The loops live as long as the process.
        let _ = sender.send(TcpStream::from_std(stream));
        waker.wake()?;
    }
    Ok(())
}
