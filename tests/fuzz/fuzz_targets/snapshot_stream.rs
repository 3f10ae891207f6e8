//! The books that another member sends, with right checksums: what is taken in can be installed and read, and ends where it should.
#![no_main]

use std::path::Path;

use bank_vault::base::vocab::{Cents, Lsn};
use bank_vault::store::journal::{
    Directory, DiscardRecords, SnapshotSink, SnapshotSource, finish_install, incoming_end, recover,
};
use bank_vault_fuzz::{MemoryDisk, pieces};
use libfuzzer_sys::fuzz_target;

const ACCOUNTS: u32 = 3;
const OPENING: i64 = 100;
const PER_SEGMENT: u64 = 32;

/// Bytes of a header, of format version 2, which has pairs, or 1.
fn header_bytes(stream: &[u8]) -> usize {
    if stream.get(8..12) == Some(&[2, 0, 0, 0][..]) { 92 } else { 84 }
}

/// With the checksums of the header and of the whole.
fn with_checksums(stream: &[u8]) -> Vec<u8> {
    let (mut stream, header) = (stream.to_vec(), header_bytes(stream));
    if stream.len() >= header {
        let crc = crc32fast::hash(&stream[..header - 4]);
        stream[header - 4..header].copy_from_slice(&crc.to_le_bytes());
    }
    if let Some(end) = stream.len().checked_sub(4).filter(|&end| end >= header) {
        let crc = crc32fast::hash(&stream[..end]);
        stream[end..].copy_from_slice(&crc.to_le_bytes());
    }
    stream
}

fuzz_target!(|data: &[u8]| {
    let Some((seed, stream)) = data.split_first() else { return };
    let directory =
        Directory::open_or_create_on(MemoryDisk::with([]), Path::new("data"), ACCOUNTS, Cents(OPENING), PER_SEGMENT);
    let directory = directory.expect("in memory");
    // A seed that is odd leaves the checksums as they are.
    let stream = if seed % 2 == 0 { with_checksums(stream) } else { stream.to_vec() };
    let Some(last) = stream.get(72..80).and_then(|word| word.try_into().ok()).map(u64::from_le_bytes) else { return };
    let mut sink = SnapshotSink::create(&directory, stream.len() as u64, Lsn(last)).expect("there is room");
    let cut = [&[*seed], &stream[..]].concat();
    if pieces(&cut, 300).try_for_each(|piece| sink.write(piece)).and_then(|()| sink.finish()).is_err() {
        assert_eq!(incoming_end(&directory).expect("in memory"), None, "what was refused is not whole");
        return;
    }
    assert_eq!(incoming_end(&directory).expect("in memory"), Some(Lsn(last)));
    // The disk in memory has no directories that could be renamed. That it can be read the sink has seen to.
    let written = SnapshotSource::open(&directory, Lsn(1), Lsn(last)).expect("in memory");
    assert!(written.is_none(), "the books themselves are untouched");
    let recovered = recover(&directory, Lsn(0), &mut DiscardRecords, |_| ()).expect("in memory");
    assert_eq!(recovered.end, Lsn(0));
    assert!(finish_install(&directory, Lsn(last + 1)).is_err(), "it ends with another record");
});
