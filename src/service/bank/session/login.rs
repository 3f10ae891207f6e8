//! Who is at the other end of a connection, once it has logged in.

use crate::base::vocab::SessionId;
use crate::service::bank::wire::XorKey;
use crate::store::connection::slot::{ConnectionSlot, SessionWords};
use crate::store::users::{Known, Role};

/// A logged-in user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Login {
    /// The number that LOGIN gave out.
    pub id: SessionId,
    /// The key of XOR bodies.
    pub xor: XorKey,
    /// What the user may do.
    pub role: Role,
    /// Who the user is, for idempotency keys and the journal.
    pub principal: u32,
}

impl Login {
    /// A new session for `user`, known by that number; `None` when the kernel gives no random number.
    #[must_use]
    pub fn begin(user: &[u8], Known { role, principal }: Known) -> Option<Login> {
        // From the kernel, not from a generator of this process: forked siblings would give out the same numbers.
        let id = loop {
            match getrandom::u32().ok()? {
                0 => {}
                number => break SessionId(number),
            }
        };
        Some(Login { id, xor: XorKey::derive(user, id), role, principal })
    }

    /// Keeps the session where it outlives this process.
    pub fn keep(&self, slot: &ConnectionSlot, user: &[u8]) {
        let Login { id, xor, role, principal } = *self;
        let words = SessionWords { session: id.0, xor_key: xor.to_bits(), role: role.to_bits(), principal };
        slot.set_session(words, &String::from_utf8_lossy(user));
    }

    /// The session that stands in `slot`, if any.
    #[must_use]
    pub fn kept(slot: &ConnectionSlot) -> Option<Login> {
        let words = slot.session()?;
        let role = Role::from_bits(words.role)?;
        let (id, xor) = (SessionId(words.session), XorKey::from_bits(words.xor_key));
        Some(Login { id, xor, role, principal: words.principal })
    }
}
