//! Whether requests should be sent to this instance now.

use std::time::Duration;

use super::cluster::Cluster;
use crate::base::limits::READY_LAG_RECORDS;
use crate::base::vocab::ReplicaRole;
use crate::ipc::process::monotonic_ns;
use crate::store::instance::Instance;
use crate::store::instance::control::{Orders, WorkerState};
use crate::store::ledger::sequencer::JournalState;

/// If the last heartbeat of the journal process is older, then it hangs, or its disk does. At rest it beats four times a second.
const FRESH: Duration = Duration::from_secs(5);

/// Why an instance is not ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)] // The messages say it.
pub enum Unready {
    #[error("the instance is stopping")]
    Stopping,
    #[error("no worker is serving")]
    NoWorker,
    /// Requests that move money are refused.
    #[error("the disk of the journal is full")]
    NoSpace,
    /// Nothing becomes durable.
    #[error("the disk of the journal failed")]
    JournalFailed,
    #[error("the journal process is being replaced")]
    NoJournalProcess,
    #[error("the journal process is silent")]
    JournalSilent,
    #[error("the books are being remade from the journal")]
    Remaking,
    #[error("the replica process is being replaced")]
    NoReplicaProcess,
    #[error("the replica process is silent")]
    ReplicaSilent,
    #[error("it is no member of a cluster yet")]
    NoMember,
    /// Also while it is elected, and does not execute yet.
    #[error("no primary is known")]
    NoPrimary,
    #[error("it is a learner, which cannot become the primary")]
    Learner,
    #[error("it has more than {READY_LAG_RECORDS} committed records to apply")]
    Behind,
}

/// An instance is ready if it is not stopping, a worker serves, and the journal, if there is one, is open and its process alive; with
/// peers, moreover, if it is the primary, or follows one that it knows and is not far behind. Else every reason why it is not.
pub fn readiness(instance: &Instance) -> Result<(), Vec<Unready>> {
    let journal = instance.journal_row();
    let journaled = instance.table().sequencer().is_journaled();
    let state = instance.table().sequencer().state();
    let silence = Duration::from_nanos(monotonic_ns().saturating_sub(journal.life.heartbeat_ns.get()));
    let serving = instance.workers().iter().any(|row| row.life.pid.get() != 0 && row.state() == WorkerState::Serving);
    let reasons = [
        (instance.control().orders() != Orders::Serve, Unready::Stopping),
        (!serving, Unready::NoWorker),
        (state == JournalState::NoSpace, Unready::NoSpace),
        (state == JournalState::Failed, Unready::JournalFailed),
        (journaled && journal.life.pid.get() == 0, Unready::NoJournalProcess),
        (journaled && journal.life.pid.get() != 0 && silence > FRESH, Unready::JournalSilent),
    ];
    let of_cluster = Cluster::of(instance, monotonic_ns()).map(|cluster| of_cluster(&cluster));
    let reasons = reasons.into_iter().chain(of_cluster.into_iter().flatten());
    let against: Vec<_> = reasons.filter(|(holds, _)| *holds).map(|(_, reason)| reason).collect();
    if against.is_empty() { Ok(()) } else { Err(against) }
}

/// What may be against it as a member of a cluster.
fn of_cluster(cluster: &Cluster) -> [(bool, Unready); 7] {
    let process = &cluster.process;
    let silence = Duration::from_millis(process.heartbeat_age_ms);
    let is_member = cluster.node.is_some();
    [
        (cluster.remaking, Unready::Remaking),
        (process.pid == 0, Unready::NoReplicaProcess),
        (process.pid != 0 && silence > FRESH, Unready::ReplicaSilent),
        (!is_member, Unready::NoMember),
        (is_member && cluster.primary.is_none(), Unready::NoPrimary),
        (cluster.role == ReplicaRole::Learner.name(), Unready::Learner),
        (cluster.is_behind(), Unready::Behind),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::cluster::ReplicaProcess;

    #[test]
    fn every_reason_of_a_cluster_has_its_name() {
        let process = ReplicaProcess { pid: 7, heartbeat_age_ms: 5000, ..ReplicaProcess::default() };
        let node = Some("1".to_owned());
        let well = Cluster { role: "follower", primary: Some(2), node, process, ..Cluster::default() };
        let against = |change: fn(&mut Cluster)| {
            let mut cluster = well.clone();
            change(&mut cluster);
            let against = of_cluster(&cluster).into_iter().filter(|(holds, _)| *holds);
            against.map(|(_, reason)| reason).collect::<Vec<_>>()
        };
        assert_eq!(against(|_| {}), []);
        assert_eq!(against(|cluster| cluster.role = "primary"), []);
        assert_eq!(against(|cluster| cluster.remaking = true), [Unready::Remaking]);
        assert_eq!(against(|cluster| cluster.process.pid = 0), [Unready::NoReplicaProcess]);
        assert_eq!(against(|cluster| cluster.process.heartbeat_age_ms = 5001), [Unready::ReplicaSilent]);
        assert_eq!(against(|cluster| cluster.node = None), [Unready::NoMember]);
        assert_eq!(against(|cluster| cluster.primary = None), [Unready::NoPrimary]);
        assert_eq!(against(|cluster| cluster.role = "learner"), [Unready::Learner]);
        assert_eq!(against(|cluster| cluster.apply_lag = READY_LAG_RECORDS), []);
        assert_eq!(against(|cluster| cluster.apply_lag = READY_LAG_RECORDS + 1), [Unready::Behind]);
        assert_eq!(Unready::Behind.to_string(), "it has more than 100000 committed records to apply");
    }
}
