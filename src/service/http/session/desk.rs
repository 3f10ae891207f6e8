//! The desk: one turn of one connection of the web, from the bytes that came to the bytes that go.

use std::io;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use crate::base::config;
use crate::base::limits::{HTTP_STEPS_PER_TURN, RECEIVE_BYTES};
use crate::service::http::session::Librarians;
use crate::service::http::session::answer::place_in;
use crate::service::http::session::board::Board;
use crate::service::http::session::guest::{Asked, Guest, Sending, Source, Stage, Then};
use crate::service::http::session::library::{Done, Item, Job};
use crate::service::http::session::lines::{self, Lines};
use crate::service::http::session::shelf::{News, Reader, Shelf};
use crate::service::http::wire::{self, HttpDate, Rejection, Status};
use crate::service::visit::{Fate, Parting};
use crate::store::access_log;
use crate::store::instance::stats::{BoundStats, WebStats, WorkerStats};

/// What a step of a connection's turn leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The next step.
    Next,
    /// Waiting for the socket, or for somebody.
    Wait,
    /// The turn of the others.
    Later,
    /// All is said.
    Part,
    /// The connection is broken, or of no use any more.
    Over,
    /// Its client sends without end what nobody wants.
    Flooded,
}

/// Serves connections of the web.
pub struct Desk {
    pub(super) shelf: Shelf,
    /// The threads that find files.
    pub librarians: Librarians,
    pub(super) lines: Lines,
    pub(super) stats: &'static WebStats,
    pub(super) bounds: &'static BoundStats,
    /// Nanoseconds of the monotonic clock.
    pub(super) now_ns: u64,
    pub(super) board: Board,
    /// Whether each connection ends with its next answer.
    pub(super) closing: bool,
    /// The second since 1970, and its text.
    pub(super) date: (u64, HttpDate),
    /// What was received, out of shared memory.
    unread: Option<Box<[u8; RECEIVE_BYTES]>>,
    /// A key that is looked for.
    pub(super) key: Vec<u8>,
}

impl Desk {
    /// A desk before its first connection.
    #[must_use]
    pub fn new(
        settings: &config::Http,
        librarians: Librarians,
        log: access_log::Handle,
        board: Board,
        stats: &'static WorkerStats,
    ) -> Self {
        Desk {
            shelf: Shelf::new(settings.cache_bytes, &stats.web),
            librarians,
            lines: Lines::new(log, &stats.bounds),
            stats: &stats.web,
            bounds: &stats.bounds,
            now_ns: 0,
            board,
            closing: false,
            date: (0, HttpDate::of(UNIX_EPOCH)),
            unread: Some(Box::new([0; RECEIVE_BYTES])),
            key: Vec::new(),
        }
    }

    /// Sets the time of this turn of the loop.
    pub fn set_time(&mut self, now_ns: u64, since_1970: Duration) {
        self.now_ns = now_ns;
        self.lines.set_time(now_ns, since_1970.as_millis().try_into().unwrap_or(u64::MAX));
        if self.date.0 != since_1970.as_secs() {
            self.date = (since_1970.as_secs(), HttpDate::of(UNIX_EPOCH + since_1970));
        }
    }

    /// Ends each connection with its next answer.
    pub fn begin_to_close(&mut self) {
        self.closing = true;
    }

    /// One turn of `guest`.
    pub fn turn(&mut self, guest: &mut Guest) -> Fate {
        if let Parting::Lingering(budget) = guest.parting {
            return guest.linger(budget);
        }
        for _ in 0..HTTP_STEPS_PER_TURN {
            let step = match &guest.stage {
                Stage::Listening => self.listen(guest),
                Stage::Awaiting => Step::Wait,
                Stage::Sending(_) => self.send(guest),
                Stage::Unlogged { .. } => self.log_again(guest),
                Stage::Skipping(_) => self.skip(guest),
                Stage::Streaming(_) => self.stream(guest),
            };
            match step {
                Step::Next => {}
                Step::Wait => return Fate::Stays,
                Step::Later => break,
                Step::Part => return guest.part(self.now_ns),
                Step::Over => return Fate::Over,
                Step::Flooded => return Fate::Flooded,
            }
        }
        Fate::Recalled
    }

    /// Reads the next request, if it is there.
    fn listen(&mut self, guest: &mut Guest) -> Step {
        if guest.parting == Parting::AfterSending {
            return Step::Part;
        }
        let Some(mut buffer) = self.unread.take() else { return Step::Over };
        let unread = guest.connection.copy_unread(&mut buffer);
        let step = self.read_request(guest, unread);
        self.unread = Some(buffer);
        step.unwrap_or_else(|| self.receive(guest))
    }

    /// Begins to answer the request that `unread` begins with; `None` when it is not whole.
    fn read_request(&mut self, guest: &mut Guest, unread: &[u8]) -> Option<Step> {
        if unread.is_empty() {
            guest.partial_since_ns = None;
            return None;
        }
        match wire::parse(unread) {
            Ok(Some(request)) => {
                guest.partial_since_ns = None;
                Some(self.answer(guest, &request, unread))
            }
            Ok(None) => {
                guest.partial_since_ns.get_or_insert(self.now_ns);
                None
            }
            Err(Rejection { status, line }) => {
                let line = place_in(unread, line);
                self.refuse_all(guest, status, unread, line);
                Some(Step::Next)
            }
        }
    }

    fn receive(&mut self, guest: &mut Guest) -> Step {
        if guest.ended {
            return Step::Over;
        }
        if !guest.readable {
            return Step::Wait;
        }
        match guest.receive(self.now_ns) {
            None => Step::Over,
            Some(0) if !guest.ended => Step::Wait,
            Some(_) => Step::Next,
        }
    }

    pub(super) fn reader(guest: &Guest) -> Reader {
        Reader { slot: guest.connection.index(), generation: guest.generation }
    }

    /// Ends a connection with a status although there is no whole request: its end did not come in time, or there is no room for
    /// the connection. A turn is to follow.
    pub fn end_unasked(&mut self, guest: &mut Guest, status: Status) {
        guest.partial_since_ns = None;
        let Some(mut buffer) = self.unread.take() else { return };
        let unread = guest.connection.copy_unread(&mut buffer);
        self.refuse_all(guest, status, unread, 0..0);
        self.unread = Some(buffer);
    }

    /// Throws away a body.
    fn skip(&mut self, guest: &mut Guest) -> Step {
        let Stage::Skipping(left) = &mut guest.stage else { return Step::Over };
        let there = guest.visit.connection.unread();
        let now = usize::try_from(*left).unwrap_or(usize::MAX).min(there);
        *left -= now as u64;
        let left = *left;
        guest.keep_body_left(now, left);
        guest.connection.advance(now, &[]);
        if left == 0 {
            guest.partial_since_ns = None;
            guest.stage = Stage::Listening;
            return Step::Next;
        }
        if self.closing {
            return Step::Part;
        }
        guest.partial_since_ns.get_or_insert(self.now_ns);
        self.receive(guest)
    }

    /// Counts and logs an answer that is sent.
    pub(super) fn complete(&mut self, guest: &mut Guest, asked: &Asked, sent: u64, answer_head: usize) -> Step {
        let took_ns = lines::since(asked.since_ns);
        self.stats.answers[lines::place_of(asked.status)].add(1);
        self.stats.bytes_out.add(sent);
        self.stats.answer_times.record(took_ns, 1);
        let outcome = lines::Outcome { body_bytes: sent.saturating_sub(answer_head as u64), took_ns };
        let Some(mut buffer) = self.unread.take() else { return Step::Over };
        let head = guest.connection.copy_unread(&mut buffer);
        let logged = self.lines.write(guest, head, asked, outcome);
        self.unread = Some(buffer);
        guest.asked_ns = None;
        guest.has_asked = true;
        let head_bytes = asked.head_bytes.min(guest.connection.unread());
        if let Then::Next(body @ 1..) = asked.then {
            guest.keep_body_left(head_bytes, body);
        }
        guest.connection.advance_past(head_bytes, sent);
        match logged {
            Ok(()) => Self::go_on(guest, asked.then),
            Err(line) => {
                self.stats.log_waits.add(1);
                guest.stage = Stage::Unlogged { line, then: asked.then };
                self.lines.join(Self::reader(guest));
                Step::Wait
            }
        }
    }

    fn go_on(guest: &mut Guest, then: Then) -> Step {
        match then {
            Then::End => {
                guest.stage = Stage::Listening;
                Step::Part
            }
            Then::Next(0) => {
                guest.stage = Stage::Listening;
                Step::Next
            }
            Then::Next(body) => {
                guest.stage = Stage::Skipping(body);
                Step::Next
            }
        }
    }

    fn log_again(&mut self, guest: &mut Guest) -> Step {
        let Stage::Unlogged { line, then } = &guest.stage else { return Step::Over };
        let then = *then;
        if self.lines.write_again(line).is_err() {
            self.lines.join(Self::reader(guest));
            return Step::Wait;
        }
        Self::go_on(guest, then)
    }

    /// Connections that are to have a turn, since there is room in the access log again, or would be.
    pub fn unlogged(&mut self) -> impl Iterator<Item = Reader> + use<> {
        self.lines.take_waiting().into_iter()
    }

    /// What the library has done: who is to have a turn for it, and what to tell them.
    pub fn finding(&mut self) -> Option<(Vec<Reader>, Option<News>)> {
        Some(match self.librarians.finding()? {
            Done::Looked(finding) => {
                let (readers, news) = self.shelf.take_in(finding);
                (readers, Some(news))
            }
            Done::Fetched(reader) => (vec![reader], None),
        })
    }

    /// Tells a connection what it has waited for.
    pub fn tell(guest: &mut Guest, news: Option<&News>) {
        match (&mut guest.stage, news) {
            (Stage::Awaiting, Some(news)) => {
                guest.stage = Stage::Listening;
                guest.told = match news {
                    News::Gone => None,
                    News::Outcome(outcome) => Some(outcome.clone()),
                };
            }
            (Stage::Sending(sending), None) => sending.fetching = false,
            _ => {}
        }
    }

    /// Lets go of whatever the connection holds: it is over, perhaps in the middle of an answer.
    pub fn let_go(&mut self, guest: &mut Guest) {
        match std::mem::replace(&mut guest.stage, Stage::Listening) {
            Stage::Sending(sending) => {
                let Sending { asked, source, sent, head_bytes, .. } = *sending;
                self.put_back(source);
                if let Some(mut buffer) = self.unread.take() {
                    let head = guest.connection.copy_unread(&mut buffer);
                    self.log_last(guest, head, &asked, sent, head_bytes);
                    self.unread = Some(buffer);
                }
            }
            Stage::Unlogged { line, .. } => self.lines.keep(line),
            Stage::Streaming(stream) => {
                self.board.end_stream();
                let sent = stream.sent + stream.text_sent as u64;
                self.log_last(guest, &stream.head, &stream.asked, sent, 0);
            }
            _ => {}
        }
    }

    /// Says, now and then, that lines of the access log are dropped; whether those who wait for it have waited long enough.
    pub fn see_to_lines(&mut self) -> bool {
        self.lines.report();
        self.lines.is_wait_over()
    }

    /// Counts and logs an answer of which no more can be sent.
    fn log_last(&mut self, guest: &Guest, head: &[u8], asked: &Asked, sent: u64, head_bytes: usize) {
        self.stats.answers[lines::place_of(asked.status)].add(1);
        self.stats.bytes_out.add(sent);
        let body_bytes = sent.saturating_sub(head_bytes as u64);
        self.lines.write_last(guest, head, asked, lines::Outcome { body_bytes, took_ns: lines::since(asked.since_ns) });
    }

    pub(super) fn put_back(&mut self, source: Source) {
        if let Source::Shelf(hold) = source {
            self.shelf.put_back(hold);
        }
    }

    /// Has the library read a part of a file; `false` when it has too much to do.
    pub(super) fn fetch(&mut self, guest: &Guest, item: &Arc<Item>, offset: u64, count: usize) -> bool {
        let reader = Self::reader(guest);
        self.librarians.submit(Job::Fetch { item: item.clone(), offset, count, reader }).is_ok()
    }

    /// Writes what was logged to the file.
    pub fn finish(self) {
        self.lines.finish();
    }
}

/// Whether a socket only takes no more now.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
