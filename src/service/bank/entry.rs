//! The bank's line in the table of services.

use crate::base::limits::{LOGIN_THREADS, LOOKUP_THREADS, PASSWORD_HASH_BYTES};
use crate::service::bank::session::BankService;
use crate::service::entry::{Entry, Listen, Needs, Saves, Tunable};
use crate::service::host::Host;
use crate::store::connection::RingBytes;

/// The ledger, by the binary protocol of `docs/PROTOCOL.md`.
pub const ENTRY: Entry = Entry {
    name: "bank",
    listen: |settings| {
        Some(Listen {
            host: settings.host,
            port: settings.port,
            option: "--port (0: any that is free)",
            optional: false,
            defer_seconds: None,
            connections: settings.max_connections,
        })
    },
    url: str::to_owned,
    needs: |_| Needs {
        threads: (LOGIN_THREADS + LOOKUP_THREADS) as u64,
        growth: LOGIN_THREADS as u64 * PASSWORD_HASH_BYTES,
        ..Needs::default()
    },
    check: |_| Ok(()),
    tunables: &[Tunable::new("--max-connections", Saves::Connections, |settings| &mut settings.max_connections)],
    access_log: None,
    transfers: |_| None,
    rings: RingBytes::STANDARD,
    open: |context| {
        let slots = context.instance.slots_of(context.service);
        Ok(Host::boxed(BankService::open(context)?, slots))
    },
};
