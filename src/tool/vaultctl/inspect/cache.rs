//! The cache process, the queue through which it is asked, and the segments through which it answers.

use std::fmt;

use nix::errno::Errno;
use serde::Serialize;

use super::process::Process;
use crate::ipc::IpcError;
use crate::ipc::message_queue::Attributes;
use crate::ipc::segment::Access;
use crate::status::numbers::milliseconds;
use crate::store::cache_channel::{CacheChannel, QUEUE};
use crate::store::instance::Instance;
use crate::store::transfer::Pool;
use crate::store::transfer::header::State;
use crate::store::transfer::pool::SegmentSummary;
use crate::tool::vaultctl::table::Table;

/// What concerns the cache process.
#[derive(Debug, Serialize)]
pub(super) struct CacheReport {
    /// `serving`, `leaving`, or `absent` while there is none.
    pub state: &'static str,
    /// `None`: there is no cache process now.
    pub process: Option<Process>,
    pub pid: u32,
    pub lives: u32,
    pub deaths: u32,
    pub failed_starts: u32,
    pub heartbeat_age_ms: u64,
    pub queue: QueueReport,
    pub pool: PoolReport,
}

/// The queue of commands.
#[derive(Debug, Serialize)]
pub(super) struct QueueReport {
    pub name: String,
    /// Commands that it may hold.
    pub depth: usize,
    /// Commands in it.
    pub queued: usize,
    /// Bytes of the longest one.
    pub message_bytes: usize,
}

/// The segments.
#[derive(Debug, Serialize)]
pub(super) struct PoolReport {
    pub name: String,
    /// Bytes of each, header included.
    pub segment_bytes: usize,
    pub segments: Vec<TransferReport>,
}

/// One segment.
#[derive(Debug, Serialize)]
pub(super) struct TransferReport {
    pub segment: usize,
    /// Who has it; `free` if nobody does, and then the rest is of its last use.
    pub state: &'static str,
    /// Which of its uses this is; 0 before the first.
    pub generation: u32,
    /// The number of the worker that claimed it.
    pub owner: u16,
    pub owner_pid: u32,
    /// The cache process that picked it up; 0 if none has.
    pub writer_pid: u32,
    /// Bytes of the contents, once they are announced.
    pub total: u64,
    /// Chunks that were filled.
    pub filled: u64,
    /// Chunks that were sent and given back.
    pub taken: u64,
}

impl CacheReport {
    /// Looks at it, at `now_ns`; `None` where the instance has none.
    pub(super) fn of(instance: &Instance, now_ns: u64) -> Result<Option<CacheReport>, IpcError> {
        let generation = instance.generation();
        let pool = match Pool::open(generation, Access::Read) {
            Ok(pool) => pool,
            Err(error) if error.errno() == Some(Errno::ENOENT) => return Ok(None),
            Err(error) => return Err(error),
        };
        let Attributes { depth, message_bytes, queued } = CacheChannel::attributes(generation)?;
        let life = &instance.cache_row().life;
        let pid = life.pid.get();
        let state = match (pid, life.is_to_leave()) {
            (0, _) => "absent",
            (_, true) => "leaving",
            (_, false) => "serving",
        };
        Ok(Some(CacheReport {
            state,
            process: (pid != 0).then(|| Process::of(pid)),
            pid,
            lives: life.lives.get(),
            deaths: life.deaths.get(),
            failed_starts: life.failed_starts.get(),
            heartbeat_age_ms: milliseconds(now_ns, life.heartbeat_ns.get()),
            queue: QueueReport { name: generation.name(QUEUE), depth, queued, message_bytes },
            pool: PoolReport {
                name: pool.summary().0.to_owned(),
                segment_bytes: pool.shape().segment_bytes(),
                segments: pool.segments().map(TransferReport::of).collect(),
            },
        }))
    }
}

impl TransferReport {
    fn of(summary: SegmentSummary) -> TransferReport {
        let SegmentSummary { number, claim, owner_pid, writer_pid, total, filled, taken } = summary;
        TransferReport {
            segment: number,
            state: claim.state.name(),
            generation: claim.generation,
            owner: claim.owner,
            owner_pid,
            writer_pid,
            total,
            filled,
            taken,
        }
    }
}

impl fmt::Display for CacheReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let CacheReport { state, process, lives, deaths, heartbeat_age_ms, queue, pool, .. } = self;
        let process = process.as_ref().map_or_else(|| "no process".to_owned(), Process::to_string);
        writeln!(
            f,
            "\ncache: {state}, {process}, lives {lives}, deaths {deaths}, heartbeat {heartbeat_age_ms} ms ago"
        )?;
        let QueueReport { name, depth, queued, message_bytes } = queue;
        writeln!(f, "  queue {name}: {queued} of {depth} commands of up to {message_bytes} bytes")?;
        let used: Vec<_> = pool.segments.iter().filter(|segment| segment.state != State::Free.name()).collect();
        let (all, bytes) = (pool.segments.len(), pool.segment_bytes);
        writeln!(f, "  segments: {} of {all} in use, of {bytes} bytes each", used.len())?;
        if used.is_empty() {
            return Ok(());
        }
        let table = Table::of(
            &used,
            &[
                ("segment", |segment| segment.segment.to_string()),
                ("<state", |segment| segment.state.to_owned()),
                ("worker", |segment| segment.owner.to_string()),
                ("pid", |segment| segment.owner_pid.to_string()),
                ("bytes", |segment| segment.total.to_string()),
                ("filled", |segment| segment.filled.to_string()),
                ("taken", |segment| segment.taken.to_string()),
            ],
        );
        write!(f, "{table}")
    }
}
