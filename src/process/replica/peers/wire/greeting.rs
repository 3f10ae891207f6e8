//! The frames by which peers come to know each other: greeting, proof, and which cluster it is.

use super::bytes::{Reader, put_address, put_address_if};
use super::error::WireError;
use super::header::seal;
use super::kind::{FrameKind, PROOF_BYTES};
use super::members;
use crate::base::limits::{MAX_ACCOUNTS, MAX_LSN};
use crate::base::vocab::{Cents, Lsn};
use crate::process::replica::peers::settings::Identity;
use crate::store::cluster::{ClusterId, Membership};

/// Bytes of the random number in a greeting.
pub const NONCE_BYTES: usize = 32;

/// What a node says first.
///
/// Body: cluster (16 bytes, zero of a fresh node), node u64, replica u8, accounts u32, opening total i64, key window u64, operations u64,
/// checksum of the openings u32, records of a segment u64, blocks of the key-value table u32 (0 without one), nonce (32 bytes), and three
/// addresses, a length in one byte before each: where peers reach it, where clients do, and where they reach its key-value service, which is
/// empty exactly where there is no table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Greeting {
    /// Who it is.
    pub identity: Identity,
    /// Random, and drawn for this connection: no proof is valid for a second one.
    pub nonce: [u8; NONCE_BYTES],
}

impl Greeting {
    /// Its frame.
    ///
    /// # Errors
    /// An address is too long or not printable, or the books cannot be.
    pub fn encode(&self) -> Result<Vec<u8>, WireError> {
        let own = &self.identity;
        check_books(own)?;
        let mut body = Vec::with_capacity(256);
        body.extend_from_slice(&own.cluster.map_or([0; 16], |cluster| *cluster.bytes()));
        body.extend_from_slice(&own.node.number().to_le_bytes());
        body.push(own.replica.number());
        body.extend_from_slice(&own.accounts.to_le_bytes());
        body.extend_from_slice(&own.opening.0.to_le_bytes());
        body.extend_from_slice(&own.key_window.to_le_bytes());
        body.extend_from_slice(&own.operations.0.to_le_bytes());
        body.extend_from_slice(&own.openings.to_le_bytes());
        body.extend_from_slice(&own.segment_records.to_le_bytes());
        body.extend_from_slice(&own.kv_blocks.to_le_bytes());
        body.extend_from_slice(&self.nonce);
        put_address(&mut body, &own.peer_address)?;
        put_address(&mut body, &own.client_address)?;
        put_address_if(own.kv_blocks > 0, &mut body, &own.kv_address)?;
        seal(FrameKind::Greeting, &body, 0)
    }

    pub(super) fn decode(body: &[u8]) -> Result<Self, WireError> {
        let mut body = Reader::new(body);
        let cluster = ClusterId::new(body.array()?);
        let (node, replica) = (body.node()?, body.replica()?);
        let (accounts, opening, key_window) = (body.u32()?, Cents(body.i64()?), body.u64()?);
        let (operations, openings, segment_records) = (Lsn(body.u64()?), body.u32()?, body.u64()?);
        let kv_blocks = body.u32()?;
        let nonce = body.array()?;
        let (peer_address, client_address) = (body.address()?, body.address()?);
        let kv_address = body.address_if(kv_blocks > 0)?;
        body.end()?;
        let identity = Identity {
            cluster,
            node,
            replica,
            peer_address,
            client_address,
            kv_address,
            accounts,
            opening,
            key_window,
            operations,
            openings,
            segment_records,
            kv_blocks,
        };
        check_books(&identity)?;
        Ok(Greeting { identity, nonce })
    }
}

fn check_books(identity: &Identity) -> Result<(), WireError> {
    let has_books = (1..=MAX_ACCOUNTS).contains(&identity.accounts) && identity.opening >= Cents::ZERO;
    let can_be = has_books && identity.operations.0 <= MAX_LSN && identity.segment_records > 0;
    if can_be { Ok(()) } else { Err(WireError::Books) }
}

/// The frame of a proof.
///
/// # Errors
/// None that can be.
pub(super) fn encode_proof(proof: &[u8; PROOF_BYTES]) -> Result<Vec<u8>, WireError> {
    seal(FrameKind::Proof, proof, 0)
}

pub(super) fn decode_proof(body: &[u8]) -> Result<[u8; PROOF_BYTES], WireError> {
    let mut body = Reader::new(body);
    let proof = body.array()?;
    body.end()?;
    Ok(proof)
}

/// By which a founder, or a member, tells a fresh node which cluster it is a member of.
///
/// Body: cluster (16 bytes, not zero), how many voters u8, how many learners u8, and these: number u8, node u64, address with its length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Which cluster.
    pub cluster: ClusterId,
    /// Who founded it, or is a member now.
    pub members: Membership,
}

impl Found {
    /// Its frame.
    ///
    /// # Errors
    /// There are no voters, too many members, or one twice.
    pub fn encode(&self) -> Result<Vec<u8>, WireError> {
        let mut body = self.cluster.bytes().to_vec();
        members::put_membership(&mut body, &self.members)?;
        seal(FrameKind::Found, &body, 0)
    }

    pub(super) fn decode(body: &[u8]) -> Result<Self, WireError> {
        let mut body = Reader::new(body);
        let cluster = ClusterId::new(body.array()?).ok_or(WireError::Cluster)?;
        let members = members::membership(&mut body)?;
        body.end()?;
        Ok(Found { cluster, members })
    }
}
