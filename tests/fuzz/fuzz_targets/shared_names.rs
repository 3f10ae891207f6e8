//! Names of objects in /dev/shm: what is taken for ours has the very name that we would give it.
#![no_main]

use bank_vault::ipc::names::{FoundObject, SHM_FOLDER};
use bank_vault_fuzz::text;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some(name) = text(data) else { return };
    let Some(object) = FoundObject::parse(name) else { return };
    assert_eq!(object.to_string(), format!("{SHM_FOLDER}/{name}"));
    assert_ne!(object.generation.boot, 0);
});
