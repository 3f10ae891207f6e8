//! Defects that the tests put in, to see that they are caught.

/// Which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(test), expect(dead_code, reason = "some are those of the simulated shell"))]
pub enum Defect {
    /// A vote leaves before it is on disk.
    VoteNotSynced,
    /// The leader counts what is in its own log as committed.
    AcknowledgedBeforeQuorum,
    /// Reads are confirmed without asking anybody.
    ReadNotConfirmed,
    /// The log is cut without an intent that says so.
    TruncationWithoutIntent,
    /// The gate opens as soon as a node leads.
    GateOpenedEarly,
    /// A report of persistence counts although the log was cut since.
    LateReportCounts,
    /// A worker goes on with what it holds after the gate was closed.
    StaleWorker,
    /// Entries end inside operations.
    CutsInsideOperations,
    /// A snapshot is published before what it has is committed.
    UncommittedSnapshot,
}
