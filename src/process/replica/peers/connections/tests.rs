//! Peers that are what they should be.

use std::net::TcpListener;
use std::time::Duration;

use super::test_support::{Clock, Node, Other, heartbeat, secret, turn, until};
use crate::base::limits::{MAX_PEERS_CONNECTED, MAX_SNAPSHOT_CHUNK_BYTES, PEER_QUEUE_MESSAGES};
use crate::base::vocab::Lsn;
use crate::process::replica::message::{EntryKind, EntryRange, Message, MessageKind};
use crate::process::replica::peers::event::PeerEvent;
use crate::process::replica::peers::refusal::{Closed, Dropped, Refusal};
use crate::process::replica::peers::settings::Identity;
use crate::process::replica::peers::wire::{Found, Frame, SnapshotFrame, samples};
use crate::store::cluster::peer_counts::Drops;

/// Two nodes that know each other's address and are connected.
fn pair(clock: &Clock) -> (Node, Node) {
    let (mut one, mut two) = (Node::new(1), Node::new(2));
    one.dials(&[(2, two.address)]);
    two.dials(&[(1, one.address)]);
    settle(&mut [&mut one, &mut two], clock);
    (one, two)
}

/// Until each has one connection to each other, and nobody has a reason to change that.
fn settle(nodes: &mut [&mut Node], clock: &Clock) {
    let others = nodes.len() - 1;
    until(nodes, clock, |nodes| {
        nodes.iter().all(|node| node.peers.connected().count() == others && node.links() == others)
    });
}

/// An append of one entry with records `first` to `last`.
fn append(from: u8, to: u8, context: u64, first: u64, last: u64) -> Message {
    let entry = EntryRange { index: 5, term: 9, first: Lsn(first), last: Lsn(last), kind: EntryKind::Operations };
    Message { kind: MessageKind::Append, entries: vec![entry], ..heartbeat(from, to, context) }
}

#[test]
fn three_find_each_other_and_talk() {
    let clock = Clock::new();
    let mut nodes = [Node::new(1), Node::new(2), Node::new(3)];
    let addresses: Vec<_> = (1..).zip(&nodes).map(|(number, node)| (number, node.address)).collect();
    nodes.iter_mut().for_each(|node| node.dials(&addresses));
    let [one, two, three] = &mut nodes;
    settle(&mut [one, two, three], &clock);
    let greeted = |node: &Node| {
        node.events
            .iter()
            .any(|event| matches!(event, PeerEvent::Connected(accepted) if accepted.peer == samples::identity(2)))
    };
    assert!(
        greeted(one) && greeted(three) && one.events.iter().all(|event| !matches!(event, PeerEvent::Message { .. }))
    );

    one.peers.send(&append(1, 2, 11, 100, 8_099)).unwrap();
    two.peers.send(&heartbeat(2, 1, 21)).unwrap();
    three.peers.send(&append(3, 2, 31, 7, 7)).unwrap();
    until(&mut [one, two, three], &clock, |nodes| nodes[0].heard() == [21] && nodes[1].heard().len() == 2);
    let records = two.events.iter().find_map(|event| match event {
        PeerEvent::Message { message, records } if message.context == 11 => Some((message, records)),
        _ => None,
    });
    assert_eq!(records.unwrap(), (&append(1, 2, 11, 100, 8_099), &samples::records(100..=8_099)));
    assert_eq!(one.peers.counters().dropped, Default::default());
}

#[test]
fn of_two_connections_that_are_made_at_once_one_is_kept_and_the_same_on_both_sides() {
    let (mut doubled, mut clock) = (0, Clock::new());
    for round in 0..40 {
        let (mut one, mut two) = (Node::new(1), Node::new(2));
        one.dials(&[(2, two.address)]);
        two.dials(&[(1, one.address)]);
        // Some rounds begin with a turn of one of them alone.
        (0..round % 3).for_each(|_| turn(&mut [&mut one], &clock));
        settle(&mut [&mut one, &mut two], &clock);
        doubled += one.peers.counters().closed.replaced + two.peers.counters().closed.replaced;
        one.peers.send(&heartbeat(1, 2, 1)).unwrap();
        until(&mut [&mut one, &mut two], &clock, |nodes| nodes[1].heard() == [1]);
        // It stays so.
        clock.skip(Duration::from_secs(5));
        (0..5).for_each(|_| turn(&mut [&mut one, &mut two], &clock));
        assert_eq!((one.links(), two.links()), (1, 1));
    }
    assert!(doubled > 10, "they have met {doubled} times only");
}

#[test]
fn one_side_that_dials_is_enough_and_it_dials_again() {
    let mut clock = Clock::new();
    let (mut one, mut two) = (Node::new(1), Node::new(2));
    one.dials(&[(2, two.address)]);
    settle(&mut [&mut one, &mut two], &clock);
    assert!(matches!(one.peers.send(&heartbeat(1, 3, 0)), Err(Dropped::Unconnected)));

    // It ends and is not there for a while.
    let address = two.address;
    drop(two);
    until(&mut [&mut one], &clock, |nodes| nodes[0].peers.counters().closed.peer == 1);
    until(&mut [&mut one], &clock, |nodes| nodes[0].peers.counters().refused.unreachable >= 2);
    let dialled = one.peers.counters().traffic.dialled;
    (0..3).for_each(|_| turn(&mut [&mut one], &clock));
    assert!(one.peers.counters().traffic.dialled <= dialled + 1, "it does not hurry");
    assert!(matches!(
        one.events.iter().find(|event| matches!(event, PeerEvent::Disconnected { .. })),
        Some(PeerEvent::Disconnected { why: Closed::Peer, .. })
    ));

    // It comes back, on the same address and with an empty disk.
    clock.skip(Duration::from_secs(1));
    let identity = Identity { node: samples::node(99), ..samples::identity(2) };
    one.peers.set_members(samples::membership());
    let mut again = Node::on(TcpListener::bind(address).unwrap(), identity);
    settle(&mut [&mut one, &mut again], &clock);
    let Some(PeerEvent::Connected(accepted)) = one.events.last() else { panic!("{:?}", one.events) };
    assert_eq!((accepted.replaces, accepted.is_fresh()), (Some(samples::node(2)), true));
    one.peers.disconnect(samples::node(99));
    assert_eq!(one.peers.connected().count(), 0);
    settle(&mut [&mut one, &mut again], &clock);
    assert_eq!(one.peers.counters().closed.own, 1);
}

#[test]
fn who_answers_at_a_peers_address_must_be_that_peer() {
    let clock = Clock::new();
    let (mut one, mut three) = (Node::new(1), Node::new(3));
    one.dials(&[(2, three.address)]);
    until(&mut [&mut one, &mut three], &clock, |nodes| nodes[0].peers.counters().refused.other_replica > 0);
    let refused = one.events.iter().find_map(|event| match event {
        PeerEvent::Refused { replica, place, why: Refusal::OtherReplica { .. } } => Some((*replica, place.clone())),
        _ => None,
    });
    assert_eq!(refused, Some((Some(samples::replica(2)), three.address.to_string())));
    // Its own address under another's number.
    let mut own = Node::new(1);
    own.dials(&[(2, own.address)]);
    until(&mut [&mut own], &clock, |nodes| nodes[0].peers.counters().refused.myself >= 2);
    assert!(own.told().iter().any(|why| why == "it is this instance itself; correct --peers"), "{:?}", own.told());
}

#[test]
fn a_long_append_arrives_as_several_and_a_heartbeat_does_not_wait_behind_them() {
    let clock = Clock::new();
    let (mut one, mut two) = pair(&clock);
    let entry = |index: u64, first: u64| EntryRange {
        index,
        first: Lsn(first),
        last: Lsn(first + 7_999),
        term: 9,
        kind: EntryKind::Operations,
    };
    let long = Message { entries: vec![entry(5, 1), entry(6, 8_001), entry(7, 16_001)], ..append(1, 2, 1, 1, 1) };
    one.peers.send(&long).unwrap();
    one.peers.send(&heartbeat(1, 2, 2)).unwrap();
    until(&mut [&mut one, &mut two], &clock, |nodes| nodes[1].heard().len() == 4);
    assert_eq!(two.heard(), [2, 1, 1, 1]);
    let mut appended = two.events.iter().filter_map(|event| match event {
        PeerEvent::Message { message, records } if message.context == 1 => Some((message, records)),
        _ => None,
    });
    for place in 0..3 {
        let (message, records) = appended.next().unwrap();
        assert_eq!(message.entries, long.entries[place..=place]);
        assert_eq!(message.index, 4 + place as u64);
        let first = message.entries[0].first.0;
        assert_eq!(*records, samples::records(first..=first + 7_999));
    }
}

#[test]
fn a_message_whose_entries_have_changed_is_dropped_and_the_next_is_sent() {
    let clock = Clock::new();
    let (mut one, mut two) = pair(&clock);
    one.log.has_changed.set(true);
    one.peers.send(&append(1, 2, 1, 1, 100)).unwrap();
    one.peers.flush(clock.now_ns(), &one.log);
    one.log.has_changed.set(false);
    one.peers.send(&append(1, 2, 2, 1, 100)).unwrap();
    until(&mut [&mut one, &mut two], &clock, |nodes| nodes[1].heard() == [2]);
    assert_eq!(one.peers.counters().dropped.changed, 1);
    assert!(matches!(one.peers.send(&append(1, 2, 3, 2, 1)), Err(Dropped::Unencodable)));
    assert_eq!(one.peers.counters().dropped.unencodable, 1);
}

/// A peer that reads nothing costs what the socket takes, one message's records, and the heads of those that wait.
#[test]
fn memory_is_bounded_however_little_a_peer_reads() {
    const MESSAGES: u64 = 500;
    let clock = Clock::new();
    let mut one = Node::new(1);
    let other = Other::join(&mut one, &clock, &samples::identity(2), secret());
    let mut sent = Vec::new();
    for context in 0..MESSAGES {
        sent.push(one.peers.send(&append(1, 2, context, 1, 800)));
        one.peers.flush(clock.now_ns(), &one.log);
        turn(&mut [&mut one], &clock);
    }
    let dropped = sent.iter().filter(|sent| matches!(sent, Err(Dropped::Messages))).count();
    assert_eq!(one.peers.counters().dropped, Drops { messages: dropped as u64, ..Drops::default() });
    assert!(dropped > 50, "{dropped} were dropped");
    // Only those that have gone to the socket were read, and the one that goes now.
    let read = usize::try_from(one.log.reads.get()).unwrap();
    let all = usize::try_from(MESSAGES).unwrap();
    assert_eq!(read, all - dropped - PEER_QUEUE_MESSAGES, "{dropped} dropped");

    // When it reads again, it gets what waited, whole and in order.
    let mut appends = Vec::new();
    until(&mut [&mut one], &clock, |_| {
        while let Some(frame) = other.frame() {
            match frame {
                Frame::Message(message, records) => {
                    assert_eq!(records.len(), 800);
                    appends.push(message.context);
                }
                Frame::Proof(_) => {}
                other => panic!("{other:?}"),
            }
        }
        appends.len() == all - dropped
    });
    assert!(appends.is_sorted(), "{appends:?}");
    assert_eq!(one.peers.counters().traffic.frames_out, 2 + appends.len() as u64);

    // Messages of many entries are large without their records.
    let entry = |index: u64| EntryRange { index, ..append(1, 2, 0, index, index).entries.remove(0) };
    let long = Message { entries: (5..1005).map(entry).collect(), ..append(1, 2, 0, 1, 1) };
    let refused = (1..).find_map(|count| one.peers.send(&long).err().map(|why| (count, why)));
    assert!(matches!(refused, Some((count, Dropped::Bytes)) if count > 10), "{refused:?}");
    assert_eq!(one.peers.counters().dropped.bytes, 1);
}

#[test]
fn a_snapshot_goes_at_the_pace_of_the_socket() {
    let clock = Clock::new();
    let (mut one, mut two) = pair(&clock);
    let to = samples::node(2);
    let begin = SnapshotFrame::Begin { snapshot: samples::snapshot_ref(), bytes: 40 * MAX_SNAPSHOT_CHUNK_BYTES as u64 };
    let chunk = |number: usize| SnapshotFrame::Chunk {
        offset: (number * MAX_SNAPSHOT_CHUNK_BYTES) as u64,
        bytes: vec![u8::try_from(number).unwrap(); MAX_SNAPSHOT_CHUNK_BYTES],
    };
    let mut all: Vec<_> =
        [begin].into_iter().chain((0..40).map(chunk)).chain([SnapshotFrame::End { index: 77 }]).collect();
    all.reverse();
    let wanted: Vec<_> = all.iter().rev().cloned().collect();
    let mut refused = 0;
    let begun = std::time::Instant::now();
    while two.events.iter().filter(|event| matches!(event, PeerEvent::Snapshot { .. })).count() < wanted.len() {
        assert!(begun.elapsed() < Duration::from_secs(20));
        while one.peers.has_snapshot_room(to)
            && let Some(frame) = all.pop()
        {
            one.peers.send_snapshot(to, &frame).unwrap();
            one.peers.flush(clock.now_ns(), &one.log);
        }
        if let Some(frame) = all.last() {
            refused += u64::from(one.peers.send_snapshot(to, frame).is_err());
        }
        turn(&mut [&mut one, &mut two], &clock);
    }
    let came: Vec<_> = two
        .events
        .iter()
        .filter_map(|event| match event {
            PeerEvent::Snapshot { from, frame } if *from == samples::node(1) => Some(frame.clone()),
            _ => None,
        })
        .collect();
    assert!(came == wanted && refused > 0, "{refused} had to wait");
    assert!(!one.peers.has_snapshot_room(samples::node(9)));
}

#[test]
fn a_fresh_node_is_told_its_cluster_and_greets_with_it_then() {
    let clock = Clock::new();
    let (mut one, mut two) = pair(&clock);
    let found = Found { cluster: samples::cluster(7), members: samples::membership() };
    one.peers.set_cluster(found.cluster);
    one.peers.send_found(samples::node(2), &found).unwrap();
    until(&mut [&mut one, &mut two], &clock, |nodes| {
        nodes[1].events.iter().any(|event| matches!(event, PeerEvent::Found { found: told, .. } if *told == found))
    });
    two.peers.set_cluster(found.cluster);
    two.peers.disconnect(samples::node(1));
    let clusters = |node: &Node| {
        node.events
            .iter()
            .filter_map(|event| match event {
                PeerEvent::Connected(accepted) => Some(accepted.peer.cluster),
                _ => None,
            })
            .next_back()
    };
    until(&mut [&mut one, &mut two], &clock, |nodes| {
        nodes[0].peers.connected().count() == 1 && clusters(nodes[0]) == Some(Some(found.cluster))
    });
}

#[test]
fn there_is_a_bound_to_how_many_are_peers() {
    let clock = Clock::new();
    let mut one = Node::new(1);
    let node = |number: u64| Identity { node: samples::node(100 + number), ..samples::identity(2) };
    let others: Vec<_> =
        (0..MAX_PEERS_CONNECTED as u64).map(|number| Other::join(&mut one, &clock, &node(number), secret())).collect();
    assert_eq!(one.peers.connected().count(), MAX_PEERS_CONNECTED);
    Other::join(&mut one, &clock, &node(99), secret());
    assert_eq!(one.peers.counters().refused.full, 1);
    // One that is there already may come again.
    Other::join(&mut one, &clock, &node(3), secret());
    assert_eq!((one.peers.counters().closed.replaced, one.links()), (1, MAX_PEERS_CONNECTED));
    drop(others);
}
