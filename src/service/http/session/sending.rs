//! Sending an answer: its head, its file, and what comes behind that.

use std::ops::Range;
use std::os::fd::AsFd;

use crate::base::limits::SENT_BYTES_PER_TURN;
use crate::service::http::session::handler::{Handler, Step};
use crate::service::http::session::http_session::{Asked, HttpSession, Sending, Source, Stage};
use crate::service::http::wire::BodyPart;
use crate::service::outgoing::{Moved, Outgoing};

impl Sending {
    /// An answer: `text`, which is its head, then `range` of what `source` has, then `more`.
    #[must_use]
    pub fn new(asked: Asked, text: Vec<u8>, source: Source, range: Range<u64>, more: Vec<BodyPart>) -> Self {
        Sending {
            asked,
            head_bytes: text.len(),
            outgoing: Outgoing::new(text, range),
            source,
            more: more.into_iter(),
            fetching: false,
        }
    }

    /// Whether nothing is left of the text and of the range; then takes up what comes behind them, if anything does.
    fn is_over(&mut self) -> bool {
        while self.outgoing.is_over() {
            match self.more.next() {
                None => return true,
                Some(BodyPart::Text(text)) => self.outgoing.follow_with_text(text),
                Some(BodyPart::File(range)) => self.outgoing.follow_with_range(range),
            }
        }
        false
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
            let socket = session.state.connection.as_fd();
            match sending.outgoing.send(socket, item.map(|item| &item.content), budget) {
                Moved::Bytes(count) => {
                    budget = budget.saturating_sub(count);
                    session.state.active_ns = self.now_ns;
                }
                Moved::Full => return Step::Wait,
                Moved::Broken => return Step::Close,
                Moved::Fetch(part) => {
                    let Some(item) = item.cloned() else { return Step::Close };
                    sending.outgoing.fetched(&part);
                    // When all threads have too much to do, this turn waits for the disk.
                    sending.fetching = self.fetch(session.state.key(), item, part);
                }
            }
        }
    }

    fn end(&mut self, session: &mut HttpSession) -> Step {
        let Stage::Sending(sending) = std::mem::replace(&mut session.data.stage, Stage::ReadingHead) else {
            return Step::Close;
        };
        let Sending { asked, outgoing, source, head_bytes, .. } = *sending;
        self.put_back(source);
        let sent = outgoing.sent();
        session.data.spare = outgoing.into_text();
        session.data.spare.clear();
        self.complete(session, &asked, sent, head_bytes)
    }
}
