//! The cells of shared memory as `loom` watches them, and deaths: a thread of a model stands for a process, and ends at the crash
//! point that it is given, with whatever it holds.
//!
//! What differs from the real ones: segments lie on the heap; a robust lock is one word and a mask of who is dead, which says what the
//! kernel says by EOWNERDEAD; nothing is random. Orderings are those that the code states. (`loom` takes SeqCst accesses for
//! acquire and release, so what needs more than that is not shown here.)

use std::convert::Infallible;
use std::panic;
use std::time::Duration;

use loom::cell::Cell;
pub use loom::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering, fence};
use nix::errno::Errno;

use crate::ipc::IpcError;
use crate::ipc::segment::Access;
pub use crate::model_struct as shared_struct;

/// As the real macro takes it, without what concerns bytes.
#[macro_export]
macro_rules! model_struct {
    ($(#[$meta:meta])* $vis:vis struct $name:ident, align $align:literal, size $size:expr;
     { $($(#[$field_meta:meta])* $field_vis:vis $field:ident: $type:ty,)* }) => {
        $(#[$meta])*
        #[derive(Default)]
        #[allow(dead_code, reason = "padding is never written")]
        $vis struct $name { $($(#[$field_meta])* $field_vis $field: $type,)* }
    };
}

/// A number that is the same in every execution of a model.
///
/// # Errors
/// None.
pub fn random() -> Result<u64, Infallible> {
    Ok(0x9E37_79B9_7F4A_7C15)
}

/// A hint that means nothing here.
pub fn expect_to_write<T>(_: &T) {}

/// There are no names here.
///
/// # Errors
/// None.
pub fn unlink(_: &str) -> Result<(), IpcError> {
    Ok(())
}

/// One root and a run of elements.
pub struct Segment<Root, Element> {
    name: String,
    root: Root,
    elements: Vec<Element>,
}

impl<Root: Default, Element: Default> Segment<Root, Element> {
    /// Zeros, which `prepare` fills.
    ///
    /// # Errors
    /// Those of `prepare`.
    pub fn create(
        name: &str,
        _: u32,
        _: u32,
        count: usize,
        prepare: impl FnOnce(&Root, &[Element]) -> Result<(), IpcError>,
    ) -> Result<Self, IpcError> {
        let elements = std::iter::repeat_with(Element::default).take(count).collect();
        let segment = Segment { name: name.to_owned(), root: Root::default(), elements };
        prepare(&segment.root, &segment.elements)?;
        Ok(segment)
    }

    /// A model has one process.
    ///
    /// # Errors
    /// Always.
    pub fn open(name: &str, _: u32, _: Access) -> Result<Self, IpcError> {
        Err(IpcError::system("open", name, Errno::ENOTSUP))
    }

    /// It has no size.
    pub fn bytes_for(_: usize) -> usize {
        0
    }

    /// The root.
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// The elements.
    pub fn elements(&self) -> &[Element] {
        &self.elements
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// It has no size.
    pub fn bytes(&self) -> usize {
        0
    }
}

loom::lazy_static! {
    /// The threads that have died, a bit each.
    static ref DEAD: AtomicU32 = AtomicU32::new(0);
}

loom::thread_local! {
    /// The point at which this thread is to die, as its number plus one, and how often it comes by before.
    static FATE: Cell<(u8, u32)> = Cell::new((0, 0));
    /// Whether it is dying: it does nothing any more that another could see.
    static DYING: Cell<bool> = Cell::new(false);
    /// Its number, from 1.
    static SELF: u32 = {
        loom::lazy_static! { static ref NEXT: AtomicU32 = AtomicU32::new(1); }
        NEXT.fetch_add(1, Ordering::Relaxed)
    };
}

/// What a thread that dies unwinds with.
struct Death;

fn is_dying() -> bool {
    DYING.with(Cell::get)
}

/// Runs `body`, which dies when it comes by point number `point` for the `hit`-th time; whether it did.
pub fn mortal(point: u8, hit: u32, body: impl FnOnce()) -> bool {
    FATE.with(|fate| fate.set((point + 1, hit)));
    let ended = panic::catch_unwind(panic::AssertUnwindSafe(body));
    FATE.with(|fate| fate.set((0, 0)));
    match ended {
        Ok(()) => false,
        Err(payload) if payload.is::<Death>() => true,
        Err(other) => panic::resume_unwind(other),
    }
}

/// Dies here, if this thread is to.
pub fn come_by(point: u8) {
    let (fatal, left) = FATE.with(Cell::get);
    if fatal != point + 1 {
        return;
    }
    FATE.with(|fate| fate.set((fatal, left - 1)));
    if left == 1 {
        // A thread that sees this sees all that the dead one did, as with the locks that the kernel passes on.
        DEAD.fetch_or(1 << SELF.with(|number| *number), Ordering::Release);
        DYING.with(|dying| dying.set(true));
        panic::resume_unwind(Box::new(Death));
    }
}

/// A value that one thread at a time may be at, as the bytes of shared memory that a protocol hands over: `loom` ends the model when two
/// are, or when one does not see what another has written before.
#[derive(Default)]
pub struct Watched<T>(loom::cell::UnsafeCell<T>);

// SAFETY: loom runs one thread at a time, and watches who comes when.
unsafe impl<T: Send> Sync for Watched<T> {}

impl<T: Copy> Watched<T> {
    /// Writes it.
    pub fn set(&self, value: T) {
        // SAFETY: no reference to it is ever given out, and loom runs one thread at a time.
        self.0.with_mut(|place| unsafe { *place = value });
    }

    /// Reads it.
    pub fn get(&self) -> T {
        // SAFETY: as above.
        self.0.with(|place| unsafe { *place })
    }
}

/// A semaphore, as a count. Taking and posting order memory as those of the C library do.
#[derive(Default)]
pub struct SharedSemaphore(AtomicU32);

impl SharedSemaphore {
    /// Gives it a value.
    pub fn init(&self, value: u32) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Takes one if there is one.
    pub fn try_wait(&self) -> bool {
        let mut value = self.0.load(Ordering::Relaxed);
        while value > 0 {
            match self.0.compare_exchange(value, value - 1, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => value = now,
            }
        }
        false
    }

    /// Adds one.
    pub fn post(&self) {
        self.0.fetch_add(1, Ordering::Release);
    }

    /// The value.
    pub fn value(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

/// In the word of a lock: its holder inherited it and has not declared it whole.
const INCONSISTENT: u32 = 1 << 31;

/// A lock whose holder may die. The word is the holder's number, 0 where it is free.
#[derive(Default)]
pub struct RobustMutex {
    word: AtomicU32,
}

/// What taking a lock gave.
pub enum Acquired<'a> {
    /// The lock is held, and what it guards is whole.
    Held(Held<'a>),
    /// The last holder died with the lock: repair first.
    Inherited(Inherited<'a>),
}

/// Why a lock could not be taken without waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Busy;

/// A held lock, given back when dropped.
pub struct Held<'a>(&'a RobustMutex);

/// A lock whose last holder died.
pub struct Inherited<'a>(&'a RobustMutex);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if !is_dying() {
            self.0.word.store(0, Ordering::Release);
        }
    }
}

impl<'a> Inherited<'a> {
    /// Declares what the lock guards whole again.
    pub fn into_consistent(self) -> Held<'a> {
        self.0.word.store(SELF.with(|number| *number), Ordering::Relaxed);
        Held(self.0)
    }
}

impl RobustMutex {
    /// It is usable as it is.
    ///
    /// # Errors
    /// None.
    pub fn init(&self, _: &str) -> Result<(), IpcError> {
        Ok(())
    }

    /// Takes the lock if that needs no waiting.
    ///
    /// # Errors
    /// [`Busy`]: a living thread holds it.
    pub fn try_lock(&self) -> Result<Acquired<'_>, Busy> {
        let own = SELF.with(|number| *number);
        let take = |from, to| self.word.compare_exchange(from, to, Ordering::Acquire, Ordering::Acquire);
        let Err(held) = take(0, own) else { return Ok(Acquired::Held(Held(self))) };
        let holder = held & !INCONSISTENT;
        assert_ne!(holder, own, "a lock is not taken twice");
        let is_dead = holder != 0 && DEAD.load(Ordering::Acquire) >> holder & 1 != 0;
        if is_dead && take(held, own | INCONSISTENT).is_ok() {
            return Ok(Acquired::Inherited(Inherited(self)));
        }
        Err(Busy)
    }

    /// Takes the lock, however long that takes.
    pub fn lock(&self, _: Duration, _: impl FnMut()) -> Acquired<'_> {
        loop {
            match self.try_lock() {
                Ok(acquired) => return acquired,
                Err(Busy) => loom::thread::yield_now(),
            }
        }
    }

    /// The number of the holder; `None` when it is free, or its holder is dead.
    pub fn holder(&self) -> Option<u32> {
        let holder = self.word.load(Ordering::Relaxed) & !INCONSISTENT;
        (holder != 0 && DEAD.load(Ordering::Acquire) >> holder & 1 == 0).then_some(holder)
    }

    /// Whether it is neither held nor orphaned.
    pub fn is_free(&self) -> bool {
        self.word.load(Ordering::Relaxed) == 0
    }

    /// Whether its holder died and it was not taken since.
    pub fn is_orphaned(&self) -> bool {
        self.word.load(Ordering::Relaxed) != 0 && self.holder().is_none()
    }
}
