//! Structures that processes share: what they may be made of.

use std::sync::atomic::{AtomicI64, AtomicU8, AtomicU32, AtomicU64, Ordering};

/// A type that may lie in memory which other processes write at any time.
///
/// # Safety
/// Every bit pattern of the right size must be a valid value, all-zero bytes too; every byte must be inside an atomic
/// or another cell with interior mutability (another process may write it while a `&` to it is held here); the layout
/// must be fixed (`repr(C)` or an atomic); and it must hold no pointer, since each process maps it elsewhere.
pub unsafe trait Shared: Sized + Sync {}

// SAFETY: atomics of fixed size: every bit pattern is a number, and all bytes are inside the cell.
unsafe impl Shared for AtomicU8 {}
// SAFETY: as above.
unsafe impl Shared for AtomicU32 {}
// SAFETY: as above.
unsafe impl Shared for AtomicU64 {}
// SAFETY: as above.
unsafe impl Shared for AtomicI64 {}
// SAFETY: an array has its element's bytes and no others.
unsafe impl<T: Shared, const N: usize> Shared for [T; N] {}
// SAFETY: no bytes at all.
unsafe impl Shared for () {}

/// Has the processor fetch what `place` points at, to be written soon, while the caller does something else.
#[inline]
pub fn expect_to_write<T: Shared>(place: &T) {
    let address = std::ptr::from_ref(place).cast::<i8>();
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint about the address of a reference, which faults on none and changes nothing.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_ET0 }>(address);
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// Defines a structure for shared memory: `repr(C)`, of a stated alignment and size, each field [`Shared`], no padding.
///
/// The size and the absence of padding are checked at compile time, so a field that was added or moved without thought
/// does not build.
#[macro_export]
macro_rules! shared_struct {
    ($(#[$meta:meta])* $vis:vis struct $name:ident, align $align:literal, size $size:expr;
     { $($(#[$field_meta:meta])* $field_vis:vis $field:ident: $type:ty,)* }) => {
        $(#[$meta])*
        #[repr(C, align($align))]
        $vis struct $name { $($(#[$field_meta])* $field_vis $field: $type,)* }

        const _: () = {
            assert!(size_of::<$name>() == $size, concat!("the size of ", stringify!($name), " is not as stated"));
            assert!(size_of::<$name>() == 0 $(+ size_of::<$type>())*, concat!(stringify!($name), " has padding"));
            const fn is_shared<T: $crate::ipc::layout::Shared>() {}
            $(is_shared::<$type>();)*
        };

        #[allow(unsafe_code)]
        // SAFETY: repr(C), made of Shared fields only and without padding, both checked just above.
        unsafe impl $crate::ipc::layout::Shared for $name {}
    };
}

/// A level or a count of 32 bits that one process at a time writes and all may read.
///
/// Writer: the one process that the field names. Two writers would lose counts.
#[repr(transparent)]
#[derive(Default)]
pub struct Word(AtomicU32);

// SAFETY: a transparent wrapper of an atomic.
unsafe impl Shared for Word {}

impl Word {
    /// Adds `n`; only the owner may.
    pub fn add(&self, n: u32) {
        self.set(self.get().wrapping_add(n));
    }

    /// Sets it; only the owner may.
    pub fn set(&self, n: u32) {
        self.0.store(n, Ordering::Relaxed);
    }

    /// The value that was last stored.
    #[must_use]
    pub fn get(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that one process counts up and all may read, without a lock and without a locked instruction.
///
/// Writer: the one process that owns the row it stands in. Two writers would lose counts.
#[repr(transparent)]
#[derive(Default)]
pub struct Counter(AtomicU64);

// SAFETY: a transparent wrapper of an atomic.
unsafe impl Shared for Counter {}

impl Counter {
    /// Adds `n`; only the owner may.
    #[inline]
    pub fn add(&self, n: u64) {
        // A plain load and store, not fetch_add: there is one writer, so no increment can be lost.
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// Sets what is not a count but a level; only the owner may.
    #[inline]
    pub fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    /// The value that was last stored.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
