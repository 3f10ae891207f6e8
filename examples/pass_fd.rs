//! Passing an open file from one process to another: SCM_RIGHTS over a Unix socketpair.
//!
//!     cargo run --example pass_fd
//!
//! A parent opens a file that its child, forked earlier, cannot know, and sends the file descriptor. What arrives is not
//! a copy of the number but a second descriptor for the same *open file description*: the number differs as it likes,
//! while the read position is one and the same. The program checks this, and fails if it does not hold.
//!
//! Watch it: `strace -f -e trace=socketpair,sendmsg,recvmsg,read,lseek target/debug/examples/pass_fd`

#![allow(unsafe_code)] // fork, and taking ownership of a received descriptor

use std::error::Error;
use std::fs::File;
use std::io::{IoSlice, IoSliceMut, Read, Seek, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::process::ExitCode;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recv, recvmsg, send, sendmsg,
    socketpair,
};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// What the file holds; the parent reads the first four bytes, the child the next three.
const CONTENT: &[u8] = b"0123456789";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pass_fd: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    // SEQPACKET, not STREAM: it keeps messages apart, so a descriptor always arrives with the bytes it was sent with.
    // On a stream it could be merged with later bytes, and a plain `read` of those would drop it silently.
    let (parent_end, child_end) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;

    // SAFETY: this process has one thread, so no lock can be left taken in the child.
    match unsafe { fork() }? {
        ForkResult::Child => {
            // Without this the child would hold its peer open, and never see the end of it.
            drop(parent_end);
            let done = child(&child_end);
            if let Err(error) = &done {
                eprintln!("pass_fd, child: {error}");
            }
            std::process::exit(if done.is_ok() { 0 } else { 1 })
        }
        ForkResult::Parent { child } => {
            drop(child_end);
            parent(&parent_end, child)
        }
    }
}

fn parent(socket: &OwnedFd, child: Pid) -> Result<()> {
    // Made after the fork: the child has not inherited it, and a memfd has no path by which it could open it.
    let mut file = File::from(memfd_create("passed", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(CONTENT)?;
    file.rewind()?;
    let mut first = [0; 4];
    file.read_exact(&mut first)?;
    println!("parent: fd {} is open; read {:?}, now at offset 4", file.as_raw_fd(), text(&first));

    // At least one byte of ordinary data must go with the descriptor.
    let descriptors = [file.as_raw_fd()];
    let control = [ControlMessage::ScmRights(&descriptors)];
    sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(b"!")], &control, MsgFlags::MSG_NOSIGNAL, None)?;

    // The child's one-byte answer says that it has read. Should it die first, this returns 0 bytes: no hang.
    let mut answer = [0; 1];
    let answered = recv(socket.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    match waitpid(child, None)? {
        WaitStatus::Exited(_, 0) if answered == 1 => {}
        other => return Err(format!("the child did not do its part: {other:?}").into()),
    }

    // Nobody moved this process's offset but the child, through its own descriptor.
    let offset = file.stream_position()?;
    println!("parent: fd {} is now at offset {offset}, although only the child read", file.as_raw_fd());
    if offset != 7 {
        return Err(format!("the offset is {offset} and not 7: it is not shared").into());
    }
    println!("OK: two descriptors, one open file");
    Ok(())
}

fn child(socket: &OwnedFd) -> Result<()> {
    let received = receive_descriptor(socket)?;
    let flags = FdFlag::from_bits_truncate(fcntl(&received, FcntlArg::F_GETFD)?);
    if !flags.contains(FdFlag::FD_CLOEXEC) {
        return Err("the received descriptor would survive an exec: close-on-exec is not set".into());
    }
    let mut file = File::from(received);
    let mut next = [0; 3];
    file.read_exact(&mut next)?;
    println!("child:  received it as fd {} (close-on-exec set); read {:?}", file.as_raw_fd(), text(&next));
    if next != CONTENT[4..7] {
        return Err(format!("read {:?} and not what follows the parent's bytes", text(&next)).into());
    }
    send(socket.as_raw_fd(), b"!", MsgFlags::MSG_NOSIGNAL)?;
    Ok(())
}

/// Receives exactly one descriptor, and owns whatever arrives before anything else can go wrong.
fn receive_descriptor(socket: &OwnedFd) -> Result<OwnedFd> {
    let mut byte = [0; 1];
    let mut buffers = [IoSliceMut::new(&mut byte)];
    let mut control = nix::cmsg_space!(RawFd);
    // MSG_CMSG_CLOEXEC sets the flag as the descriptor is made; setting it afterwards leaves a gap for another
    // thread's fork and exec.
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut buffers, Some(&mut control), MsgFlags::MSG_CMSG_CLOEXEC)?;

    // A receiver that is out of descriptors, or has too small a control buffer, gets its bytes and this flag: the call
    // succeeds and the descriptor is lost.
    if message.flags.contains(MsgFlags::MSG_CTRUNC) {
        return Err("the control message was cut off: out of file descriptors?".into());
    }
    if message.bytes == 0 {
        return Err("the parent has gone".into());
    }
    let mut descriptors = Vec::new();
    for control_message in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(numbers) = control_message {
            // SAFETY: the kernel has just made these descriptors for this process, and nothing else knows them.
            descriptors.extend(numbers.into_iter().map(|number| unsafe { OwnedFd::from_raw_fd(number) }));
        }
    }
    // Padding gives a buffer for one descriptor room for two, so a sender could slip in another. Owned, it is closed.
    match (descriptors.pop(), descriptors.is_empty()) {
        (Some(descriptor), true) => Ok(descriptor),
        (None, _) => Err("the message came without a descriptor".into()),
        (Some(_), false) => Err("the message came with more than one descriptor".into()),
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
