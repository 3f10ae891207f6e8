//! Queues between threads and processes, with limits in their way, and under epoll.

use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::stat::fstat;

use super::*;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Order {
    number: u32,
    amount: u64,
}

impl Message for Order {
    const MAX_BYTES: usize = 16;

    fn encode(&self, into: &mut [u8]) -> usize {
        into[..4].copy_from_slice(&self.number.to_le_bytes());
        into[4..12].copy_from_slice(&self.amount.to_le_bytes());
        12
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (number, amount) = bytes.split_first_chunk()?;
        Some(Order { number: u32::from_le_bytes(*number), amount: u64::from_le_bytes(amount.try_into().ok()?) })
    }
}

/// Messages that are as long as those of [`Order`] may be, and none of them.
struct Text(&'static [u8]);

impl Message for Text {
    const MAX_BYTES: usize = 16;

    fn encode(&self, into: &mut [u8]) -> usize {
        into[..self.0.len()].copy_from_slice(self.0);
        self.0.len()
    }

    fn decode(_: &[u8]) -> Option<Self> {
        None
    }
}

/// Messages that no kernel takes.
#[derive(Debug)]
struct Huge;

impl Message for Huge {
    const MAX_BYTES: usize = 1 << 30;

    fn encode(&self, _: &mut [u8]) -> usize {
        0
    }

    fn decode(_: &[u8]) -> Option<Self> {
        None
    }
}

fn order(number: u32) -> Order {
    Order { number, amount: u64::from(number) << 33 }
}

fn name(which: &str) -> String {
    format!("/vault-test.{}.{which}", std::process::id())
}

/// A queue whose name is gone as soon as both ends are open.
fn queue(which: &str, depth: usize) -> (Sender<Order>, Receiver<Order>) {
    let name = name(which);
    create::<Order>(&name, depth).unwrap();
    let ends = (Sender::open(&name).unwrap(), Receiver::open(&name).unwrap());
    unlink(&name).unwrap();
    ends
}

#[test]
fn messages_come_in_order_of_priority_and_time_and_none_waits() {
    let (mut sender, mut receiver) = queue("order", 4);
    assert_eq!(receiver.receive().unwrap(), Received::Empty);
    let priorities = [Priority::Normal, Priority::Normal, Priority::Urgent, Priority::Urgent];
    for (number, priority) in (1..).zip(priorities) {
        sender.send(&order(number), priority).unwrap();
    }
    assert!(matches!(sender.send(&order(5), Priority::Urgent), Err(SendError::Full)));
    let full = Attributes { depth: 4, message_bytes: 16, queued: 4 };
    assert_eq!((sender.attributes().unwrap(), receiver.attributes().unwrap()), (full, full));
    for (number, priority) in [3, 4, 1, 2].into_iter().zip([3, 2, 1, 0].map(|i| priorities[i])) {
        assert_eq!(receiver.receive().unwrap(), Received::Message(order(number), priority));
    }
    assert_eq!(receiver.receive().unwrap(), Received::Empty);
}

#[test]
fn what_is_no_message_is_told_from_one() {
    let name = name("strange");
    create::<Order>(&name, 4).unwrap();
    let mut stranger = Sender::<Text>::open(&name).unwrap();
    let mut receiver = Receiver::<Order>::open(&name).unwrap();
    for text in [&b""[..], b"abc", b"thirteen byte", b"sixteen bytes ok"] {
        stranger.send(&Text(text), Priority::Normal).unwrap();
        assert_eq!(receiver.receive().unwrap(), Received::Malformed(text.len()));
    }
    assert!(Receiver::<Huge>::open(&name).unwrap_err().to_string().contains("its messages have up to 16 bytes"));
    unlink(&name).unwrap();
}

#[test]
fn a_queue_is_this_users_alone_and_its_name_is_made_once() {
    let name = name("mine");
    create::<Order>(&name, 1).unwrap();
    let twice = create::<Order>(&name, 1).unwrap_err().to_string();
    assert!(twice.contains(&name) && twice.contains("EEXIST"), "{twice}");
    let status = fstat(look_at(&name).unwrap()).unwrap();
    assert_eq!(status.st_mode & 0o777, 0o600);
    unlink(&name).unwrap();
    unlink(&name).unwrap();
    let gone = Sender::<Order>::open(&name).unwrap_err();
    assert_eq!(gone.errno(), Some(Errno::ENOENT));
    assert_eq!(gone.to_string(), format!("cannot open message queue {name}: No such file or directory (ENOENT)"));
}

#[test]
fn a_limit_in_the_way_is_named() {
    let name = name("limits");
    let deep = create::<Order>(&name, 1 << 20).unwrap_err();
    assert!(deep.to_string().contains("sysctl -w fs.mqueue.msg_max=1048576"), "{deep}");
    let long = create::<Huge>(&name, 1).unwrap_err();
    assert!(matches!(&long, QueueError::TooLong { bytes, .. } if *bytes == 1 << 30), "{long}");
    let none = create::<Order>(&name, 0).unwrap_err();
    assert!(none.to_string().contains("EINVAL"), "{none}");

    // The limit is this process's own, so a child has it.
    let needed = charged_bytes(10, Order::MAX_BYTES);
    assert_eq!(needed, 10 * (16 + 96));
    let child = in_child(|| {
        setrlimit(Resource::RLIMIT_MSGQUEUE, needed - 1, needed - 1).unwrap();
        let short = create::<Order>(&name, 10).unwrap_err();
        assert!(
            matches!(&short, QueueError::NoMemory { needed: n, limit, .. } if (*n, *limit) == (needed, needed - 1))
        );
        assert!(short.to_string().contains("RLIMIT_MSGQUEUE"));
    });
    assert!(child, "its message is above");
    let child = in_child(|| {
        setrlimit(Resource::RLIMIT_NOFILE, 0, 0).unwrap();
        let short = create::<Order>(&name, 10).unwrap_err();
        assert!(matches!(&short, QueueError::Other(error) if error.errno() == Some(Errno::EMFILE)), "{short}");
    });
    assert!(child, "its message is above");
}

/// Runs `body` in a forked child; whether it came to its end.
fn in_child(body: impl FnOnce()) -> bool {
    use nix::sys::wait::{WaitStatus, waitpid};
    use nix::unistd::{ForkResult, fork};
    // SAFETY: the child uses no lock that another thread of this process may hold but that of the allocator, which fork(2) of the C
    // library takes care of, and ends by _exit.
    match unsafe { fork() }.unwrap() {
        ForkResult::Parent { child } => matches!(waitpid(child, None).unwrap(), WaitStatus::Exited(_, 0)),
        ForkResult::Child => {
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)).is_ok();
            // SAFETY: ends the child without running the parent's destructors.
            unsafe { libc::_exit(i32::from(!done)) }
        }
    }
}

#[test]
fn an_event_loop_sees_messages_come_and_room() {
    const READABLE: Token = Token(1);
    const WRITABLE: Token = Token(2);
    let (mut sender, mut receiver) = queue("loop", 2);
    let mut poll = Poll::new().unwrap();
    let register = |fd: BorrowedFd<'_>, token, interest| {
        poll.registry().register(&mut SourceFd(&fd.as_raw_fd()), token, interest).unwrap();
    };
    register(receiver.as_fd(), READABLE, Interest::READABLE);
    register(sender.as_fd(), WRITABLE, Interest::WRITABLE);
    let mut seen = |expected: &[Token]| {
        let mut events = Events::with_capacity(8);
        poll.poll(&mut events, Some(Duration::from_secs(if expected.is_empty() { 0 } else { 10 }))).unwrap();
        let mut tokens: Vec<_> = events.iter().map(|event| event.token()).collect();
        tokens.sort();
        assert_eq!(tokens, expected);
    };
    seen(&[WRITABLE]);
    // As mio is edge-triggered: once, until something else happens.
    seen(&[]);
    for number in 1..=2 {
        sender.send(&order(number), Priority::Normal).unwrap();
    }
    seen(&[READABLE]);
    assert!(matches!(sender.send(&order(3), Priority::Normal), Err(SendError::Full)));
    seen(&[]);
    // The queue was full: now there is room, and the other message is still there.
    assert!(matches!(receiver.receive().unwrap(), Received::Message(..)));
    seen(&[READABLE, WRITABLE]);
    assert!(matches!(receiver.receive().unwrap(), Received::Message(..)));
    assert_eq!(receiver.receive().unwrap(), Received::Empty);
}

#[test]
fn a_message_outlives_its_sender_and_waits_for_the_next_receiver() {
    let name = name("heirs");
    create::<Order>(&name, 8).unwrap();
    let sent = in_child(|| {
        let mut sender = Sender::open(&name).unwrap();
        (1..=3).for_each(|number| sender.send(&order(number), Priority::Normal).unwrap());
    });
    // A receiver that dies takes with it only what it has taken.
    let taken = in_child(|| {
        let mut receiver = Receiver::open(&name).unwrap();
        assert_eq!(receiver.receive().unwrap(), Received::Message(order(1), Priority::Normal));
    });
    assert!(sent && taken);
    let mut receiver = Receiver::open(&name).unwrap();
    unlink(&name).unwrap();
    for number in 2..=3 {
        assert_eq!(receiver.receive().unwrap(), Received::Message(order(number), Priority::Normal));
    }
}
