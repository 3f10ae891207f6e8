//! The bank as the event loop sees it.

use std::io;
use std::sync::Arc;

use crate::base::config::Settings;
use crate::base::limits::{JOB_RESULTS_PER_TURN, PARTIAL_FRAME_SECONDS};
use crate::base::time::{is_over, nanoseconds};
use crate::ipc::process::monotonic_ns;
use crate::service::bank::session::bank_session::{BankData, BankSession};
use crate::service::bank::session::executor::Executor;
use crate::service::bank::session::handler::Handler;
use crate::service::bank::session::jobs::{BlockingPools, JobRunner};
use crate::service::bank::session::rate_limit::TokenBucket;
use crate::service::connection_state::{Admission, Closing, ConnectionState, Next};
use crate::service::entry::Context;
use crate::service::interface::{Departure, Now, Origin, Patience, Service, Silence, Silent};
use crate::service::replies::{WaitingSessions, Waits};
use crate::service::sessions::Sessions;
use crate::store::instance::Instance;
use crate::store::journal::Principals;
use crate::store::ledger::Teller;
use crate::store::users::Users;

/// The ledger in one worker, for clients that speak the binary protocol.
pub struct BankService {
    handler: Handler,
    waiting: WaitingSessions,
    runner: Arc<JobRunner>,
    instance: &'static Instance,
    settings: &'static Settings,
    /// Whether the threads have done more than one turn takes.
    more_results: bool,
    stopping: bool,
}

impl BankService {
    /// The bank of one worker.
    ///
    /// # Errors
    /// No thread can be had.
    pub fn open(context: Context) -> io::Result<BankService> {
        let Context { service, worker, instance, settings, users, directory, recorder, wake, .. } = context;
        let row = &instance.workers()[worker];
        let runner = Arc::new(JobRunner::new(instance.table(), users, directory));
        let pools = BlockingPools::start(&runner, &row.stats.bounds, move || wake())?;
        let teller = Teller::new(instance.table(), worker, move || row.life.heartbeat_ns.set(monotonic_ns()));
        let stats = (&row.stats, &row.stats.services[service.index()]);
        let handler = Handler::new(Executor::new((instance, service), teller, pools, stats));
        Ok(BankService {
            handler,
            waiting: WaitingSessions::new(service, row, recorder),
            runner,
            instance,
            settings,
            more_results: false,
            stopping: false,
        })
    }

    /// Answers requests that the threads have worked for: some of them in one turn, since each answer may bring the next request.
    fn deliver_results(&mut self, sessions: &mut Sessions<BankData>) {
        self.more_results = false;
        if self.handler.executor.pools.is_idle() {
            return;
        }
        for _ in 0..JOB_RESULTS_PER_TURN {
            let Some((key, result)) = self.handler.executor.pools.result() else { return };
            // Its connection may have ended in the meantime.
            let Some(session) = sessions.get(key) else { continue };
            self.handler.deliver(session, result);
            if self.stopping {
                session.state.closing = Closing::AfterSending;
            }
            sessions.schedule(key.slot);
        }
        self.more_results = true;
    }
}

impl Service for BankService {
    type Data = BankData;

    fn set_time(&mut self, now: Now) {
        self.waiting.begin_turn();
        self.handler.executor.set_time(now);
    }

    fn begin(&mut self, state: ConnectionState, origin: Origin) -> BankSession {
        let visibility = &self.handler.executor.visibility;
        let mut waits = Waits::new(&state, visibility);
        if origin == Origin::Worker {
            waits.hold_what_was_left(&state, visibility);
        }
        BankSession::new(state, self.instance.control().rate_limit(), waits)
    }

    #[inline]
    fn serve(&mut self, session: &mut BankSession) -> Next {
        if let Admission::Awaited { .. } = session.state.admission {
            // Nothing is read of a client that may have to be told that there is no room.
            return Next::Wait;
        }
        let next = self.handler.turn(session);
        if next != Next::Close {
            self.waiting.join(session.state.connection.index(), &mut session.data.waits);
        }
        self.waiting.wake_recorder_for_a_group(&self.handler.executor.visibility);
        next
    }

    /// Only before LOGIN. PING does not count: it costs nothing to send one now and then.
    fn silent(&self, session: &BankSession) -> Option<Silent> {
        let since_ns = session.state.connection.slot().opened_ns();
        session.is_stranger().then_some(Silent { at: Silence::BeforeFirstRequest, since_ns })
    }

    fn departure(&self, session: &BankSession) -> Departure {
        if session.data.pending.is_some() { Departure::Finish } else { Departure::Move }
    }

    fn awaits_threads(&self, session: &BankSession) -> bool {
        session.data.pending.is_some()
    }

    fn deny(&mut self, session: &mut BankSession) {
        self.handler.executor.turn_away(session);
    }

    /// Told if its socket takes that; it is closed now in any case.
    fn evict(&mut self, session: &mut BankSession) {
        self.handler.executor.turn_away(session);
        let _next = self.handler.turn(session);
    }

    fn advance(&mut self, sessions: &mut Sessions<BankData>) {
        let executor = &mut self.handler.executor;
        self.waiting.schedule(&mut executor.visibility, executor.now_ns, sessions, |data| &mut data.waits);
        self.deliver_results(sessions);
    }

    fn patience(&mut self) -> Patience {
        let executor = &self.handler.executor;
        let patience = self.waiting.patience(&executor.visibility, executor.now_ns);
        if self.more_results || executor.pools.has_refused() { Patience::None } else { patience }
    }

    fn check_time(&mut self, session: &mut BankSession) -> Option<Next> {
        const SECOND_NS: u64 = 1_000_000_000;
        let executor = &self.handler.executor;
        let late = |since_ns: u64, patience_ns: u64| is_over(executor.now_ns, since_ns, patience_ns);
        let stats = executor.stats;
        let counter =
            if session.data.partial_since_ns.is_some_and(|since| late(since, PARTIAL_FRAME_SECONDS * SECOND_NS)) {
                &stats.slow_dropped
            } else if session.is_stranger()
                && late(session.state.connection.slot().opened_ns(), nanoseconds(self.settings.login_timeout))
            {
                &stats.bounds.closed_without_login
            } else if session.data.pending.is_none()
                && self.instance.control().idle_timeout_ns().is_some_and(|idle| late(session.state.active_ns, idle))
            {
                // A client that waits for this server is not idle.
                &stats.idle_dropped
            } else {
                return None;
            };
        counter.add(1);
        Some(Next::Close)
    }

    fn reload(&mut self, sessions: &mut Sessions<BankData>) {
        let (limit, now) = (self.instance.control().rate_limit(), self.handler.executor.now_ns);
        for session in sessions.iter_mut() {
            session.data.rate_limit = limit.map(|limit| TokenBucket::new(limit, now));
        }
        // Checked by the master before, and numbered; a file that has changed since is left alone.
        if let Some(Ok(users)) = self.settings.users.as_deref().map(Users::load)
            && let Ok(principals) = Principals::read(&self.settings.data)
        {
            self.runner.replace_users(users.numbered(|name| principals.of(name)));
        }
    }

    fn end(&mut self, session: &mut BankSession) {
        if session.data.pending.is_some() {
            self.handler.executor.pools.forget(session.state.key());
        }
        self.waiting.leave(session.state.connection.index(), &session.data.waits);
    }

    fn stop(&mut self) {
        self.stopping = true;
    }
}
