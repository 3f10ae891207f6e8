//! The bank as the event loop sees it.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::base::config::Settings;
use crate::base::limits::{ENOUGH_FOR_A_GROUP, JOB_RESULTS_PER_TURN, PARTIAL_FRAME_SECONDS};
use crate::base::time::{is_over, nanoseconds};
use crate::ipc::event::EventFd;
use crate::ipc::process::monotonic_ns;
use crate::service::bank::session::after_queue::AfterQueue;
use crate::service::bank::session::bank_session::{BankData, BankSession};
use crate::service::bank::session::executor::Executor;
use crate::service::bank::session::handler::Handler;
use crate::service::bank::session::jobs::{BlockingPools, JobRunner};
use crate::service::bank::session::rate_limit::TokenBucket;
use crate::service::connection_state::{Admission, Closing, ConnectionState, Next};
use crate::service::entry::Context;
use crate::service::interface::{Departure, Now, Origin, Patience, Service, Silence, Silent};
use crate::service::sessions::Sessions;
use crate::store::instance::Instance;
use crate::store::instance::control::WorkerRow;
use crate::store::journal::Principals;
use crate::store::ledger::{Sequencer, Shows, Teller, Visible};
use crate::store::users::Users;

/// How soon operations are tried again for which the journal had no room, unless the journal process says earlier that it has.
const ROOM_PATIENCE: Duration = Duration::from_millis(1);

/// How soon it is looked again what has been applied where nobody tells, for those that wait for that.
const APPLY_PATIENCE: Duration = Duration::from_millis(5);

/// The ledger in one worker, for clients that speak the binary protocol.
pub struct BankService {
    handler: Handler,
    queue: JournalQueue,
    after: AfterQueue,
    runner: Arc<JobRunner>,
    instance: &'static Instance,
    settings: &'static Settings,
    row: &'static WorkerRow,
    recorder: Arc<EventFd>,
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
        let queue = JournalQueue::default();
        Ok(BankService {
            handler,
            queue,
            after: AfterQueue::default(),
            runner,
            instance,
            settings,
            row,
            recorder,
            more_results: false,
            stopping: false,
        })
    }

    fn sequencer(&self) -> &'static Sequencer {
        self.instance.table().sequencer()
    }

    /// Wakes the process that takes records if it sleeps although there are some, or a round of reads is wanted.
    fn wake_recorder(&self) {
        let sequencer = self.sequencer();
        if sequencer.is_journaled() && sequencer.must_be_woken(&self.handler.executor.order) {
            self.recorder.send();
        }
    }

    /// Answers requests that the threads have worked for: some of them in one turn, since each answer may bring the next request.
    fn deliver_results(&mut self, sessions: &mut Sessions<BankData>) {
        let executor = &mut self.handler.executor;
        self.more_results = false;
        if executor.pools.is_idle() {
            return;
        }
        for _ in 0..JOB_RESULTS_PER_TURN {
            let Some((key, result)) = executor.pools.result() else { return };
            // Its connection may have ended in the meantime.
            let Some(session) = sessions.get(key) else { continue };
            executor.deliver(session, result);
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
        self.row.await_visible(None);
        self.handler.executor.set_time(now);
    }

    fn begin(&mut self, state: ConnectionState, origin: Origin) -> BankSession {
        let slot = state.connection.slot();
        if slot.gate_closings() == 0 {
            slot.set_gate_closings(self.handler.executor.gate_closings);
        }
        let gate_closings = slot.gate_closings();
        let mut session = BankSession::new(state, self.instance.control().rate_limit(), gate_closings);
        if origin == Origin::Worker {
            self.handler.hold_what_was_left(&mut session);
        }
        session
    }

    #[inline]
    fn serve(&mut self, session: &mut BankSession) -> Next {
        if let Admission::Awaited { .. } = session.state.admission {
            // Nothing is read of a client that may have to be told that there is no room.
            return Next::Wait;
        }
        let next = self.handler.turn(session);
        if next != Next::Close {
            self.queue.join(session);
            if let Some(wait) = session.data.after.filter(|_| session.data.is_behind) {
                self.after.join(session.state.connection.index(), wait);
            }
        }
        let sequencer = self.sequencer();
        let unsynced = self.handler.executor.order.now().lsn.0.saturating_sub(sequencer.on_disk().0.0);
        if unsynced >= ENOUGH_FOR_A_GROUP {
            self.wake_recorder();
        }
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
        if self.handler.executor.note_gate() {
            // Each finds that it is to be closed.
            let slots: Vec<_> = sessions.iter_mut().map(|session| session.state.connection.index()).collect();
            slots.into_iter().for_each(|slot| sessions.schedule(slot));
        }
        if self.queue.first().is_some() {
            let visible = self.sequencer().visible();
            while let Some(slot) = self.queue.next(visible) {
                if let Some(session) = sessions.at(slot) {
                    session.data.is_queued = false;
                    sessions.schedule(slot);
                }
            }
        }
        if self.after.first().is_some() {
            let executor = &self.handler.executor;
            let (shown, now_ns) = (executor.shown(), executor.now_ns);
            self.after.take(shown, now_ns, |slot| sessions.schedule(slot));
        }
        self.deliver_results(sessions);
    }

    /// Wakes the process that takes records for those of this turn, and tells it what to wake this worker for.
    fn patience(&mut self) -> Patience {
        self.wake_recorder();
        let (first, behind) = (self.queue.first(), self.after.first());
        if let Some(awaited) =
            first.map(|first| first.shows).into_iter().chain(behind.map(Shows::operation)).min_by_key(|shows| shows.lsn)
        {
            self.row.await_visible(Some(awaited));
        }
        let executor = &self.handler.executor;
        let apart = match behind {
            None => Patience::Unlimited,
            Some(lsn) if lsn <= executor.shown() => return Patience::None,
            Some(lsn) => {
                // What is committed and not applied is about to be, and nobody tells.
                let is_told = self.sequencer().is_journaled() && !self.sequencer().committed().includes(lsn);
                let longest = if is_told { Duration::MAX } else { APPLY_PATIENCE };
                let until_over = self.after.patience(executor.now_ns).unwrap_or_default();
                // Not at once: what is over is noticed in whole milliseconds.
                Patience::AtMost(until_over.clamp(Duration::from_millis(1), longest))
            }
        };
        let first = first.filter(|first| self.sequencer().visible().includes(first.shows));
        let patience = match first {
            Some(first) if first.for_room => Patience::AtMost(ROOM_PATIENCE),
            Some(_) => Patience::None,
            None if self.more_results || self.handler.executor.pools.has_refused() => Patience::None,
            None => return apart,
        };
        match (patience, apart) {
            (Patience::AtMost(one), Patience::AtMost(other)) => Patience::AtMost(one.min(other)),
            (patience, _) => patience,
        }
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
        if let Some(wait) = session.data.after {
            self.after.leave(session.state.connection.index(), wait);
        }
    }

    fn stop(&mut self) {
        self.stopping = true;
    }
}

/// A connection that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Waiting {
    /// What it waits for.
    shows: Shows,
    /// Its slot.
    slot: u32,
    /// Whether it waits for room in the journal's ring alone, and has no reply that waits.
    for_room: bool,
}

/// Those that wait, in the order in which they may go on.
#[derive(Debug, Default)]
struct JournalQueue(VecDeque<Waiting>);

impl JournalQueue {
    /// Puts `session` in if it waits and is not there.
    #[inline]
    fn join(&mut self, session: &mut BankSession) {
        let Some(shows) = session.waits_for().filter(|_| !session.data.is_queued) else { return };
        session.data.is_queued = true;
        // Operations are committed in groups: waiting for the one before, too, costs nothing, and keeps the queue sorted.
        let shows = self.0.back().map_or(shows, |waiting| waiting.shows.max(shows));
        let for_room = session.data.blocked.is_some() && session.data.held.waits_for().is_none();
        self.0.push_back(Waiting { shows, slot: session.state.connection.index(), for_room });
    }

    /// The first one.
    fn first(&self) -> Option<Waiting> {
        self.0.front().copied()
    }

    /// Takes the first one out, if what it waits for is visible; its slot.
    fn next(&mut self, visible: Visible) -> Option<u32> {
        self.0.pop_front_if(|waiting| visible.includes(waiting.shows)).map(|waiting| waiting.slot)
    }
}
