//! What goes between the cache process and those who ask it: commands through a message queue, contents through the pool of segments.
//!
//! A worker claims a segment ([`crate::store::transfer`]) and sends [`Command::Get`] with its name. The cache process picks the segment up
//! and answers in it: [`Detail`] and [`Refusal`] say what the words of its header mean. `vaultctl` sends the other commands, and gets [`Reply`]s
//! through a queue of its own.

mod answer;
mod command;
mod descriptors;
mod reply;
mod row;

use std::sync::Arc;

use crate::ipc::IpcError;
use crate::ipc::event::EventFd;
use crate::ipc::message_queue::{self, QueueError, Receiver, Sender};
use crate::ipc::names::Generation;
use crate::ipc::segment::Access;
use crate::store::transfer::{Pool, Shape, WakeUps};
pub use answer::{CacheStatus, Detail, Refusal};
pub use command::{Command, ReplyTo};
pub use descriptors::{DescriptorReceiver, DescriptorSender};
pub use reply::{EntryState, ListedEntry, REPLIES, Reply};
pub use row::CacheRow;

/// The queue of commands: its object.
pub const QUEUE: &str = "cache";
/// Commands that it may hold: what Linux allows to everybody (`fs.mqueue.msg_max`). Who finds it full waits until it is writable.
pub const QUEUE_DEPTH: usize = 10;

/// Why the channel could not be made or opened.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// Its memory could not.
    #[error(transparent)]
    Memory(#[from] IpcError),
    /// Its queue could not.
    #[error(transparent)]
    Queue(#[from] QueueError),
}

/// The channel as the processes of the instance have it.
pub struct CacheChannel {
    generation: Generation,
    /// Where contents go.
    pub pool: Pool,
    /// How the sides wake each other.
    pub wake_ups: WakeUps,
}

impl CacheChannel {
    /// Makes the pool and the queue. Only the master, before it forks.
    ///
    /// # Errors
    /// One of them cannot be made. Nothing is left then.
    pub fn create(
        generation: &Generation,
        shape: Shape,
        workers: Vec<Arc<EventFd>>,
        cache: Arc<EventFd>,
    ) -> Result<Self, ChannelError> {
        let pool = Pool::create(generation, shape)?;
        if let Err(error) = message_queue::create::<Command>(&generation.name(QUEUE), QUEUE_DEPTH) {
            Pool::unlink(generation)?;
            return Err(error.into());
        }
        Ok(CacheChannel { generation: generation.clone(), pool, wake_ups: WakeUps::new(workers, cache) })
    }

    /// Opens the channel of a running instance, to go on with it in another program of the same process.
    ///
    /// # Errors
    /// There is none, or it has another layout.
    pub fn adopt(
        generation: &Generation,
        workers: Vec<Arc<EventFd>>,
        cache: Arc<EventFd>,
    ) -> Result<Self, ChannelError> {
        let pool = Pool::open(generation, Access::Write)?;
        Ok(CacheChannel { generation: generation.clone(), pool, wake_ups: WakeUps::new(workers, cache) })
    }

    /// Removes both names, the queue first: as long as anything is left, the instance's control segment is there to say whose it is.
    ///
    /// # Errors
    /// The first that could not be removed.
    pub fn unlink(generation: &Generation) -> Result<(), IpcError> {
        message_queue::unlink(&generation.name(QUEUE)).and(Pool::unlink(generation))
    }

    /// The end of the queue that commands are sent to; each process opens its own.
    ///
    /// # Errors
    /// There is none.
    pub fn sender(generation: &Generation) -> Result<Sender<Command>, IpcError> {
        Sender::open(&generation.name(QUEUE))
    }

    /// The end that the cache process takes them from.
    ///
    /// # Errors
    /// There is none.
    pub fn receiver(&self) -> Result<Receiver<Command>, IpcError> {
        Receiver::open(&self.generation.name(QUEUE))
    }

    /// Whose it is.
    #[must_use]
    pub fn generation(&self) -> &Generation {
        &self.generation
    }
}

/// The object of the queue by which a process with this id is replied to.
#[must_use]
pub fn reply_queue(reply_to: ReplyTo) -> String {
    format!("cache-reply-{}", reply_to.0)
}
