//! HTTP's line in the table of services.

use crate::base::limits::{CACHED_FILES, HTTP_DEFER_SECONDS};
use crate::service::entry::{Entry, Listen, NamedPath, Needs, Saves, Tunable};
use crate::service::host::Host;
use crate::service::http::session::HttpService;
use crate::store::access_log;
use crate::store::connection::RingBytes;

/// Files, and the pages that show the server, by HTTP.
pub const ENTRY: Entry = Entry {
    name: "http",
    listen: |settings| {
        settings.http.is_on().then_some(Listen {
            host: settings.host,
            port: settings.http.port,
            option: "--http-port (0: no HTTP)",
            optional: !settings.http.port_is_named,
            defer_seconds: Some(HTTP_DEFER_SECONDS),
            connections: settings.http.connections,
        })
    },
    url: |address| format!("http://{address}/"),
    needs: |settings| Needs {
        // Those that read files, and the one that writes the access log.
        threads: settings.http.threads as u64 + 1,
        growth: settings.http.cache_bytes,
        descriptors: CACHED_FILES,
        file: settings.http.log_rotate_bytes + access_log::RING_BYTES as u64,
        folders: NamedPath::of(settings.http.www.as_ref(), "--www"),
        logs: NamedPath::of(settings.http.access_log.as_ref(), "--access-log"),
        ..Needs::default()
    },
    check: |_| Ok(()),
    tunables: TUNABLES,
    access_log: Some(access_log::Target::of),
    transfers: |_| None,
    rings: RingBytes::STANDARD,
    open: |context| {
        let slots = context.instance.slots_of(context.service);
        Ok(Host::boxed(HttpService::open(context)?, slots))
    },
};

/// Options with which it takes less.
const TUNABLES: &[Tunable] = &[
    Tunable::new("--http-connections", Saves::Connections, |settings| &mut settings.http.connections),
    Tunable::new("--http-threads", Saves::Threads, |settings| &mut settings.http.threads),
    Tunable::mebibytes("--log-rotate-mb", Saves::File, |settings| &mut settings.http.log_rotate_bytes),
    Tunable::mebibytes("--cache-mb", Saves::Growth, |settings| &mut settings.http.cache_bytes),
];
