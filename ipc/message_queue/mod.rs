//! POSIX message queues (`mq_overview(7)`): short messages with a priority, kept by the kernel until somebody takes them.
//!
//! A queue outlives the processes that use it: what was sent to a process that died is there for its successor. On Linux its descriptor
//! is one that `epoll` takes: readable while there is a message, writable while there is room. Neither side ever waits here, because
//! both have event loops. Both orders are kept: by priority, and among equals by time.
//!
//! Messages are encoded by hand, into at most [`Message::MAX_BYTES`] bytes. What comes out of a queue is input like any other: whoever may open
//! the queue can send anything, so [`Receiver::receive`] tells a message from what is none.
//!
//! A queue whose name is removed lives on for those who have it open. [`names`] finds the queues of an instance.

mod error;
pub mod names;
#[cfg(test)]
mod tests;

use std::fmt;
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd};

use nix::errno::Errno;
use nix::mqueue::{
    MQ_OFlag, MqAttr, MqdT, mq_attr_member_t, mq_close, mq_getattr, mq_open, mq_receive, mq_send, mq_unlink,
};
use nix::sys::stat::Mode;

use crate::ipc::error::IpcError;
pub use error::{QueueError, charged_bytes};
use error::{explain, failed};

/// What goes through a queue.
pub trait Message: Sized {
    /// Bytes of the longest one.
    const MAX_BYTES: usize;

    /// Writes the message to the beginning of `into`, which has [`Message::MAX_BYTES`]; how many bytes it took.
    fn encode(&self, into: &mut [u8]) -> usize;

    /// Reads what [`Message::encode`] wrote; `None` where the bytes are no message.
    fn decode(bytes: &[u8]) -> Option<Self>;
}

/// Which message is taken first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// In its turn.
    Normal,
    /// Before all normal ones.
    Urgent,
}

/// How large a queue is, and how full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// Messages that it may hold.
    pub depth: usize,
    /// Bytes of the longest message.
    pub message_bytes: usize,
    /// Messages in it, at some moment of the call.
    pub queued: usize,
}

/// An open queue, closed when dropped. Not blocking, CLOEXEC: the kernel sets that itself.
struct Descriptor {
    name: String,
    queue: MqdT,
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        // SAFETY: the number of a descriptor that this value owns; nobody uses it after this.
        let queue = unsafe { MqdT::from_raw_fd(self.queue.as_raw_fd()) };
        let _ = mq_close(queue);
    }
}

impl fmt::Debug for Descriptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "message queue {}", self.name)
    }
}

impl Descriptor {
    fn open(name: &str, side: MQ_OFlag) -> Result<Self, IpcError> {
        let flags = side | MQ_OFlag::O_NONBLOCK | MQ_OFlag::O_CLOEXEC;
        let queue = mq_open(name, flags, Mode::empty(), None).map_err(|errno| failed("open", name, errno))?;
        Ok(Descriptor { name: name.to_owned(), queue })
    }

    /// Opens a queue for messages of type `M`.
    fn open_for<M: Message>(name: &str, side: MQ_OFlag) -> Result<Self, IpcError> {
        let queue = Self::open(name, side)?;
        let found = queue.attributes()?.message_bytes;
        if found == M::MAX_BYTES {
            return Ok(queue);
        }
        let reason = format!("its messages have up to {found} bytes, those of this program {}", M::MAX_BYTES);
        Err(IpcError::Foreign { object: format!("message queue {name}"), reason })
    }

    fn attributes(&self) -> Result<Attributes, IpcError> {
        let attributes = mq_getattr(&self.queue).map_err(|errno| failed("look at", &self.name, errno))?;
        let number = |value: mq_attr_member_t| usize::try_from(value).unwrap_or(0);
        Ok(Attributes {
            depth: number(attributes.maxmsg()),
            message_bytes: number(attributes.msgsize()),
            queued: number(attributes.curmsgs()),
        })
    }
}

/// Makes a queue for `depth` messages of type `M`, mode 0600. It is there until its name is removed, whoever lives.
///
/// # Errors
/// The name is taken (EEXIST), or one of the kernel's limits is reached: the error says which, and what to do.
pub fn create<M: Message>(name: &str, depth: usize) -> Result<(), QueueError> {
    let size = |value: usize| mq_attr_member_t::try_from(value).unwrap_or(mq_attr_member_t::MAX);
    let attributes = MqAttr::new(0, size(depth), size(M::MAX_BYTES), 0);
    let flags = MQ_OFlag::O_CREAT | MQ_OFlag::O_EXCL | MQ_OFlag::O_RDWR | MQ_OFlag::O_NONBLOCK | MQ_OFlag::O_CLOEXEC;
    let mode = Mode::S_IRUSR | Mode::S_IWUSR;
    let queue =
        mq_open(name, flags, mode, Some(&attributes)).map_err(|errno| explain(name, depth, M::MAX_BYTES, errno))?;
    drop(Descriptor { name: name.to_owned(), queue });
    Ok(())
}

/// Removes a queue's name; those who have it open keep it.
///
/// # Errors
/// What `mq_unlink(3)` gives, but for a name that is gone already, or never was because the kernel has no queues.
pub fn unlink(name: &str) -> Result<(), IpcError> {
    match mq_unlink(name) {
        Ok(()) | Err(Errno::ENOENT | Errno::ENOSYS) => Ok(()),
        Err(errno) => Err(failed("unlink", name, errno)),
    }
}

/// Opens a queue only to look at it: its descriptor, which `fstat(2)` takes, and its size.
fn look_at(name: &str) -> Result<impl AsFd + use<>, IpcError> {
    struct Looked(Descriptor);
    impl AsFd for Looked {
        fn as_fd(&self) -> BorrowedFd<'_> {
            self.0.queue.as_fd()
        }
    }
    Descriptor::open(name, MQ_OFlag::O_RDONLY).map(Looked)
}

/// Why a message was not sent.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The queue holds as many as it may; its descriptor becomes writable when one is taken.
    #[error("the message queue is full")]
    Full,
    /// Anything else.
    #[error(transparent)]
    Failed(#[from] IpcError),
}

/// The end of a queue that messages are put into. There may be several.
#[derive(Debug)]
pub struct Sender<M: Message> {
    queue: Descriptor,
    buffer: Box<[u8]>,
    _messages: PhantomData<fn(M)>,
}

impl<M: Message> Sender<M> {
    /// Opens an existing queue.
    ///
    /// # Errors
    /// There is none, it may not be opened, or its messages have another size.
    pub fn open(name: &str) -> Result<Self, IpcError> {
        let queue = Descriptor::open_for::<M>(name, MQ_OFlag::O_WRONLY)?;
        Ok(Sender { queue, buffer: vec![0; M::MAX_BYTES].into(), _messages: PhantomData })
    }

    /// Puts a message in; never waits.
    ///
    /// # Errors
    /// [`SendError::Full`], or what `mq_send(3)` gives.
    pub fn send(&mut self, message: &M, priority: Priority) -> Result<(), SendError> {
        let length = message.encode(&mut self.buffer);
        loop {
            return match mq_send(&self.queue.queue, &self.buffer[..length], priority as u32) {
                Ok(()) => Ok(()),
                Err(Errno::EINTR) => continue,
                Err(Errno::EAGAIN) => Err(SendError::Full),
                Err(errno) => Err(SendError::Failed(failed("send to", &self.queue.name, errno))),
            };
        }
    }

    /// How large the queue is, and how full.
    ///
    /// # Errors
    /// What `mq_getattr(3)` gives.
    pub fn attributes(&self) -> Result<Attributes, IpcError> {
        self.queue.attributes()
    }
}

impl<M: Message> AsFd for Sender<M> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.queue.queue.as_fd()
    }
}

/// What was in a queue.
#[derive(Debug, PartialEq, Eq)]
pub enum Received<M> {
    /// The first message of the highest priority.
    Message(M, Priority),
    /// So many bytes that are no message.
    Malformed(usize),
    /// Nothing; the descriptor becomes readable when a message comes.
    Empty,
}

/// The end of a queue that messages are taken from. A message goes to one receiver.
#[derive(Debug)]
pub struct Receiver<M: Message> {
    queue: Descriptor,
    buffer: Box<[u8]>,
    _messages: PhantomData<fn() -> M>,
}

impl<M: Message> Receiver<M> {
    /// Opens an existing queue.
    ///
    /// # Errors
    /// As of [`Sender::open`].
    pub fn open(name: &str) -> Result<Self, IpcError> {
        let queue = Descriptor::open_for::<M>(name, MQ_OFlag::O_RDONLY)?;
        Ok(Receiver { queue, buffer: vec![0; M::MAX_BYTES].into(), _messages: PhantomData })
    }

    /// Takes a message out; never waits.
    ///
    /// # Errors
    /// What `mq_receive(3)` gives.
    pub fn receive(&mut self) -> Result<Received<M>, IpcError> {
        let mut priority = 0;
        loop {
            let length = match mq_receive(&self.queue.queue, &mut self.buffer, &mut priority) {
                Ok(length) => length,
                Err(Errno::EINTR) => continue,
                Err(Errno::EAGAIN) => return Ok(Received::Empty),
                Err(errno) => return Err(failed("receive from", &self.queue.name, errno)),
            };
            let priority = if priority == 0 { Priority::Normal } else { Priority::Urgent };
            let message = M::decode(&self.buffer[..length]);
            return Ok(message.map_or(Received::Malformed(length), |message| Received::Message(message, priority)));
        }
    }

    /// How large the queue is, and how full.
    ///
    /// # Errors
    /// What `mq_getattr(3)` gives.
    pub fn attributes(&self) -> Result<Attributes, IpcError> {
        self.queue.attributes()
    }
}

impl<M: Message> AsFd for Receiver<M> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.queue.queue.as_fd()
    }
}
