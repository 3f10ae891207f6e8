//! Peers that are configured by name.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};

use super::lookups::Lookups;
use super::test_support::{Clock, Node, until};
use crate::process::replica::peers::settings::{ConfiguredPeer, PeerPlace};
use crate::process::replica::peers::wire::samples;

fn named(name: &str) -> Vec<ConfiguredPeer> {
    vec![ConfiguredPeer { replica: samples::replica(2), place: PeerPlace::of(name) }]
}

/// An address of the loopback network at which nobody listens.
fn closed() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[test]
fn a_name_is_looked_up_before_each_attempt_and_nobody_waits_for_that() {
    let clock = Clock::new();
    let (mut one, mut two, mut three) = (Node::new(1), Node::new(2), Node::new(3));
    // The resolver waits until it is told what to say.
    let (tell, told) = channel::<io::Result<Vec<SocketAddr>>>();
    let told = Mutex::new(told);
    one.peers.lookups = Lookups::by(Arc::new(move |name: &str| {
        assert_eq!(name, "two.example:7000");
        told.lock().unwrap().recv().unwrap_or_else(|_| Err(io::Error::other("the test is over")))
    }))
    .unwrap();
    one.peers.set_peers(named("two.example:7000"));
    three.dials(&[(1, one.address)]);
    until(&mut [&mut one, &mut three], &clock, |nodes| nodes[0].peers.counters().traffic.connected == 1);
    let counters = one.peers.counters();
    assert_eq!((counters.traffic.lookups, counters.traffic.dialled, counters.refused.unresolved), (1, 0, 0));
    tell.send(Err(io::Error::other("the resolver is down"))).unwrap();
    tell.send(Ok(Vec::new())).unwrap();
    until(&mut [&mut one, &mut three], &clock, |nodes| nodes[0].peers.counters().refused.unresolved == 2);
    for why in ["the resolver is down", "it has no address"] {
        let why = format!("its name cannot be looked up: {why}; it is tried again, and may connect itself");
        assert!(one.told().contains(&why), "{:?}", one.told());
    }
    assert_eq!(one.peers.counters().traffic.dialled, 0);
    // Two addresses take turns: whichever is the first, the other one is tried next.
    let closed = closed();
    for _ in 0..2 {
        tell.send(Ok(vec![closed, two.address])).unwrap();
        tell.send(Ok(vec![two.address, closed])).unwrap();
    }
    until(&mut [&mut one, &mut two, &mut three], &clock, |nodes| nodes[0].peers.counters().traffic.connected == 2);
    assert!(one.peers.counters().traffic.dialled <= 2);
    assert_eq!(one.peers.connected().count(), 2);
}

#[test]
fn a_peer_that_has_moved_is_found_where_its_name_leads_now() {
    let clock = Clock::new();
    let (mut one, mut two) = (Node::new(1), Node::new(2));
    let leads_to = Arc::new(Mutex::new(two.address));
    let of_resolver = leads_to.clone();
    one.peers.lookups = Lookups::by(Arc::new(move |_: &str| Ok(vec![*of_resolver.lock().unwrap()]))).unwrap();
    one.peers.set_peers(named("two.example:7000"));
    until(&mut [&mut one, &mut two], &clock, |nodes| nodes[0].peers.connected().count() == 1);
    drop(two);
    until(&mut [&mut one], &clock, |nodes| nodes[0].peers.counters().refused.unreachable >= 1);
    let mut two = Node::new(2);
    *leads_to.lock().unwrap() = two.address;
    until(&mut [&mut one, &mut two], &clock, |nodes| nodes[0].peers.counters().traffic.connected == 2);
    let counters = one.peers.counters();
    assert_eq!(counters.traffic.lookups, counters.traffic.dialled, "each attempt has looked it up");
}

#[test]
fn the_system_s_resolver_knows_this_machine() {
    let clock = Clock::new();
    let (mut one, mut two) = (Node::new(1), Node::new(2));
    one.peers.set_peers(named(&format!("localhost:{}", two.address.port())));
    until(&mut [&mut one, &mut two], &clock, |nodes| nodes[0].peers.connected().count() == 1);
    one.peers.set_peers(named("nowhere.invalid:7000"));
    drop(two);
    until(&mut [&mut one], &clock, |nodes| nodes[0].peers.counters().refused.unresolved >= 1);
}
