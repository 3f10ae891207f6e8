//! A page of an account's statement: the answer to HISTORY, and the one answer that does not fit [`Response`].
//!
//! [`Response`]: super::Response

use byteorder::{BigEndian, ByteOrder};

use super::cipher::XorKey;
use super::frame::{Flags, seal};
use super::message::{BodyError, account_at, cents_at};
use super::opcode::Opcode;
use super::status::Status;
use crate::base::limits::{HEADER_BYTES, MAX_STATEMENT_ENTRIES, STATEMENT_ENTRY_BYTES};
use crate::base::vocab::{AccountId, Cents, Lsn};

/// Status and count, which stand before the entries.
const AT_ENTRIES: usize = 4;
/// Behind the entries: what to ask for next.
const NEXT_BYTES: usize = 8;
/// The counterparty of what has none; no account number reaches it.
const NOBODY: u32 = u32::MAX;
/// `next` when there is nothing older.
const NEXT_OPENING: u64 = 0;
/// `next` when there was something older, but it is no longer kept.
const NEXT_TRIMMED: u64 = u64::MAX;

/// Which way money moved, as the account's holder sees it, and who was at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Movement {
    /// Put in.
    Deposit,
    /// Taken out.
    Withdraw,
    /// Paid to another account.
    TransferOut {
        /// The account that was paid.
        to: AccountId,
    },
    /// Received from another account.
    TransferIn {
        /// The account that paid.
        from: AccountId,
    },
}

impl Movement {
    /// Kind and counterparty, as they are sent.
    const fn code(self) -> (u8, u32) {
        match self {
            Movement::Deposit => (1, NOBODY),
            Movement::Withdraw => (2, NOBODY),
            Movement::TransferOut { to } => (3, to.0),
            Movement::TransferIn { from } => (4, from.0),
        }
    }

    fn of(kind: u8, counterparty: AccountId) -> Result<Movement, BodyError> {
        match (kind, counterparty) {
            (1, AccountId(NOBODY)) => Ok(Movement::Deposit),
            (2, AccountId(NOBODY)) => Ok(Movement::Withdraw),
            (3, to) if to.0 != NOBODY => Ok(Movement::TransferOut { to }),
            (4, from) if from.0 != NOBODY => Ok(Movement::TransferIn { from }),
            (kind, AccountId(counterparty)) => Err(BodyError::Entry { kind, counterparty }),
        }
    }

    /// Whether the account has more after it than before.
    #[must_use]
    pub const fn is_gain(self) -> bool {
        matches!(self, Movement::Deposit | Movement::TransferIn { .. })
    }
}

/// One operation of a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The operation's place in the order of all operations.
    pub lsn: Lsn,
    /// When it was done, milliseconds since 1970.
    pub time_ms: u64,
    /// What it was.
    pub movement: Movement,
    /// How much; always above zero, [`Movement::is_gain`] tells the direction.
    pub amount: Cents,
    /// What the account held right after it.
    pub balance_after: Cents,
}

/// What is older than a page of a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// More, to be asked for with this `before`; never 0 and never `u64::MAX`, which mean the two below.
    Before(Lsn),
    /// Nothing: the account's opening is reached.
    Opening,
    /// Records that are no longer kept.
    Trimmed,
}

impl Next {
    const fn code(self) -> u64 {
        match self {
            Next::Before(lsn) => lsn.0,
            Next::Opening => NEXT_OPENING,
            Next::Trimmed => NEXT_TRIMMED,
        }
    }

    const fn of(code: u64) -> Next {
        match code {
            NEXT_OPENING => Next::Opening,
            NEXT_TRIMMED => Next::Trimmed,
            lsn => Next::Before(Lsn(lsn)),
        }
    }
}

/// A page of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// At most [`MAX_STATEMENT_ENTRIES`], the newest first.
    pub entries: Vec<Entry>,
    /// What is older.
    pub next: Next,
}

impl Statement {
    /// Appends the whole frame to `out`, the body XORed if a cipher is given.
    ///
    /// # Panics
    /// When there are more than [`MAX_STATEMENT_ENTRIES`] entries: leaving some out would leave a hole in the statement.
    pub fn encode(&self, seq: u32, xor: Option<XorKey>, out: &mut Vec<u8>) {
        self.encode_as_of(seq, xor, None, out);
    }

    /// [`Statement::encode`] with the LSN that the reply carries, if any.
    ///
    /// # Panics
    /// As [`Statement::encode`].
    pub fn encode_as_of(&self, seq: u32, xor: Option<XorKey>, lsn: Option<Lsn>, out: &mut Vec<u8>) {
        assert!(self.entries.len() <= MAX_STATEMENT_ENTRIES, "{} entries do not fit a page", self.entries.len());
        let start = out.len();
        // Bounded by the line above.
        #[allow(clippy::cast_possible_truncation)]
        let count = self.entries.len() as u16;
        out.extend_from_slice(&[0; HEADER_BYTES]);
        let mut flags = Flags::NONE;
        if let Some(lsn) = lsn {
            flags = Flags::LSN;
            out.extend_from_slice(&lsn.0.to_be_bytes());
        }
        let body_at = out.len() - start;
        out.extend_from_slice(&Status::Ok.code().to_be_bytes());
        out.extend_from_slice(&count.to_be_bytes());
        for entry in &self.entries {
            let (kind, counterparty) = entry.movement.code();
            out.extend_from_slice(&entry.lsn.0.to_be_bytes());
            out.extend_from_slice(&entry.time_ms.to_be_bytes());
            out.push(kind);
            out.extend_from_slice(&entry.amount.0.to_be_bytes());
            out.extend_from_slice(&counterparty.to_be_bytes());
            out.extend_from_slice(&entry.balance_after.0.to_be_bytes());
        }
        out.extend_from_slice(&self.next.code().to_be_bytes());
        let frame = &mut out[start..];
        if let Some(xor) = xor {
            flags = flags.with(Flags::XOR);
            xor.apply(&mut frame[body_at..]);
        }
        seal(frame, flags, Opcode::History.code(), seq);
    }

    /// Reads a page from the decrypted body of an answer to HISTORY without the error flag; one with it is a
    /// [`Response::Error`](super::Response::Error).
    ///
    /// # Errors
    /// [`BodyError`] when the body is no page.
    pub fn decode(body: &[u8]) -> Result<Statement, BodyError> {
        let length = || BodyError::Length { opcode: Opcode::History, got: body.len() };
        let head = body.first_chunk::<AT_ENTRIES>().ok_or_else(length)?;
        let status = Status::try_from(BigEndian::read_u16(head))?;
        if status != Status::Ok {
            return Err(BodyError::Contradiction(status));
        }
        let count = usize::from(BigEndian::read_u16(&head[2..]));
        let (entries, next) = body[AT_ENTRIES..].split_at_checked(count * STATEMENT_ENTRY_BYTES).ok_or_else(length)?;
        if next.len() != NEXT_BYTES {
            return Err(length());
        }
        let entries = entries.chunks_exact(STATEMENT_ENTRY_BYTES).map(decode_entry).collect::<Result<_, _>>()?;
        Ok(Statement { entries, next: Next::of(BigEndian::read_u64(next)) })
    }
}

fn decode_entry(bytes: &[u8]) -> Result<Entry, BodyError> {
    let amount = cents_at(bytes, 17);
    if amount <= Cents::ZERO {
        return Err(BodyError::Amount(amount));
    }
    Ok(Entry {
        lsn: Lsn(BigEndian::read_u64(bytes)),
        time_ms: BigEndian::read_u64(&bytes[8..]),
        movement: Movement::of(bytes[16], account_at(bytes, 25))?,
        amount,
        balance_after: cents_at(bytes, 29),
    })
}
