//! An honest server in one process: a ledger behind one lock, a thread for each connection, the whole protocol. The
//! client's tests talk to it, and seed defects in it to see the client's checks catch them.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use bank_vault::base::limits::{KEY_BYTES, MAX_STRIKES};
use bank_vault::base::vocab::SessionId;
use bank_vault::service::bank::wire::{
    Cluster, Decoder, Flags, Frame, Header, Request, Response, Statement, Status, Step, Totals, XorKey,
};
use model_ledger::{Faults, Ledger};

#[path = "model_ledger.rs"]
mod model_ledger;

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
    /// One money operation in fifty, by lot, takes its connection down: half of them before they are done, half after.
    Flaky,
    /// As flaky, and no key is remembered: what was done before its connection went down is done again.
    FlakyForgetful,
    /// One money operation in ten, by lot, is refused for want of room; the next attempt may fare better.
    NoRoom,
    /// There is never room for a money operation.
    NeverRoom,
}

/// What the lot says of a money operation.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Answer,
    DropBefore,
    DropAfter,
    Refuse,
}

struct Shared {
    ledger: Mutex<Ledger>,
    defect: Defect,
    lots: AtomicU64,
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
            ledger: Mutex::new(Ledger::new(
                accounts,
                opening,
                Faults {
                    lose_a_cent: defect == Defect::LoseACent,
                    phantom_ack: defect == Defect::PhantomAck,
                    forget_keys: defect == Defect::FlakyForgetful,
                },
            )),
            defect,
            lots: AtomicU64::new(0),
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

/// What the server says to a request that it carries out.
enum Answer {
    Short(Response),
    Page(Statement),
    Cluster(Cluster),
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
                    let header = Header { length, flags, opcode, seq };
                    self.answer(&Frame { header, key: None, after: None, body: &bytes[18..] }, out);
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
        let request = Request::of_frame(frame, &body).ok();
        let Some(request) = request.filter(|_| !header.flags.contains(Flags::ERROR)) else {
            refuse(Status::BadFrame, out);
            return if self.strike() { After::Close } else { After::GoOn };
        };
        let fate = if request.opcode().is_money() { self.draw() } else { Fate::Answer };
        match fate {
            Fate::DropBefore => return After::Close,
            Fate::Refuse => {
                refuse(Status::Busy, out);
                return After::GoOn;
            }
            Fate::Answer | Fate::DropAfter => {}
        }
        match self.perform(&request, frame.key.copied()) {
            _ if fate == Fate::DropAfter => return After::Close,
            Ok(answer) => {
                let moved = if request.opcode().is_money() { self.count(&self.shared.moved) } else { 0 };
                match self.shared.defect {
                    Defect::DropAck if moved == 100 => return After::Close,
                    Defect::SwallowAck if moved == 100 => return After::StayMute,
                    _ if self.mute => {}
                    _ => match answer {
                        Answer::Short(response) => response.encode(header.seq, xor, out),
                        Answer::Page(statement) => statement.encode(header.seq, xor, out),
                        Answer::Cluster(cluster) => cluster.encode_as_of(header.seq, xor, None, out),
                    },
                }
            }
            Err(status) => refuse(status, out),
        }
        After::GoOn
    }

    /// Draws the fate of the next money operation; the sequence of lots is the same in every run.
    fn draw(&self) -> Fate {
        // The golden ratio of 64 bits: the upper half of its multiples is spread evenly.
        let lot = self.count(&self.shared.lots).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
        match self.shared.defect {
            Defect::Flaky | Defect::FlakyForgetful => match lot % 100 {
                0 => Fate::DropBefore,
                1 => Fate::DropAfter,
                _ => Fate::Answer,
            },
            Defect::NoRoom if lot.is_multiple_of(10) => Fate::Refuse,
            Defect::NeverRoom => Fate::Refuse,
            _ => Fate::Answer,
        }
    }

    fn count(&self, counter: &AtomicU64) -> u64 {
        counter.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.shared.ledger.lock().expect("no thread panics while it holds the ledger")
    }

    fn perform(&mut self, request: &Request<'_>, key: Option<[u8; KEY_BYTES]>) -> Result<Answer, Status> {
        let needs_login = !matches!(request, Request::Login { .. } | Request::Ping);
        if needs_login && !self.logged_in {
            return Err(Status::Auth);
        }
        let response = match *request {
            Request::Login { user, pass } => self.login(user, pass)?,
            Request::Ping => Response::Ping { server_time_ms: 1 },
            Request::Balance { account } => Response::Balance { balance: self.ledger().balance(account)? },
            Request::Deposit { account, amount } => self.operate(Request::Deposit { account, amount }, key)?,
            Request::Withdraw { account, amount } => self.operate(Request::Withdraw { account, amount }, key)?,
            Request::Transfer { from, to, amount } => self.operate(Request::Transfer { from, to, amount }, key)?,
            Request::Totals => Response::Totals(self.totals()),
            Request::Cluster => return Ok(Answer::Cluster(Cluster::default())),
            Request::History { account, before, limit } => {
                return self.ledger().statement(account, before, limit).map(Answer::Page);
            }
        };
        Ok(Answer::Short(response))
    }

    fn operate(&self, request: Request<'static>, key: Option<[u8; KEY_BYTES]>) -> Result<Response, Status> {
        let mut ledger = self.ledger();
        let result = ledger.operate(request, key);
        if ledger.deposits == 1000 && self.shared.defect == Defect::GoAway {
            self.shared.gone.store(true, Ordering::Relaxed);
        }
        result
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

    fn totals(&self) -> Totals {
        let mut totals = self.ledger().totals();
        if self.count(&self.shared.totals) == 10 && self.shared.defect == Defect::TornTotals {
            totals.deposited.0 -= 1;
        }
        totals
    }
}
