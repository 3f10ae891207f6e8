//! What a load needs of a protocol, so that pipelines, connections, event loops and threads are the same for all of them.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::time::Duration;

use rand::rngs::SmallRng;

use crate::tool::client::connection::Server;
use crate::tool::client::error::ClientError;
use crate::tool::client::load::counters::{NoReply, Tally};
use crate::tool::client::load::plan::RunPlan;

/// A protocol that load is sent by.
pub trait Protocol: Debug + Sized + 'static {
    /// What is to be done.
    type Plan: AsRef<RunPlan>;
    /// What a thread knows.
    type Thread<'d>: ThreadState<'d, Self>;
    /// An operation that was sent, or should have been, and has no final answer yet.
    type Operation: Copy + Debug;
    /// Where what comes is kept until it is looked at.
    type Received: Debug;
    /// What is done on a new connection before operations are sent, step by step.
    type Step: Copy + Debug + PartialEq;

    /// An empty buffer for what comes.
    fn received(plan: &Self::Plan) -> Self::Received;
    /// Forgets what came on the connection before.
    fn reset(received: &mut Self::Received);
    /// Reads once. Returns the bytes read (0: the server closed) and whether they filled all the room there was, so that more may be
    /// waiting.
    fn read_from(received: &mut Self::Received, source: &mut impl Read) -> io::Result<(usize, bool)>;

    /// Encodes what is to be said first on a new connection; `None` where nothing is.
    fn greet(out: &mut Vec<u8>, plan: &Self::Plan) -> Option<Self::Step>;
    /// Looks in what came whether a step is done; `None` where more must come. Otherwise encodes what the next step is to send; `Some(None)`
    /// where there is none.
    fn go_on(
        received_and_out: (&mut Self::Received, &mut Vec<u8>),
        step: Self::Step,
        plan: &Self::Plan,
        address: SocketAddr,
    ) -> Result<Option<Option<Self::Step>>, ClientError>;
    /// How long a step may take, and what the client does meanwhile.
    fn patience(step: Self::Step, server: &Server) -> (Duration, &'static str);

    /// The next operation of a connection, which begins `since`; `None` when no operations remain for it or the time is over.
    fn next_operation(
        thread: &mut Self::Thread<'_>,
        connection: u32,
        remaining: &mut Option<u64>,
        since: u64,
    ) -> Option<Self::Operation>;
    /// Encodes an operation as the request with this number.
    fn encode(
        operation: &Self::Operation,
        seq: u32,
        received: &Self::Received,
        thread: &Self::Thread<'_>,
        out: &mut Vec<u8>,
    );
    /// Looks at the next whole reply, if there is one, which must be that to the first of `in_flight`, with number `due`. One that is final
    /// is recorded.
    fn take_reply(
        received: &mut Self::Received,
        in_flight: &mut VecDeque<Self::Operation>,
        due: u32,
        connection: u32,
        now: u64,
        thread: &mut Self::Thread<'_>,
    ) -> Result<Option<Answer>, ClientError>;
    /// The connection of an operation is lost. Returns it as it is to be sent again; records why it has no reply where it is not to be.
    fn lose(operation: &Self::Operation, why: NoReply, thread: &mut Self::Thread<'_>) -> Option<Self::Operation>;
    /// Records an operation that will not be sent again: refused, where that is known, or in doubt.
    fn give_up(operation: &Self::Operation, connection: u32, thread: &mut Self::Thread<'_>);
}

/// What a reply means for the operation that it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is final.
    Final {
        /// Whether it shows that the server has room.
        has_room: bool,
    },
    /// There is no room: it is to be asked again later.
    Busy,
    /// Nothing was done, and another server is to be asked.
    Elsewhere,
}

/// What the thread of a load knows.
pub trait ThreadState<'d, P: Protocol> {
    /// What is to be done.
    fn plan(&self) -> &'d P::Plan;
    /// The time now, nanoseconds since the start.
    fn now(&self) -> u64;
    /// Nothing new is sent from this time on.
    fn deadline(&self) -> u64;
    /// Random numbers for waits.
    fn rng(&mut self) -> &mut SmallRng;
    /// Counts what is not about single operations.
    fn tally(&mut self) -> &mut Tally;
    /// Adds the replies of one read to the progress of the run.
    fn show_progress(&mut self, replies: usize, now: u64);
}
