//! Responses: what a server answers, and its bytes.

use byteorder::{BigEndian, ByteOrder};

use super::cipher::XorKey;
use super::frame::{Flags, Header, seal};
use super::message::{BodyError, Draft, cents_at};
use super::opcode::Opcode;
use super::status::Status;
use crate::base::limits::MAX_REPLY_BYTES;
use crate::base::vocab::{Cents, Lsn, SessionId};

/// The sums over all accounts, as one consistent cut: `sum - deposited + withdrawn` never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Totals {
    /// How many accounts there are; their numbers are `0 .. accounts`.
    pub accounts: u32,
    /// What all accounts hold together.
    pub sum: Cents,
    /// All deposits ever done.
    pub deposited: Cents,
    /// All withdrawals ever done.
    pub withdrawn: Cents,
    /// The last operation counted in.
    pub lsn: Lsn,
}

/// What a server answers; the answers that are not here are [`Statement`](super::Statement) and [`Cluster`](super::Cluster), which are
/// longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // The fields are named by their types.
pub enum Response {
    /// Logged in.
    Login { session: SessionId },
    /// Done; what the account holds now.
    Deposit { balance: Cents },
    /// Done; what the account holds now.
    Withdraw { balance: Cents },
    /// Done; what the two accounts hold now.
    Transfer { from_balance: Cents, to_balance: Cents },
    /// What the account holds.
    Balance { balance: Cents },
    /// The server's wall clock, milliseconds since 1970.
    Ping { server_time_ms: u64 },
    /// The sums over all accounts.
    Totals(Totals),
    /// Refused. `opcode` is the request's, known or not, or 0 where it could not be read.
    Error { opcode: u16, status: Status },
}

impl Response {
    /// The opcode in the reply's header: that of the request it answers.
    #[inline]
    #[must_use]
    pub const fn opcode(&self) -> u16 {
        match self {
            Response::Login { .. } => Opcode::Login.code(),
            Response::Deposit { .. } => Opcode::Deposit.code(),
            Response::Withdraw { .. } => Opcode::Withdraw.code(),
            Response::Transfer { .. } => Opcode::Transfer.code(),
            Response::Balance { .. } => Opcode::Balance.code(),
            Response::Ping { .. } => Opcode::Ping.code(),
            Response::Totals(_) => Opcode::Totals.code(),
            Response::Error { opcode, .. } => *opcode,
        }
    }

    /// The status in its body.
    #[inline]
    #[must_use]
    pub const fn status(&self) -> Status {
        match self {
            Response::Error { status, .. } => *status,
            _ => Status::Ok,
        }
    }

    /// Appends the whole frame to `out`, the body XORed if a cipher is given.
    #[inline]
    pub fn encode(&self, seq: u32, xor: Option<XorKey>, out: &mut Vec<u8>) {
        self.encode_as_of(seq, xor, None, out);
    }

    /// [`Response::encode`] with the LSN that the reply carries, if any.
    pub fn encode_as_of(&self, seq: u32, xor: Option<XorKey>, lsn: Option<Lsn>, out: &mut Vec<u8>) {
        let mut frame = [0; MAX_REPLY_BYTES];
        let length = self.write_as_of(seq, xor, lsn, &mut frame);
        out.extend_from_slice(&frame[..length]);
    }

    /// Writes the whole frame to the start of `out` and returns its length; what stands behind it is left as it was.
    #[inline]
    #[must_use]
    pub fn write(&self, seq: u32, xor: Option<XorKey>, out: &mut [u8; MAX_REPLY_BYTES]) -> usize {
        self.write_as_of(seq, xor, None, out)
    }

    /// [`Response::write`] with the LSN that the reply carries, if any; an error carries none.
    #[inline]
    #[must_use]
    pub fn write_as_of(
        &self,
        seq: u32,
        xor: Option<XorKey>,
        lsn: Option<Lsn>,
        out: &mut [u8; MAX_REPLY_BYTES],
    ) -> usize {
        let mut draft = Draft::over(out);
        let mut flags = Flags::NONE;
        match (self, lsn) {
            (Response::Error { .. }, _) => flags = Flags::ERROR,
            (_, Some(lsn)) => {
                flags = Flags::LSN;
                draft.put_lsn(lsn);
            }
            (_, None) => {}
        }
        let body_at = draft.length;
        draft.put_status(self.status());
        match *self {
            Response::Login { session } => draft.put(&session.0.to_be_bytes()),
            Response::Deposit { balance } | Response::Withdraw { balance } | Response::Balance { balance } => {
                draft.put_cents(balance);
            }
            Response::Transfer { from_balance, to_balance } => {
                draft.put_cents(from_balance);
                draft.put_cents(to_balance);
            }
            Response::Ping { server_time_ms } => draft.put(&server_time_ms.to_be_bytes()),
            Response::Totals(totals) => {
                draft.put(&totals.accounts.to_be_bytes());
                draft.put_cents(totals.sum);
                draft.put_cents(totals.deposited);
                draft.put_cents(totals.withdrawn);
                draft.put(&totals.lsn.0.to_be_bytes());
            }
            Response::Error { .. } => {}
        }
        let length = draft.length;
        let frame = &mut out[..length];
        if let Some(xor) = xor {
            flags = flags.with(Flags::XOR);
            xor.apply(&mut frame[body_at..]);
        }
        seal(frame, flags, self.opcode(), seq);
        length
    }

    /// Reads a response from its decrypted body, without the LSN before it ([`Frame::reply`](super::Frame::reply)).
    ///
    /// # Errors
    /// [`BodyError`] when the body is not what the header announces.
    #[inline]
    pub fn decode(header: &Header, body: &[u8]) -> Result<Response, BodyError> {
        let status = match body.first_chunk::<2>() {
            Some(bytes) => Status::try_from(u16::from_be_bytes(*bytes))?,
            None => return Err(BodyError::Length { opcode: Opcode::try_from(header.opcode)?, got: body.len() }),
        };
        let is_error = header.flags.contains(Flags::ERROR);
        if is_error != (status != Status::Ok) {
            return Err(BodyError::Contradiction(status));
        }
        if is_error && body.len() == 2 {
            return Ok(Response::Error { opcode: header.opcode, status });
        }
        let opcode = Opcode::try_from(header.opcode)?;
        if is_error {
            return Err(BodyError::Length { opcode, got: body.len() });
        }
        let response = match (opcode, body.len()) {
            (Opcode::Login, 6) => Response::Login { session: SessionId(BigEndian::read_u32(&body[2..])) },
            (Opcode::Deposit, 10) => Response::Deposit { balance: cents_at(body, 2) },
            (Opcode::Withdraw, 10) => Response::Withdraw { balance: cents_at(body, 2) },
            (Opcode::Transfer, 18) => {
                Response::Transfer { from_balance: cents_at(body, 2), to_balance: cents_at(body, 10) }
            }
            (Opcode::Balance, 10) => Response::Balance { balance: cents_at(body, 2) },
            (Opcode::Ping, 10) => Response::Ping { server_time_ms: BigEndian::read_u64(&body[2..]) },
            (Opcode::Totals, 38) => Response::Totals(Totals {
                accounts: BigEndian::read_u32(&body[2..]),
                sum: cents_at(body, 6),
                deposited: cents_at(body, 14),
                withdrawn: cents_at(body, 22),
                lsn: Lsn(BigEndian::read_u64(&body[30..])),
            }),
            (Opcode::History | Opcode::Cluster, _) => return Err(BodyError::Page(opcode)),
            (opcode, got) => return Err(BodyError::Length { opcode, got }),
        };
        Ok(response)
    }
}
