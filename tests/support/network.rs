//! A network that can be cut: each member of a cluster in a network namespace of its own, all plugged into a bridge in another one, and
//! each reachable for clients of the test by a link of its own, which stays when the member is cut off from its peers.
//!
//! It wants root. Names and addresses are made of a number that no other network of this machine has; all of it is removed in the end, also
//! when the test fails.

#![allow(dead_code, reason = "each test program that includes this file uses another part of it")]

use std::net::Ipv4Addr;
use std::path::Path;

use crate::narrow::Wrapper;
use crate::tools::{must_be_on_demand, tool};

/// So many networks fit into the addresses that [`Network::near`] takes: each has 32 of them.
const NUMBERS: u32 = 4096;

/// The namespaces.
pub struct Network {
    /// What nobody else has while this one is there.
    number: u32,
    /// What all names begin with.
    tag: String,
    members: u8,
}

impl Network {
    /// Makes it for so many members, at most 7.
    pub fn new(members: u8) -> Network {
        must_be_on_demand();
        let network = Network::claim(members);
        let Network { tag, .. } = &network;
        ip(&format!("-n {tag}s link add switch type bridge"));
        ip(&format!("-n {tag}s link set switch up"));
        for number in 1..=members {
            let space = format!("{tag}n{number}");
            ip(&format!("netns add {space}"));
            ip(&format!("-n {space} link set lo up"));
            ip(&format!("-n {space} link add peers type veth peer name port{number} netns {tag}s"));
            ip(&format!("-n {tag}s link set port{number} master switch"));
            ip(&format!("-n {tag}s link set port{number} up"));
            ip(&format!("-n {space} addr add {}/24 dev peers", network.peer_address(number)));
            ip(&format!("-n {space} link set peers up"));
            ip(&format!("-n {space} link add clients type veth peer name {tag}c{number} netns {}", std::process::id()));
            ip(&format!("-n {space} addr add {}/30 dev clients", network.client_address(number)));
            ip(&format!("-n {space} link set clients up"));
            ip(&format!("addr add {}/30 dev {tag}c{number}", network.near(number, 1)));
            ip(&format!("link set {tag}c{number} up"));
        }
        network
    }

    /// One whose number is free, with the namespace that says that it is taken.
    fn claim(members: u8) -> Network {
        for number in (0..NUMBERS).map(|tried| std::process::id().wrapping_add(tried) % NUMBERS) {
            let tag = format!("vt{number}");
            match try_ip(&format!("netns add {tag}s")) {
                Ok(()) => return Network { number, tag, members },
                Err(said) => assert!(said.contains("File exists"), "ip netns add {tag}s: {said}"),
            }
        }
        panic!("all {NUMBERS} networks are there: what does `ip netns list` say?");
    }

    /// Where peers reach a member; each network has these, for itself.
    pub fn peer_address(&self, number: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, 0, number)
    }

    /// Where clients reach it.
    pub fn client_address(&self, number: u8) -> Ipv4Addr {
        self.near(number, 2)
    }

    /// An address of the link between a member and clients. RFC 2544 sets these aside for tests of networks.
    fn near(&self, number: u8, end: u8) -> Ipv4Addr {
        let first = u32::from(Ipv4Addr::new(198, 18, 0, 0)) + 32 * self.number;
        Ipv4Addr::from_bits(first + u32::from(4 * number + end))
    }

    /// What executes `program` in the namespace of a member.
    pub fn inside(&self, number: u8, program: &Path) -> Wrapper {
        Wrapper::behind(&format!("nsenter --net=/run/netns/{}n{number}", self.tag), program)
    }

    /// Nothing of what a member and its peers send each other arrives any more.
    pub fn cut(&self, number: u8) {
        ip(&format!("-n {}s link set port{number} down", self.tag));
    }

    /// It arrives again.
    pub fn mend(&self, number: u8) {
        ip(&format!("-n {}s link set port{number} up", self.tag));
    }

    /// Nothing of what a member sends its peers arrives any more, while what they send it does: it addresses its frames to nobody.
    pub fn cut_out(&self, number: u8) {
        self.others(number).for_each(|other| self.misdirect(number, other));
    }

    /// Nothing of what its peers send a member arrives any more, while what it sends them does.
    pub fn cut_in(&self, number: u8) {
        self.others(number).for_each(|other| self.misdirect(other, number));
    }

    /// What [`Network::cut_out`] or [`Network::cut_in`] has done is undone.
    pub fn mend_ways(&self, number: u8) {
        for (from, to) in self.others(number).flat_map(|other| [(number, other), (other, number)]) {
            let space = format!("{}n{from}", self.tag);
            let gone =
                ["-n", &space, "neigh", "del", &self.peer_address(to).to_string(), "dev", "peers"].map(str::to_owned);
            // Those of the way that was not cut may not be there.
            let _ = tool("ip", "iproute2").args(gone).output();
        }
    }

    fn others(&self, number: u8) -> impl Iterator<Item = u8> + use<> {
        (1..=self.members).filter(move |other| *other != number)
    }

    /// Has a member send what is for another one to an address of hardware that nobody has.
    fn misdirect(&self, from: u8, to: u8) {
        let address = self.peer_address(to);
        ip(&format!("-n {}n{from} neigh replace {address} lladdr 02:00:00:00:00:01 dev peers nud permanent", self.tag));
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // Links go with either end.
        for name in (1..=self.members).map(|number| format!("{}n{number}", self.tag)).chain([format!("{}s", self.tag)])
        {
            let _ = tool("ip", "iproute2").args(["netns", "delete", &name]).output();
        }
    }
}

fn ip(arguments: &str) {
    try_ip(arguments).unwrap_or_else(|said| panic!("ip {arguments}: {said}"));
}

/// Else what it says.
fn try_ip(arguments: &str) -> Result<(), String> {
    let output = tool("ip", "iproute2").args(arguments.split(' ')).output().unwrap();
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}
