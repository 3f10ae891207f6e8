//! What a member promised and must not forget, as it stands in `DATA/raft`. Pure: bytes in, bytes out.
//!
//! The layout of a slot, little-endian, [`SLOT_BYTES`] long:
//!
//! | offset | field |
//! | --- | --- |
//! | 0, 8 | "VLTRAFT\\n"; version: u32 |
//! | 12 | intents, bit 0 to truncate, bit 1 to install: u8; voters, learners, own number: 3 × u8 |
//! | 16 | generation: u64 |
//! | 24, 40 | identity of the data directory, of the cluster (zero for none yet): 16 bytes each |
//! | 56, 64, 72 | own node id; term; the node that has the vote (0 for none): u64 |
//! | 80, 88 | index and last record of the last entry known to be committed: u64 |
//! | 96 | index of the entry that the members are as of: u64 |
//! | 104 | last record that stays, if there is an intent to truncate: u64 |
//! | 112 | the members, voters first, 56 bytes each: node id: u64; number, length of the address: u8; the address, 46 bytes |
//! | 4092 | CRC-32 of all before |

use byteorder::{ByteOrder, LittleEndian};

use super::identity::{CLUSTER_ID_BYTES, ClusterId};
use super::members::{Member, Membership, NodeId, ReplicaId};
use crate::base::limits::{MAX_LSN, MAX_PEER_ADDRESS_BYTES, MAX_REPLICAS};
use crate::base::vocab::Lsn;
use crate::store::journal::Identity;

/// Bytes of a slot: whole sectors of any disk, so that no write of one slot touches the other.
pub const SLOT_BYTES: usize = 4096;

const MAGIC: &[u8; 8] = b"VLTRAFT\n";
const VERSION: u32 = 1;

const AT_VERSION: usize = 8;
const AT_INTENT: usize = 12;
const AT_VOTERS: usize = 13;
const AT_LEARNERS: usize = 14;
const AT_REPLICA: usize = 15;
const AT_GENERATION: usize = 16;
const AT_IDENTITY: usize = 24;
const AT_CLUSTER: usize = 40;
const AT_NODE: usize = 56;
const AT_TERM: usize = 64;
const AT_VOTE: usize = 72;
const AT_COMMIT_INDEX: usize = 80;
const AT_COMMIT_LSN: usize = 88;
const AT_MEMBERS_INDEX: usize = 96;
const AT_KEEP: usize = 104;
const AT_MEMBERS: usize = 112;
const AT_CRC: usize = SLOT_BYTES - 4;

const TRUNCATE: u8 = 1;
const INSTALL: u8 = 2;

const MEMBER_BYTES: usize = 10 + MAX_PEER_ADDRESS_BYTES;
/// Voters and learners, each as many as there can be.
const MOST_MEMBERS: usize = 2 * MAX_REPLICAS as usize;

const _: () = {
    assert!(AT_CLUSTER + CLUSTER_ID_BYTES == AT_NODE && MEMBER_BYTES == 56, "as documented");
    assert!(AT_MEMBERS + MOST_MEMBERS * MEMBER_BYTES <= AT_CRC);
};

/// What a member promised and must not forget.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// The cluster that it belongs to; `None` where it has not joined one yet.
    pub cluster: Option<ClusterId>,
    /// Its own identity, drawn with its data directory.
    pub node: NodeId,
    /// Its own number.
    pub replica: ReplicaId,
    /// The raft term.
    pub term: u64,
    /// For whom it voted in that term.
    pub vote: Option<NodeId>,
    /// An entry that is committed and on this disk; it may lag.
    pub commit: Commit,
    /// Who is a member, as of entry `membership_index`.
    pub membership: Membership,
    /// See [`State::membership`]; 0 for those that the cluster was founded with.
    pub membership_index: u64,
    /// The intent to truncate: the last record that stays, never below what is committed.
    pub keep: Option<Lsn>,
    /// The intent to install: what another member sent, in `DATA/incoming`, takes the place of journal and snapshots; `commit` is its end.
    /// Never together with the intent to truncate.
    pub install: bool,
}

/// An entry that is committed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Commit {
    /// Its raft index; 0 for none.
    pub index: u64,
    /// Its last record; without an entry, the last record of before the cluster was founded.
    pub lsn: Lsn,
}

/// Why a slot is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SlotError {
    /// The file ends before it does.
    #[error("the file ends within it")]
    Short,
    /// Nothing was written there yet.
    #[error("it is empty")]
    Empty,
    /// It is something else.
    #[error("it is not what this program writes there")]
    Magic,
    /// The checksum is wrong.
    #[error("its checksum is wrong")]
    Crc,
    /// Of a version that this program does not know.
    #[error("it is of version {0}, and this program knows version {VERSION}")]
    Version(u32),
    /// Of another data directory.
    #[error("it belongs to another data directory")]
    Identity,
    /// A field says what cannot be.
    #[error("its checksum is right, but its {0} cannot be")]
    Senseless(&'static str),
}

impl State {
    /// The state of a node that has not joined a cluster yet.
    #[must_use]
    pub fn fresh(node: NodeId, replica: ReplicaId) -> State {
        State {
            cluster: None,
            node,
            replica,
            term: 0,
            vote: None,
            commit: Commit::default(),
            membership: Membership::default(),
            membership_index: 0,
            keep: None,
            install: false,
        }
    }

    /// Checks the fields against each other; names the one that cannot be.
    ///
    /// # Errors
    /// [`SlotError::Senseless`].
    pub fn check(&self) -> Result<(), SlotError> {
        let Membership { voters, learners } = &self.membership;
        let most = usize::from(MAX_REPLICAS);
        let members: Vec<_> = self.membership.all().collect();
        let addresses = members.iter().map(|member| member.address.as_str());
        let is_twice = |at: usize| members[..at].iter().any(|member| member.node == members[at].node);
        let founded = self.cluster.is_some();
        let promised = self.term > 0 || self.vote.is_some() || self.commit.index > 0 || !members.is_empty();
        let checks = [
            (voters.len() <= most && learners.len() <= most, "number of members"),
            (addresses.into_iter().all(is_address), "address of a member"),
            (!(0..members.len()).any(is_twice), "second member of one identity"),
            (founded || !promised, "promise to no cluster"),
            (self.term > 0 || self.vote.is_none(), "vote in no term"),
            (self.commit.index <= MAX_LSN && self.commit.lsn.0 <= MAX_LSN, "commit"),
            (self.commit.index == 0 || (self.commit.lsn.0 > 0 && self.term > 0), "commit"),
            (self.membership_index <= MAX_LSN, "index of the members"),
            (self.keep.is_none_or(|keep| self.commit.lsn <= keep && keep.0 <= MAX_LSN), "intent to truncate"),
            (!self.install || (self.keep.is_none() && self.commit.index > 0), "intent to install"),
        ];
        checks.into_iter().find(|&(holds, _)| !holds).map_or(Ok(()), |(_, what)| Err(SlotError::Senseless(what)))
    }

    /// The slot of this state, which must [check](State::check), as write number `generation` of the data directory `identity`.
    #[must_use]
    pub fn encode(&self, identity: &Identity, generation: u64) -> [u8; SLOT_BYTES] {
        debug_assert_eq!(self.check(), Ok(()));
        let mut slot = [0; SLOT_BYTES];
        slot[..AT_VERSION].copy_from_slice(MAGIC);
        LittleEndian::write_u32(&mut slot[AT_VERSION..], VERSION);
        slot[AT_INTENT] = if self.keep.is_some() { TRUNCATE } else { 0 } | if self.install { INSTALL } else { 0 };
        slot[AT_VOTERS] = u8::try_from(self.membership.voters.len()).unwrap_or(u8::MAX);
        slot[AT_LEARNERS] = u8::try_from(self.membership.learners.len()).unwrap_or(u8::MAX);
        slot[AT_REPLICA] = self.replica.number();
        slot[AT_IDENTITY..AT_CLUSTER].copy_from_slice(identity);
        if let Some(cluster) = &self.cluster {
            slot[AT_CLUSTER..AT_NODE].copy_from_slice(cluster.bytes());
        }
        for (at, word) in [
            (AT_GENERATION, generation),
            (AT_NODE, self.node.number()),
            (AT_TERM, self.term),
            (AT_VOTE, self.vote.map_or(0, NodeId::number)),
            (AT_COMMIT_INDEX, self.commit.index),
            (AT_COMMIT_LSN, self.commit.lsn.0),
            (AT_MEMBERS_INDEX, self.membership_index),
            (AT_KEEP, self.keep.unwrap_or_default().0),
        ] {
            LittleEndian::write_u64(&mut slot[at..], word);
        }
        for (bytes, member) in
            slot[AT_MEMBERS..].chunks_exact_mut(MEMBER_BYTES).take(MOST_MEMBERS).zip(self.membership.all())
        {
            let address = member.address.as_bytes();
            LittleEndian::write_u64(bytes, member.node.number());
            bytes[8] = member.replica.number();
            bytes[9] = u8::try_from(address.len()).unwrap_or(u8::MAX);
            bytes[10..10 + address.len()].copy_from_slice(address);
        }
        let crc = crc32fast::hash(&slot[..AT_CRC]);
        LittleEndian::write_u32(&mut slot[AT_CRC..], crc);
        slot
    }

    /// Reads a slot of the data directory `identity`; gives its generation and its state.
    ///
    /// # Errors
    /// [`SlotError`].
    pub fn decode(identity: &Identity, slot: &[u8]) -> Result<(u64, State), SlotError> {
        let slot: &[u8; SLOT_BYTES] = slot.first_chunk().ok_or(SlotError::Short)?;
        if *slot == [0; SLOT_BYTES] {
            return Err(SlotError::Empty);
        }
        if &slot[..AT_VERSION] != MAGIC {
            return Err(SlotError::Magic);
        }
        if LittleEndian::read_u32(&slot[AT_CRC..]) != crc32fast::hash(&slot[..AT_CRC]) {
            return Err(SlotError::Crc);
        }
        let version = LittleEndian::read_u32(&slot[AT_VERSION..]);
        if version != VERSION {
            return Err(SlotError::Version(version));
        }
        if slot[AT_IDENTITY..AT_CLUSTER] != *identity {
            return Err(SlotError::Identity);
        }
        let state = Self::from_fields(slot)?;
        let generation = LittleEndian::read_u64(&slot[AT_GENERATION..]);
        // Whatever else stands there, this program did not write.
        if generation == 0 || state.encode(identity, generation) != *slot {
            return Err(SlotError::Senseless("unused bytes"));
        }
        Ok((generation, state))
    }

    fn from_fields(slot: &[u8; SLOT_BYTES]) -> Result<State, SlotError> {
        let word = |at: usize| LittleEndian::read_u64(&slot[at..]);
        let (voters, learners) = (usize::from(slot[AT_VOTERS]), usize::from(slot[AT_LEARNERS]));
        if voters + learners > MOST_MEMBERS {
            return Err(SlotError::Senseless("number of members"));
        }
        let mut members = Vec::new();
        for bytes in slot[AT_MEMBERS..].chunks_exact(MEMBER_BYTES).take(voters + learners) {
            members.push(member_of(bytes)?);
        }
        let mut cluster = [0; CLUSTER_ID_BYTES];
        cluster.copy_from_slice(&slot[AT_CLUSTER..AT_NODE]);
        let learners = members.split_off(voters);
        let state = State {
            cluster: ClusterId::new(cluster),
            node: NodeId::new(word(AT_NODE)).ok_or(SlotError::Senseless("node id"))?,
            replica: ReplicaId::new(slot[AT_REPLICA]).ok_or(SlotError::Senseless("number"))?,
            term: word(AT_TERM),
            vote: NodeId::new(word(AT_VOTE)),
            commit: Commit { index: word(AT_COMMIT_INDEX), lsn: Lsn(word(AT_COMMIT_LSN)) },
            membership: Membership { voters: members, learners },
            membership_index: word(AT_MEMBERS_INDEX),
            keep: (slot[AT_INTENT] & TRUNCATE != 0).then_some(Lsn(word(AT_KEEP))),
            install: slot[AT_INTENT] & INSTALL != 0,
        };
        state.check()?;
        Ok(state)
    }
}

/// Whether a text can be the address of a member.
fn is_address(text: &str) -> bool {
    (1..=MAX_PEER_ADDRESS_BYTES).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn member_of(bytes: &[u8]) -> Result<Member, SlotError> {
    let node = NodeId::new(LittleEndian::read_u64(bytes)).ok_or(SlotError::Senseless("node id of a member"))?;
    let replica = ReplicaId::new(bytes[8]).ok_or(SlotError::Senseless("number of a member"))?;
    let address = bytes.get(10..10 + usize::from(bytes[9])).and_then(|text| std::str::from_utf8(text).ok());
    let address = address.ok_or(SlotError::Senseless("address of a member"))?.to_owned();
    Ok(Member { replica, node, address })
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
