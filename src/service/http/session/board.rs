//! The board: what can be seen of the instance, by people and by programs, below `/_vault/`.

use std::io::IoSlice;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;

use crate::base::limits::{STREAM_SHARE, STREAM_UNSENT_BYTES};
use crate::ipc::files;
use crate::service::http::session::desk::{Desk, Step, is_full};
use crate::service::http::session::guest::{Asked, Guest, Stage, Stream, Then};
use crate::service::http::wire::{self, Generated, Method, Request, Status, TargetPath};
use crate::service::visit::Fate;
use crate::status::{self, Sample, Watcher};
use crate::store::connection::Service;
use crate::store::instance::Instance;
use crate::store::instance::stats::WebStats;

/// What all of its addresses begin with.
const ROOT: &[u8] = b"/_vault";
/// What a stream of events is called.
const EVENTS: &str = "text/event-stream";
/// How often those who watch are told what happened.
const EVENT_NS: u64 = 1_000_000_000;

/// What is on the board, and how many watch it.
pub struct Board {
    instance: &'static Instance,
    /// Whether others than this machine may look.
    public: bool,
    stats: &'static WebStats,
    watcher: Option<Watcher>,
    next_event_ns: u64,
}

impl Board {
    /// The board of `instance`.
    #[must_use]
    pub fn new(instance: &'static Instance, public: bool, stats: &'static WebStats) -> Self {
        Board { instance, public, stats, watcher: None, next_event_ns: 0 }
    }

    /// Which page of the board a target means, without the query, if any.
    #[must_use]
    pub fn page_of(target: &[u8]) -> Option<&[u8]> {
        let page = target.strip_prefix(ROOT)?;
        let page = page.split(|byte| *byte == b'?').next().unwrap_or_default();
        (page.is_empty() || page.starts_with(b"/")).then_some(page)
    }

    /// Whether a page says how the instance is, so that it is answered also when there is no room for anything else.
    #[must_use]
    pub fn is_vital(page: &[u8]) -> bool {
        matches!(page, b"/health" | b"/ready")
    }

    /// Whether there are fewer connections of HTTP than there may be.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.instance.occupancy(Service::Web).excess() == 0
    }

    /// Whether no more streams may begin: they never end by themselves, and each takes a place.
    fn has_enough_streams(&self) -> bool {
        let streams: u64 = self.instance.workers().iter().map(|row| row.stats.web.streams.get()).sum();
        streams >= (self.instance.occupancy(Service::Web).allowed / STREAM_SHARE).max(1)
    }

    /// Somebody watches no more.
    pub fn end_stream(&mut self) {
        let left = self.stats.streams.get().saturating_sub(1);
        self.stats.streams.set(left);
        if left == 0 {
            self.watcher = None;
        }
    }

    /// Status, type and text of a page.
    fn page(&self, page: &[u8]) -> Option<(Status, &'static str, String)> {
        const TEXT: &str = "text/plain; charset=utf-8";
        let sample = || Sample::take(self.instance);
        Some(match page {
            b"/stats.json" => (Status::Ok, "application/json", sample().json()),
            b"/metrics" => (Status::Ok, "text/plain; version=0.0.4; charset=utf-8", status::metrics(&sample())),
            b"/health" => (Status::Ok, TEXT, "alive\n".to_owned()),
            b"/ready" => match status::readiness(self.instance) {
                Ok(()) => (Status::Ok, TEXT, "ready\n".to_owned()),
                Err(reasons) => {
                    let reasons = reasons.iter().map(|reason| format!("not ready: {reason}\n")).collect();
                    (Status::Unavailable, TEXT, reasons)
                }
            },
            _ => return None,
        })
    }
}

impl Desk {
    /// Begins to answer a request for a page of the board.
    pub(super) fn show(
        &mut self,
        guest: &mut Guest,
        mut asked: Asked,
        request: &Request<'_>,
        unread: &[u8],
        page: &[u8],
    ) -> Step {
        let method = request.method;
        let near = guest.peer.to_canonical().is_loopback() && is_local(request.authority);
        if !self.board.public && !near {
            return self.refuse(guest, asked, method, Status::Forbidden);
        }
        let policy;
        let (generated, text);
        match page {
            b"" => match TargetPath::parse(request.target) {
                Ok(path) => return self.redirect(guest, asked, request, &path),
                Err(status) => return self.refuse(guest, asked, method, status),
            },
            b"/events" if method == Method::Get && self.board.has_enough_streams() => {
                self.bounds.streams_refused.add(1);
                return self.refuse(guest, asked, method, Status::Unavailable);
            }
            b"/events" if method == Method::Get => {
                return self.begin_stream(guest, asked, &unread[..request.head_bytes]);
            }
            b"/events" => {
                asked.then = Then::End;
                generated = Generated { status: Status::Ok, content_type: EVENTS, fields: "", text: None };
            }
            b"/" => {
                policy = format!("Content-Security-Policy: {}\r\n", status::DASHBOARD_POLICY);
                let (content_type, text) = ("text/html; charset=utf-8", Some(status::DASHBOARD));
                generated = Generated { status: Status::Ok, content_type, fields: &policy, text };
            }
            page => match self.board.page(page) {
                None => return self.refuse(guest, asked, method, Status::NotFound),
                Some((status, content_type, page)) => {
                    text = page;
                    generated = Generated { status, content_type, fields: "", text: Some(&text) };
                }
            },
        }
        asked.status = generated.status;
        let mut out = std::mem::take(&mut guest.spare);
        wire::write_generated(&generated, method, &self.general(&asked), &mut out);
        self.say(guest, asked, out)
    }

    /// Begins a stream of events (the `text/event-stream` of the HTML standard).
    fn begin_stream(&mut self, guest: &mut Guest, mut asked: Asked, head: &[u8]) -> Step {
        asked.then = Then::End;
        // Proxies are asked not to collect what is to be seen at once.
        let fields = "X-Accel-Buffering: no\r\n";
        let generated = Generated { status: Status::Ok, content_type: EVENTS, fields, text: None };
        let mut text = Vec::new();
        wire::write_generated(&generated, Method::Get, &self.general(&asked), &mut text);
        text.extend_from_slice(b"retry: 1000\n\n");
        if self.board.watcher.is_none() {
            self.board.watcher = Some(Watcher::new(self.board.instance));
            self.board.next_event_ns = self.now_ns + EVENT_NS;
        }
        self.board.stats.streams.add(1);
        guest.stage = Stage::Streaming(Box::new(Stream::new(asked, head, text)));
        Step::Next
    }

    /// The next event, when it is time for it and somebody watches.
    pub fn next_event(&mut self) -> Option<Vec<u8>> {
        let board = &mut self.board;
        let watcher = board.watcher.as_mut().filter(|_| self.now_ns >= board.next_event_ns)?;
        board.next_event_ns = self.now_ns + EVENT_NS;
        Some(format!("data: {}\n\n", watcher.look(board.instance).json()).into_bytes())
    }

    /// Sends what there is to be seen.
    pub(super) fn stream(&mut self, guest: &mut Guest) -> Step {
        // Whatever the client still says is thrown away; what counts is its end.
        let Stage::Streaming(stream) = &mut guest.stage else { return Step::Over };
        let heard = if guest.visit.readable && !guest.visit.ended {
            guest.visit.discard(&mut stream.input)
        } else {
            Fate::Stays
        };
        match heard {
            Fate::Stays | Fate::Recalled => {}
            Fate::Over => return Step::Over,
            Fate::Flooded => return Step::Flooded,
        }
        if guest.visit.ended || self.closing || stream.text.len() - stream.text_sent > STREAM_UNSENT_BYTES {
            return Step::Over;
        }
        while stream.text_sent < stream.text.len() {
            let part = IoSlice::new(&stream.text[stream.text_sent..]);
            match files::send_parts(guest.visit.connection.as_fd(), &[part]) {
                Ok(count) => {
                    stream.text_sent += count;
                    guest.visit.active_ns = self.now_ns;
                }
                Err(error) if is_full(&error) => break,
                Err(_) => return Step::Over,
            }
        }
        if heard == Fate::Recalled { Step::Later } else { Step::Wait }
    }
}

/// Whether a client on this machine can have meant this machine by `authority`, host and port: an address, `localhost`, or
/// nothing. A browser that asks here under any other name is led by a page of somebody who has that name point here (DNS
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

    #[test]
    fn pages_of_the_board_are_told_from_files() {
        assert_eq!(Board::page_of(b"/_vault/ready?x"), Some(&b"/ready"[..]));
        assert_eq!(Board::page_of(b"/_vault?x"), Some(&b""[..]));
        assert_eq!(Board::page_of(b"/_vaults"), None);
        assert_eq!(Board::page_of(b"/"), None);
    }
}
