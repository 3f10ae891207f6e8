//! What CLUSTER tells: who is a member, who is the primary, and how far each has got.

use byteorder::{BigEndian, ByteOrder};

use super::cipher::XorKey;
use super::frame::{Flags, seal};
use super::message::BodyError;
use super::opcode::Opcode;
use super::status::Status;
use crate::base::limits::{HEADER_BYTES, MAX_PEER_ADDRESS_BYTES, MAX_REPLICAS};
use crate::base::vocab::{Lsn, ReplicaRole};

/// Bytes of what the server says of itself, status included.
const OWN_BYTES: usize = 2 + 1 + 1 + 8 + 8 + 8 + 1;
/// Bytes of a member before its addresses.
const MEMBER_BYTES: usize = 1 + 8 + 1 + 8 + 4;

/// A member of the cluster, as the server that answers knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterMember {
    /// Its number, 1 to [`MAX_REPLICAS`]; 0 for a server without peers.
    pub replica: u8,
    /// Its identity; 0 for a server without peers.
    pub node: u64,
    /// What it is.
    pub role: ReplicaRole,
    /// The last operation that it is known to have on its disk, as its primary knows it.
    pub match_lsn: Lsn,
    /// Milliseconds since it was last heard; 0 for the server that answers, `u32::MAX` where it was never heard.
    pub heard_ms: u32,
    /// Where its peers reach it, `HOST:PORT`, at most [`MAX_PEER_ADDRESS_BYTES`]; empty for a server without peers.
    pub peer_address: String,
    /// Where clients reach it; empty where that is not known.
    pub client_address: String,
}

/// The answer to CLUSTER.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cluster {
    /// The number of the server that answers; 0 without peers.
    pub replica: u8,
    /// What it is.
    pub role: ReplicaRole,
    /// Its term; 0 without peers.
    pub term: u64,
    /// The last operation that it knows to be committed: by a majority, or on its own disk where it has no peers.
    pub committed: Lsn,
    /// The last operation that it has applied.
    pub applied: Lsn,
    /// The number of the primary; 0 where none is known, and without peers.
    pub primary: u8,
    /// Where clients reach the primary; empty where that is not known.
    pub primary_address: String,
    /// At most [`MAX_REPLICAS`]; a server without peers is the only one.
    pub members: Vec<ClusterMember>,
}

impl Cluster {
    /// Appends the whole frame to `out`, with the LSN that it carries, if any, and the body XORed if a cipher is given. What is beyond the
    /// bounds of members and addresses is left out.
    pub fn encode_as_of(&self, seq: u32, xor: Option<XorKey>, lsn: Option<Lsn>, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[0; HEADER_BYTES]);
        let mut flags = Flags::NONE;
        if let Some(lsn) = lsn {
            flags = Flags::LSN;
            out.extend_from_slice(&lsn.0.to_be_bytes());
        }
        let body_at = out.len() - start;
        out.extend_from_slice(&Status::Ok.code().to_be_bytes());
        out.extend_from_slice(&[self.replica, self.role.code()]);
        for number in [self.term, self.committed.0, self.applied.0] {
            out.extend_from_slice(&number.to_be_bytes());
        }
        out.push(self.primary);
        put_address(&self.primary_address, out);
        let members = &self.members[..self.members.len().min(MAX_REPLICAS.into())];
        // At most MAX_REPLICAS.
        #[allow(clippy::cast_possible_truncation)]
        out.push(members.len() as u8);
        for member in members {
            out.push(member.replica);
            out.extend_from_slice(&member.node.to_be_bytes());
            out.push(member.role.code());
            out.extend_from_slice(&member.match_lsn.0.to_be_bytes());
            out.extend_from_slice(&member.heard_ms.to_be_bytes());
            put_address(&member.peer_address, out);
            put_address(&member.client_address, out);
        }
        let frame = &mut out[start..];
        if let Some(xor) = xor {
            flags = flags.with(Flags::XOR);
            xor.apply(&mut frame[body_at..]);
        }
        seal(frame, flags, Opcode::Cluster.code(), seq);
    }

    /// Reads the decrypted body of an answer to CLUSTER without the error flag; one with it is a
    /// [`Response::Error`](super::Response::Error).
    ///
    /// # Errors
    /// [`BodyError`] when the body is no such answer.
    pub fn decode(body: &[u8]) -> Result<Cluster, BodyError> {
        let length = BodyError::Length { opcode: Opcode::Cluster, got: body.len() };
        let (own, mut rest) = body.split_first_chunk::<OWN_BYTES>().ok_or(length)?;
        let status = Status::try_from(BigEndian::read_u16(own))?;
        if status != Status::Ok {
            return Err(BodyError::Contradiction(status));
        }
        let mut cluster = Cluster {
            replica: own[2],
            role: ReplicaRole::of(own[3]).ok_or(BodyError::Role(own[3]))?,
            term: BigEndian::read_u64(&own[4..]),
            committed: Lsn(BigEndian::read_u64(&own[12..])),
            applied: Lsn(BigEndian::read_u64(&own[20..])),
            primary: own[28],
            primary_address: take_address(&mut rest, length)?,
            members: Vec::new(),
        };
        let (&count, after) = rest.split_first().ok_or(length)?;
        rest = after;
        if count > MAX_REPLICAS {
            return Err(BodyError::Members(count.into()));
        }
        for _ in 0..count {
            let (member, after) = rest.split_first_chunk::<MEMBER_BYTES>().ok_or(length)?;
            rest = after;
            cluster.members.push(ClusterMember {
                replica: member[0],
                node: BigEndian::read_u64(&member[1..]),
                role: ReplicaRole::of(member[9]).ok_or(BodyError::Role(member[9]))?,
                match_lsn: Lsn(BigEndian::read_u64(&member[10..])),
                heard_ms: BigEndian::read_u32(&member[18..]),
                peer_address: take_address(&mut rest, length)?,
                client_address: take_address(&mut rest, length)?,
            });
        }
        if rest.is_empty() { Ok(cluster) } else { Err(length) }
    }
}

fn put_address(address: &str, out: &mut Vec<u8>) {
    let fits = (0..=MAX_PEER_ADDRESS_BYTES.min(address.len())).rev().find(|&end| address.is_char_boundary(end));
    let address = &address.as_bytes()[..fits.unwrap_or(0)];
    // At most MAX_PEER_ADDRESS_BYTES.
    #[allow(clippy::cast_possible_truncation)]
    out.push(address.len() as u8);
    out.extend_from_slice(address);
}

fn take_address(rest: &mut &[u8], length: BodyError) -> Result<String, BodyError> {
    let (&count, after) = rest.split_first().ok_or(length)?;
    let (address, after) = after.split_at_checked(count.into()).ok_or(length)?;
    *rest = after;
    let text = std::str::from_utf8(address).ok().filter(|text| text.len() <= MAX_PEER_ADDRESS_BYTES);
    text.map(str::to_owned).ok_or(BodyError::Members(count.into()))
}
