//! Which settings of a running instance a new program takes over, and which may differ.

use super::{GetFile, GetFileCache, Http, Settings};

impl Settings {
    /// The settings with which a program that was started with these goes on where one with `running` was: what shared memory, the
    /// journal and the listening sockets were made for stays, the rest is new. The names of those that stay although they differ.
    #[must_use]
    pub fn upgraded_from(self, running: &Settings) -> (Settings, Vec<&'static str>) {
        let Settings { http, getfile, kv, .. } = &self;
        let http = Http {
            www: http.www.clone(),
            threads: http.threads,
            cache_bytes: http.cache_bytes,
            timeout: http.timeout,
            access_log: http.access_log.clone(),
            log_rotate_bytes: http.log_rotate_bytes,
            log_keep: http.log_keep,
            status_public: http.status_public,
            ..running.http.clone()
        };
        // A service that is open has something to serve; and its cache process is there, or is not.
        let has_source = getfile.root.is_some() || getfile.map.is_some() || getfile.upstream.is_some();
        let may_change = has_source && getfile.uses_cache() == running.getfile.uses_cache();
        let from = if may_change { getfile } else { &running.getfile };
        let getfile = GetFile {
            root: from.root.clone(),
            map: from.map.clone(),
            upstream: from.upstream.clone(),
            cache: GetFileCache {
                channel: running.getfile.cache.channel,
                segments: running.getfile.cache.segments,
                segment_bytes: running.getfile.cache.segment_bytes,
                ..from.cache.clone()
            },
            threads: getfile.threads,
            timeout: getfile.timeout,
            ..running.getfile.clone()
        };
        let settings = Settings {
            users: self.users.clone(),
            idle_timeout: self.idle_timeout,
            rate_limit: self.rate_limit,
            worker_timeout: self.worker_timeout,
            flush_interval: self.flush_interval,
            snapshot_every: self.snapshot_every,
            keep_journal: self.keep_journal,
            http,
            getfile,
            kv: kv.upgraded_from(&running.kv),
            ..running.clone()
        };
        let stay = self.differences(&settings);
        (settings, stay)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::time::Duration;

    use super::*;
    use crate::base::config::{AcceptMode, Durability, Kv, RpcbindMode};

    #[test]
    fn what_the_memory_was_made_for_stays_and_the_rest_is_new() {
        let running = Settings::default();
        let new = Settings {
            host: IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2)),
            port: 1,
            workers: running.workers + 1,
            accounts: 5,
            opening_balances: Some("books".into()),
            instance: "other".to_owned(),
            data: "elsewhere".into(),
            max_connections: 3,
            accept: AcceptMode::Shared,
            queue_depth: 3,
            durability: Durability::None,
            key_window: 12_345,
            segment_records: 4096,
            users: Some("users".into()),
            idle_timeout: None,
            worker_timeout: Duration::from_secs(77),
            http: Http { port: 81, connections: 7, cache_bytes: 0, log_keep: 9, ..Http::default() },
            ..running.clone()
        };
        let (settings, stay) = new.clone().upgraded_from(&running);
        assert_eq!(
            stay,
            [
                "host",
                "port",
                "workers",
                "accounts",
                "opening-balances",
                "instance",
                "data",
                "max-connections",
                "accept",
                "queue-depth",
                "durability",
                "key-window",
                "segment-records",
                "http-port",
                "http-connections"
            ]
        );
        assert_eq!(running.differences(&settings), ["users", "idle-timeout", "worker-timeout", "cache-mb", "log-keep"]);
        assert_eq!(new.differences(&settings), stay);
    }

    #[test]
    fn the_key_value_service_stays_where_and_as_large_as_it_is() {
        let running = Settings { kv: Kv { port: 9001, ..Kv::default() }, ..Settings::default() };
        let kv = Kv {
            port: 9002,
            table_bytes: 1 << 20,
            max_value_bytes: 100,
            connections: 3,
            public: true,
            rpcbind: RpcbindMode::No,
        };
        let (settings, stays) = Settings { kv, ..Settings::default() }.upgraded_from(&running);
        assert_eq!(running.differences(&settings), ["kv-max-value"]);
        assert_eq!(stays, ["kv-port", "kv-mb", "kv-connections", "kv-public", "rpcbind"]);
    }

    #[test]
    fn getfile_may_get_another_source_where_the_cache_process_stays_what_it_is() {
        let with = |change: fn(&mut GetFile)| {
            let mut getfile = GetFile { port: 7779, map: Some("m".into()), ..GetFile::default() };
            change(&mut getfile);
            Settings { getfile, ..Settings::default() }
        };
        let running = with(|_| {});
        for (change, differences, stay) in [
            ((|getfile| getfile.map = Some("n".into())) as fn(&mut GetFile), &["getfile-map"][..], &[][..]),
            (|getfile| getfile.cache.ttl = Duration::ZERO, &["getfile-ttl"], &[]),
            (|getfile| getfile.cache.segments = 1, &[], &["cache-segments"]),
            (|getfile| getfile.cache.bytes = 0, &[], &["getfile-cache-mb"]),
            (|getfile| (getfile.map, getfile.root) = (None, Some("d".into())), &[], &["getfile-root", "getfile-map"]),
            (|getfile| getfile.map = None, &[], &["getfile-map"]),
        ] {
            let (settings, stays) = with(change).upgraded_from(&running);
            assert_eq!((&running.differences(&settings)[..], &stays[..]), (differences, stay));
        }
    }
}
