//! A sample as metrics for Prometheus.

mod exposition;

use std::fmt::Display;

use super::bounds::OfService;
use super::numbers::HTTP_CODES;
use super::sample::{Journal, Sample, Worker};
use super::services::{BANK, ServiceCounts};
use crate::service::bank::wire::{Opcode, Status};
use crate::store::instance::histogram::Times;
use exposition::{Exposition, Label, Type, seconds};

/// A metric with one value for each worker: its name, type, help and value.
type OfWorker = (&'static str, Type, &'static str, fn(&Worker) -> u64);
/// A metric that each worker has one value of for each service, likewise.
type OfEachService = (&'static str, Type, &'static str, fn(&ServiceCounts) -> u64);
/// A metric of the journal, likewise.
type OfJournal = (&'static str, Type, &'static str, fn(&Journal) -> u64);

use Type::{Counter, Gauge, Histogram};

const OF_WORKER: &[OfWorker] = &[
    ("vault_worker_up", Gauge, "Whether the worker has a process.", |w| u64::from(w.pid != 0)),
    ("vault_worker_starts_total", Counter, "Processes started in the worker's place.", |w| w.lives.into()),
    ("vault_worker_deaths_total", Counter, "Processes of its place that ended without having been asked to.", |w| {
        w.deaths.into()
    }),
    ("vault_worker_failed_starts_total", Counter, "Processes that could not be started in its place.", |w| {
        w.failed_starts.into()
    }),
    ("vault_worker_repairs_total", Counter, "Operations of dead processes of its place that were settled.", |w| {
        w.repairs.into()
    }),
    ("vault_event_loop_turns_total", Counter, "Turns of the event loop.", |w| w.turns),
    ("vault_connections_accepted_total", Counter, "Of the bank (old name, to go after version 0.1).", |w| w.accepted),
    ("vault_connections_closed_total", Counter, "Of the bank (old name, to go after version 0.1).", |w| w.closed),
    ("vault_connections_refused_total", Counter, "Of the bank (old name, to go after version 0.1).", |w| w.refused),
    ("vault_connections_resumed_total", Counter, "Connections taken over from other workers.", |w| w.resumed),
    ("vault_bad_frames_total", Counter, "Frames that were none.", |w| w.bad_frames),
    ("vault_received_bytes_total", Counter, "Bytes received by the bank.", |w| w.bytes_in),
    ("vault_sent_bytes_total", Counter, "Bytes sent by the bank.", |w| w.bytes_out),
    ("vault_lane_tickets", Gauge, "Tickets that wait in the worker's lane.", |w| w.lane_depth.into()),
    ("vault_lane_capacity_tickets", Gauge, "Tickets that may.", |w| w.lane_capacity.into()),
    ("vault_lane_contended_total", Counter, "Times that the lane was in use by the master.", |w| w.lane_contended),
    ("vault_http_connections_accepted_total", Counter, "Of HTTP (old name, to go after version 0.1).", |w| {
        w.web.accepted
    }),
    ("vault_http_connections_refused_total", Counter, "Of HTTP (old name, to go after version 0.1).", |w| {
        w.web.refused
    }),
    ("vault_http_sent_bytes_total", Counter, "Bytes sent over HTTP, heads included.", |w| w.web.bytes_out),
    ("vault_http_cache_hits_total", Counter, "Requests that the cache had the file for.", |w| w.web.cache_hits),
    ("vault_http_cache_misses_total", Counter, "Requests that it did not.", |w| w.web.cache_misses),
    ("vault_http_cache_evictions_total", Counter, "Files put out for others.", |w| w.web.cache_evictions),
    ("vault_http_cache_bytes", Gauge, "Bytes that the cache holds.", |w| w.web.cache_bytes),
    ("vault_http_cache_files", Gauge, "Files that the cache holds.", |w| w.web.cache_entries),
    ("vault_http_queued_files", Gauge, "Files that are read or wait for a thread.", |w| w.web.queued),
    ("vault_http_overloaded_total", Counter, "Requests refused because too many waited.", |w| w.web.overloaded),
    ("vault_http_log_waits_total", Counter, "Lines that waited for room in the access log.", |w| w.web.log_waits),
    ("vault_http_event_streams", Gauge, "Streams of the dashboard.", |w| w.web.streams),
    ("vault_http_event_streams_refused_total", Counter, "Streams refused because there were too many.", |w| {
        w.bounds.streams_refused
    }),
    ("vault_http_log_dropped_lines_total", Counter, "Lines of the access log that were dropped.", |w| {
        w.bounds.log_dropped
    }),
    ("vault_http_log_held_bytes", Gauge, "Bytes of lines that wait, of connections that have ended.", |w| {
        w.bounds.log_held_bytes
    }),
    ("vault_logins_failed_total", Counter, "LOGINs that failed.", |w| w.bounds.logins_failed),
    ("vault_logins_waiting", Gauge, "LOGINs that wait for a thread.", |w| w.bounds.logins_waiting),
    ("vault_logins_refused_total", Counter, "LOGINs refused because too many waited.", |w| w.bounds.logins_refused),
    ("vault_lookups_waiting", Gauge, "HISTORYs and TOTALS that wait for a thread.", |w| w.bounds.lookups_waiting),
    ("vault_lookups_refused_total", Counter, "HISTORYs and TOTALS refused because too many waited.", |w| {
        w.bounds.lookups_refused
    }),
];

const OF_SERVICE: &[OfEachService] = &[
    ("vault_service_connections", Gauge, "Connections that are open.", |s| s.connections),
    ("vault_service_connections_accepted_total", Counter, "Connections that came from their clients.", |s| s.accepted),
    ("vault_service_connections_closed_total", Counter, "Connections that ended.", |s| s.closed),
    ("vault_service_connections_refused_total", Counter, "Connections turned away for want of room.", |s| s.refused),
    ("vault_service_connections_evicted_total", Counter, "Silent ones closed to make room.", |s| s.evicted),
    ("vault_service_connections_silent", Gauge, "Connections that could be, now.", |s| s.silent),
    ("vault_service_connections_closing", Gauge, "Connections that wait for their clients to close, too.", |s| {
        s.closing
    }),
];

const OF_JOURNAL: &[OfJournal] = &[
    ("vault_journal_up", Gauge, "Whether there is a journal process.", |j| u64::from(j.pid != 0)),
    ("vault_journal_starts_total", Counter, "Journal processes started.", |j| j.lives.into()),
    ("vault_journal_deaths_total", Counter, "Journal processes that ended without having been asked to.", |j| {
        j.deaths.into()
    }),
    ("vault_journal_failed_starts_total", Counter, "Journal processes that could not be started.", |j| {
        j.failed_starts.into()
    }),
    ("vault_journal_last_lsn", Gauge, "The last operation.", |j| j.last_lsn),
    ("vault_journal_durable_lsn", Gauge, "The last operation that is on disk.", |j| j.durable_lsn),
    ("vault_journal_snapshot_lsn", Gauge, "The last operation that the newest snapshot covers.", |j| j.snapshot_lsn),
    ("vault_journal_ring_records", Gauge, "Records in the ring that are not durable.", |j| j.waiting),
    ("vault_journal_ring_capacity_records", Gauge, "Places of the ring; 0 without a journal.", |j| j.capacity),
    ("vault_journal_groups_total", Counter, "Groups that one sync each made durable.", |j| j.groups),
    ("vault_journal_records_total", Counter, "Records made durable.", |j| j.records),
    ("vault_keys", Gauge, "Idempotency keys that are remembered.", |j| j.keys),
    ("vault_keys_capacity", Gauge, "As many as are remembered at most.", |j| j.key_window),
];

/// All metrics of a sample, in the text format of Prometheus, version 0.0.4.
#[must_use]
pub fn metrics(sample: &Sample) -> String {
    let mut out = Exposition::default();
    instance(&mut out, sample);
    for (name, kind, help, value) in OF_WORKER {
        out.metric(name, *kind, help);
        for worker in &sample.workers {
            out.value(&[("worker", &worker.worker)], value(worker));
        }
    }
    worker_tables(&mut out, &sample.workers);
    worker_times(&mut out, &sample.workers);
    let journal = &sample.journal;
    for (name, kind, help, value) in OF_JOURNAL {
        out.metric(name, *kind, help);
        out.value(&[], value(journal));
    }
    out.metric("vault_journal_state", Gauge, "1 for the state that the journal is in.");
    for state in ["absent", "open", "no space", "failed"] {
        out.value(&[("state", &state)], u64::from(state == journal.state));
    }
    let age = "Time since the journal process last came by; 0 without one.";
    out.metric("vault_journal_heartbeat_age_seconds", Gauge, age);
    out.value(&[], seconds(journal.heartbeat_age_ms.saturating_mul(1_000_000)));
    out.metric("vault_journal_sync_seconds", Histogram, "How long groups took to be written and synced.");
    out.times(&[], &journal.sync_times);
    out.into_text()
}

fn instance(out: &mut Exposition, sample: &Sample) {
    let about = &sample.instance;
    out.metric("vault_build_info", Gauge, "The program; always 1.");
    out.value(&[("version", &about.version)], 1);
    out.metric("vault_instance_info", Gauge, "The instance; always 1.");
    out.value(&[("instance", &about.name), ("boot", &about.boot), ("accept", &about.accept_mode)], 1);
    out.metric("vault_uptime_seconds", Gauge, "Time since the instance began.");
    out.value(&[], seconds(about.uptime_ms.saturating_mul(1_000_000)));
    out.metric("vault_log_lines_dropped_total", Counter, "Lines of the log that could not be written.");
    out.value(&[], about.log_lines_dropped);
    out.metric("vault_accept_paused", Gauge, "Whether the master waits for room in a lane.");
    out.value(&[], u64::from(sample.accept_paused));
    out.metric("vault_stopping", Gauge, "Whether the instance is on its way out.");
    out.value(&[], u64::from(sample.stopping));
}

/// Metrics with one value for each worker and each value of another label.
fn worker_tables(out: &mut Exposition, workers: &[Worker]) {
    for (name, kind, help, value) in OF_SERVICE {
        out.metric(name, *kind, help);
        for worker in workers {
            for service in &worker.services {
                out.value(&[("worker", &worker.worker), ("service", &service.name)], value(service));
            }
        }
    }
    by_old_names(out, workers);
    out.metric("vault_connections_dropped_total", Counter, "Connections dropped, by the reason.");
    for worker in workers {
        let bounds = &worker.bounds;
        let reasons = [
            ("idle", worker.idle_dropped),
            ("slow", worker.slow_dropped),
            ("login", bounds.closed_without_login),
            ("password", bounds.closed_guessing),
            ("flood", bounds.closed_flooding),
        ];
        for (reason, count) in reasons {
            out.value(&[("worker", &worker.worker), ("reason", &reason)], count);
        }
    }
    table(out, ("vault_requests_total", "opcode", "Requests to the bank."), workers, &Opcode::ALL, |w| &w.requests);
    table(out, ("vault_answers_total", "status", "Answers of the bank."), workers, &Status::ALL, |w| &w.answers);
    table(out, ("vault_http_answers_total", "code", "Answers over HTTP."), workers, &HTTP_CODES, |w| &w.web.answers);
}

/// What the metrics of [`OF_SERVICE`] were called when there were two services; to go after version 0.1.
fn by_old_names(out: &mut Exposition, workers: &[Worker]) {
    type Old = (&'static str, Type, fn(&Worker) -> OfService);
    let all: [Old; 3] = [
        ("vault_connections", Gauge, |w| OfService { bank: w.connections_of(BANK), web: w.web.connections }),
        ("vault_connections_evicted_total", Counter, |w| w.bounds.evicted),
        ("vault_connections_silent", Gauge, |w| w.bounds.silent),
    ];
    for (name, kind, value) in all {
        out.metric(name, kind, "Of bank and HTTP (old name, to go after version 0.1).");
        for worker in workers {
            let OfService { bank, web } = value(worker);
            for (service, count) in [("bank", bank), ("web", web)] {
                out.value(&[("worker", &worker.worker), ("service", &service)], count);
            }
        }
    }
}

fn table<L: Display, const N: usize>(
    out: &mut Exposition,
    (name, label, help): (&'static str, &'static str, &'static str),
    workers: &[Worker],
    labels: &[L; N],
    counts: impl Fn(&Worker) -> &[u64; N],
) {
    out.metric(name, Counter, help);
    for worker in workers {
        for (content, count) in labels.iter().zip(counts(worker)) {
            out.value(&[("worker", &worker.worker), (label, content)], count);
        }
    }
}

/// Times of each worker.
fn worker_times(out: &mut Exposition, workers: &[Worker]) {
    type OfTime = (&'static str, Type, &'static str, fn(&Worker) -> u64);
    let in_ns: [OfTime; 3] = [
        ("vault_worker_heartbeat_age_seconds", Gauge, "Time since the worker last came by.", |w| {
            w.heartbeat_age_ms.saturating_mul(1_000_000)
        }),
        ("vault_dispatch_wait_seconds_total", Counter, "Waits of connections between accept and the worker.", |w| {
            w.dispatch_wait_sum_us.saturating_mul(1000)
        }),
        ("vault_dispatch_wait_longest_seconds", Gauge, "The longest of these waits.", |w| {
            w.dispatch_wait_max_us.saturating_mul(1000)
        }),
    ];
    for (name, kind, help, ns) in in_ns {
        out.metric(name, kind, help);
        for worker in workers {
            out.value(&[("worker", &worker.worker)], seconds(ns(worker)));
        }
    }
    type OfTimes = (&'static str, &'static str, fn(&Worker) -> &Times);
    let histograms: [OfTimes; 2] = [
        (
            "vault_answer_seconds",
            "From when a request of the bank could be read to when its reply could be sent.",
            |w| &w.answer_times,
        ),
        ("vault_http_answer_seconds", "From when a request was whole to when its answer was sent.", |w| {
            &w.web.answer_times
        }),
    ];
    for (name, help, times) in histograms {
        out.metric(name, Histogram, help);
        for worker in workers {
            let labels: [Label<'_>; 1] = [("worker", &worker.worker)];
            out.times(&labels, times(worker));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_that_this_program_does_not_know_is_shown_by_its_name() {
        let third = ServiceCounts { name: "third".to_owned(), connections: 3, evicted: 2, ..ServiceCounts::default() };
        let workers = vec![Worker { worker: 1, services: vec![third], ..Worker::default() }];
        let text = metrics(&Sample { workers, ..Sample::default() });
        for line in [
            "vault_service_connections{worker=\"1\",service=\"third\"} 3",
            "vault_service_connections_evicted_total{worker=\"1\",service=\"third\"} 2",
            "vault_connections{worker=\"1\",service=\"bank\"} 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
    }
}
