//! What an instance is made for.

use crate::ipc::names::Generation;
use crate::store::ledger::Shape;

/// A service that an instance offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceBlueprint {
    /// What it is called, in at most 31 bytes.
    pub name: &'static str,
    /// Slots for its connections, the `RESERVED_CONNECTIONS` among them; 0 where it is off.
    pub slots: u32,
}

/// What an instance is made for.
pub struct Blueprint<'a> {
    /// Its name and boot.
    pub generation: Generation,
    /// The accounts, and how their operations are kept.
    pub ledger: Shape,
    /// What it offers, at most `MAX_SERVICES`, in the order of the table.
    pub services: &'a [ServiceBlueprint],
    /// Tickets that a lane may hold.
    pub queue_depth: u32,
    /// How connections reach workers, as `AcceptMode` is ordered; for tools.
    pub accept_mode: u32,
    /// The data directory; for tools.
    pub data: &'a str,
}
