//! The pool as it lies in memory: tickets, then segments, each a header and its chunks.

use std::sync::atomic::Ordering;

use crate::ipc::IpcError;
use crate::ipc::names::Generation;
use crate::ipc::region::{Region, SharedByte};
use crate::ipc::segment::{self, Access, Segment};
use crate::store::transfer::header::{Claim, SegmentId, TransferHeader};
use crate::store::transfer::shape::{CHUNKS, HEADER_BYTES, Shape};
use crate::store::transfer::tickets::{Memory, Tickets};
use crate::store::transfer::{LAYOUT_VERSION, SEGMENT};

/// The segments of an instance, as every process of it sees them.
pub struct Pool {
    memory: Segment<Tickets, SharedByte>,
    shape: Shape,
}

/// One segment as tools show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentSummary {
    /// Its number in the pool.
    pub number: usize,
    /// Who has it.
    pub claim: Claim,
    /// The worker that claimed it last, by process id.
    pub owner_pid: u32,
    /// The cache process that picked it up, by process id; 0 if none has.
    pub writer_pid: u32,
    /// Bytes of the contents, once they are announced.
    pub total: u64,
    /// Chunks that were filled.
    pub filled: u64,
    /// Chunks that were sent and given back.
    pub taken: u64,
}

impl Pool {
    /// Makes the pool. All segments are free.
    ///
    /// # Errors
    /// The memory cannot be made.
    pub fn create(generation: &Generation, shape: Shape) -> Result<Self, IpcError> {
        let name = generation.name(SEGMENT);
        let small = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let prepare = |tickets: &Tickets, _: &[SharedByte]| {
            tickets.segments.store(small(shape.segments()), Ordering::Relaxed);
            tickets.segment_bytes.store(small(shape.segment_bytes()), Ordering::Relaxed);
            Ok(())
        };
        let memory = Segment::create(&name, LAYOUT_VERSION, generation.boot, shape.bytes(), prepare)?;
        let pool = Pool { memory, shape };
        (0..shape.segments()).for_each(|number| pool.header(number).number.store(small(number), Ordering::Relaxed));
        Ok(pool)
    }

    /// Opens the pool of a running instance: to look at it, or to go on with it in another program of the same process.
    ///
    /// # Errors
    /// There is none, or it has another layout.
    pub fn open(generation: &Generation, access: Access) -> Result<Self, IpcError> {
        let name = generation.name(SEGMENT);
        let memory: Segment<Tickets, SharedByte> = Segment::open(&name, LAYOUT_VERSION, access)?;
        let [segments, bytes] =
            [&memory.root().segments, &memory.root().segment_bytes].map(|word| word.load(Ordering::Relaxed) as usize);
        let shape = Shape::new(segments, bytes).ok().filter(|shape| shape.bytes() == memory.elements().len());
        let Some(shape) = shape else {
            let reason = format!("it says it has {segments} segments of {bytes} bytes, which it has not");
            return Err(IpcError::Foreign { object: name, reason });
        };
        Ok(Pool { memory, shape })
    }

    /// Removes the name of the pool.
    ///
    /// # Errors
    /// What `shm_unlink(3)` gives, but for a name that is gone already.
    pub fn unlink(generation: &Generation) -> Result<(), IpcError> {
        segment::unlink(&generation.name(SEGMENT))
    }

    /// Bytes of shared memory for a pool of this shape.
    #[must_use]
    pub fn bytes_for(shape: Shape) -> usize {
        Segment::<Tickets, SharedByte>::bytes_for(shape.bytes())
    }

    /// Its shape.
    #[must_use]
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// The whole memory, for who shows the instance's.
    #[must_use]
    pub fn summary(&self) -> (&str, usize) {
        (self.memory.name(), self.memory.bytes())
    }

    fn segment(&self, number: usize) -> Region<'_> {
        let start = number * self.shape.stride();
        Region::new(self.memory.elements()).part(start..start + self.shape.segment_bytes())
    }

    /// The header and the chunks of one segment; `None` where the number is none of the pool, since it came in a message.
    pub(super) fn parts(&self, id: SegmentId) -> Option<(&TransferHeader, [Region<'_>; CHUNKS])> {
        let number = usize::try_from(id.number).ok().filter(|&number| number < self.shape.segments())?;
        let segment = self.segment(number);
        let bytes = self.shape.chunk_bytes();
        let chunk = |index| segment.part(HEADER_BYTES + index * bytes..HEADER_BYTES + (index + 1) * bytes);
        Some((segment.view(), std::array::from_fn(chunk)))
    }

    /// All segments, for who looks at a running instance.
    pub fn segments(&self) -> impl Iterator<Item = SegmentSummary> {
        (0..self.shape.segments()).map(|number| {
            let header = self.header(number);
            SegmentSummary {
                number,
                claim: header.claim(),
                owner_pid: header.owner_pid.load(Ordering::Relaxed),
                writer_pid: header.writer_pid.load(Ordering::Relaxed),
                total: header.total.load(Ordering::Relaxed),
                filled: header.filled.load(Ordering::Relaxed),
                taken: header.taken.load(Ordering::Relaxed),
            }
        })
    }
}

impl Memory for Pool {
    fn tickets(&self) -> &Tickets {
        self.memory.root()
    }

    fn segments(&self) -> usize {
        self.shape.segments()
    }

    fn header(&self, number: usize) -> &TransferHeader {
        self.segment(number).view()
    }
}
