//! A slot of `DATA/raft`, as it is and with a right checksum: what is believed can be, and is written again as the same bytes.
#![no_main]

use bank_vault::store::cluster::State;
use bank_vault::store::cluster::state::SLOT_BYTES;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    // The file is mostly zeros, so what is given is the beginning of a slot.
    let identity = [7; 16];
    let mut slot = [0; SLOT_BYTES];
    let length = data.len().min(SLOT_BYTES - 4);
    slot[..length].copy_from_slice(&data[..length]);
    let _ = State::decode(&identity, data);
    let crc = crc32fast::hash(&slot[..SLOT_BYTES - 4]);
    slot[SLOT_BYTES - 4..].copy_from_slice(&crc.to_le_bytes());
    let Ok((generation, state)) = State::decode(&identity, &slot) else { return };
    assert_eq!(state.check(), Ok(()));
    assert_eq!(state.encode(&identity, generation), slot);
});
