//! Requests and responses: the meaning of a body, and its bytes.

use byteorder::{BigEndian, ByteOrder};

use super::cipher::XorKey;
use super::frame::{Flags, Header, seal};
use super::opcode::{Opcode, UnknownOpcode};
use super::status::{Status, UnknownStatus};
use crate::limits::{HEADER_BYTES, KEY_BYTES, MAX_REPLY_BYTES};
use crate::vocab::{AccountId, Cents, Lsn, SessionId};

/// What a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // The fields are named by their types; amounts are in cents.
pub enum Request<'a> {
    /// Prove who you are. Each of the two is at most 255 bytes long; longer ones are cut by [`Request::encode`].
    Login { user: &'a [u8], pass: &'a [u8] },
    /// Put money into an account.
    Deposit { account: AccountId, amount: Cents },
    /// Take money out of an account.
    Withdraw { account: AccountId, amount: Cents },
    /// Move money from one account to another.
    Transfer { from: AccountId, to: AccountId, amount: Cents },
    /// Read what an account holds.
    Balance { account: AccountId },
    /// Read at most `limit` entries of a statement, those before `before` (0: the newest). Reserved in this release.
    History { account: AccountId, before: Lsn, limit: u16 },
    /// Show that the connection lives.
    Ping,
    /// Read the sums over all accounts.
    Totals,
}

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

/// What a server answers.
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

/// Why a body is not the message that its header announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// The body is shorter or longer than the message.
    #[error("a body of {got} bytes is no {opcode} message")]
    Length {
        /// The message that the header announced.
        opcode: Opcode,
        /// The bytes that the body has.
        got: usize,
    },
    /// The header names no known operation.
    #[error(transparent)]
    Opcode(#[from] UnknownOpcode),
    /// The response names no known status.
    #[error(transparent)]
    Status(#[from] UnknownStatus),
    /// The status and the error flag contradict each other.
    #[error("a response with status {0} whose error flag says otherwise")]
    Contradiction(Status),
    /// The message is one that this release does not carry yet.
    #[error("{0} is reserved for a later release")]
    Reserved(Opcode),
}

/// Room for any message but LOGIN: header, key, and the longest body.
const ROOM: usize = MAX_REPLY_BYTES;

/// A message of a bounded length being put together on the stack.
struct Draft {
    bytes: [u8; ROOM],
    length: usize,
}

impl Draft {
    #[inline]
    fn new() -> Draft {
        Draft { bytes: [0; ROOM], length: HEADER_BYTES }
    }

    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        self.bytes[self.length..self.length + bytes.len()].copy_from_slice(bytes);
        self.length += bytes.len();
    }

    #[inline]
    fn put_account(&mut self, account: AccountId) {
        self.put(&account.0.to_be_bytes());
    }

    #[inline]
    fn put_cents(&mut self, amount: Cents) {
        self.put(&amount.0.to_be_bytes());
    }

    #[inline]
    fn put_status(&mut self, status: Status) {
        self.put(&status.code().to_be_bytes());
    }
}

#[inline]
fn account_at(body: &[u8], at: usize) -> AccountId {
    AccountId(BigEndian::read_u32(&body[at..]))
}

#[inline]
fn cents_at(body: &[u8], at: usize) -> Cents {
    Cents(BigEndian::read_i64(&body[at..]))
}

impl<'a> Request<'a> {
    /// Reads a request from its decrypted body.
    ///
    /// # Errors
    /// [`BodyError::Length`] when the body does not have exactly the length of the message.
    #[inline]
    pub fn decode(opcode: Opcode, body: &'a [u8]) -> Result<Request<'a>, BodyError> {
        let request = match (opcode, body.len()) {
            (Opcode::Login, _) => return Request::decode_login(body),
            (Opcode::Deposit, 12) => Request::Deposit { account: account_at(body, 0), amount: cents_at(body, 4) },
            (Opcode::Withdraw, 12) => Request::Withdraw { account: account_at(body, 0), amount: cents_at(body, 4) },
            (Opcode::Transfer, 16) => {
                Request::Transfer { from: account_at(body, 0), to: account_at(body, 4), amount: cents_at(body, 8) }
            }
            (Opcode::Balance, 4) => Request::Balance { account: account_at(body, 0) },
            (Opcode::History, 14) => Request::History {
                account: account_at(body, 0),
                before: Lsn(BigEndian::read_u64(&body[4..])),
                limit: BigEndian::read_u16(&body[12..]),
            },
            (Opcode::Ping, 0) => Request::Ping,
            (Opcode::Totals, 0) => Request::Totals,
            (opcode, got) => return Err(BodyError::Length { opcode, got }),
        };
        Ok(request)
    }

    fn decode_login(body: &'a [u8]) -> Result<Request<'a>, BodyError> {
        let parts = || {
            let (&user_len, rest) = body.split_first()?;
            let (user, rest) = rest.split_at_checked(usize::from(user_len))?;
            let (&pass_len, pass) = rest.split_first()?;
            (pass.len() == usize::from(pass_len)).then_some(Request::Login { user, pass })
        };
        parts().ok_or(BodyError::Length { opcode: Opcode::Login, got: body.len() })
    }

    /// The operation that the request asks for.
    #[inline]
    #[must_use]
    pub const fn opcode(&self) -> Opcode {
        match self {
            Request::Login { .. } => Opcode::Login,
            Request::Deposit { .. } => Opcode::Deposit,
            Request::Withdraw { .. } => Opcode::Withdraw,
            Request::Transfer { .. } => Opcode::Transfer,
            Request::Balance { .. } => Opcode::Balance,
            Request::History { .. } => Opcode::History,
            Request::Ping => Opcode::Ping,
            Request::Totals => Opcode::Totals,
        }
    }

    /// Appends the whole frame to `out`: with an idempotency key if one is given, the body XORed if a cipher is.
    #[inline]
    pub fn encode(&self, seq: u32, key: Option<&[u8; KEY_BYTES]>, xor: Option<XorKey>, out: &mut Vec<u8>) {
        if let Request::Login { user, pass } = self {
            return encode_login(user, pass, seq, key, xor, out);
        }
        let mut draft = Draft::new();
        let mut flags = Flags::NONE;
        if let Some(key) = key {
            flags = flags.with(Flags::KEYED);
            draft.put(key);
        }
        let body_at = draft.length;
        match *self {
            Request::Deposit { account, amount } | Request::Withdraw { account, amount } => {
                draft.put_account(account);
                draft.put_cents(amount);
            }
            Request::Transfer { from, to, amount } => {
                draft.put_account(from);
                draft.put_account(to);
                draft.put_cents(amount);
            }
            Request::Balance { account } => draft.put_account(account),
            Request::History { account, before, limit } => {
                draft.put_account(account);
                draft.put(&before.0.to_be_bytes());
                draft.put(&limit.to_be_bytes());
            }
            Request::Login { .. } | Request::Ping | Request::Totals => {}
        }
        let frame = &mut draft.bytes[..draft.length];
        if let Some(xor) = xor {
            flags = flags.with(Flags::XOR);
            xor.apply(&mut frame[body_at..]);
        }
        seal(frame, flags, self.opcode().code(), seq);
        out.extend_from_slice(frame);
    }
}

/// LOGIN is the one message too long for a [`Draft`]; it is sent once per connection.
fn encode_login(
    user: &[u8],
    pass: &[u8],
    seq: u32,
    key: Option<&[u8; KEY_BYTES]>,
    xor: Option<XorKey>,
    out: &mut Vec<u8>,
) {
    let start = out.len();
    let mut flags = Flags::NONE;
    out.extend_from_slice(&[0; HEADER_BYTES]);
    if let Some(key) = key {
        flags = flags.with(Flags::KEYED);
        out.extend_from_slice(key);
    }
    let body_at = out.len();
    for text in [user, pass] {
        let length = u8::try_from(text.len()).unwrap_or(u8::MAX);
        out.push(length);
        out.extend_from_slice(&text[..usize::from(length)]);
    }
    if let Some(xor) = xor {
        flags = flags.with(Flags::XOR);
        xor.apply(&mut out[body_at..]);
    }
    seal(&mut out[start..], flags, Opcode::Login.code(), seq);
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

    /// Appends the whole frame to `out`, the body XORed if a cipher is given.
    #[inline]
    pub fn encode(&self, seq: u32, xor: Option<XorKey>, out: &mut Vec<u8>) {
        let mut frame = [0; MAX_REPLY_BYTES];
        let length = self.write(seq, xor, &mut frame);
        out.extend_from_slice(&frame[..length]);
    }

    /// Writes the whole frame to the start of `out` and returns its length; for buffers that are no `Vec`.
    #[inline]
    #[must_use]
    pub fn write(&self, seq: u32, xor: Option<XorKey>, out: &mut [u8; MAX_REPLY_BYTES]) -> usize {
        let mut draft = Draft::new();
        let mut flags = Flags::NONE;
        match *self {
            Response::Error { status, .. } => {
                flags = Flags::ERROR;
                draft.put_status(status);
            }
            _ => draft.put_status(Status::Ok),
        }
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
        let frame = &mut draft.bytes[..draft.length];
        if let Some(xor) = xor {
            flags = flags.with(Flags::XOR);
            xor.apply(&mut frame[HEADER_BYTES..]);
        }
        seal(frame, flags, self.opcode(), seq);
        let length = draft.length;
        *out = draft.bytes;
        length
    }

    /// Reads a response from its decrypted body.
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
            (Opcode::History, _) => return Err(BodyError::Reserved(opcode)),
            (opcode, got) => return Err(BodyError::Length { opcode, got }),
        };
        Ok(response)
    }
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
