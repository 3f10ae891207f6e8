//! A blocking client for system tests, as plain as the protocol allows.

#![allow(dead_code, reason = "each test program that includes this file uses another part of it")]

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::time::Duration;

use bank_vault::base::limits::{HEADER_BYTES, KEY_BYTES};
use bank_vault::base::vocab::{AccountId, Cents, Lsn};
use bank_vault::service::bank::wire::{
    Cluster, Decoder, Envelope, Flags, Header, Request, Response, Statement, Status, Step, Totals, XorKey,
};
use nix::poll::{PollFd, PollFlags, poll};

/// No answer takes longer, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection to a server.
pub struct Bank {
    /// The socket, for tests that send what no client should.
    pub stream: TcpStream,
    /// The key of XOR bodies, after [`Bank::login`].
    pub key: Option<XorKey>,
    /// Whether requests are XORed.
    pub xored: bool,
    /// The LSN that the last reply has carried.
    pub lsn: Option<Lsn>,
    next_seq: u32,
    unread: Vec<u8>,
}

impl Bank {
    /// Connects.
    pub fn connect(address: SocketAddr) -> Bank {
        Bank::try_connect(address).unwrap()
    }

    /// Connects, to a server that may be busy or gone.
    pub fn try_connect(address: SocketAddr) -> io::Result<Bank> {
        TcpStream::connect_timeout(&address, PATIENCE).map(Bank::over)
    }

    /// Speaks over this connection.
    pub fn over(stream: TcpStream) -> Bank {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Bank { stream, key: None, xored: false, lsn: None, next_seq: 0, unread: Vec::new() }
    }

    /// Connects and logs in as the demo user.
    pub fn demo(address: SocketAddr) -> Bank {
        let mut bank = Bank::connect(address);
        bank.login("demo", "demo").unwrap().unwrap();
        bank
    }

    /// Logs in; the inner result is the server's word.
    pub fn login(&mut self, user: &str, pass: &str) -> io::Result<Result<(), Status>> {
        Ok(match self.call(&Request::Login { user: user.as_bytes(), pass: pass.as_bytes() })? {
            Response::Login { session } => {
                self.key = Some(XorKey::derive(user.as_bytes(), session));
                Ok(())
            }
            Response::Error { status, .. } => Err(status),
            other => panic!("{other:?}"),
        })
    }

    /// Sends a request and waits for its response.
    pub fn call(&mut self, request: &Request<'_>) -> io::Result<Response> {
        self.call_with_key(request, None)
    }

    /// Sends a request with an idempotency key, if it is given one, and waits for its response.
    pub fn call_with_key(&mut self, request: &Request<'_>, key: Option<[u8; KEY_BYTES]>) -> io::Result<Response> {
        let seq = self.send_with_key(request, key)?;
        let (answered, response) = self.read()?;
        // A server with no room says so unasked.
        let unasked = matches!(response, Response::Error { opcode: 0, status: Status::Busy });
        assert!(answered == seq || unasked, "{request:?} got {response:?}");
        Ok(response)
    }

    /// Sends a request; gives its sequence number.
    pub fn send(&mut self, request: &Request<'_>) -> io::Result<u32> {
        self.send_with_key(request, None)
    }

    /// Sends a request with an idempotency key, if it is given one; gives its sequence number.
    pub fn send_with_key(&mut self, request: &Request<'_>, key: Option<[u8; KEY_BYTES]>) -> io::Result<u32> {
        let mut frame = Vec::new();
        self.next_seq += 1;
        request.encode(self.next_seq, key.as_ref(), self.key.filter(|_| self.xored), &mut frame);
        self.stream.write_all(&frame)?;
        Ok(self.next_seq)
    }

    /// Sends a request that asks for an LSN and names the last one seen, if it is given one, and waits for its response; the LSN that this
    /// carries is in [`Bank::lsn`].
    pub fn call_as_of(
        &mut self,
        request: &Request<'_>,
        key: Option<[u8; KEY_BYTES]>,
        after: Option<Lsn>,
    ) -> io::Result<Response> {
        let seq = self.send_as_of(request, key, after)?;
        let (answered, response) = self.read()?;
        assert_eq!(answered, seq, "{request:?} got {response:?}");
        Ok(response)
    }

    /// Sends what [`Bank::call_as_of`] does; gives its sequence number.
    pub fn send_as_of(
        &mut self,
        request: &Request<'_>,
        key: Option<[u8; KEY_BYTES]>,
        after: Option<Lsn>,
    ) -> io::Result<u32> {
        let mut frame = Vec::new();
        self.next_seq += 1;
        let (seq, xor) = (self.next_seq, self.key.filter(|_| self.xored));
        request.encode_in(&Envelope { seq, key: key.as_ref(), after, asks_lsn: true, xor }, &mut frame);
        self.stream.write_all(&frame)?;
        Ok(seq)
    }

    /// What the server tells of its cluster.
    pub fn cluster(&mut self) -> Result<Cluster, Status> {
        let seq = self.send_as_of(&Request::Cluster, None, None).unwrap();
        let (header, body) = self.read_frame().unwrap();
        assert_eq!(header.seq, seq);
        match header.flags.contains(Flags::ERROR) {
            true => Err(Response::decode(&header, &body).unwrap().status()),
            false => Ok(Cluster::decode(&body).unwrap()),
        }
    }

    /// Sends `request` over and over and reads no answer, until neither side's buffers have taken a byte for half a second.
    pub fn stuff(&mut self, request: &Request<'_>) {
        let mut frames = Vec::new();
        (0..1000).for_each(|seq| request.encode(seq, None, None, &mut frames));
        self.stream.set_nonblocking(true).unwrap();
        let mut at = 0;
        loop {
            match self.stream.write(&frames[at..]) {
                Ok(count) => at = (at + count) % frames.len(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let mut fds = [PollFd::new(self.stream.as_fd(), PollFlags::POLLOUT)];
                    if poll(&mut fds, 500u16).unwrap() == 0 {
                        return;
                    }
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// The next response, and the sequence number it bears.
    pub fn read(&mut self) -> io::Result<(u32, Response)> {
        let (header, body) = self.read_frame()?;
        Ok((header.seq, Response::decode(&header, &body).unwrap()))
    }

    fn read_frame(&mut self) -> io::Result<(Header, Vec<u8>)> {
        loop {
            if let Some(found) = self.decode() {
                return Ok(found);
            }
            let mut part = [0; 4096];
            match self.stream.read(&mut part)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => self.unread.extend_from_slice(&part[..count]),
            }
        }
    }

    /// Asks for a page of a statement.
    pub fn statement(&mut self, request: &Request<'_>) -> Result<Statement, Status> {
        let seq = self.send(request).unwrap();
        let (answered, page) = self.read_statement().unwrap();
        assert_eq!(answered, seq, "{request:?} got {page:?}");
        page
    }

    /// The next response, which answers a HISTORY, and the sequence number it bears.
    pub fn read_statement(&mut self) -> io::Result<(u32, Result<Statement, Status>)> {
        let (header, body) = self.read_frame()?;
        let page = match header.flags.contains(Flags::ERROR) {
            true => match Response::decode(&header, &body).unwrap() {
                Response::Error { status, .. } => Err(status),
                other => panic!("{other:?}"),
            },
            false => Ok(Statement::decode(&body).unwrap()),
        };
        Ok((header.seq, page))
    }

    /// The same connection for another thread, of which one sends and the other reads.
    pub fn try_clone(&self) -> Bank {
        let stream = self.stream.try_clone().unwrap();
        Bank { stream, key: self.key, xored: self.xored, lsn: None, next_seq: self.next_seq, unread: Vec::new() }
    }

    fn decode(&mut self) -> Option<(Header, Vec<u8>)> {
        let (used, step) = Decoder::default().step(&self.unread);
        let found = match step {
            Step::NeedMore => return None,
            Step::Frame(frame) => {
                let (lsn, body) = frame.reply();
                let mut body = body.to_vec();
                self.lsn = lsn;
                if frame.header.flags.contains(Flags::XOR) {
                    self.key.unwrap().apply(&mut body);
                }
                (frame.header, body)
            }
            other => panic!("a server sends no such thing: {other:?}"),
        };
        assert!(used >= HEADER_BYTES);
        self.unread.drain(..used);
        Some(found)
    }

    /// Whether the server closes the connection without another word.
    pub fn is_closed(&mut self) -> bool {
        let end = self.read();
        matches!(&end, Err(error) if error.kind() != io::ErrorKind::WouldBlock)
    }

    /// What the account holds.
    pub fn balance(&mut self, account: u32) -> Cents {
        match self.call(&Request::Balance { account: AccountId(account) }).unwrap() {
            Response::Balance { balance } => balance,
            other => panic!("account {account}: {other:?}"),
        }
    }

    /// The sums over all accounts.
    pub fn totals(&mut self) -> Totals {
        match self.call(&Request::Totals).unwrap() {
            Response::Totals(totals) => totals,
            other => panic!("{other:?}"),
        }
    }
}

/// What all accounts held at the beginning, by these totals.
pub fn opening(totals: &Totals) -> i64 {
    totals.sum.0 - totals.deposited.0 + totals.withdrawn.0
}

/// A deposit.
pub fn deposit(account: u32, cents: i64) -> Request<'static> {
    Request::Deposit { account: AccountId(account), amount: Cents(cents) }
}

/// A withdrawal.
pub fn withdraw(account: u32, cents: i64) -> Request<'static> {
    Request::Withdraw { account: AccountId(account), amount: Cents(cents) }
}

/// A transfer.
pub fn transfer(from: u32, to: u32, cents: i64) -> Request<'static> {
    Request::Transfer { from: AccountId(from), to: AccountId(to), amount: Cents(cents) }
}
