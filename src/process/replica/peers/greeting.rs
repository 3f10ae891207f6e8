//! Who is a peer: both sides greet, and prove that they know the cluster's secret.
//!
//! Each side sends its greeting at once, and its proof when it has the other's greeting: HMAC-SHA256 (RFC 2104, FIPS 180-4) with the
//! secret as its key, over one byte for the role of who proves and both greeting frames in full, that of the side that connected first. Both
//! greetings have a random number that was drawn for this connection. So a proof that was recorded is of no use for another
//! connection, and one that is sent back is of the wrong role. What a peer says of itself is judged after its proof.

use hmac::{Hmac, Mac};
use sha2::Sha256;

use super::event::Accepted;
use super::refusal::Refusal;
use super::settings::Identity;
use super::wire::{Frame, Greeting, NONCE_BYTES, PROOF_BYTES, PROTOCOL_VERSION, WireError};
use crate::store::cluster::{Membership, ReplicaId, Secret};

/// Which side of a connection somebody is; its number is what a proof begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Role {
    /// The side that connected.
    Dialler = 1,
    /// The side that accepted the connection.
    Accepter = 2,
}

impl Role {
    fn other(self) -> Role {
        match self {
            Role::Dialler => Role::Accepter,
            Role::Accepter => Role::Dialler,
        }
    }
}

/// One side's part of a greeting, until the other is accepted or refused.
#[derive(Debug)]
pub struct Handshake {
    role: Role,
    /// The greeting frame that this side has sent.
    ours: Vec<u8>,
    /// What the other side has sent, and what that says.
    theirs: Option<(Vec<u8>, Greeting)>,
}

/// What follows from a frame of the other side.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// It has greeted: this proof frame is to be sent.
    Prove(Vec<u8>),
    /// It has proved that it knows the secret: this is what it says of itself. [`judge`] decides.
    Proved(Identity),
}

impl Handshake {
    /// Begins. `nonce` must be random, and never have been used before. What is [`greeting`](Self::greeting) is to be sent.
    ///
    /// # Errors
    /// What this node says of itself is beyond its bounds.
    pub fn begin(role: Role, own: &Identity, nonce: [u8; NONCE_BYTES]) -> Result<Self, WireError> {
        let ours = Greeting { identity: own.clone(), nonce }.encode()?;
        Ok(Handshake { role, ours, theirs: None })
    }

    /// The frame to be sent first.
    #[must_use]
    pub fn greeting(&self) -> &[u8] {
        &self.ours
    }

    /// Whether the other side has greeted.
    #[must_use]
    pub fn has_heard(&self) -> bool {
        self.theirs.is_some()
    }

    /// Takes a frame of the other side; `bytes` are the frame's.
    ///
    /// # Errors
    /// It is not what is to come now, it is this side's own greeting, or its proof is wrong.
    pub fn take(&mut self, frame: Frame, bytes: &[u8], secret: &Secret) -> Result<Step, Refusal> {
        match (frame, &self.theirs) {
            (Frame::Greeting(theirs), None) => {
                if bytes == self.ours {
                    return Err(Refusal::Myself);
                }
                let proof = self.hmac(self.role, bytes, secret)?.finalize().into_bytes().into();
                self.theirs = Some((bytes.to_vec(), theirs));
                Frame::Proof(proof).encode().map(Step::Prove).map_err(Refusal::Garbage)
            }
            (Frame::Proof(proof), Some((greeting, theirs))) => {
                self.check(&proof, greeting, secret)?;
                Ok(Step::Proved(theirs.identity.clone()))
            }
            (frame, _) => Err(Refusal::Garbage(WireError::Unexpected(frame.kind()))),
        }
    }

    /// Compares in constant time.
    fn check(&self, proof: &[u8; PROOF_BYTES], theirs: &[u8], secret: &Secret) -> Result<(), Refusal> {
        self.hmac(self.role.other(), theirs, secret)?.verify_slice(proof).map_err(|_| Refusal::Secret)
    }

    fn hmac(&self, prover: Role, theirs: &[u8], secret: &Secret) -> Result<Hmac<Sha256>, Refusal> {
        // A key of any length will do (RFC 2104, section 3), so this error cannot be.
        let mut hmac = Hmac::<Sha256>::new_from_slice(secret.bytes()).map_err(|_| Refusal::Secret)?;
        let (dialler, accepter) = match self.role {
            Role::Dialler => (&self.ours[..], theirs),
            Role::Accepter => (theirs, &self.ours[..]),
        };
        hmac.update(&[prover as u8]);
        hmac.update(dialler);
        hmac.update(accepter);
        Ok(hmac)
    }
}

/// What a node that has proved itself is to this one.
///
/// `expected` is the number of the configured peer that was dialled. `members` are those that this node knows of.
///
/// # Errors
/// It does not belong here, and why.
pub fn judge(
    own: &Identity,
    members: &Membership,
    expected: Option<ReplicaId>,
    peer: Identity,
) -> Result<Accepted, Refusal> {
    if peer.node == own.node {
        return Err(Refusal::Myself);
    }
    if let (Some(theirs), Some(ours)) = (peer.cluster, own.cluster)
        && theirs != ours
    {
        return Err(Refusal::Cluster { theirs, ours });
    }
    if let Some(configured) = expected.filter(|&configured| configured != peer.replica) {
        return Err(Refusal::OtherReplica { theirs: peer.replica, configured });
    }
    if peer.accounts != own.accounts {
        return Err(Refusal::Accounts { theirs: peer.accounts, ours: own.accounts });
    }
    if peer.opening != own.opening {
        return Err(Refusal::Opening { theirs: peer.opening, ours: own.opening });
    }
    if peer.openings != own.openings {
        return Err(Refusal::Openings);
    }
    if peer.segment_records != own.segment_records {
        return Err(Refusal::SegmentRecords { theirs: peer.segment_records, ours: own.segment_records });
    }
    if peer.key_window != own.key_window {
        return Err(Refusal::KeyWindow { theirs: peer.key_window, ours: own.key_window });
    }
    if peer.kv_blocks != own.kv_blocks {
        return Err(Refusal::KeyValues { theirs: peer.kv_blocks, ours: own.kv_blocks });
    }
    let is_known = members.of_node(peer.node).is_some();
    if peer.replica == own.replica {
        // One of them replaces the other: a fresh node a member, or a member one that is still in the membership.
        let may_replace = is_known || peer.cluster.is_some() != own.cluster.is_some();
        if !may_replace {
            return Err(Refusal::SameReplica { replica: peer.replica, node: peer.node });
        }
        return Ok(Accepted { peer, replaces: Some(own.node) });
    }
    let under_its_number = members.all().find(|member| member.replica == peer.replica && member.node != peer.node);
    let replaces = under_its_number.map(|member| member.node).filter(|_| !is_known);
    Ok(Accepted { peer, replaces })
}

/// What a wrong frame of somebody who has not proved anything is called.
#[must_use]
pub fn refusal_of(error: WireError) -> Refusal {
    match error {
        WireError::Version(theirs) => Refusal::Version { theirs, ours: PROTOCOL_VERSION },
        other => Refusal::Garbage(other),
    }
}

#[cfg(test)]
#[path = "greeting_tests.rs"]
mod tests;
