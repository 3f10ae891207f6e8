//! Three servers that are one ledger, each with its own data directory and its own address of the loopback network.

#![allow(dead_code, reason = "each test program that includes this file uses another part of it")]

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use bank_vault::store::cluster::ReplicaRole;
use tempfile::TempDir;

use crate::server::{Server, await_that, unused_port};

/// Where peers of all clusters listen; each cluster has addresses of its own.
const PEER_PORT: u16 = 7411;

/// Several instances and what they share.
pub struct Cluster {
    home: TempDir,
    secret: PathBuf,
    peers: String,
    ports: Vec<u16>,
    args: Vec<String>,
    /// The servers, by their numbers less one; `None` where one is down.
    pub servers: Vec<Option<Server>>,
}

impl Cluster {
    /// Starts so many instances, and waits until one of them is the primary.
    pub fn start(members: u8, args: &[&str]) -> Cluster {
        let mut cluster = Cluster::prepare(members, args);
        (0..members).for_each(|index| cluster.start_member(index.into()));
        cluster.primary();
        cluster
    }

    /// All that there is before the first start.
    pub fn prepare(members: u8, args: &[&str]) -> Cluster {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let home = tempfile::tempdir().unwrap();
        let secret = home.path().join("secret");
        fs::write(&secret, format!("{}\n", "5e".repeat(16))).unwrap();
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let pid = std::process::id();
        let address = |member: u8| {
            let [_, _, high, low] = pid.to_be_bytes();
            let middle = 1 + (number * 7 + u32::from(high)) % 250;
            format!("{member}=127.{middle}.{low}.{member}:{PEER_PORT}")
        };
        let peers: Vec<_> = (1..=members).map(address).collect();
        let ports = (0..members).map(|_| unused_port()).collect();
        let args = args.iter().map(|arg| (*arg).to_owned()).collect();
        let servers = (0..members).map(|_| None).collect();
        Cluster { home, secret, peers: peers.join(","), ports, args, servers }
    }

    /// The data directory of a member.
    pub fn data(&self, index: usize) -> PathBuf {
        self.home.path().join(format!("data{}", index + 1))
    }

    /// Starts a member that is down, on what data it has.
    pub fn start_member(&mut self, index: usize) {
        let (number, port) = ((index + 1).to_string(), self.ports[index].to_string());
        let secret = self.secret.display().to_string();
        let mut args = vec!["--replica-id", &number, "--peers", &self.peers, "--cluster-secret", &secret, "--port", &port];
        args.extend(self.args.iter().map(String::as_str));
        let data = self.data(index);
        fs::create_dir_all(&data).unwrap();
        self.servers[index] = Some(Server::start_on(&data, &args));
    }

    /// A member that runs.
    pub fn member(&self, index: usize) -> &Server {
        self.servers[index].as_ref().unwrap()
    }

    /// Kills all processes of a member.
    pub fn kill(&mut self, index: usize) {
        self.servers[index].as_mut().unwrap().kill_all();
        self.servers[index] = None;
    }

    /// Where clients reach the members, as `--server` takes it.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.ports.iter().map(|port| SocketAddr::from(([127, 0, 0, 1], *port))).collect()
    }

    /// The member that says it is the primary; waits until there is one.
    pub fn primary(&self) -> usize {
        let mut found = None;
        await_that("one of the members is the primary", || {
            found = (0..self.servers.len()).find(|&index| {
                self.servers[index].as_ref().is_some_and(|server| {
                    server.stats().cluster_row().standing().role == ReplicaRole::Primary
                })
            });
            found.is_some()
        });
        found.unwrap()
    }

    /// Whether this member has applied as much as that one has.
    pub fn await_applied(&self, index: usize, lsn: u64) {
        let instance = self.member(index).stats();
        await_that("a member has applied what another has", || instance.table().order().now().lsn.0 >= lsn);
    }
}

/// A data directory that is emptied.
pub fn empty(data: &Path) {
    fs::remove_dir_all(data).unwrap();
    fs::create_dir_all(data).unwrap();
}
