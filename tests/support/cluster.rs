//! Several servers that are one ledger, each with its own data directory and, for its peers, its own address of the loopback network.
//!
//! Whatever a test does, dropping its [`Cluster`] ends all processes and removes everything: a [`Server`] does so, also where its
//! processes are stopped.

#![allow(dead_code, reason = "each test program that includes this file uses another part of it")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use bank_vault::base::onc_rpc::{AuthSys, Credentials};
use bank_vault::base::vocab::{AccountId, Lsn, ReplicaRole};
use bank_vault::service::bank::wire::{Request, Response};
use bank_vault::store::cluster::Standing;
use bank_vault::store::journal::OperationRecord;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::bank::{Bank, opening};
use crate::checker::{Ack, Kept, must_be_kept};
use crate::mount::Mount;
use crate::narrow::Wrapper;
use crate::network::Network;
use crate::server::{Server, await_that, unused_port};

/// Accounts of a cluster.
pub const ACCOUNTS: u32 = 100;
/// Where peers listen.
const PEER_PORT: u32 = 7411;
/// Where clients reach the key-value service of a member that has a network of its own.
const KV_PORT: u16 = 9001;
/// The uid of whom tests log in as, where users have to be known.
const DEMO_UID: u32 = 1000;
/// The members' secret.
const SECRET: &str = "5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e";

/// Where a member runs.
struct Place {
    /// Where clients reach it.
    address: SocketAddr,
    /// What starts it there, if not the program itself.
    wrapper: Option<Wrapper>,
    /// The port of its key-value service; `None` where it has none.
    kv_port: Option<u16>,
}

/// Several instances and what they share.
pub struct Cluster {
    /// The servers, by their numbers less one; `None` where one is down.
    pub servers: Vec<Option<Server>>,
    /// What connects them, where it is not the loopback network.
    pub network: Option<Network>,
    /// As `--peers` takes it.
    pub peers: String,
    /// One more that can be started, and how `--peers` names it.
    another: Option<(String, Place)>,
    /// File systems of their own that hold data directories, by members.
    mounts: BTreeMap<usize, Mount>,
    home: TempDir,
    places: Vec<Place>,
    args: Vec<String>,
    /// Options of single members.
    own_args: BTreeMap<usize, Vec<String>>,
}

impl Cluster {
    /// Starts so many instances, and waits until one of them is the primary and all of them know it.
    pub fn start(members: u8, args: &[&str]) -> Cluster {
        Cluster::prepare(members, args).started()
    }

    /// As [`Cluster::start`], each in a network namespace of its own; wants root.
    pub fn start_apart(members: u8, args: &[&str]) -> Cluster {
        Cluster::prepare_apart(members, args).started()
    }

    /// As [`Cluster::prepare`], each in a network namespace of its own; wants root.
    pub fn prepare_apart(members: u8, args: &[&str]) -> Cluster {
        let network = Network::new(members + 1);
        let mut cluster = Cluster::prepare(members, args);
        let numbers = 1..=members;
        let named = |number| format!("{number}={}:{PEER_PORT}", network.peer_address(number));
        let peers: Vec<_> = numbers.clone().map(named).collect();
        let place = |number| Place {
            address: SocketAddr::from((network.client_address(number), 7777)),
            wrapper: Some(network.inside(number, Path::new(env!("CARGO_BIN_EXE_master")))),
            kv_port: None,
        };
        cluster.places = numbers.map(place).collect();
        cluster.another = Some((named(members + 1), place(members + 1)));
        (cluster.peers, cluster.network) = (peers.join(","), Some(network));
        // Who is not of this machine has to be known.
        let users = cluster.home.path().join("users");
        add_demo(&users);
        cluster.args.extend(["--users".to_owned(), users.display().to_string()]);
        cluster
    }

    /// Puts a data directory on a file system in memory, of so many mebibytes; wants root, and is done before the member's first start.
    pub fn put_into_memory(&mut self, index: usize, mebibytes: u32) {
        self.mounts.insert(index, Mount::tmpfs(mebibytes).unwrap());
    }

    /// The file system of a member that was [put into memory](Cluster::put_into_memory).
    pub fn mount(&self, index: usize) -> &Mount {
        &self.mounts[&index]
    }

    /// All that there is before the first start.
    pub fn prepare(members: u8, args: &[&str]) -> Cluster {
        let home = tempfile::tempdir().unwrap();
        write_secret(&home.path().join("secret"), SECRET);
        let mut peers = (1_u8..).zip(unused_peers()).map(|(number, at)| format!("{number}={at}"));
        let founders: Vec<_> = peers.by_ref().take(usize::from(members)).collect();
        let place =
            |_| Place { address: SocketAddr::from((Ipv4Addr::LOCALHOST, unused_port())), wrapper: None, kv_port: None };
        Cluster {
            servers: (0..members).map(|_| None).collect(),
            network: None,
            peers: founders.join(","),
            another: peers.next().map(|named| (named, place(0))),
            mounts: BTreeMap::new(),
            home,
            places: (0..members).map(place).collect(),
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
            own_args: BTreeMap::new(),
        }
    }

    /// Gives each member a key-value service on a port of its own; before the first start.
    pub fn with_key_values(mut self) -> Cluster {
        let another = self.another.as_mut().map(|(_, place)| place);
        let is_apart = self.network.is_some();
        let port = || if is_apart { KV_PORT } else { unused_port() };
        self.places.iter_mut().chain(another).for_each(|place| place.kv_port = Some(port()));
        if is_apart {
            self.args.push("--kv-public".to_owned());
        }
        self
    }

    /// Gives a member options of its own, from its next start on.
    pub fn set_own_args(&mut self, index: usize, args: &[&str]) {
        self.own_args.insert(index, args.iter().map(|arg| (*arg).to_owned()).collect());
    }

    /// Starts what was prepared, and waits until one is the primary.
    pub fn started(mut self) -> Cluster {
        self.start_members();
        self.await_known_primary();
        self
    }

    /// Starts all members that are down, on what data they have.
    pub fn start_members(&mut self) {
        for index in 0..self.servers.len() {
            if self.servers[index].is_none() {
                self.start_member(index);
            }
        }
    }

    /// Starts a member that is down, on what data it has.
    pub fn start_member(&mut self, index: usize) {
        self.start_member_with(index, &[]);
    }

    /// As [`Cluster::start_member`], with these variables in the environment, unless it has a network of its own.
    pub fn start_member_with(&mut self, index: usize, environment: &[(&str, &str)]) {
        self.servers[index] = Some(self.launch(index, &self.places[index], &self.peers, environment));
    }

    /// How `--peers` names one more instance, and that instance, started, which is no member yet.
    pub fn start_another(&self) -> (String, Server) {
        let (named, place) = self.another.as_ref().unwrap();
        let peers = format!("{},{named}", self.peers);
        (named.clone(), self.launch(self.places.len(), place, &peers, &[]))
    }

    fn launch(&self, index: usize, place: &Place, peers: &str, environment: &[(&str, &str)]) -> Server {
        let (number, port) = ((index + 1).to_string(), place.address.port().to_string());
        let (host, secret, accounts) =
            (place.address.ip().to_string(), self.secret().display().to_string(), ACCOUNTS.to_string());
        let mut args = vec!["--replica-id", &number, "--peers", peers, "--cluster-secret", &secret];
        args.extend(["--host", &host, "--port", &port, "--workers", "2"]);
        args.extend(["--accounts", &accounts, "--initial-balance", "1000.00"]);
        let kv_port = place.kv_port.map(|port| port.to_string());
        if let Some(port) = &kv_port {
            args.extend(["--kv-port", port, "--rpcbind", "no"]);
        }
        args.extend(self.args.iter().chain(self.own_args.get(&index).into_iter().flatten()).map(String::as_str));
        let data = self.data(index);
        fs::create_dir_all(&data).unwrap();
        match &place.wrapper {
            Some(wrapper) => Server::start_program_on(&wrapper.path(), &data, &args),
            None => Server::start_on_with(&data, &args, environment),
        }
    }

    /// The data directory of a member.
    pub fn data(&self, index: usize) -> PathBuf {
        let home = self.mounts.get(&index).map_or(self.home.path(), |mount| &mount.path);
        home.join(format!("data{}", index + 1))
    }

    /// The file of the secret.
    pub fn secret(&self) -> PathBuf {
        self.home.path().join("secret")
    }

    /// A member that runs.
    pub fn member(&self, index: usize) -> &Server {
        self.servers[index].as_ref().unwrap()
    }

    /// The members that run.
    pub fn living(&self) -> Vec<usize> {
        (0..self.servers.len()).filter(|&index| self.servers[index].is_some()).collect()
    }

    /// Kills all processes of a member.
    pub fn kill(&mut self, index: usize) {
        let mut server = self.servers[index].take().unwrap();
        server.kill_all();
    }

    /// Stops a member as an operator would.
    pub fn stop(&mut self, index: usize) {
        let output = self.servers[index].take().unwrap().stop();
        assert!(output.status.success(), "{output:?}");
    }

    /// Sends a signal to all processes of a member.
    pub fn signal_all(&self, index: usize, signal: Signal) {
        let server = self.member(index);
        for pid in std::iter::once(server.master).chain(server.children_now().into_iter().map(|(pid, _)| pid)) {
            // Not all are our children: one may have ended.
            let _ = kill(Pid::from_raw(i32::try_from(pid).unwrap()), signal);
        }
    }

    /// Where clients reach a member.
    pub fn address(&self, index: usize) -> SocketAddr {
        self.places[index].address
    }

    /// Where clients reach the members, as `--server` takes it.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.places.iter().map(|place| place.address).collect()
    }

    /// Where clients reach the key-value service of a member.
    pub fn kv_address(&self, index: usize) -> SocketAddr {
        SocketAddr::from((self.places[index].address.ip(), self.places[index].kv_port.unwrap()))
    }

    /// Who may write there.
    pub fn kv_credentials(&self) -> Credentials<'static> {
        match self.network {
            Some(_) => Credentials::Sys(AuthSys { uid: DEMO_UID, ..AuthSys::default() }),
            None => Credentials::None,
        }
    }

    /// Where clients reach those of all members.
    pub fn kv_addresses(&self) -> Vec<SocketAddr> {
        (0..self.places.len()).map(|index| self.kv_address(index)).collect()
    }

    /// What a member is, by its own word.
    pub fn role(&self, index: usize) -> ReplicaRole {
        self.standing(index).role
    }

    /// What a member is, and whom it takes for the primary.
    pub fn standing(&self, index: usize) -> Standing {
        self.member(index).stats().control().cluster.standing()
    }

    /// The term that a member is in.
    pub fn term(&self, index: usize) -> u64 {
        self.member(index).stats().control().cluster.view().term
    }

    /// The member that says it is the primary; waits until there is one.
    pub fn primary(&self) -> usize {
        self.primary_but(None)
    }

    /// The member that is the primary by its own word and by that of all others that run; waits until there is one. A majority makes the
    /// primary: one that was not needed for it may hear of it later, and says until then that it knows of none.
    pub fn await_known_primary(&self) -> usize {
        let mut found = None;
        await_that("all members name the same primary", || {
            let standings = self.living().into_iter().map(|index| (index, self.standing(index)));
            let (named, leads): (BTreeSet<u8>, Vec<Option<usize>>) = standings
                .map(|(index, standing)| (standing.primary, (standing.role == ReplicaRole::Primary).then_some(index)))
                .unzip();
            found = leads.into_iter().flatten().next();
            found.is_some_and(|index| named.len() == 1 && named.contains(&u8::try_from(index + 1).unwrap()))
        });
        found.unwrap()
    }

    /// The member that says it is the primary, and is not that one.
    pub fn primary_but(&self, other: Option<usize>) -> usize {
        let mut found = None;
        await_that("one of the members is the primary", || {
            let mut living = self.living().into_iter().filter(|index| Some(*index) != other);
            found = living.find(|&index| self.role(index) == ReplicaRole::Primary);
            found.is_some()
        });
        found.unwrap()
    }

    /// A member that runs and is not that one.
    pub fn another(&self, than: usize) -> usize {
        self.living().into_iter().find(|&index| index != than).unwrap()
    }

    /// The last operation that a member has carried out.
    pub fn applied(&self, index: usize) -> u64 {
        self.member(index).stats().table().order().now().lsn.0
    }

    /// Waits until a member has applied as much as that.
    pub fn await_applied(&self, index: usize, lsn: u64) {
        await_that("a member has applied what another has", || self.applied(index) >= lsn);
    }

    /// Waits until the members that run have committed so many operations more.
    pub fn await_progress(&self, more: u64) {
        let committed = |index: usize| self.member(index).stats().table().sequencer().committed().0.0;
        let most = || self.living().into_iter().map(committed).max();
        let before = most().unwrap();
        await_that("operations are committed", || most() >= Some(before + more));
    }

    /// Waits until all members that run are at the same LSN, which is committed; nobody may write meanwhile.
    pub fn await_equal(&self) -> u64 {
        let mut lsn = 0;
        await_that("all members have applied the same", || {
            let lsns: BTreeSet<u64> = self.living().into_iter().map(|index| self.applied(index)).collect();
            lsn = *lsns.first().unwrap();
            let committed = |index: &usize| self.member(*index).stats().table().sequencer().committed().0.0 == lsn;
            lsns.len() == 1 && self.living().iter().all(committed)
        });
        lsn
    }

    /// All balances of a member, as of `lsn` or later.
    pub fn balances(&self, index: usize, lsn: u64) -> Vec<i64> {
        let mut bank = Bank::demo(self.address(index));
        let ask = |account| match bank
            .call_as_of(&Request::Balance { account: AccountId(account) }, None, Some(Lsn(lsn)))
            .unwrap()
        {
            Response::Balance { balance } => balance.0,
            other => panic!("account {account} at member {index}: {other:?}"),
        };
        (0..ACCOUNTS).map(ask).collect()
    }

    /// Starts what is down, waits until all have the same, then compares what they answer, kills them, and compares what they have kept,
    /// with each other and with what was acknowledged.
    ///
    /// # Panics
    /// Members differ, or something that was acknowledged is not there exactly once.
    pub fn must_agree(mut self, acks: &[Ack]) {
        self.start_members();
        let primary = self.primary();
        let lsn = self.await_equal();
        let balances = self.balances(primary, lsn);
        for index in self.living() {
            assert_eq!(self.balances(index, lsn), balances, "members {index} and {primary}");
        }
        let totals = Bank::demo(self.address(primary)).totals();
        assert_eq!(opening(&totals), i64::from(ACCOUNTS) * 100_000);
        assert_eq!(totals.sum.0, balances.iter().sum::<i64>());
        self.living().into_iter().for_each(|index| self.kill(index));
        let mut first: Option<(Vec<OperationRecord>, BTreeSet<Lsn>)> = None;
        for index in 0..self.servers.len() {
            let data = self.data(index);
            must_be_kept(&data, acks);
            let kept = Kept::read(&data);
            let records = kept.records.into_iter().filter(|record| record.lsn.0 <= lsn).collect();
            let found = (records, kept.others.into_iter().filter(|other| other.0 <= lsn).collect());
            let first = first.get_or_insert_with(|| found.clone());
            assert!(*first == found, "the records of member {index} are not those of the first one");
        }
    }
}

/// Makes a file of users that has the one whom tests log in as.
fn add_demo(users: &Path) {
    let mut add = Command::new(env!("CARGO_BIN_EXE_vaultctl"))
        .args(["user", "add", "demo", "--role", "teller", "--password-stdin", "--users"])
        .arg(users)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    add.stdin.take().unwrap().write_all(b"demo\n").unwrap();
    assert!(add.wait().unwrap().success());
    let line = fs::read_to_string(users).unwrap();
    fs::write(users, format!("{}:uid={DEMO_UID}\n", line.trim_end())).unwrap();
}

/// Writes a file of a secret.
pub fn write_secret(path: &Path, digits: &str) {
    fs::write(path, format!("{digits}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// Addresses of the loopback network for the peers of a cluster, at most 7, which nobody else uses: they are made of the process id.
pub fn unused_peers() -> impl Iterator<Item = SocketAddr> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let [_, above, high, low] = std::process::id().to_be_bytes();
    let place = NUMBER.fetch_add(1, Ordering::Relaxed) % 31;
    let port = u16::try_from(PEER_PORT + u32::from(above) % 64).unwrap();
    (1..8).map(move |member: u32| {
        let last = u8::try_from(member + 8 * place).unwrap();
        SocketAddr::from(([127, high, low, last], port))
    })
}

/// A data directory that is emptied.
pub fn empty(data: &Path) {
    fs::remove_dir_all(data).unwrap();
    fs::create_dir_all(data).unwrap();
}
