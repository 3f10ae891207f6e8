//! What a worker counts: one row of plain counters, written by that worker alone, read by all.

use crate::ipc::layout::Counter;
use crate::shared_struct;

/// Places for counters per opcode, in the order of `wire::Opcode::ALL`.
pub const OPCODES: usize = 8;
/// Places for counters per status code.
pub const STATUSES: usize = 16;

shared_struct! {
    /// Counters of one worker since the instance began; a successor counts on. Writer: the worker.
    pub struct WorkerStats, align 64, size 320; {
        /// Connections taken over.
        pub accepted: Counter,
        /// Connections closed.
        pub closed: Counter,
        /// Connections turned away because no slot was free.
        pub refused: Counter,
        /// Connections dropped for being idle.
        pub idle_dropped: Counter,
        /// Connections dropped for a frame that did not end.
        pub slow_dropped: Counter,
        /// Bytes received.
        pub bytes_in: Counter,
        /// Bytes sent.
        pub bytes_out: Counter,
        /// Turns of the event loop.
        pub turns: Counter,
        /// Requests by opcode.
        pub requests: [Counter; OPCODES],
        /// Answers by status code.
        pub answers: [Counter; STATUSES],
        /// Nanoseconds that tickets waited between accept and the worker, summed.
        pub dispatch_wait_ns: Counter,
        /// The longest of these waits.
        pub dispatch_wait_most_ns: Counter,
        /// Bad frames.
        pub strikes: Counter,
        /// Times that the lane was found in use by the master.
        pub lane_contended: Counter,
        /// Connections taken over from other workers.
        pub resumed: Counter,
        spare: [Counter; 3],
    }
}
