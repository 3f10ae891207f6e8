//! Replies (RFC 5531, section 9): what came of a call.

use super::auth::{AuthStat, OpaqueAuth};
use super::record::{begin_record, end_record};
use super::xdr::{Reader, Sink, XdrError, opaque_bytes};

/// The number by which a message is a reply.
const REPLY: u32 = 1;

const MSG_ACCEPTED: u32 = 0;
const MSG_DENIED: u32 = 1;

const SUCCESS: u32 = 0;
const PROG_UNAVAIL: u32 = 1;
const PROG_MISMATCH: u32 = 2;
const PROC_UNAVAIL: u32 = 3;
const GARBAGE_ARGS: u32 = 4;
const SYSTEM_ERR: u32 = 5;

const RPC_MISMATCH: u32 = 0;
const AUTH_ERROR: u32 = 1;

/// Bytes in front of the results of a call that succeeded: mark, xid, that it is a reply that was accepted, a verifier of AUTH_NONE, and
/// that it succeeded.
pub const SUCCESS_HEAD_BYTES: usize = 4 + 4 + 4 + 4 + 4 + opaque_bytes(0) + 4;
/// Bytes of the longest reply that reports a fault, its mark included.
pub const MAX_FAULT_REPLY_BYTES: usize = SUCCESS_HEAD_BYTES + 8;

/// Why a call was not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// There is no such program here.
    #[error("PROG_UNAVAIL")]
    ProgUnavail,
    /// There is, in other versions.
    #[error("PROG_MISMATCH, versions {low} to {high}")]
    ProgMismatch {
        /// The lowest.
        low: u32,
        /// The highest.
        high: u32,
    },
    /// The program has no such procedure.
    #[error("PROC_UNAVAIL")]
    ProcUnavail,
    /// The arguments are none of this procedure's.
    #[error("GARBAGE_ARGS")]
    GarbageArgs,
    /// The server cannot do it.
    #[error("SYSTEM_ERR")]
    SystemErr,
    /// RPC itself is spoken in other versions.
    #[error("RPC_MISMATCH, versions {low} to {high}")]
    RpcMismatch {
        /// The lowest.
        low: u32,
        /// The highest.
        high: u32,
    },
    /// The caller may not.
    #[error("AUTH_ERROR: {0}")]
    Auth(AuthStat),
}

/// A reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply<'a> {
    /// The call that it answers.
    pub xid: u32,
    /// What is to prove who answers. A call that was denied (RPC_MISMATCH, AUTH_ERROR) is answered without: then it is AUTH_NONE.
    pub verifier: OpaqueAuth<'a>,
    /// The results of the call, as they come, or why it was not carried out.
    pub results: Result<&'a [u8], Fault>,
}

impl<'a> Reply<'a> {
    /// Reads the reply that a record's `payload` is.
    ///
    /// # Errors
    /// [`XdrError`]: it is none.
    pub fn read(payload: &'a [u8]) -> Result<Self, XdrError> {
        let mut reader = Reader::new(payload);
        let xid = reader.u32()?;
        match reader.u32()? {
            REPLY => {}
            value => return Err(XdrError::Unknown { what: "reply", value }),
        }
        let (verifier, results) = match reader.u32()? {
            MSG_ACCEPTED => (OpaqueAuth::read(&mut reader)?, read_accepted(&mut reader)?),
            MSG_DENIED => (OpaqueAuth::NONE, Err(read_denied(&mut reader)?)),
            value => return Err(XdrError::Unknown { what: "kind of reply", value }),
        };
        reader.end().map(|()| Reply { xid, verifier, results })
    }

    /// Writes it as a record, mark included.
    pub fn write(&self, sink: &mut impl Sink) {
        self.write_with(sink, |_| {});
    }

    /// The same; what `results` writes comes behind those that it has.
    fn write_with<S: Sink>(&self, sink: &mut S, results: impl FnOnce(&mut S)) {
        let at = begin_record(sink);
        sink.put_u32(self.xid);
        sink.put_u32(REPLY);
        match self.results {
            Err(Fault::RpcMismatch { low, high }) => put_all(sink, &[MSG_DENIED, RPC_MISMATCH, low, high]),
            Err(Fault::Auth(stat)) => put_all(sink, &[MSG_DENIED, AUTH_ERROR, stat.0]),
            accepted => {
                sink.put_u32(MSG_ACCEPTED);
                self.verifier.write(sink);
                match accepted {
                    Ok(bytes) => {
                        sink.put_u32(SUCCESS);
                        sink.put(bytes);
                        results(sink);
                    }
                    Err(fault) => write_fault(fault, sink),
                }
            }
        }
        end_record(sink, at);
    }
}

fn read_accepted<'a>(reader: &mut Reader<'a>) -> Result<Result<&'a [u8], Fault>, XdrError> {
    Ok(Err(match reader.u32()? {
        SUCCESS => return Ok(Ok(reader.rest())),
        PROG_UNAVAIL => Fault::ProgUnavail,
        PROG_MISMATCH => Fault::ProgMismatch { low: reader.u32()?, high: reader.u32()? },
        PROC_UNAVAIL => Fault::ProcUnavail,
        GARBAGE_ARGS => Fault::GarbageArgs,
        SYSTEM_ERR => Fault::SystemErr,
        value => return Err(XdrError::Unknown { what: "status of a reply", value }),
    }))
}

fn read_denied(reader: &mut Reader<'_>) -> Result<Fault, XdrError> {
    match reader.u32()? {
        RPC_MISMATCH => Ok(Fault::RpcMismatch { low: reader.u32()?, high: reader.u32()? }),
        AUTH_ERROR => Ok(Fault::Auth(AuthStat(reader.u32()?))),
        value => Err(XdrError::Unknown { what: "reason to deny a call", value }),
    }
}

/// Why a call that was accepted was not carried out; of one that was denied nothing is written here.
fn write_fault(fault: Fault, sink: &mut impl Sink) {
    match fault {
        Fault::ProgUnavail => sink.put_u32(PROG_UNAVAIL),
        Fault::ProgMismatch { low, high } => put_all(sink, &[PROG_MISMATCH, low, high]),
        Fault::ProcUnavail => sink.put_u32(PROC_UNAVAIL),
        Fault::GarbageArgs => sink.put_u32(GARBAGE_ARGS),
        Fault::SystemErr => sink.put_u32(SYSTEM_ERR),
        Fault::RpcMismatch { .. } | Fault::Auth(_) => {}
    }
}

/// Writes the reply of a call that was not carried out as a record, mark included, with a verifier of AUTH_NONE.
pub fn write_refusal(xid: u32, fault: Fault, sink: &mut impl Sink) {
    Reply { xid, verifier: OpaqueAuth::NONE, results: Err(fault) }.write(sink);
}

/// Writes the reply of a call that succeeded as a record, mark included, with a verifier of AUTH_NONE and the results that `results`
/// writes.
#[inline]
pub fn write_success<S: Sink>(xid: u32, sink: &mut S, results: impl FnOnce(&mut S)) {
    Reply { xid, verifier: OpaqueAuth::NONE, results: Ok(&[]) }.write_with(sink, results);
}

fn put_all(sink: &mut impl Sink, numbers: &[u32]) {
    numbers.iter().for_each(|number| sink.put_u32(*number));
}
