//! Descriptors over a socketpair (`unix(7)`, SCM_RIGHTS).
//!
//! The pair is SEQPACKET, so that a message and its descriptor stay together; on a stream the kernel joins neighbouring
//! writes, and a plain read drops descriptors without a word. Each message carries at most one.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, sendmsg, socketpair,
};

use crate::ipc::error::IpcError;

/// A message that was received, and the descriptor that came with it.
#[derive(Debug)]
pub struct Message {
    /// Bytes of the message; they stand at the beginning of the buffer that was given.
    pub length: usize,
    /// The descriptor, open in this process, with CLOEXEC set.
    pub fd: Option<OwnedFd>,
}

/// A connected pair of SEQPACKET sockets, both non-blocking and CLOEXEC.
///
/// # Errors
/// What `socketpair(2)` gives.
pub fn pair() -> Result<(OwnedFd, OwnedFd), IpcError> {
    socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC)
        .map_err(|errno| IpcError::system("make", "a SEQPACKET socketpair", errno))
}

/// Sends `bytes` as one message, with a copy of `fd` where there is one. Never waits.
///
/// # Errors
/// `WouldBlock` when the other side's queue is full; what `sendmsg(2)` gives else.
pub fn send(socket: BorrowedFd<'_>, bytes: &[u8], fd: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let raw: [RawFd; 1] = [fd.map_or(-1, |fd| fd.as_raw_fd())];
    let rights = [ControlMessage::ScmRights(&raw)];
    let control: &[ControlMessage<'_>] = if fd.is_some() { &rights } else { &[] };
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    loop {
        match sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(bytes)], control, flags, None) {
            Ok(_) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Receives one message into `buffer`; `None` when the other side is closed. Never waits.
///
/// # Errors
/// `WouldBlock` when there is none; `InvalidData` when the message was longer than the buffer or its descriptor could not be
/// installed (this process is at its limit of open files): then whatever was installed is closed again.
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Option<Message>> {
    // Room for one descriptor is, by alignment, room for two: the loop below closes what is too many.
    let mut space = cmsg_space!([RawFd; 1]);
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
    let mut parts = [IoSliceMut::new(buffer)];
    let message = loop {
        match recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut space), flags) {
            Ok(message) => break message,
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    };
    let length = message.bytes;
    let truncated = message.flags.intersects(MsgFlags::MSG_CTRUNC | MsgFlags::MSG_TRUNC);
    let mut received: Vec<OwnedFd> = Vec::new();
    // With MSG_CTRUNC nix gives an error instead of the messages. The kernel installs no descriptor that does not fit, and
    // the space holds one, so nothing can be lost then: it is set because installing that one failed.
    for control in message.cmsgs().into_iter().flatten() {
        if let ControlMessageOwned::ScmRights(fds) = control {
            // SAFETY: the kernel has just installed these descriptors in this process, and nobody else knows them.
            received.extend(fds.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
        }
    }
    if truncated || received.len() > 1 {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "a passed descriptor was lost: the limit of open files is reached, or the message was too long",
        ));
    }
    let fd = received.pop();
    Ok((length > 0 || fd.is_some()).then_some(Message { length, fd }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::fcntl::{FcntlArg, FdFlag, fcntl};
    use std::fs::File;
    use std::io::{Read, Seek, Write};
    use std::os::fd::AsFd;

    #[test]
    fn a_descriptor_keeps_its_open_file() {
        let (near, far) = pair().unwrap();
        let mut file = tempfile::tempfile().unwrap();
        send(near.as_fd(), b"take this", Some(file.as_fd())).unwrap();
        let mut buffer = [0; 32];
        let message = receive(far.as_fd(), &mut buffer).unwrap().unwrap();
        assert_eq!(&buffer[..message.length], b"take this");
        let passed = message.fd.unwrap();
        assert_ne!(passed.as_raw_fd(), file.as_raw_fd());
        let flags = FdFlag::from_bits_truncate(fcntl(&passed, FcntlArg::F_GETFD).unwrap());
        assert!(flags.contains(FdFlag::FD_CLOEXEC));
        let mut passed = File::from(passed);
        file.write_all(b"shared").unwrap();
        file.rewind().unwrap();
        let mut text = String::new();
        passed.read_to_string(&mut text).unwrap();
        assert_eq!(text, "shared", "the offset is the open file's, not the descriptor's");
    }

    #[test]
    fn messages_stay_apart_and_the_end_is_seen() {
        let (near, far) = pair().unwrap();
        send(near.as_fd(), b"one", None).unwrap();
        send(near.as_fd(), b"two", None).unwrap();
        let mut buffer = [0; 32];
        assert_eq!(receive(far.as_fd(), &mut buffer).unwrap().unwrap().length, 3);
        assert_eq!(&buffer[..3], b"one");
        assert_eq!(receive(far.as_fd(), &mut buffer).unwrap().unwrap().length, 3);
        assert_eq!(receive(far.as_fd(), &mut buffer).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(near);
        assert!(receive(far.as_fd(), &mut buffer).unwrap().is_none());
    }
}
