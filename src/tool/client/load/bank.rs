//! The ledger's protocol, as a load needs it.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::time::Duration;

use rand::rngs::SmallRng;

use crate::service::bank::wire::{Opcode, Request, Response, Status, XorKey};
use crate::tool::client::connection::{Server, check_reply, cluster_of};
use crate::tool::client::error::{ClientError, ProtocolError};
use crate::tool::client::load::counters::{NoReply, Operation, Tally};
use crate::tool::client::load::pipeline::Pipeline;
use crate::tool::client::load::plan::LoadPlan;
use crate::tool::client::load::protocol::{Answer, Protocol, ThreadState};
use crate::tool::client::load::thread::LoadThread;
use crate::tool::client::receive_buffer::ReceiveBuffer;
use crate::tool::client::servers::Standing;

const LOGIN_SEQ: u32 = 1;
const CLUSTER_SEQ: u32 = 2;
const PING_SEQ: u32 = 3;

/// The ledger's protocol.
#[derive(Debug)]
pub enum Bank {}

impl<'r> ThreadState<'r, Bank> for LoadThread<'r> {
    fn plan(&self) -> &'r LoadPlan {
        self.setup.plan
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
    /// PING is sent, where there are several servers: one that is stopped does not answer it.
    Pinging,
    /// LOGIN is sent.
    LoggingIn,
    /// It is logged in, and asks whether the server is the primary.
    Asking,
}

impl Protocol for Bank {
    type Plan = LoadPlan;
    type Thread<'d> = LoadThread<'d>;
    type Operation = Operation;
    type Received = ReceiveBuffer;
    type Step = Step;

    fn received(plan: &LoadPlan) -> ReceiveBuffer {
        ReceiveBuffer::for_replies(plan.run.depth)
    }

    fn reset(received: &mut ReceiveBuffer) {
        received.reset(None);
    }

    #[inline]
    fn read_from(received: &mut ReceiveBuffer, source: &mut impl Read) -> io::Result<(usize, bool)> {
        received.raw().read_from(source)
    }

    fn greet(out: &mut Vec<u8>, plan: &LoadPlan) -> Option<Step> {
        if plan.run.server.servers.are_several() {
            // As in `Connection::open_to`, the kernel also connects to a server that is stopped.
            Request::Ping.encode(PING_SEQ, None, None, out);
            return Some(Step::Pinging);
        }
        Some(login(out, plan))
    }

    fn go_on(
        (received, out): (&mut ReceiveBuffer, &mut Vec<u8>),
        step: Step,
        plan: &LoadPlan,
        address: SocketAddr,
    ) -> Result<Option<Option<Step>>, ClientError> {
        let server = &plan.run.server;
        if step == Step::Asking {
            let Some((header, body)) = received.next_frame()? else { return Ok(None) };
            let cluster = cluster_of(&header, received.body(body), CLUSTER_SEQ)?;
            if server.servers.learn(address, &cluster) == Standing::Other {
                return Err(ClientError::NotPrimary { address: address.to_string() });
            }
            return Ok(Some(None));
        }
        let Some((header, response)) = received.next_reply()? else { return Ok(None) };
        if step == Step::Pinging {
            check_reply(Opcode::Ping, PING_SEQ, &header, response)?;
            received.reset(None);
            out.clear();
            return Ok(Some(Some(login(out, plan))));
        }
        let Response::Login { session } = check_reply(Opcode::Login, LOGIN_SEQ, &header, response)? else {
            unreachable!("the reply's opcode was compared with LOGIN's");
        };
        received.reset(server.xor_key(session));
        out.clear();
        if !server.servers.are_several() {
            return Ok(Some(None));
        }
        Request::Cluster.encode(CLUSTER_SEQ, None, received.xor, out);
        Ok(Some(Some(Step::Asking)))
    }

    fn patience(step: Step, server: &Server) -> (Duration, &'static str) {
        match step {
            Step::Pinging => (server.target.timeout, "waiting for a first sign"),
            Step::LoggingIn => (server.login_timeout, "logging in"),
            Step::Asking => (server.target.timeout, "asking for the primary"),
        }
    }

    #[inline]
    fn next_operation(
        thread: &mut LoadThread<'_>,
        _connection: u32,
        remaining: &mut Option<u64>,
        since: u64,
    ) -> Option<Operation> {
        thread.next_operation(remaining, since)
    }

    #[inline]
    fn encode(operation: &Operation, seq: u32, received: &ReceiveBuffer, _thread: &LoadThread<'_>, out: &mut Vec<u8>) {
        operation.request.encode(seq, operation.key.as_ref().map(|key| &key.0), received.xor, out);
    }

    #[inline]
    fn take_reply(
        received: &mut ReceiveBuffer,
        in_flight: &mut VecDeque<Operation>,
        due: u32,
        connection: u32,
        now: u64,
        thread: &mut LoadThread<'_>,
    ) -> Result<Option<Answer>, ClientError> {
        let Some((header, response)) = received.next_reply()? else { return Ok(None) };
        let operation = match in_flight.front() {
            Some(operation) if header.seq == due && header.opcode == operation.request.opcode().code() => operation,
            oldest => {
                let oldest = oldest.map(|operation| operation.request.opcode());
                return Err(unexpected(oldest, due, header.seq, &response));
            }
        };
        let is_busy = matches!(response, Response::Error { status: Status::Busy, .. });
        if matches!(response, Response::Error { status, .. } if status.is_elsewhere()) {
            return Ok(Some(Answer::Elsewhere));
        }
        if is_busy && thread.retries_busy(operation) {
            return Ok(Some(Answer::Busy));
        }
        thread.record_reply(connection, operation, &response, now);
        Ok(Some(Answer::Final { has_room: operation.key.is_some() && !is_busy }))
    }

    fn lose(operation: &Operation, why: NoReply, thread: &mut LoadThread<'_>) -> Option<Operation> {
        // Reads and keyed operations will be sent again, operations without a key are in doubt.
        if operation.is_money() && operation.key.is_none() {
            thread.record_no_reply(operation, why);
            return None;
        }
        Some(Operation { maybe_done: true, ..*operation })
    }

    fn give_up(operation: &Operation, connection: u32, thread: &mut LoadThread<'_>) {
        thread.record_given_up(connection, operation);
    }
}

fn login(out: &mut Vec<u8>, plan: &LoadPlan) -> Step {
    plan.run.server.login().encode(LOGIN_SEQ, None, None, out);
    Step::LoggingIn
}

/// Begins on a connection that is logged in; `xor` is its key.
pub fn begin_session(pipeline: &mut Pipeline<Bank>, xor: Option<XorKey>) {
    pipeline.begin();
    pipeline.received.reset(xor);
}

/// The error for a reply that is not the one due.
#[cold]
fn unexpected(oldest: Option<Opcode>, seq: u32, got_seq: u32, response: &Response) -> ClientError {
    let got_opcode = response.opcode();
    match (response, oldest) {
        (Response::Error { opcode: 0, status }, _) if got_seq == 0 => ClientError::TurnedAway(*status),
        (_, None) => ProtocolError::Unasked(got_opcode).into(),
        (_, Some(opcode)) => ProtocolError::OutOfOrder { opcode, seq, got_opcode, got_seq }.into(),
    }
}
