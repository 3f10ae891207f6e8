//! Members and changes of membership in a body.

use super::bytes::{Reader, put_address};
use super::error::WireError;
use crate::base::limits::MAX_REPLICAS;
use crate::store::cluster::{Change, ChangeKind, Member, Membership};

const ADD_LEARNER: u8 = 1;
const PROMOTE: u8 = 2;
const REMOVE: u8 = 3;

pub(super) fn put_member(into: &mut Vec<u8>, member: &Member) -> Result<(), WireError> {
    into.push(member.replica.number());
    into.extend_from_slice(&member.node.number().to_le_bytes());
    put_address(into, &member.address)
}

pub(super) fn member(body: &mut Reader<'_>) -> Result<Member, WireError> {
    Ok(Member { replica: body.replica()?, node: body.node()?, address: body.address()? })
}

pub(super) fn put_membership(into: &mut Vec<u8>, membership: &Membership) -> Result<(), WireError> {
    check(membership)?;
    for members in [&membership.voters, &membership.learners] {
        into.push(u8::try_from(members.len()).map_err(|_| WireError::Members(members.len()))?);
    }
    membership.all().try_for_each(|member| put_member(into, member))
}

pub(super) fn membership(body: &mut Reader<'_>) -> Result<Membership, WireError> {
    let (voters, learners) = (usize::from(body.u8()?), usize::from(body.u8()?));
    check_count(voters, voters + learners)?;
    let mut some = |count| (0..count).map(|_| member(body)).collect::<Result<Vec<_>, _>>();
    let membership = Membership { voters: some(voters)?, learners: some(learners)? };
    check(&membership)?;
    Ok(membership)
}

fn check_count(voters: usize, all: usize) -> Result<(), WireError> {
    if voters == 0 || all > usize::from(MAX_REPLICAS) { Err(WireError::Members(all)) } else { Ok(()) }
}

/// One voter at least, no more members than there can be, no node twice. A number may be there twice while a node is being replaced.
fn check(membership: &Membership) -> Result<(), WireError> {
    check_count(membership.voters.len(), membership.all().count())?;
    let is_twice = |place: usize, member: &Member| membership.all().take(place).any(|other| other.node == member.node);
    let twice = membership.all().enumerate().any(|(place, member)| is_twice(place, member));
    if twice { Err(WireError::MemberTwice) } else { Ok(()) }
}

pub(super) fn put_change(into: &mut Vec<u8>, change: &Change) -> Result<(), WireError> {
    into.push(match change.kind {
        ChangeKind::AddLearner => ADD_LEARNER,
        ChangeKind::Promote => PROMOTE,
        ChangeKind::Remove => REMOVE,
    });
    put_member(into, &change.member)
}

pub(super) fn change(body: &mut Reader<'_>) -> Result<Change, WireError> {
    let kind = match body.u8()? {
        ADD_LEARNER => ChangeKind::AddLearner,
        PROMOTE => ChangeKind::Promote,
        REMOVE => ChangeKind::Remove,
        other => return Err(WireError::ChangeKind(other)),
    };
    Ok(Change { kind, member: member(body)? })
}
