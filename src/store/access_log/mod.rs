//! The access log: one file that all worker processes write, in which no line is lost, torn or doubled by any death.
//!
//! A line lies in shared memory until it is in the file. The event loop of a worker appends it to that worker's ring
//! ([`Handle::append`]) with a copy and one store, without a system call and without waiting. The worker's log thread ([`Writer`])
//! moves waiting lines to the file, under a robust lock that all workers share. Before it writes, it stores a write-ahead plan
//! ([`PlannedWrite`]): these bytes of this ring belong at this offset of this file. A thread that takes the lock and finds a plan
//! carries it out: the plan's maker was killed, or the disk was full. How far that write had got is the file's length less the plan's
//! offset, because nobody else has written. So a torn line is always completed before the next line is written.
//!
//! - `layout` is the memory, `flush` moves lines from a ring into the file, `rotation` renames files.
//! - `writer` is the log thread and the event loop's end of a ring, `line` the text of a line.
//!
//! The file is opened by its name for each flush, which costs little beside writing half a ring. So others may rename or
//! remove it at any time, and no process keeps a file open that was rotated away.

mod file;
mod flush;
mod layout;
mod line;
mod log;
mod rotation;
mod writer;

pub use crate::base::limits::{ACCESS_LOG_RING_BYTES as RING_BYTES, MAX_ACCESS_LOG_LINE_BYTES as LONGEST_LINE};
pub use file::LogError;
pub use flush::Flusher;
pub use layout::{FileId, Full, LAYOUT_VERSION, PlannedWrite, WorkerRing, WritePlan};
pub use line::{Entry, Timestamp};
pub use log::{AccessLog, INTERVAL, SEGMENT, Target};
pub use writer::{Handle, Writer};
