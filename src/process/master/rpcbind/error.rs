//! Why a program is not registered.

use std::io;
use std::time::Duration;

use super::message::Entry;
use crate::base::onc_rpc::Fault;

/// What rpcbind was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// To make an entry.
    Set,
    /// To take one away.
    Unset,
    /// What entries there are.
    List,
}

impl Step {
    /// The procedure's name.
    pub fn name(self) -> &'static str {
        match self {
            Step::Set => "SET",
            Step::Unset => "UNSET",
            Step::List => "DUMP",
        }
    }
}

/// Why a program is not registered.
#[derive(Debug, thiserror::Error)]
pub enum RpcbindError {
    /// Nobody is there.
    #[error("{place}: {source}; is rpcbind running?")]
    Connect {
        /// Where.
        place: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// It does not answer in time.
    #[error("{place} has not answered {} within {} ms", step.name(), patience.as_millis())]
    Silent {
        /// Who.
        place: String,
        /// What it was asked.
        step: Step,
        /// How long it had.
        patience: Duration,
    },
    /// The connection broke.
    #[error("{place}, asked {}: {source}", step.name())]
    Broken {
        /// Who.
        place: String,
        /// What it was asked.
        step: Step,
        /// What the kernel said.
        source: io::Error,
    },
    /// Its answer is none.
    #[error("{place} has answered {} with what is no answer: {why}", step.name())]
    Garbage {
        /// Who.
        place: String,
        /// What it was asked.
        step: Step,
        /// What is wrong.
        why: String,
    },
    /// It does not take the call.
    #[error("{place} refuses {}: {fault}{}", step.name(), hint(*fault))]
    Fault {
        /// Who.
        place: String,
        /// What it was asked.
        step: Step,
        /// What it says.
        fault: Fault,
    },
    /// It does not do it.
    #[error(
        "{place} does not do {} for program {program:#x} version {version} by {netid} at {address}: what another user has registered, \
         only that user and root can replace", step.name()
    )]
    Refused {
        /// Who.
        place: String,
        /// What it was asked.
        step: Step,
        /// The program.
        program: u32,
        /// Its version.
        version: u32,
        /// The transport.
        netid: &'static str,
        /// The universal address.
        address: String,
    },
    /// The portmapper cannot have it.
    #[error(
        "{place} knows no {netid}, only TCP over IPv4; start rpcbind with its Unix socket, or listen at an address of IPv4"
    )]
    Unknown {
        /// Who.
        place: String,
        /// The transport.
        netid: &'static str,
    },
}

/// What is to be done about it, where something can be.
fn hint(fault: Fault) -> &'static str {
    match fault {
        Fault::Auth(_) => " (it believes root only, or who asks by its Unix socket)",
        _ => "",
    }
}

impl RpcbindError {
    /// It has answered that it does not do it.
    pub(super) fn refused(place: &str, step: Step, entry: &Entry) -> RpcbindError {
        RpcbindError::Refused {
            place: place.to_owned(),
            step,
            program: entry.program.program,
            version: entry.program.version,
            netid: entry.netid,
            address: entry.universal_address(),
        }
    }
}
