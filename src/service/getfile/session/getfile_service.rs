//! GetFile as the event loop sees it.

use std::io;

use crate::base::config::Settings;
use crate::base::limits::{MAX_WAITING_FILES, RECEIVE_BYTES};
use crate::base::time::{is_over, nanoseconds};
use crate::service::connection_state::{Admission, ConnectionState, Next};
use crate::service::entry::Context;
use crate::service::getfile::session::asker::Asker;
use crate::service::getfile::session::cached::Late;
use crate::service::getfile::session::getfile_session::{GetFileData, GetFileSession, Stage};
use crate::service::getfile::session::handler::{self, Handler};
use crate::service::getfile::session::source::{self, Done, Job, Source};
use crate::service::getfile::wire::response::Response;
use crate::service::interface::{Departure, Now, Origin, Service, Silence, Silent};
use crate::service::log_queue::LogQueue;
use crate::service::pool::Pool;
use crate::service::sessions::Sessions;
use crate::store::instance::stats::WorkerStats;

const SECOND_NS: u64 = 1_000_000_000;

/// GetFile in one worker.
pub struct GetFileService {
    handler: Handler,
    settings: &'static Settings,
    stats: &'static WorkerStats,
    /// Whether the server stops.
    is_stopping: bool,
}

impl GetFileService {
    /// GetFile of one worker.
    ///
    /// # Errors
    /// No thread can be had, or there is no access log.
    pub fn open(context: Context) -> io::Result<GetFileService> {
        let asker = context.cache.map(|channel| Asker::open(&context, channel)).transpose()?;
        let Context { service, worker, instance, settings, access_log, wake, .. } = context;
        let stats = &instance.workers()[worker].stats;
        let log = access_log.ok_or_else(|| io::Error::other("GetFile needs an access log"))?;
        let work = move |job| source::run(&settings.getfile, job);
        let loaders = Pool::start("vault-getfile", settings.getfile.threads, MAX_WAITING_FILES, work, move || wake())?;
        let handler = Handler {
            loaders,
            log: LogQueue::new(log),
            source: Source::open(&settings.getfile),
            asker,
            is_segment_wanted: false,
            stats: &stats.getfile,
            service_stats: &stats.services[service.index()],
            now_ns: 0,
            unread: Box::new([0; RECEIVE_BYTES]),
        };
        Ok(GetFileService { handler, settings, stats, is_stopping: false })
    }

    /// Ends what is late and has to do with the cache process.
    fn end_late(&mut self, session: &mut GetFileSession, late: Late) -> Option<Next> {
        let getfile = &self.stats.getfile;
        match late {
            Late::Unanswered | Late::Stalled => getfile.cache_timeouts.add(1),
            Late::InTheWay => getfile.slow_closed.add(1),
            Late::Slow => self.stats.slow_dropped.add(1),
        }
        if late != Late::Unanswered {
            return Some(Next::Close);
        }
        self.handler.cancel(session);
        let _next_step = self.handler.answer(session, Err(Response::Error));
        Some(Next::Again)
    }

    fn schedule_unlogged(&mut self, sessions: &mut Sessions<GetFileData>) {
        for key in self.handler.log.take_waiting() {
            if sessions.get(key).is_some() {
                sessions.schedule(key.slot);
            }
        }
    }
}

impl Service for GetFileService {
    type Data = GetFileData;

    fn set_time(&mut self, now: Now) {
        self.handler.now_ns = now.monotonic_ns;
        self.handler.log.set_time(now);
    }

    fn begin(&mut self, state: ConnectionState, _origin: Origin) -> GetFileSession {
        GetFileSession::new(state, self.handler.now_ns)
    }

    fn serve(&mut self, session: &mut GetFileSession) -> Next {
        self.handler.turn(session)
    }

    fn silent(&self, session: &GetFileSession) -> Option<Silent> {
        let (unread, active_ns) = (session.state.connection.unread(), session.state.active_ns);
        let since = |at, since_ns| Some(Silent { at, since_ns });
        match session.data.stage {
            Stage::Reading if unread == 0 => since(Silence::BeforeFirstRequest, active_ns),
            // Its request is whole, and waits for a place.
            Stage::Reading if session.data.asked_ns.is_some() => None,
            Stage::Reading | Stage::SkippingPath => since(Silence::InsideRequest, session.data.begun_ns),
            Stage::AwaitingLog(_) => since(Silence::BetweenRequests, active_ns),
            Stage::AwaitingFile | Stage::Found(_) | Stage::Asking(_) | Stage::Transferring(_) | Stage::Sending(_) => {
                None
            }
        }
    }

    fn departure(&self, session: &GetFileSession) -> Departure {
        match session.data.stage {
            Stage::Reading | Stage::SkippingPath => Departure::Move,
            // The next worker asks anew. When the server stops there is none, and it gets its answer first.
            Stage::Asking(_) if !self.is_stopping => Departure::Move,
            _ => Departure::Finish,
        }
    }

    fn awaits_threads(&self, session: &GetFileSession) -> bool {
        matches!(session.data.stage, Stage::Asking(_) | Stage::Transferring(_))
    }

    fn advance(&mut self, sessions: &mut Sessions<GetFileData>) {
        if self.handler.log.has_room_again() {
            self.schedule_unlogged(sessions);
        }
        if let Some(asker) = &mut self.handler.asker {
            asker.advance(sessions);
        }
        while let Some(done) = self.handler.next_done() {
            let (key, outcome) = match done {
                Done::Looked(key, outcome, _) => (key, Some(outcome)),
                Done::Fetched(key) => (key, None),
                Done::Map(map) => {
                    self.handler.source.replace_map(map);
                    continue;
                }
            };
            // Its connection may have ended in the meantime.
            if let Some(session) = sessions.get(key) {
                handler::tell(session, outcome);
                sessions.schedule(key.slot);
            }
        }
    }

    fn tick(&mut self, sessions: &mut Sessions<GetFileData>) {
        self.handler.log.report();
        if self.handler.log.is_wait_over() {
            self.schedule_unlogged(sessions);
        }
        if let Some(asker) = &mut self.handler.asker {
            asker.tidy(sessions);
            self.handler.is_segment_wanted = asker.is_segment_wanted();
        }
    }

    fn check_time(&mut self, session: &mut GetFileSession) -> Option<Next> {
        let timeout_ns = nanoseconds(self.settings.getfile.timeout);
        let late = |since_ns, patience_ns| is_over(self.handler.now_ns, since_ns, patience_ns);
        let active_ns = session.state.active_ns;
        match session.data.stage {
            Stage::Reading if session.state.admission == Admission::Denied && late(active_ns, SECOND_NS) => {
                self.handler.end_unasked(session, Response::Error);
                Some(Next::Again)
            }
            Stage::Reading if session.data.asked_ns.is_some() => None,
            Stage::Reading | Stage::SkippingPath if late(session.data.begun_ns, timeout_ns) => {
                self.stats.slow_dropped.add(1);
                self.handler.end_unasked(session, Response::Invalid);
                Some(Next::Again)
            }
            Stage::Sending(ref sending) if !sending.fetching && late(active_ns, timeout_ns) => {
                self.stats.slow_dropped.add(1);
                Some(Next::Close)
            }
            Stage::Asking(_) | Stage::Transferring(_) => match self.handler.late(session, timeout_ns) {
                Some(late) => self.end_late(session, late),
                None => session.data.is_resting().then_some(Next::Again),
            },
            // It waits for this server.
            _ => None,
        }
    }

    fn stop(&mut self) {
        self.is_stopping = true;
    }

    fn reload(&mut self, _sessions: &mut Sessions<GetFileData>) {
        // Where there is a cache process, that reads the map.
        let has_map = matches!(self.handler.source, Source::Map(_));
        if has_map && self.handler.loaders.submit(Job::ReadMap).is_err() {
            log::warn!("GetFile's threads have too much to do to read the map file again: repeat SIGHUP");
        }
    }

    fn end(&mut self, session: &mut GetFileSession) {
        self.handler.release(session);
    }

    fn finish(self) {
        self.handler.log.finish();
    }
}
