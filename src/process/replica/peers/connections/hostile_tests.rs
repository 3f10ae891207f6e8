//! Peers that are not what they should be: each is refused, named and counted, and a good one beside it goes on as before.

use std::net::TcpStream;
use std::time::Duration;

use super::test_support::{Clock, Node, Other, heartbeat, is_closed, secret, turn, until, write_some};
use crate::base::limits::{
    MAX_PEERS_GREETING, PARTIAL_FRAME_SECONDS, PEER_FRAMES_PER_TURN, PEER_GREETING_MILLISECONDS,
};
use crate::base::vocab::Cents;
use crate::process::replica::message::{Message, MessageKind};
use crate::process::replica::peers::settings::Identity;
use crate::process::replica::peers::wire::samples::{cluster, forge, frames, identity, message};
use crate::process::replica::peers::wire::{Frame, HEADER_BYTES, encode_message};
use crate::store::cluster::Secret;
use crate::store::cluster::peer_counts::Refusals;

/// A member of cluster 0x0A0A…, and a good peer of it.
fn with_a_peer(clock: &Clock) -> (Node, Node) {
    let (mut one, mut two) = (Node::new(1), Node::new(2));
    one.peers.set_cluster(cluster(0xA));
    two.peers.set_cluster(cluster(0xA));
    two.dials(&[(1, one.address)]);
    until(&mut [&mut one, &mut two], clock, |nodes| nodes.iter().all(|node| node.peers.connected().count() == 1));
    (one, two)
}

/// How many turns a message of the good peer takes to be answered.
fn turns_of_a_round(one: &mut Node, two: &mut Node, clock: &Clock, context: u64) -> usize {
    two.peers.send(&heartbeat(2, 1, context)).unwrap();
    let there = until(&mut [one, two], clock, |nodes| nodes[0].heard().contains(&context));
    one.peers.send(&heartbeat(1, 2, context)).unwrap();
    there + until(&mut [one, two], clock, |nodes| nodes[1].heard().contains(&context))
}

/// What has been refused, of which only one thing may be.
fn only(change: impl FnOnce(&mut Refusals)) -> Refusals {
    let mut refused = Refusals::default();
    change(&mut refused);
    refused
}

#[test]
fn each_difference_is_refused_named_and_counted_on_both_sides() {
    type Count = fn(&mut Refusals) -> &mut u64;
    let member = || Identity { cluster: Some(cluster(0xA)), ..identity(3) };
    let cases: [(Identity, Count, &str); 9] = [
        (Identity { cluster: Some(cluster(0xB)), ..member() }, |r| &mut r.cluster, "it is a member of cluster 0b0b"),
        (Identity { accounts: 9, ..member() }, |r| &mut r.accounts, "it has 9 accounts, and this instance has 10000"),
        (Identity { opening: Cents(5), ..member() }, |r| &mut r.opening, "its accounts were opened with 0.05 in all"),
        (Identity { openings: 5, ..member() }, |r| &mut r.opening, "its accounts were opened with other balances"),
        (Identity { segment_records: 5, ..member() }, |r| &mut r.segment_records, "its segments have 5 records"),
        (Identity { key_window: 7, ..member() }, |r| &mut r.key_window, "it remembers 7 keys, and this instance"),
        (
            Identity { kv_blocks: 7, ..member() },
            |r| &mut r.key_values,
            "its key-value table has 7 blocks, and that of this",
        ),
        (
            Identity { kv_blocks: 0, kv_address: String::new(), ..member() },
            |r| &mut r.key_values,
            "its key-value table has 0 blocks, and that of this",
        ),
        (Identity { replica: identity(1).replica, ..member() }, |r| &mut r.same_replica, "has --replica-id 1, too"),
    ];
    for (other, count, text) in cases {
        let clock = Clock::new();
        let (mut one, mut two) = with_a_peer(&clock);
        // A whole node, which dials and would do so again.
        let mut three = Node::on(std::net::TcpListener::bind("127.0.0.1:0").unwrap(), other);
        three.dials(&[(if text.contains("replica-id") { 2 } else { 1 }, one.address)]);
        until(&mut [&mut one, &mut two, &mut three], &clock, |nodes| {
            let refused = |node: &Node| *count(&mut node.peers.counters().refused) > 0;
            refused(nodes[0]) && (refused(nodes[2]) || nodes[2].peers.counters().refused.other_replica > 0)
        });
        let refused = one.peers.counters().refused;
        assert_eq!(refused, only(|wanted| *count(wanted) = *count(&mut { refused })));
        assert!(one.told().iter().all(|why| why.contains(text)), "{:?}", one.told());
        assert_eq!((three.peers.connected().count(), one.peers.connected().count()), (0, 1));
        assert!(turns_of_a_round(&mut one, &mut two, &clock, 1) <= 4);
        assert_eq!(two.peers.counters().refused, Refusals::default());
    }
}

#[test]
fn another_secret_is_refused_on_both_sides_whatever_else_is_right() {
    let clock = Clock::new();
    let (mut one, mut two) = with_a_peer(&clock);
    let other = Secret::parse("b2".repeat(32).as_bytes()).unwrap();
    let mut stranger = Other::join(&mut one, &clock, &identity(3), other);
    assert_eq!(one.peers.counters().refused, only(|refused| refused.secret = 1));
    assert!(one.told()[0].starts_with("it has another secret"), "{:?}", one.told());
    // It has got what it needs to find that out itself.
    stranger.prove();
    assert!(matches!(stranger.frame(), Some(Frame::Proof(_))) && is_closed(&stranger.stream));
    // Somebody who knows no secret and repeats what he hears.
    let echo = TcpStream::connect(one.address).unwrap();
    echo.set_nonblocking(true).unwrap();
    let mut own = Vec::new();
    until(&mut [&mut one], &clock, |_| {
        let mut bytes = [0; 4096];
        if let Ok(count) = std::io::Read::read(&mut &echo, &mut bytes) {
            own.extend_from_slice(&bytes[..count]);
        }
        !own.is_empty()
    });
    write_some(&echo, &own);
    until(&mut [&mut one], &clock, |nodes| nodes[0].peers.counters().refused.myself == 1);
    assert!(turns_of_a_round(&mut one, &mut two, &clock, 1) <= 4);
}

#[test]
fn garbage_is_refused_as_soon_as_it_shows() {
    let clock = Clock::new();
    let (mut one, mut two) = with_a_peer(&clock);
    let mut version = frames()[0].encode().unwrap();
    version[4] = 1;
    let loaded = encode_message(&message(0)).unwrap();
    let long = forge(1, &[0; 300], &[]);
    let cases: [(&[u8], &str); 6] = [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "it does not begin as a frame does"),
        (&[0; 4096], "it does not begin as a frame does"),
        (&version, "it speaks version 1 of the protocol between peers, and this instance version 3"),
        (&loaded[..HEADER_BYTES], "Message is not to come now"),
        (&long[..HEADER_BYTES], "a body of 300 bytes, and Greeting has 256 at most"),
        (&frames()[2].encode().unwrap(), "Proof is not to come now"),
    ];
    for (count, (bytes, text)) in (1..).zip(cases) {
        let stream = TcpStream::connect(one.address).unwrap();
        write_some(&stream, bytes);
        until(&mut [&mut one, &mut two], &clock, |nodes| nodes[0].told().len() == count);
        assert!(one.told()[count - 1].contains(text), "{:?}", one.told());
        assert!(is_closed(&stream));
    }
    assert_eq!(one.peers.counters().refused, only(|refused| (refused.garbage, refused.version) = (5, 1)));
    let gone = TcpStream::connect(one.address).unwrap();
    write_some(&gone, &frames()[0].encode().unwrap()[..50]);
    drop(gone);
    until(&mut [&mut one, &mut two], &clock, |nodes| nodes[0].peers.counters().refused.gone == 1);
    assert!(turns_of_a_round(&mut one, &mut two, &clock, 1) <= 4);
}

#[test]
fn who_does_not_greet_or_prove_in_time_is_refused() {
    let mut clock = Clock::new();
    let (mut one, mut two) = with_a_peer(&clock);
    let silent = TcpStream::connect(one.address).unwrap();
    let half = TcpStream::connect(one.address).unwrap();
    write_some(&half, &frames()[0].encode().unwrap()[..50]);
    let unproved = Other::connect(one.address, &identity(3), secret());
    until(&mut [&mut one, &mut two], &clock, |nodes| nodes[0].links() == 4);
    clock.skip(Duration::from_millis(PEER_GREETING_MILLISECONDS - 500));
    (0..5).for_each(|_| turn(&mut [&mut one, &mut two], &clock));
    // A byte now and then prolongs nothing.
    write_some(&half, &frames()[0].encode().unwrap()[50..51]);
    (0..5).for_each(|_| turn(&mut [&mut one, &mut two], &clock));
    assert_eq!((one.links(), one.peers.counters().refused), (4, Refusals::default()));
    clock.skip(Duration::from_millis(500));
    until(&mut [&mut one, &mut two], &clock, |nodes| nodes[0].links() == 1);
    assert_eq!(one.peers.counters().refused, only(|refused| refused.slow = 3));
    assert!(is_closed(&silent) && is_closed(&half) && is_closed(&unproved.stream));
    assert_eq!(one.peers.connected().count(), 1, "the good one may be silent as long as it likes");
}

#[test]
fn strangers_without_end_cost_bounded_places_and_a_good_peer_nothing() {
    let clock = Clock::new();
    let (mut one, mut two) = with_a_peer(&clock);
    let usual = (0..20).map(|context| turns_of_a_round(&mut one, &mut two, &clock, context)).max().unwrap();
    let mut strangers = Vec::new();
    let mut slowest = 0;
    for context in 100..150 {
        // Silent ones, ones with a good greeting and no proof, ones that are gone at once, and garbage.
        for kind in 0..10 {
            let stranger = TcpStream::connect(one.address).unwrap();
            match kind % 4 {
                0 => drop(stranger),
                1 => strangers.push(stranger),
                2 => {
                    write_some(&stranger, &frames()[0].encode().unwrap());
                    strangers.push(stranger);
                }
                _ => {
                    write_some(&stranger, &[b'x'; 10_000]);
                    strangers.push(stranger);
                }
            }
        }
        slowest = slowest.max(turns_of_a_round(&mut one, &mut two, &clock, context));
        assert!(one.links() <= 1 + MAX_PEERS_GREETING, "{}", one.links());
    }
    let refused = one.peers.counters().refused;
    assert!(refused.crowded > 100 && refused.garbage >= 50, "{refused:?}");
    assert!(slowest <= usual + 1, "{slowest} turns for a round trip, and {usual} without strangers");
    // A third one gets in among them.
    let mut three = Node::new(3);
    three.dials(&[(1, one.address)]);
    until(&mut [&mut one, &mut three], &clock, |nodes| {
        strangers.push(TcpStream::connect(nodes[0].address).unwrap());
        nodes[0].peers.connected().count() == 2 && nodes[1].peers.connected().count() == 1
    });
    assert_eq!(two.peers.connected().count(), 1);
}

#[test]
fn a_peer_that_floods_is_read_with_its_share_only() {
    let clock = Clock::new();
    let (mut one, mut two) = with_a_peer(&clock);
    let flooder = Other::join(&mut one, &clock, &identity(3), secret());
    const FLOOD: usize = 20_000;
    let flood = encode_message(&heartbeat(3, 1, 7)).unwrap().repeat(FLOOD);
    let mut rest = &flood[..];
    let flooded = |one: &Node| one.heard().iter().filter(|context| **context == 7).count();
    for context in 1000..1020 {
        rest = &rest[flooder.write(rest)..];
        let before = flooded(&one);
        turn(&mut [&mut one, &mut two], &clock);
        let more = flooded(&one) - before;
        assert!(more <= PEER_FRAMES_PER_TURN, "{more} in a turn");
        assert!(turns_of_a_round(&mut one, &mut two, &clock, context) <= 4);
    }
    assert!((20 * PEER_FRAMES_PER_TURN / 2..FLOOD).contains(&flooded(&one)), "{} have come", flooded(&one));
    // Nothing of it is lost.
    until(&mut [&mut one, &mut two], &clock, |nodes| {
        rest = &rest[flooder.write(rest)..];
        nodes[0].peers.counters().traffic.frames_in >= FLOOD as u64 + 20
    });
    assert_eq!(flooded(&one), FLOOD);
}

#[test]
fn a_peer_that_sends_what_no_peer_sends_is_closed_and_comes_again() {
    let append = |from: u8, to: u8| {
        let Frame::Message(message, records) = crate::process::replica::peers::wire::samples::append(2) else {
            unreachable!()
        };
        let (from, to) = (heartbeat(from, to, 0).from, heartbeat(from, to, 0).to);
        Frame::Message(Message { from, to, ..message }, records).encode().unwrap()
    };
    let mut damaged = append(3, 1);
    let amount = damaged.len() - 100;
    damaged[amount] ^= 1;
    let mut header = append(3, 1);
    header[8] ^= 1;
    let greeting = frames()[0].encode().unwrap();
    let told = encode_message(&Message { kind: MessageKind::ReadIndex, ..heartbeat(3, 9, 0) }).unwrap();
    let cases = [
        (damaged, "the records' checksum is wrong"),
        (header, "the header's checksum is wrong"),
        (append(2, 1), "a message from or to somebody else"),
        (told, "a message from or to somebody else"),
        (greeting, "Greeting is not to come now"),
        (forge(9, &[], &[]), "unknown kind 9"),
    ];
    let clock = Clock::new();
    let (mut one, mut two) = with_a_peer(&clock);
    for (count, (bytes, text)) in (1..).zip(cases) {
        let peer = Other::join(&mut one, &clock, &identity(3), secret());
        // What was good before counts.
        peer.write(&encode_message(&heartbeat(3, 1, count)).unwrap());
        peer.write(&bytes);
        until(&mut [&mut one, &mut two], &clock, |nodes| nodes[0].peers.counters().closed.garbage == count);
        assert!(one.told().last().unwrap().contains(text), "{:?}", one.told());
        assert_eq!(one.heard().last(), Some(&count));
        until(&mut [&mut one, &mut two], &clock, |_| is_closed(&peer.stream));
    }
    assert!(turns_of_a_round(&mut one, &mut two, &clock, 1) <= 4);
}

#[test]
fn a_frame_that_does_not_end_is_given_up() {
    let mut clock = Clock::new();
    let (mut one, mut two) = with_a_peer(&clock);
    let peer = Other::join(&mut one, &clock, &identity(3), secret());
    let frame = encode_message(&heartbeat(3, 1, 1)).unwrap();
    peer.write(&frame[..30]);
    (0..3).for_each(|_| turn(&mut [&mut one, &mut two], &clock));
    clock.skip(Duration::from_secs(PARTIAL_FRAME_SECONDS - 1));
    peer.write(&frame[30..40]);
    (0..3).for_each(|_| turn(&mut [&mut one, &mut two], &clock));
    clock.skip(Duration::from_secs(PARTIAL_FRAME_SECONDS - 1));
    (0..3).for_each(|_| turn(&mut [&mut one, &mut two], &clock));
    assert_eq!(one.peers.connected().count(), 2, "it goes on, if slowly: {:?}", one.told());
    clock.skip(Duration::from_secs(1));
    until(&mut [&mut one, &mut two], &clock, |nodes| nodes[0].peers.counters().closed.stalled == 1);
    assert!(one.told().last().unwrap().contains("began a frame and did not go on"));
    assert_eq!(one.peers.connected().count(), 1);
}
