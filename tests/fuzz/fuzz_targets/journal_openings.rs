//! The file `openings` of a data directory, with right checksums in it and in `format`: whatever it says, it is read or refused.
#![no_main]

use std::path::Path;

use bank_vault::store::journal::Directory;
use bank_vault_fuzz::MemoryDisk;
use libfuzzer_sys::fuzz_target;

const ACCOUNTS: u32 = 20;

fuzz_target!(|data: &[u8]| {
    let identity = [0x11; 16];
    let seal = |mut bytes: Vec<u8>| {
        let crc = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        (bytes, crc)
    };
    let count = u32::try_from(data.len() / 12).unwrap_or(u32::MAX);
    let framed = [b"VLTOPENS", &1u32.to_le_bytes()[..], &count.to_le_bytes(), &identity, data].concat();
    for contents in [framed, data.to_vec()] {
        let (openings, crc) = seal(contents);
        let lines = format!(
            "bank-vault data 2\nidentity {}\nrecords-per-segment 32\naccounts {ACCOUNTS} opening-cents 100\nopenings {count} checksum {crc:08x}\n",
            "11".repeat(16)
        );
        let format = format!("{lines}crc32 {:08x}\n", crc32fast::hash(lines.as_bytes()));
        let files = [("data/format".into(), format.into_bytes()), ("data/openings".into(), openings)];
        let Ok(directory) = Directory::open_on(MemoryDisk::with(files), Path::new("data")) else { continue };
        let each: Vec<_> = directory.openings().from(0).collect();
        assert_eq!(each.len(), ACCOUNTS as usize);
        assert!(
            each.iter().all(|&(account, balance)| balance.0 >= 0 && directory.openings().of(account) == Some(balance))
        );
        assert_eq!(each.iter().map(|(_, balance)| balance.0).sum::<i64>(), directory.openings().total().0);
    }
});
