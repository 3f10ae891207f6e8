//! Calls (RFC 5531, section 9): what is to be done, by which program, for whom.

use super::RPC_VERSION;
use super::auth::{AuthStat, Credentials, OpaqueAuth};
use super::record::{begin_record, end_record};
use super::reply::Fault;
use super::xdr::{Reader, Sink, XdrError};

/// The number by which a message is a call.
const CALL: u32 = 0;

/// A call of RPC version 2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Call<'a> {
    /// The caller's number of it, which the reply repeats.
    pub xid: u32,
    /// The program that is called.
    pub program: u32,
    /// Its version.
    pub version: u32,
    /// Which of its procedures.
    pub procedure: u32,
    /// Who calls.
    pub credentials: Credentials<'a>,
    /// What is to prove that.
    pub verifier: OpaqueAuth<'a>,
    /// What the procedure is given, as it comes.
    pub arguments: &'a [u8],
}

/// Why a record is no call of RPC version 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallFault {
    /// It does not even say which call it is, or it is a reply: there is nobody to answer.
    #[error("a record that is no call")]
    NoCall,
    /// It is a call that is to be answered with a fault: of another version of RPC, without a whole head, or with credentials or a
    /// verifier that are none.
    #[error("call {xid:#010x} is refused: {fault}")]
    Refused {
        /// The call.
        xid: u32,
        /// What it is answered.
        fault: Fault,
    },
}

impl<'a> Call<'a> {
    /// Reads the call that a record's `payload` is. Program, version, procedure and who calls are the reader's to judge.
    ///
    /// # Errors
    /// [`CallFault`].
    pub fn read(payload: &'a [u8]) -> Result<Self, CallFault> {
        let mut reader = Reader::new(payload);
        let (Ok(xid), Ok(CALL)) = (reader.u32(), reader.u32()) else { return Err(CallFault::NoCall) };
        let refused = |fault| CallFault::Refused { xid, fault };
        let short = |_: XdrError| refused(Fault::GarbageArgs);
        if reader.u32().map_err(short)? != RPC_VERSION {
            return Err(refused(Fault::RpcMismatch { low: RPC_VERSION, high: RPC_VERSION }));
        }
        let (program, version) = (reader.u32().map_err(short)?, reader.u32().map_err(short)?);
        let procedure = reader.u32().map_err(short)?;
        let credentials = OpaqueAuth::read(&mut reader).and_then(Credentials::of);
        let credentials = credentials.map_err(|_| refused(Fault::Auth(AuthStat::BADCRED)))?;
        let verifier = OpaqueAuth::read(&mut reader).map_err(|_| refused(Fault::Auth(AuthStat::BADVERF)))?;
        Ok(Call { xid, program, version, procedure, credentials, verifier, arguments: reader.rest() })
    }

    /// Writes it as a record, mark included. What `arguments` writes comes behind those that it has.
    pub fn write_with<S: Sink>(&self, sink: &mut S, arguments: impl FnOnce(&mut S)) {
        let at = begin_record(sink);
        for number in [self.xid, CALL, RPC_VERSION, self.program, self.version, self.procedure] {
            sink.put_u32(number);
        }
        self.credentials.write(sink);
        self.verifier.write(sink);
        sink.put(self.arguments);
        arguments(sink);
        end_record(sink, at);
    }

    /// Writes it as a record, mark included.
    pub fn write(&self, sink: &mut impl Sink) {
        self.write_with(sink, |_| {});
    }
}
