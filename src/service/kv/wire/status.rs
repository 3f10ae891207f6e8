//! The status of a result: `kv_status` of `docs/kv.x`.

use crate::base::onc_rpc::XdrError;

/// What came of a request. The numbers never change meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum KvStatus {
    /// It was done.
    Ok = 0,
    /// There is no such key.
    NotFound = 1,
    /// The key has another version than the condition wants.
    VersionMismatch = 2,
    /// This server is not the primary, and only that writes; KV_STATUS tells which one it is. Nothing was done.
    NotPrimary = 3,
    /// There is no primary that this server knows of, or it cannot commit. Nothing was committed.
    NoQuorum = 4,
    /// This server has not applied the version that the request names as the last one seen.
    Behind = 5,
    /// There is no room now, in the table or for the request; try again later.
    Busy = 6,
    /// A key that cannot be one.
    Invalid = 7,
    /// The value is longer than this server allows.
    TooLarge = 8,
    /// The request id is known, but with another call.
    Conflict = 9,
    /// The caller's role does not allow this.
    Forbidden = 10,
}

impl KvStatus {
    /// All of them, by their numbers.
    pub const ALL: [KvStatus; 11] = [
        KvStatus::Ok,
        KvStatus::NotFound,
        KvStatus::VersionMismatch,
        KvStatus::NotPrimary,
        KvStatus::NoQuorum,
        KvStatus::Behind,
        KvStatus::Busy,
        KvStatus::Invalid,
        KvStatus::TooLarge,
        KvStatus::Conflict,
        KvStatus::Forbidden,
    ];

    /// The number in a result.
    #[must_use]
    pub const fn code(self) -> u32 {
        self as u32
    }

    /// The status of that number.
    ///
    /// # Errors
    /// [`XdrError::Unknown`]: there is none.
    pub fn of(code: u32) -> Result<KvStatus, XdrError> {
        let known = KvStatus::ALL.into_iter().find(|status| status.code() == code);
        known.ok_or(XdrError::Unknown { what: "kv_status", value: code })
    }

    /// The place in `ALL`, for tables of counters.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The name in `docs/kv.x`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            KvStatus::Ok => "KV_OK",
            KvStatus::NotFound => "KV_NOT_FOUND",
            KvStatus::VersionMismatch => "KV_VERSION_MISMATCH",
            KvStatus::NotPrimary => "KV_NOT_PRIMARY",
            KvStatus::NoQuorum => "KV_NO_QUORUM",
            KvStatus::Behind => "KV_BEHIND",
            KvStatus::Busy => "KV_BUSY",
            KvStatus::Invalid => "KV_INVALID",
            KvStatus::TooLarge => "KV_TOO_LARGE",
            KvStatus::Conflict => "KV_CONFLICT",
            KvStatus::Forbidden => "KV_FORBIDDEN",
        }
    }
}

impl std::fmt::Display for KvStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// A status that says all that there is to say: those with which a result has nothing else in it, whatever the procedure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // Those of `KvStatus`.
pub enum KvRefusal {
    NotFound,
    NotPrimary,
    NoQuorum,
    Behind,
    Busy,
    Invalid,
    TooLarge,
    Conflict,
    Forbidden,
}

impl KvRefusal {
    /// The status that it is.
    #[must_use]
    pub const fn status(self) -> KvStatus {
        match self {
            KvRefusal::NotFound => KvStatus::NotFound,
            KvRefusal::NotPrimary => KvStatus::NotPrimary,
            KvRefusal::NoQuorum => KvStatus::NoQuorum,
            KvRefusal::Behind => KvStatus::Behind,
            KvRefusal::Busy => KvStatus::Busy,
            KvRefusal::Invalid => KvStatus::Invalid,
            KvRefusal::TooLarge => KvStatus::TooLarge,
            KvRefusal::Conflict => KvStatus::Conflict,
            KvRefusal::Forbidden => KvStatus::Forbidden,
        }
    }

    /// The refusal that a status is; `None` of KV_OK and KV_VERSION_MISMATCH, which say more.
    #[must_use]
    pub const fn of(status: KvStatus) -> Option<KvRefusal> {
        Some(match status {
            KvStatus::Ok | KvStatus::VersionMismatch => return None,
            KvStatus::NotFound => KvRefusal::NotFound,
            KvStatus::NotPrimary => KvRefusal::NotPrimary,
            KvStatus::NoQuorum => KvRefusal::NoQuorum,
            KvStatus::Behind => KvRefusal::Behind,
            KvStatus::Busy => KvRefusal::Busy,
            KvStatus::Invalid => KvRefusal::Invalid,
            KvStatus::TooLarge => KvRefusal::TooLarge,
            KvStatus::Conflict => KvRefusal::Conflict,
            KvStatus::Forbidden => KvRefusal::Forbidden,
        })
    }
}

impl std::fmt::Display for KvRefusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.status().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_one_status_or_none() {
        for (code, status) in (0..).zip(KvStatus::ALL) {
            assert_eq!((status.code(), status.index(), KvStatus::of(code)), (code, code as usize, Ok(status)));
            assert_eq!(KvRefusal::of(status).map_or(status, KvRefusal::status), status);
        }
        for code in [11, u32::MAX] {
            assert_eq!(KvStatus::of(code), Err(XdrError::Unknown { what: "kv_status", value: code }));
        }
        let more = KvStatus::ALL.into_iter().filter(|status| KvRefusal::of(*status).is_none());
        assert_eq!(more.collect::<Vec<_>>(), [KvStatus::Ok, KvStatus::VersionMismatch]);
    }
}
