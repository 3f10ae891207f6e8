//! Contents on their way from the cache process through a segment to a client.

use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;

use crate::ipc::files;
use crate::service::getfile::wire::response::Response;
use crate::store::cache_channel::CacheStatus;
use crate::store::transfer::{Next, Reader};

/// Contents of which the first bytes are there. Dropped, they give their segment back.
pub struct Transfer {
    reader: Reader<'static>,
    /// What it begins with.
    pub response: Response,
    /// Where the contents come from.
    pub from: CacheStatus,
    head: Vec<u8>,
    head_sent: usize,
    /// Since when it waits for the cache process; `None` where it waits for the client.
    awaits_cache_ns: Option<u64>,
}

/// What came of sending some.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// So many bytes.
    Bytes(u64),
    /// The socket takes no more now.
    Full,
    /// The cache process has not given more yet.
    Nothing,
    /// All is sent.
    Over,
    /// The connection is broken.
    Broken,
    /// No more comes from the cache process.
    Short,
}

impl Transfer {
    /// So many bytes, that come by `reader`.
    #[must_use]
    pub fn new(reader: Reader<'static>, total: u64, from: CacheStatus) -> Self {
        let response = Response::Ok(total);
        let mut head = Vec::with_capacity(40);
        response.write_head(&mut head);
        Transfer { reader, response, from, head, head_sent: 0, awaits_cache_ns: None }
    }

    /// Sends once: the head together with the first contents, and contents straight from the segment.
    pub fn send(&mut self, socket: BorrowedFd<'_>, now_ns: u64) -> Step {
        let next = self.reader.poll();
        let since_ns = self.awaits_cache_ns.take();
        let head = &self.head[self.head_sent..];
        let sent = match next {
            Next::Pending => {
                self.awaits_cache_ns = since_ns.or(Some(now_ns));
                return Step::Nothing;
            }
            Next::Failed(_) | Next::Elsewhere | Next::Broken => return Step::Short,
            Next::End if head.is_empty() => return Step::Over,
            // The end of the stream follows at once.
            Next::End => files::send_parts_more(socket, &[IoSlice::new(head)]),
            Next::Chunk => self.reader.send_behind(head, socket),
        };
        match sent {
            Ok(0) => Step::Broken,
            Ok(count) => {
                self.head_sent += count.min(head.len());
                Step::Bytes(count as u64)
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Step::Full,
            Err(_) => Step::Broken,
        }
    }

    /// Where it has its bytes from.
    pub fn reader(&mut self) -> &mut Reader<'static> {
        &mut self.reader
    }

    /// Since when it waits for the cache process; `None` where it waits for the client.
    #[must_use]
    pub fn awaits_cache_ns(&self) -> Option<u64> {
        self.awaits_cache_ns
    }

    /// Bytes that were sent, those of the head included.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.head_sent as u64 + self.reader.bytes()
    }

    /// Bytes of the head.
    #[must_use]
    pub fn head_bytes(&self) -> usize {
        self.head.len()
    }
}
