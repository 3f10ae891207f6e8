//! The channel as a whole, as the processes of an instance have it.

use std::sync::Arc;

use crate::ipc::IpcError;
use crate::ipc::event::EventFd;
use crate::ipc::message_queue::names::queues_of;
use crate::ipc::message_queue::{self, Attributes, QueueError, Receiver, Sender};
use crate::ipc::names::Generation;
use crate::ipc::segment::Access;
use crate::store::cache_channel::{Command, QUEUE, QUEUE_DEPTH, makes_queue};
use crate::store::transfer::{Pool, Shape, WakeUps};

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

    /// Looks whether both parts of a running instance's channel are there, and opens its pool: before another program of the same
    /// process goes on with it.
    ///
    /// # Errors
    /// One of them is not there, or has another layout.
    pub fn find(generation: &Generation) -> Result<Pool, IpcError> {
        Self::attributes(generation)?;
        Pool::open(generation, Access::Write)
    }

    /// The channel of a running instance, in another program of the same process, with the pool that [`CacheChannel::find`] has opened.
    #[must_use]
    pub fn adopt(generation: &Generation, pool: Pool, workers: Vec<Arc<EventFd>>, cache: Arc<EventFd>) -> Self {
        CacheChannel { generation: generation.clone(), pool, wake_ups: WakeUps::new(workers, cache) }
    }

    /// Removes both names, the queue first, and those of queues of replies that dead tools have left, where they can be found. All this
    /// before the instance's control segment: as long as anything is left, that is there to say whose it is.
    ///
    /// # Errors
    /// The first that could not be removed.
    pub fn unlink(generation: &Generation) -> Result<(), IpcError> {
        let mut replies = queues_of(&generation.instance, &[], &[]);
        replies.retain(|queue| queue.generation == *generation && makes_queue(&queue.object));
        message_queue::unlink(&generation.name(QUEUE))
            .and(message_queue::names::remove(&replies))
            .and(Pool::unlink(generation))
    }

    /// Whether a queue can be made under this name: makes one, and removes it again.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn try_queue(generation: &Generation) -> Result<(), ChannelError> {
        let name = generation.name(QUEUE);
        message_queue::create::<Command>(&name, QUEUE_DEPTH)?;
        Ok(message_queue::unlink(&name)?)
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

    /// How large the queue of a running instance is, and how full.
    ///
    /// # Errors
    /// There is none, or it is of other commands.
    pub fn attributes(generation: &Generation) -> Result<Attributes, IpcError> {
        Receiver::<Command>::open(&generation.name(QUEUE))?.attributes()
    }

    /// The full name of the queue.
    #[must_use]
    pub fn queue_name(&self) -> String {
        self.generation.name(QUEUE)
    }

    /// Whose it is.
    #[must_use]
    pub fn generation(&self) -> &Generation {
        &self.generation
    }
}
