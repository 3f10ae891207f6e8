//! The settings of the key-value service.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use super::check::number;
use super::rpcbind_mode::RpcbindMode;
use super::{ConfigError, Values, range};
use crate::base::limits::MAX_KV_VALUE_BYTES;

/// The checked settings of the key-value service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kv {
    /// TCP port; 0 is off.
    pub port: u16,
    /// Bytes of its table: keys, values and what leads to them.
    pub table_bytes: u64,
    /// Bytes of the longest value that is taken, up to [`MAX_KV_VALUE_BYTES`].
    pub max_value_bytes: usize,
    /// Connections at a time, beside those of other services.
    pub connections: u32,
    /// Whether it listens where the bank does, and not on a loopback address only.
    pub public: bool,
    /// Whether it is registered at rpcbind.
    pub rpcbind: RpcbindMode,
}

impl Default for Kv {
    fn default() -> Self {
        Kv {
            port: 0,
            table_bytes: 64 << 20,
            max_value_bytes: MAX_KV_VALUE_BYTES,
            connections: 128,
            public: false,
            rpcbind: RpcbindMode::Try,
        }
    }
}

impl Kv {
    /// Whether there is such a service.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.port != 0
    }

    /// Where it listens, in a server whose bank listens at `host`.
    #[must_use]
    pub fn host(&self, host: IpAddr) -> IpAddr {
        match host {
            _ if self.public || host.to_canonical().is_loopback() => host,
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        }
    }

    /// Checks what `values` say of it.
    pub(super) fn resolve(values: &Values) -> Result<Kv, ConfigError> {
        let default = Kv::default();
        Ok(Kv {
            port: number(range::KV_PORT, values.kv_port, default.port)?,
            table_bytes: match values.kv_mb {
                Some(mebibytes) => range::KV_MB.check::<u64>(mebibytes)? << 20,
                None => default.table_bytes,
            },
            max_value_bytes: number(range::KV_MAX_VALUE, values.kv_max_value, default.max_value_bytes)?,
            connections: number(range::KV_CONNECTIONS, values.kv_connections, default.connections)?,
            public: values.kv_public.unwrap_or(default.public),
            rpcbind: values.rpcbind.unwrap_or(default.rpcbind),
        })
    }

    /// With which settings it goes on after an upgrade from a program that had `running`: what its table, its slots and its listener were
    /// made for stays, and so does its registration at rpcbind.
    pub(super) fn upgraded_from(&self, running: &Kv) -> Kv {
        Kv { max_value_bytes: self.max_value_bytes, ..running.clone() }
    }

    /// Whether each of them is the same in `other`, by name.
    pub(super) fn compare(&self, other: &Kv) -> [(&'static str, bool); 6] {
        // A pattern without `..`: a new setting that is not compared here does not compile.
        let Kv { port, table_bytes, max_value_bytes, connections, public, rpcbind } = self;
        [
            ("kv-port", *port == other.port),
            ("kv-mb", *table_bytes == other.table_bytes),
            ("kv-max-value", *max_value_bytes == other.max_value_bytes),
            ("kv-connections", *connections == other.connections),
            ("kv-public", *public == other.public),
            ("rpcbind", *rpcbind == other.rpcbind),
        ]
    }
}
