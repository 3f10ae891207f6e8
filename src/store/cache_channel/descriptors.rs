//! How the cache process passes the descriptor of a sealed memfd to a worker, instead of copying its bytes into the chunks of a segment.
//!
//! The cache process listens at an abstract socket, and each worker connects to it and says its number. A descriptor is sent with the name
//! of the segment that the request came by, **before** the segment says that the contents come that way: so a worker that has
//! read this finds the descriptor in its socket. A death on either side ends the connection, and all that is in it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::base::limits::MAX_WORKERS;
use crate::ipc::error::IpcError;
use crate::ipc::fdpass;
use crate::ipc::local_socket::{self, Listener};
use crate::ipc::names::Generation;
use crate::store::transfer::SegmentId;

fn name(generation: &Generation) -> String {
    // Names of objects begin with a slash.
    generation.name("cache-descriptors").trim_start_matches('/').to_owned()
}

/// The cache process' side: the workers that are connected.
pub struct DescriptorSender {
    listener: Listener,
    /// Connections whose worker is not known yet.
    strangers: Vec<OwnedFd>,
    workers: Vec<Option<OwnedFd>>,
}

impl DescriptorSender {
    /// Listens.
    ///
    /// # Errors
    /// The name is taken, or there are too many descriptors.
    pub fn listen(generation: &Generation) -> Result<Self, IpcError> {
        let listener = Listener::bind(&name(generation))?;
        Ok(DescriptorSender { listener, strangers: Vec::new(), workers: (0..MAX_WORKERS).map(|_| None).collect() })
    }

    /// What becomes readable when a worker connects.
    #[must_use]
    pub fn listener(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }

    /// Takes in the workers that have connected since. A worker that comes again replaces the one before it.
    pub fn take_in(&mut self) {
        while let Ok(Some(socket)) = self.listener.accept() {
            // As many as there can be workers say who they are at once: whoever is more is not one of them.
            if self.strangers.len() < MAX_WORKERS
                && local_socket::peer(socket.as_fd()).is_ok_and(local_socket::Peer::is_this_user)
            {
                self.strangers.push(socket);
            }
        }
        for socket in std::mem::take(&mut self.strangers) {
            let mut number = [0; 2];
            match fdpass::receive(socket.as_fd(), &mut number) {
                Ok(Some(message)) if message.length == number.len() => {
                    if let Some(place) = self.workers.get_mut(usize::from(u16::from_le_bytes(number))) {
                        *place = Some(socket);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.strangers.push(socket),
                _ => {}
            }
        }
    }

    /// Passes a descriptor to worker `worker`, for the request that came by `segment`; whether it was passed. If not, the contents have to go
    /// through the chunks: the worker is not connected, or has too much that it has not taken.
    pub fn pass(&mut self, worker: u16, segment: SegmentId, fd: BorrowedFd<'_>) -> bool {
        let worker = usize::from(worker);
        if self.send(worker, segment, fd) {
            return true;
        }
        if self.workers.get(worker).is_none_or(Option::is_some) {
            return false;
        }
        // It may have connected since, or a successor of it.
        self.take_in();
        self.send(worker, segment, fd)
    }

    fn send(&mut self, worker: usize, segment: SegmentId, fd: BorrowedFd<'_>) -> bool {
        let Some(place) = self.workers.get_mut(worker) else { return false };
        let Some(socket) = place else { return false };
        match fdpass::send(socket.as_fd(), &segment.to_bytes(), Some(fd)) {
            Ok(()) => true,
            Err(error) => {
                // Else too many wait to be taken, in this socket (EAGAIN) or in all of this user's (ETOOMANYREFS).
                if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) {
                    *place = None;
                }
                false
            }
        }
    }
}

/// A worker's side.
pub struct DescriptorReceiver {
    socket: OwnedFd,
}

impl DescriptorReceiver {
    /// Connects worker `worker` to the cache process whose id is `cache_pid`.
    ///
    /// # Errors
    /// Nobody listens, or somebody else than that process does (`PermissionDenied`).
    pub fn connect(generation: &Generation, worker: u16, cache_pid: u32) -> io::Result<Self> {
        let socket = local_socket::connect(&name(generation))?;
        if local_socket::peer(socket.as_fd())?.pid != cache_pid {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        fdpass::send(socket.as_fd(), &worker.to_le_bytes(), None)?;
        Ok(DescriptorReceiver { socket })
    }

    /// The next descriptor, and the segment by which it was asked for; `None` when there is none. Never waits.
    ///
    /// # Errors
    /// `UnexpectedEof` when the cache process has ended, `InvalidData` when a descriptor was lost (this process is at its limit of open
    /// files), or when what came is none.
    pub fn receive(&self) -> io::Result<Option<(SegmentId, OwnedFd)>> {
        let mut segment = [0; SegmentId::BYTES];
        let message = match fdpass::receive(self.socket.as_fd(), &mut segment) {
            Ok(Some(message)) => message,
            Ok(None) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error),
        };
        match message.fd {
            Some(fd) if message.length == segment.len() => Ok(Some((SegmentId::from_bytes(segment), fd))),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::ipc::memfd::{MemoryFile, SealedFile};

    #[test]
    fn a_descriptor_comes_to_the_worker_that_asked_and_to_no_successor() {
        let generation = Generation { instance: format!("test-descriptors-{}", std::process::id()), boot: 1 };
        let connect = |worker| DescriptorReceiver::connect(&generation, worker, std::process::id());
        assert_eq!(connect(0).err().map(|error| error.kind()), Some(io::ErrorKind::ConnectionRefused));
        let mut sender = DescriptorSender::listen(&generation).unwrap();
        let (first, other) = (connect(3).unwrap(), connect(5).unwrap());
        let wrong = DescriptorReceiver::connect(&generation, 3, 1).err().map(|error| error.kind());
        assert_eq!(wrong, Some(io::ErrorKind::PermissionDenied), "another process than the cache listens");
        let mut memory = MemoryFile::create("test").unwrap();
        memory.write_all(b"contents").unwrap();
        let sealed = memory.seal().unwrap();
        let segment = |number| SegmentId { number, generation: 7 };
        assert!(!sender.pass(4, segment(0), sealed.file().as_fd()), "nobody is connected");
        assert!(!sender.pass(u16::MAX, segment(0), sealed.file().as_fd()), "no worker has such a number");
        assert!(sender.pass(3, segment(1), sealed.file().as_fd()) && sender.pass(5, segment(2), sealed.file().as_fd()));
        let (id, fd) = first.receive().unwrap().unwrap();
        assert_eq!((id, SealedFile::receive(fd, 8).unwrap().bytes()), (segment(1), 8));
        assert!(first.receive().unwrap().is_none());

        // What was sent to one that died is not there for its successor.
        assert!(sender.pass(5, segment(3), sealed.file().as_fd()));
        drop(other);
        let successor = connect(5).unwrap();
        assert!(sender.pass(5, segment(4), sealed.file().as_fd()));
        assert_eq!(successor.receive().unwrap().map(|(id, _)| id), Some(segment(4)));
        assert!(successor.receive().unwrap().is_none());

        // A worker that takes nothing is not waited for.
        let passed = (0..100_000).take_while(|&number| sender.pass(5, segment(number), sealed.file().as_fd())).count();
        assert!((1..100_000).contains(&passed), "{passed}");
        assert!(successor.receive().unwrap().is_some() && sender.pass(5, segment(0), sealed.file().as_fd()));
        drop(sender);
        while successor.receive().is_ok_and(|received| received.is_some()) {}
        assert_eq!(successor.receive().err().map(|error| error.kind()), Some(io::ErrorKind::UnexpectedEof));
    }
}
