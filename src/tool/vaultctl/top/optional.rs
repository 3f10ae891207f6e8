//! Lines about what not every instance has: peers, GetFile, its cache process, a key-value store. Where it has none, there are no lines.

use ratatui::text::Line;

use super::format::{bytes, percent, rate, time, whole};
use super::line::pairs;
use crate::service::kv::wire::{KvProcedure, KvStatus};
use crate::status::View;

/// A member that was not heard for so many milliseconds is silent; the others are heard several times a second.
const SILENT_MILLISECONDS: u64 = 2000;

/// A line about the cluster, where there are peers: what this instance is, and each other member with what is known of it, which is how
/// many records it lacks on the primary, and when it was heard.
pub(super) fn cluster(view: &View) -> Vec<Line<'_>> {
    let Some(cluster) = &view.cluster else { return Vec::new() };
    let primary = cluster.primary.map_or_else(|| "none".to_owned(), |primary| primary.to_string());
    let gone = (cluster.process.pid == 0).then(|| ("", "no process".to_owned()));
    let own = [("", format!("{} {}", cluster.role, cluster.replica)), ("term", cluster.term.to_string())];
    // A primary is the one, and has applied all.
    let is_primary = cluster.primary == Some(cluster.replica);
    let followed = [("primary", primary), ("to apply", whole(cluster.apply_lag))].into_iter().filter(|_| !is_primary);
    let others = cluster.members.iter().filter(|member| member.replica != cluster.replica);
    let others: Vec<_> = others
        .map(|member| match (member.heard_ms, member.lag) {
            (None, _) => format!("{}:silent", member.replica),
            (Some(heard), _) if heard >= SILENT_MILLISECONDS => format!("{}:silent {} s", member.replica, heard / 1000),
            (_, Some(lag)) => format!("{}:lag {}", member.replica, whole(lag)),
            _ => format!("{}:heard", member.replica),
        })
        .collect();
    vec![pairs("cluster", gone.into_iter().chain(own).chain(followed).chain([("others", others.join(" "))]))]
}

/// A line about GetFile, where it is served.
pub(super) fn getfile(view: &View) -> Vec<Line<'_>> {
    let Some(service) = view.instance.services.iter().find(|service| service.name == "getfile") else {
        return Vec::new();
    };
    let [fine, none, failed, invalid] = view.getfile.statuses.map(|status| rate(status.per_s));
    let values = [
        ("", service.address.clone()),
        ("OK", fine),
        ("not found", none),
        ("errors", failed),
        ("invalid", invalid),
        ("p99", time(view.getfile.times.p99_us)),
    ];
    vec![pairs("getfile", values)]
}

/// A line about the cache process, where there is one.
pub(super) fn cache(view: &View) -> Vec<Line<'_>> {
    let Some(cache) = &view.cache else { return Vec::new() };
    let now = &cache.now;
    let values = [
        ("", format!("{}/s", rate(cache.answers_total.per_s))),
        ("hits", percent(cache.hit_rate)),
        ("holds", format!("{} in {}", bytes(now.bytes), whole(now.entries))),
        ("fetching", whole(now.fetching)),
        ("waiting", whole(now.waiting)),
    ];
    let gone = (now.pid == 0).then(|| ("", "no process".to_owned()));
    vec![pairs("cache", gone.into_iter().chain(values))]
}

/// What a result can be beside KV_OK, first what says something about the server and not about the call.
const REFUSALS: [KvStatus; KvStatus::ALL.len() - 1] = [
    KvStatus::NoQuorum,
    KvStatus::NotPrimary,
    KvStatus::Behind,
    KvStatus::Busy,
    KvStatus::Conflict,
    KvStatus::Forbidden,
    KvStatus::TooLarge,
    KvStatus::Invalid,
    KvStatus::VersionMismatch,
    KvStatus::NotFound,
];

/// Two lines about the key-value store, where there is one, and a third one of what it has refused, once it has.
pub(super) fn key_values(view: &View) -> Vec<Line<'_>> {
    let Some(kv) = &view.kv else { return Vec::new() };
    let service = view.instance.services.iter().find(|service| service.name == "kv");
    let address = service.map_or_else(|| "not served".to_owned(), |service| service.address.clone());
    let called = [
        ("get", KvProcedure::Get),
        ("put", KvProcedure::Put),
        ("delete", KvProcedure::Delete),
        ("scan", KvProcedure::Scan),
    ];
    let called = called.map(|(name, procedure)| (name, rate(kv.calls[procedure.index()].per_s)));
    let first = [("", address)].into_iter().chain(called).chain([("p99", time(kv.times.p99_us))]);
    let table = &kv.table;
    let used = format!("{} of {} ({})", whole(table.blocks), whole(table.capacity), percent(Some(table.share())));
    let second = [
        ("keys", whole(table.keys)),
        ("blocks", used),
        ("clients", whole(kv.connections)),
        ("waiting", whole(kv.waiting)),
    ];
    let refused = REFUSALS.map(|status| (status.name().trim_start_matches("KV_"), kv.results[status.index()].total));
    let refused: Vec<_> = refused.into_iter().filter(|(_, count)| *count > 0).collect();
    let third = (!refused.is_empty()).then(|| {
        let counts = refused.into_iter().map(|(name, count)| (name, whole(count)));
        pairs("", [("", "refused".to_owned())].into_iter().chain(counts))
    });
    [pairs("kv", first), pairs("", second)].into_iter().chain(third).collect()
}
