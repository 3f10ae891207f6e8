//! From a request to the beginning of its answer.

use std::ops::Range;

use crate::service::connection_state::Admission;
use crate::service::http::rules;
use crate::service::http::session::file_cache::Lookup;
use crate::service::http::session::handler::{Handler, Step};
use crate::service::http::session::http_session::{Asked, HttpSession, Sending, Source, Stage, Then, place_in};
use crate::service::http::session::served_file::{LoadOutcome, ServedFile};
use crate::service::http::session::status_routes::StatusRoutes;
use crate::service::http::wire::{
    self, ConnectionField, GeneralFields, Method, PageContent, Request, Status, TargetPath,
};

const END_OF_HEAD: &[u8] = b"\r\n\r\n";

impl Handler {
    /// Begins to answer a request.
    pub(super) fn answer(&mut self, session: &mut HttpSession, request: &Request<'_>, unread: &[u8]) -> Step {
        let since_ns = *session.data.asked_ns.get_or_insert(self.now_ns);
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
            Err(status) => return self.refuse(session, asked, request.method, status),
        };
        let page = StatusRoutes::page_of(request.target);
        if session.state.admission != Admission::Admitted && !page.is_some_and(|page| self.status.pages.is_vital(page))
        {
            if !self.status.has_room() {
                return self.answer_without_place(session, asked, request.method);
            }
            session.state.admission = Admission::Admitted;
        }
        if let Some(page) = page {
            return self.show(session, asked, request, unread, page);
        }
        if let Some(outcome) = session.data.loaded.take() {
            return match &*outcome {
                LoadOutcome::Found(item) => self.give(session, asked, request, item, Source::Own(item.clone())),
                LoadOutcome::Folder => self.redirect(session, asked, request, &path),
                LoadOutcome::Refused(status) => self.refuse(session, asked, request.method, *status),
                LoadOutcome::Same => self.refuse(session, asked, request.method, Status::InternalError),
            };
        }
        self.key.clear();
        self.key.push(if request.accepts_gzip { b'z' } else { b'-' });
        self.key.push(if path.is_directory() { b'/' } else { b'-' });
        self.key.extend_from_slice(path.path());
        match self.cache.look(&self.key, session.state.key(), self.now_ns, &self.loaders) {
            Lookup::Cached(hold) => {
                let item = self.cache.item(&hold).clone();
                self.give(session, asked, request, &item, Source::Cached(hold))
            }
            Lookup::Awaited => {
                session.data.stage = Stage::AwaitingFile;
                Step::Wait
            }
            Lookup::Overloaded => self.refuse(session, asked, request.method, Status::Unavailable),
        }
    }

    /// Says that there is no room, as soon as that is known.
    fn answer_without_place(&mut self, session: &mut HttpSession, mut asked: Asked, method: Method) -> Step {
        if let Admission::Awaited { .. } = session.state.admission {
            return Step::Wait;
        }
        self.count_refused();
        asked.then = Then::End;
        self.refuse(session, asked, method, Status::Unavailable)
    }

    /// Counts a connection for which there is no room.
    pub fn count_refused(&self) {
        self.service_stats.refused.add(1);
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
        session: &mut HttpSession,
        mut asked: Asked,
        request: &Request<'_>,
        item: &ServedFile,
        source: Source,
    ) -> Step {
        let general = self.general(&asked);
        let answer = rules::decide(request.method, &request.conditions, &item.representation, general.date);
        let mut text = std::mem::take(&mut session.data.spare);
        let body = answer.write_head(request.method, &item.representation, &general, &mut text);
        asked.status = answer.status();
        let (range, more) = match body {
            wire::Body::Empty => (0..0, Vec::new()),
            wire::Body::File(range) => (range, Vec::new()),
            wire::Body::Multipart(parts) => (0..0, parts),
        };
        session.data.stage = Stage::Sending(Box::new(Sending::new(asked, text, source, range, more)));
        Step::Continue
    }

    pub(super) fn redirect(
        &mut self,
        session: &mut HttpSession,
        mut asked: Asked,
        request: &Request<'_>,
        path: &TargetPath<'_>,
    ) -> Step {
        asked.status = Status::MovedPermanently;
        let mut text = std::mem::take(&mut session.data.spare);
        wire::write_redirect(path, request.method, &self.general(&asked), &mut text);
        self.say(session, asked, text)
    }

    /// Begins to send an error.
    pub(super) fn refuse(
        &mut self,
        session: &mut HttpSession,
        mut asked: Asked,
        content: impl Into<PageContent>,
        status: Status,
    ) -> Step {
        asked.status = status;
        let mut text = std::mem::take(&mut session.data.spare);
        wire::write_error(status, content.into(), &self.general(&asked), &mut text);
        self.say(session, asked, text)
    }

    /// Begins to send an error that is the last of this connection; whatever it has sent is thrown away.
    pub(super) fn refuse_all(&mut self, session: &mut HttpSession, status: Status, unread: &[u8], line: Range<usize>) {
        let since_ns = *session.data.asked_ns.get_or_insert(self.now_ns);
        let (then, connection) = (Then::End, ConnectionField::Close);
        let (head_bytes, referer, agent) = (unread.len(), 0..0, 0..0);
        let asked = Asked { head_bytes, line, referer, agent, status, then, connection, since_ns };
        self.refuse(session, asked, wire::content_for(unread), status);
    }

    pub(super) fn say(&mut self, session: &mut HttpSession, asked: Asked, text: Vec<u8>) -> Step {
        // The page, if there is one, is a body like any other.
        let head = text.windows(END_OF_HEAD.len()).position(|part| part == END_OF_HEAD);
        let head_bytes = head.map_or(text.len(), |at| at + END_OF_HEAD.len());
        let sending = Sending { head_bytes, ..Sending::new(asked, text, Source::Nowhere, 0..0, Vec::new()) };
        session.data.stage = Stage::Sending(Box::new(sending));
        Step::Continue
    }
}
