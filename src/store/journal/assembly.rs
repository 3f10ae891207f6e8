//! Puts the records of a write together again.

use crate::base::vocab::Lsn;
use crate::store::journal::record::{Content, KvHead, PIECE_BYTES, Record};

/// A write of which all records are there; a refusal has no data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KvWrite {
    /// Its first record.
    pub head: KvHead,
    data: Vec<u8>,
}

impl KvWrite {
    /// The key; empty where it was refused.
    #[must_use]
    pub fn key(&self) -> &[u8] {
        &self.data[..usize::from(self.head.key_bytes).min(self.data.len())]
    }

    /// The value; empty where it was refused, or a key goes.
    #[must_use]
    pub fn value(&self) -> &[u8] {
        &self.data[usize::from(self.head.key_bytes).min(self.data.len())..]
    }
}

/// Why a record cannot follow those before it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AssemblyError {
    /// A piece of no write.
    #[error("record {0} is a piece of a write, and the one before it does not lead there")]
    Orphan(Lsn),
    /// Something else where a piece should be.
    #[error("record {found} is no piece of the write that began with record {head}, which lacks some")]
    Unfinished {
        /// The write's first record.
        head: Lsn,
        /// What came.
        found: Lsn,
    },
    /// A piece that is too short or too long.
    #[error("record {0} is a piece of another length than the write that it is of needs")]
    Length(Lsn),
}

/// Writes whose records come one after the other.
///
/// Where the first record that comes is a piece, its head was before what is looked at, and the whole operation is passed over.
#[derive(Clone, Debug, Default)]
pub struct Assembly {
    open: Option<KvWrite>,
    begun: bool,
}

impl Assembly {
    /// Takes the next record; the write that is complete with it, if one is.
    ///
    /// # Errors
    /// [`AssemblyError`]; no writer has written such records.
    pub fn take(&mut self, record: &Record) -> Result<Option<KvWrite>, AssemblyError> {
        let lsn = record.lsn();
        match (&record.content, &mut self.open) {
            (Content::KvPiece(piece), Some(write)) => {
                let missing = write.head.data_bytes() - write.data.len();
                if piece.bytes().len() != missing.min(PIECE_BYTES) {
                    return Err(AssemblyError::Length(lsn));
                }
                write.data.extend_from_slice(piece.bytes());
            }
            (Content::KvPiece(_), None) if self.begun => return Err(AssemblyError::Orphan(lsn)),
            (Content::KvPiece(_), None) => return Ok(None),
            (_, Some(write)) => return Err(AssemblyError::Unfinished { head: write.head.lsn, found: lsn }),
            (Content::KvHead(head), None) => {
                self.begun = true;
                self.open = Some(KvWrite { head: *head, data: Vec::with_capacity(head.data_bytes()) });
            }
            (_, None) => self.begun = true,
        }
        Ok(self.open.take_if(|write| write.data.len() == write.head.data_bytes()))
    }

    /// The first record of a write that lacks some, if there is one.
    #[must_use]
    pub fn open(&self) -> Option<Lsn> {
        self.open.as_ref().map(|write| write.head.lsn)
    }
}
