//! Who calls (RFC 5531, sections 8 and 9, and appendix A): a flavor, and at most 400 bytes that mean something in it.

use super::xdr::{Reader, Sink, XdrError, opaque_bytes};
use crate::base::limits::{MAX_RPC_AUTH_BYTES, MAX_RPC_GIDS, MAX_RPC_MACHINE_NAME_BYTES};

/// The flavor that says nothing.
pub const AUTH_NONE: u32 = 0;
/// The flavor that says who the caller claims to be on its own machine.
pub const AUTH_SYS: u32 = 1;

/// Credentials or a verifier as they come, not looked into.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpaqueAuth<'a> {
    /// What kind it is; 0 is AUTH_NONE.
    pub flavor: u32,
    /// What it says, [`MAX_RPC_AUTH_BYTES`] at most.
    pub body: &'a [u8],
}

impl<'a> OpaqueAuth<'a> {
    /// AUTH_NONE, as it should be: without a body.
    pub const NONE: OpaqueAuth<'static> = OpaqueAuth { flavor: AUTH_NONE, body: &[] };

    /// Reads one.
    ///
    /// # Errors
    /// [`XdrError`]: it ends too early, is longer than [`MAX_RPC_AUTH_BYTES`], or has padding that is not zero.
    pub fn read(reader: &mut Reader<'a>) -> Result<Self, XdrError> {
        Ok(OpaqueAuth { flavor: reader.u32()?, body: reader.opaque(MAX_RPC_AUTH_BYTES)? })
    }

    /// Writes it; of its body what is allowed.
    pub fn write(&self, sink: &mut impl Sink) {
        sink.put_u32(self.flavor);
        sink.put_opaque(&self.body[..self.body.len().min(MAX_RPC_AUTH_BYTES)]);
    }
}

/// Groups of a caller, [`MAX_RPC_GIDS`] at most.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Gids {
    count: usize,
    gids: [u32; MAX_RPC_GIDS],
}

impl Gids {
    /// These groups; `None` where there are too many.
    #[must_use]
    pub fn new(gids: &[u32]) -> Option<Self> {
        let mut all = Gids { count: gids.len(), ..Gids::default() };
        all.gids.get_mut(..gids.len())?.copy_from_slice(gids);
        Some(all)
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, XdrError> {
        let mut all = Gids { count: reader.length(MAX_RPC_GIDS)?, ..Gids::default() };
        for gid in &mut all.gids[..all.count] {
            *gid = reader.u32()?;
        }
        Ok(all)
    }

    /// All of them.
    #[must_use]
    pub fn as_slice(&self) -> &[u32] {
        &self.gids[..self.count]
    }
}

impl std::fmt::Debug for Gids {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.as_slice().fmt(f)
    }
}

/// AUTH_SYS: who the caller says that it is. Nothing proves it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AuthSys<'a> {
    /// A number of the caller's choice.
    pub stamp: u32,
    /// Its machine, [`MAX_RPC_MACHINE_NAME_BYTES`] at most; any bytes.
    pub machine_name: &'a [u8],
    /// Its user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Its other groups.
    pub gids: Gids,
}

impl<'a> AuthSys<'a> {
    fn read(body: &'a [u8]) -> Result<Self, XdrError> {
        let mut reader = Reader::new(body);
        let auth = AuthSys {
            stamp: reader.u32()?,
            machine_name: reader.opaque(MAX_RPC_MACHINE_NAME_BYTES)?,
            uid: reader.u32()?,
            gid: reader.u32()?,
            gids: Gids::read(&mut reader)?,
        };
        reader.end().map(|()| auth)
    }

    /// Its machine's name, as much of it as is written.
    fn name(&self) -> &'a [u8] {
        &self.machine_name[..self.machine_name.len().min(MAX_RPC_MACHINE_NAME_BYTES)]
    }
}

/// Who calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Credentials<'a> {
    /// Nobody says who. What else stood there is dropped.
    #[default]
    None,
    /// A user of some machine, so it says.
    Sys(AuthSys<'a>),
    /// A flavor that is not looked into.
    Other(OpaqueAuth<'a>),
}

impl<'a> Credentials<'a> {
    /// Looks into what came.
    ///
    /// # Errors
    /// [`XdrError`]: AUTH_SYS with a body that is none: a name or too many groups beyond their bounds, or another length.
    pub fn of(auth: OpaqueAuth<'a>) -> Result<Self, XdrError> {
        match auth.flavor {
            AUTH_NONE => Ok(Credentials::None),
            AUTH_SYS => AuthSys::read(auth.body).map(Credentials::Sys),
            _ => Ok(Credentials::Other(auth)),
        }
    }

    /// Writes them, flavor and length included; of a machine's name what is allowed.
    pub fn write(&self, sink: &mut impl Sink) {
        match self {
            Credentials::None => OpaqueAuth::NONE.write(sink),
            Credentials::Other(auth) => auth.write(sink),
            Credentials::Sys(auth) => {
                sink.put_u32(AUTH_SYS);
                let gids = auth.gids.as_slice();
                // Both are bounded, and so is their sum: it fits in 32 bits.
                let length = 16 + opaque_bytes(auth.name().len()) + 4 * gids.len();
                sink.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
                sink.put_u32(auth.stamp);
                sink.put_opaque(auth.name());
                for number in [auth.uid, auth.gid, u32::try_from(gids.len()).unwrap_or(u32::MAX)] {
                    sink.put_u32(number);
                }
                gids.iter().for_each(|gid| sink.put_u32(*gid));
            }
        }
    }
}

/// Why a call was refused for who made it (RFC 5531, section 9): a number, since there may be others than those that are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuthStat(pub u32);

impl AuthStat {
    /// The credentials are malformed.
    pub const BADCRED: AuthStat = AuthStat(1);
    /// The credentials are no longer good, or those of nobody who may call.
    pub const REJECTEDCRED: AuthStat = AuthStat(2);
    /// The verifier is malformed.
    pub const BADVERF: AuthStat = AuthStat(3);
    /// The verifier is of another time.
    pub const REJECTEDVERF: AuthStat = AuthStat(4);
    /// The flavor is not enough.
    pub const TOOWEAK: AuthStat = AuthStat(5);

    /// The name in the RFC.
    #[must_use]
    pub const fn name(self) -> &'static str {
        const NAMES: [&str; 15] = [
            "AUTH_OK",
            "AUTH_BADCRED",
            "AUTH_REJECTEDCRED",
            "AUTH_BADVERF",
            "AUTH_REJECTEDVERF",
            "AUTH_TOOWEAK",
            "AUTH_INVALIDRESP",
            "AUTH_FAILED",
            "AUTH_KERB_GENERIC",
            "AUTH_TIMEEXPIRE",
            "AUTH_TKT_FILE",
            "AUTH_DECODE",
            "AUTH_NET_ADDR",
            "RPCSEC_GSS_CREDPROBLEM",
            "RPCSEC_GSS_CTXPROBLEM",
        ];
        if (self.0 as usize) < NAMES.len() { NAMES[self.0 as usize] } else { "an unknown reason" }
    }
}

impl std::fmt::Display for AuthStat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
