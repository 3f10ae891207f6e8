//! Defects that the tests put in, to see that they are caught.

/// Which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    /// What is read is released when it is no entry any more.
    ReleasedWhileRead,
    /// When a fetch fails, one of those who wait is forgotten.
    ForgottenRequest,
    /// A content that ends early counts as whole.
    ShortIsWhole,
    /// Memory is reserved although there is none.
    NoEviction,
    /// What a fetch brings that was under way at a purge becomes an entry.
    PurgedIsKept,
    /// A content that was cut is never released.
    CutIsLeaked,
    /// A request that joins a window that has moved is given it all the same.
    LateReader,
    /// What is whole in a spool, and read, is not given to others.
    SpoolIsNotShared,
    /// What is in a spool, and was read, stays there.
    SpoolIsKept,
    /// The age of what a fetch brings counts from the answer, or its end.
    AgeOfTheAnswer,
    /// The spools take contents of known length for which they have no room.
    SpoolIsOverfull,
}
