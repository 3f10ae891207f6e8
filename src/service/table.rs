//! The services of this server. A new one is a folder beside the others, and a line here.

use crate::base::limits::MAX_SERVICES;
use crate::service::entry::Entry;
use crate::service::{bank, getfile, http, kv};

/// All of them; the first one's address is what scripts find behind `ready:`.
pub static SERVICES: &[Entry] = &[bank::entry::ENTRY, http::entry::ENTRY, getfile::entry::ENTRY, kv::entry::ENTRY];

const _: () = assert!(SERVICES.len() <= MAX_SERVICES, "shared memory has rows for so many");
