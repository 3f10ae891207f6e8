//! Sending: heads and small files from memory, in one call; large files from the kernel's own copy of them.

use std::cell::Cell;
use std::fs::File;
use std::io::IoSlice;
use std::ops::Range;
use std::os::fd::AsFd;
use std::sync::Arc;

use crate::base::limits::SENT_BYTES_PER_TURN;
use crate::ipc::files;
use crate::service::connection_state::ConnectionState;
use crate::service::http::session::handler::{Handler, Step, is_full};
use crate::service::http::session::http_session::{Asked, HttpSession, Sending, Source, Stage};
use crate::service::http::session::served_file::{Content, ServedFile};
use crate::service::http::wire::BodyPart;

/// How much of a file is asked after at once whether it is in memory, and is read if it is not.
const WINDOW: u64 = 1 << 20;

/// What came of sending some of an answer.
enum Moved {
    /// So many bytes.
    Bytes(u64),
    /// The socket takes no more now.
    Full,
    /// The file is to be read first.
    Fetch(Range<u64>),
    /// The connection is broken, or the file shorter than was said.
    Broken,
}

impl Sending {
    /// An answer: `text`, which is its head, then `range` of what `source` has, then `more`.
    #[must_use]
    pub fn new(asked: Asked, text: Vec<u8>, source: Source, range: Range<u64>, more: Vec<BodyPart>) -> Self {
        Sending {
            asked,
            head_bytes: text.len(),
            text,
            text_sent: 0,
            source,
            range,
            more: more.into_iter(),
            sent: 0,
            in_memory_to: Cell::new(0),
            fetching: false,
        }
    }

    /// Whether nothing is left of the text and of the range; then takes up what comes behind them, if anything does.
    fn is_over(&mut self) -> bool {
        while self.text_sent == self.text.len() && self.range.is_empty() {
            match self.more.next() {
                None => return true,
                Some(BodyPart::Text(text)) => (self.text, self.text_sent) = (text, 0),
                Some(BodyPart::File(range)) => {
                    self.range = range;
                    self.in_memory_to.set(0);
                }
            }
        }
        false
    }

    /// Notes that `count` bytes were sent.
    fn advance(&mut self, count: u64) {
        self.sent += count;
        let of_text = usize::try_from(count).unwrap_or(usize::MAX).min(self.text.len() - self.text_sent);
        self.text_sent += of_text;
        self.range.start += count - of_text as u64;
    }
}

impl Handler {
    /// Sends as much of the answer as the socket takes.
    pub(super) fn send(&mut self, session: &mut HttpSession) -> Step {
        let mut budget = SENT_BYTES_PER_TURN;
        loop {
            let Stage::Sending(sending) = &mut session.data.stage else { return Step::Close };
            if sending.fetching {
                return Step::Wait;
            }
            if sending.is_over() {
                return self.end(session);
            }
            if budget == 0 {
                return Step::Yield;
            }
            let item = match &sending.source {
                Source::Nowhere => None,
                Source::Cached(hold) => Some(self.cache.item(hold)),
                Source::Own(item) => Some(item),
            };
            match move_some(&session.state, sending, item, budget) {
                Moved::Bytes(count) => {
                    sending.advance(count);
                    budget = budget.saturating_sub(count);
                    session.state.active_ns = self.now_ns;
                }
                Moved::Full => return Step::Wait,
                Moved::Broken => return Step::Close,
                Moved::Fetch(part) => {
                    let Some(item) = item.cloned() else { return Step::Close };
                    sending.fetching = true;
                    sending.in_memory_to.set(part.end);
                    let count = usize::try_from(part.end - part.start).unwrap_or(usize::MAX);
                    if !self.fetch(session, &item, part.start, count)
                        && let Stage::Sending(sending) = &mut session.data.stage
                    {
                        // Everybody is at work: then this turn waits for the disk.
                        sending.fetching = false;
                    }
                }
            }
        }
    }

    fn end(&mut self, session: &mut HttpSession) -> Step {
        let Stage::Sending(sending) = std::mem::replace(&mut session.data.stage, Stage::ReadingHead) else {
            return Step::Close;
        };
        let Sending { asked, mut text, source, sent, head_bytes, .. } = *sending;
        self.put_back(source);
        text.clear();
        session.data.spare = text;
        self.complete(session, &asked, sent, head_bytes)
    }
}

/// Sends once.
fn move_some(state: &ConnectionState, sending: &Sending, item: Option<&Arc<ServedFile>>, budget: u64) -> Moved {
    let socket = state.connection.as_fd();
    let text = &sending.text[sending.text_sent..];
    let range = sending.range.start..sending.range.end.min(sending.range.start + budget);
    let moved = match item.map(|item| &item.content) {
        Some(Content::Open(_)) if !range.is_empty() && !text.is_empty() => files::send_head(socket, text),
        Some(Content::Open(file)) if !range.is_empty() => match in_memory(file, sending, range) {
            Ok(Range { start, end }) => {
                files::send_file(socket, file, start, usize::try_from(end - start).unwrap_or(usize::MAX))
            }
            Err(part) => return Moved::Fetch(part),
        },
        Some(Content::Bytes(bytes)) => {
            let part = usize::try_from(range.start).ok().zip(usize::try_from(range.end).ok());
            let body = part.and_then(|(start, end)| bytes.get(start..end)).unwrap_or_default();
            files::send_parts(socket, &[IoSlice::new(text), IoSlice::new(body)])
        }
        _ => files::send_parts(socket, &[IoSlice::new(text)]),
    };
    match moved {
        Ok(0) => Moved::Broken,
        Ok(count) => Moved::Bytes(count as u64),
        Err(error) if is_full(&error) => Moved::Full,
        Err(_) => Moved::Broken,
    }
}

/// As much of `range` as can be sent without waiting for the disk; or what is to be read first.
fn in_memory(file: &File, sending: &Sending, range: Range<u64>) -> Result<Range<u64>, Range<u64>> {
    if range.start >= sending.in_memory_to.get() {
        let window = range.start..sending.range.end.min(range.start + WINDOW);
        if !files::is_in_memory(file, window.start) || !files::is_in_memory(file, window.end - 1) {
            return Err(window);
        }
        sending.in_memory_to.set(window.end);
    }
    Ok(range.start..range.end.min(sending.in_memory_to.get()))
}
