//! The status of a reply: the first two bytes of every response body.

use super::codes::codes;

codes! {
    /// What came of a request. The numbers are the protocol's own and never change meaning.
    Status, else
    /// A number that is no status of protocol version 1.
    #[error("{0} is not a status of protocol version 1 (0 to 14)")]
    UnknownStatus;
    /// The operation was done, and the body carries its result.
    Ok = 0 "OK",
    /// Not logged in, or wrong user name or password.
    Auth = 1 "ERR_AUTH",
    /// The frame's checksum does not match its bytes.
    BadCrc = 2 "ERR_BAD_CRC",
    /// The bytes are not a frame, or the frame is not a request of this version.
    BadFrame = 3 "ERR_BAD_FRAME",
    /// The account number is not one of this server's.
    NoAccount = 4 "ERR_NO_ACCOUNT",
    /// The account holds less than the amount to be taken from it.
    Insufficient = 5 "ERR_INSUFFICIENT",
    /// The server has no room for this connection or request now; try again later.
    Busy = 6 "ERR_BUSY",
    /// The server gave the request up because it took too long.
    Timeout = 7 "ERR_TIMEOUT",
    /// The amount is zero or negative or would overflow, or a transfer names one account twice.
    Invalid = 8 "ERR_INVALID",
    /// The idempotency key is known, but with another request.
    Conflict = 9 "ERR_CONFLICT",
    /// The user's role does not allow this.
    Forbidden = 10 "ERR_FORBIDDEN",
    /// The account is frozen.
    Frozen = 11 "ERR_FROZEN",
    /// This server is not the primary of its cluster, and only that answers such a request; CLUSTER tells which one it is.
    NotPrimary = 12 "ERR_NOT_PRIMARY",
    /// This server has not applied the operation that the request names as the last one seen.
    Behind = 13 "ERR_BEHIND",
    /// The cluster has no primary that this server knows of; nothing was done.
    NoQuorum = 14 "ERR_NO_QUORUM",
}

impl Status {
    /// Whether it says that this server does not answer such a request now, and another may: nothing was done.
    #[inline]
    #[must_use]
    pub const fn is_elsewhere(self) -> bool {
        matches!(self, Status::NotPrimary | Status::NoQuorum)
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
        assert_eq!(Status::ALL.last(), Some(&Status::NoQuorum));
        assert!(Status::try_from(15).is_err());
    }

    #[test]
    fn names_are_those_of_the_document() {
        let names = Status::ALL.map(|status| status.to_string()).join(" ");
        let wanted = "OK ERR_AUTH ERR_BAD_CRC ERR_BAD_FRAME ERR_NO_ACCOUNT ERR_INSUFFICIENT ERR_BUSY ERR_TIMEOUT ERR_INVALID \
                      ERR_CONFLICT ERR_FORBIDDEN ERR_FROZEN ERR_NOT_PRIMARY ERR_BEHIND ERR_NO_QUORUM";
        assert_eq!(names, wanted);
    }
}
