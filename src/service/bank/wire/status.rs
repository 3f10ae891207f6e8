//! The status of a reply: the first two bytes of every response body.

use std::fmt;

/// What came of a request. The numbers are the protocol's own and never change meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum Status {
    /// The operation was done, and the body carries its result.
    Ok = 0,
    /// Not logged in, or wrong user name or password.
    Auth = 1,
    /// The frame's checksum does not match its bytes.
    BadCrc = 2,
    /// The bytes are not a frame, or the frame is not a request of this version.
    BadFrame = 3,
    /// The account number is not one of this server's.
    NoAccount = 4,
    /// The account holds less than the amount to be taken from it.
    Insufficient = 5,
    /// The server has no room for this connection or request now; try again later.
    Busy = 6,
    /// The server gave the request up because it took too long.
    Timeout = 7,
    /// The amount is zero or negative or would overflow, or a transfer names one account twice.
    Invalid = 8,
    /// The idempotency key is known, but with another request.
    Conflict = 9,
    /// The user's role does not allow this.
    Forbidden = 10,
    /// The account is frozen.
    Frozen = 11,
}

impl Status {
    /// Every status, in the order of the numbers: `ALL[s.index()] == s`.
    pub const ALL: [Status; 12] = [
        Status::Ok,
        Status::Auth,
        Status::BadCrc,
        Status::BadFrame,
        Status::NoAccount,
        Status::Insufficient,
        Status::Busy,
        Status::Timeout,
        Status::Invalid,
        Status::Conflict,
        Status::Forbidden,
        Status::Frozen,
    ];

    /// The number on the wire.
    #[inline]
    #[must_use]
    pub const fn code(self) -> u16 {
        self as u16
    }

    /// The place in [`Status::ALL`], for tables of counters.
    #[inline]
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The name in the protocol document, such as `ERR_AUTH`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Status::Ok => "OK",
            Status::Auth => "ERR_AUTH",
            Status::BadCrc => "ERR_BAD_CRC",
            Status::BadFrame => "ERR_BAD_FRAME",
            Status::NoAccount => "ERR_NO_ACCOUNT",
            Status::Insufficient => "ERR_INSUFFICIENT",
            Status::Busy => "ERR_BUSY",
            Status::Timeout => "ERR_TIMEOUT",
            Status::Invalid => "ERR_INVALID",
            Status::Conflict => "ERR_CONFLICT",
            Status::Forbidden => "ERR_FORBIDDEN",
            Status::Frozen => "ERR_FROZEN",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A number that is no status of protocol version 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not a status of protocol version 1 (0 to 11)")]
pub struct UnknownStatus(pub u16);

impl TryFrom<u16> for Status {
    type Error = UnknownStatus;

    #[inline]
    fn try_from(code: u16) -> Result<Status, UnknownStatus> {
        Status::ALL.get(usize::from(code)).copied().ok_or(UnknownStatus(code))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_one_status_or_none() {
        for code in 0..=u16::MAX {
            match Status::try_from(code) {
                Ok(status) => assert_eq!((status.code(), status.index()), (code, usize::from(code))),
                Err(error) => assert_eq!(error, UnknownStatus(code)),
            }
        }
        assert_eq!(Status::ALL.last(), Some(&Status::Frozen));
        assert!(Status::try_from(12).is_err());
    }

    #[test]
    fn names_are_those_of_the_document() {
        let names = Status::ALL.map(|status| status.to_string()).join(" ");
        let wanted = "OK ERR_AUTH ERR_BAD_CRC ERR_BAD_FRAME ERR_NO_ACCOUNT ERR_INSUFFICIENT ERR_BUSY ERR_TIMEOUT ERR_INVALID \
                      ERR_CONFLICT ERR_FORBIDDEN ERR_FROZEN";
        assert_eq!(names, wanted);
    }
}
