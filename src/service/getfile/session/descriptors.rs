//! The worker's end of the way by which descriptors come from the cache process (`--cache-channel memfd`).

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::base::limits::SMALL_GETFILE_BYTES;
use crate::ipc::memfd::SealedFile;
use crate::ipc::names::Generation;
use crate::service::outgoing::Content;
use crate::store::cache_channel::DescriptorReceiver;
use crate::store::transfer::SegmentId;

/// The descriptors that come to one worker. Nothing of it ever waits.
pub struct Descriptors {
    generation: Generation,
    worker: u16,
    /// `None` as long as this worker is not connected: then contents come through chunks.
    receiver: Option<DescriptorReceiver>,
    /// Those that came before their request looked for them.
    arrived: Vec<(SegmentId, OwnedFd)>,
}

impl Descriptors {
    /// Those of worker `worker`, which is not connected yet.
    #[must_use]
    pub fn new(generation: &Generation, worker: u16) -> Self {
        Descriptors { generation: generation.clone(), worker, receiver: None, arrived: Vec::new() }
    }

    /// Connects to the cache process with this id, if that listens already. `is_open` says whether a segment is that of a request that may
    /// still look for its descriptor: what a predecessor has sent to such a one holds.
    pub fn connect(&mut self, cache_pid: u32, is_open: impl Fn(SegmentId) -> bool) {
        self.take_all(is_open);
        self.receiver = None;
        if cache_pid == 0 {
            return;
        }
        match DescriptorReceiver::connect(&self.generation, self.worker, cache_pid) {
            Ok(receiver) => self.receiver = Some(receiver),
            Err(error) => log::debug!("no descriptors can come from the cache process yet: {error}"),
        }
    }

    /// Whether this worker is connected.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.receiver.is_some()
    }

    /// Takes the descriptor for a request, by the name of its segment. Those that come before it are kept where `is_open` says that they
    /// are still wanted, and else closed.
    pub fn take(&mut self, wanted: SegmentId, is_open: impl Fn(SegmentId) -> bool) -> Option<OwnedFd> {
        if let Some(place) = self.arrived.iter().position(|&(id, _)| id == wanted) {
            return Some(self.arrived.swap_remove(place).1);
        }
        while let Some((id, fd)) = self.next() {
            if id == wanted {
                return Some(fd);
            }
            if is_open(id) {
                self.arrived.push((id, fd));
            }
        }
        None
    }

    /// Takes all that have come, and closes those that nobody wants any more.
    pub fn take_all(&mut self, is_open: impl Fn(SegmentId) -> bool) {
        self.arrived.retain(|&(id, _)| is_open(id));
        while let Some((id, fd)) = self.next() {
            if is_open(id) {
                self.arrived.push((id, fd));
            }
        }
    }

    fn next(&mut self) -> Option<(SegmentId, OwnedFd)> {
        loop {
            match self.receiver.as_ref()?.receive() {
                Ok(received) => return received,
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    log::warn!("a descriptor from the cache process is lost: too many files are open in this worker");
                }
                Err(error) => {
                    if error.kind() != io::ErrorKind::UnexpectedEof {
                        log::warn!("no more descriptors come from the cache process: {error}");
                    }
                    self.receiver = None;
                }
            }
        }
    }
}

/// What is sent of a sealed file of `length` bytes: a small one is read, to go out together with its head.
///
/// # Errors
/// Why the descriptor is not taken.
pub fn content_of(fd: OwnedFd, length: u64) -> Result<Arc<Content>, String> {
    let file = SealedFile::receive(fd, length).map_err(|error| error.to_string())?;
    Ok(Arc::new(match usize::try_from(length) {
        Ok(small) if small <= SMALL_GETFILE_BYTES => {
            let mut bytes = vec![0; small];
            file.read_exact_at(&mut bytes, 0).map_err(|error| format!("it cannot be read: {error}"))?;
            Content::Bytes(bytes.into())
        }
        _ => Content::Open(file.into_file()),
    }))
}
