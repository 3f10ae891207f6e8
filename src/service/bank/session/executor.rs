//! The executor: carries out one request of a session and queues its reply.

use std::cell::Cell;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::base::crash_point::{CrashPoint, crash_point};
use crate::base::limits::{
    AFTER_WAIT_MILLISECONDS, KEY_BYTES, MAX_CLUSTER_REPLY_BYTES, MAX_CREDENTIAL_BYTES, MAX_FAILED_LOGINS,
    MAX_FRAME_BYTES, MAX_REPLY_BYTES, MAX_STRIKES,
};
use crate::base::vocab::{AccountId, Lsn};
use crate::ipc::process::monotonic_ns;
use crate::service::bank::rules::{self, Task};
use crate::service::bank::session::bank_session::{Asked, BankSession, Pending, Postponed};
use crate::service::bank::session::jobs::{BlockingPools, Job, JobResult};
use crate::service::bank::session::login::Login;
use crate::service::bank::session::statement_page::PageRequest;
use crate::service::bank::wire::{Flags, Frame, LookAhead, Request, Response, Status, XorKey};
use crate::service::connection_state::{Admission, Closing};
use crate::service::interface::Now;
use crate::service::replies::{AfterWait, Blocked, Replies, Visibility};
use crate::store::cluster::ClusterRow;
use crate::store::connection::ServiceId;
use crate::store::instance::Instance;
use crate::store::instance::control::Control;
use crate::store::instance::stats::{ServiceStats, WorkerStats};
use crate::store::ledger::commit::Uncommitted;
use crate::store::ledger::teller::{Asker, Undone};
use crate::store::ledger::{Completion, Operation, RememberedOperation, Shows, Teller};

/// No request has a longer body than the longest LOGIN.
const LONGEST_BODY: usize = 2 + 2 * MAX_CREDENTIAL_BYTES;

/// What is needed to answer requests.
pub struct Executor {
    /// The worker's hand in the ledger.
    pub teller: Teller<'static>,
    /// Says what may be shown.
    pub visibility: Visibility,
    /// The threads for what may block.
    pub pools: BlockingPools,
    /// The worker's counters.
    pub stats: &'static WorkerStats,
    /// Its counters of the bank's connections.
    service_stats: &'static ServiceStats,
    /// What concerns the instance.
    control: &'static Control,
    /// The bank.
    service: ServiceId,
    /// The time of this turn of the loop, nanoseconds of the monotonic clock.
    pub now_ns: u64,
    /// Replies that were queued in this turn of a connection.
    pub replies: Replies,
    /// Where replies are put together.
    reply: [u8; MAX_REPLY_BYTES],
}

/// Whether a request was seen to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answered {
    /// It is answered, or a thread works for it.
    Yes,
    /// It stands where it stood: it can be carried out once an operation is committed, or there is room for the reply.
    NotYet(Postponed),
}

/// There is no room in the journal.
const FOR_ROOM: Answered = Answered::NotYet(Postponed { room: MAX_REPLY_BYTES, blocked: Some(Blocked::ForRoom) });

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

impl Executor {
    /// An executor; its clock stands at zero.
    #[must_use]
    pub fn new(
        (instance, service): (&'static Instance, ServiceId),
        teller: Teller<'static>,
        pools: BlockingPools,
        (stats, service_stats): (&'static WorkerStats, &'static ServiceStats),
    ) -> Self {
        Executor {
            teller,
            visibility: Visibility::new(instance),
            pools,
            stats,
            service_stats,
            control: instance.control(),
            service,
            now_ns: 0,
            replies: Replies::default(),
            reply: [0; MAX_REPLY_BYTES],
        }
    }

    /// Sets the time of this turn of the loop.
    pub fn set_time(&mut self, Now { monotonic_ns, since_1970 }: Now) {
        self.now_ns = monotonic_ns;
        self.teller.set_wall_clock(since_1970.as_nanos().try_into().unwrap_or(u64::MAX));
    }

    /// Counts a reply that is queued.
    #[inline]
    fn count(&mut self, session: &mut BankSession, status: Status) {
        self.stats.answers[status.index()].add(1);
        self.replies.add(Replies { count: 1, since_ns: session.data.asked_ns.take().unwrap_or(self.now_ns) });
    }

    /// What the replies of this turn of a connection show; what was read needs a round of reads that begins now.
    #[inline]
    pub fn take_shown(&mut self) -> Shows {
        let seen = self.teller.take_seen();
        self.visibility.shows(seen, self.teller.take_has_read())
    }

    /// Notes how long replies took that may leave now.
    #[inline]
    pub fn time(&self, replies: Replies) {
        if replies.count > 0 {
            self.stats.answer_times.record(monotonic_ns().saturating_sub(replies.since_ns), replies.count);
        }
    }

    /// Has the memory fetched that the next request of `ahead` will touch.
    #[inline]
    pub fn prefetch(&self, session: &BankSession, ahead: &mut LookAhead<'_>) {
        if let (Some(expected), Some(login)) = (ahead.expected(), session.data.login) {
            self.teller.prefetch(expected.accounts, expected.key, login.principal);
        }
    }

    /// Answers a whole frame that takes `bytes` bytes in the receive ring; or hands it to the threads, and remembers that.
    #[inline]
    pub fn answer(&mut self, session: &mut BankSession, bytes: usize, frame: &Frame<'_>) -> Answered {
        crash_point(CrashPoint::Decoded);
        let xored = frame.header.flags.contains(Flags::XOR);
        let xor = session.data.login.filter(|_| xored).map(|login| login.xor);
        let wants_lsn = frame.header.flags.contains(Flags::LSN);
        let asked = Asked { bytes, seq: frame.header.seq, opcode: frame.header.opcode, xor, wants_lsn };
        match xor {
            None => self.answer_plain(session, asked, frame, frame.body),
            Some(key) => self.answer_xored(session, asked, frame, key),
        }
    }

    /// Apart from the others, so that they do not pay for the zeroing of a buffer that they have no use for.
    #[inline(never)]
    fn answer_xored(&mut self, session: &mut BankSession, asked: Asked, frame: &Frame<'_>, key: XorKey) -> Answered {
        let mut plain = [0; LONGEST_BODY];
        match plain.get_mut(..frame.body.len()) {
            Some(plain) => {
                plain.copy_from_slice(frame.body);
                key.apply(plain);
                self.answer_plain(session, asked, frame, plain)
            }
            // Too long for any request, whatever the key makes of it.
            None => self.answer_plain(session, asked, frame, frame.body),
        }
    }

    #[inline]
    fn answer_plain(&mut self, session: &mut BankSession, asked: Asked, frame: &Frame<'_>, body: &[u8]) -> Answered {
        match self.understand(session, frame, body) {
            Ok(task) => {
                if let Some(after) = frame.after
                    && let Some(answered) = self.wait_for(session, asked, after)
                {
                    return answered;
                }
                self.perform(session, asked, frame.key.copied(), task)
            }
            Err(refused) => {
                if refused.strike {
                    self.strike(session, asked.bytes, 1);
                }
                self.refuse(session, asked, refused.status)
            }
        }
    }

    /// Has a request wait until the operation that it names as the last one seen can be shown here; `None` once it can. After a while
    /// it is told that this instance is behind.
    #[cold]
    fn wait_for(&mut self, session: &mut BankSession, asked: Asked, lsn: Lsn) -> Option<Answered> {
        if lsn <= self.visibility.shown() {
            return None;
        }
        let until_ns = self.now_ns.saturating_add(AFTER_WAIT_MILLISECONDS * 1_000_000);
        let wait = *session.data.waits.after.get_or_insert(AfterWait { lsn, until_ns });
        if wait.until_ns <= self.now_ns {
            return Some(self.refuse(session, asked, Status::Behind));
        }
        session.data.waits.is_behind = true;
        Some(Answered::NotYet(Postponed { room: MAX_REPLY_BYTES, blocked: None }))
    }

    /// Answers bytes that are no good frame: one strike, or as many as end the connection.
    pub fn reject(
        &mut self,
        session: &mut BankSession,
        bytes: usize,
        strikes: u8,
        (status, opcode, seq): (Status, u16, u32),
    ) {
        self.strike(session, bytes, strikes);
        let _answered = self.refuse(session, Asked { bytes, seq, opcode, xor: None, wants_lsn: false }, status);
    }

    fn strike(&self, session: &mut BankSession, bytes: usize, strikes: u8) {
        session.data.strikes = session.data.strikes.saturating_add(strikes);
        session.keep_framing(bytes);
        self.stats.strikes.add(1);
    }

    #[inline]
    fn understand<'f>(
        &self,
        session: &mut BankSession,
        frame: &Frame<'_>,
        body: &'f [u8],
    ) -> Result<Task<'f>, Refused> {
        let now_ns = self.now_ns;
        let first_look = session.data.postponed.is_none();
        if first_look && session.data.rate_limit.as_mut().is_some_and(|rate_limit| !rate_limit.take(now_ns)) {
            return Err(Status::Busy.into());
        }
        if frame.header.flags.contains(Flags::ERROR) {
            return Err(Refused { status: Status::BadFrame, strike: true });
        }
        if frame.header.flags.contains(Flags::XOR) && session.data.login.is_none() {
            return Err(Status::Auth.into());
        }
        let unreadable = Refused { status: Status::BadFrame, strike: true };
        let Ok(request) = Request::of_frame(frame, body) else { return Err(unreadable) };
        self.stats.requests[request.opcode().index()].add(u64::from(first_look));
        let task = rules::task_of(request, session.data.login.as_ref())?;
        if let Some(cluster) = self.visibility.cluster {
            rules::may_answer(cluster.standing(), &request, frame.after.is_some())?;
        }
        Ok(task)
    }

    #[inline]
    fn perform(
        &mut self,
        session: &mut BankSession,
        asked: Asked,
        key: Option<[u8; KEY_BYTES]>,
        task: Task<'_>,
    ) -> Answered {
        match task {
            Task::Operate(operation) => self.operate(session, asked, key, operation),
            Task::Read(account) => {
                // Before the account is locked.
                let shown = if asked.wants_lsn { self.visibility.shown() } else { Lsn(0) };
                match self.teller.balance(account) {
                    Ok((balance, lsn)) => {
                        self.respond_as_of(session, asked, Response::Balance { balance }, shown.max(lsn))
                    }
                    Err(refusal) => self.refuse(session, asked, rules::status_of(refusal)),
                }
            }
            Task::TellTime => {
                let server_time_ms = wall_clock().as_millis().try_into().unwrap_or(u64::MAX);
                self.respond_as_of(session, asked, Response::Ping { server_time_ms }, self.visibility.shown())
            }
            Task::TellCluster => self.tell_cluster(session, asked),
            Task::Verify { user, pass } => {
                self.hand_in(session, asked, Lsn(0), Job::Verify { user: user.to_vec(), pass: pass.to_vec() })
            }
            Task::SumUp => self.hand_in(session, asked, Lsn(0), Job::SumUp),
            Task::Statement { account, before, limit } => self.look_up(session, asked, account, before, limit),
        }
    }

    /// Has a page of a statement read once there is room for it, and all that is to be read is in the files.
    fn look_up(
        &mut self,
        session: &mut BankSession,
        asked: Asked,
        account: AccountId,
        before: Lsn,
        limit: usize,
    ) -> Answered {
        if !session.state.connection.has_room_for_reply(MAX_FRAME_BYTES) {
            return Answered::NotYet(Postponed { room: MAX_FRAME_BYTES, blocked: None });
        }
        // Kept over the wait: an account to which more and more happens would have its statement wait for ever.
        let known = session.data.postponed.and_then(|postponed| match postponed.blocked {
            Some(Blocked::Until(lsn)) => Some(lsn),
            Some(Blocked::ForRoom) | None => None,
        });
        // What has happened to the account since it was looked at is not in the page.
        let shown = if known.is_none() && asked.wants_lsn { self.visibility.shown() } else { Lsn(0) };
        let head = match known.map_or_else(|| self.teller.last_change(account), Ok) {
            Ok(head) => head,
            Err(refusal) => return self.refuse(session, asked, rules::status_of(refusal)),
        };
        if self.visibility.sequencer.is_journaled() && !self.visibility.sequencer.committed().includes(head) {
            return Answered::NotYet(Postponed { room: MAX_FRAME_BYTES, blocked: Some(Blocked::Until(head)) });
        }
        self.hand_in(session, asked, shown.max(head), Job::Read(PageRequest { account, head, before, limit }))
    }

    /// Carries out an operation; its reply is staged before it has happened and becomes valid as a part of it.
    #[inline]
    fn operate(
        &mut self,
        session: &mut BankSession,
        asked: Asked,
        key: Option<[u8; KEY_BYTES]>,
        operation: Operation,
    ) -> Answered {
        if self.visibility.room_is_short {
            return FOR_ROOM;
        }
        if asked.wants_lsn {
            return self.operate_numbered(session, asked, key, operation);
        }
        let Executor { teller, reply, .. } = self;
        let connection = &session.state.connection;
        let asker = Asker { principal: session.data.login.map_or(0, |login| login.principal), key };
        let mut staged = None;
        let done = teller.carry_out(operation, &asker, |verdict| {
            let response = rules::response_to(operation, asked.opcode, verdict.copied());
            let length = response.write(asked.seq, asked.xor, reply);
            let next = connection.stage(asked.bytes, &reply[..length]);
            staged = Some((next, response.status()));
            Completion::moving(connection.index(), connection.slot().progress_word(), next.to_word())
        });
        match (done, staged) {
            (Ok(_), Some((progress, status))) => {
                session.state.connection.staged(progress);
                self.count(session, status);
                Answered::Yes
            }
            (Ok(_), None) => unreachable!("an operation that is done has called for its reply"),
            (Err(undone), _) => self.answer_undone(session, asked, operation, undone),
        }
    }

    /// The same for a request whose answer is to show the operation's number: the reply is staged without it, and again with it once it is
    /// known, which is before the operation has happened. Both are of the same length, so the progress is the same.
    #[inline(never)]
    fn operate_numbered(
        &mut self,
        session: &mut BankSession,
        asked: Asked,
        key: Option<[u8; KEY_BYTES]>,
        operation: Operation,
    ) -> Answered {
        let connection = &session.state.connection;
        let asker = Asker { principal: session.data.login.map_or(0, |login| login.principal), key };
        let staged = Cell::new(None);
        let stage = |response: Response, lsn| {
            let mut reply = [0; MAX_REPLY_BYTES];
            let length = response.write_as_of(asked.seq, asked.xor, Some(lsn), &mut reply);
            let progress = connection.stage(asked.bytes, &reply[..length]);
            staged.set(Some((progress, response)));
            progress
        };
        let number = |lsn| {
            if let Some((_, response)) = staged.get() {
                stage(response, lsn);
            }
        };
        let done = self.teller.carry_out(operation, &asker, |verdict| {
            let response = rules::response_to(operation, asked.opcode, verdict.copied());
            let progress = stage(response, Lsn(0));
            Completion::moving(connection.index(), connection.slot().progress_word(), progress.to_word())
                .numbered_by(&number)
        });
        match (done, staged.get()) {
            (Ok(_), Some((progress, response))) => {
                session.state.connection.staged(progress);
                self.count(session, response.status());
                Answered::Yes
            }
            (Ok(_), None) => unreachable!("an operation that is done has called for its reply"),
            (Err(undone), _) => self.answer_undone(session, asked, operation, undone),
        }
    }

    #[cold]
    fn answer_undone(
        &mut self,
        session: &mut BankSession,
        asked: Asked,
        operation: Operation,
        undone: Undone,
    ) -> Answered {
        match undone {
            Undone::Refused(refusal) => self.refuse(session, asked, rules::status_of(refusal)),
            Undone::Uncommitted(Uncommitted::Repeated(known)) => match RememberedOperation::from_table(&known) {
                Some(first) => {
                    let verdict = rules::verdict_of(first.verdict, first.balances);
                    let response = rules::response_to(operation, asked.opcode, verdict);
                    self.respond_as_of(session, asked, response, first.lsn)
                }
                None => self.refuse(session, asked, Status::Conflict),
            },
            Undone::Uncommitted(Uncommitted::Conflict(_)) => self.refuse(session, asked, Status::Conflict),
            Undone::Uncommitted(Uncommitted::NoSpace | Uncommitted::Full) => self.refuse(session, asked, Status::Busy),
            Undone::Uncommitted(Uncommitted::NotPrimary) => {
                let standing = self.visibility.cluster.map(ClusterRow::standing).unwrap_or_default();
                self.refuse(session, asked, rules::not_primary(standing))
            }
            Undone::Uncommitted(Uncommitted::Later) => {
                self.visibility.room_is_short = true;
                FOR_ROOM
            }
        }
    }

    /// Has the threads do a job; should there be too much to do for them, that is what they find.
    fn hand_in(&mut self, session: &mut BankSession, asked: Asked, as_of: Lsn, job: Job) -> Answered {
        session.data.pending = Some(Pending { asked, as_of });
        session.data.asked_ns.get_or_insert(self.now_ns);
        self.pools.submit(session, job);
        Answered::Yes
    }

    /// Counts a LOGIN that failed; with too many the connection ends.
    fn count_failure(&mut self, session: &mut BankSession) {
        let bounds = &self.stats.bounds;
        bounds.logins_failed.add(1);
        session.data.failed_logins = session.data.failed_logins.saturating_add(1);
        if session.data.failed_logins >= MAX_FAILED_LOGINS {
            bounds.closed_guessing.add(1);
            session.state.closing = Closing::AfterSending;
        }
    }

    /// Tells a client, unasked, that there is no room for it; its connection ends.
    pub fn turn_away(&mut self, session: &mut BankSession) {
        self.service_stats.refused.add(u64::from(session.state.admission != Admission::Admitted));
        // Like a connection with too many bad frames, for a successor of this worker as well.
        session.data.strikes = MAX_STRIKES;
        session.keep_framing(0);
        session.state.closing = Closing::AfterSending;
        let _answered =
            self.refuse(session, Asked { bytes: 0, seq: 0, opcode: 0, xor: None, wants_lsn: false }, Status::Busy);
    }

    /// Answers the request that the threads worked for.
    pub fn deliver(&mut self, session: &mut BankSession, result: JobResult) {
        let Some(Pending { asked, as_of }) = session.data.pending.take() else { return };
        let _answered = match result {
            JobResult::Verified { user, known } => match known.and_then(|known| Login::begin(&user, known)) {
                Some(login) => {
                    login.keep(session.state.connection.slot(), &user);
                    session.data.login = Some(login);
                    self.respond_as_of(session, asked, Response::Login { session: login.id }, self.visibility.shown())
                }
                None => {
                    self.count_failure(session);
                    self.refuse(session, asked, Status::Auth)
                }
            },
            JobResult::Refused => self.refuse(session, asked, Status::Busy),
            JobResult::Summed(totals) => {
                let lsn = totals.map_or(Lsn(0), |totals| totals.lsn);
                self.teller.see_state(lsn);
                self.respond_as_of(session, asked, rules::totals_response(totals, asked.opcode), lsn)
            }
            JobResult::Read(Ok(page)) => {
                self.teller.see_state(Lsn(0));
                let mut reply = Vec::with_capacity(MAX_FRAME_BYTES);
                page.encode_as_of(asked.seq, asked.xor, asked.wants_lsn.then_some(as_of), &mut reply);
                self.respond_with(session, asked, &reply)
            }
            JobResult::Read(Err(error)) => {
                log::error!("a statement cannot be read: {error}");
                self.refuse(session, asked, Status::Timeout)
            }
        };
    }

    /// Tells of the cluster once there is room for that.
    fn tell_cluster(&mut self, session: &mut BankSession, asked: Asked) -> Answered {
        if !session.state.connection.has_room_for_reply(MAX_CLUSTER_REPLY_BYTES) {
            return Answered::NotYet(Postponed { room: MAX_CLUSTER_REPLY_BYTES, blocked: None });
        }
        let (shown, applied) = (self.visibility.shown(), self.visibility.order.now().lsn);
        let row = &self.control.cluster;
        let replica = u8::try_from(row.replica.get()).unwrap_or(0);
        let address = self.control.address(self.service);
        let cluster = rules::cluster_response(row.view(), (replica, address), [shown, applied], self.now_ns);
        let mut reply = Vec::with_capacity(MAX_CLUSTER_REPLY_BYTES);
        cluster.encode_as_of(asked.seq, asked.xor, asked.wants_lsn.then_some(shown), &mut reply);
        self.respond_with(session, asked, &reply)
    }

    #[inline]
    fn refuse(&mut self, session: &mut BankSession, asked: Asked, status: Status) -> Answered {
        self.respond_as_of(session, asked, Response::Error { opcode: asked.opcode, status }, Lsn(0))
    }

    /// Queues a reply, with the operation that it is as of where that was asked for.
    #[inline]
    fn respond_as_of(&mut self, session: &mut BankSession, asked: Asked, response: Response, lsn: Lsn) -> Answered {
        self.count(session, response.status());
        let lsn = asked.wants_lsn.then_some(lsn);
        let length = response.write_as_of(asked.seq, asked.xor, lsn, &mut self.reply);
        session.state.connection.advance(asked.bytes, &self.reply[..length]);
        Answered::Yes
    }

    /// Queues a reply that is no error.
    fn respond_with(&mut self, session: &mut BankSession, asked: Asked, reply: &[u8]) -> Answered {
        self.count(session, Status::Ok);
        session.state.connection.advance(asked.bytes, reply);
        Answered::Yes
    }
}

/// The time since 1970.
fn wall_clock() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
