//! Nodes whose connections run over loopback sockets in one thread, on a clock that can be put forward; and others that connect to them.

use std::cell::{Cell, RefCell};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::Peers;
use super::inbox::Inbox;
use crate::base::vocab::Lsn;
use crate::process::replica::message::{Message, MessageKind};
use crate::process::replica::peers::event::{PeerEvent, Ready, Records};
use crate::process::replica::peers::greeting::{Handshake, Role, Step};
use crate::process::replica::peers::settings::{ConfiguredPeer, Identity, PeerPlace, PeerSettings};
use crate::process::replica::peers::wire::{Frame, NONCE_BYTES, samples};
use crate::store::cluster::Secret;

/// A log that has every record, unless it is said to have changed.
#[derive(Default)]
pub struct Log {
    pub has_changed: Cell<bool>,
    pub reads: Cell<u64>,
}

impl Records for Log {
    fn read(&self, first: Lsn, last: Lsn, _: u64, _: u64, into: &mut Vec<u8>) -> Option<()> {
        self.reads.set(self.reads.get() + 1);
        (first.0..=last.0).for_each(|lsn| into.extend(samples::record(lsn)));
        // As one that finds out while it reads.
        (!self.has_changed.get()).then_some(())
    }
}

pub struct Node {
    pub peers: Peers,
    pub address: SocketAddr,
    pub events: Vec<PeerEvent>,
    pub log: Log,
}

pub fn secret() -> Secret {
    Secret::parse("a1".repeat(32).as_bytes()).unwrap()
}

impl Node {
    pub fn on(listener: TcpListener, identity: Identity) -> Node {
        let address = listener.local_addr().unwrap();
        let settings = PeerSettings { own: identity, peers: Vec::new() };
        let peers = Peers::new(settings, secret(), listener).unwrap();
        Node { peers, address, events: Vec::new(), log: Log::default() }
    }

    /// Node and replica `number`, which dials nobody yet.
    pub fn new(number: u8) -> Node {
        Node::on(TcpListener::bind("127.0.0.1:0").unwrap(), samples::identity(number))
    }

    pub fn dials(&mut self, others: &[(u8, SocketAddr)]) {
        let peer =
            |&(number, address)| ConfiguredPeer { replica: samples::replica(number), place: PeerPlace::At(address) };
        self.peers.set_peers(others.iter().map(peer).collect());
    }

    pub fn links(&self) -> usize {
        self.peers.links.len()
    }

    /// The contexts of the messages that have come, in their order.
    pub fn heard(&self) -> Vec<u64> {
        let context = |event: &PeerEvent| match event {
            PeerEvent::Message { message, .. } => Some(message.context),
            _ => None,
        };
        self.events.iter().filter_map(context).collect()
    }

    /// What is said of the refusals and closures that were told.
    pub fn told(&self) -> Vec<String> {
        let text = |event: &PeerEvent| match event {
            PeerEvent::Refused { why, .. } => Some(why.to_string()),
            PeerEvent::Disconnected { why, .. } => Some(why.to_string()),
            _ => None,
        };
        self.events.iter().filter_map(text).collect()
    }
}

/// Time as it passes, and what was skipped.
pub struct Clock {
    began: Instant,
    skipped: Duration,
}

impl Clock {
    pub fn new() -> Self {
        Clock { began: Instant::now(), skipped: Duration::ZERO }
    }

    pub fn skip(&mut self, time: Duration) {
        self.skipped += time;
    }

    pub fn now_ns(&self) -> u64 {
        u64::try_from((self.began.elapsed() + self.skipped).as_nanos()).unwrap()
    }
}

/// Polls for all nodes together, and gives each its turn. Waits for what comes, 5 ms at most.
pub fn turn(nodes: &mut [&mut Node], clock: &Clock) {
    let now_ns = clock.now_ns();
    let is_due = |node: &&mut Node| node.peers.deadline_ns().is_some_and(|deadline_ns| deadline_ns <= now_ns);
    let timeout = if nodes.iter().any(is_due) { 0_u8 } else { 5 };
    let mut ready: Vec<Vec<Ready>> = Vec::new();
    {
        let interests: Vec<Vec<_>> = nodes.iter().map(|node| node.peers.interests().collect()).collect();
        let flags = |read, write| {
            let (read, write) = ((PollFlags::POLLIN, read), (PollFlags::POLLOUT, write));
            [read, write].into_iter().filter(|(_, wanted)| *wanted).map(|(flag, _)| flag).collect()
        };
        let mut fds: Vec<PollFd> =
            interests.iter().flatten().map(|wanted| PollFd::new(wanted.fd, flags(wanted.read, wanted.write))).collect();
        poll(&mut fds, PollTimeout::from(timeout)).unwrap();
        let mut found = fds.iter().map(|fd| fd.revents().unwrap());
        for wanted in &interests {
            let broken = PollFlags::POLLERR | PollFlags::POLLHUP;
            let one = |(wanted, found): (&crate::process::replica::peers::event::Interest<'_>, PollFlags)| Ready {
                token: wanted.token,
                read: found.intersects(PollFlags::POLLIN | broken),
                write: found.intersects(PollFlags::POLLOUT | broken),
            };
            let of_node = wanted.iter().zip(found.by_ref()).map(one);
            ready.push(of_node.filter(|ready| ready.read || ready.write).collect());
        }
    }
    for (node, ready) in nodes.iter_mut().zip(&ready) {
        let events: Vec<_> = node.peers.turn(now_ns, ready, &node.log).collect();
        node.events.extend(events);
    }
}

/// Turns until `is_done`; gives how many it took.
pub fn until(nodes: &mut [&mut Node], clock: &Clock, mut is_done: impl FnMut(&[&mut Node]) -> bool) -> usize {
    let begun = Instant::now();
    for turns in 0.. {
        if is_done(nodes) {
            return turns;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", nodes.iter().map(|n| n.told()).collect::<Vec<_>>());
        turn(nodes, clock);
    }
    unreachable!()
}

pub fn heartbeat(from: u8, to: u8, context: u64) -> Message {
    let (from, to) = (samples::node(from.into()), samples::node(to.into()));
    Message { kind: MessageKind::Heartbeat, from, to, reject: false, ..samples::message(context) }
}

/// A peer of another making, which does only what it is told.
pub struct Other {
    pub stream: TcpStream,
    inbox: RefCell<Inbox>,
    handshake: Handshake,
    secret: Secret,
    has_proved: bool,
}

impl Other {
    /// Connects to a node and greets it. What it sends is `greeting`'s, `change`d.
    pub fn connect(address: SocketAddr, identity: &Identity, secret: Secret) -> Other {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nonblocking(true).unwrap();
        stream.set_nodelay(true).unwrap();
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut nonce).unwrap();
        let handshake = Handshake::begin(Role::Dialler, identity, nonce).unwrap();
        let other = Other { stream, inbox: RefCell::default(), handshake, secret, has_proved: false };
        other.write(other.handshake.greeting());
        other
    }

    /// Connects, and has the node take its turns until it has decided.
    pub fn join(node: &mut Node, clock: &Clock, identity: &Identity, secret: Secret) -> Other {
        let before = node.peers.counters();
        let mut other = Other::connect(node.address, identity, secret);
        until(&mut [node], clock, |nodes| {
            let now = nodes[0].peers.counters();
            other.prove();
            now.traffic.connected > before.traffic.connected || now.refused != before.refused
        });
        other
    }

    /// Answers a greeting that has come with the proof.
    pub fn prove(&mut self) {
        if self.has_proved {
            return;
        }
        if let Some(Frame::Greeting(greeting)) = self.frame() {
            let bytes = greeting.encode().unwrap();
            let step = self.handshake.take(Frame::Greeting(greeting), &bytes, &self.secret).unwrap();
            let Step::Prove(proof) = step else { panic!("{step:?}") };
            self.write(&proof);
            self.has_proved = true;
        }
    }

    /// The next frame that the node has sent, if it is there.
    pub fn frame(&self) -> Option<Frame> {
        let mut inbox = self.inbox.borrow_mut();
        loop {
            if let Some(received) = inbox.next(|_| true).unwrap() {
                return Some(received.frame);
            }
            let mut bytes = [0; 65_536];
            match (&self.stream).read(&mut bytes) {
                Ok(0) => return None,
                Ok(count) => inbox.push(&bytes[..count]),
                Err(_) => return None,
            }
        }
    }

    /// Writes all of it, or as much as the socket takes; gives how much.
    pub fn write(&self, bytes: &[u8]) -> usize {
        write_some(&self.stream, bytes)
    }
}

/// Writes as much as the socket takes; nothing when the other end is gone.
pub fn write_some(mut stream: &TcpStream, bytes: &[u8]) -> usize {
    let mut written = 0;
    while written < bytes.len() {
        match stream.write(&bytes[written..]) {
            Ok(count) => written += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    written
}

/// Whether the other end has closed.
pub fn is_closed(mut stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let mut bytes = [0; 4096];
    loop {
        match stream.read(&mut bytes) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return error.kind() != io::ErrorKind::WouldBlock,
        }
    }
}
