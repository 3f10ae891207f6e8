//! A sealed memfd: memory that is given to another process, and that neither of the two can change any more.
//!
//!     cargo run --example sealed_memfd
//!
//! Shared memory from a stranger is dangerous to read: it may change between a check and a use, and a file that is shortened under a
//! mapping ends the reader with SIGBUS. A memfd can be *sealed*: from then on the kernel refuses to write, shorten or lengthen it, for everybody and for
//! good. The receiver asks for the seals first, and only then for the length, and can rely on both.
//!
//! The parent makes a memfd, writes, passes it unsealed: the child refuses it. It seals and passes it again: the child takes it, reads, and
//! then all that both try to change fails with EPERM.
//!
//! Watch it: `strace -f -e trace=memfd_create,fcntl,sendmsg,recvmsg,pwrite64,ftruncate,mmap target/debug/examples/sealed_memfd`, and
//! `ls -l /proc/PID/fd` shows `/memfd:sealed (deleted)`: it has no path, and goes with its last descriptor.

#![allow(unsafe_code)] // fork, mmap, and taking ownership of a received descriptor

use std::error::Error;
use std::fs::File;
use std::io::{IoSlice, IoSliceMut, Write};
use std::num::NonZeroUsize;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::FileExt;
use std::process::ExitCode;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{MapFlags, ProtFlags, mmap};
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recv, recvmsg, send, sendmsg,
    socketpair,
};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const CONTENT: &[u8] = b"what is written here stays as it is\n";
/// What the child insists on.
const NEEDED: SealFlag = SealFlag::F_SEAL_WRITE.union(SealFlag::F_SEAL_SHRINK).union(SealFlag::F_SEAL_GROW);

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sealed_memfd: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    // SEQPACKET keeps messages apart, so a descriptor arrives with the bytes it was sent with; see the example `pass_fd`.
    let (parent_end, child_end) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
    // SAFETY: this process has one thread, so no lock can be left taken in the child.
    match unsafe { fork() }? {
        ForkResult::Child => {
            drop(parent_end);
            let done = child(&child_end);
            if let Err(error) = &done {
                eprintln!("sealed_memfd, child: {error}");
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
    // Without MFD_ALLOW_SEALING the file would be born with F_SEAL_SEAL, and could never be sealed.
    let mut file = File::from(memfd_create("sealed", MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?);
    file.write_all(CONTENT)?;
    println!("parent: passes a memfd of {} bytes without seals", CONTENT.len());
    pass(socket, &file, b"unsealed")?;

    fcntl(&file, FcntlArg::F_ADD_SEALS(NEEDED | SealFlag::F_SEAL_SEAL))?;
    println!("parent: sealed it, and passes it again");
    refused("parent", "a write", file.write_at(b"X", 0))?;
    pass(socket, &file, b"sealed")?;
    match waitpid(child, None)? {
        WaitStatus::Exited(_, 0) => {}
        other => return Err(format!("the child did not do its part: {other:?}").into()),
    }
    println!("OK: taken only with its seals, and then nobody could change it");
    Ok(())
}

/// Sends a descriptor, and waits until the child has looked at it.
fn pass(socket: &OwnedFd, file: &File, text: &[u8]) -> Result<()> {
    let descriptors = [file.as_raw_fd()];
    let control = [ControlMessage::ScmRights(&descriptors)];
    sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(text)], &control, MsgFlags::MSG_NOSIGNAL, None)?;
    let mut answer = [0; 1];
    match recv(socket.as_raw_fd(), &mut answer, MsgFlags::empty())? {
        1 => Ok(()),
        _ => Err("the child has gone".into()),
    }
}

fn child(socket: &OwnedFd) -> Result<()> {
    let missing = match accept(receive_descriptor(socket)?)? {
        Ok(_) => return Err("an unsealed file was taken".into()),
        Err(missing) => missing,
    };
    println!("child:  refuses it, since it lacks {missing}");
    send(socket.as_raw_fd(), b"!", MsgFlags::MSG_NOSIGNAL)?;

    let file = accept(receive_descriptor(socket)?)?.map_err(|missing| format!("it lacks {missing}"))?;
    let mut read = vec![0; CONTENT.len()];
    file.read_exact_at(&mut read, 0)?;
    println!("child:  takes it, and reads {:?}", String::from_utf8_lossy(&read));
    if read != CONTENT {
        return Err("it reads something else".into());
    }
    refused("child", "a write", file.write_at(b"X", 0))?;
    refused("child", "shortening", file.set_len(1))?;
    refused("child", "lengthening", file.set_len(1 << 20))?;
    let length = NonZeroUsize::new(CONTENT.len()).ok_or("no content")?;
    let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    // SAFETY: a new mapping at an address of the kernel's choice cannot disturb anything in this process; it is refused anyway.
    let mapped = unsafe { mmap(None, length, access, MapFlags::MAP_SHARED, &file, 0) };
    refused("child", "mapping it for writing", mapped.map_err(std::io::Error::from))?;
    send(socket.as_raw_fd(), b"!", MsgFlags::MSG_NOSIGNAL)?;
    Ok(())
}

/// Takes a descriptor if it is sealed; else says what it lacks. The length is asked for after the seals: before, it could still change.
fn accept(descriptor: OwnedFd) -> Result<std::result::Result<File, String>> {
    let seals = SealFlag::from_bits_truncate(fcntl(&descriptor, FcntlArg::F_GET_SEALS)?);
    let missing: Vec<_> = NEEDED.difference(seals).iter_names().map(|(name, _)| name).collect();
    if !missing.is_empty() {
        return Ok(Err(missing.join(", ")));
    }
    let file = File::from(descriptor);
    let length = file.metadata()?.len();
    if length != CONTENT.len() as u64 {
        return Err(format!("it has {length} bytes and not {}", CONTENT.len()).into());
    }
    Ok(Ok(file))
}

/// Says that `what` was refused with EPERM; anything else is a failure.
fn refused<T>(who: &str, what: &str, done: std::io::Result<T>) -> Result<()> {
    match done.map_err(|error| error.raw_os_error().map(Errno::from_raw)) {
        Err(Some(Errno::EPERM)) => {
            println!("{:<7} {what} fails with EPERM", format!("{who}:"));
            Ok(())
        }
        Err(other) => Err(format!("{what} failed with {other:?} and not with EPERM").into()),
        Ok(_) => Err(format!("{what} succeeded").into()),
    }
}

/// Receives exactly one descriptor, and owns whatever arrives before anything else can go wrong; see the example `pass_fd`.
fn receive_descriptor(socket: &OwnedFd) -> Result<OwnedFd> {
    let mut text = [0; 16];
    let mut buffers = [IoSliceMut::new(&mut text)];
    let mut control = nix::cmsg_space!(RawFd);
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut buffers, Some(&mut control), MsgFlags::MSG_CMSG_CLOEXEC)?;
    if message.flags.contains(MsgFlags::MSG_CTRUNC) {
        return Err("the control message was cut off: out of file descriptors?".into());
    }
    let mut descriptors = Vec::new();
    for control_message in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(numbers) = control_message {
            // SAFETY: the kernel has just made these descriptors for this process, and nothing else knows them.
            descriptors.extend(numbers.into_iter().map(|number| unsafe { OwnedFd::from_raw_fd(number) }));
        }
    }
    match (descriptors.pop(), descriptors.is_empty()) {
        (Some(descriptor), true) => Ok(descriptor),
        _ => Err("the message did not come with one descriptor".into()),
    }
}
