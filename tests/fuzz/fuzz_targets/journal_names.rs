//! Names of files beside the journal's segments: each is a segment's own name, or passed over.
#![no_main]

use std::path::Path;

use bank_vault::base::vocab::{Cents, Lsn};
use bank_vault::store::journal::disk::Disk;
use bank_vault::store::journal::{Directory, Reader, segment};
use bank_vault_fuzz::{MemoryDisk, text};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some(names) = text(data) else { return };
    let disk = MemoryDisk::with([]);
    let directory = Directory::open_or_create_on(disk.clone(), Path::new("data"), 3, Cents(100), 32);
    let directory = directory.expect("in memory");
    let names: Vec<&str> = names.split('\n').filter(|name| !name.is_empty() && !name.contains('/')).collect();
    for name in &names {
        disk.create(&directory.journal().join(name)).expect("in memory");
    }
    for first in segment::list(&directory).expect("in memory") {
        let path = directory.segment_path(first);
        let name = path.file_name().and_then(|name| name.to_str()).expect("digits");
        assert!(names.contains(&name), "{name} is none of {names:?}");
    }
    let mut reader = Reader::open(&directory);
    let oldest = reader.oldest();
    for lsn in [1, 32, 33, oldest.ok().flatten().map_or(7, |lsn| lsn.0), u64::MAX] {
        let _ = reader.get(Lsn(lsn));
    }
});
