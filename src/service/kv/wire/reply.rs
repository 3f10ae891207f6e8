//! Results: what came of a request, and its bytes in a reply.

use super::procedure::KvProcedure;
use super::status::{KvRefusal, KvStatus};
use super::written::Written;
use crate::base::limits::{MAX_KV_HOST_BYTES, MAX_KV_KEY_BYTES, MAX_KV_PAGE, MAX_KV_VALUE_BYTES};
use crate::base::onc_rpc::reply::SUCCESS_HEAD_BYTES;
use crate::base::onc_rpc::xdr::opaque_bytes;
use crate::base::onc_rpc::{Reader, Sink, XdrError, write_success};
use crate::base::vocab::Lsn;

/// Bytes of the longest reply to a GET, mark included.
pub const MAX_GET_REPLY_BYTES: usize = SUCCESS_HEAD_BYTES + 4 + 8 + opaque_bytes(MAX_KV_VALUE_BYTES);
/// Bytes of an entry of a page with the longest key.
const MAX_ENTRY_BYTES: usize = opaque_bytes(MAX_KV_KEY_BYTES) + 8 + 4;
/// Bytes of the longest reply to a SCAN, mark included.
pub const MAX_SCAN_REPLY_BYTES: usize = SUCCESS_HEAD_BYTES + 4 + 4 + MAX_KV_PAGE * MAX_ENTRY_BYTES + 4;
/// Bytes of the longest reply, mark included.
pub const MAX_KV_REPLY_BYTES: usize =
    if MAX_GET_REPLY_BYTES > MAX_SCAN_REPLY_BYTES { MAX_GET_REPLY_BYTES } else { MAX_SCAN_REPLY_BYTES };

/// A key of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScanEntry<'a> {
    /// The key.
    pub key: &'a [u8],
    /// Its version.
    pub version: Lsn,
    /// Bytes of its value.
    pub value_bytes: u32,
}

impl<'a> ScanEntry<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, XdrError> {
        Ok(ScanEntry { key: reader.opaque(MAX_KV_KEY_BYTES)?, version: Lsn(reader.u64()?), value_bytes: reader.u32()? })
    }
}

/// A page that was read: all of its entries are well formed.
#[derive(Clone, Copy, Debug)]
pub struct ScanPage<'a> {
    count: usize,
    entries: Reader<'a>,
    /// Whether there are more behind them.
    pub more: bool,
}

impl<'a> ScanPage<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, XdrError> {
        let count = reader.length(MAX_KV_PAGE)?;
        let entries = *reader;
        for _ in 0..count {
            ScanEntry::read(reader)?;
        }
        Ok(ScanPage { count, entries, more: reader.boolean()? })
    }

    /// How many entries it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Its entries, in their order.
    pub fn entries(&self) -> impl Iterator<Item = ScanEntry<'a>> + use<'a> {
        let mut reader = self.entries;
        (0..self.count).map_while(move |_| ScanEntry::read(&mut reader).ok())
    }
}

impl PartialEq for ScanPage<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.more == other.more && self.entries().eq(other.entries())
    }
}

impl Eq for ScanPage<'_> {}

/// What a server says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeStatus<'a> {
    /// Whether it is the primary.
    pub primary: bool,
    /// `HOST:PORT` of the primary's key-value service; empty where none is known. [`MAX_KV_HOST_BYTES`] at most.
    pub primary_address: &'a str,
    /// The term of the cluster; 0 without peers.
    pub term: u64,
    /// Up to which LSN everything is committed.
    pub committed: Lsn,
    /// Up to which LSN this server has everything in its table, as executed here: a primary's may be above `committed`.
    pub applied: Lsn,
    /// Keys in its table, as executed here, too.
    pub keys: u64,
}

/// What came of a request that was carried out, or refused in the program's own words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KvReply<'a> {
    /// The answer to KV_NULL.
    Null,
    /// The value of a key.
    Found {
        /// Its version.
        version: Lsn,
        /// The value, [`MAX_KV_VALUE_BYTES`] at most.
        value: &'a [u8],
    },
    /// A write was done.
    Written {
        /// The version that it has made.
        version: Lsn,
    },
    /// A write was not done, for its condition.
    Mismatch {
        /// The version that the key has; 0 where it is not there.
        current: Lsn,
    },
    /// A page of a scan. A server writes it by [`write_page`].
    Page(ScanPage<'a>),
    /// What a server says of itself.
    Node(NodeStatus<'a>),
    /// It was not done.
    Refused(KvRefusal),
}

impl<'a> KvReply<'a> {
    /// Reads the results of a procedure, to their last byte.
    ///
    /// # Errors
    /// [`XdrError`]: they are none of this procedure's.
    pub fn read(procedure: KvProcedure, results: &'a [u8]) -> Result<Self, XdrError> {
        let mut reader = Reader::new(results);
        if procedure == KvProcedure::Null {
            return reader.end().map(|()| KvReply::Null);
        }
        let reply = match (KvStatus::of(reader.u32()?)?, procedure) {
            (KvStatus::Ok, KvProcedure::Get) => {
                KvReply::Found { version: Lsn(reader.u64()?), value: reader.opaque(MAX_KV_VALUE_BYTES)? }
            }
            (KvStatus::Ok, KvProcedure::Scan) => KvReply::Page(ScanPage::read(&mut reader)?),
            (KvStatus::Ok, KvProcedure::Status) => KvReply::Node(NodeStatus::read(&mut reader)?),
            (KvStatus::Ok, _) => KvReply::Written { version: Lsn(reader.u64()?) },
            (KvStatus::VersionMismatch, KvProcedure::Put | KvProcedure::Delete) => {
                KvReply::Mismatch { current: Lsn(reader.u64()?) }
            }
            (status, _) => {
                let unknown = XdrError::Unknown { what: "status of this procedure", value: status.code() };
                KvReply::Refused(KvRefusal::of(status).ok_or(unknown)?)
            }
        };
        reader.end().map(|()| reply)
    }

    /// The status that it has; that of [`KvReply::Null`], which has none, is KV_OK.
    #[must_use]
    pub const fn status(&self) -> KvStatus {
        match self {
            KvReply::Null | KvReply::Found { .. } | KvReply::Written { .. } | KvReply::Page(_) | KvReply::Node(_) => {
                KvStatus::Ok
            }
            KvReply::Mismatch { .. } => KvStatus::VersionMismatch,
            KvReply::Refused(refusal) => refusal.status(),
        }
    }

    /// Writes the reply as a record, mark included.
    pub fn write(&self, xid: u32, sink: &mut impl Sink) -> Written {
        let begin = sink.len();
        match self {
            KvReply::Page(page) => return write_page(xid, page.entries(), page.more, sink),
            KvReply::Null => write_success(xid, sink, |_| {}),
            other => write_success(xid, sink, |sink| {
                sink.put_u32(other.status().code());
                other.write_arm(sink);
            }),
        }
        let bytes = sink.len() - begin;
        match self {
            KvReply::Written { .. } => Written::with_version(bytes),
            _ => Written { bytes, version_at: None },
        }
    }

    /// Writes what stands behind the status.
    fn write_arm(&self, sink: &mut impl Sink) {
        match self {
            KvReply::Found { version, value } => {
                sink.put_u64(version.0);
                sink.put_opaque(value);
            }
            KvReply::Written { version } | KvReply::Mismatch { current: version } => sink.put_u64(version.0),
            KvReply::Node(node) => node.write(sink),
            KvReply::Null | KvReply::Page(_) | KvReply::Refused(_) => {}
        }
    }
}

impl<'a> NodeStatus<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, XdrError> {
        Ok(NodeStatus {
            primary: reader.boolean()?,
            primary_address: reader.string(MAX_KV_HOST_BYTES)?,
            term: reader.u64()?,
            committed: Lsn(reader.u64()?),
            applied: Lsn(reader.u64()?),
            keys: reader.u64()?,
        })
    }

    fn write(&self, sink: &mut impl Sink) {
        sink.put_boolean(self.primary);
        sink.put_opaque(self.primary_address.as_bytes());
        for number in [self.term, self.committed.0, self.applied.0, self.keys] {
            sink.put_u64(number);
        }
    }
}

/// Writes the reply to a SCAN as a record, mark included, with the first [`MAX_KV_PAGE`] of `entries`. Where there are more of them, it
/// says that there are, whatever `more` is.
pub fn write_page<'a>(
    xid: u32,
    entries: impl IntoIterator<Item = ScanEntry<'a>>,
    more: bool,
    sink: &mut impl Sink,
) -> Written {
    let begin = sink.len();
    write_success(xid, sink, |sink| {
        sink.put_u32(KvStatus::Ok.code());
        let count_at = sink.len();
        sink.put_u32(0);
        let (mut entries, mut count) = (entries.into_iter(), 0);
        for entry in entries.by_ref().take(MAX_KV_PAGE) {
            sink.put_opaque(entry.key);
            sink.put_u64(entry.version.0);
            sink.put_u32(entry.value_bytes);
            count += 1;
        }
        sink.amend(count_at, count);
        sink.put_boolean(more || entries.next().is_some());
    });
    Written { bytes: sink.len() - begin, version_at: None }
}
