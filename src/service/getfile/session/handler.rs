//! The handler: one turn of one session, from the request to the end of the response.

use std::os::fd::AsFd;
use std::time::Duration;

use crate::base::limits::{GETFILE_STEPS_PER_TURN, LINGER_BYTES, RECEIVE_BYTES, SENT_BYTES_PER_TURN};
use crate::ipc::net;
use crate::ipc::process::monotonic_ns;
use crate::service::connection_state::{Admission, Closing, Next};
use crate::service::getfile::session::asker::Asker;
use crate::service::getfile::session::getfile_session::{GetFileSession, Reached, Sending, Stage};
use crate::service::getfile::session::source::{Done, Job, Loaders, Outcome, Source, Wanted};
use crate::service::getfile::session::transfer::Transfer;
use crate::service::getfile::wire::END;
use crate::service::getfile::wire::request::{Parsed, parse};
use crate::service::getfile::wire::response::Response;
use crate::service::log_queue::LogQueue;
use crate::service::outgoing::{Moved, Outgoing};
use crate::store::access_log::Entry;
use crate::store::cache_channel::CacheStatus;
use crate::store::instance::stats::{GetFileStats, ServiceStats};

/// Gives sessions their turns.
pub struct Handler {
    pub loaders: Loaders,
    pub log: LogQueue,
    pub source: Source,
    /// How the cache process is asked; `None` where there is none.
    pub asker: Option<Asker>,
    /// Whether some request waits for a segment, at the last tick.
    pub is_segment_wanted: bool,
    pub stats: &'static GetFileStats,
    pub service_stats: &'static ServiceStats,
    /// Nanoseconds of the monotonic clock.
    pub now_ns: u64,
    /// What was received, out of shared memory.
    pub unread: Box<[u8; RECEIVE_BYTES]>,
}

/// The end of a session's turn; without one, its next step follows.
pub type Step = Option<Next>;

/// What was sent of a response.
pub struct Sent {
    response: Response,
    head_bytes: usize,
    /// Bytes, those of the head included.
    bytes: u64,
}

impl Sent {
    fn of_file(sending: &Sending) -> Self {
        Sent { response: sending.response, head_bytes: sending.head_bytes, bytes: sending.outgoing.sent() }
    }

    pub fn of_transfer(transfer: &Transfer) -> Self {
        Sent { response: transfer.response, head_bytes: transfer.head_bytes(), bytes: transfer.sent() }
    }
}

impl Handler {
    /// One turn of `session`.
    pub fn turn(&mut self, session: &mut GetFileSession) -> Next {
        match session.state.closing {
            Closing::Lingering(budget) => return session.state.linger(budget),
            Closing::AfterSending => return session.state.begin_linger(self.now_ns),
            Closing::No => {}
        }
        for _ in 0..GETFILE_STEPS_PER_TURN {
            let step = match std::mem::replace(&mut session.data.stage, Stage::Reading) {
                Stage::Reading => self.read(session),
                Stage::SkippingPath => self.skip_path(session),
                Stage::AwaitingFile => wait_in(session, Stage::AwaitingFile),
                Stage::Found(outcome) => self.answer(session, outcome),
                Stage::Asking(asked) => self.look(session, asked),
                Stage::Transferring(transfer) => self.transfer(session, transfer),
                Stage::Sending(sending) => self.send(session, sending),
                Stage::AwaitingLog(line) => self.log_again(session, line),
            };
            if let Some(next) = step {
                return next;
            }
        }
        Next::Again
    }

    fn read(&mut self, session: &mut GetFileSession) -> Step {
        let unread = session.state.connection.copy_unread(&mut self.unread);
        match parse(unread) {
            Parsed::Request(path) => match self.source.wanted(path) {
                Ok(wanted) => self.find(session, wanted),
                Err(response) => self.answer(session, Err(response)),
            },
            Parsed::Malformed => self.answer(session, Err(Response::Invalid)),
            Parsed::TooLong => {
                session.data.long_line = request_line(unread).to_vec();
                session.data.stage = Stage::SkippingPath;
                None
            }
            // Its end will never come.
            Parsed::Incomplete if session.state.ended && unread.is_empty() => Some(Next::Close),
            Parsed::Incomplete if session.state.ended => self.answer(session, Err(Response::Invalid)),
            Parsed::Incomplete => self.receive(session),
        }
    }

    fn receive(&self, session: &mut GetFileSession) -> Step {
        if !session.state.readable {
            return Some(Next::Wait);
        }
        match session.state.receive(self.now_ns) {
            None => Some(Next::Close),
            Some(0) if !session.state.ended => Some(Next::Wait),
            Some(_) => None,
        }
    }

    /// Looks for a file, once there is room for the connection.
    fn find(&mut self, session: &mut GetFileSession, wanted: Wanted) -> Step {
        session.data.asked_ns.get_or_insert(self.now_ns);
        match session.state.admission {
            Admission::Admitted => {}
            Admission::Awaited { .. } => return Some(Next::Wait),
            Admission::Denied => {
                self.end_unasked(session, Response::Error);
                return None;
            }
        }
        if let Wanted::Cached(path) = wanted {
            return self.ask(session, path);
        }
        if let Some(outcome) = self.source.find_now(&wanted, self.now_ns) {
            return self.answer(session, outcome);
        }
        match self.loaders.submit(Job::Find(session.state.key(), wanted)) {
            Ok(()) => wait_in(session, Stage::AwaitingFile),
            Err(_) => {
                self.stats.overloaded.add(1);
                self.answer(session, Err(Response::Error))
            }
        }
    }

    /// Throws away what is unread, but for what may be the beginning of the request's end: so whoever goes on needs not know more.
    fn skip_path(&mut self, session: &mut GetFileSession) -> Step {
        session.data.stage = Stage::SkippingPath;
        let unread = session.state.connection.copy_unread(&mut self.unread);
        let is_over = unread.windows(END.len()).any(|part| part == END);
        let skipped = unread.len().saturating_sub(END.len() - 1);
        let is_too_much = session.state.connection.slot().progress().consumed as usize >= LINGER_BYTES;
        if is_over || is_too_much || session.state.ended {
            return self.answer(session, Err(Response::Invalid));
        }
        session.keep_reached(skipped, Reached::LongPath);
        session.state.connection.advance(skipped, &[]);
        self.receive(session)
    }

    /// Ends a connection without a whole request: its end did not come in time, or there is no room for it. A turn is to follow.
    pub fn end_unasked(&mut self, session: &mut GetFileSession, response: Response) {
        if response == Response::Error {
            self.service_stats.refused.add(1);
        }
        let _next_step = self.answer(session, Err(response));
    }

    /// Begins to send the response.
    pub fn answer(&mut self, session: &mut GetFileSession, outcome: Outcome) -> Step {
        session.data.asked_ns.get_or_insert(self.now_ns);
        let (response, content, length) = match outcome {
            Ok((content, length)) => (Response::Ok(length), Some(content), length),
            Err(response) => (response, None, 0),
        };
        let mut head = Vec::with_capacity(40);
        response.write_head(&mut head);
        let head_bytes = head.len();
        let outgoing = Outgoing::new(head, 0..length).before_end();
        session.data.stage =
            Stage::Sending(Box::new(Sending { response, head_bytes, outgoing, content, fetching: false }));
        None
    }

    /// Sends as much of the response as the socket takes.
    fn send(&mut self, session: &mut GetFileSession, mut sending: Box<Sending>) -> Step {
        // The budget is for the content: 1 MiB is sent in whole turns, without one more for as many bytes as the head has.
        let mut budget = SENT_BYTES_PER_TURN + sending.head_bytes as u64;
        loop {
            if sending.fetching {
                return wait_in(session, Stage::Sending(sending));
            }
            if sending.outgoing.is_over() {
                return self.complete(session, Sent::of_file(&sending));
            }
            if budget == 0 {
                session.data.stage = Stage::Sending(sending);
                return Some(Next::Again);
            }
            let socket = session.state.connection.as_fd();
            match sending.outgoing.send(socket, sending.content.as_deref(), budget) {
                Moved::Bytes(count) => {
                    budget = budget.saturating_sub(count);
                    session.state.active_ns = self.now_ns;
                }
                Moved::Full => return wait_in(session, Stage::Sending(sending)),
                Moved::Broken => {
                    session.data.stage = Stage::Sending(sending);
                    return Some(Next::Close);
                }
                Moved::Fetch(part) => {
                    let Some(content) = sending.content.clone() else { return Some(Next::Close) };
                    sending.outgoing.fetched(&part);
                    // When all threads have too much to do, this turn waits for the disk.
                    let job = Job::Fetch(session.state.key(), content, part);
                    sending.fetching = self.loaders.submit(job).is_ok();
                }
            }
        }
    }

    /// Counts and logs a response that is sent, and ends the connection.
    pub fn complete(&mut self, session: &mut GetFileSession, sent: Sent) -> Step {
        let took_ns = self.count(session, &sent);
        self.stats.answer_times.record(took_ns, 1);
        let unread = session.state.connection.copy_unread(&mut self.unread);
        let has_cache = self.asker.is_some();
        let logged = self.log.write(&log_entry(session, &sent, unread, took_ns, has_cache));
        let consumed = unread.len();
        session.keep_reached(consumed, Reached::Answer);
        session.state.connection.advance_past(consumed, sent.bytes);
        match logged {
            Ok(()) => Some(session.state.begin_linger(self.now_ns)),
            Err(line) => {
                self.stats.log_waits.add(1);
                self.log_again(session, line)
            }
        }
    }

    fn log_again(&mut self, session: &mut GetFileSession, line: Vec<u8>) -> Step {
        if self.log.write_again(&line).is_err() {
            // It would wait for the end of the stream, which waits for the log.
            net::push(session.state.connection.as_fd());
            self.log.join(session.state.key());
            return wait_in(session, Stage::AwaitingLog(line));
        }
        Some(session.state.begin_linger(self.now_ns))
    }

    /// Counts a response; how long it took, nanoseconds.
    fn count(&self, session: &GetFileSession, sent: &Sent) -> u64 {
        self.stats.answers[sent.response.place()].add(1);
        self.stats.bytes_out.add(sent.bytes);
        monotonic_ns().saturating_sub(session.data.asked_ns.unwrap_or(self.now_ns))
    }

    /// Logs what a connection that is closed right after this leaves unlogged.
    pub fn release(&mut self, session: &mut GetFileSession) {
        self.cancel(session);
        let sent = match std::mem::replace(&mut session.data.stage, Stage::Reading) {
            Stage::Sending(sending) => Sent::of_file(&sending),
            Stage::Transferring(transfer) => Sent::of_transfer(&transfer),
            Stage::AwaitingLog(line) => return self.log.keep(line),
            _ => return,
        };
        let took_ns = self.count(session, &sent);
        let unread = session.state.connection.copy_unread(&mut self.unread);
        self.log.write_last(&log_entry(session, &sent, unread, took_ns, self.asker.is_some()));
    }

    /// The next result of the threads: the session that waits for it, and what it is told.
    pub fn next_done(&mut self) -> Option<Done> {
        let mut done = self.loaders.result()?;
        if let Done::Looked(_, _, folder) = &mut done {
            self.source.renew(folder.take(), self.now_ns);
        }
        Some(done)
    }
}

/// Tells a session what it has waited for.
pub fn tell(session: &mut GetFileSession, outcome: Option<Outcome>) {
    match (&mut session.data.stage, outcome) {
        (stage @ Stage::AwaitingFile, Some(outcome)) => *stage = Stage::Found(outcome),
        (Stage::Sending(sending), None) => sending.fetching = false,
        _ => {}
    }
}

pub fn wait_in(session: &mut GetFileSession, stage: Stage) -> Step {
    session.data.stage = stage;
    Some(Next::Wait)
}

/// The line that a request begins with, as far as it is there.
fn request_line(unread: &[u8]) -> &[u8] {
    unread.split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default()
}

fn log_entry<'a>(
    session: &'a GetFileSession,
    sent: &Sent,
    unread: &'a [u8],
    took_ns: u64,
    has_cache: bool,
) -> Entry<'a> {
    let long = &session.data.long_line;
    Entry {
        address: session.data.peer,
        time: "",
        request: if long.is_empty() { request_line(unread) } else { long },
        status: sent.response.http_status(),
        bytes: sent.bytes.saturating_sub(sent.head_bytes as u64),
        referer: None,
        agent: None,
        duration: Duration::from_nanos(took_ns),
        cache_status: has_cache.then(|| session.data.cache_status.map_or("-", CacheStatus::name)),
    }
}
