use super::*;
use crate::process::replica::peers::wire::samples::{cluster, identity, membership, message, node, replica};
use crate::process::replica::peers::wire::{HEADER_BYTES, Header, samples};
use crate::store::cluster::NodeId;

fn secret(digit: char) -> Secret {
    Secret::parse(digit.to_string().repeat(64).as_bytes()).unwrap()
}

fn begin(role: Role, number: u8, nonce: u8) -> Handshake {
    Handshake::begin(role, &identity(number), [nonce; NONCE_BYTES]).unwrap()
}

fn frame(bytes: &[u8]) -> Frame {
    let header = Header::decode(bytes.first_chunk::<HEADER_BYTES>().unwrap()).unwrap();
    Frame::decode(&header, bytes).unwrap()
}

fn take(who: &mut Handshake, bytes: &[u8], secret: &Secret) -> Result<Step, Refusal> {
    who.take(frame(bytes), bytes, secret)
}

/// The proof that `who` sends when it gets that greeting.
fn proof(who: &mut Handshake, greeting: &[u8], secret: &Secret) -> Vec<u8> {
    match take(who, greeting, secret) {
        Ok(Step::Prove(proof)) => proof,
        other => panic!("{other:?}"),
    }
}

#[test]
fn two_that_share_the_secret_accept_each_other() {
    let (mut one, mut two) = (begin(Role::Dialler, 1, 1), begin(Role::Accepter, 2, 2));
    let shared = secret('a');
    let (of_one, of_two) = (one.greeting().to_vec(), two.greeting().to_vec());
    assert!(!one.has_heard());
    let (proof_1, proof_2) = (proof(&mut one, &of_two, &shared), proof(&mut two, &of_one, &shared));
    assert!(one.has_heard());
    assert_eq!(take(&mut one, &proof_2, &shared).unwrap(), Step::Proved(identity(2)));
    assert_eq!(take(&mut two, &proof_1, &shared).unwrap(), Step::Proved(identity(1)));
}

/// HMAC-SHA256 over the role and both frames, computed from its definition (RFC 2104).
#[test]
fn a_proof_is_what_is_documented() {
    use sha2::{Digest, Sha256};
    let (mut one, two) = (begin(Role::Dialler, 1, 1), begin(Role::Accepter, 2, 2));
    let of_one = one.greeting().to_vec();
    let sent = proof(&mut one, two.greeting(), &secret('a'));
    let mut key = [0; 64];
    key[..32].fill(0xAA);
    let padded = |with: u8| key.map(|byte| byte ^ with).to_vec();
    let inner = Sha256::digest([padded(0x36), vec![1], of_one, two.greeting().to_vec()].concat());
    let outer = Sha256::digest([padded(0x5C), inner.to_vec()].concat());
    assert_eq!(sent[HEADER_BYTES..], outer[..]);
}

/// Whoever left the check of proofs out would accept all of these.
#[test]
fn another_secret_a_replay_and_a_reflection_fail() {
    let shared = secret('a');
    let (mut one, mut two) = (begin(Role::Dialler, 1, 1), begin(Role::Accepter, 2, 2));
    let (of_one, of_two) = (one.greeting().to_vec(), two.greeting().to_vec());
    let (proof_1, proof_2) = (proof(&mut one, &of_two, &shared), proof(&mut two, &of_one, &shared));

    // Another secret.
    let mut stranger = begin(Role::Dialler, 1, 1);
    let wrong = proof(&mut stranger, &of_two, &secret('b'));
    assert!(matches!(take(&mut two, &wrong, &shared), Err(Refusal::Secret)));

    // What was recorded on one connection, sent on a second one, where the number is another.
    let mut again = begin(Role::Accepter, 2, 3);
    proof(&mut again, &of_one, &shared);
    assert!(matches!(take(&mut again, &proof_1, &shared), Err(Refusal::Secret)));

    // One's own greeting, and one's own proof, sent back.
    let mut mirror = begin(Role::Accepter, 2, 2);
    assert!(matches!(take(&mut mirror, &of_two, &shared), Err(Refusal::Myself)));
    assert!(matches!(take(&mut two, &proof_2, &shared), Err(Refusal::Secret)), "its role is the other side's");

    // A proof that two accepters, or two diallers, would make.
    let (mut left, mut right) = (begin(Role::Accepter, 1, 1), begin(Role::Accepter, 2, 2));
    let (of_left, of_right) = (left.greeting().to_vec(), right.greeting().to_vec());
    proof(&mut right, &of_left, &shared);
    let made = proof(&mut left, &of_right, &shared);
    assert!(matches!(take(&mut right, &made, &shared), Err(Refusal::Secret)));

    // Any bit of the proof, and what was said being changed on its way.
    let Frame::Proof(right) = frame(&proof_1) else { panic!("{proof_1:?}") };
    for bit in 0..8 * PROOF_BYTES {
        let mut wrong = right;
        wrong[bit / 8] ^= 1 << (bit % 8);
        assert!(matches!(two.take(Frame::Proof(wrong), &[], &shared), Err(Refusal::Secret)));
    }
    let mut richer = begin(Role::Accepter, 2, 2);
    let claimed = Identity { accounts: 20_000, ..identity(1) };
    let greeting = Greeting { identity: claimed, nonce: [1; NONCE_BYTES] }.encode().unwrap();
    proof(&mut richer, &greeting, &shared);
    assert!(matches!(take(&mut richer, &proof_1, &shared), Err(Refusal::Secret)));
    assert_eq!(take(&mut two, &proof_1, &shared).unwrap(), Step::Proved(identity(1)), "the right one is right still");
}

#[test]
fn what_is_not_to_come_now_is_refused() {
    let shared = secret('a');
    let other = begin(Role::Accepter, 2, 2);
    let mut one = begin(Role::Dialler, 1, 1);
    let early = one.take(Frame::Proof([0; PROOF_BYTES]), &[], &shared);
    assert!(matches!(early, Err(Refusal::Garbage(WireError::Unexpected(_)))), "{early:?}");
    proof(&mut one, other.greeting(), &shared);
    let twice = take(&mut one, other.greeting(), &shared);
    assert!(matches!(twice, Err(Refusal::Garbage(WireError::Unexpected(_)))), "{twice:?}");
    let message = one.take(Frame::Message(message(0), Vec::new()), &[], &shared);
    assert!(matches!(message, Err(Refusal::Garbage(WireError::Unexpected(_)))), "{message:?}");
    assert!(matches!(refusal_of(WireError::Version(7)), Refusal::Version { theirs: 7, ours: 3 }));
    assert!(matches!(refusal_of(WireError::Magic), Refusal::Garbage(WireError::Magic)));
}

fn judged(peer: Identity, expected: Option<u8>) -> Result<Option<NodeId>, String> {
    let own = Identity { cluster: Some(cluster(0xA)), ..identity(1) };
    let accepted = judge(&own, &membership(), expected.map(replica), peer);
    accepted.map(|accepted| accepted.replaces).map_err(|why| why.to_string())
}

#[test]
fn each_difference_is_refused_by_its_name() {
    let member = Identity { cluster: Some(cluster(0xA)), ..identity(2) };
    assert_eq!(judged(member.clone(), None), Ok(None));
    assert_eq!(judged(member.clone(), Some(2)), Ok(None));
    for (peer, expected, part) in [
        (Identity { cluster: Some(cluster(0xB)), ..identity(2) }, None, "member of cluster 0b0b"),
        (member.clone(), Some(3), "it is replica 2, and --peers has replica 3"),
        (Identity { accounts: 9, ..member.clone() }, None, "--accounts must be the same"),
        (Identity { opening: crate::base::vocab::Cents(9), ..member.clone() }, None, "opening balances must be"),
        (Identity { openings: 9, ..member.clone() }, None, "--opening-balances and --initial-balance must be the same"),
        (Identity { segment_records: 9, ..member.clone() }, None, "--segment-records must be the same"),
        (Identity { key_window: 9, ..member.clone() }, None, "--key-window must be the same"),
        (
            Identity { kv_blocks: 9, ..member.clone() },
            None,
            "--kv-mb must be the same on all members, and --kv-port be",
        ),
        (Identity { node: node(1), ..member.clone() }, None, "it is this instance itself"),
        (Identity { replica: replica(1), node: node(9), ..member.clone() }, None, "has --replica-id 1, too"),
    ] {
        let why = judged(peer, expected).unwrap_err();
        assert!(why.contains(part), "{why}");
    }
}

/// Who is under whose number, over all that a peer can be.
#[test]
fn a_node_that_was_replaced_is_seen() {
    let fresh = |number: u64, of: u8| Identity { node: node(number), replica: replica(of), ..identity(of) };
    let of_us = |peer: Identity| Identity { cluster: Some(cluster(0xA)), ..peer };
    assert_eq!(judged(fresh(2, 2), None), Ok(None), "a founding member that does not know it yet");
    assert_eq!(judged(fresh(99, 2), None), Ok(Some(node(2))), "it has lost its disk");
    assert_eq!(judged(of_us(fresh(99, 2)), None), Ok(Some(node(2))), "its change of membership is not known here yet");
    assert_eq!(judged(fresh(4, 4), None), Ok(None), "a new one");
    assert_eq!(judged(fresh(99, 1), None), Ok(Some(node(1))), "it is to replace this one");
    let both_fresh = judge(&identity(1), &Membership::default(), None, fresh(99, 1));
    assert!(matches!(both_fresh, Err(Refusal::SameReplica { .. })), "{both_fresh:?}");
    let mut members = membership();
    members.learners.push(samples::member(7));
    members.learners[1].replica = replica(1);
    let own = of_us(identity(1));
    let replacing = judge(&own, &members, None, of_us(fresh(7, 1))).unwrap();
    assert_eq!(replacing.replaces, Some(node(1)), "it is a member already, and this one is one still");
    assert!(!replacing.is_fresh() && judge(&own, &members, None, fresh(9, 5)).unwrap().is_fresh());
}
