//! An honest server in one process: a ledger behind one lock, a thread for each connection, the whole protocol. The
//! client's tests talk to it, and seed defects in it to see the client's checks catch them.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use bank_vault::base::limits::{KEY_BYTES, MAX_STRIKES};
use bank_vault::base::vocab::{Lsn, ReplicaRole, SessionId};
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
    cluster: Members,
    defect: Defect,
    lots: AtomicU64,
    moved: AtomicU64,
    totals: AtomicU64,
    sessions: AtomicU32,
    gone: AtomicBool,
}

/// The servers that have the ledger together, and which of them is the primary.
#[derive(Default)]
struct Members {
    addresses: OnceLock<Vec<SocketAddr>>,
    /// Its number from 0, modulo theirs.
    primary: AtomicUsize,
    /// The primary is another one after so many money operations; 0 for never.
    moves_every: u64,
    /// So many requests more find no primary.
    electing: AtomicU64,
    /// Whether followers have applied nothing.
    behind: AtomicBool,
    /// BALANCEs and HISTORYs that followers have answered.
    follower_reads: AtomicU64,
}

/// A running server; its threads end with the process.
pub struct ModelServer {
    pub address: SocketAddr,
    connections: Arc<AtomicU64>,
    shared: Option<Arc<Shared>>,
}

/// Requests that find no primary after one has gone.
const ELECTION: u64 = 6;

impl ModelServer {
    /// An address where nobody listens.
    pub fn nobody(address: SocketAddr) -> ModelServer {
        ModelServer { address, connections: Arc::default(), shared: None }
    }

    /// How many connections it has taken in so far.
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Starts a server on a free port, every account holding `opening` cents.
    pub fn start(accounts: u32, opening: i64, defect: Defect) -> ModelServer {
        let mut servers = ModelServer::cluster(1, accounts, opening, defect, 0);
        servers.remove(0)
    }

    /// Starts servers that have one ledger together. The last one is the primary at first, and the next one after every `moves_every` money
    /// operations: the last of them gets no answer, the connections of the old primary are closed, and then there is none for a while.
    pub fn cluster(count: usize, accounts: u32, opening: i64, defect: Defect, moves_every: u64) -> Vec<ModelServer> {
        let listeners: Vec<TcpListener> =
            (0..count).map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port on loopback")).collect();
        let addresses = listeners.iter().map(|listener| listener.local_addr().expect("a bound socket has an address"));
        let faults = Faults {
            lose_a_cent: defect == Defect::LoseACent,
            phantom_ack: defect == Defect::PhantomAck,
            forget_keys: defect == Defect::FlakyForgetful,
        };
        let cluster = Members {
            addresses: OnceLock::from(addresses.collect::<Vec<_>>()),
            primary: AtomicUsize::new(count - 1),
            moves_every,
            ..Members::default()
        };
        let shared = Arc::new(Shared {
            ledger: Mutex::new(Ledger::new(accounts, opening, faults)),
            cluster,
            defect,
            lots: AtomicU64::new(0),
            moved: AtomicU64::new(0),
            totals: AtomicU64::new(0),
            sessions: AtomicU32::new(1),
            gone: AtomicBool::new(false),
        });
        listeners.into_iter().enumerate().map(|(number, listener)| listen(listener, &shared, number)).collect()
    }

    fn members(&self) -> &Members {
        &self.shared.as_ref().expect("it was started").cluster
    }

    /// Has followers answer that they are behind, or not.
    pub fn set_behind(&self, behind: bool) {
        self.members().behind.store(behind, Ordering::SeqCst);
    }

    /// BALANCEs and HISTORYs that followers have answered.
    pub fn follower_reads(&self) -> u64 {
        self.members().follower_reads.load(Ordering::SeqCst)
    }

    /// How often the primary has been another one.
    pub fn moves(&self) -> usize {
        let members = self.members();
        let servers = members.addresses.get().map_or(1, Vec::len);
        members.primary.load(Ordering::SeqCst) + 1 - servers
    }
}

impl Members {
    fn fail_over(&self) {
        self.electing.store(ELECTION, Ordering::SeqCst);
        self.primary.fetch_add(1, Ordering::SeqCst);
    }

    fn is_primary(&self, number: usize) -> bool {
        self.primary.load(Ordering::SeqCst) % self.addresses.get().map_or(1, Vec::len) == number
    }

    /// Whether nobody is the primary just now; asking brings the end of that nearer.
    fn is_electing(&self) -> bool {
        let down = |left: u64| left.checked_sub(1);
        self.electing.fetch_update(Ordering::SeqCst, Ordering::SeqCst, down).is_ok()
    }

    fn tell(&self, number: usize) -> Cluster {
        let is_electing = self.is_electing();
        let role = match () {
            () if is_electing => ReplicaRole::Candidate,
            () if self.is_primary(number) => ReplicaRole::Primary,
            () => ReplicaRole::Follower,
        };
        let addresses = self.addresses.get().map_or(&[][..], Vec::as_slice);
        let primary = addresses.get(self.primary.load(Ordering::SeqCst) % addresses.len().max(1));
        let primary = primary.filter(|_| !is_electing).map(SocketAddr::to_string).unwrap_or_default();
        Cluster { role, primary_address: primary, ..Cluster::default() }
    }
}

fn listen(listener: TcpListener, shared: &Arc<Shared>, number: usize) -> ModelServer {
    let address = listener.local_addr().expect("a bound socket has an address");
    let connections = Arc::new(AtomicU64::new(0));
    let (count, kept, shared) = (Arc::clone(&connections), Arc::clone(shared), Arc::clone(shared));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            if shared.gone.load(Ordering::Relaxed) {
                break;
            }
            count.fetch_add(1, Ordering::Relaxed);
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || Conversation::new(&shared, number).serve(stream));
        }
    });
    ModelServer { address, connections, shared: Some(kept) }
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
    /// Which of the servers it is with, and whether that was the primary when it began.
    number: usize,
    was_primary: bool,
    xor: Option<XorKey>,
    logged_in: bool,
    strikes: u8,
    mute: bool,
}

impl Conversation<'_> {
    fn new(shared: &Shared, number: usize) -> Conversation<'_> {
        let was_primary = shared.cluster.is_primary(number);
        Conversation { shared, number, was_primary, xor: None, logged_in: false, strikes: 0, mute: false }
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
        if self.was_primary && !self.shared.cluster.is_primary(self.number) {
            return After::Close;
        }
        if let Err(status) = self.may_answer(&request, frame) {
            refuse(status, out);
            return After::GoOn;
        }
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
                let moves_every = self.shared.cluster.moves_every;
                if moved > 0 && moves_every > 0 && moved.is_multiple_of(moves_every) {
                    self.shared.cluster.fail_over();
                    return After::Close;
                }
                let lsn = header.flags.contains(Flags::LSN).then(|| self.ledger().totals().lsn);
                match self.shared.defect {
                    Defect::DropAck if moved == 100 => return After::Close,
                    Defect::SwallowAck if moved == 100 => return After::StayMute,
                    _ if self.mute => {}
                    _ => match answer {
                        Answer::Short(response) => response.encode_as_of(header.seq, xor, lsn, out),
                        Answer::Page(statement) => statement.encode_as_of(header.seq, xor, lsn, out),
                        Answer::Cluster(cluster) => cluster.encode_as_of(header.seq, xor, lsn, out),
                    },
                }
            }
            Err(status) => refuse(status, out),
        }
        After::GoOn
    }

    /// Whether this server may answer: only the primary does, but for what any server tells.
    fn may_answer(&self, request: &Request<'_>, frame: &Frame<'_>) -> Result<(), Status> {
        let cluster = &self.shared.cluster;
        match request {
            Request::Login { .. } | Request::Ping | Request::Cluster => return Ok(()),
            Request::Balance { .. } | Request::History { .. } if !cluster.is_primary(self.number) => {
                if let Some(after) = frame.after {
                    let is_behind = after > Lsn(0) && cluster.behind.load(Ordering::SeqCst);
                    cluster.follower_reads.fetch_add(u64::from(!is_behind), Ordering::SeqCst);
                    return if is_behind { Err(Status::Behind) } else { Ok(()) };
                }
            }
            _ => {}
        }
        match () {
            () if cluster.is_electing() => Err(Status::NoQuorum),
            () if !cluster.is_primary(self.number) => Err(Status::NotPrimary),
            () => Ok(()),
        }
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
            Request::Cluster => return Ok(Answer::Cluster(self.shared.cluster.tell(self.number))),
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
