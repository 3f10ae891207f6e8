//! From a request to the beginning of its answer.

use std::ops::Range;

use crate::service::http::rules;
use crate::service::http::session::board::Board;
use crate::service::http::session::desk::{Desk, Step};
use crate::service::http::session::guest::{Asked, Guest, Sending, Source, Stage, Then};
use crate::service::http::session::library::{Item, Outcome};
use crate::service::http::session::shelf::Lookup;
use crate::service::http::wire::{
    self, ConnectionField, GeneralFields, Method, PageContent, Request, Status, TargetPath,
};
use crate::service::visit;

const END_OF_HEAD: &[u8] = b"\r\n\r\n";

impl Desk {
    /// Begins to answer a request.
    pub(super) fn answer(&mut self, guest: &mut Guest, request: &Request<'_>, unread: &[u8]) -> Step {
        let since_ns = *guest.asked_ns.get_or_insert(self.now_ns);
        let ends = self.closing || !request.keep_alive;
        let asked = Asked {
            head_bytes: request.head_bytes,
            line: place_in(unread, request.line),
            referer: place_in(unread, request.referer),
            agent: place_in(unread, request.agent),
            status: Status::Ok,
            then: if ends { Then::End } else { Then::Next(request.body_bytes) },
            connection: request.connection(),
            since_ns,
        };
        let path = match TargetPath::parse(request.target) {
            Ok(path) => path,
            Err(status) => return self.refuse(guest, asked, request.method, status),
        };
        let page = Board::page_of(request.target);
        if guest.place != visit::Place::Granted && !page.is_some_and(Board::is_vital) {
            if !self.board.has_room() {
                return self.answer_without_place(guest, asked, request.method);
            }
            guest.place = visit::Place::Granted;
        }
        if let Some(page) = page {
            return self.show(guest, asked, request, unread, page);
        }
        if let Some(outcome) = guest.told.take() {
            return match &*outcome {
                Outcome::Found(item) => self.give(guest, asked, request, item, Source::Own(item.clone())),
                Outcome::Folder => self.redirect(guest, asked, request, &path),
                Outcome::Refused(status) => self.refuse(guest, asked, request.method, *status),
                Outcome::Same => self.refuse(guest, asked, request.method, Status::InternalError),
            };
        }
        self.key.clear();
        self.key.push(if request.accepts_gzip { b'z' } else { b'-' });
        self.key.push(if path.is_directory() { b'/' } else { b'-' });
        self.key.extend_from_slice(path.path());
        match self.shelf.look(&self.key, Self::reader(guest), self.now_ns, &self.librarians) {
            Lookup::AtHand(hold) => {
                let item = self.shelf.item(&hold).clone();
                self.give(guest, asked, request, &item, Source::Shelf(hold))
            }
            Lookup::Awaited => {
                guest.stage = Stage::Awaiting;
                Step::Wait
            }
            Lookup::Overloaded => self.refuse(guest, asked, request.method, Status::Unavailable),
        }
    }

    /// Says that there is no room, as soon as that is known.
    fn answer_without_place(&mut self, guest: &mut Guest, mut asked: Asked, method: Method) -> Step {
        if let visit::Place::Awaited { .. } = guest.place {
            return Step::Wait;
        }
        self.stats.refused.add(1);
        asked.then = Then::End;
        self.refuse(guest, asked, method, Status::Unavailable)
    }

    pub(super) fn general(&self, asked: &Asked) -> GeneralFields<'_> {
        let connection = match asked.then {
            Then::End => ConnectionField::Close,
            Then::Next(_) => asked.connection,
        };
        GeneralFields { date: &self.date.1, connection }
    }

    /// Begins to send a file, or what its conditions make of it.
    fn give(
        &mut self,
        guest: &mut Guest,
        mut asked: Asked,
        request: &Request<'_>,
        item: &Item,
        source: Source,
    ) -> Step {
        let general = self.general(&asked);
        let answer = rules::decide(request.method, &request.conditions, &item.representation, general.date);
        let mut text = std::mem::take(&mut guest.spare);
        let body = answer.write_head(request.method, &item.representation, &general, &mut text);
        asked.status = answer.status();
        let (range, more) = match body {
            wire::Body::Empty => (0..0, Vec::new()),
            wire::Body::File(range) => (range, Vec::new()),
            wire::Body::Multipart(parts) => (0..0, parts),
        };
        guest.stage = Stage::Sending(Box::new(Sending::new(asked, text, source, range, more)));
        Step::Next
    }

    pub(super) fn redirect(
        &mut self,
        guest: &mut Guest,
        mut asked: Asked,
        request: &Request<'_>,
        path: &TargetPath<'_>,
    ) -> Step {
        asked.status = Status::MovedPermanently;
        let mut text = std::mem::take(&mut guest.spare);
        wire::write_redirect(path, request.method, &self.general(&asked), &mut text);
        self.say(guest, asked, text)
    }

    /// Begins to send an error.
    pub(super) fn refuse(
        &mut self,
        guest: &mut Guest,
        mut asked: Asked,
        content: impl Into<PageContent>,
        status: Status,
    ) -> Step {
        asked.status = status;
        let mut text = std::mem::take(&mut guest.spare);
        wire::write_error(status, content.into(), &self.general(&asked), &mut text);
        self.say(guest, asked, text)
    }

    /// Begins to send an error that is the last of this connection; whatever it has sent is thrown away.
    pub(super) fn refuse_all(&mut self, guest: &mut Guest, status: Status, unread: &[u8], line: Range<usize>) {
        let since_ns = *guest.asked_ns.get_or_insert(self.now_ns);
        let (then, connection) = (Then::End, ConnectionField::Close);
        let (head_bytes, referer, agent) = (unread.len(), 0..0, 0..0);
        let asked = Asked { head_bytes, line, referer, agent, status, then, connection, since_ns };
        self.refuse(guest, asked, wire::content_for(unread), status);
    }

    pub(super) fn say(&mut self, guest: &mut Guest, asked: Asked, text: Vec<u8>) -> Step {
        let mut sending = Sending::new(asked, text, Source::Nowhere, 0..0, Vec::new());
        // The page, if there is one, is a body like any other.
        let head = sending.text.windows(END_OF_HEAD.len()).position(|part| part == END_OF_HEAD);
        sending.head_bytes = head.map_or(sending.text.len(), |at| at + END_OF_HEAD.len());
        guest.stage = Stage::Sending(Box::new(sending));
        Step::Next
    }
}

/// Where `part` of `whole` stands in it.
pub(super) fn place_in(whole: &[u8], part: &[u8]) -> Range<usize> {
    if part.is_empty() {
        return 0..0;
    }
    let start = part.as_ptr().addr().wrapping_sub(whole.as_ptr().addr());
    debug_assert!(start + part.len() <= whole.len());
    start..start + part.len()
}
