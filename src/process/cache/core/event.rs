//! What goes into the core, and what comes out.

use std::sync::Arc;

/// A path as a request has it: its bytes are the name.
pub type Path = Arc<[u8]>;

/// A request, as the shell numbers it. A number may come again once its request is finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// On whose behalf a request is made, for what is shared fairly: an address, or a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OwnerId(pub u64);

/// A fetch from the upstream, as the core numbers it. No number comes again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FetchId(pub u64);

/// The bytes that one fetch gives, as the core numbers them. No number comes again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentId(pub u64);

/// What an upstream says of the state of an object, so that it can be asked whether that has changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Validators {
    /// The value of `ETag`.
    pub etag: Option<Box<[u8]>>,
    /// The value of `Last-Modified`.
    pub last_modified: Option<Box<[u8]>>,
}

impl Validators {
    /// Whether there is nothing to ask with.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.etag.is_none() && self.last_modified.is_none()
    }
}

/// What an upstream answers, before any content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Head {
    /// There is such an object, and its bytes follow.
    Found {
        /// How many bytes, if that is known.
        length: Option<u64>,
        /// What it can be asked with later.
        validators: Validators,
    },
    /// It is as the validators say.
    NotModified,
    /// There is none, or it is not to be had.
    NotFound,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Somebody asks for a path.
    Requested {
        /// The number by which it is answered.
        request: RequestId,
        /// On whose behalf.
        owner: OwnerId,
        /// What is wanted.
        path: Path,
    },
    /// A reader has no use for the bytes before this place any more. Told at least for contents in a [`Place::Window`].
    Read {
        /// Whose.
        request: RequestId,
        /// Bytes from the beginning.
        position: u64,
    },
    /// Whoever asked has all of it, or is gone: no answer is wanted any more, and nothing is read any more.
    Finished(RequestId),
    /// The upstream has answered.
    Head(FetchId, Head),
    /// So many more bytes of content have come. They are dropped unless [`Action::Append`] follows.
    Chunk(FetchId, u64),
    /// The content has come to its end.
    Whole(FetchId),
    /// The fetch has failed, and has ended.
    Failed(FetchId),
    /// There is no room for a content of known length that has just been opened in a [`Place::Spool`]; it is in a [`Place::Window`] now.
    Unspooled(ContentId),
    /// Nothing but that time has gone by. Told a few times a second.
    Tick,
}

/// Where the bytes of a content go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Into memory, as whole as they come; the memory is reserved.
    Memory,
    /// Into a window that moves as its readers read: the content is not kept.
    Window,
    /// Where there is room for an object that may be kept: until its length is known, or because memory has none for it.
    Spool,
}

/// What a request is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Read this content, which may still be on its way.
    Found {
        /// Which.
        content: ContentId,
        /// Its bytes.
        length: u64,
        /// Where it comes from.
        source: Source,
    },
    /// There is no such object.
    NotFound(Source),
    /// It cannot be had now.
    Error(Reason),
}

/// Where an answer comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// It was there, and fresh.
    Hit,
    /// It was fetched for this request.
    Miss,
    /// It was there, and not fresh.
    Stale,
    /// It was there, and the upstream has said that it is still right.
    Revalidated,
    /// It was fetched for another request.
    Coalesced,
}

/// Why a request is answered by an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The upstream failed.
    Upstream,
    /// Too many requests wait or read, or too many contents pass through.
    Full,
    /// The object is too large for what it would have to go into.
    TooLarge,
}

/// Something to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Answer a request.
    Answer(RequestId, Answer),
    /// Begin a fetch.
    Fetch {
        /// Its number.
        fetch: FetchId,
        /// Of what.
        path: Path,
        /// What the upstream is to be asked with; empty where all is wanted in any case.
        validators: Validators,
    },
    /// Take no more of a fetch until it is to be resumed.
    Pause(FetchId),
    /// Go on with a paused fetch.
    Resume(FetchId),
    /// Give up a fetch. What has come of it meanwhile is ignored.
    Cancel(FetchId),
    /// Make room for a content.
    Open {
        /// Its number.
        content: ContentId,
        /// Where its bytes come from.
        fetch: FetchId,
        /// Where they go.
        place: Place,
        /// How many, if that is known.
        length: Option<u64>,
    },
    /// Append the chunk that has just come.
    Append(ContentId),
    /// Forget the bytes of a content in a window before this place.
    Trim(ContentId, u64),
    /// A content from a spool has become an entry, and may be moved to memory, which is reserved.
    Keep(ContentId),
    /// No more bytes will come, although some are missing: its readers end where they are.
    Cut(ContentId),
    /// Nobody reads a content, nor will.
    Release(ContentId),
}
