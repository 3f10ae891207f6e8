//! What is to be sent to one peer, with its bounds.
//!
//! Messages without entries go first, so that a heartbeat never waits behind megabytes of records; raft does not mind the order. A piece of a
//! snapshot goes last. What has begun is finished. Frames that wait together go by one system call, since a call costs far more than
//! the bytes of a small frame: on the loopback network it does the receiver's part as well.

use std::collections::VecDeque;
use std::io;
use std::net::TcpStream;

use super::inbox::KEPT_BUFFER_BYTES;
use super::socket;
use crate::base::limits::{PEER_QUEUE_BYTES, PEER_QUEUE_MESSAGES};
use crate::process::replica::message::{EntryRange, Message};
use crate::process::replica::peers::counters::Count as _;
use crate::process::replica::peers::event::Records;
use crate::process::replica::peers::refusal::Dropped;
use crate::process::replica::peers::wire::{encode_message, records_crc, records_of};
use crate::store::cluster::PeerCounts;
use crate::store::journal::record::RECORD_BYTES;

/// What is to be sent to one peer.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    /// Whole frames.
    small: VecDeque<Vec<u8>>,
    /// Frames whose records are still to be read.
    appends: VecDeque<Append>,
    /// One frame of a snapshot.
    snapshot: Option<Vec<u8>>,
    /// The frames that are being sent.
    current: Current,
    /// Bytes that `small` and `appends` take.
    bytes: usize,
    /// The socket took no more the last time.
    is_blocked: bool,
}

#[derive(Debug)]
struct Append {
    head: Vec<u8>,
    entries: Vec<EntryRange>,
    record_bytes: usize,
}

impl Append {
    /// Bytes that it takes while it waits.
    fn held(&self) -> usize {
        self.head.len() + self.entries.len() * size_of::<EntryRange>()
    }
}

/// Frames, of which the last one may have records, and how much of them has been sent. The buffer of the records is kept from one to the next.
#[derive(Debug, Default)]
struct Current {
    heads: Vec<u8>,
    records: Vec<u8>,
    sent: usize,
    /// How many frames these are.
    frames: u64,
}

/// Bytes of small frames that go by one call.
const GATHERED_BYTES: usize = 64 * 1024;

impl Current {
    fn left(&self) -> [&[u8]; 2] {
        let in_heads = self.sent.min(self.heads.len());
        let in_records = self.sent - in_heads;
        [&self.heads[in_heads..], &self.records[in_records..]]
    }

    fn is_done(&self) -> bool {
        self.sent == self.heads.len() + self.records.len()
    }

    fn clear(&mut self) {
        self.heads.clear();
        self.heads.shrink_to(GATHERED_BYTES);
        self.records.clear();
        self.records.shrink_to(KEPT_BUFFER_BYTES);
        (self.sent, self.frames) = (0, 0);
    }

    fn add(&mut self, head: &[u8]) {
        self.heads.extend_from_slice(head);
        self.frames += 1;
    }
}

impl Outbox {
    /// Queues a frame without records.
    pub(super) fn push_frame(&mut self, frame: Vec<u8>) -> Result<(), Dropped> {
        self.check_room(frame.len())?;
        self.bytes += frame.len();
        self.small.push_back(frame);
        Ok(())
    }

    /// Queues a message.
    pub(super) fn push_message(&mut self, message: &Message) -> Result<(), Dropped> {
        let head = encode_message(message).map_err(|_| Dropped::Unencodable)?;
        if message.entries.is_empty() {
            return self.push_frame(head);
        }
        let record_bytes = usize::try_from(records_of(message)).map_err(|_| Dropped::Unencodable)? * RECORD_BYTES;
        let append = Append { head, entries: message.entries.clone(), record_bytes };
        self.check_room(append.held())?;
        self.bytes += append.held();
        self.appends.push_back(append);
        Ok(())
    }

    fn check_room(&self, more: usize) -> Result<(), Dropped> {
        if self.small.len() + self.appends.len() >= PEER_QUEUE_MESSAGES {
            Err(Dropped::Messages)
        } else if self.bytes + more > PEER_QUEUE_BYTES {
            Err(Dropped::Bytes)
        } else {
            Ok(())
        }
    }

    pub(super) fn has_snapshot_room(&self) -> bool {
        self.snapshot.is_none()
    }

    /// Queues a frame of a snapshot, where there is none.
    pub(super) fn push_snapshot(&mut self, frame: Vec<u8>) -> Result<(), Dropped> {
        if self.snapshot.is_some() {
            return Err(Dropped::Messages);
        }
        self.snapshot = Some(frame);
        Ok(())
    }

    /// Whether there is anything to be sent.
    pub(super) fn is_empty(&self) -> bool {
        self.small.is_empty() && self.appends.is_empty() && self.snapshot.is_none() && self.current.is_done()
    }

    /// Whether the socket is to be waited for.
    pub(super) fn wants_socket(&self) -> bool {
        self.is_blocked && !self.is_empty()
    }

    /// The socket can take something again.
    pub(super) fn unblock(&mut self) {
        self.is_blocked = false;
    }

    /// Messages that were queued and will never be sent.
    pub(super) fn waiting(&self) -> usize {
        self.small.len() + self.appends.len()
    }

    /// Sends until the socket takes no more, nothing is left, or `budget` bytes are sent. Gives whether something is left that the
    /// socket may take.
    pub(super) fn write(
        &mut self,
        stream: &TcpStream,
        records: &dyn Records,
        budget: usize,
        counters: &mut PeerCounts,
    ) -> io::Result<bool> {
        let mut budget = budget;
        while !self.is_blocked {
            if self.current.is_done() && !self.begin_next(records, counters) {
                return Ok(false);
            }
            if budget == 0 {
                return Ok(true);
            }
            match socket::send(stream, self.current.left()) {
                Ok(sent) => {
                    self.current.sent += sent;
                    counters.traffic.bytes_out += sent as u64;
                    budget = budget.saturating_sub(sent);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.is_blocked = true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            if self.current.is_done() {
                counters.traffic.frames_out += self.current.frames;
            }
        }
        Ok(false)
    }

    /// Makes what waits the current frames: the small ones, and one with records behind them; `false` when there is none.
    fn begin_next(&mut self, records: &dyn Records, counters: &mut PeerCounts) -> bool {
        self.current.clear();
        while self.current.heads.len() < GATHERED_BYTES
            && let Some(frame) = self.small.pop_front()
        {
            self.bytes -= frame.len();
            self.current.add(&frame);
        }
        while self.small.is_empty()
            && let Some(append) = self.appends.pop_front()
        {
            self.bytes -= append.held();
            let into = &mut self.current.records;
            into.clear();
            let read = |entry: &EntryRange| records.read(entry.first, entry.last, entry.index, entry.term, into);
            let all = append.entries.iter().map(read).collect::<Option<()>>();
            if all.is_some() && self.current.records.len() == append.record_bytes {
                let crc = records_crc(&self.current.records);
                self.current.records.extend_from_slice(&crc);
                self.current.add(&append.head);
                return true;
            }
            counters.dropped.count(Dropped::Changed);
            self.current.records.clear();
        }
        if self.current.frames == 0
            && let Some(frame) = self.snapshot.take()
        {
            self.current.add(&frame);
        }
        self.current.frames > 0
    }
}
