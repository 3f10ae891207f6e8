//! The events that go into the supervisor, and the actions that come out.

use super::slot::SlotId;
use crate::base::limits::MAX_WORKERS;
use crate::store::instance::control_requests::Answer;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The process of a slot was started, as [`Action::Start`] asks.
    Started(SlotId),
    /// It was not, for this reason; nothing is left of the attempt.
    NotStarted(SlotId, String),
    /// SIGKILL could not be sent, as [`Action::Kill`] asks.
    NotKilled(SlotId, String),
    /// The process of a slot has ended and was reaped.
    Ended(SlotId, End),
    /// What a dead worker left is settled, as [`Action::Settle`] asks.
    Settled(usize),
    /// The books are remade, as [`Action::Remake`] asks, and nothing is left of what dead workers had.
    Remade,
    /// They are not.
    NotRemade {
        /// Why.
        why: String,
        /// Whether it may succeed later.
        has_prospect: bool,
    },
    /// A signal orders something.
    Ordered(Order),
    /// A request has come.
    Requested {
        /// Its number, by which it is answered; `None` for one that came by a signal.
        id: Option<u32>,
        /// What is wanted.
        request: Request,
    },
    /// The new program has answered, as [`Action::CheckNewProgram`] asks: what it says of itself, or why it does not fit.
    Checked(Result<String, String>),
    /// The new program could not be executed, as [`Action::Execute`] asks; nothing has changed.
    NotExecuted(String),
}

/// How a process ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// Its process id, for the log.
    pub pid: i32,
    /// In words, for the log.
    pub text: String,
    /// What the supervisor makes of it.
    pub how: Ended,
    /// Whether it ended before its loop had turned once.
    pub failed_early: bool,
}

/// How a process ended, as far as that matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// By itself, with exit code 0.
    Orderly,
    /// By a signal, or with another exit code.
    Crashed,
    /// The journal process: it cannot write to the disk any more, and a successor could do no better.
    JournalFailed,
    /// The replica process: the books hold what the cluster has not committed, and are to be remade.
    BooksStale,
}

/// What a signal orders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// SIGINT, SIGTERM.
    Stop {
        /// Its name, for the log.
        signal: &'static str,
    },
    /// SIGTTIN: one worker more.
    AddWorker,
    /// SIGTTOU: one worker less.
    RemoveWorker {
        /// The connections that each worker has, for the log.
        connections: Vec<u32>,
    },
}

/// What an operator's tool asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// A worker is to leave.
    Drain {
        /// Its number.
        worker: usize,
        /// The connections that it has.
        connections: u32,
    },
    /// A snapshot is to be taken.
    Snapshot {
        /// What the count of snapshots must reach.
        wanted: u64,
    },
    /// The program is to be executed anew.
    Upgrade,
    /// Something is to be done about the cluster, by the replica process; what it is, the driver knows.
    Cluster,
}

/// Something to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Make what the slot needs and fork its process. Reports [`Event::Started`] or [`Event::NotStarted`].
    Start(SlotId),
    /// Send SIGKILL. Reports [`Event::NotKilled`] if that fails; the end comes as an event of its own.
    Kill(SlotId),
    /// Ask a process to finish and leave.
    AskToLeave(SlotId),
    /// Finish or drop the operation of a dead worker, and have its connections go on elsewhere. Reports [`Event::Settled`], or
    /// nothing while a living worker holds one of the accounts: then this action comes again.
    Settle(usize),
    /// A worker has left for good: remove the names of its lane.
    CloseLane(usize),
    /// Count a process that ended without having been asked to.
    CountDeath(SlotId),
    /// Count a start that failed.
    CountFailedStart(SlotId),
    /// Have the replica process hand leadership over. So many times this was asked now; [`Observation::hand_overs_done`] reaches that.
    HandOverLeadership(u64),
    /// Pass the request of that number on to the replica process; [`Observation::replica_answered`] becomes that number.
    AskReplica(u32),
    /// Answer the request of that number with what the replica process has answered to it.
    PassAnswer(u32),
    /// Fill the tables of the books again, which nobody has any more, and close the connections that dead workers had. Reports
    /// [`Event::Remade`] or [`Event::NotRemade`].
    Remake,
    /// Tell the workers to answer nothing new and to send what is queued.
    TellWorkersToStop,
    /// Tell the workers to leave now.
    TellWorkersToHurry,
    /// Accept no more connections.
    CloseListeners,
    /// Ask the new program whether it fits. Reports [`Event::Checked`], later.
    CheckNewProgram,
    /// Do not wait for the new program's answer any more.
    AbandonCheck,
    /// Execute the new program. Reports [`Event::NotExecuted`], or this program is gone.
    Execute,
    /// Answer a request.
    Answer(u32, Answer),
    /// Write to the log.
    Say(log::Level, String),
}

/// What the supervisor sees of one worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WorkerSeen {
    /// When it last showed that it lives, nanoseconds of the monotonic clock.
    pub heartbeat_ns: u64,
    /// Whether it is in its loop.
    pub serving: bool,
}

/// What the supervisor sees of the children.
#[derive(Clone, Debug)]
pub struct Observation {
    /// By worker number.
    pub workers: [WorkerSeen; MAX_WORKERS],
    /// When the journal process last showed that it lives.
    pub journal_heartbeat_ns: u64,
    /// When the cache process last showed that it lives.
    pub cache_heartbeat_ns: u64,
    /// When the replica process last showed that it lives.
    pub replica_heartbeat_ns: u64,
    /// Of the times that leadership was to be handed over, how many are done: another instance has it, or none could be found that takes it.
    pub hand_overs_done: u64,
    /// The last request that the replica process has answered.
    pub replica_answered: u32,
    /// Requests for snapshots that are done, or have failed.
    pub snapshots_done: u64,
    /// The operation that the newest snapshot covers.
    pub snapshot: u64,
    /// Silence after which a worker, the cache process or the replica process is killed, nanoseconds.
    pub worker_timeout_ns: u64,
}
