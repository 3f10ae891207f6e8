//! HTTP as the event loop sees it.

use std::io;

use crate::base::config::Settings;
use crate::base::limits::MAX_WAITING_FILES;
use crate::base::time::{is_over, nanoseconds};
use crate::service::connection_state::{Admission, ConnectionState, Next};
use crate::service::entry::Context;
use crate::service::http::session::file_loader::FileLoader;
use crate::service::http::session::handler::Handler;
use crate::service::http::session::http_session::{HttpData, HttpSession, Stage};
use crate::service::http::session::status_routes::StatusRoutes;
use crate::service::http::wire::Status;
use crate::service::interface::{Departure, Now, Origin, Service, Silence, Silent};
use crate::service::pool::Pool;
use crate::service::sessions::Sessions;
use crate::store::instance::Instance;
use crate::store::instance::stats::WorkerStats;

const SECOND_NS: u64 = 1_000_000_000;

/// HTTP in one worker.
pub struct HttpService {
    handler: Handler,
    instance: &'static Instance,
    settings: &'static Settings,
    stats: &'static WorkerStats,
}

impl HttpService {
    /// HTTP of one worker.
    ///
    /// # Errors
    /// No thread can be had, or there is no access log.
    pub fn open(context: Context) -> io::Result<HttpService> {
        let Context { service, worker, instance, settings, access_log, status_pages, wake, .. } = context;
        let (http, row) = (&settings.http, &instance.workers()[worker]);
        let loader = FileLoader::new(http.www.clone());
        let loaders =
            Pool::start("vault-files", http.threads, MAX_WAITING_FILES, move |job| loader.run(job), move || wake())?;
        let log = access_log.ok_or_else(|| io::Error::other("HTTP needs an access log"))?;
        let status = StatusRoutes::new(status_pages(instance), service, instance, http.status_public, &row.stats.web);
        let stats = (&row.stats, &row.stats.services[service.index()]);
        let handler = Handler::new(http, loaders, log, status, stats);
        Ok(HttpService { handler, instance, settings, stats: &row.stats })
    }

    /// Schedules the sessions that wait for room in the access log.
    fn schedule_unlogged(&mut self, sessions: &mut Sessions<HttpData>) {
        for key in self.handler.log.take_waiting() {
            if sessions.get(key).is_some() {
                sessions.schedule(key.slot);
            }
        }
    }

    /// Tells a client that has not asked for anything whole why its connection ends.
    fn end_unasked(&mut self, session: &mut HttpSession, status: Status) -> Option<Next> {
        self.handler.end_unasked(session, status);
        Some(Next::Again)
    }
}

impl Service for HttpService {
    type Data = HttpData;

    fn set_time(&mut self, now: Now) {
        self.handler.set_time(now);
    }

    fn begin(&mut self, state: ConnectionState, _origin: Origin) -> HttpSession {
        HttpSession::new(state)
    }

    fn serve(&mut self, session: &mut HttpSession) -> Next {
        self.handler.turn(session)
    }

    fn silent(&self, session: &HttpSession) -> Option<Silent> {
        let since = |at, since_ns| Some(Silent { at, since_ns });
        let active_ns = session.state.active_ns;
        match session.data.stage {
            Stage::ReadingHead if session.data.loaded.is_some() => None,
            Stage::ReadingHead | Stage::DiscardingBody(_) if session.data.partial_since_ns.is_some() => {
                since(Silence::InsideRequest, session.data.partial_since_ns.unwrap_or(active_ns))
            }
            // Its request is whole, and waits for a place.
            Stage::ReadingHead if session.state.connection.unread() > 0 => None,
            Stage::ReadingHead if session.data.has_asked => since(Silence::BetweenRequests, active_ns),
            Stage::ReadingHead => since(Silence::BeforeFirstRequest, active_ns),
            Stage::AwaitingLog { .. } => since(Silence::BetweenRequests, active_ns),
            Stage::DiscardingBody(_) => since(Silence::InsideRequest, active_ns),
            Stage::AwaitingFile | Stage::Sending(_) | Stage::Streaming(_) => None,
        }
    }

    fn departure(&self, session: &HttpSession) -> Departure {
        match session.data.stage {
            Stage::ReadingHead if session.data.loaded.is_none() => Departure::Move,
            // Its reader connects again.
            Stage::Streaming(_) => Departure::Close,
            _ => Departure::Finish,
        }
    }

    fn advance(&mut self, sessions: &mut Sessions<HttpData>) {
        if self.handler.log.has_room_again() {
            self.schedule_unlogged(sessions);
        }
        while let Some((waiting, loaded)) = self.handler.next_loaded() {
            for key in waiting {
                // Its connection may have ended in the meantime.
                if let Some(session) = sessions.get(key) {
                    Handler::tell(session, loaded.as_ref());
                    sessions.schedule(key.slot);
                }
            }
        }
    }

    fn tick(&mut self, sessions: &mut Sessions<HttpData>) {
        self.handler.log.report();
        if self.handler.log.is_wait_over() {
            self.schedule_unlogged(sessions);
        }
        let Some(event) = self.handler.next_event() else { return };
        let streams = sessions.iter_mut().filter_map(|session| session.push(&event).then(|| session.state.key()));
        for key in streams.collect::<Vec<_>>() {
            sessions.schedule(key.slot);
        }
    }

    fn check_time(&mut self, session: &mut HttpSession) -> Option<Next> {
        let now_ns = self.handler.now_ns;
        let late = |since_ns: u64, patience_ns: u64| is_over(now_ns, since_ns, patience_ns);
        let timeout_ns = nanoseconds(self.settings.http.timeout);
        let active_ns = session.state.active_ns;
        let partial = session.data.partial_since_ns.is_some_and(|since| late(since, timeout_ns));
        let stuck = late(active_ns, timeout_ns);
        let counter = match session.data.stage {
            Stage::ReadingHead if session.state.admission == Admission::Denied && late(active_ns, SECOND_NS) => {
                self.handler.count_refused();
                return self.end_unasked(session, Status::Unavailable);
            }
            Stage::ReadingHead if partial => {
                self.stats.slow_dropped.add(1);
                return self.end_unasked(session, Status::RequestTimeout);
            }
            Stage::ReadingHead => {
                let idle = self.instance.control().idle_timeout_ns().filter(|&idle| late(active_ns, idle));
                idle.map(|_| &self.stats.idle_dropped)
            }
            Stage::DiscardingBody(_) => partial.then_some(&self.stats.slow_dropped),
            Stage::Sending(ref sending) if !sending.fetching => stuck.then_some(&self.stats.slow_dropped),
            Stage::Streaming(_) => stuck.then_some(&self.stats.slow_dropped),
            // It waits for this server.
            Stage::Sending(_) | Stage::AwaitingFile | Stage::AwaitingLog { .. } => None,
        };
        counter?.add(1);
        Some(Next::Close)
    }

    fn end(&mut self, session: &mut HttpSession) {
        self.handler.release(session);
    }

    fn stop(&mut self) {
        self.handler.closing = true;
    }

    fn finish(self) {
        self.handler.log.finish();
    }
}
