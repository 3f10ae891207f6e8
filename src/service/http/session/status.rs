//! Serving the pages that show the instance, and a stream of events.

use std::io::IoSlice;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;

use crate::base::limits::STREAM_UNSENT_BYTES;
use crate::ipc::files;
use crate::service::connection_state::Next;
use crate::service::http::session::handler::{Handler, Step, is_full};
use crate::service::http::session::http_session::{Asked, HttpSession, Stage, Stream, Then};
use crate::service::http::wire::{self, Generated, Method, Request, Status, TargetPath};

/// The media type of a stream of events.
const EVENTS: &str = "text/event-stream";
/// How often the readers of the stream are told what happened.
const EVENT_NS: u64 = 1_000_000_000;

impl Handler {
    /// Begins to answer a request for one of the pages.
    pub(super) fn show(
        &mut self,
        session: &mut HttpSession,
        mut asked: Asked,
        request: &Request<'_>,
        unread: &[u8],
        page: &[u8],
    ) -> Step {
        let method = request.method;
        let near = session.data.peer.to_canonical().is_loopback() && is_local(request.authority);
        if !self.status.public && !near {
            return self.refuse(session, asked, method, Status::Forbidden);
        }
        let (generated, page_found, policy);
        match page {
            b"" => match TargetPath::parse(request.target) {
                Ok(path) => return self.redirect(session, asked, request, &path),
                Err(status) => return self.refuse(session, asked, method, status),
            },
            b"/events" if method == Method::Get && self.status.has_enough_streams() => {
                self.bounds.streams_refused.add(1);
                return self.refuse(session, asked, method, Status::Unavailable);
            }
            b"/events" if method == Method::Get => {
                return self.begin_stream(session, asked, &unread[..request.head_bytes]);
            }
            b"/events" => {
                asked.then = Then::End;
                generated = Generated { status: Status::Ok, content_type: EVENTS, fields: "", text: None };
            }
            page => match self.status.pages.page(page) {
                None => return self.refuse(session, asked, method, Status::NotFound),
                Some(found) => {
                    page_found = found;
                    policy = page_found.policy.map(|policy| format!("Content-Security-Policy: {policy}\r\n"));
                    let status = if page_found.is_well { Status::Ok } else { Status::Unavailable };
                    let (content_type, text) = (page_found.media_type, Some(page_found.text.as_str()));
                    generated = Generated { status, content_type, fields: policy.as_deref().unwrap_or_default(), text };
                }
            },
        }
        asked.status = generated.status;
        let mut out = std::mem::take(&mut session.data.spare);
        wire::write_generated(&generated, method, &self.general(&asked), &mut out);
        self.say(session, asked, out)
    }

    /// Begins a stream of events (the `text/event-stream` of the HTML standard).
    fn begin_stream(&mut self, session: &mut HttpSession, mut asked: Asked, head: &[u8]) -> Step {
        asked.then = Then::End;
        // Proxies are asked not to collect what is to be seen at once.
        let fields = "X-Accel-Buffering: no\r\n";
        let generated = Generated { status: Status::Ok, content_type: EVENTS, fields, text: None };
        let mut text = Vec::new();
        wire::write_generated(&generated, Method::Get, &self.general(&asked), &mut text);
        text.extend_from_slice(b"retry: 1000\n\n");
        if self.status.stats.streams.get() == 0 {
            self.status.pages.watch();
            self.status.next_event_ns = self.now_ns + EVENT_NS;
        }
        self.status.stats.streams.add(1);
        session.data.stage = Stage::Streaming(Box::new(Stream::new(asked, head, text)));
        Step::Continue
    }

    /// What is sent to all streams, when it is time for it and there are any.
    pub(super) fn next_event(&mut self) -> Option<Vec<u8>> {
        let status = &mut self.status;
        if status.stats.streams.get() == 0 || self.now_ns < status.next_event_ns {
            return None;
        }
        status.next_event_ns = self.now_ns + EVENT_NS;
        Some(format!("data: {}\n\n", status.pages.events()).into_bytes())
    }

    /// Sends what there is to be seen.
    pub(super) fn stream(&mut self, session: &mut HttpSession) -> Step {
        // Whatever the client still says is thrown away; what counts is its end.
        let Stage::Streaming(stream) = &mut session.data.stage else { return Step::Close };
        let heard = if session.state.readable && !session.state.ended {
            session.state.discard(&mut stream.input)
        } else {
            Next::Wait
        };
        match heard {
            Next::Wait | Next::Again => {}
            Next::Close => return Step::Close,
            Next::CloseFlooding => return Step::CloseFlooding,
        }
        if session.state.ended || self.closing || stream.text.len() - stream.text_sent > STREAM_UNSENT_BYTES {
            return Step::Close;
        }
        while stream.text_sent < stream.text.len() {
            let part = IoSlice::new(&stream.text[stream.text_sent..]);
            match files::send_parts(session.state.connection.as_fd(), &[part]) {
                Ok(count) => {
                    stream.text_sent += count;
                    session.state.active_ns = self.now_ns;
                }
                Err(error) if is_full(&error) => break,
                Err(_) => return Step::Close,
            }
        }
        if heard == Next::Again { Step::Yield } else { Step::Wait }
    }
}

/// Whether a client on this machine can have meant this machine by `authority`, host and port: an address, `localhost`, or
/// nothing. A browser that asks here under any other name follows a page whose author makes that name point here (DNS
/// rebinding), to read what only this machine may see.
fn is_local(authority: &[u8]) -> bool {
    let Ok(authority) = str::from_utf8(authority) else { return false };
    let port_at = authority.rfind(':').filter(|&at| !authority[at..].contains(']'));
    let host = &authority[..port_at.unwrap_or(authority.len())];
    let literal = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    host.is_empty()
        || host.eq_ignore_ascii_case("localhost")
        || host.parse::<Ipv4Addr>().is_ok()
        || literal.is_some_and(|host| host.parse::<Ipv6Addr>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_anybody_can_have_is_not_local() {
        for local in
            ["", "localhost", "LocalHost:8080", "127.0.0.1", "127.0.0.1:8080", "[::1]", "[::1]:8080", "192.0.2.7:80"]
        {
            assert!(is_local(local.as_bytes()), "{local}");
        }
        for other in
            ["vault.example", "localhost.example:8080", "127.0.0.1.example", "[::1].example", "::1:8080:x", "127.1"]
        {
            assert!(!is_local(other.as_bytes()), "{other}");
        }
        assert!(!is_local(b"\xff"));
    }
}
