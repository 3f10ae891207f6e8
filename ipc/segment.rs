//! Typed segments of POSIX shared memory (`shm_overview(7)`).
//!
//! A segment is a header (magic, layout version, boot, sizes), one `Root`, and a run of `Element`s. It is made and
//! unlinked by the master alone; the other processes inherit the mapping through fork, tools open it by name.

use std::fs::File;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap, shm_open, shm_unlink};
use nix::sys::stat::Mode;
use shared_memory::{Shmem, ShmemConf, ShmemError};

use crate::ipc::error::IpcError;
use crate::ipc::layout::Shared;
use crate::shared_struct;

/// `VAULTSEG` in ASCII: the first eight bytes of every finished segment.
const MAGIC: u64 = u64::from_be_bytes(*b"VAULTSEG");

shared_struct! {
    /// What every segment begins with. Writer: the master, once, before any other process can know of the segment.
    struct Header, align 64, size 64; {
        magic: AtomicU64,
        layout_version: AtomicU32,
        boot: AtomicU32,
        bytes: AtomicU64,
        root_bytes: AtomicU64,
        element_bytes: AtomicU64,
        elements: AtomicU64,
        reserved: [AtomicU64; 2],
    }
}

/// How a segment is mapped, and how long.
enum Mapping {
    /// Readable and writable, made by the `shared_memory` crate; its owner flag is off, since a forked child inherits it
    /// and would unlink the master's segment when it drops its copy. Never unmapped: a thread that holds a robust lock in it has
    /// the kernel walk through that memory when it dies.
    Made { _shmem: ManuallyDrop<Shmem> },
    /// Readable and writable, of a segment that another process has made; never unmapped either.
    Joined { _view: ManuallyDrop<View> },
    /// Readable only, for tools that look at a running instance. Nobody can hold a lock through it, so it ends with its
    /// [`Segment`], which all references to it borrow: a tool that looks at one instance after the other keeps none of them mapped.
    LookedAt { _view: View },
}

/// A mapping that ends with this value.
struct View {
    base: NonNull<u8>,
    bytes: usize,
}

impl Drop for View {
    fn drop(&mut self) {
        // SAFETY: this value's own mapping, of so many bytes; whatever refers to it borrows the segment that has this value.
        let unmapped = unsafe { munmap(self.base.cast(), self.bytes) };
        debug_assert!(unmapped.is_ok());
    }
}

/// What an existing segment is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// To look.
    Read,
    /// To take part.
    Write,
}

/// What a segment says of itself; see [`describe`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentDescription {
    /// Version of the layout, as its maker stated it.
    pub layout_version: u32,
    /// The start of the instance that it belongs to.
    pub boot: u32,
    /// Bytes, header included.
    pub bytes: u64,
    /// Elements behind the root.
    pub elements: u64,
}

/// A mapped segment of one `Root` and a run of `Element`s.
pub struct Segment<Root: Shared, Element: Shared> {
    name: String,
    base: NonNull<u8>,
    elements: usize,
    _mapping: Mapping,
    _types: PhantomData<(Root, Element)>,
}

// SAFETY: the mapping lives as long as this value and is only reached through `&Root` and `&Element`, which are Sync.
unsafe impl<R: Shared, E: Shared> Send for Segment<R, E> {}
// SAFETY: as above.
unsafe impl<R: Shared, E: Shared> Sync for Segment<R, E> {}

/// Where the root and the elements stand, computed alike by every process.
struct Plan {
    root: usize,
    elements: usize,
    bytes: usize,
}

impl<Root: Shared, Element: Shared> Segment<Root, Element> {
    const fn plan(count: usize) -> Plan {
        let root = size_of::<Header>().next_multiple_of(align_of::<Root>());
        let elements = (root + size_of::<Root>()).next_multiple_of(align_of::<Element>());
        Plan { root, elements, bytes: elements + count * size_of::<Element>() }
    }

    /// Bytes of a segment with room for `count` elements, header included.
    #[must_use]
    pub const fn bytes_for(count: usize) -> usize {
        Self::plan(count).bytes
    }

    /// Makes a zero-filled segment with room for `count` elements, lets `prepare` fill it, then publishes it.
    ///
    /// All its memory is reserved before it is touched, so that a full `/dev/shm` is an error here and not a SIGBUS later.
    ///
    /// # Errors
    /// The name is taken, memory is short, or `prepare` fails; then nothing is left behind.
    pub fn create(
        name: &str,
        layout_version: u32,
        boot: u32,
        count: usize,
        prepare: impl FnOnce(&Root, &[Element]) -> Result<(), IpcError>,
    ) -> Result<Self, IpcError> {
        let plan = Self::plan(count);
        let mut shmem =
            ShmemConf::new().os_id(name).size(plan.bytes).create().map_err(|e| shmem_error("create", name, &e))?;
        let fd = shm_open(name, OFlag::O_RDWR, Mode::empty()).map_err(|e| IpcError::system("open", name, e))?;
        let length = i64::try_from(plan.bytes).map_err(|_| IpcError::system("size", name, Errno::EFBIG))?;
        let base = NonNull::new(shmem.as_ptr()).ok_or_else(|| IpcError::system("map", name, Errno::EFAULT))?;
        nix::fcntl::posix_fallocate(&fd, 0, length).map_err(|e| IpcError::system("reserve memory for", name, e))?;
        shmem.set_owner(false);
        let _mapping = Mapping::Made { _shmem: ManuallyDrop::new(shmem) };
        let segment = Segment { name: name.to_owned(), base, elements: count, _mapping, _types: PhantomData };
        if let Err(error) = prepare(segment.root(), segment.elements()) {
            unlink(name)?;
            return Err(error);
        }
        let header = segment.header();
        header.layout_version.store(layout_version, Ordering::Relaxed);
        header.boot.store(boot, Ordering::Relaxed);
        header.bytes.store(plan.bytes as u64, Ordering::Relaxed);
        header.root_bytes.store(size_of::<Root>() as u64, Ordering::Relaxed);
        header.element_bytes.store(size_of::<Element>() as u64, Ordering::Relaxed);
        header.elements.store(count as u64, Ordering::Relaxed);
        // PUBLISH-SEGMENT: release; a process that sees the magic sees everything written before it.
        header.magic.store(MAGIC, Ordering::Release);
        Ok(segment)
    }

    /// Fills the segment anew, as [`Segment::create`] fills a new one: all behind its header becomes zero, then `prepare` has its turn. Only
    /// where no other process or thread has part in it: whoever did is dead, and so are the holders of locks in it. Who only looks sees
    /// zeros for a while.
    ///
    /// # Errors
    /// `prepare` fails; what the segment holds means nothing then, and this may be tried again.
    pub fn refill(&self, prepare: impl FnOnce(&Root, &[Element]) -> Result<(), IpcError>) -> Result<(), IpcError> {
        let (begin, end) = (size_of::<Header>(), self.bytes());
        let words = (end - begin) / size_of::<u64>();
        // SAFETY: behind the header, inside the mapping, which has `end` bytes.
        let first = unsafe { self.base.add(begin) };
        // SAFETY: so many whole words follow; the mapping is page-aligned and the header has whole words, so they are aligned. It lives as
        // long as this value, and all that is Shared may be written behind references to it.
        let words = unsafe { std::slice::from_raw_parts(first.cast::<AtomicU64>().as_ptr(), words) };
        words.iter().for_each(|word| word.store(0, Ordering::Relaxed));
        for place in begin + words.len() * size_of::<u64>()..end {
            // SAFETY: inside the mapping.
            let byte = unsafe { self.base.add(place) };
            // SAFETY: as above; a byte is always aligned.
            unsafe { byte.cast::<AtomicU8>().as_ref() }.store(0, Ordering::Relaxed);
        }
        prepare(self.root(), self.elements())
    }

    /// Maps an existing segment. One that is mapped for reading only must not be written to, which would be a fault: only call
    /// what loads.
    ///
    /// # Errors
    /// There is no such segment, or it is unfinished, of another layout, or not of the stated size.
    pub fn open(name: &str, layout_version: u32, access: Access) -> Result<Self, IpcError> {
        let view = map(name, access)?;
        let (base, mapped) = (view.base, view.bytes);
        let description = check(name, &view)?;
        let elements = usize::try_from(description.elements).unwrap_or(usize::MAX);
        // SAFETY: `check` saw that at least a whole, published header is mapped.
        let header = unsafe { base.cast::<Header>().as_ref() };
        let fits = header.root_bytes.load(Ordering::Relaxed) == size_of::<Root>() as u64
            && header.element_bytes.load(Ordering::Relaxed) == size_of::<Element>() as u64
            && elements.checked_mul(size_of::<Element>()).is_some_and(|run| run <= mapped)
            && Self::plan(elements).bytes == mapped;
        if description.layout_version != layout_version || !fits {
            let reason = format!(
                "it has layout version {}, this program reads version {layout_version}",
                description.layout_version
            );
            return Err(IpcError::Foreign { object: name.to_owned(), reason });
        }
        let _mapping = match access {
            Access::Read => Mapping::LookedAt { _view: view },
            Access::Write => Mapping::Joined { _view: ManuallyDrop::new(view) },
        };
        Ok(Segment { name: name.to_owned(), base, elements, _mapping, _types: PhantomData })
    }

    fn header(&self) -> &Header {
        // SAFETY: the mapping is page-aligned, at least one header long, and lives as long as this value; Header is Shared.
        unsafe { self.base.cast::<Header>().as_ref() }
    }

    /// The segment's one root.
    #[must_use]
    #[inline]
    pub fn root(&self) -> &Root {
        // SAFETY: `plan` put the root inside the mapping, aligned; both constructors checked the size.
        let root = unsafe { self.base.add(Self::plan(0).root) };
        // SAFETY: as above, and Root is Shared: any bytes are a valid value and others may write behind the reference.
        unsafe { root.cast::<Root>().as_ref() }
    }

    /// The segment's elements.
    #[must_use]
    #[inline]
    pub fn elements(&self) -> &[Element] {
        // SAFETY: `plan` put the run inside the mapping, aligned; both constructors checked the size.
        let first = unsafe { self.base.add(Self::plan(0).elements) };
        // SAFETY: as above, and Element is Shared.
        unsafe { std::slice::from_raw_parts(first.cast::<Element>().as_ptr(), self.elements) }
    }

    /// The full name, with its leading slash.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Bytes, header included.
    #[must_use]
    pub fn bytes(&self) -> usize {
        Self::plan(self.elements).bytes
    }
}

fn shmem_error(step: &'static str, name: &str, error: &ShmemError) -> IpcError {
    match error {
        ShmemError::MappingIdExists => IpcError::system(step, name, Errno::EEXIST),
        ShmemError::MapCreateFailed(code) | ShmemError::MapOpenFailed(code) | ShmemError::UnknownOsError(code) => {
            IpcError::system(step, name, Errno::from_raw(i32::try_from(*code).unwrap_or(libc::EIO)))
        }
        other => IpcError::Foreign { object: name.to_owned(), reason: other.to_string() },
    }
}

fn map(name: &str, access: Access) -> Result<View, IpcError> {
    let (flag, protection) = match access {
        Access::Read => (OFlag::O_RDONLY, ProtFlags::PROT_READ),
        Access::Write => (OFlag::O_RDWR, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE),
    };
    let fd = shm_open(name, flag, Mode::empty()).map_err(|e| IpcError::system("open", name, e))?;
    let file = File::from(fd);
    let mapped = file.metadata().map(|m| m.len()).unwrap_or(0);
    let length = usize::try_from(mapped).ok().filter(|&n| n >= size_of::<Header>()).and_then(NonZeroUsize::new);
    let Some(length) = length else {
        return Err(IpcError::Foreign { object: name.to_owned(), reason: "it is smaller than a header".to_owned() });
    };
    // SAFETY: a new mapping at an address of the kernel's choice disturbs nothing that exists.
    let base = unsafe { mmap(None, length, protection, MapFlags::MAP_SHARED, file.as_fd(), 0) }
        .map_err(|e| IpcError::system("map", name, e))?;
    Ok(View { base: base.cast(), bytes: length.get() })
}

fn check(name: &str, view: &View) -> Result<SegmentDescription, IpcError> {
    // SAFETY: `map` mapped at least a whole header, page-aligned.
    let header = unsafe { view.base.cast::<Header>().as_ref() };
    let foreign = |reason: String| IpcError::Foreign { object: name.to_owned(), reason };
    // PUBLISH-SEGMENT: acquire.
    if header.magic.load(Ordering::Acquire) != MAGIC {
        return Err(foreign("its first bytes are not VAULTSEG: unfinished, or not made by this program".to_owned()));
    }
    let bytes = header.bytes.load(Ordering::Relaxed);
    if bytes != view.bytes as u64 {
        return Err(foreign(format!("it says it has {bytes} bytes and has {}", view.bytes)));
    }
    Ok(SegmentDescription {
        layout_version: header.layout_version.load(Ordering::Relaxed),
        boot: header.boot.load(Ordering::Relaxed),
        bytes,
        elements: header.elements.load(Ordering::Relaxed),
    })
}

/// What the segment `name` says of itself, whatever its layout.
///
/// # Errors
/// There is no such segment, or it is unfinished or not one of ours.
pub fn describe(name: &str) -> Result<SegmentDescription, IpcError> {
    check(name, &map(name, Access::Read)?)
}

/// What the first bytes of a file in the folder of shared memory say of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// It is a finished segment of this program.
    Ours,
    /// It is empty, or begins with zeros: perhaps a segment whose maker died before it was finished.
    Blank,
    /// It is something else.
    Other,
}

/// Reads a file's first bytes, without mapping it.
///
/// # Errors
/// What reading gives.
pub fn mark(file: &File) -> std::io::Result<Mark> {
    use std::os::unix::fs::FileExt;
    let mut first = [0; size_of::<u64>()];
    let read = file.read_at(&mut first, 0)?;
    Ok(match u64::from_ne_bytes(first) {
        MAGIC => Mark::Ours,
        0 if read == 0 || read == first.len() => Mark::Blank,
        _ => Mark::Other,
    })
}

/// Removes the name of a segment; the memory goes when the last process that maps it ends.
///
/// # Errors
/// What `shm_unlink(3)` gives, but for a name that is gone already.
pub fn unlink(name: &str) -> Result<(), IpcError> {
    match shm_unlink(name) {
        Ok(()) | Err(Errno::ENOENT) => Ok(()),
        Err(errno) => Err(IpcError::system("unlink", name, errno)),
    }
}

/// Opens the file behind a segment, to hold or to probe a file lock on it.
///
/// # Errors
/// What `shm_open(3)` gives.
pub fn open_file(name: &str) -> Result<File, IpcError> {
    let fd = shm_open(name, OFlag::O_RDWR, Mode::empty()).map_err(|e| IpcError::system("open", name, e))?;
    debug_assert!(fd.as_raw_fd() > 2, "the standard descriptors are open");
    Ok(File::from(fd))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_tell_what_is_ours() {
        let name = format!("/vault-test.{}.marked", std::process::id());
        let made = Segment::<(), AtomicU64>::create(&name, 1, 1, 1, |(), _| {
            assert_eq!(mark(&open_file(&name).unwrap()).unwrap(), Mark::Blank, "it is not finished");
            Ok(())
        });
        made.unwrap();
        assert_eq!(mark(&open_file(&name).unwrap()).unwrap(), Mark::Ours);
        unlink(&name).unwrap();
        for (text, expected) in [(&b""[..], Mark::Blank), (b"GESTLUA", Mark::Other), (b"\0\0", Mark::Other)] {
            let mut file = tempfile::tempfile().unwrap();
            std::io::Write::write_all(&mut file, text).unwrap();
            assert_eq!(mark(&file).unwrap(), expected, "{text:?}");
        }
    }

    #[test]
    fn a_segment_that_is_filled_anew_is_as_a_new_one() {
        let name = format!("/vault-test.{}.refilled", std::process::id());
        let bytes = || std::fs::read(format!("/dev/shm{name}")).unwrap();
        let prepare = |root: &AtomicU64, elements: &[AtomicU8]| {
            root.store(7, Ordering::Relaxed);
            elements[4].store(9, Ordering::Relaxed);
            Ok(())
        };
        // Five bytes are no whole word.
        let segment = Segment::<AtomicU64, AtomicU8>::create(&name, 1, 1, 5, prepare).unwrap();
        let fresh = bytes();
        segment.root().store(u64::MAX, Ordering::Relaxed);
        segment.elements().iter().for_each(|byte| byte.store(0xff, Ordering::Relaxed));
        assert_ne!(bytes(), fresh);
        segment.refill(prepare).unwrap();
        assert_eq!(bytes(), fresh);
        unlink(&name).unwrap();
    }

    #[test]
    fn who_only_looks_keeps_no_memory() {
        let name = format!("/vault-test.{}.looked-at", std::process::id());
        let made = Segment::<(), AtomicU64>::create(&name, 1, 1, 1000, |(), words| {
            words[999].store(7, Ordering::Relaxed);
            Ok(())
        });
        let mapped = || std::fs::read_to_string("/proc/self/maps").unwrap().matches(&name[1..]).count();
        let looked = Segment::<(), AtomicU64>::open(&name, 1, Access::Read).unwrap();
        assert_eq!((mapped(), looked.elements()[999].load(Ordering::Relaxed)), (2, 7));
        drop(looked);
        assert_eq!(mapped(), 1, "what its maker has mapped");
        drop((made.unwrap(), Segment::<(), AtomicU64>::open(&name, 1, Access::Write).unwrap()));
        assert_eq!(mapped(), 2, "who takes part may hold locks in it");
        unlink(&name).unwrap();
    }
}
