use super::*;
use crate::process::replica::peers::wire::samples::{cluster, identity, membership, node, replica};

/// What a peer has said, in a letter: `-` nothing, `f` that it is fresh, `A` or `B` that it is a member of cluster A or B.
fn said(number: u8, letter: char) -> Option<Identity> {
    let of = |cluster| Some(Identity { cluster, ..identity(number) });
    match letter {
        '-' => None,
        'f' => of(None),
        'A' => of(Some(cluster(0xA))),
        _ => of(Some(cluster(0xB))),
    }
}

fn decided(own: u8, is_member: bool, others: &[(u8, char)]) -> Founding {
    let own = Identity { cluster: is_member.then(|| cluster(0xA)), ..identity(own) };
    let said: Vec<_> = others.iter().map(|&(number, letter)| (replica(number), said(number, letter))).collect();
    let heard: Vec<_> =
        said.iter().map(|(replica, greeting)| Heard { replica: *replica, greeting: greeting.as_ref() }).collect();
    decide(&own, &heard)
}

/// Own number, own membership, what the two others have said, and what is decided, all in full.
#[test]
fn the_table_over_all_inputs() {
    for own in 1..=3 {
        let others: Vec<u8> = (1..=3).filter(|&number| number != own).collect();
        for is_member in [false, true] {
            for first in "-fAB".chars() {
                for second in "-fAB".chars() {
                    let decision = decided(own, is_member, &[(others[0], first), (others[1], second)]);
                    let silent = |letters: [char; 2]| {
                        let silent = others.iter().zip(letters).filter(|(_, letter)| *letter == '-');
                        Founding::AwaitPeers(silent.map(|(&number, _)| replica(number)).collect())
                    };
                    let wanted = match (is_member, first, second) {
                        (true, ..) => Founding::IsMember,
                        (_, 'A', 'B') | (_, 'B', 'A') => Founding::Contradiction,
                        (_, 'A', _) | (_, _, 'A') => Founding::Join(cluster(0xA)),
                        (_, 'B', _) | (_, _, 'B') => Founding::Join(cluster(0xB)),
                        (_, '-', _) | (_, _, '-') => silent([first, second]),
                        _ if own == 1 => Founding::Found(Membership {
                            voters: (1..=3)
                                .map(|number| Member {
                                    replica: replica(number),
                                    node: node(number.into()),
                                    address: format!("10.0.0.{number}:7000"),
                                })
                                .collect(),
                            learners: vec![],
                        }),
                        _ => Founding::AwaitFounder(replica(1)),
                    };
                    assert_eq!(decision, wanted, "{own} {is_member} {first}{second}");
                }
            }
        }
    }
}

#[test]
fn one_alone_founds_at_once() {
    let Founding::Found(members) = decided(3, false, &[]) else { panic!() };
    assert_eq!(members.voters.iter().map(|voter| voter.replica.number()).collect::<Vec<_>>(), [3]);
}

#[test]
fn nobody_founds_where_configurations_contradict_each_other() {
    let (two, three) = (identity(2), identity(3));
    let same_number = Identity { replica: replica(2), ..three.clone() };
    let same_node = Identity { node: two.node, ..three };
    for twin in [same_number, same_node] {
        let heard =
            [Heard { replica: replica(2), greeting: Some(&two) }, Heard { replica: replica(3), greeting: Some(&twin) }];
        assert_eq!(decide(&identity(1), &heard), Founding::Contradiction);
    }
    let own = Identity { node: node(99), ..identity(1) };
    let heard = [Heard { replica: replica(2), greeting: Some(&identity(1)) }];
    assert_eq!(decide(&own, &heard), Founding::Contradiction, "another one has this node's number");
}

#[test]
fn only_who_is_named_by_node_and_number_takes_it_over() {
    let found = Found { cluster: cluster(0xA), members: membership() };
    let of = |own: Identity| accept_found(&own, &found);
    for number in 1..=3 {
        assert_eq!(of(identity(number)), Ok(()), "voters and learners");
    }
    assert_eq!(of(identity(4)), Err(FoundError::NotNamed(node(4))));
    let emptied = Identity { node: node(99), ..identity(2) };
    assert_eq!(of(emptied), Err(FoundError::NotNamed(node(99))), "it is never taken for the one that it was");
    let moved = Identity { replica: replica(5), ..identity(2) };
    assert_eq!(of(moved), Err(FoundError::OtherReplica { ours: replica(5), theirs: replica(2) }));
    assert_eq!(of(Identity { cluster: Some(cluster(0xA)), ..identity(2) }), Err(FoundError::Known));
    let (ours, theirs) = (cluster(0xB), cluster(0xA));
    let refused = of(Identity { cluster: Some(ours), ..identity(2) });
    assert_eq!(refused, Err(FoundError::OtherCluster { ours, theirs }));
}

#[test]
fn the_one_with_operations_founds_and_votes_alone() {
    let said = |number: u8, operations: u64| Identity { operations: Lsn(operations), ..identity(number) };
    let decided = |own: u8, with: [u64; 3]| {
        let all: Vec<_> = (1..=3).zip(with).map(|(number, operations)| said(number, operations)).collect();
        let others = all.iter().filter(|other| other.replica != replica(own));
        let heard: Vec<_> = others.map(|other| Heard { replica: other.replica, greeting: Some(other) }).collect();
        decide(&all[usize::from(own) - 1], &heard)
    };
    let numbers = |members: &[Member]| members.iter().map(|member| member.replica.number()).collect::<Vec<_>>();
    for own in 1..=3 {
        for holder in 1..=3_u8 {
            let mut with = [0; 3];
            with[usize::from(holder) - 1] = 7;
            match decided(own, with) {
                Founding::Found(Membership { voters, learners }) => {
                    let others: Vec<_> = (1..=3).filter(|&number| number != holder).collect();
                    assert_eq!((own, numbers(&voters), numbers(&learners)), (holder, vec![holder], others));
                }
                other => assert_eq!((own == holder, other), (false, Founding::AwaitFounder(replica(holder)))),
            }
        }
        let several = Founding::SeveralHaveBooks(vec![(replica(1), Lsn(5)), (replica(3), Lsn(7))]);
        assert_eq!(decided(own, [5, 0, 7]), several, "whoever looks");
        assert!(!matches!(decided(own, [0, 0, 0]), Founding::SeveralHaveBooks(_)));
    }
    // Alone, with operations.
    let Founding::Found(members) = decide(&said(3, 9), &[]) else { panic!() };
    assert_eq!((numbers(&members.voters), members.learners.len()), (vec![3], 0));
}
