//! `vaultctl cluster status`: what an instance knows of its cluster.

use std::fmt;

use serde::Serialize;

use crate::ipc::process::monotonic_ns;
use crate::store::cluster::{ClusterView, MemberView};
use crate::store::instance::Instance;
use crate::tool::vaultctl::failure::{Failure, say, say_json};
use crate::tool::vaultctl::source::{InstanceName, running};
use crate::tool::vaultctl::table::Table;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "It maps the segments read-only and takes no lock. Only the primary knows how far the others are."
)]
pub(super) struct Status {
    #[command(flatten)]
    instance: InstanceName,
    /// Write JSON instead of tables
    #[arg(long)]
    json: bool,
}

/// What is shown; also the schema of `--json`.
#[derive(Serialize)]
struct Report {
    instance: String,
    /// Its number; 0 without peers.
    replica: u8,
    /// Its identity in the cluster; 16 zeros while it is no member of one.
    node: String,
    role: &'static str,
    term: u64,
    /// Whether the books are being made again just now, so that positions mean nothing.
    remaking: bool,
    primary: Option<Primary>,
    /// Operations, by their numbers: carried out or applied here, on this disk, committed.
    applied: u64,
    on_disk: u64,
    committed: u64,
    /// How often its books were made again, and leadership was handed over for a stop or an upgrade.
    remakes: u64,
    hand_overs: u64,
    process: Process,
    members: Vec<Member>,
}

#[derive(Serialize)]
struct Primary {
    replica: u8,
    /// Where clients reach it; empty where that is not known.
    address: String,
    /// Where clients reach its key-value service; empty where that is not known, or there is none.
    kv_address: String,
}

#[derive(Serialize)]
struct Process {
    pid: u32,
    lives: u32,
    deaths: u32,
    heartbeat_age_ms: u64,
}

#[derive(Serialize)]
struct Member {
    replica: u8,
    node: String,
    role: &'static str,
    /// What it is known to have on its disk; the primary alone knows of others.
    match_lsn: Option<u64>,
    /// How long ago it was connected; `None` for never in this process' life, or not any more.
    heard_ms: Option<u64>,
    peer_address: String,
    client_address: String,
    kv_address: String,
}

pub(super) fn run(status: &Status) -> Result<(), Failure> {
    let instance = running(&status.instance)?;
    let report = gather(&instance, &status.instance.name);
    if status.json { say_json(&report) } else { say(&report.to_string()) }
}

fn gather(instance: &Instance, name: &str) -> Report {
    let (control, row) = (instance.control(), instance.replica_row());
    let ClusterView { standing, node, term, primary_address, primary_kv_address, members } = control.cluster.view();
    let sequencer = instance.table().sequencer();
    let now_ns = monotonic_ns();
    let age_ms = |then_ns: u64| now_ns.saturating_sub(then_ns) / 1_000_000;
    let primary = (standing.primary != 0).then_some(Primary {
        replica: standing.primary,
        address: primary_address,
        kv_address: primary_kv_address,
    });
    let member = |member: MemberView| Member {
        replica: member.replica,
        node: hex(member.node),
        role: member.role.name(),
        match_lsn: (member.match_lsn.0 != 0).then_some(member.match_lsn.0),
        heard_ms: (member.heard_ns != 0).then(|| age_ms(member.heard_ns)),
        peer_address: member.peer_address,
        client_address: member.client_address,
        kv_address: member.kv_address,
    };
    Report {
        instance: name.to_owned(),
        replica: u8::try_from(control.cluster.replica.get()).unwrap_or(0),
        node: hex(node),
        role: standing.role.name(),
        term,
        remaking: row.is_remaking(),
        primary,
        applied: instance.table().order().now().lsn.0,
        on_disk: sequencer.on_disk().0.0,
        committed: sequencer.committed().0.0,
        remakes: row.remakes.get(),
        hand_overs: row.hand_overs_done(),
        process: Process {
            pid: row.life.pid.get(),
            lives: row.life.lives.get(),
            deaths: row.life.deaths.get(),
            heartbeat_age_ms: age_ms(row.life.heartbeat_ns.get()),
        },
        members: members.into_iter().map(member).collect(),
    }
}

fn hex(node: u64) -> String {
    format!("{node:016x}")
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { instance, replica, node, role, term, .. } = self;
        if *replica == 0 {
            return writeln!(f, "instance {instance} is by itself: it was started without --peers");
        }
        writeln!(f, "instance {instance}, replica {replica}, node {node}: {role}, term {term}")?;
        match &self.primary {
            Some(Primary { replica, address, kv_address }) => {
                write!(f, "  primary    replica {replica}, clients at {address}")?;
                if !kv_address.is_empty() {
                    write!(f, ", of keys and values at {kv_address}")?;
                }
                writeln!(f)?;
            }
            None => writeln!(f, "  primary    none is known")?,
        }
        if self.remaking {
            writeln!(f, "  books      are being made again; the next line means nothing until they are")?;
        }
        let Report { applied, on_disk, committed, remakes, hand_overs, process, .. } = self;
        writeln!(f, "  operations {committed} committed, {applied} applied, {on_disk} on disk")?;
        writeln!(
            f,
            "  so far     {remakes} times the books were made again, {hand_overs} times leadership was handed over"
        )?;
        let pid = if process.pid == 0 { "none".to_owned() } else { format!("pid {}", process.pid) };
        let Process { lives, deaths, heartbeat_age_ms, .. } = process;
        writeln!(f, "  process    {pid}, lives {lives}, deaths {deaths}, heartbeat {heartbeat_age_ms} ms ago")?;
        if self.members.is_empty() {
            return writeln!(f, "\nmembers: none; it is no member of a cluster yet");
        }
        write!(f, "\nmembers\n{}", members(&self.members))
    }
}

fn members(members: &[Member]) -> Table {
    Table::of(
        members,
        &[
            ("replica", |member| member.replica.to_string()),
            ("<node", |member| member.node.clone()),
            ("<role", |member| member.role.to_owned()),
            ("on disk", |member| member.match_lsn.map_or_else(|| "-".to_owned(), |lsn| lsn.to_string())),
            ("heard", |member| member.heard_ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms} ms ago"))),
            ("<peers", |member| member.peer_address.clone()),
            ("<clients", |member| or_dash(&member.client_address)),
            ("<key-value", |member| or_dash(&member.kv_address)),
        ],
    )
}

fn or_dash(address: &str) -> String {
    if address.is_empty() { "-" } else { address }.to_owned()
}
