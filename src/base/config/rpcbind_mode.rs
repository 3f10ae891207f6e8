//! Whether a service is registered at rpcbind.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// Whether a service of ONC RPC is registered at rpcbind, so that clients find its port by its program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RpcbindMode {
    /// It is not
    No,
    /// It is where rpcbind answers, and a warning tells where it does not
    #[default]
    Try,
    /// It must be: without rpcbind there is no start
    Require,
}
