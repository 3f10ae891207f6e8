//! The driver: the master's loop. It waits for events, passes them to the supervisor, and performs the actions that come out.
//!
//! Only a failing `poll` leads out of the loop: other failures are reported to the supervisor, or logged.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mio::{Events, Token};

use crate::base::config::AcceptMode;
use crate::base::limits::MAX_WORKERS;
use crate::base::logging;
use crate::base::time::nanoseconds;
use crate::ipc::IpcError;
use crate::ipc::process::monotonic_ns;
use crate::process::master::children::{
    Accepting, CacheProcess, Common, JournalProcess, Listeners, ReplicaProcess, WorkerSlot, duplicate,
};
use crate::process::master::clock_watch::ClockWatch;
use crate::process::master::dispatch::Connections;
use crate::process::master::error::MasterError;
use crate::process::master::event_sources::{CACHE, EventSources, JOURNAL, LISTENER, REPLICA, SIGNALS, WORKERS};
use crate::process::master::notify::ServiceManager;
use crate::process::master::start::ports;
use crate::process::master::supervisor::{Action, Event, Observation, SlotId, Supervisor, TICK_NS, WorkerSeen};
use crate::process::master::upgrade::new_program::NewProgram;
use crate::store::connection::PerService;
use crate::store::instance::control::{Orders, WorkerState};

/// The master at work.
pub struct Driver {
    pub(super) common: Common,
    pub(super) supervisor: Supervisor,
    pub(super) sources: EventSources,
    pub(super) addresses: PerService<Option<SocketAddr>>,
    /// What connections are accepted from; nothing in the modes where workers accept by themselves.
    pub(super) accepting: Accepting,
    /// What workers of `shared` mode accept from.
    pub(super) shared_listeners: Listeners,
    /// What the first worker of `reuseport` mode accepts from: the sockets by which the addresses were found free.
    pub(super) first_listeners: Option<Listeners>,
    pub(super) workers: Vec<Option<WorkerSlot>>,
    pub(super) journal: Option<JournalProcess>,
    pub(super) cache: Option<CacheProcess>,
    pub(super) replica: Option<ReplicaProcess>,
    /// Why the instance ends although nobody has told it to.
    pub(super) failure: Option<MasterError>,
    pub(super) connections: Connections,
    /// The new program that is being asked whether it fits.
    pub(super) new_program: Option<NewProgram>,
    pub(super) manager: ServiceManager,
    clock_watch: ClockWatch,
    /// When to look for ended children next, in case an event was missed.
    next_sweep_ns: u64,
}

impl Driver {
    /// Without a socket, a connection, or a child.
    pub(super) fn new(
        common: Common,
        supervisor: Supervisor,
        sources: EventSources,
        addresses: PerService<Option<SocketAddr>>,
        connections: Connections,
    ) -> Self {
        Driver {
            supervisor,
            sources,
            addresses,
            accepting: Accepting::default(),
            shared_listeners: Listeners::default(),
            first_listeners: None,
            workers: std::iter::repeat_with(|| None).take(MAX_WORKERS).collect(),
            journal: common.directory.clone().map(JournalProcess::new),
            cache: common.cache.map(CacheProcess::new),
            replica: common
                .settings
                .cluster
                .as_ref()
                .zip(common.directory.clone())
                .map(|(cluster, directory)| ReplicaProcess::new(cluster, directory)),
            failure: None,
            connections,
            new_program: None,
            manager: ServiceManager::from_environment(),
            clock_watch: ClockWatch::default(),
            next_sweep_ns: 0,
            common,
        }
    }

    /// Begins to accept from `listeners`, as the accept mode has it, and starts all children.
    ///
    /// # Errors
    /// A child cannot be started. Only a start may fail of that.
    pub(super) fn begin(&mut self, listeners: Listeners) -> Result<(), MasterError> {
        match self.common.settings.accept {
            AcceptMode::Dispatch => self.accept_from(listeners)?,
            AcceptMode::Shared => self.shared_listeners = listeners,
            AcceptMode::Reuseport => self.first_listeners = Some(listeners),
        }
        let now = monotonic_ns();
        self.supervisor.observe(now, &self.observe());
        while let Some(action) = self.supervisor.next_action() {
            if let Some(event) = self.perform(action) {
                if let Event::NotStarted(id, why) = event {
                    return Err(MasterError::NotStarted { what: id.to_string(), why });
                }
                self.supervisor.handle(now, event);
            }
        }
        Ok(())
    }

    /// The loop.
    pub(super) fn run(&mut self) -> Result<(), MasterError> {
        self.manager.ready();
        let mut events = Events::with_capacity(256);
        while !self.supervisor.is_over() {
            match self.sources.poll.poll(&mut events, Some(self.patience())) {
                Err(source) if source.kind() != io::ErrorKind::Interrupted => {
                    return Err(MasterError::Io { step: "wait for events", source });
                }
                _ => {}
            }
            let now = monotonic_ns();
            for event in &events {
                match event.token() {
                    SIGNALS => self.take_signals(now),
                    LISTENER => self.accepting.ready = true,
                    JOURNAL => self.reap(SlotId::Journal, now),
                    CACHE => self.reap(SlotId::Cache, now),
                    REPLICA => self.reap(SlotId::Replica, now),
                    Token(token) if token % 2 == 0 => self.reap(SlotId::Worker((token - WORKERS) / 2), now),
                    Token(token) => self.read_notices((token - WORKERS) / 2),
                }
            }
            if now >= self.next_sweep_ns {
                self.next_sweep_ns = now + TICK_NS;
                self.reap_all(now);
                // The log may be read again, with no other line to be written.
                logging::tell_losses();
                self.watch_clock();
            }
            self.supervisor.observe(now, &self.observe());
            self.perform_all(now);
            self.accept(now);
            self.manager.turn(now);
        }
        match self.failure.take() {
            Some(failure) => Err(failure),
            None if self.supervisor.journal_failed() => Err(MasterError::JournalFailed),
            None => Ok(()),
        }
    }

    /// How long the loop may wait.
    fn patience(&self) -> Duration {
        let now = monotonic_ns();
        let look = self.supervisor.next_look_ns(now);
        let accept = self.accepting.next_try_ns(now, self.connections.any_waiting());
        let next = [accept, self.manager.next_turn_ns()].into_iter().flatten().fold(look, u64::min);
        Duration::from_nanos(next.saturating_sub(now))
    }

    /// Says when the clock is behind the time of the last record.
    fn watch_clock(&mut self) {
        let clock_ns = nanoseconds(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default());
        let last_ns = self.common.instance.table().sequencer().last_time_ns();
        if let Some(behind_ns) = self.clock_watch.look(clock_ns, last_ns) {
            log::warn!(
                "the clock is {:.1} s behind the time of the last record: until it has reached that, all records bear that time; \
                 see that the clock is right",
                Duration::from_nanos(behind_ns).as_secs_f64()
            );
        }
    }

    fn observe(&self) -> Observation {
        let instance = self.common.instance;
        let mut workers = [WorkerSeen::default(); MAX_WORKERS];
        for (seen, row) in workers.iter_mut().zip(instance.workers()) {
            *seen =
                WorkerSeen { heartbeat_ns: row.life.heartbeat_ns.get(), serving: row.state() == WorkerState::Serving };
        }
        let journal = instance.journal_row();
        Observation {
            workers,
            journal_heartbeat_ns: journal.life.heartbeat_ns.get(),
            cache_heartbeat_ns: instance.cache_row().life.heartbeat_ns.get(),
            replica_heartbeat_ns: instance.replica_row().life.heartbeat_ns.get(),
            hand_overs_done: instance.replica_row().hand_overs_done(),
            replica_answered: instance.replica_row().requests.last_answered(),
            snapshots_done: journal.snapshots_done(),
            snapshot: journal.snapshot().0,
            worker_timeout_ns: u64::try_from(self.common.settings.worker_timeout.as_nanos()).unwrap_or(u64::MAX),
        }
    }

    fn perform_all(&mut self, now: u64) {
        while let Some(action) = self.supervisor.next_action() {
            if let Some(event) = self.perform(action) {
                self.supervisor.handle(now, event);
            }
        }
    }

    /// Performs one action; the event that reports the outcome, if any.
    fn perform(&mut self, action: Action) -> Option<Event> {
        let control = self.common.instance.control();
        match action {
            Action::Start(id) => {
                return Some(match self.start(id) {
                    Ok(()) => Event::Started(id),
                    Err(error) => Event::NotStarted(id, error.to_string()),
                });
            }
            Action::Kill(id) => {
                let failed = self.kill(id).err()?;
                return Some(Event::NotKilled(id, failed.to_string()));
            }
            Action::Settle(index) => return self.settle(index).then_some(Event::Settled(index)),
            Action::AskToLeave(id) => self.ask_to_leave(id),
            Action::CloseLane(index) => self.close_lane(index),
            Action::CountDeath(id) => self.life(id).deaths.add(1),
            Action::CountFailedStart(id) => self.life(id).failed_starts.add(1),
            Action::HandOverLeadership(number) => {
                self.common.instance.replica_row().want_hand_over(number);
                self.common.replica.iter().for_each(|channel| channel.wakeup.send());
            }
            Action::AskReplica(id) => self.ask_replica(id),
            Action::PassAnswer(id) => {
                if let Some(answer) = self.common.instance.replica_row().requests.answer_to(id) {
                    control.requests.answer(id, &answer);
                }
            }
            Action::Remake => return Some(self.remake()),
            Action::TellWorkersToStop => {
                self.manager.stopping();
                self.order(Orders::Stop);
            }
            Action::TellWorkersToHurry => self.order(Orders::Hurry),
            Action::CloseListeners => self.close_listeners(),
            Action::CheckNewProgram => return self.check_new_program(),
            Action::AbandonCheck => self.new_program = None,
            Action::Execute => {
                self.manager.reloading();
                let why = self.execute();
                self.manager.ready();
                return Some(Event::NotExecuted(why));
            }
            Action::Answer(id, answer) => control.requests.answer(id, &answer),
            Action::Say(level, text) => log::log!(level, "{text}"),
        }
        None
    }

    /// Forks the process of a slot, after making what the slot needs.
    fn start(&mut self, id: SlotId) -> Result<(), IpcError> {
        match id {
            SlotId::Worker(index) => self.start_worker(index),
            SlotId::Journal => self.start_journal(),
            SlotId::Cache => self.start_cache(),
            SlotId::Replica => self.start_replica(),
        }
    }

    fn start_worker(&mut self, index: usize) -> Result<(), IpcError> {
        if self.workers[index].is_none() {
            let listeners = self.own_listeners()?;
            self.workers[index] = Some(WorkerSlot::new(self.common.instance, index, listeners)?);
            self.first_listeners = None;
        }
        let Some(slot) = self.workers[index].as_mut() else { return Ok(()) };
        slot.start(&self.common)?;
        self.watch_worker(index).inspect_err(|_| self.abandon(SlotId::Worker(index)))?;
        // Connections may have been waiting for a worker.
        self.accepting.ready = true;
        Ok(())
    }

    fn start_journal(&mut self) -> Result<(), IpcError> {
        let Some(journal) = self.journal.as_mut() else { return Ok(()) };
        journal.start(&self.common)?;
        self.watch_journal().inspect_err(|_| self.abandon(SlotId::Journal))
    }

    fn start_cache(&mut self) -> Result<(), IpcError> {
        let Some(cache) = self.cache.as_mut() else { return Ok(()) };
        cache.start(&self.common)?;
        self.watch_cache().inspect_err(|_| self.abandon(SlotId::Cache))?;
        // What they had asked of its predecessor they ask again.
        self.wake_workers();
        Ok(())
    }

    fn start_replica(&mut self) -> Result<(), IpcError> {
        let (Some(replica), Some(channel)) = (self.replica.as_mut(), &self.common.replica) else { return Ok(()) };
        replica.start(&self.common, channel)?;
        self.watch_replica().inspect_err(|_| self.abandon(SlotId::Replica))
    }

    /// Watches the process of a worker and its lane.
    pub(super) fn watch_worker(&self, index: usize) -> Result<(), IpcError> {
        let Some(process) = self.workers[index].as_ref().and_then(|slot| slot.process.as_ref()) else { return Ok(()) };
        self.sources.watch(process.child.as_fd(), Token(WORKERS + 2 * index))?;
        self.sources.watch(process.lane.as_fd(), Token(WORKERS + 2 * index + 1))
    }

    /// Watches the journal process.
    pub(super) fn watch_journal(&self) -> Result<(), IpcError> {
        let child = self.journal.as_ref().and_then(|journal| journal.child.as_ref());
        child.map_or(Ok(()), |child| self.sources.watch(child.as_fd(), JOURNAL))
    }

    /// Watches the cache process.
    pub(super) fn watch_cache(&self) -> Result<(), IpcError> {
        let child = self.cache.as_ref().and_then(|cache| cache.child.as_ref());
        child.map_or(Ok(()), |child| self.sources.watch(child.as_fd(), CACHE))
    }

    /// Watches the replica process.
    pub(super) fn watch_replica(&self) -> Result<(), IpcError> {
        let child = self.replica.as_ref().and_then(|replica| replica.child.as_ref());
        child.map_or(Ok(()), |child| self.sources.watch(child.as_fd(), REPLICA))
    }

    /// What a worker that accepts by itself accepts from: with `reuseport` sockets of its own.
    fn own_listeners(&self) -> Result<Listeners, IpcError> {
        if let Some(first) = &self.first_listeners {
            return duplicate(first);
        }
        if self.common.settings.accept != AcceptMode::Reuseport {
            return duplicate(&self.shared_listeners);
        }
        let mut own = Listeners::default();
        for ((own, address), service) in own.iter_mut().zip(self.addresses).zip(self.common.services) {
            let listen = (service.listen)(self.common.settings);
            *own = address.zip(listen).map(|(address, listen)| ports::join(&listen, address)).transpose()?;
        }
        Ok(own)
    }

    fn order(&self, orders: Orders) {
        self.common.instance.control().order(orders);
        self.wake_workers();
    }

    pub(super) fn wake_workers(&self) {
        let running = self.workers.iter().flatten().filter(|slot| slot.process.is_some());
        running.for_each(|slot| self.common.wakeups[slot.index].send());
    }

    /// The process ids of the workers.
    #[must_use]
    pub fn worker_pids(&self) -> Vec<i32> {
        let processes = self.workers.iter().flatten().filter_map(|slot| slot.process.as_ref());
        processes.map(|process| process.child.pid()).collect()
    }
}
