//! Files that are served: opened where nothing leads out of a folder, and sent without a copy through this process.

use std::fs::File;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::sys::sendfile::sendfile64;
use nix::sys::socket::{MsgFlags, sendmsg};
use nix::sys::stat::Mode;
use nix::sys::statfs::{TMPFS_MAGIC, fstatfs};

use crate::ipc::error::IpcError;

/// How often a path is resolved again that was changed while the kernel resolved it.
const TRIES: usize = 8;
/// How files are opened.
const FLAGS: OFlag = OFlag::O_RDONLY.union(OFlag::O_CLOEXEC).union(OFlag::O_NONBLOCK).union(OFlag::O_NOCTTY);
/// Only by what the kernel has in memory of the path (since Linux 5.12).
const CACHED: ResolveFlag = ResolveFlag::from_bits_retain(libc::RESOLVE_CACHED);

/// A folder for [`open_beneath`].
///
/// # Errors
/// There is none at `path`, or it may not be entered.
pub fn open_folder(path: &Path) -> Result<OwnedFd, IpcError> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    open(path, flags, Mode::empty())
        .map_err(|errno| IpcError::system("open the folder", path.display().to_string(), errno))
}

/// Opens what lies at `path` beneath `folder`, for reading. Neither `..` nor a symbolic link nor anything else leads out of it:
/// that is the kernel's to see to, while it resolves the path (RESOLVE_BENEATH, `openat2(2)`). Never waits for a pipe's other end.
///
/// # Errors
/// What the kernel says; EXDEV for what would lead out.
pub fn open_beneath(folder: BorrowedFd<'_>, path: &[u8]) -> io::Result<File> {
    let mut opened = Err(Errno::EAGAIN);
    for _ in 0..TRIES {
        opened = openat2(folder, beneath(path), how_beneath(ResolveFlag::empty()));
        // Something was renamed meanwhile, and the kernel cannot be sure.
        if !matches!(opened, Err(Errno::EAGAIN | Errno::EINTR)) {
            break;
        }
    }
    Ok(File::from(opened?))
}

/// As [`open_beneath`], if that needs no disk: the kernel has all parts of the path in memory (RESOLVE_CACHED, since Linux 5.12).
///
/// # Errors
/// As of [`open_beneath`]; `WouldBlock` where the disk would have to be asked, or the kernel does not know how to do without.
pub fn open_beneath_now(folder: BorrowedFd<'_>, path: &[u8]) -> io::Result<File> {
    open_now(folder, beneath(path), how_beneath(CACHED))
}

fn open_now(folder: BorrowedFd<'_>, path: &[u8], how: OpenHow) -> io::Result<File> {
    match openat2(folder, path, how) {
        Ok(file) => Ok(File::from(file)),
        Err(Errno::EAGAIN | Errno::EINTR | Errno::EINVAL) => Err(io::ErrorKind::WouldBlock.into()),
        Err(errno) => Err(errno.into()),
    }
}

/// Opens a file for reading, wherever its name leads; never waits for a pipe's other end.
///
/// # Errors
/// What the kernel says.
pub fn open_file(path: &Path) -> io::Result<File> {
    Ok(File::from(open(path, FLAGS, Mode::empty())?))
}

/// As [`open_file`], if that needs no disk.
///
/// # Errors
/// As of [`open_file`] and [`open_beneath_now`].
pub fn open_file_now(path: &Path) -> io::Result<File> {
    open_now(AT_FDCWD, path.as_os_str().as_bytes(), OpenHow::new().flags(FLAGS).resolve(CACHED))
}

fn beneath(path: &[u8]) -> &[u8] {
    if path.is_empty() { b"." } else { path }
}

fn how_beneath(also: ResolveFlag) -> OpenHow {
    OpenHow::new().flags(FLAGS).resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS | also)
}

/// Reads the first bytes of `file` into `into`, as far as they can be had without waiting for the disk; how many.
///
/// # Errors
/// What the kernel says; `WouldBlock` where not one byte can be had, or the file system cannot tell and may have a disk.
pub fn read_now(file: &File, into: &mut [u8]) -> io::Result<usize> {
    let part = libc::iovec { iov_base: into.as_mut_ptr().cast(), iov_len: into.len() };
    // SAFETY: one part, which is the exclusively borrowed bytes of `into`.
    let read = unsafe { libc::preadv2(file.as_fd().as_raw_fd(), &raw const part, 1, 0, libc::RWF_NOWAIT) };
    match usize::try_from(read) {
        Ok(count) => Ok(count),
        Err(_) if Errno::last() != Errno::EOPNOTSUPP => Err(io::Error::last_os_error()),
        // tmpfs cannot tell (EOPNOTSUPP), and need not.
        Err(_) if is_on_tmpfs(file) => file.read_at(into, 0),
        Err(_) => Err(io::ErrorKind::WouldBlock.into()),
    }
}

/// Whether a file system has `file` that has no disk.
fn is_on_tmpfs(file: &File) -> bool {
    fstatfs(file).is_ok_and(|status| status.filesystem_type() == TMPFS_MAGIC)
}

/// Sends parts of what lies in memory, one behind the other, in one call that never waits; how much the socket took.
///
/// # Errors
/// `WouldBlock` when it takes nothing now, else what it gives.
#[inline]
pub fn send_parts(socket: BorrowedFd<'_>, parts: &[IoSlice<'_>]) -> io::Result<usize> {
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    Ok(sendmsg::<()>(socket.as_raw_fd(), parts, &[], flags, None)?)
}

/// As [`send_parts`]; the kernel waits with a segment that is not full for what follows (MSG_MORE). That must come at once, be it more
/// bytes or the end of the stream: it waits for 200 ms, or until [`net::push`](crate::ipc::net::push).
///
/// # Errors
/// As of [`send_parts`].
#[inline]
pub fn send_parts_more(socket: BorrowedFd<'_>, parts: &[IoSlice<'_>]) -> io::Result<usize> {
    let flags = MsgFlags::from_bits_retain(libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL | libc::MSG_MORE);
    Ok(sendmsg::<()>(socket.as_raw_fd(), parts, &[], flags, None)?)
}

/// Sends `count` bytes of `file` from `offset` on, out of the kernel's own copy of it; how many the socket took, 0 at the end of
/// the file. The socket is non-blocking, so this only waits for the disk: see [`is_in_memory`].
///
/// # Errors
/// As of [`send_parts`].
pub fn send_file(socket: BorrowedFd<'_>, file: &File, offset: u64, count: usize) -> io::Result<usize> {
    let mut offset = i64::try_from(offset).map_err(|_| Errno::EOVERFLOW)?;
    Ok(sendfile64(socket, file, Some(&mut offset), count)?)
}

/// Whether the byte at `offset` of `file` can be read without waiting for the disk, as far as the kernel tells.
#[must_use]
pub fn is_in_memory(file: &File, offset: u64) -> bool {
    let mut byte = 0u8;
    let part = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    let Ok(offset) = i64::try_from(offset) else { return true };
    // SAFETY: one part with a place for one byte, which outlives the call.
    let read = unsafe { libc::preadv2(file.as_fd().as_raw_fd(), &raw const part, 1, offset, libc::RWF_NOWAIT) };
    // A file system that cannot say (EOPNOTSUPP) is taken for one in memory.
    read >= 0 || Errno::last() != Errno::EAGAIN
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixStream;

    #[test]
    fn nothing_leads_out_of_the_folder() {
        let home = tempfile::tempdir().unwrap();
        let (root, outside) = (home.path().join("root"), home.path().join("secret"));
        std::fs::create_dir_all(root.join("inner")).unwrap();
        std::fs::write(&outside, "secret").unwrap();
        std::fs::write(root.join("inner/file"), "open").unwrap();
        symlink(&outside, root.join("absolute")).unwrap();
        symlink("../secret", root.join("upward")).unwrap();
        symlink("..", root.join("parent")).unwrap();
        symlink("inner/file", root.join("within")).unwrap();
        symlink("/proc/self/root", root.join("magic")).unwrap();
        let folder = open_folder(&root).unwrap();
        let read = |path: &str| {
            let mut text = String::new();
            open_beneath(folder.as_fd(), path.as_bytes())?.read_to_string(&mut text)?;
            Ok::<_, io::Error>(text)
        };
        assert_eq!((read("inner/file").unwrap(), read("within").unwrap()), ("open".to_owned(), "open".to_owned()));
        assert_eq!(read("inner/../inner/file").unwrap(), "open");
        for path in [
            "absolute",
            "upward",
            "parent/secret",
            "../secret",
            "/etc/passwd",
            "inner/../../secret",
            "magic/etc/passwd",
        ] {
            assert_eq!(read(path).unwrap_err().raw_os_error(), Some(libc::EXDEV), "{path}");
        }
        assert!(open_beneath(folder.as_fd(), b"").unwrap().metadata().unwrap().is_dir());
        assert_eq!(open_folder(&outside).unwrap_err().errno(), Some(Errno::ENOTDIR));
    }

    #[test]
    fn what_is_in_memory_is_opened_and_read_at_once() {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("file"), "0123456789").unwrap();
        let folder = open_folder(home.path()).unwrap();
        let now = |path: &str| open_beneath_now(folder.as_fd(), path.as_bytes());
        let file = now("file").unwrap();
        let mut bytes = [0; 16];
        assert_eq!((read_now(&file, &mut bytes).unwrap(), &bytes[..10]), (10, &b"0123456789"[..]));
        // The kernel may leave it to a second look that these lead out or are not there.
        for path in ["../x", "none"] {
            let error = now(path).unwrap_err();
            let is_good = matches!(error.raw_os_error(), Some(libc::EXDEV | libc::ENOENT));
            assert!(is_good || error.kind() == io::ErrorKind::WouldBlock, "{path}: {error}");
        }
    }

    #[test]
    fn what_tmpfs_has_is_read_at_once() {
        let home = tempfile::tempdir_in("/dev/shm").unwrap();
        std::fs::write(home.path().join("file"), "0123456789").unwrap();
        let file = open_file_now(&home.path().join("file")).unwrap();
        assert!(is_on_tmpfs(&file));
        let mut bytes = [0; 16];
        assert_eq!((read_now(&file, &mut bytes).unwrap(), &bytes[..10]), (10, &b"0123456789"[..]));
    }

    #[test]
    fn a_pipe_is_not_waited_for() {
        let home = tempfile::tempdir().unwrap();
        nix::unistd::mkfifo(&home.path().join("pipe"), Mode::S_IRUSR).unwrap();
        let folder = open_folder(home.path()).unwrap();
        assert!(!open_beneath(folder.as_fd(), b"pipe").unwrap().metadata().unwrap().is_file());
    }

    #[test]
    fn a_file_goes_out_behind_its_head() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("file");
        std::fs::write(&path, "0123456789").unwrap();
        let file = File::open(&path).unwrap();
        let (near, mut far) = UnixStream::pair().unwrap();
        assert_eq!(send_parts_more(near.as_fd(), &[IoSlice::new(b"head ")]).unwrap(), 5);
        assert!(is_in_memory(&file, 0), "it was just written");
        assert_eq!(send_file(near.as_fd(), &file, 3, 4).unwrap(), 4);
        assert_eq!(send_parts(near.as_fd(), &[IoSlice::new(b" and "), IoSlice::new(b"tail")]).unwrap(), 9);
        let mut got = [0; 18];
        far.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"head 3456 and tail");
        assert_eq!(send_file(near.as_fd(), &file, 10, 4).unwrap(), 0, "the end");
        drop(far);
        assert_eq!(send_file(near.as_fd(), &file, 0, 4).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
