use proptest::prelude::*;

use super::*;

const IDENTITY: Identity = [7; 16];

fn any_member() -> impl Strategy<Value = (u8, String)> {
    (1..=MAX_REPLICAS, "[!-~]{1,46}")
}

pub fn any_state() -> impl Strategy<Value = State> {
    let members = || prop::collection::vec(any_member(), 0..=usize::from(MAX_REPLICAS));
    let words = (1..=u64::MAX, 1..=u64::MAX, any::<u64>(), 1..=MAX_LSN, 1..=MAX_LSN / 2, 0..=MAX_LSN);
    (words, members(), members(), any::<bool>(), prop::option::of(0..=MAX_LSN / 2), 1..=MAX_REPLICAS).prop_map(
        |((node, term, vote, index, lsn, membership_index), voters, learners, founded, more, replica)| {
            let (node, replica) = (NodeId::new(node).unwrap(), ReplicaId::new(replica).unwrap());
            if !founded {
                return State { keep: more.map(Lsn), ..State::fresh(node, replica) };
            }
            let mut number = 0;
            let mut member = |(replica, address)| {
                number += 1;
                Member { replica: ReplicaId::new(replica).unwrap(), node: NodeId::new(number).unwrap(), address }
            };
            State {
                cluster: ClusterId::new([3; 16]),
                node,
                replica,
                term,
                vote: NodeId::new(vote),
                commit: Commit { index, lsn: Lsn(lsn) },
                membership: Membership {
                    voters: voters.into_iter().map(&mut member).collect(),
                    learners: learners.into_iter().map(&mut member).collect(),
                },
                membership_index,
                keep: more.map(|more| Lsn(lsn + more)),
                install: more.is_none() && vote % 2 == 1,
            }
        },
    )
}

proptest! {
    #[test]
    fn states_round_trip(state in any_state(), generation in 1..=u64::MAX) {
        let slot = state.encode(&IDENTITY, generation);
        prop_assert_eq!(State::decode(&IDENTITY, &slot), Ok((generation, state)));
        prop_assert_eq!(State::decode(&[8; 16], &slot), Err(SlotError::Identity));
    }

    /// With a checksum that is right, whatever is accepted is written as the same bytes.
    #[test]
    fn nothing_is_read_that_was_not_checked(state in any_state(), place in 8..AT_CRC, near in 0..160_usize, to in any::<u8>(), is_near in any::<bool>()) {
        let mut slot = state.encode(&IDENTITY, 5);
        slot[if is_near { near } else { place }] = to;
        let crc = crc32fast::hash(&slot[..AT_CRC]);
        LittleEndian::write_u32(&mut slot[AT_CRC..], crc);
        if let Ok((generation, other)) = State::decode(&IDENTITY, &slot) {
            prop_assert_eq!(other.encode(&IDENTITY, generation), slot);
        }
    }
}

fn founded() -> State {
    let member = |number: u8| {
        let node = NodeId::new(u64::from(number)).unwrap();
        Member { replica: ReplicaId::new(number).unwrap(), node, address: format!("127.0.0.1:{number}") }
    };
    State {
        cluster: ClusterId::new([3; 16]),
        term: 4,
        vote: NodeId::new(2),
        commit: Commit { index: 9, lsn: Lsn(100) },
        membership: Membership { voters: vec![member(1), member(2)], learners: vec![member(3)] },
        keep: Some(Lsn(100)),
        ..State::fresh(NodeId::new(1).unwrap(), ReplicaId::new(1).unwrap())
    }
}

#[test]
fn each_state_that_cannot_be_has_its_error() {
    assert_eq!(founded().check(), Ok(()));
    let wrong = |change: &dyn Fn(&mut State)| {
        let mut state = founded();
        change(&mut state);
        match state.check() {
            Err(SlotError::Senseless(what)) => what,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(wrong(&|s| s.cluster = None), "promise to no cluster");
    assert_eq!(wrong(&|s| s.term = 0), "vote in no term");
    assert_eq!(wrong(&|s| (s.term, s.vote) = (0, None)), "commit");
    assert_eq!(wrong(&|s| (s.commit.lsn, s.keep) = (Lsn(0), None)), "commit");
    assert_eq!(wrong(&|s| s.keep = Some(Lsn(99))), "intent to truncate");
    assert_eq!(wrong(&|s| s.install = true), "intent to install", "both intents");
    assert_eq!(
        wrong(&|s| (s.commit, s.keep, s.install) = (Commit::default(), None, true)),
        "intent to install",
        "up to no entry"
    );
    assert_eq!(wrong(&|s| s.membership_index = MAX_LSN + 1), "index of the members");
    assert_eq!(wrong(&|s| s.membership.learners = s.membership.voters.clone()), "second member of one identity");
    assert_eq!(wrong(&|s| s.membership.voters[0].address = String::new()), "address of a member");
    assert_eq!(wrong(&|s| s.membership.voters[0].address = "a b".to_owned()), "address of a member");
    assert_eq!(wrong(&|s| s.membership.voters = vec![s.membership.voters[0].clone(); 8]), "number of members");
}

#[test]
fn every_flipped_bit_and_every_cut_is_seen() {
    let slot = founded().encode(&IDENTITY, 5);
    let mut wrong = slot;
    for bit in 0..SLOT_BYTES * 8 {
        wrong[bit / 8] ^= 1 << (bit % 8);
        assert!(State::decode(&IDENTITY, &wrong).is_err(), "bit {bit}");
        wrong[bit / 8] ^= 1 << (bit % 8);
    }
    assert_eq!(State::decode(&IDENTITY, &slot[..SLOT_BYTES - 1]), Err(SlotError::Short));
    assert_eq!(State::decode(&IDENTITY, &[0; SLOT_BYTES]), Err(SlotError::Empty));
    wrong[AT_VERSION] = 2;
    let crc = crc32fast::hash(&wrong[..AT_CRC]);
    LittleEndian::write_u32(&mut wrong[AT_CRC..], crc);
    assert_eq!(State::decode(&IDENTITY, &wrong), Err(SlotError::Version(2)));
}

#[test]
fn a_program_that_knows_no_installation_does_not_read_its_intent_as_nothing() {
    let state = State { keep: None, install: true, ..founded() };
    let slot = state.encode(&IDENTITY, 5);
    assert_eq!(slot[AT_INTENT], INSTALL);
    assert_eq!(State::decode(&IDENTITY, &slot), Ok((5, state)));
    // It took any intent for one to truncate, and refuses one below what is committed.
    assert_eq!(State { keep: Some(Lsn(0)), ..founded() }.check(), Err(SlotError::Senseless("intent to truncate")));
}
