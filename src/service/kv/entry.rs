//! The key-value service's line in the table of services.

use crate::base::config::Settings;
use crate::base::limits::{KV_RING_BYTES, KV_SCAN_THREADS};
use crate::service::entry::{Entry, Listen, Needs, Saves, Tunable};
use crate::service::host::Host;
use crate::service::kv::session::KvService;
use crate::store::connection::RingBytes;
use crate::store::instance::control::KV_SERVICE;

/// Keys and values, by ONC RPC.
pub const ENTRY: Entry = Entry {
    name: KV_SERVICE,
    listen: |settings| {
        settings.kv.is_on().then(|| Listen {
            host: settings.kv.host(settings.host),
            port: settings.kv.port,
            option: "--kv-port (0: no key-value store)",
            optional: false,
            defer_seconds: None,
            connections: settings.kv.connections,
        })
    },
    url: str::to_owned,
    needs: |_: &Settings| Needs { threads: KV_SCAN_THREADS as u64, ..Needs::default() },
    check: |_| Ok(()),
    tunables: &[
        Tunable::new("--kv-connections", Saves::Connections, |settings| &mut settings.kv.connections),
        Tunable::mebibytes("--kv-mb", Saves::KeyValues, |settings| &mut settings.kv.table_bytes),
    ],
    access_log: None,
    transfers: |_| None,
    rings: RingBytes::new(KV_RING_BYTES, KV_RING_BYTES),
    open: |context| {
        let slots = context.instance.slots_of(context.service);
        Ok(Host::boxed(KvService::open(context)?, slots))
    },
};
