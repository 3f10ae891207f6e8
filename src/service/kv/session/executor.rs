//! The executor: carries out one call of a session and queues its reply.

use std::cell::Cell;
use std::collections::HashMap;

use crate::base::crash_point::{CrashPoint, crash_point};
use crate::base::limits::{AFTER_WAIT_MILLISECONDS, KV_QUORUM_WAIT_MILLISECONDS};
use crate::base::onc_rpc::reply::{Fault, write_refusal};
use crate::base::onc_rpc::xdr::Room;
use crate::base::onc_rpc::{Call, CallFault};
use crate::base::vocab::Lsn;
use crate::ipc::process::monotonic_ns;
use crate::service::interface::Now;
use crate::service::kv::rules::{self, Task, Write};
use crate::service::kv::session::kv_session::{KvSession, PendingScan};
use crate::service::kv::session::scans::Scans;
use crate::service::kv::wire::{
    Expected, KvProcedure, KvRefusal, KvReply, KvRequest, KvStatus, LookAhead, MAX_SCAN_REPLY_BYTES, NodeStatus,
    ScanEntry, WRITE_REPLY_BYTES, Written, put_version, write_page,
};
use crate::service::replies::{AfterWait, Blocked, Replies, Visibility};
use crate::store::connection::ServiceId;
use crate::store::instance::Instance;
use crate::store::instance::control::Control;
use crate::store::instance::stats::{KvStats, ServiceStats, WorkerStats};
use crate::store::journal::record::KvKind;
use crate::store::kv::{Counts, KvAsker, KvTeller, KvUndone, KvWriteRequest, Page, PageRequest};
use crate::store::ledger::{Completion, GateState, Shows};
use crate::store::users::{Known, Role};

/// What is needed to answer calls.
pub struct Executor {
    /// The worker's hand in the table.
    teller: KvTeller<'static>,
    /// Says what may be shown.
    pub visibility: Visibility,
    /// The threads for scans.
    pub scans: Scans,
    /// The worker's counters.
    pub stats: &'static WorkerStats,
    /// Those of this service's calls.
    pub kv_stats: &'static KvStats,
    /// Those of its connections.
    pub service_stats: &'static ServiceStats,
    control: &'static Control,
    service: ServiceId,
    /// The time of this turn of the loop, nanoseconds of the monotonic clock.
    pub now_ns: u64,
    /// Replies that were queued in this turn of a connection.
    pub replies: Replies,
    max_value: usize,
    /// Users by uid; `None` where everybody may call.
    pub users: Option<HashMap<u32, Known>>,
    /// Where replies are put together.
    reply: Vec<u8>,
    /// A key and its value, out of shared memory.
    found: Vec<u8>,
}

/// Whether a call was seen to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answered {
    /// It is answered.
    Yes,
    /// A thread works for it.
    Pending,
    /// It stands where it stood.
    NotYet(Postponed),
}

/// When a call is looked at again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Postponed {
    /// Bytes of room that its reply needs.
    pub room: usize,
    /// What it waits for beside that.
    pub blocked: Option<Blocked>,
}

/// There is no room in the journal for a write.
const FOR_ROOM: Answered = Answered::NotYet(Postponed { room: WRITE_REPLY_BYTES, blocked: Some(Blocked::ForRoom) });

/// A call that is looked at.
#[derive(Clone, Copy)]
struct Asked {
    xid: u32,
    /// Bytes that it takes in the receive ring.
    bytes: usize,
    /// What it asks for; `None` of one that is answered with a fault.
    procedure: Option<KvProcedure>,
}

impl Executor {
    /// An executor; its clock stands at zero.
    #[must_use]
    pub fn new(
        (instance, service, worker): (&'static Instance, ServiceId, usize),
        teller: KvTeller<'static>,
        scans: Scans,
        (max_value, users): (usize, Option<HashMap<u32, Known>>),
    ) -> Self {
        let stats = &instance.workers()[worker].stats;
        Executor {
            teller,
            visibility: Visibility::new(instance),
            scans,
            stats,
            kv_stats: &stats.kv,
            service_stats: &stats.services[service.index()],
            control: instance.control(),
            service,
            now_ns: 0,
            replies: Replies::default(),
            max_value,
            users,
            reply: Vec::new(),
            found: Vec::new(),
        }
    }

    /// Sets the time of this turn of the loop.
    pub fn set_time(&mut self, Now { monotonic_ns, since_1970 }: Now) {
        self.now_ns = monotonic_ns;
        self.teller.set_wall_clock(since_1970.as_nanos().try_into().unwrap_or(u64::MAX));
    }

    /// What the replies of this turn of a connection show.
    pub fn take_shown(&mut self) -> Shows {
        let (seen, has_read) = (self.teller.take_seen(), self.teller.take_has_read());
        self.visibility.shows(seen, has_read)
    }

    /// Notes how long replies took that may leave now.
    pub fn time(&self, replies: Replies) {
        if replies.count > 0 {
            self.kv_stats.answer_times.record(monotonic_ns().saturating_sub(replies.since_ns), replies.count);
        }
    }

    /// Has the memory fetched that the next call of `ahead` will touch first.
    #[inline]
    pub fn prefetch(&self, ahead: &mut LookAhead<'_>) {
        if let Some(Expected { key, request_id }) = ahead.expected() {
            self.teller.prefetch(key, request_id);
        }
    }

    /// Has the memory fetched that the next call of `ahead` will touch then; what it touches first was fetched before.
    #[inline]
    pub fn prefetch_first_key(&self, ahead: &mut LookAhead<'_>) {
        if let Some(Expected { key, .. }) = ahead.expected() {
            self.teller.prefetch_first_key(key);
        }
    }

    /// Answers the call in `payload`, a whole record that takes `bytes` bytes in the receive ring; or hands it to the threads, and
    /// remembers that. A record that is no call ends the connection: there is nobody to answer.
    pub fn answer(&mut self, session: &mut KvSession, bytes: usize, payload: &[u8]) -> Answered {
        crash_point(CrashPoint::Decoded);
        let call = match Call::read(payload) {
            Ok(call) => call,
            Err(CallFault::NoCall) => {
                self.kv_stats.bad_records.add(1);
                session.end_calls();
                return Answered::Yes;
            }
            Err(CallFault::Refused { xid, fault }) => {
                return self.fail(session, Asked { xid, bytes, procedure: None }, fault);
            }
        };
        let asked = Asked { xid: call.xid, bytes, procedure: None };
        let request = match KvRequest::of_call(&call) {
            Ok(request) => request,
            Err(fault) => return self.fail(session, asked, fault),
        };
        let caller = match rules::caller(self.users.as_ref(), &call.credentials) {
            Err(why) if request != KvRequest::Null => return self.fail(session, asked, Fault::Auth(why)),
            // Whoever calls is answered that there is somebody.
            caller => caller.unwrap_or(Known { role: Role::Auditor, principal: 0 }),
        };
        let asked = Asked { procedure: Some(request.procedure()), ..asked };
        let task = rules::task_of(&request, self.max_value);
        match task.and_then(|task| rules::may_ask(caller.role, &task).map(|()| task)) {
            Ok(task) => self.perform(session, asked, caller.principal, task),
            Err(refusal) => self.respond(session, asked, &KvReply::Refused(refusal)),
        }
    }

    fn perform(&mut self, session: &mut KvSession, asked: Asked, principal: u32, task: Task<'_>) -> Answered {
        match task {
            Task::Null => self.respond(session, asked, &KvReply::Null),
            Task::TellStatus => self.tell_status(session, asked),
            Task::Get { key, after } => match self.wait_for(session, asked, after) {
                None => self.get(session, asked, key),
                Some(answered) => answered,
            },
            Task::Write(write) => match rules::may_write(self.visibility.standing()) {
                Ok(()) => self.write(session, asked, principal, &write),
                Err(KvRefusal::NoQuorum) => self.wait_for_primary(session, asked),
                Err(refusal) => self.respond(session, asked, &KvReply::Refused(refusal)),
            },
            Task::Scan { from, prefix, limit, after } => {
                if !session.state.connection.has_room_for_reply(MAX_SCAN_REPLY_BYTES) {
                    return Answered::NotYet(Postponed { room: MAX_SCAN_REPLY_BYTES, blocked: None });
                }
                if let Some(answered) = self.wait_for(session, asked, after) {
                    return answered;
                }
                session.data.asked_ns.get_or_insert(self.now_ns);
                let request = PageRequest { from: from.to_vec(), prefix: prefix.to_vec(), limit };
                let (job, is_refused) = self.scans.submit(session.state.key(), request);
                session.data.pending = Some(PendingScan { xid: asked.xid, bytes: asked.bytes, job });
                self.kv_stats.scans_refused.add(is_refused.into());
                Answered::Pending
            }
        }
    }

    /// Has a call wait until the operation that it names as the last one seen can be shown here; `None` once it can. After a while it
    /// is told that this instance is behind.
    fn wait_for(&mut self, session: &mut KvSession, asked: Asked, lsn: Lsn) -> Option<Answered> {
        if lsn <= self.visibility.shown() {
            return None;
        }
        let until_ns = self.now_ns.saturating_add(AFTER_WAIT_MILLISECONDS * 1_000_000);
        let wait = *session.data.waits.after.get_or_insert(AfterWait { lsn, until_ns });
        if wait.until_ns <= self.now_ns {
            return Some(self.respond(session, asked, &KvReply::Refused(KvRefusal::Behind)));
        }
        session.data.waits.is_behind = true;
        Some(Answered::NotYet(Postponed { room: session.data.room, blocked: None }))
    }

    /// Has a write wait until a primary is known: an election is over soon. After a while it is told that there is none; nothing was done then.
    fn wait_for_primary(&mut self, session: &mut KvSession, asked: Asked) -> Answered {
        let until_ns = self.now_ns.saturating_add(KV_QUORUM_WAIT_MILLISECONDS * 1_000_000);
        let until_ns = *session.data.waits.primary_until_ns.get_or_insert(until_ns);
        if until_ns <= self.now_ns {
            return self.respond(session, asked, &KvReply::Refused(KvRefusal::NoQuorum));
        }
        session.data.waits.is_leaderless = true;
        Answered::NotYet(Postponed { room: session.data.room, blocked: None })
    }

    fn get(&mut self, session: &mut KvSession, asked: Asked, key: &[u8]) -> Answered {
        self.found.clear();
        let version = self.teller.get(key, &mut self.found);
        self.reply.clear();
        let reply = match version {
            Some(version) => KvReply::Found { version, value: self.found.get(key.len()..).unwrap_or_default() },
            None => KvReply::Refused(KvRefusal::NotFound),
        };
        let status = reply.status();
        reply.write(asked.xid, &mut self.reply);
        if !session.state.connection.has_room_for_reply(self.reply.len()) {
            // Looked up again once there is room: what it is then is as good.
            return Answered::NotYet(Postponed { room: self.reply.len(), blocked: None });
        }
        self.queue(session, asked, Some(status))
    }

    /// Carries out a write; its reply is staged before it has happened and becomes valid as a part of it. The version is put into it once it
    /// is known, which is before the write has happened, too.
    fn write(&mut self, session: &mut KvSession, asked: Asked, principal: u32, write: &Write<'_>) -> Answered {
        if self.visibility.room_is_short {
            return FOR_ROOM;
        }
        let connection = &session.state.connection;
        let staged: Cell<Option<([u8; WRITE_REPLY_BYTES], Written, KvStatus)>> = Cell::new(None);
        let number = |lsn| {
            if let Some((mut reply, written, _)) = staged.get() {
                put_version(&mut reply, written, lsn);
                connection.stage(asked.bytes, &reply[..written.bytes]);
            }
        };
        let request = KvWriteRequest {
            kind: if write.value.is_some() { KvKind::Put } else { KvKind::Delete },
            key: write.key,
            value: write.value.unwrap_or_default(),
            condition: write.condition,
        };
        let progress = Cell::new(None);
        let done = self.teller.carry_out(&request, &KvAsker { principal, request: write.request_id }, |outcome| {
            let reply = rules::reply_to_write(outcome.map(|()| Lsn(0)));
            let mut bytes = [0; WRITE_REPLY_BYTES];
            let written = reply.write(asked.xid, &mut Room::new(&mut bytes));
            staged.set(Some((bytes, written, reply.status())));
            let next = connection.stage(asked.bytes, &bytes[..written.bytes]);
            progress.set(Some(next));
            Completion::moving(connection.index(), connection.slot().progress_word(), next.to_word())
                .numbered_by(&number)
        });
        match (done, staged.get().zip(progress.get())) {
            (Ok(_), Some(((.., status), progress))) => {
                session.state.connection.staged(progress);
                self.count(session, asked, Some(status));
                Answered::Yes
            }
            (Ok(_), None) => unreachable!("a write that is committed has called for its reply"),
            (Err(undone), _) => self.answer_undone(session, asked, undone),
        }
    }

    fn answer_undone(&mut self, session: &mut KvSession, asked: Asked, undone: KvUndone) -> Answered {
        let reply = match undone {
            KvUndone::Refused(refusal) => rules::reply_to_write(Err(refusal)),
            KvUndone::Repeated { lsn, first } => rules::reply_to_write(first.map(|()| lsn)),
            KvUndone::Conflict => KvReply::Refused(KvRefusal::Conflict),
            KvUndone::NoSpace => KvReply::Refused(KvRefusal::Busy),
            KvUndone::NotPrimary => match rules::may_write(self.visibility.standing()) {
                Err(KvRefusal::NotPrimary) => KvReply::Refused(KvRefusal::NotPrimary),
                // The gate was closed just now, and what that means is not said yet.
                Ok(()) | Err(_) => return self.wait_for_primary(session, asked),
            },
            KvUndone::Later => {
                self.visibility.room_is_short = true;
                return FOR_ROOM;
            }
        };
        self.respond(session, asked, &reply)
    }

    /// Answers the scan that a thread worked for as `job`; nothing, where the session waits for another one.
    pub fn deliver(&mut self, session: &mut KvSession, job: u64, page: Option<Page>) {
        let Some(PendingScan { xid, bytes, .. }) = session.data.pending.take_if(|pending| pending.job == job) else {
            return;
        };
        session.data.end_call();
        let asked = Asked { xid, bytes, procedure: Some(KvProcedure::Scan) };
        let Some(page) = page else {
            self.respond(session, asked, &KvReply::Refused(KvRefusal::Busy));
            return;
        };
        self.teller.see_state(page.shows);
        let entries = page.entries.iter().map(|entry| ScanEntry {
            key: &entry.key,
            version: entry.version,
            value_bytes: entry.value_bytes,
        });
        self.reply.clear();
        write_page(xid, entries, page.more, &mut self.reply);
        self.queue(session, asked, Some(KvStatus::Ok));
    }

    /// Tells what this instance is, and how far it has got as executed here: at once and without waiting for what is committed, since one that
    /// is cut off is asked, too.
    fn tell_status(&mut self, session: &mut KvSession, asked: Asked) -> Answered {
        let (committed, applied) = (self.visibility.shown(), self.visibility.order.now().lsn);
        let view = self.control.cluster.view();
        // The gate says it at once, and the view a moment later: a connection that was told so ends with the gate.
        let primary = self.visibility.sequencer.gate().state == GateState::Open;
        let address = if primary { self.control.address(self.service) } else { view.primary_kv_address };
        let keys = Counts::from_word(self.visibility.sequencer.counts()).keys.into();
        let node = NodeStatus { primary, primary_address: &address, term: view.term, committed, applied, keys };
        self.respond(session, asked, &KvReply::Node(node))
    }

    /// Answers a call that is not carried out.
    fn fail(&mut self, session: &mut KvSession, asked: Asked, fault: Fault) -> Answered {
        self.reply.clear();
        write_refusal(asked.xid, fault, &mut self.reply);
        self.queue(session, asked, None)
    }

    /// Queues a reply.
    fn respond(&mut self, session: &mut KvSession, asked: Asked, reply: &KvReply<'_>) -> Answered {
        self.reply.clear();
        reply.write(asked.xid, &mut self.reply);
        self.queue(session, asked, Some(reply.status()))
    }

    /// Queues what was put together, once there is room for it.
    fn queue(&mut self, session: &mut KvSession, asked: Asked, status: Option<KvStatus>) -> Answered {
        if !session.state.connection.has_room_for_reply(self.reply.len()) {
            return Answered::NotYet(Postponed { room: self.reply.len(), blocked: None });
        }
        session.state.connection.advance(asked.bytes, &self.reply);
        self.count(session, asked, status);
        Answered::Yes
    }

    /// Counts a reply that is queued; `status` is that of its result, if it has one.
    fn count(&mut self, session: &mut KvSession, asked: Asked, status: Option<KvStatus>) {
        match asked.procedure.zip(status) {
            Some((procedure, status)) => {
                self.kv_stats.calls[procedure.index()].add(1);
                self.kv_stats.results[status.index()].add(1);
            }
            None => self.kv_stats.faults.add(1),
        }
        self.replies.add(Replies { count: 1, since_ns: session.data.asked_ns.take().unwrap_or(self.now_ns) });
    }
}
