//! A sample as metrics for Prometheus.

mod cache;
mod cluster;
mod exposition;
mod kv;

use std::fmt::Display;

use super::numbers::HTTP_CODES;
use super::sample::{Journal, Sample, Worker};
use super::services::{BANK, OfService, ServiceCounts};
use crate::service::bank::wire::{Opcode, Status};
use crate::service::getfile::wire::response::Response;
use crate::service::kv::wire::{KvProcedure, KvStatus};
use crate::store::instance::histogram::Times;
use cache::of_cache;
use cluster::of_cluster;
use exposition::{Exposition, Of, Type, seconds};
use kv::of_kv_table;

use Type::{Counter, Gauge, Histogram};

const OF_WORKER: &[Of<Worker>] = &[
    ("vault_worker_up", Gauge, "Whether the worker has a process.", |w| u64::from(w.now.pid != 0)),
    ("vault_worker_starts_total", Counter, "Processes started in the worker's place.", |w| w.now.lives.into()),
    ("vault_worker_deaths_total", Counter, "Processes of its place that ended without having been asked to.", |w| {
        w.now.deaths.into()
    }),
    ("vault_worker_failed_starts_total", Counter, "Processes that could not be started in its place.", |w| {
        w.failed_starts.into()
    }),
    ("vault_worker_repairs_total", Counter, "Operations of dead processes of its place that were settled.", |w| {
        w.now.repairs.into()
    }),
    ("vault_event_loop_turns_total", Counter, "Turns of the event loop.", |w| w.turns),
    ("vault_connections_accepted_total", Counter, "Of the bank (old name, to go after version 0.1).", |w| w.accepted),
    ("vault_connections_closed_total", Counter, "Of the bank (old name, to go after version 0.1).", |w| w.closed),
    ("vault_connections_refused_total", Counter, "Of the bank (old name, to go after version 0.1).", |w| w.refused),
    ("vault_connections_resumed_total", Counter, "Connections taken over from other workers.", |w| w.resumed),
    ("vault_bad_frames_total", Counter, "Frames that were none.", |w| w.bad_frames),
    ("vault_received_bytes_total", Counter, "Bytes received by the bank.", |w| w.bytes_in),
    ("vault_sent_bytes_total", Counter, "Bytes sent by the bank.", |w| w.bytes_out),
    ("vault_lane_tickets", Gauge, "Tickets that wait in the worker's lane.", |w| w.now.lane_depth.into()),
    ("vault_lane_capacity_tickets", Gauge, "Tickets that may.", |w| w.now.lane_capacity.into()),
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
    ("vault_getfile_sent_bytes_total", Counter, "Bytes sent over GetFile, heads included.", |w| w.getfile.bytes_out),
    ("vault_getfile_overloaded_total", Counter, "Requests refused because too many waited.", |w| w.getfile.overloaded),
    ("vault_getfile_log_waits_total", Counter, "Lines that waited for room in the access log.", |w| {
        w.getfile.log_waits
    }),
    ("vault_getfile_segment_waits_total", Counter, "Requests that found no free segment at once.", |w| {
        w.getfile.segment_waits
    }),
    ("vault_getfile_queue_full_total", Counter, "Requests that found the queue to the cache process full.", |w| {
        w.getfile.queue_full
    }),
    ("vault_getfile_asked_again_total", Counter, "Requests put to a cache process again.", |w| w.getfile.asked_again),
    ("vault_getfile_cache_timeouts_total", Counter, "Requests that the cache process was too slow for.", |w| {
        w.getfile.cache_timeouts
    }),
    ("vault_getfile_slow_closed_total", Counter, "Slow clients closed while others waited for a segment.", |w| {
        w.getfile.slow_closed
    }),
    ("vault_kv_received_bytes_total", Counter, "Bytes received by the key-value store.", |w| w.kv.bytes_in),
    ("vault_kv_sent_bytes_total", Counter, "Bytes sent by the key-value store.", |w| w.kv.bytes_out),
    ("vault_kv_faults_total", Counter, "Calls answered with an error of RPC.", |w| w.kv.faults),
    ("vault_kv_bad_records_total", Counter, "Records that were no call, or none that is taken.", |w| w.kv.bad_records),
    ("vault_kv_scans_refused_total", Counter, "Scans refused because too many waited.", |w| w.kv.scans_refused),
    ("vault_logins_failed_total", Counter, "LOGINs that failed.", |w| w.bounds.logins_failed),
    ("vault_logins_waiting", Gauge, "LOGINs that wait for a thread.", |w| w.bounds.logins_waiting),
    ("vault_logins_refused_total", Counter, "LOGINs refused because too many waited.", |w| w.bounds.logins_refused),
    ("vault_lookups_waiting", Gauge, "HISTORYs and TOTALS that wait for a thread.", |w| w.bounds.lookups_waiting),
    ("vault_lookups_refused_total", Counter, "HISTORYs and TOTALS refused because too many waited.", |w| {
        w.bounds.lookups_refused
    }),
];

const OF_INSTANCE: &[Of<Sample>] = &[
    ("vault_log_lines_dropped_total", Counter, "Lines of the log that could not be written.", |s| {
        s.instance.log_lines_dropped
    }),
    ("vault_accept_paused", Gauge, "Whether the master waits for room in a lane.", |s| s.accept_paused.into()),
    ("vault_stopping", Gauge, "Whether the instance is on its way out.", |s| s.stopping.into()),
];

const OF_SERVICE: &[Of<ServiceCounts>] = &[
    ("vault_service_connections", Gauge, "Connections that are open.", |s| s.connections),
    ("vault_service_connections_accepted_total", Counter, "Connections that came from their clients.", |s| s.accepted),
    ("vault_service_connections_closed_total", Counter, "Connections that ended.", |s| s.closed),
    ("vault_service_connections_refused_total", Counter, "Connections turned away for want of room.", |s| s.refused),
    ("vault_service_connections_evicted_total", Counter, "Silent ones closed to make room.", |s| s.evicted),
    ("vault_service_connections_silent", Gauge, "Connections that could be, now.", |s| s.silent),
    ("vault_service_connections_closing", Gauge, "Connections that wait for their clients to close, too.", |s| {
        s.closing
    }),
    ("vault_service_connections_waiting", Gauge, "Connections that wait for the log, now.", |s| s.waiting),
];

const OF_JOURNAL: &[Of<Journal>] = &[
    ("vault_journal_up", Gauge, "Whether there is a journal process.", |j| u64::from(j.now.pid != 0)),
    ("vault_journal_starts_total", Counter, "Journal processes started.", |j| j.now.lives.into()),
    ("vault_journal_deaths_total", Counter, "Journal processes that ended without having been asked to.", |j| {
        j.now.deaths.into()
    }),
    ("vault_journal_failed_starts_total", Counter, "Journal processes that could not be started.", |j| {
        j.failed_starts.into()
    }),
    ("vault_journal_last_lsn", Gauge, "The last operation.", |j| j.now.last_lsn),
    ("vault_journal_on_disk_lsn", Gauge, "The last operation that is on disk.", |j| j.now.on_disk_lsn),
    ("vault_journal_committed_lsn", Gauge, "The last operation that may be shown.", |j| j.now.committed_lsn),
    ("vault_journal_durable_lsn", Gauge, "Committed (old name, to go after version 0.1).", |j| j.now.durable_lsn),
    ("vault_journal_snapshot_lsn", Gauge, "The last operation that the newest snapshot covers.", |j| {
        j.now.snapshot_lsn
    }),
    ("vault_journal_ring_records", Gauge, "Records in the ring that are not on disk.", |j| j.now.waiting),
    ("vault_journal_ring_capacity_records", Gauge, "Places of the ring; 0 without a journal.", |j| j.now.capacity),
    ("vault_journal_groups_total", Counter, "Groups of records, each synced by one call.", |j| j.groups),
    ("vault_journal_records_total", Counter, "Records written and synced.", |j| j.records),
    ("vault_keys", Gauge, "Idempotency keys that are remembered.", |j| j.now.keys),
    ("vault_keys_capacity", Gauge, "As many as are remembered at most.", |j| j.now.key_window),
];

/// All metrics of a sample, in the text format of Prometheus, version 0.0.4.
pub fn metrics(sample: &Sample) -> String {
    let mut out = Exposition::default();
    instance(&mut out, sample);
    of_workers(&mut out, &sample.workers, OF_WORKER);
    worker_tables(&mut out, &sample.workers);
    of_workers(&mut out, &sample.workers, TIMES_OF_WORKER);
    let bank = "From when a request of the bank could be read to when its reply could be sent.";
    histograms(&mut out, &sample.workers, "vault_answer_seconds", bank, |w| &w.answer_times);
    let web = "From when a request was whole to when its answer was sent.";
    histograms(&mut out, &sample.workers, "vault_http_answer_seconds", web, |w| &w.web.answer_times);
    histograms(&mut out, &sample.workers, "vault_getfile_answer_seconds", web, |w| &w.getfile.answer_times);
    let kv = "From when a call could be read to when its reply could be sent.";
    histograms(&mut out, &sample.workers, "vault_kv_answer_seconds", kv, |w| &w.kv.answer_times);
    let journal = &sample.journal;
    out.of_one(journal, OF_JOURNAL);
    out.metric("vault_journal_state", Gauge, "1 for the state that the journal is in.");
    for state in ["absent", "open", "no space", "failed"] {
        out.value(&[("state", &state)], u64::from(state == journal.now.state));
    }
    let age = "Time since the journal process last came by; 0 without one.";
    out.metric("vault_journal_heartbeat_age_seconds", Gauge, age);
    out.value(&[], seconds(journal.now.heartbeat_age_ms.saturating_mul(1_000_000)));
    out.metric("vault_journal_sync_seconds", Histogram, "How long groups took to be written and synced.");
    out.times(&[], &journal.sync_times);
    if let Some(cache) = &sample.cache {
        of_cache(&mut out, cache);
    }
    if let Some(table) = &sample.kv {
        of_kv_table(&mut out, table);
    }
    if let Some(cluster) = &sample.cluster {
        of_cluster(&mut out, cluster);
    }
    out.text
}

fn instance(out: &mut Exposition, sample: &Sample) {
    let about = &sample.instance;
    out.metric("vault_build_info", Gauge, "The program; always 1.");
    out.value(&[("version", &about.version)], 1);
    out.metric("vault_instance_info", Gauge, "The instance; always 1.");
    out.value(&[("instance", &about.name), ("boot", &about.boot), ("accept", &about.accept_mode)], 1);
    out.metric("vault_uptime_seconds", Gauge, "Time since the instance began.");
    out.value(&[], seconds(about.uptime_ms.saturating_mul(1_000_000)));
    out.of_one(sample, OF_INSTANCE);
}

fn of_workers<V: Display>(out: &mut Exposition, workers: &[Worker], metrics: &[Of<Worker, V>]) {
    for (name, kind, help, value) in metrics {
        out.metric(name, *kind, help);
        for worker in workers {
            out.value(&[("worker", &worker.now.worker)], value(worker));
        }
    }
}

const OLD: &str = "Of bank and HTTP (old name, to go after version 0.1).";
/// What metrics of [`OF_SERVICE`] were called when there were two services.
const OLD_NAMES: &[Of<Worker, OfService>] = &[
    ("vault_connections", Gauge, OLD, |w| OfService { bank: w.connections_of(BANK), web: w.web.connections }),
    ("vault_connections_evicted_total", Counter, OLD, |w| w.bounds.evicted),
    ("vault_connections_silent", Gauge, OLD, |w| w.bounds.silent),
];

/// Metrics with one value for each worker and each value of another label.
fn worker_tables(out: &mut Exposition, workers: &[Worker]) {
    for (name, kind, help, value) in OF_SERVICE {
        table(out, (name, *kind, help), "service", workers, |worker| {
            worker.services.iter().map(|service| (&service.name, value(service))).collect()
        });
    }
    for (name, kind, help, value) in OLD_NAMES {
        table(out, (name, *kind, help), "service", workers, |worker| {
            let OfService { bank, web } = value(worker);
            vec![("bank", bank), ("web", web)]
        });
    }
    let dropped = ("vault_connections_dropped_total", Counter, "Connections dropped, by the reason.");
    table(out, dropped, "reason", workers, |worker| {
        vec![
            ("idle", worker.idle_dropped),
            ("slow", worker.slow_dropped),
            ("login", worker.bounds.closed_without_login),
            ("password", worker.bounds.closed_guessing),
            ("flood", worker.bounds.closed_flooding),
        ]
    });
    let requests = ("vault_requests_total", Counter, "Requests to the bank.");
    table(out, requests, "opcode", workers, |w| Opcode::ALL.into_iter().zip(w.requests).collect());
    let answers = ("vault_answers_total", Counter, "Answers of the bank.");
    table(out, answers, "status", workers, |w| Status::ALL.into_iter().zip(w.answers).collect());
    let http_answers = ("vault_http_answers_total", Counter, "Answers over HTTP.");
    table(out, http_answers, "code", workers, |w| HTTP_CODES.into_iter().zip(w.web.answers).collect());
    let getfile_answers = ("vault_getfile_answers_total", Counter, "Responses over GetFile.");
    table(out, getfile_answers, "status", workers, |w| Response::WORDS.into_iter().zip(w.getfile.answers).collect());
    let kv_calls = ("vault_kv_calls_total", Counter, "Calls of the key-value store that were answered.");
    table(out, kv_calls, "procedure", workers, |w| KvProcedure::ALL.into_iter().zip(w.kv.calls).collect());
    let kv_results = ("vault_kv_results_total", Counter, "Their results.");
    table(out, kv_results, "status", workers, |w| KvStatus::ALL.into_iter().zip(w.kv.results).collect());
}

/// A metric with one value for each worker and each of its values of the label.
fn table<'w, L: Display>(
    out: &mut Exposition,
    (name, kind, help): (&'static str, Type, &'static str),
    label: &'static str,
    workers: &'w [Worker],
    values: impl Fn(&'w Worker) -> Vec<(L, u64)>,
) {
    out.metric(name, kind, help);
    for worker in workers {
        for (content, value) in values(worker) {
            out.value(&[("worker", &worker.now.worker), (label, &content)], value);
        }
    }
}

const TIMES_OF_WORKER: &[Of<Worker, String>] = &[
    ("vault_worker_heartbeat_age_seconds", Gauge, "Time since the worker last came by.", |w| {
        seconds(w.now.heartbeat_age_ms.saturating_mul(1_000_000))
    }),
    ("vault_dispatch_wait_seconds_total", Counter, "Waits of connections between accept and the worker.", |w| {
        seconds(w.dispatch_wait_sum_us.saturating_mul(1000))
    }),
    ("vault_dispatch_wait_longest_seconds", Gauge, "The longest of these waits.", |w| {
        seconds(w.dispatch_wait_max_us.saturating_mul(1000))
    }),
];

/// The histogram of each worker.
fn histograms(
    out: &mut Exposition,
    workers: &[Worker],
    name: &'static str,
    help: &'static str,
    times: fn(&Worker) -> &Times,
) {
    out.metric(name, Histogram, help);
    for worker in workers {
        out.times(&[("worker", &worker.now.worker)], times(worker));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::sample::WorkerNow;

    #[test]
    fn a_service_that_this_program_does_not_know_is_shown_by_its_name() {
        let third = ServiceCounts { name: "third".to_owned(), connections: 3, evicted: 2, ..ServiceCounts::default() };
        let workers = vec![Worker {
            now: WorkerNow { worker: 1, ..WorkerNow::default() },
            services: vec![third],
            ..Worker::default()
        }];
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
