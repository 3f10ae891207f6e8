//! The counter: answers one request of a connection.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::crash_point::{CrashPoint, crash_point};
use crate::instance::stats::WorkerStats;
use crate::ledger::{Completion, Operation, Teller};
use crate::limits::{MAX_CREDENTIAL_BYTES, MAX_REPLY_BYTES};
use crate::service::bank::{self, Task};
use crate::service::session::Session;
use crate::wire::{Flags, Frame, Opcode, Request, Response, Status, XorKey};
use crate::worker::guest::{Guest, Pending};
use crate::worker::pool::{Finding, Job, Pool, Waiting};

/// No request has a longer body than the longest LOGIN.
const LONGEST_BODY: usize = 2 + 2 * MAX_CREDENTIAL_BYTES;

/// What is needed to answer requests.
pub struct Counter {
    /// The worker's hand in the ledger.
    pub teller: Teller<'static>,
    /// The threads for what may block.
    pub pool: Pool,
    /// The worker's counters.
    pub stats: &'static WorkerStats,
    /// The time of this turn of the loop, nanoseconds of the monotonic clock.
    pub now_ns: u64,
    /// Where replies are put together.
    reply: [u8; MAX_REPLY_BYTES],
}

/// What a reply needs of its request.
#[derive(Clone, Copy)]
struct Asked {
    /// Bytes that the request takes in the receive ring.
    bytes: usize,
    seq: u32,
    opcode: u16,
    xor: Option<XorKey>,
}

/// A request that is refused before anybody looks at its meaning.
struct Refused {
    status: Status,
    strike: bool,
}

impl From<Status> for Refused {
    fn from(status: Status) -> Self {
        Refused { status, strike: false }
    }
}

impl Counter {
    /// A counter whose clock stands at zero.
    #[must_use]
    pub fn new(teller: Teller<'static>, pool: Pool, stats: &'static WorkerStats) -> Self {
        Counter { teller, pool, stats, now_ns: 0, reply: [0; MAX_REPLY_BYTES] }
    }

    /// Answers a whole frame that takes `bytes` bytes in the receive ring; or hands it to the pool, and remembers that.
    #[inline]
    pub fn answer(&mut self, guest: &mut Guest, bytes: usize, frame: &Frame<'_>) {
        crash_point(CrashPoint::Decoded);
        let xored = frame.header.flags.contains(Flags::XOR);
        let xor = guest.session.filter(|_| xored).map(|session| session.xor);
        let asked = Asked { bytes, seq: frame.header.seq, opcode: frame.header.opcode, xor };
        match xor {
            None => self.answer_plain(guest, asked, frame, frame.body),
            Some(key) => self.answer_xored(guest, asked, frame, key),
        }
    }

    /// Apart from the others, so that they do not pay for the zeroing of a buffer that they have no use for.
    #[inline(never)]
    fn answer_xored(&mut self, guest: &mut Guest, asked: Asked, frame: &Frame<'_>, key: XorKey) {
        let mut plain = [0; LONGEST_BODY];
        match plain.get_mut(..frame.body.len()) {
            Some(plain) => {
                plain.copy_from_slice(frame.body);
                key.apply(plain);
                self.answer_plain(guest, asked, frame, plain);
            }
            // Too long for any request, whatever the key makes of it.
            None => self.answer_plain(guest, asked, frame, frame.body),
        }
    }

    #[inline]
    fn answer_plain(&mut self, guest: &mut Guest, asked: Asked, frame: &Frame<'_>, body: &[u8]) {
        match self.understand(guest, frame, body) {
            Ok(task) => self.perform(guest, asked, task),
            Err(refused) => {
                if refused.strike {
                    self.strike(guest, asked.bytes, 1);
                }
                self.refuse(guest, asked, refused.status);
            }
        }
    }

    /// Answers bytes that are no good frame: one strike, or as many as end the connection.
    pub fn reject(&mut self, guest: &mut Guest, bytes: usize, strikes: u8, (status, opcode, seq): (Status, u16, u32)) {
        self.strike(guest, bytes, strikes);
        self.refuse(guest, Asked { bytes, seq, opcode, xor: None }, status);
    }

    fn strike(&self, guest: &mut Guest, bytes: usize, strikes: u8) {
        guest.strikes = guest.strikes.saturating_add(strikes);
        guest.keep_framing(bytes);
        self.stats.strikes.add(1);
    }

    #[inline]
    fn understand<'f>(&self, guest: &mut Guest, frame: &Frame<'_>, body: &'f [u8]) -> Result<Task<'f>, Refused> {
        let now_ns = self.now_ns;
        if guest.allowance.as_mut().is_some_and(|allowance| !allowance.take(now_ns)) {
            return Err(Status::Busy.into());
        }
        if frame.header.flags.contains(Flags::ERROR) {
            return Err(Refused { status: Status::BadFrame, strike: true });
        }
        if frame.key.is_some() {
            return Err(Status::BadFrame.into());
        }
        if frame.header.flags.contains(Flags::XOR) && guest.session.is_none() {
            return Err(Status::Auth.into());
        }
        let unreadable = Refused { status: Status::BadFrame, strike: true };
        let Ok(opcode) = Opcode::try_from(frame.header.opcode) else { return Err(unreadable) };
        self.stats.requests[opcode.index()].add(1);
        let Ok(request) = Request::decode(opcode, body) else { return Err(unreadable) };
        Ok(bank::task_of(request, guest.session.as_ref())?)
    }

    #[inline]
    fn perform(&mut self, guest: &mut Guest, asked: Asked, task: Task<'_>) {
        match task {
            Task::Operate(operation) => self.operate(guest, asked, operation),
            Task::Read(account) => match self.teller.balance(account) {
                Ok(balance) => self.respond(guest, asked, Response::Balance { balance }),
                Err(refusal) => self.refuse(guest, asked, bank::status_of(refusal)),
            },
            Task::TellTime => self.respond(guest, asked, Response::Ping { server_time_ms: wall_clock_ms() }),
            Task::Verify { user, pass } => {
                self.hand_in(guest, asked, Job::Verify { user: user.to_vec(), pass: pass.to_vec() });
            }
            Task::SumUp => self.hand_in(guest, asked, Job::SumUp),
        }
    }

    /// Carries out an operation; its reply is staged before it has happened and becomes valid as a part of it.
    #[inline]
    fn operate(&mut self, guest: &mut Guest, asked: Asked, operation: Operation) {
        let Counter { teller, reply, .. } = self;
        let connection = &guest.connection;
        let mut progress = None;
        let done = teller.carry_out(operation, |outcome| {
            let length = bank::response_to(operation, outcome).write(asked.seq, asked.xor, reply);
            let next = connection.stage(asked.bytes, &reply[..length]);
            progress = Some(next);
            Completion::moving(connection.index(), connection.slot().progress_word(), next.to_word())
        });
        match (done, progress) {
            (Ok(_), Some(progress)) => {
                guest.connection.staged(progress);
                self.stats.answers[Status::Ok.index()].add(1);
            }
            (Ok(_), None) => unreachable!("an operation that is done has called for its reply"),
            (Err(refusal), _) => self.refuse(guest, asked, bank::status_of(refusal)),
        }
    }

    fn hand_in(&mut self, guest: &mut Guest, asked: Asked, job: Job) {
        let waiting = Waiting { slot: guest.connection.index(), generation: guest.generation };
        match self.pool.submit(waiting, job) {
            Ok(()) => {
                let Asked { bytes, seq, opcode, xor } = asked;
                guest.pending = Some(Pending { bytes, seq, opcode, xor });
            }
            Err(crate::worker::pool::Overloaded) => self.refuse(guest, asked, Status::Busy),
        }
    }

    /// Answers the request that the pool worked for.
    pub fn deliver(&mut self, guest: &mut Guest, finding: Finding) {
        let Some(Pending { bytes, seq, opcode, xor }) = guest.pending.take() else { return };
        let asked = Asked { bytes, seq, opcode, xor };
        match finding {
            Finding::Verified { user, role } => match role.and_then(|role| Session::begin(&user, role)) {
                Some(session) => {
                    session.keep(guest.connection.slot(), &user);
                    guest.session = Some(session);
                    self.respond(guest, asked, Response::Login { session: session.id });
                }
                None => self.refuse(guest, asked, Status::Auth),
            },
            Finding::Summed(totals) => self.respond(guest, asked, bank::totals_response(totals, opcode)),
        }
    }

    #[inline]
    fn refuse(&mut self, guest: &mut Guest, asked: Asked, status: Status) {
        self.respond(guest, asked, Response::Error { opcode: asked.opcode, status });
    }

    #[inline]
    fn respond(&mut self, guest: &mut Guest, asked: Asked, response: Response) {
        let status = if let Response::Error { status, .. } = response { status } else { Status::Ok };
        self.stats.answers[status.index()].add(1);
        let length = response.write(asked.seq, asked.xor, &mut self.reply);
        guest.connection.advance(asked.bytes, &self.reply[..length]);
    }
}

/// Milliseconds since 1970.
fn wall_clock_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
