//! One fetch from the upstream.

use std::collections::BTreeSet;

use super::event::{ContentId, FetchId, OwnerId, Path, RequestId, Validators};

/// How far a fetch has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It waits for its turn.
    Queued,
    /// The upstream is asked.
    Asked,
    /// The upstream has answered, and this content comes.
    Streaming(ContentId),
}

/// One fetch from the upstream.
#[derive(Debug)]
pub struct Fetch {
    /// Of what.
    pub path: Path,
    /// Whose turn it takes; none in the background.
    pub owner: Option<OwnerId>,
    /// How far it has come.
    pub stage: Stage,
    /// When the upstream was asked. What it brings may be no newer than that, so its age counts from here (RFC 9111, section 4.2.3), however
    /// long the answer takes.
    pub asked_at_ns: u64,
    /// Whether requests may join it, and what it brings becomes an entry.
    pub attached: bool,
    /// The content that the upstream is asked about.
    pub old: Option<ContentId>,
    /// Requests that are not answered yet.
    pub waiting: BTreeSet<RequestId>,
    /// What the object can be asked about with later.
    pub validators: Validators,
    /// Whether its content passes through.
    pub passes_through: bool,
    /// Whether no more of it is to be taken for now.
    pub paused: bool,
}

impl Fetch {
    /// One that waits for its turn.
    pub fn new(path: Path, owner: Option<OwnerId>) -> Self {
        Fetch {
            path,
            owner,
            stage: Stage::Queued,
            asked_at_ns: 0,
            attached: true,
            old: None,
            waiting: BTreeSet::new(),
            validators: Validators::default(),
            passes_through: false,
            paused: false,
        }
    }
}

/// A request that is under way.
#[derive(Clone, Copy, Debug)]
pub enum Request {
    /// It is not answered yet.
    Waiting {
        /// What it waits for.
        fetch: FetchId,
        /// Whether that was begun for it.
        first: bool,
    },
    /// It reads.
    Reading {
        /// What.
        content: ContentId,
        /// From where on it still needs the bytes.
        position: u64,
    },
}
