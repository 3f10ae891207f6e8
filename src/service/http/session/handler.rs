//! The handler: one turn of one session, from the bytes that came to the bytes that go.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use crate::base::config;
use crate::base::limits::{HTTP_STEPS_PER_TURN, RECEIVE_BYTES};
use crate::ipc::process::monotonic_ns;
use crate::service::connection_state::SessionKey;
use crate::service::connection_state::{Closing, Next};
use crate::service::http::session::file_cache::{FileCache, Loaded};
use crate::service::http::session::file_loader::{Done, Job, Loaders};
use crate::service::http::session::http_session::{Asked, HttpSession, Sending, Source, Stage, Then, place_in};
use crate::service::http::session::served_file::ServedFile;
use crate::service::http::session::status_routes::StatusRoutes;
use crate::service::http::wire::{self, HttpDate, Rejection, Status};
use crate::service::interface::Now;
use crate::service::log_queue::{LogQueue, SharedLog};
use crate::store::instance::stats::{BoundStats, ServiceStats, WebStats, WorkerStats};

/// What a step of a connection's turn leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The next step of the same turn.
    Continue,
    /// Waiting until the socket is ready or the session is scheduled.
    Wait,
    /// The turns of other sessions, then the next step.
    Yield,
    /// A lingering close: all is sent.
    Linger,
    /// Closing at once: the connection is broken, or of no more use.
    Close,
    /// Closing: the client keeps sending bytes that are only discarded.
    CloseFlooding,
}

/// Gives sessions their turns.
pub struct Handler {
    pub(super) cache: FileCache,
    /// The threads that find files.
    pub loaders: Loaders,
    pub log: LogQueue,
    pub(super) stats: &'static WebStats,
    pub(super) bounds: &'static BoundStats,
    pub(super) service_stats: &'static ServiceStats,
    /// Nanoseconds of the monotonic clock.
    pub now_ns: u64,
    pub(super) status: StatusRoutes,
    /// Whether each connection ends with its next answer.
    pub closing: bool,
    /// The second since 1970, and its text.
    pub(super) date: (u64, HttpDate),
    /// What was received, out of shared memory.
    unread: Option<Box<[u8; RECEIVE_BYTES]>>,
    /// A key that is looked for.
    pub(super) key: Vec<u8>,
}

impl Handler {
    /// A handler before its first session.
    #[must_use]
    pub fn new(
        settings: &config::Http,
        loaders: Loaders,
        log: SharedLog,
        status: StatusRoutes,
        (stats, service_stats): (&'static WorkerStats, &'static ServiceStats),
    ) -> Self {
        Handler {
            cache: FileCache::new(settings.cache_bytes, &stats.web),
            loaders,
            log: LogQueue::new(log),
            stats: &stats.web,
            bounds: &stats.bounds,
            service_stats,
            now_ns: 0,
            status,
            closing: false,
            date: (0, HttpDate::of(UNIX_EPOCH)),
            unread: Some(Box::new([0; RECEIVE_BYTES])),
            key: Vec::new(),
        }
    }

    /// Sets the time of this turn of the loop.
    pub fn set_time(&mut self, now: Now) {
        let Now { monotonic_ns, since_1970 } = now;
        self.now_ns = monotonic_ns;
        self.log.set_time(now);
        if self.date.0 != since_1970.as_secs() {
            self.date = (since_1970.as_secs(), HttpDate::of(UNIX_EPOCH + since_1970));
        }
    }

    /// One turn of `session`.
    pub fn turn(&mut self, session: &mut HttpSession) -> Next {
        if let Closing::Lingering(budget) = session.state.closing {
            return session.state.linger(budget);
        }
        for _ in 0..HTTP_STEPS_PER_TURN {
            let step = match &session.data.stage {
                Stage::ReadingHead => self.listen(session),
                Stage::AwaitingFile => Step::Wait,
                Stage::Sending(_) => self.send(session),
                Stage::AwaitingLog { .. } => self.log_again(session),
                Stage::DiscardingBody(_) => self.skip(session),
                Stage::Streaming(_) => self.stream(session),
            };
            match step {
                Step::Continue => {}
                Step::Wait => return Next::Wait,
                Step::Yield => break,
                Step::Linger => return session.state.begin_linger(self.now_ns),
                Step::Close => return Next::Close,
                Step::CloseFlooding => return Next::CloseFlooding,
            }
        }
        Next::Again
    }

    /// Reads the next request, if it is there.
    fn listen(&mut self, session: &mut HttpSession) -> Step {
        if session.state.closing == Closing::AfterSending {
            return Step::Linger;
        }
        let Some(mut buffer) = self.unread.take() else { return Step::Close };
        let unread = session.state.connection.copy_unread(&mut buffer);
        let step = self.read_request(session, unread);
        self.unread = Some(buffer);
        step.unwrap_or_else(|| self.receive(session))
    }

    /// Begins to answer the request that `unread` begins with; `None` when it is not whole.
    fn read_request(&mut self, session: &mut HttpSession, unread: &[u8]) -> Option<Step> {
        if unread.is_empty() {
            session.data.partial_since_ns = None;
            return None;
        }
        match wire::parse(unread) {
            Ok(Some(request)) => {
                session.data.partial_since_ns = None;
                Some(self.answer(session, &request, unread))
            }
            Ok(None) => {
                session.data.partial_since_ns.get_or_insert(self.now_ns);
                None
            }
            Err(Rejection { status, line }) => {
                let line = place_in(unread, line);
                self.refuse_all(session, status, unread, line);
                Some(Step::Continue)
            }
        }
    }

    fn receive(&mut self, session: &mut HttpSession) -> Step {
        if session.state.ended {
            return Step::Close;
        }
        if !session.state.readable {
            return Step::Wait;
        }
        match session.state.receive(self.now_ns) {
            None => Step::Close,
            Some(0) if !session.state.ended => Step::Wait,
            Some(_) => Step::Continue,
        }
    }

    /// Ends a connection with a status although there is no whole request: its end did not come in time, or there is no room for
    /// the connection. A turn is to follow.
    pub fn end_unasked(&mut self, session: &mut HttpSession, status: Status) {
        session.data.partial_since_ns = None;
        let Some(mut buffer) = self.unread.take() else { return };
        let unread = session.state.connection.copy_unread(&mut buffer);
        self.refuse_all(session, status, unread, 0..0);
        self.unread = Some(buffer);
    }

    /// Throws away a body.
    fn skip(&mut self, session: &mut HttpSession) -> Step {
        let Stage::DiscardingBody(left) = &mut session.data.stage else { return Step::Close };
        let there = session.state.connection.unread();
        let now = usize::try_from(*left).unwrap_or(usize::MAX).min(there);
        *left -= now as u64;
        let left = *left;
        session.keep_body_left(now, left);
        session.state.connection.advance(now, &[]);
        if left == 0 {
            session.data.partial_since_ns = None;
            session.data.stage = Stage::ReadingHead;
            return Step::Continue;
        }
        if self.closing {
            return Step::Linger;
        }
        session.data.partial_since_ns.get_or_insert(self.now_ns);
        self.receive(session)
    }

    /// Counts and logs an answer that is sent.
    pub(super) fn complete(&mut self, session: &mut HttpSession, asked: &Asked, sent: u64, answer_head: usize) -> Step {
        let took_ns = self.count_answer(asked, sent);
        self.stats.answer_times.record(took_ns, 1);
        let Some(mut buffer) = self.unread.take() else { return Step::Close };
        let head = session.state.connection.copy_unread(&mut buffer);
        let body_bytes = sent.saturating_sub(answer_head as u64);
        let logged = self.log.write(&asked.log_entry(session.data.peer, head, body_bytes, took_ns));
        self.unread = Some(buffer);
        session.data.asked_ns = None;
        session.data.has_asked = true;
        let head_bytes = asked.head_bytes.min(session.state.connection.unread());
        if let Then::Next(body @ 1..) = asked.then {
            session.keep_body_left(head_bytes, body);
        }
        session.state.connection.advance_past(head_bytes, sent);
        match logged {
            Ok(()) => Self::go_on(session, asked.then),
            Err(line) => {
                self.stats.log_waits.add(1);
                session.data.stage = Stage::AwaitingLog { line, then: asked.then };
                self.log.join(session.state.key());
                Step::Wait
            }
        }
    }

    fn go_on(session: &mut HttpSession, then: Then) -> Step {
        match then {
            Then::End => {
                session.data.stage = Stage::ReadingHead;
                Step::Linger
            }
            Then::Next(0) => {
                session.data.stage = Stage::ReadingHead;
                Step::Continue
            }
            Then::Next(body) => {
                session.data.stage = Stage::DiscardingBody(body);
                Step::Continue
            }
        }
    }

    fn log_again(&mut self, session: &mut HttpSession) -> Step {
        let Stage::AwaitingLog { line, then } = &session.data.stage else { return Step::Close };
        let then = *then;
        if self.log.write_again(line).is_err() {
            self.log.join(session.state.key());
            return Step::Wait;
        }
        Self::go_on(session, then)
    }

    /// The next result of the loader threads: the sessions that wait for it, and what they are told.
    pub fn next_loaded(&mut self) -> Option<(Vec<SessionKey>, Option<Loaded>)> {
        Some(match self.loaders.result()? {
            Done::Looked(found) => {
                let (waiting, loaded) = self.cache.take_in(found);
                (waiting, Some(loaded))
            }
            Done::Fetched(session) => (vec![session], None),
        })
    }

    /// Tells a connection what it has waited for.
    pub fn tell(session: &mut HttpSession, loaded: Option<&Loaded>) {
        match (&mut session.data.stage, loaded) {
            (Stage::AwaitingFile, Some(loaded)) => {
                session.data.stage = Stage::ReadingHead;
                session.data.loaded = match loaded {
                    Loaded::Gone => None,
                    Loaded::Outcome(outcome) => Some(outcome.clone()),
                };
            }
            (Stage::Sending(sending), None) => sending.fetching = false,
            _ => {}
        }
    }

    /// Releases what the session holds, perhaps in the middle of an answer: its connection is closed.
    pub fn release(&mut self, session: &mut HttpSession) {
        match std::mem::replace(&mut session.data.stage, Stage::ReadingHead) {
            Stage::Sending(sending) => {
                let Sending { asked, source, outgoing, head_bytes, .. } = *sending;
                self.put_back(source);
                if let Some(mut buffer) = self.unread.take() {
                    let head = session.state.connection.copy_unread(&mut buffer);
                    self.log_last(session, head, &asked, outgoing.sent(), head_bytes);
                    self.unread = Some(buffer);
                }
            }
            Stage::AwaitingLog { line, .. } => self.log.keep(line),
            Stage::Streaming(stream) => {
                self.status.end_stream();
                let sent = stream.sent + stream.text_sent as u64;
                self.log_last(session, &stream.head, &stream.asked, sent, 0);
            }
            _ => {}
        }
    }

    /// Counts and logs an answer of which no more can be sent.
    fn log_last(&mut self, session: &HttpSession, head: &[u8], asked: &Asked, sent: u64, head_bytes: usize) {
        let took_ns = self.count_answer(asked, sent);
        let body_bytes = sent.saturating_sub(head_bytes as u64);
        self.log.write_last(&asked.log_entry(session.data.peer, head, body_bytes, took_ns));
    }

    /// Counts an answer; how long it took, nanoseconds.
    fn count_answer(&self, asked: &Asked, sent: u64) -> u64 {
        let place = Status::ALL.iter().position(|known| *known == asked.status).unwrap_or(0);
        self.stats.answers[place].add(1);
        self.stats.bytes_out.add(sent);
        monotonic_ns().saturating_sub(asked.since_ns)
    }

    pub(super) fn put_back(&mut self, source: Source) {
        if let Source::Cached(hold) = source {
            self.cache.put_back(hold);
        }
    }

    /// Has the loader read a part of a file for `session`; whether it will: it may have too much to do.
    pub(super) fn fetch(&mut self, session: SessionKey, item: Arc<ServedFile>, part: Range<u64>) -> bool {
        self.loaders.submit(Job::Fetch { item, part, session }).is_ok()
    }
}

/// Whether a socket only takes no more now.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
