//! What happened between two samples, in words.

use super::cache::Cache;
use super::cluster::Cluster;
use super::sample::{JournalNow, Sample, Worker};

/// Every death, restart and change of state between the two, in the order of the processes.
pub(super) fn between(before: &Sample, after: &Sample) -> Vec<String> {
    let mut events = Vec::new();
    let resumed = |sample: &Sample| sample.workers.iter().map(|worker| worker.resumed).sum::<u64>();
    let mut went_on = resumed(after).saturating_sub(resumed(before));
    for worker in &after.workers {
        let earlier = before.workers.iter().find(|earlier| earlier.now.worker == worker.now.worker);
        let now = &worker.now;
        let event = match earlier.map(|earlier| &earlier.now) {
            None => Some(format!("is new, pid {}", now.pid)),
            Some(then) => of_process((then.pid, then.lives), (now.pid, now.lives), then.deaths != now.deaths),
        };
        if let Some(event) = event {
            // It is not counted which connection continued from which worker, so the first event names all of them.
            let tail = match std::mem::take(&mut went_on) {
                0 => String::new(),
                count => format!(", {} went on", plural(count, "connection")),
            };
            events.push(format!("worker {} {event}{tail}", worker.now.worker));
        }
        let repairs = worker.now.repairs.saturating_sub(earlier.map_or(0, |earlier| earlier.now.repairs));
        if repairs > 0 {
            events.push(format!("{} of worker {} settled", plural(repairs.into(), "operation"), worker.now.worker));
        }
    }
    events.extend(of_journal(&before.journal.now, &after.journal.now));
    events.extend(of_cache(before.cache.as_ref(), after.cache.as_ref()));
    events.extend(of_cluster(before.cluster.as_ref(), after.cluster.as_ref()));
    events.extend(of_bounds(&before.workers, &after.workers));
    match (before.accept_paused, after.accept_paused) {
        (false, true) => events.push("all lanes are full: the master accepts no more".to_owned()),
        (true, false) => events.push("there is room in the lanes again".to_owned()),
        _ => {}
    }
    if after.stopping && !before.stopping {
        events.push("the instance stops".to_owned());
    }
    events
}

fn of_journal(before: &JournalNow, after: &JournalNow) -> Vec<String> {
    let process = of_process((before.pid, before.lives), (after.pid, after.lives), before.deaths != after.deaths);
    let mut events: Vec<_> = process.map(|event| format!("the journal process {event}")).into_iter().collect();
    if before.state != after.state {
        events.push(format!("the journal was {} and is {}", before.state, after.state));
    }
    if before.snapshot_lsn < after.snapshot_lsn {
        events.push(format!("a snapshot was taken, up to operation {}", after.snapshot_lsn));
    }
    events
}

fn of_cache(before: Option<&Cache>, after: Option<&Cache>) -> Option<String> {
    let now = &after?.now;
    let event = match before.map(|before| &before.now) {
        None => Some(format!("is new, pid {}", now.pid)),
        Some(then) => of_process((then.pid, then.lives), (now.pid, now.lives), then.deaths != now.deaths),
    };
    event.map(|event| format!("the cache process {event}"))
}

/// The replica process, and who is the primary.
fn of_cluster(before: Option<&Cluster>, after: Option<&Cluster>) -> Vec<String> {
    let (Some(before), Some(after)) = (before, after) else { return Vec::new() };
    let (then, now) = (&before.process, &after.process);
    let process = of_process((then.pid, then.lives), (now.pid, now.lives), then.deaths != now.deaths);
    let mut events: Vec<_> = process.map(|event| format!("the replica process {event}")).into_iter().collect();
    if before.remakes != after.remakes {
        events.push("the books were remade".to_owned());
    }
    match after.primary {
        primary if primary == before.primary && (primary.is_none() || before.term == after.term) => {}
        Some(primary) if primary == after.replica => {
            events.push(format!("this instance is the primary, in term {}", after.term));
        }
        Some(primary) => events.push(format!("replica {primary} is the primary, in term {}", after.term)),
        None => events.push("no primary is known".to_owned()),
    }
    events
}

/// What happened at bounds: it explains why a client was turned away, or why lines are missing.
fn of_bounds(before: &[Worker], after: &[Worker]) -> Vec<String> {
    let since = |count: fn(&Worker) -> u64| {
        let sum = |workers: &[Worker]| workers.iter().map(count).sum::<u64>();
        sum(after).saturating_sub(sum(before))
    };
    let evicted = since(|worker| worker.services.iter().map(|service| service.evicted).sum());
    let refused = since(|worker| worker.services.iter().map(|service| service.refused).sum());
    let dropped = since(|worker| worker.bounds.log_dropped);
    let told = [
        (evicted, "silent connection", "closed to make room"),
        (refused, "connection", "turned away: there was no room"),
        (dropped, "line", "of the access log dropped: it cannot be written"),
    ];
    let told = told.into_iter().filter(|(count, ..)| *count > 0);
    told.map(|(count, noun, what)| format!("{} {what}", plural(count, noun))).collect()
}

/// What happened to a process, by its pid and number of starts before and after, and whether it died in between.
fn of_process((pid, lives): (u32, u32), (now, lives_now): (u32, u32), died: bool) -> Option<String> {
    let ended = if died { "died" } else { "left as it was asked to" };
    match (pid, now) {
        _ if pid == now => None,
        (_, 0) => Some(format!("{ended}, pid {pid}")),
        (0, _) => Some(format!("is back, pid {now}")),
        _ if lives == lives_now => None,
        _ => {
            let times = lives_now.saturating_sub(lives);
            let often = if times > 1 { format!(" {times} times") } else { String::new() };
            Some(format!("{ended}{often} and is back, pid {pid} → {now}"))
        }
    }
}

fn plural(count: u64, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::cache::CacheNow;
    use crate::status::services::ServiceCounts;

    #[test]
    fn what_happened_at_bounds_is_summed_up_over_all_workers() {
        let worker = |evicted, dropped| {
            let services = vec![ServiceCounts { evicted, ..ServiceCounts::default() }];
            let mut worker = Worker { services, ..Worker::default() };
            worker.bounds.log_dropped = dropped;
            worker
        };
        let told = |after: [Worker; 2]| of_bounds(&[worker(5, 0), worker(1, 2)], &after);
        assert_eq!(told([worker(5, 0), worker(1, 2)]), Vec::<String>::new());
        assert_eq!(
            told([worker(6, 7), worker(4, 2)]),
            ["4 silent connections closed to make room", "7 lines of the access log dropped: it cannot be written"]
        );
    }

    #[test]
    fn the_cache_process_is_told_of_like_the_others() {
        let cache = |pid, lives, deaths| Cache {
            now: CacheNow { pid, lives, deaths, ..CacheNow::default() },
            ..Cache::default()
        };
        let told = |before: Option<&Cache>, after| of_cache(before, Some(&after));
        assert_eq!(of_cache(None, None), None);
        assert_eq!(told(None, cache(7, 1, 0)).unwrap(), "the cache process is new, pid 7");
        let first = cache(7, 1, 0);
        assert_eq!(told(Some(&first), cache(8, 2, 1)).unwrap(), "the cache process died and is back, pid 7 → 8");
        assert_eq!(told(Some(&first), first.clone()), None);
    }

    #[test]
    fn a_process_is_told_of_once_for_what_became_of_it() {
        let told = of_process;
        assert_eq!(told((12, 1), (12, 1), false), None);
        assert_eq!(told((12, 1), (0, 1), true).unwrap(), "died, pid 12");
        assert_eq!(told((0, 1), (13, 2), false).unwrap(), "is back, pid 13");
        assert_eq!(told((12, 1), (13, 2), true).unwrap(), "died and is back, pid 12 → 13");
        assert_eq!(told((12, 1), (15, 4), true).unwrap(), "died 3 times and is back, pid 12 → 15");
        assert_eq!(told((12, 1), (13, 2), false).unwrap(), "left as it was asked to and is back, pid 12 → 13");
    }

    #[test]
    fn who_is_the_primary_is_told_when_it_changes() {
        use crate::status::cluster::ReplicaProcess;

        let cluster = |primary, term, pid| Cluster {
            replica: 2,
            primary,
            term,
            process: ReplicaProcess { pid, lives: pid, deaths: pid - 1, ..ReplicaProcess::default() },
            ..Cluster::default()
        };
        let told = |before, after| of_cluster(Some(&before), Some(&after));
        assert_eq!(told(cluster(Some(1), 4, 1), cluster(Some(1), 4, 1)), [""; 0]);
        assert_eq!(told(cluster(Some(1), 4, 1), cluster(None, 5, 1)), ["no primary is known"]);
        assert_eq!(told(cluster(None, 5, 1), cluster(None, 6, 1)), [""; 0]);
        assert_eq!(told(cluster(None, 5, 1), cluster(Some(3), 6, 1)), ["replica 3 is the primary, in term 6"]);
        let again = ["the replica process died and is back, pid 1 → 2", "this instance is the primary, in term 7"];
        assert_eq!(told(cluster(Some(2), 6, 1), cluster(Some(2), 7, 2)), again);
        let remade = Cluster { remakes: 1, ..cluster(Some(1), 4, 1) };
        assert_eq!(told(cluster(Some(1), 4, 1), remade), ["the books were remade"]);
        assert_eq!(of_cluster(None, Some(&cluster(Some(1), 4, 1))), [""; 0], "it was not looked at");
    }
}
