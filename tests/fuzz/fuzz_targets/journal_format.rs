//! The file `format` of a data directory, with a right checksum: whatever it says, a directory is opened or refused.
#![no_main]

use std::path::Path;

use bank_vault::store::journal::Directory;
use bank_vault_fuzz::{MemoryDisk, text};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some(text) = text(data) else { return };
    let crc = crc32fast::hash(text.as_bytes());
    for contents in [text.to_owned(), format!("{text}crc32 {crc:08x}\n")] {
        let disk = MemoryDisk::with([("data/format".into(), contents.into_bytes())]);
        let Ok(directory) = Directory::open_on(disk, Path::new("data")) else { continue };
        assert!(directory.records_per_segment() > 0 && directory.openings().accounts() > 0);
        assert!(directory.openings().total().0 >= 0);
        // Its segments have a size.
        let _ = bank_vault::store::journal::segment::bytes_of_segment(directory.records_per_segment());
    }
});
