//! The key-value store's protocol, as a load needs it.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use rand::rngs::SmallRng;

use crate::base::limits::{MAX_KV_KEY_BYTES, MAX_RPC_FRAGMENTS, MAX_RPC_RECORD_BYTES};
use crate::base::onc_rpc::{RecordLimits, RecordStep, Reply, next_record};
use crate::base::vocab::{Condition, Lsn};
use crate::service::kv::wire::{KvProcedure, KvRefusal, KvReply, KvRequest, KvStatus};
use crate::tool::client::connection::{Server, receive};
use crate::tool::client::error::{ClientError, RpcError};
use crate::tool::client::kv_load::plan::{KvPlan, credentials};
use crate::tool::client::kv_load::thread::{KvOperation, KvThread};
use crate::tool::client::load::counters::{NoReply, Tally};
use crate::tool::client::load::protocol::{Answer, Protocol, ThreadState};
use crate::tool::client::receive_buffer::RawBuffer;
use crate::tool::client::servers::Standing;

const LIMITS: RecordLimits = RecordLimits { bytes: MAX_RPC_RECORD_BYTES, fragments: MAX_RPC_FRAGMENTS };
/// The number of the call that asks whether the server is the primary; operations count from 1.
const STATUS_XID: u32 = 0;
/// Bytes of a reply beside its value, with some to spare.
const REPLY_BYTES: usize = 64;
const ASKING: &str = "asking for the primary";

thread_local! {
    /// Where a value is put together before it is sent.
    static VALUE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The key-value store's protocol.
#[derive(Debug)]
pub enum Kv {}

impl<'r> ThreadState<'r, Kv> for KvThread<'r> {
    fn plan(&self) -> &'r KvPlan {
        self.plan
    }

    #[inline]
    fn now(&self) -> u64 {
        self.pace.now()
    }

    #[inline]
    fn deadline(&self) -> u64 {
        self.pace.deadline()
    }

    fn rng(&mut self) -> &mut SmallRng {
        &mut self.pace.rng
    }

    #[inline]
    fn tally(&mut self) -> &mut Tally {
        &mut self.counters.tally
    }

    #[inline]
    fn show_progress(&mut self, replies: usize, now: u64) {
        self.counters.tally.last_reply = now;
        self.pace.show_progress(replies);
    }
}

/// What comes before the operations of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Where there may be several servers, each is asked whether it is the primary.
    Asking,
}

/// What came and was not looked at yet.
#[derive(Debug)]
pub struct Received {
    raw: RawBuffer,
    /// A record that came in fragments.
    gathered: Vec<u8>,
}

impl Received {
    fn new(bytes: usize) -> Received {
        // Room for the longest record, and no more than the caches hold.
        Received { raw: RawBuffer::new(bytes.clamp(MAX_RPC_RECORD_BYTES, 1 << 18)), gathered: Vec::new() }
    }

    /// Looks at the next whole reply, if there is one: its number and results are passed to `look`.
    #[inline]
    fn next<T>(&mut self, look: impl FnOnce(u32, &[u8]) -> Result<T, RpcError>) -> Result<Option<T>, RpcError> {
        let (taken, looked) = match next_record(self.raw.unread(), LIMITS, &mut self.gathered) {
            RecordStep::NeedMore { .. } => return Ok(None),
            RecordStep::Fatal(fault) => return Err(fault.into()),
            RecordStep::Complete { taken, payload } => {
                let reply = Reply::read(payload)?;
                (taken, look(reply.xid, reply.results.map_err(RpcError::Fault)?)?)
            }
        };
        self.raw.take(taken);
        Ok(Some(looked))
    }

    /// Whether the server has said that it is the primary; `None` where its answer is not there yet.
    fn standing(&mut self, server: &Server, address: SocketAddr) -> Result<Option<Standing>, RpcError> {
        self.next(|got, results| {
            expect(got, STATUS_XID)?;
            match KvReply::read(KvProcedure::Status, results)? {
                KvReply::Node(node) => Ok(server.servers.learn_primary(address, node.primary, node.primary_address)),
                other => Err(unexpected(KvProcedure::Status, &other)),
            }
        })
    }
}

fn expect(got: u32, due: u32) -> Result<(), RpcError> {
    if got == due { Ok(()) } else { Err(RpcError::OutOfOrder { due, got }) }
}

fn unexpected(asked: KvProcedure, reply: &KvReply<'_>) -> RpcError {
    RpcError::Answer { asked, got: reply.status() }
}

/// Asks the server that is taken for the primary whether it is; another one is asked next where it is not.
pub fn ask_for_primary(server: &Server, uid: Option<u32>) -> Result<(), ClientError> {
    let (address, timeout) = (server.address(), server.target.timeout);
    let ask = || {
        let mut stream = server.connect_to(address)?;
        let mut call = Vec::new();
        KvRequest::Status.write_call(STATUS_XID, credentials(uid), &mut call);
        stream.write_all(&call).map_err(|source| ClientError::from_io(ASKING, timeout, source))?;
        let mut received = Received::new(0);
        loop {
            match received.standing(server, address)? {
                Some(Standing::Primary) => return Ok(()),
                Some(Standing::Other) => {
                    server.servers.expect_cluster();
                    return Err(ClientError::NotPrimary { address: address.to_string() });
                }
                None => receive(&mut stream, &mut received.raw, timeout, ASKING)?,
            }
        }
    };
    let asked = ask();
    if matches!(asked, Err(ClientError::Timeout { .. } | ClientError::Lost { .. })) {
        // What does not answer may be cut off.
        server.servers.suspect(address);
    }
    asked
}

impl Protocol for Kv {
    type Plan = KvPlan;
    type Thread<'d> = KvThread<'d>;
    type Operation = KvOperation;
    type Received = Received;
    type Step = Step;

    fn received(plan: &KvPlan) -> Received {
        Received::new((plan.value_bytes.most as usize + REPLY_BYTES).saturating_mul(plan.run.depth))
    }

    fn reset(received: &mut Received) {
        received.raw.clear();
    }

    #[inline]
    fn read_from(received: &mut Received, source: &mut impl Read) -> io::Result<(usize, bool)> {
        received.raw.read_from(source)
    }

    fn greet(out: &mut Vec<u8>, plan: &KvPlan) -> Option<Step> {
        if !plan.run.server.servers.are_several() {
            return None;
        }
        KvRequest::Status.write_call(STATUS_XID, plan.credentials(), out);
        Some(Step::Asking)
    }

    fn go_on(
        (received, _out): (&mut Received, &mut Vec<u8>),
        Step::Asking: Step,
        plan: &KvPlan,
        address: SocketAddr,
    ) -> Result<Option<Option<Step>>, ClientError> {
        match received.standing(&plan.run.server, address)? {
            None => Ok(None),
            Some(Standing::Primary) => Ok(Some(None)),
            Some(Standing::Other) => Err(ClientError::NotPrimary { address: address.to_string() }),
        }
    }

    fn patience(Step::Asking: Step, server: &Server) -> (Duration, &'static str) {
        (server.target.timeout, ASKING)
    }

    #[inline]
    fn next_operation(
        thread: &mut KvThread<'_>,
        connection: u32,
        remaining: &mut Option<u64>,
        since: u64,
    ) -> Option<KvOperation> {
        thread.next_operation(connection, remaining, since)
    }

    #[inline]
    fn encode(operation: &KvOperation, seq: u32, _received: &Received, thread: &KvThread<'_>, out: &mut Vec<u8>) {
        let plan = thread.plan;
        let mut name = [0; MAX_KV_KEY_BYTES];
        let key = plan.key_name(operation.key, &mut name);
        if !operation.is_write {
            // The primary's answer needs no `after`, and what it is worth is to be seen.
            return KvRequest::Get { key, after: Lsn(0) }.write_call(seq, plan.credentials(), out);
        }
        VALUE.with_borrow_mut(|buffer| {
            let stamp = operation.stamp(plan.run.seed);
            let value = plan.values.value(&stamp, operation.length as usize, buffer);
            let (request_id, condition) = (operation.id.map(|id| id.0), Condition::Always);
            KvRequest::Put { request_id, key, value, condition }.write_call(seq, plan.credentials(), out);
        });
    }

    #[inline]
    fn take_reply(
        received: &mut Received,
        in_flight: &mut VecDeque<KvOperation>,
        due: u32,
        connection: u32,
        now: u64,
        thread: &mut KvThread<'_>,
    ) -> Result<Option<Answer>, ClientError> {
        let answer = received.next(|got, results| {
            expect(got, due)?;
            let operation = in_flight.front().ok_or(RpcError::OutOfOrder { due, got })?;
            let procedure = if operation.is_write { KvProcedure::Put } else { KvProcedure::Get };
            let reply = KvReply::read(procedure, results)?;
            Ok((judge(operation, &reply, connection, now, thread)?, shown(&reply)))
        })?;
        let Some((answer, version)) = answer else { return Ok(None) };
        if thread.plan.verifier.is_some() && version > 0 {
            raise_floors(in_flight, version);
        }
        Ok(Some(answer))
    }

    fn lose(operation: &KvOperation, why: NoReply, thread: &mut KvThread<'_>) -> Option<KvOperation> {
        // Reads and writes with a request id will be sent again, writes without one are in doubt.
        if operation.is_write && operation.id.is_none() {
            thread.record_no_reply(operation, why);
            return None;
        }
        Some(KvOperation { maybe_done: true, ..*operation })
    }

    fn give_up(operation: &KvOperation, _connection: u32, thread: &mut KvThread<'_>) {
        if !operation.is_write {
            thread.record_no_reply(operation, NoReply::Abandoned);
        } else if operation.maybe_done {
            thread.record_no_reply(operation, NoReply::Lost);
        } else {
            let now = thread.pace.now();
            thread.record_refused(operation, KvStatus::Busy, now);
        }
    }
}

/// What a reply means for its operation; it is checked, and recorded where it is final.
fn judge(
    operation: &KvOperation,
    reply: &KvReply<'_>,
    connection: u32,
    now: u64,
    thread: &mut KvThread<'_>,
) -> Result<Answer, RpcError> {
    let verifier = thread.plan.verifier.as_deref();
    let KvOperation { key, floor, .. } = *operation;
    let mut checked = None;
    match *reply {
        KvReply::Found { version, value } => {
            checked = verifier.map(|verifier| verifier.check_read(key, floor, version.0, value));
            thread.record_done(operation, value.len(), now);
        }
        KvReply::Written { version } => {
            let stamp = operation.stamp(thread.plan.run.seed);
            checked = verifier.map(|verifier| verifier.check_write(&stamp, floor, version.0));
            thread.record_done(operation, operation.length as usize, now);
        }
        KvReply::Refused(KvRefusal::NotFound) if !operation.is_write => {
            checked = verifier.map(|verifier| verifier.check_missing(floor));
            thread.record_missing(operation, now);
        }
        KvReply::Refused(KvRefusal::NotPrimary | KvRefusal::NoQuorum | KvRefusal::Behind) => {
            return Ok(Answer::Elsewhere);
        }
        KvReply::Refused(KvRefusal::Busy) if thread.retries_busy(operation) => return Ok(Answer::Busy),
        KvReply::Refused(refusal) => thread.record_refused(operation, refusal.status(), now),
        KvReply::Mismatch { .. } => thread.record_refused(operation, KvStatus::VersionMismatch, now),
        KvReply::Null | KvReply::Page(_) | KvReply::Node(_) => return Err(unexpected(KvProcedure::Get, reply)),
    }
    if let Some(checked) = checked {
        thread.record_checked(operation, connection, checked);
    }
    Ok(Answer::Final { has_room: !matches!(reply, KvReply::Refused(KvRefusal::Busy)) })
}

/// The version that a reply shows of the key that was asked for; 0 for none.
fn shown(reply: &KvReply<'_>) -> u64 {
    match reply {
        KvReply::Found { version, .. } | KvReply::Written { version } => version.0,
        _ => 0,
    }
}

/// The first operation is answered with `version`: what follows it on its connection is carried out after it, and shows no less. But not a
/// write that may have been done before, on a connection that was lost.
fn raise_floors(in_flight: &mut VecDeque<KvOperation>, version: u64) {
    let mut operations = in_flight.iter_mut();
    let Some(first) = operations.next() else { return };
    for later in operations.filter(|later| later.key == first.key && !(later.is_write && later.maybe_done)) {
        later.floor = later.floor.max(version);
    }
}
