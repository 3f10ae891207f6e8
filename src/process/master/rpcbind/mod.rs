//! Registration of a program at rpcbind (RFC 1833), by which clients of ONC RPC find its port.
//!
//! It is done before the master's loop begins and undone after it has ended, never meanwhile: whoever is asked here is another process,
//! which may be hung. Each question has a second, and all that comes back is bounded.
//!
//! rpcbind is asked by its Unix socket, through which it knows who asks. Where that is not there, the portmapper (version 2 of the same)
//! is asked at port 111 of this machine; it only knows programs by TCP over IPv4, and only believes callers with a port below 1024.

mod call;
mod error;
mod message;
mod places;
mod socket;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;

use call::Caller;
pub use error::RpcbindError;
use error::Step;
use message::{Entry, Program};
pub use places::Places;

use crate::base::config::{RpcbindMode, Settings};

/// The program of the key-value service, `docs/kv.x`, and its version. The master knows nothing else of it.
const KV: Program = Program { program: 0x3123_0018, version: 1 };

/// Whether rpcbind answers, where it must: found out before anything is made.
///
/// # Errors
/// It does not, and `--rpcbind require` wants it to.
pub fn check(settings: &Settings, places: &Places) -> Result<(), RpcbindError> {
    match registered(settings) {
        Some(address) if settings.kv.rpcbind == RpcbindMode::Require => {
            let mut caller = Caller::find(places)?;
            Entry::all(KV, address).iter().try_for_each(|entry| caller.addresses(entry).map(drop))
        }
        _ => Ok(()),
    }
}

/// Registers the key-value service, where there is one, and the settings want it registered.
///
/// # Errors
/// It is not registered, and `--rpcbind require` wants it to be. With `try` that is a warning.
pub fn register_services(settings: &Settings, places: &Places) -> Result<(), RpcbindError> {
    let Some(address) = registered(settings) else { return Ok(()) };
    match register(KV, address, places) {
        Ok(replaced) => {
            let replaced = match &replaced[..] {
                [] => String::new(),
                all => format!(", in place of {}", all.join(" and ")),
            };
            log::info!("program {:#x} is registered at rpcbind for {address}{replaced}", KV.program);
            Ok(())
        }
        Err(error) if settings.kv.rpcbind == RpcbindMode::Require => Err(error),
        Err(error) => {
            log::warn!(
                "the key-value service is not registered at rpcbind: {error}; clients must be told its port, {}, and --rpcbind no \
                 says nothing of it",
                address.port()
            );
            Ok(())
        }
    }
}

/// Takes away what [`register_services`] did, where it is still so. What fails is said in the log.
pub fn withdraw_services(settings: &Settings, places: &Places) {
    let Some(address) = registered(settings) else { return };
    if let Err(error) = withdraw(KV, address, places) {
        log::info!("the key-value service could not be taken out of rpcbind: {error}");
    }
}

/// Where the key-value service listens, if it is to be registered.
fn registered(settings: &Settings) -> Option<SocketAddr> {
    let kv = &settings.kv;
    (kv.is_on() && kv.rpcbind != RpcbindMode::No).then(|| SocketAddr::new(kv.host(settings.host), kv.port))
}

/// Registers a program that listens at `address`, and returns what it replaces: what a server left behind that was killed, or what
/// another has.
///
/// # Errors
/// See [`RpcbindError`].
fn register(program: Program, address: SocketAddr, places: &Places) -> Result<Vec<String>, RpcbindError> {
    let mut caller = Caller::find(places)?;
    let mut replaced = Vec::new();
    for entry in Entry::all(program, address) {
        if caller.set(&entry)? {
            continue;
        }
        // rpcbind takes no other address for what it has.
        let others = caller.addresses(&entry)?;
        caller.unset(&entry)?;
        if !caller.set(&entry)? {
            return Err(RpcbindError::refused(caller.place(), Step::Set, &entry));
        }
        replaced.extend(others);
    }
    Ok(replaced)
}

/// Takes the program out where it is registered for `address`; what another server has registered meanwhile stays.
///
/// # Errors
/// See [`RpcbindError`].
fn withdraw(program: Program, address: SocketAddr, places: &Places) -> Result<(), RpcbindError> {
    let mut caller = Caller::find(places)?;
    for entry in Entry::all(program, address) {
        if caller.addresses(&entry)?.contains(&entry.universal_address()) && !caller.unset(&entry)? {
            return Err(RpcbindError::refused(caller.place(), Step::Unset, &entry));
        }
    }
    Ok(())
}
