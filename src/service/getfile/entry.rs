//! GetFile's line in the table of services.

use crate::base::config::{CacheChannelKind, Roots, Settings};
use crate::base::limits::{
    CACHE_WINDOW_BYTES, GETFILE_DEFER_SECONDS, MAX_CACHE_FETCHES, MAX_CACHE_MEMFDS, MAX_CACHE_PASS_THROUGH,
    MIN_TRANSFER_SEGMENT_BYTES,
};
use crate::service::entry::{Entry, Listen, NamedPath, Needs, Saves, Tunable};
use crate::service::getfile::session::{GetFileService, read_map};
use crate::service::host::Host;
use crate::store::access_log;
use crate::store::connection::RingBytes;
use crate::store::transfer::Shape;

/// Files, one a connection.
pub const ENTRY: Entry = Entry {
    name: "getfile",
    listen: |settings| {
        settings.getfile.is_on().then_some(Listen {
            host: settings.host,
            port: settings.getfile.port,
            option: "--getfile-port (0: no GetFile)",
            optional: false,
            defer_seconds: Some(GETFILE_DEFER_SECONDS),
            connections: settings.getfile.connections,
        })
    },
    url: str::to_owned,
    needs,
    check: |settings| {
        let getfile = &settings.getfile;
        let map = getfile.map.as_deref().map(read_map).transpose();
        map.map_err(|why| format!("{why}; change it, or name another one with --getfile-map"))?;
        let roots = Roots::read(getfile.cache.upstream_ca.as_deref());
        roots.map_err(|why| format!("{why}; name a file of certificates (PEM) with --getfile-upstream-ca"))?;
        Ok(())
    },
    tunables: &[
        Tunable::new("--getfile-connections", Saves::Connections, |settings| &mut settings.getfile.connections),
        Tunable::new("--getfile-threads", Saves::Threads, |settings| &mut settings.getfile.threads),
        Tunable::new("--cache-segments", Saves::Transfers, |settings| &mut settings.getfile.cache.segments),
        Tunable {
            least: MIN_TRANSFER_SEGMENT_BYTES as u64,
            ..Tunable::new("--cache-segment-bytes", Saves::Transfers, |settings| {
                &mut settings.getfile.cache.segment_bytes
            })
        },
        Tunable {
            // With nothing kept, a map would be served in another way.
            least: 1,
            ..Tunable::mebibytes("--getfile-cache-mb", Saves::Growth, |settings| &mut settings.getfile.cache.bytes)
        },
    ],
    access_log: Some(access_log::Target::of),
    transfers: |settings| {
        let getfile = &settings.getfile;
        // The ranges of the options are those of shapes.
        getfile.uses_cache().then(|| Shape::new(getfile.cache.segments, getfile.cache.segment_bytes).ok()).flatten()
    },
    rings: RingBytes::STANDARD,
    open: |context| {
        let slots = context.instance.slots_of(context.service);
        Ok(Host::boxed(GetFileService::open(context)?, slots))
    },
};

fn needs(settings: &Settings) -> Needs {
    let (getfile, cache) = (&settings.getfile, &settings.getfile.cache);
    let uses_cache = getfile.uses_cache();
    let holds_files = uses_cache && cache.channel == CacheChannelKind::Memfd;
    let of_cache = |needed: bool, count: u64| if needed { count } else { 0 };
    Needs {
        // Those that read files, and the one that writes the access log.
        threads: getfile.threads as u64 + 1,
        // A file for each connection.
        descriptors: getfile.connections.into(),
        // A content that is held as a memfd is a file.
        file: (settings.http.log_rotate_bytes + access_log::RING_BYTES as u64)
            .max(of_cache(holds_files, cache.bytes.min(cache.object_bytes))),
        folders: NamedPath::of(getfile.root.as_ref(), "--getfile-root"),
        logs: NamedPath::of(settings.http.access_log.as_ref(), "--access-log"),
        // It fetches on more of them where they can be had.
        cache_threads: uses_cache.into(),
        cache_growth: of_cache(uses_cache, cache.bytes + MAX_CACHE_PASS_THROUGH as u64 * CACHE_WINDOW_BYTES),
        // One for each content, beside those that fetches have: a connection or a file, and a spool.
        cache_descriptors: of_cache(
            holds_files,
            (MAX_CACHE_MEMFDS + 2 * (MAX_CACHE_FETCHES + MAX_CACHE_PASS_THROUGH)) as u64,
        ),
        ..Needs::default()
    }
}
