//! Records of the journal: what is read is written as it was.
#![no_main]

use bank_vault::base::vocab::Lsn;
use bank_vault::store::journal::record::{check, place_of, seal};
use bank_vault::store::journal::{RECORD_BYTES, Record};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some(bytes) = data.first_chunk::<RECORD_BYTES>() else { return };
    let mut sealed = *bytes;
    let crc = seal(&mut sealed, Lsn(0), 7);
    assert!(check(&sealed, 7) && !check(&sealed, 8), "{crc:x}");
    let Ok(record) = Record::decode(bytes) else { return };
    assert_eq!(place_of(bytes), record.place());
    let _ = (
        record.time_ns(),
        record.operation().map(|operation| (operation.deposited_and_withdrawn(), operation.is_done())),
    );
    let written = record.encode();
    assert_eq!(Record::decode(&written), Ok(record));
});
