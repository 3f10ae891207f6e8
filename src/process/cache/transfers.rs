//! The requests that were picked up: each waits for its answer, or is given its content through its segment.

use std::collections::{HashMap, VecDeque};
use std::os::fd::{AsFd, BorrowedFd};

use super::contents::{Contents, Part};
use super::core::{Answer, ContentId, Reason, RequestId, Source};
use super::turn_wake_ups::TurnWakeUps;
use crate::base::crash_point::{CrashPoint, crash_point};
use crate::store::cache_channel::{CacheChannel, CacheStatus, DescriptorSender, Detail, Refusal};
use crate::store::transfer::shape::CHUNKS;
use crate::store::transfer::{SegmentId, Writer};

/// What a transfer waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    /// The answer.
    Answer,
    /// Its turn.
    Turn,
    /// A chunk that its worker gives back.
    Room,
    /// More of the content.
    Content,
}

/// One request.
struct Transfer {
    writer: Writer<'static>,
    waits_for: Wait,
    /// What it reads; nothing before it is answered.
    content: ContentId,
    position: u64,
}

/// What has become of a transfer whose turn it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filled {
    /// Whose.
    pub request: RequestId,
    /// Bytes that were put into its segment.
    pub bytes: usize,
    /// What it reads.
    pub content: ContentId,
    /// Where it is; `None` where it is over.
    pub position: Option<u64>,
}

/// All of them, by the numbers of their segments.
pub struct Transfers {
    channel: &'static CacheChannel,
    /// It lives as long as the process, as the channel does.
    wake: &'static TurnWakeUps,
    pid: u32,
    by_segment: Vec<Option<Transfer>>,
    ready: VecDeque<SegmentId>,
    /// Who waits for more of a content; some may be gone.
    starving: HashMap<ContentId, Vec<SegmentId>>,
    /// How descriptors are passed; `None` where all goes through chunks.
    descriptors: Option<DescriptorSender>,
    /// What was passed.
    passed: Passed,
}

/// What was passed by descriptor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// How many contents.
    pub descriptors: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// The number of a request: no other has it as long as the segment is not given back.
fn request_of(id: SegmentId) -> RequestId {
    RequestId(u64::from(id.number) | u64::from(id.generation) << 32)
}

fn status_of(source: Source) -> CacheStatus {
    match source {
        Source::Hit => CacheStatus::Hit,
        Source::Miss => CacheStatus::Miss,
        Source::Stale => CacheStatus::Stale,
        Source::Revalidated => CacheStatus::Revalidated,
        Source::Coalesced => CacheStatus::Coalesced,
    }
}

impl Transfers {
    /// None yet. `descriptors` is where workers connect that are to get descriptors.
    #[must_use]
    pub fn new(channel: &'static CacheChannel, descriptors: Option<DescriptorSender>) -> Self {
        let by_segment = (0..channel.pool.shape().segments()).map(|_| None).collect();
        let (ready, starving) = (VecDeque::new(), HashMap::new());
        let passed = Passed::default();
        let wake = Box::leak(Box::new(TurnWakeUps::new(&channel.wake_ups)));
        Transfers { channel, wake, pid: std::process::id(), by_segment, ready, starving, descriptors, passed }
    }

    /// What becomes readable when a worker connects, to get descriptors.
    #[must_use]
    pub fn listener(&self) -> Option<BorrowedFd<'_>> {
        self.descriptors.as_ref().map(DescriptorSender::listener)
    }

    /// Workers have connected.
    pub fn take_in_workers(&mut self) {
        if let Some(descriptors) = &mut self.descriptors {
            descriptors.take_in();
        }
    }

    /// What was passed by descriptor.
    #[must_use]
    pub fn passed(&self) -> Passed {
        self.passed
    }

    fn place(&mut self, number: u32) -> Option<&mut Option<Transfer>> {
        self.by_segment.get_mut(usize::try_from(number).ok()?)
    }

    fn get(&mut self, id: SegmentId) -> Option<&mut Transfer> {
        self.place(id.number)?.as_mut().filter(|transfer| transfer.writer.id() == id)
    }

    #[allow(clippy::cast_possible_truncation, reason = "the two halves of a word")]
    fn take(&mut self, request: RequestId) -> Option<Transfer> {
        let place = self.place(request.0 as u32)?;
        place.take_if(|transfer| request_of(transfer.writer.id()) == request)
    }

    /// Picks up what a worker offers. `None` where the request comes late.
    pub fn pick_up(&mut self, id: SegmentId) -> Option<RequestId> {
        let channel = self.channel;
        let writer = Writer::pick_up(&channel.pool, id, self.pid, self.wake)?;
        // A segment comes back only when the writer of its last use has let go of it.
        *self.place(id.number)? =
            Some(Transfer { writer, waits_for: Wait::Answer, content: ContentId(0), position: 0 });
        Some(request_of(id))
    }

    /// Answers a request. Returns whether it is over.
    pub fn answer(&mut self, request: RequestId, answer: Answer, contents: &Contents) -> bool {
        let Some(mut transfer) = self.take(request) else { return true };
        let refusal = match answer {
            Answer::Found { content, .. } if contents.is_lost(content) => Refusal::Full,
            Answer::Found { content, length, source } => {
                let by_descriptor = self.pass(&transfer.writer, content, length, contents);
                let detail = Detail { from: status_of(source), by_descriptor };
                if by_descriptor {
                    transfer.writer.finish_elsewhere(length, detail.word());
                    return true;
                }
                transfer.writer.begin(length, detail.word());
                if length == 0 {
                    transfer.writer.finish();
                    return true;
                }
                (transfer.content, transfer.waits_for) = (content, Wait::Turn);
                self.put_back(transfer);
                return false;
            }
            Answer::NotFound(source) => Refusal::NotFound(status_of(source)),
            Answer::Error(Reason::Upstream) => Refusal::Upstream,
            Answer::Error(Reason::Full | Reason::TooLarge) => Refusal::Full,
        };
        transfer.writer.fail(refusal.word());
        true
    }

    /// Passes the descriptor of a content to the worker that asks for it, if it has one; whether that was done. If not, it goes through
    /// the chunks.
    fn pass(&mut self, writer: &Writer<'_>, content: ContentId, length: u64, contents: &Contents) -> bool {
        let Some(descriptors) = &mut self.descriptors else { return false };
        let Some(file) = contents.sealed(content).filter(|file| file.bytes() == length) else { return false };
        // Before the worker is told: it is to find it when it looks.
        if !descriptors.pass(writer.worker(), writer.id(), file.as_fd()) {
            return false;
        }
        crash_point(CrashPoint::CacheDescriptorPassed);
        self.passed.descriptors += 1;
        self.passed.bytes += length;
        true
    }

    /// Keeps a transfer, in line with the others if it waits for its turn, and otherwise for what it waits for.
    fn put_back(&mut self, transfer: Transfer) {
        let id = transfer.writer.id();
        match transfer.waits_for {
            Wait::Turn => self.ready.push_back(id),
            Wait::Content => self.starving.entry(transfer.content).or_default().push(id),
            Wait::Answer | Wait::Room => {}
        }
        if let Some(place) = self.place(id.number) {
            *place = Some(transfer);
        }
    }

    /// Wakes the workers that there is something for since the last time.
    pub fn wake_workers(&self) {
        self.wake.send();
    }

    /// Whether it is some transfer's turn.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Puts as much into the segment of the first in line as fits, and is there; `None` where it is nobody's turn.
    pub fn fill(&mut self, contents: &mut Contents) -> Option<Filled> {
        loop {
            let id = self.ready.pop_front()?;
            let is_its_turn = |transfer: &mut Transfer| transfer.writer.id() == id && transfer.waits_for == Wait::Turn;
            if let Some(transfer) = self.place(id.number).and_then(|place| place.take_if(is_its_turn)) {
                return Some(self.fill_one(transfer, contents));
            }
        }
    }

    fn fill_one(&mut self, mut transfer: Transfer, contents: &mut Contents) -> Filled {
        let (request, content) = (request_of(transfer.writer.id()), transfer.content);
        let over = |bytes| Filled { request, bytes, content, position: None };
        // Not more than the segment holds, else a fast reader would keep the others waiting.
        let most = CHUNKS * self.channel.pool.shape().chunk_bytes();
        let bytes = match contents.part(content, transfer.position, most) {
            Part::Lost => {
                transfer.writer.fail(Refusal::Unfinished.word());
                return over(0);
            }
            Part::NotYet if !transfer.writer.is_wanted() => return over(0),
            Part::NotYet => {
                transfer.waits_for = Wait::Content;
                0
            }
            Part::Bytes(part) => {
                let Ok(bytes) = transfer.writer.write(part) else { return over(0) };
                transfer.waits_for = if bytes < part.len() { Wait::Room } else { Wait::Turn };
                bytes
            }
        };
        transfer.position += bytes as u64;
        if transfer.writer.missing() == Some(0) {
            transfer.writer.finish();
            return over(bytes);
        }
        let position = Some(transfer.position);
        self.put_back(transfer);
        Filled { request, bytes, content, position }
    }

    /// More of a content has come.
    pub fn content_came(&mut self, content: ContentId) {
        for id in self.starving.remove(&content).unwrap_or_default() {
            if let Some(transfer) = self.get(id).filter(|transfer| transfer.waits_for == Wait::Content) {
                transfer.waits_for = Wait::Turn;
                self.ready.push_back(id);
            }
        }
    }

    /// No more of a content will come: ends all who read it. Returns them. Their workers are told that the upstream is to blame, and
    /// not to ask again: for a client that has nothing of it yet this is an error like any other.
    pub fn cut(&mut self, content: ContentId) -> Vec<RequestId> {
        self.starving.remove(&content);
        let reads_it = |transfer: &Transfer| transfer.waits_for != Wait::Answer && transfer.content == content;
        let over = self.end_all(reads_it).map(|transfer| {
            let request = request_of(transfer.writer.id());
            transfer.writer.fail(Refusal::Upstream.word());
            request
        });
        over.collect()
    }

    /// A worker has given chunks back, or has given up. Returns those who want nothing any more.
    pub fn workers_went_on(&mut self) -> Vec<RequestId> {
        for transfer in self.by_segment.iter_mut().flatten() {
            if transfer.waits_for == Wait::Room {
                transfer.waits_for = Wait::Turn;
                self.ready.push_back(transfer.writer.id());
            }
        }
        self.end_all(|transfer| !transfer.writer.is_wanted()).map(|transfer| request_of(transfer.writer.id())).collect()
    }

    /// Ends those for which `is_over` holds. Returns them.
    fn end_all(&mut self, is_over: impl Fn(&Transfer) -> bool) -> impl Iterator<Item = Transfer> {
        self.by_segment.iter_mut().filter_map(move |place| place.take_if(|transfer| is_over(transfer)))
    }
}

impl Drop for Transfers {
    fn drop(&mut self) {
        // Those that are not at their end fail, of which their workers are to know.
        self.by_segment.clear();
        self.wake.send();
    }
}
