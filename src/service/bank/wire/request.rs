//! Requests: what a client asks for, and its bytes.

use byteorder::{BigEndian, ByteOrder};

use super::cipher::XorKey;
use super::frame::{Flags, Frame, seal};
use super::message::{BodyError, Draft, account_at, cents_at};
use super::opcode::Opcode;
use crate::base::limits::{HEADER_BYTES, KEY_BYTES, MAX_REPLY_BYTES};
use crate::base::vocab::{AccountId, Cents, Lsn};

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
    /// Read at most `limit` entries of a statement, those before `before` (0: the newest).
    History { account: AccountId, before: Lsn, limit: u16 },
    /// Show that the connection lives.
    Ping,
    /// Read the sums over all accounts.
    Totals,
    /// Read who is a member of the cluster, who its primary is, and how far each has got.
    Cluster,
}

/// What stands around a request's body: its number, and what its flags ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// The requester's own number, which the reply repeats.
    pub seq: u32,
    /// The idempotency key.
    pub key: Option<&'a [u8; KEY_BYTES]>,
    /// The last LSN that the requester has seen: who answers is to have applied that.
    pub after: Option<Lsn>,
    /// Whether the reply is to carry an LSN.
    pub asks_lsn: bool,
    /// The body's cipher.
    pub xor: Option<XorKey>,
}

impl Envelope<'_> {
    fn flags(&self) -> Flags {
        let when = |is_set: bool, flag| if is_set { flag } else { Flags::NONE };
        when(self.key.is_some(), Flags::KEYED)
            .with(when(self.after.is_some(), Flags::AFTER))
            .with(when(self.asks_lsn, Flags::LSN))
            .with(when(self.xor.is_some(), Flags::XOR))
    }
}

impl<'a> Request<'a> {
    /// Reads the request of a frame; `body` is the frame's, decrypted. Here, and nowhere else, is decided which requests may
    /// carry an idempotency key: those that move money.
    ///
    /// # Errors
    /// [`BodyError`]: an unknown opcode, a key on a request that moves no money, or a body of another length.
    #[inline]
    pub fn of_frame(frame: &Frame<'_>, body: &'a [u8]) -> Result<Request<'a>, BodyError> {
        let opcode = Opcode::try_from(frame.header.opcode)?;
        if frame.key.is_some() && !opcode.is_money() {
            return Err(BodyError::Key(opcode));
        }
        Request::decode(opcode, body)
    }

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
            (Opcode::Cluster, 0) => Request::Cluster,
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
            Request::Cluster => Opcode::Cluster,
        }
    }

    /// Appends the whole frame to `out`: with an idempotency key if one is given, the body XORed if a cipher is.
    #[inline]
    pub fn encode(&self, seq: u32, key: Option<&[u8; KEY_BYTES]>, xor: Option<XorKey>, out: &mut Vec<u8>) {
        self.encode_in(&Envelope { seq, key, xor, ..Envelope::default() }, out);
    }

    /// Appends the whole frame to `out`, with all that `envelope` says.
    #[inline]
    pub fn encode_in(&self, envelope: &Envelope<'_>, out: &mut Vec<u8>) {
        if let Request::Login { user, pass } = self {
            return encode_login(user, pass, envelope, out);
        }
        let mut room = [0; MAX_REPLY_BYTES];
        let mut draft = Draft::over(&mut room);
        if let Some(key) = envelope.key {
            draft.put(key);
        }
        if let Some(after) = envelope.after {
            draft.put_lsn(after);
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
                draft.put_lsn(before);
                draft.put(&limit.to_be_bytes());
            }
            Request::Login { .. } | Request::Ping | Request::Totals | Request::Cluster => {}
        }
        let frame = &mut draft.bytes[..draft.length];
        if let Some(xor) = envelope.xor {
            xor.apply(&mut frame[body_at..]);
        }
        seal(frame, envelope.flags(), self.opcode().code(), envelope.seq);
        out.extend_from_slice(frame);
    }
}

/// LOGIN is the one message too long for a [`Draft`]; it is sent once per connection.
fn encode_login(user: &[u8], pass: &[u8], envelope: &Envelope<'_>, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER_BYTES]);
    if let Some(key) = envelope.key {
        out.extend_from_slice(key);
    }
    if let Some(after) = envelope.after {
        out.extend_from_slice(&after.0.to_be_bytes());
    }
    let body_at = out.len();
    for text in [user, pass] {
        let length = u8::try_from(text.len()).unwrap_or(u8::MAX);
        out.push(length);
        out.extend_from_slice(&text[..usize::from(length)]);
    }
    if let Some(xor) = envelope.xor {
        xor.apply(&mut out[body_at..]);
    }
    seal(&mut out[start..], envelope.flags(), Opcode::Login.code(), envelope.seq);
}
