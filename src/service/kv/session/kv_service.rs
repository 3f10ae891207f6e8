//! The key-value service as the event loop sees it.

use std::io;

use crate::base::config::Settings;
use crate::base::limits::{JOB_RESULTS_PER_TURN, PARTIAL_FRAME_SECONDS};
use crate::base::time::is_over;
use crate::ipc::process::monotonic_ns;
use crate::service::connection_state::{Admission, ConnectionState, Next};
use crate::service::entry::Context;
use crate::service::interface::{Departure, Now, Origin, Patience, Service, Silence, Silent};
use crate::service::kv::session::executor::Executor;
use crate::service::kv::session::handler::Handler;
use crate::service::kv::session::kv_session::{KvData, KvSession};
use crate::service::kv::session::scans::Scans;
use crate::service::replies::{WaitingSessions, Waits};
use crate::service::sessions::Sessions;
use crate::store::instance::Instance;
use crate::store::journal::Principals;
use crate::store::kv::KvTeller;
use crate::store::users::Users;

/// The key-value store in one worker.
pub struct KvService {
    handler: Handler,
    waiting: WaitingSessions,
    instance: &'static Instance,
    settings: &'static Settings,
    /// Whether the threads have done more than one turn takes.
    more_pages: bool,
}

impl KvService {
    /// The key-value store of one worker.
    ///
    /// # Errors
    /// No thread can be had, or the instance has no key-value table.
    pub fn open(context: Context) -> io::Result<KvService> {
        let Context { service, worker, instance, settings, users, recorder, wake, .. } = context;
        let (row, ledger) = (&instance.workers()[worker], instance.table());
        let Some(table) = instance.kv() else {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the instance has no key-value table"));
        };
        let scans = Scans::start(ledger, table, move || wake())?;
        let teller = KvTeller::new(ledger, table, worker, move || row.life.heartbeat_ns.set(monotonic_ns()));
        let limits = (settings.kv.max_value_bytes, users.by_uid());
        let executor = Executor::new((instance, service, worker), teller, scans, limits);
        let waiting = WaitingSessions::new(service, row, recorder);
        let handler = Handler::new(executor);
        Ok(KvService { handler, waiting, instance, settings, more_pages: false })
    }

    /// Answers scans that the threads have worked for: some of them in one turn, since each answer may bring the next call.
    fn deliver_pages(&mut self, sessions: &mut Sessions<KvData>) {
        self.more_pages = false;
        if self.handler.executor.scans.is_idle() {
            return;
        }
        for _ in 0..JOB_RESULTS_PER_TURN {
            let Some((key, job, page)) = self.handler.executor.scans.page() else { return };
            // Its connection may have ended in the meantime.
            let Some(session) = sessions.get(key) else { continue };
            self.handler.deliver(session, job, page);
            sessions.schedule(key.slot);
        }
        self.more_pages = true;
    }
}

impl Service for KvService {
    type Data = KvData;

    fn set_time(&mut self, now: Now) {
        self.waiting.begin_turn();
        self.handler.executor.set_time(now);
    }

    fn begin(&mut self, state: ConnectionState, origin: Origin) -> KvSession {
        let visibility = &self.handler.executor.visibility;
        let mut waits = Waits::new(&state, visibility);
        if origin == Origin::Worker {
            waits.hold_what_was_left(&state, visibility);
        }
        KvSession::new(state, waits)
    }

    fn serve(&mut self, session: &mut KvSession) -> Next {
        match session.state.admission {
            Admission::Admitted => {}
            // Nothing is read of a client for which there may be no room.
            Admission::Awaited { .. } => return Next::Wait,
            // ONC RPC has no word for that, and an answer to no call would not be understood.
            Admission::Denied => return Next::Close,
        }
        let next = self.handler.turn(session);
        if next != Next::Close {
            self.waiting.join(session.state.connection.index(), &mut session.data.waits);
        }
        self.waiting.wake_recorder_for_a_group(&self.handler.executor.visibility);
        next
    }

    fn silent(&self, session: &KvSession) -> Option<Silent> {
        let (data, connection) = (&session.data, &session.state.connection);
        if data.is_awaited() || connection.unsent() > 0 {
            return None;
        }
        let at = match data.partial_since_ns {
            Some(_) => Silence::InsideRequest,
            None if data.has_called => Silence::BetweenRequests,
            None => Silence::BeforeFirstRequest,
        };
        Some(Silent { at, since_ns: data.partial_since_ns.unwrap_or(session.state.active_ns) })
    }

    /// A call that a thread works for is not consumed: its next worker reads it again.
    fn departure(&self, _session: &KvSession) -> Departure {
        Departure::Move
    }

    fn awaits_threads(&self, session: &KvSession) -> bool {
        session.data.pending.is_some()
    }

    fn deny(&mut self, _session: &mut KvSession) {
        self.handler.executor.service_stats.refused.add(1);
    }

    fn advance(&mut self, sessions: &mut Sessions<KvData>) {
        let executor = &mut self.handler.executor;
        self.waiting.schedule(&mut executor.visibility, executor.now_ns, sessions, |data| &mut data.waits);
        self.deliver_pages(sessions);
    }

    fn patience(&mut self) -> Patience {
        let executor = &self.handler.executor;
        let patience = self.waiting.patience(&executor.visibility, executor.now_ns);
        if self.more_pages || executor.scans.has_refused() { Patience::None } else { patience }
    }

    fn check_time(&mut self, session: &mut KvSession) -> Option<Next> {
        const SECOND_NS: u64 = 1_000_000_000;
        let executor = &self.handler.executor;
        let late = |since_ns: u64, patience_ns: u64| is_over(executor.now_ns, since_ns, patience_ns);
        let counter =
            if session.data.partial_since_ns.is_some_and(|since| late(since, PARTIAL_FRAME_SECONDS * SECOND_NS)) {
                &executor.stats.slow_dropped
            } else if !session.data.is_awaited()
                && self.instance.control().idle_timeout_ns().is_some_and(|idle| late(session.state.active_ns, idle))
            {
                // A client that waits for this server is not idle.
                &executor.stats.idle_dropped
            } else {
                return None;
            };
        counter.add(1);
        Some(Next::Close)
    }

    fn reload(&mut self, _sessions: &mut Sessions<KvData>) {
        // Checked by the master before, and numbered; a file that has changed since is left alone.
        if let Some(Ok(users)) = self.settings.users.as_deref().map(Users::load)
            && let Ok(principals) = Principals::read(&self.settings.data)
        {
            self.handler.executor.users = users.numbered(|name| principals.of(name)).by_uid();
        }
    }

    fn end(&mut self, session: &mut KvSession) {
        if session.data.pending.is_some() {
            self.handler.executor.scans.forget(session.state.key());
        }
        self.waiting.leave(session.state.connection.index(), &session.data.waits);
    }
}
