//! An honest server in one process: a ledger behind one lock, a thread for each connection, the whole protocol. The
//! client's tests talk to it, and seed defects in it to see the client's checks catch them.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use bank_vault::limits::MAX_STRIKES;
use bank_vault::vocab::{AccountId, Cents, Lsn, SessionId};
use bank_vault::wire::{Decoder, Flags, Frame, Opcode, Request, Response, Status, Step, Totals, XorKey};

/// What the server does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    /// Nothing.
    None,
    /// The hundredth transfer arrives a cent short.
    LoseACent,
    /// The hundredth deposit is acknowledged and not done.
    PhantomAck,
    /// The hundredth money operation is done, but its connection closes instead of an answer.
    DropAck,
    /// The hundredth money operation is done, but its answer never comes and the connection stays.
    SwallowAck,
    /// From the tenth on, TOTALS counts one deposit too few while the sum has it.
    TornTotals,
    /// At the thousandth deposit the server is gone: it closes all connections and its port.
    GoAway,
    /// Bad checksums are let pass.
    TrustChecksums,
}

struct Ledger {
    balances: Vec<i64>,
    deposited: i64,
    withdrawn: i64,
    lsn: u64,
}

struct Shared {
    ledger: Mutex<Ledger>,
    defect: Defect,
    transfers: AtomicU64,
    deposits: AtomicU64,
    moved: AtomicU64,
    totals: AtomicU64,
    sessions: AtomicU32,
    gone: AtomicBool,
}

/// A running server; its threads end with the process.
pub struct ModelServer {
    pub address: SocketAddr,
    connections: Arc<AtomicU64>,
}

impl ModelServer {
    /// An address where nobody listens.
    pub fn nobody(address: SocketAddr) -> ModelServer {
        ModelServer { address, connections: Arc::default() }
    }

    /// How many connections it has taken in so far.
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Starts a server on a free port, every account holding `opening` cents.
    pub fn start(accounts: u32, opening: i64, defect: Defect) -> ModelServer {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port on loopback");
        let address = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared {
            ledger: Mutex::new(Ledger {
                balances: vec![opening; accounts as usize],
                deposited: 0,
                withdrawn: 0,
                lsn: 0,
            }),
            defect,
            transfers: AtomicU64::new(0),
            deposits: AtomicU64::new(0),
            moved: AtomicU64::new(0),
            totals: AtomicU64::new(0),
            sessions: AtomicU32::new(1),
            gone: AtomicBool::new(false),
        });
        let connections = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&connections);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if shared.gone.load(Ordering::Relaxed) {
                    break;
                }
                count.fetch_add(1, Ordering::Relaxed);
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || Conversation::new(&shared).serve(stream));
            }
        });
        ModelServer { address, connections }
    }
}

/// What the conversation does after a frame.
enum After {
    GoOn,
    Close,
    StayMute,
}

struct Conversation<'s> {
    shared: &'s Shared,
    xor: Option<XorKey>,
    logged_in: bool,
    strikes: u8,
    mute: bool,
}

impl Conversation<'_> {
    fn new(shared: &Shared) -> Conversation<'_> {
        Conversation { shared, xor: None, logged_in: false, strikes: 0, mute: false }
    }

    fn serve(&mut self, mut stream: TcpStream) {
        let _ = stream.set_nodelay(true);
        let mut decoder = Decoder::default();
        let mut pending = Vec::new();
        let mut buffer = [0; 16 * 1024];
        loop {
            let Ok(count) = stream.read(&mut buffer) else { return };
            if count == 0 {
                return;
            }
            pending.extend_from_slice(&buffer[..count]);
            let mut out = Vec::new();
            let (used, open) = self.take_all(&mut decoder, &pending, &mut out);
            if self.shared.gone.load(Ordering::Relaxed) {
                return;
            }
            pending.drain(..used);
            if stream.write_all(&out).is_err() || !open {
                return;
            }
        }
    }

    fn take_all(&mut self, decoder: &mut Decoder, input: &[u8], out: &mut Vec<u8>) -> (usize, bool) {
        let mut at = 0;
        loop {
            let (used, step) = decoder.step(&input[at..]);
            let bytes = &input[at..at + used];
            at += used;
            let (opcode, seq, status) = match step {
                Step::NeedMore => return (at, true),
                Step::Frame(frame) => match self.answer(&frame, out) {
                    After::GoOn => continue,
                    After::Close => return (at, false),
                    After::StayMute => {
                        self.mute = true;
                        continue;
                    }
                },
                Step::Reject { status: Status::BadCrc, opcode, seq }
                    if self.shared.defect == Defect::TrustChecksums =>
                {
                    let flags = Flags::NONE;
                    let length = u32::try_from(bytes.len()).expect("a frame has at most 4096 bytes");
                    let header = bank_vault::wire::Header { length, flags, opcode, seq };
                    self.answer(&Frame { header, key: None, body: &bytes[18..] }, out);
                    continue;
                }
                Step::Reject { status, opcode, seq } => (opcode, seq, status),
                Step::Fatal { status, opcode, seq } => {
                    Response::Error { opcode, status }.encode(seq, None, out);
                    return (at, false);
                }
            };
            Response::Error { opcode, status }.encode(seq, None, out);
            if self.strike() {
                return (at, false);
            }
        }
    }

    /// Counts a strike; true when it is the last.
    fn strike(&mut self) -> bool {
        self.strikes += 1;
        self.strikes >= MAX_STRIKES
    }

    fn answer(&mut self, frame: &Frame<'_>, out: &mut Vec<u8>) -> After {
        let header = frame.header;
        let is_xored = header.flags.contains(Flags::XOR);
        let mut body = frame.body.to_vec();
        let xor = if is_xored { self.xor } else { None };
        if let Some(xor) = xor {
            xor.apply(&mut body);
        }
        let refuse = |status, out: &mut Vec<u8>| {
            Response::Error { opcode: header.opcode, status }.encode(header.seq, xor, out);
        };
        if is_xored && xor.is_none() {
            refuse(Status::Auth, out);
            return After::GoOn;
        }
        let opcode = Opcode::try_from(header.opcode);
        if frame.key.is_some() || opcode == Ok(Opcode::History) {
            refuse(Status::BadFrame, out);
            return After::GoOn;
        }
        let request = opcode.ok().and_then(|opcode| Request::decode(opcode, &body).ok());
        let Some(request) = request.filter(|_| !header.flags.contains(Flags::ERROR)) else {
            refuse(Status::BadFrame, out);
            return if self.strike() { After::Close } else { After::GoOn };
        };
        match self.perform(&request) {
            Ok(response) => {
                let moved = if request.opcode().is_money() { self.count(&self.shared.moved) } else { 0 };
                match self.shared.defect {
                    Defect::DropAck if moved == 100 => return After::Close,
                    Defect::SwallowAck if moved == 100 => return After::StayMute,
                    _ if self.mute => {}
                    _ => response.encode(header.seq, xor, out),
                }
            }
            Err(status) => refuse(status, out),
        }
        After::GoOn
    }

    fn count(&self, counter: &AtomicU64) -> u64 {
        counter.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.shared.ledger.lock().expect("no thread panics while it holds the ledger")
    }

    fn perform(&mut self, request: &Request<'_>) -> Result<Response, Status> {
        let needs_login = !matches!(request, Request::Login { .. } | Request::Ping);
        if needs_login && !self.logged_in {
            return Err(Status::Auth);
        }
        match *request {
            Request::Login { user, pass } => self.login(user, pass),
            Request::Ping => Ok(Response::Ping { server_time_ms: 1 }),
            Request::Balance { account } => Ok(Response::Balance { balance: Cents(*self.ledger().at(account)?) }),
            Request::Deposit { account, amount } => self.deposit(account, amount),
            Request::Withdraw { account, amount } => {
                let mut ledger = self.ledger();
                let balance = ledger.take(account, amount)?;
                ledger.withdrawn += amount.0;
                Ok(Response::Withdraw { balance })
            }
            Request::Transfer { from, to, amount } => self.transfer(from, to, amount),
            Request::Totals => Ok(Response::Totals(self.totals())),
            Request::History { .. } => Err(Status::BadFrame),
        }
    }

    fn login(&mut self, user: &[u8], pass: &[u8]) -> Result<Response, Status> {
        if (user, pass) != (b"demo", b"demo") {
            return Err(Status::Auth);
        }
        let session = SessionId(self.shared.sessions.fetch_add(1, Ordering::Relaxed));
        self.logged_in = true;
        self.xor = Some(XorKey::derive(user, session));
        Ok(Response::Login { session })
    }

    fn deposit(&self, account: AccountId, amount: Cents) -> Result<Response, Status> {
        let mut ledger = self.ledger();
        if amount.0 <= 0 {
            return Err(Status::Invalid);
        }
        let balance = *ledger.at(account)?;
        let deposits = self.count(&self.shared.deposits);
        if deposits == 1000 && self.shared.defect == Defect::GoAway {
            self.shared.gone.store(true, Ordering::Relaxed);
        }
        if deposits == 100 && self.shared.defect == Defect::PhantomAck {
            return Ok(Response::Deposit { balance: Cents(balance + amount.0) });
        }
        *ledger.at(account)? = balance.checked_add(amount.0).ok_or(Status::Invalid)?;
        ledger.deposited += amount.0;
        ledger.lsn += 1;
        Ok(Response::Deposit { balance: Cents(balance + amount.0) })
    }

    fn transfer(&self, from: AccountId, to: AccountId, amount: Cents) -> Result<Response, Status> {
        let mut ledger = self.ledger();
        if from == to {
            return Err(Status::Invalid);
        }
        ledger.at(to)?;
        let from_balance = ledger.take(from, amount)?;
        let lost = self.count(&self.shared.transfers) == 100 && self.shared.defect == Defect::LoseACent;
        let receiver = ledger.at(to)?;
        *receiver += amount.0 - i64::from(lost);
        let to_balance = Cents(*receiver);
        Ok(Response::Transfer { from_balance, to_balance })
    }

    fn totals(&self) -> Totals {
        let ledger = self.ledger();
        let is_torn = self.count(&self.shared.totals) == 10 && self.shared.defect == Defect::TornTotals;
        Totals {
            accounts: u32::try_from(ledger.balances.len()).expect("made from a u32"),
            sum: Cents(ledger.balances.iter().sum()),
            deposited: Cents(ledger.deposited - i64::from(is_torn)),
            withdrawn: Cents(ledger.withdrawn),
            lsn: Lsn(ledger.lsn),
        }
    }
}

impl Ledger {
    fn at(&mut self, account: AccountId) -> Result<&mut i64, Status> {
        self.balances.get_mut(account.0 as usize).ok_or(Status::NoAccount)
    }

    fn take(&mut self, account: AccountId, amount: Cents) -> Result<Cents, Status> {
        if amount.0 <= 0 {
            return Err(Status::Invalid);
        }
        let balance = self.at(account)?;
        if *balance < amount.0 {
            return Err(Status::Insufficient);
        }
        *balance -= amount.0;
        let left = Cents(*balance);
        self.lsn += 1;
        Ok(left)
    }
}
