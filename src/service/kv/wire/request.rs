//! Requests: what a client asks for, and its bytes in a call.

use super::procedure::{KV_PROGRAM, KV_VERSION, KvProcedure};
use crate::base::limits::{
    KEY_BYTES, MAX_KV_KEY_BYTES, MAX_KV_VALUE_BYTES, MAX_RPC_AUTH_BYTES, MAX_RPC_FRAGMENTS, MAX_RPC_RECORD_BYTES,
};
use crate::base::onc_rpc::xdr::opaque_bytes;
use crate::base::onc_rpc::{Call, Credentials, Fault, OpaqueAuth, Reader, Sink, XdrError};
use crate::base::vocab::{Condition, Lsn};

/// By what a repeated write is known; never all zero, which stands for none.
pub type RequestId = [u8; KEY_BYTES];

/// Bytes of the longest call of this program, in one fragment: a PUT with the longest credentials and the longest verifier.
pub const MAX_KV_CALL_BYTES: usize = 28
    + 2 * (4 + opaque_bytes(MAX_RPC_AUTH_BYTES))
    + KEY_BYTES
    + opaque_bytes(MAX_KV_KEY_BYTES)
    + opaque_bytes(MAX_KV_VALUE_BYTES)
    + 12;

const _: () = assert!(
    MAX_KV_CALL_BYTES + 4 * MAX_RPC_FRAGMENTS <= MAX_RPC_RECORD_BYTES,
    "the longest call fits, in as many fragments as there may be"
);

/// What a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KvRequest<'a> {
    /// Nothing.
    Null,
    /// The value of a key.
    Get {
        /// The key.
        key: &'a [u8],
        /// The last version that the caller has seen; 0 for none.
        after: Lsn,
    },
    /// Give a key a value.
    Put {
        /// By what a repeat is known.
        request_id: Option<RequestId>,
        /// The key.
        key: &'a [u8],
        /// The value.
        value: &'a [u8],
        /// When it is to be done.
        condition: Condition,
    },
    /// Take a key away.
    Delete {
        /// By what a repeat is known.
        request_id: Option<RequestId>,
        /// The key.
        key: &'a [u8],
        /// When it is to be done.
        condition: Condition,
    },
    /// Keys in their order.
    Scan {
        /// None below this one; may be empty.
        from: &'a [u8],
        /// Only those that begin so; may be empty.
        prefix: &'a [u8],
        /// So many at most, as it was asked: 0 and what is above the greatest page stand for that.
        limit: u32,
        /// The last version that the caller has seen; 0 for none.
        after: Lsn,
    },
    /// What the server is, and how far it has got.
    Status,
}

impl<'a> KvRequest<'a> {
    /// Reads what a call asks for. Who calls is not looked at.
    ///
    /// # Errors
    /// What the call is to be answered: PROG_UNAVAIL, PROG_MISMATCH, PROC_UNAVAIL, or GARBAGE_ARGS.
    pub fn of_call(call: &Call<'a>) -> Result<Self, Fault> {
        if call.program != KV_PROGRAM {
            return Err(Fault::ProgUnavail);
        }
        if call.version != KV_VERSION {
            return Err(Fault::ProgMismatch { low: KV_VERSION, high: KV_VERSION });
        }
        let procedure = KvProcedure::of(call.procedure).ok_or(Fault::ProcUnavail)?;
        KvRequest::read(procedure, call.arguments).map_err(|_| Fault::GarbageArgs)
    }

    /// Reads the arguments of a procedure, to their last byte.
    ///
    /// # Errors
    /// [`XdrError`]: they are none of this procedure's.
    pub fn read(procedure: KvProcedure, arguments: &'a [u8]) -> Result<Self, XdrError> {
        let mut reader = Reader::new(arguments);
        let request = match procedure {
            KvProcedure::Null => KvRequest::Null,
            KvProcedure::Status => KvRequest::Status,
            KvProcedure::Get => KvRequest::Get { key: read_key(&mut reader)?, after: Lsn(reader.u64()?) },
            KvProcedure::Put => KvRequest::Put {
                request_id: read_request_id(&mut reader)?,
                key: read_key(&mut reader)?,
                value: reader.opaque(MAX_KV_VALUE_BYTES)?,
                condition: read_condition(&mut reader)?,
            },
            KvProcedure::Delete => KvRequest::Delete {
                request_id: read_request_id(&mut reader)?,
                key: read_key(&mut reader)?,
                condition: read_condition(&mut reader)?,
            },
            KvProcedure::Scan => KvRequest::Scan {
                from: read_key(&mut reader)?,
                prefix: read_key(&mut reader)?,
                limit: reader.u32()?,
                after: Lsn(reader.u64()?),
            },
        };
        reader.end().map(|()| request)
    }

    /// The procedure that is asked for.
    #[must_use]
    pub const fn procedure(&self) -> KvProcedure {
        match self {
            KvRequest::Null => KvProcedure::Null,
            KvRequest::Get { .. } => KvProcedure::Get,
            KvRequest::Put { .. } => KvProcedure::Put,
            KvRequest::Delete { .. } => KvProcedure::Delete,
            KvRequest::Scan { .. } => KvProcedure::Scan,
            KvRequest::Status => KvProcedure::Status,
        }
    }

    /// Writes the call as a record, mark included. It is the caller's to keep the bounds of keys and values: the server refuses longer
    /// ones.
    pub fn write_call(&self, xid: u32, credentials: Credentials<'_>, sink: &mut impl Sink) {
        let (program, version, procedure) = (KV_PROGRAM, KV_VERSION, self.procedure().code());
        let call = Call { xid, program, version, procedure, credentials, verifier: OpaqueAuth::NONE, arguments: &[] };
        call.write_with(sink, |sink| self.write(sink));
    }

    /// Writes the arguments.
    pub fn write(&self, sink: &mut impl Sink) {
        match self {
            KvRequest::Null | KvRequest::Status => {}
            KvRequest::Get { key, after } => {
                sink.put_opaque(key);
                sink.put_u64(after.0);
            }
            KvRequest::Put { request_id, key, value, condition } => {
                sink.put_fixed(&request_id.unwrap_or_default());
                sink.put_opaque(key);
                sink.put_opaque(value);
                write_condition(*condition, sink);
            }
            KvRequest::Delete { request_id, key, condition } => {
                sink.put_fixed(&request_id.unwrap_or_default());
                sink.put_opaque(key);
                write_condition(*condition, sink);
            }
            KvRequest::Scan { from, prefix, limit, after } => {
                sink.put_opaque(from);
                sink.put_opaque(prefix);
                sink.put_u32(*limit);
                sink.put_u64(after.0);
            }
        }
    }
}

fn read_key<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], XdrError> {
    reader.opaque(MAX_KV_KEY_BYTES)
}

fn read_request_id(reader: &mut Reader<'_>) -> Result<Option<RequestId>, XdrError> {
    let id: RequestId = reader.fixed()?;
    Ok((id != RequestId::default()).then_some(id))
}

/// A condition, and the version that is expected, which counts with KV_IF_VERSION only: what a caller leaves there otherwise is dropped.
fn read_condition(reader: &mut Reader<'_>) -> Result<Condition, XdrError> {
    let (code, expected) = (reader.u32()?, reader.u64()?);
    match u8::try_from(code).ok().and_then(|code| Condition::from_code(code, 0)) {
        Some(Condition::IfVersion(_)) => Ok(Condition::IfVersion(expected)),
        Some(other) => Ok(other),
        None => Err(XdrError::Unknown { what: "kv_condition", value: code }),
    }
}

fn write_condition(condition: Condition, sink: &mut impl Sink) {
    let (code, expected) = condition.to_code();
    sink.put_u32(u32::from(code));
    sink.put_u64(expected);
}
