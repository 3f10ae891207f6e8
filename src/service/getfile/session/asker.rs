//! The side of the cache process in one worker: it claims segments for requests in their turn, puts the requests to the cache process, and
//! looks what has come.
//!
//! Who wakes a worker does not say for which of its requests, so all of them that have a segment are looked at: not more than there are
//! segments. What belongs to one request is in the request ([`Asked`]). A session that ends, or goes on in another worker, drops it,
//! which gives its segment back; the lists here find that out by the segment's name or the ticket, which are used once.

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::sync::Arc;

use crate::base::config::CacheChannelKind;
use crate::base::limits::{CACHE_SILENCE_SECONDS, MAX_CACHE_ASKS};
use crate::base::time::{is_over, nanoseconds};
use crate::ipc::message_queue::{Priority, SendError, Sender};
use crate::service::connection_state::SessionKey;
use crate::service::entry::{Context, Watcher};
use crate::service::getfile::session::asked::{Asked, At};
use crate::service::getfile::session::descriptors::{Descriptors, content_of};
use crate::service::getfile::session::transfer::Transfer;
use crate::service::getfile::wire::response::Response;
use crate::service::outgoing::Content;
use crate::store::cache_channel::{CacheChannel, CacheStatus, Command, Detail, Refusal};
use crate::store::instance::life::Life;
use crate::store::instance::stats::GetFileStats;
use crate::store::transfer::tickets::Memory;
use crate::store::transfer::{Claimant, Next, Pool, Reader, SegmentId, Ticket};

const SECOND_NS: u64 = 1_000_000_000;

/// The sessions, as far as the cache process is concerned.
pub trait Requests {
    /// What the session asks, if it is there and has no answer yet.
    fn asked(&mut self, key: SessionKey) -> Option<&mut Asked>;

    /// The reader of the session, if it has one, and whether it waits for the cache process.
    fn reader(&mut self, key: SessionKey) -> Option<(&mut Reader<'static>, bool)>;

    /// Has the session served.
    fn schedule(&mut self, key: SessionKey);
}

/// What there is for a request.
pub enum Polled {
    /// Nothing yet; its session will be scheduled.
    Nothing,
    /// Contents, on their way.
    Contents(Box<Transfer>),
    /// Contents that are whole, their length, and where they come from.
    Whole(Arc<Content>, u64, CacheStatus),
    /// It is answered with this, and where that comes from.
    Refused(Response, Option<CacheStatus>),
}

/// The asking side of one worker.
pub struct Asker {
    channel: &'static CacheChannel,
    life: &'static Life,
    stats: &'static GetFileStats,
    worker: u16,
    claimant: Claimant<'static, Pool>,
    sender: Sender<Command>,
    watcher: Rc<dyn Watcher>,
    is_watching: bool,
    /// `--getfile-upstream-timeout`.
    upstream_timeout_ns: u64,
    /// Who waits for a segment, in the order of tickets.
    waiting: VecDeque<(Ticket, SessionKey)>,
    /// Who waits for room in the queue, in the order of coming.
    unsent: VecDeque<(SegmentId, SessionKey)>,
    /// Who has a segment.
    open: Vec<(SegmentId, SessionKey)>,
    /// How often a cache process was started, as of the last turn.
    lives: u32,
    /// The way by which descriptors come; `None` where all comes through chunks.
    descriptors: Option<Descriptors>,
}

impl Asker {
    /// That of one worker.
    ///
    /// # Errors
    /// The queue cannot be opened.
    pub fn open(context: &Context, channel: &'static CacheChannel) -> io::Result<Self> {
        let stats = &context.instance.workers()[context.worker].stats.getfile;
        let timeout_ns = nanoseconds(context.settings.getfile.cache.upstream_timeout);
        let life = &context.instance.cache_row().life;
        let mut asker = Asker::new(channel, life, stats, context.worker, context.watcher.clone(), timeout_ns)?;
        if context.settings.getfile.cache.channel == CacheChannelKind::Memfd {
            asker.take_descriptors();
        }
        Ok(asker)
    }

    /// Has contents come by descriptor that can.
    pub(super) fn take_descriptors(&mut self) {
        self.descriptors = Some(Descriptors::new(self.channel.generation(), self.worker));
        self.connect();
    }

    /// Connects anew to the cache process that there is now.
    fn connect(&mut self) {
        if let Some(descriptors) = &mut self.descriptors {
            let open = &self.open;
            descriptors.connect(self.life.pid.get(), |id| open.iter().any(|&(its, _)| its == id));
        }
    }

    /// See [`Asker::open`].
    pub(super) fn new(
        channel: &'static CacheChannel,
        life: &'static Life,
        stats: &'static GetFileStats,
        worker: usize,
        watcher: Rc<dyn Watcher>,
        upstream_timeout_ns: u64,
    ) -> io::Result<Self> {
        let worker = u16::try_from(worker).map_err(|_| io::ErrorKind::InvalidInput)?;
        let sender = CacheChannel::sender(channel.generation()).map_err(io::Error::other)?;
        Ok(Asker {
            channel,
            life,
            stats,
            worker,
            claimant: Claimant::new(&channel.pool, worker, std::process::id(), &channel.wake_ups),
            sender,
            watcher,
            is_watching: false,
            upstream_timeout_ns,
            waiting: VecDeque::new(),
            unsent: VecDeque::new(),
            open: Vec::new(),
            lives: life.lives.get(),
            descriptors: None,
        })
    }

    /// Looks what there is for a request; a new one is put to the cache process as soon as it is its turn. `key` is its session's.
    pub fn poll(&mut self, key: SessionKey, asked: &mut Asked, now_ns: u64) -> Polled {
        loop {
            let next = match &mut asked.at {
                At::Rest(since_ns) if !self.has_lived_since(*since_ns) => return Polled::Nothing,
                At::Rest(_) | At::Begin => {
                    self.draw(key, asked);
                    continue;
                }
                At::Ticket(_) | At::Unsent(_) => return Polled::Nothing,
                At::Unreachable => return Polled::Refused(Response::Error, None),
                At::Sent(reader, _) => reader.poll(),
            };
            asked.at = match next {
                Next::Pending => return Polled::Nothing,
                Next::Chunk | Next::End => return contents(std::mem::replace(&mut asked.at, At::Begin)),
                Next::Elsewhere => match self.whole(std::mem::replace(&mut asked.at, At::Begin)) {
                    Ok(polled) => return polled,
                    Err(why) => {
                        log::warn!("a content does not come by its descriptor, and is asked for again: {why}");
                        At::Rest(now_ns)
                    }
                },
                Next::Failed(word) => match Refusal::from_word(word) {
                    Refusal::NotFound(from) => return Polled::Refused(Response::FileNotFound, Some(from)),
                    Refusal::Upstream | Refusal::Full => return Polled::Refused(Response::Error, None),
                    // There may be nobody to be asked for a while.
                    Refusal::Unfinished => At::Rest(now_ns),
                },
                Next::Broken => At::Begin,
            };
            if asked.asks >= MAX_CACHE_ASKS {
                return Polled::Refused(Response::Error, None);
            }
            self.stats.asked_again.add(1);
        }
    }

    /// Takes the contents of a request that come by descriptor. Its segment goes back at once.
    fn whole(&mut self, at: At) -> Result<Polled, String> {
        let At::Sent(reader, _) = at else { return Err("it was not asked for".to_owned()) };
        let begun = reader.begun().and_then(|begun| Some((begun.total, Detail::from_word(begun.detail)?)));
        let Some((length, Detail { from, by_descriptor: true })) = begun else {
            return Err(format!("{begun:?} is not understood"));
        };
        let (id, open) = (reader.id(), &self.open);
        drop(reader);
        let descriptors = self.descriptors.as_mut().ok_or("this worker takes no descriptors")?;
        let fd = descriptors.take(id, |other| open.iter().any(|&(its, _)| its == other)).ok_or("it is not there")?;
        Ok(Polled::Whole(content_of(fd, length)?, length, from))
    }

    /// Draws a ticket for a request, and puts it to the cache process if it is its turn already.
    fn draw(&mut self, key: SessionKey, asked: &mut Asked) {
        asked.asks += 1;
        let ticket = self.claimant.draw();
        asked.at = At::Ticket(ticket);
        // If there are others, what they wait for is not there.
        let claimed = if self.claimant.waiting() == 1 { self.claimant.claim() } else { None };
        match claimed {
            Some((_, id)) => self.give(key, asked, id),
            None => {
                self.stats.segment_waits.add(1);
                self.waiting.push_back((ticket, key));
            }
        }
    }

    /// Gives a request the segment that was claimed for it, and puts it to the cache process.
    fn give(&mut self, key: SessionKey, asked: &mut Asked, id: SegmentId) {
        let Some(reader) = self.reader(id) else {
            asked.at = At::Unreachable;
            return;
        };
        self.open.push((id, key));
        asked.at = At::Unsent(reader);
        if !self.unsent.is_empty() || !self.send(asked) {
            self.stats.queue_full.add(1);
            self.unsent.push_back((id, key));
        }
    }

    fn reader(&self, id: SegmentId) -> Option<Reader<'static>> {
        Reader::new(&self.channel.pool, id, self.worker, &self.channel.wake_ups)
    }

    /// Sends a request that is not sent; false where the queue has no room for it.
    fn send(&mut self, asked: &mut Asked) -> bool {
        let At::Unsent(reader) = &asked.at else { return true };
        // A successor that starts meanwhile is asked again; that it finds this one as well does no harm.
        let lives = self.life.lives.get();
        // The path is lent to the message.
        let path = std::mem::take(&mut asked.path);
        let command = Command::Get { segment: reader.id(), owner: asked.owner, path };
        let sent = self.sender.send(&command, Priority::Normal);
        if let Command::Get { path, .. } = command {
            asked.path = path;
        }
        asked.at = match (sent, std::mem::replace(&mut asked.at, At::Begin)) {
            (Err(SendError::Full), at) => {
                asked.at = at;
                self.watch_queue();
                return false;
            }
            (Ok(()), At::Unsent(reader)) => At::Sent(reader, lives),
            (Ok(()), at) => at,
            (Err(error), _) => {
                log::warn!("the cache process cannot be asked: {error}");
                At::Unreachable
            }
        };
        true
    }

    /// Has the loop woken when there is room in the queue. It is not watched all the time, since each message that comes or goes would wake
    /// each worker.
    fn watch_queue(&mut self) {
        if self.is_watching {
            return;
        }
        match self.watcher.watch_writable(self.sender.as_fd()) {
            Ok(()) => self.is_watching = true,
            Err(error) => log::warn!("cannot watch the queue to the cache process: {error}; it is tried at the ticks"),
        }
    }

    /// Goes on with all requests that can: see [`crate::service::interface::Service::advance`].
    pub fn advance(&mut self, requests: &mut impl Requests) {
        let lives = self.life.lives.get();
        if std::mem::replace(&mut self.lives, lives) != lives {
            self.ask_successor(requests, lives);
            self.connect();
        }
        self.claim(requests);
        self.send_unsent(requests);
        self.open.retain(|&(id, key)| {
            let Some((reader, awaits_cache)) = requests.reader(key).filter(|(reader, _)| reader.id() == id) else {
                return false;
            };
            if awaits_cache && reader.poll() != Next::Pending {
                requests.schedule(key);
            }
            true
        });
    }

    /// Asks another cache process for what its predecessor was asked for and has not picked up: it may have taken the request from the
    /// queue, or not.
    fn ask_successor(&mut self, requests: &mut impl Requests, now: u32) {
        for &(id, key) in &self.open {
            let Some(asked) = requests.asked(key).filter(|asked| asked.segment() == Some(id)) else { continue };
            asked.at = match std::mem::replace(&mut asked.at, At::Begin) {
                At::Sent(reader, lives) if lives != now && !reader.is_picked_up() => {
                    self.unsent.push_back((id, key));
                    self.stats.asked_again.add(1);
                    At::Unsent(reader)
                }
                at => at,
            };
        }
    }

    fn claim(&mut self, requests: &mut impl Requests) {
        while let Some(&(ticket, key)) = self.waiting.front() {
            if requests.asked(key).is_none_or(|asked| !asked.has(ticket)) {
                self.claimant.cancel(ticket);
                self.waiting.pop_front();
                continue;
            }
            let Some((claimed, id)) = self.claimant.claim() else { return };
            debug_assert_eq!(claimed, ticket, "the oldest comes first");
            self.waiting.pop_front();
            if let Some(asked) = requests.asked(key) {
                self.give(key, asked, id);
            }
        }
    }

    fn send_unsent(&mut self, requests: &mut impl Requests) {
        while let Some(&(id, key)) = self.unsent.front() {
            let asked = requests.asked(key).filter(|asked| asked.segment() == Some(id));
            if let Some(asked) = asked {
                if !self.send(asked) {
                    return;
                }
                if matches!(asked.at, At::Unreachable) {
                    requests.schedule(key);
                }
            }
            self.unsent.pop_front();
        }
        if std::mem::take(&mut self.is_watching) {
            self.watcher.unwatch(self.sender.as_fd());
        }
    }

    /// Takes the tickets down of sessions that have gone to other workers, and closes descriptors for such ones. At the ticks; tickets
    /// that come first are seen at once.
    pub fn tidy(&mut self, requests: &mut impl Requests) {
        if let Some(descriptors) = &mut self.descriptors {
            let open = &self.open;
            descriptors.take_all(|id| open.iter().any(|&(its, _)| its == id));
        }
        if self.descriptors.as_ref().is_some_and(|descriptors| !descriptors.is_connected()) {
            self.connect();
        }
        let claimant = &mut self.claimant;
        self.waiting.retain(|&(ticket, key)| {
            let is_there = requests.asked(key).is_some_and(|asked| asked.has(ticket));
            if !is_there {
                claimant.cancel(ticket);
            }
            is_there
        });
    }

    /// Gives up a request whose session ends.
    pub fn cancel(&mut self, asked: &Asked) {
        if let At::Ticket(ticket) = asked.at
            && let Ok(place) = self.waiting.binary_search_by_key(&ticket, |&(ticket, _)| ticket)
        {
            self.waiting.remove(place);
            self.claimant.cancel(ticket);
        }
    }

    /// Whether a request without an answer has waited for too long.
    #[must_use]
    pub fn is_late(&self, asked: &Asked, now_ns: u64) -> bool {
        self.is_silent(now_ns) || is_over(now_ns, asked.since_ns, self.upstream_timeout_ns.saturating_mul(4))
    }

    /// Whether contents of which nothing has come since then have stalled.
    #[must_use]
    pub fn has_stalled(&self, since_ns: u64, now_ns: u64) -> bool {
        self.is_silent(now_ns) || is_over(now_ns, since_ns, self.upstream_timeout_ns.saturating_mul(2))
    }

    /// Whether some request, of whichever worker, waits for a segment.
    #[must_use]
    pub fn is_segment_wanted(&self) -> bool {
        self.channel.pool.tickets().longest_waiting().is_some()
    }

    fn is_silent(&self, now_ns: u64) -> bool {
        is_over(now_ns, self.life.heartbeat_ns.get(), CACHE_SILENCE_SECONDS * SECOND_NS)
    }

    /// Whether there is a cache process that has shown life after that time.
    fn has_lived_since(&self, since_ns: u64) -> bool {
        self.life.pid.get() != 0 && self.life.heartbeat_ns.get() > since_ns
    }
}

/// Begins to give contents on that have begun to come.
fn contents(at: At) -> Polled {
    let At::Sent(reader, _) = at else { return Polled::Refused(Response::Error, None) };
    match reader.begun().and_then(|begun| Some((begun.total, Detail::from_word(begun.detail)?))) {
        Some((total, Detail { from, by_descriptor: false })) => {
            Polled::Contents(Box::new(Transfer::new(reader, total, from)))
        }
        other => {
            log::warn!("the cache process has answered {other:?}, which is not understood");
            Polled::Refused(Response::Error, None)
        }
    }
}
