//! `DATA/openings`: the balances that accounts were opened with one by one.
//!
//! A header of 32 bytes (what it is, version, how many, the identity of the data directory), 12 bytes for each account (number,
//! cents), in the order of the numbers, and the checksum of all that. Numbers are little-endian. `DATA/format` names the file by how many
//! accounts it has and by its checksum, and is written after it. So a file that `format` does not name was left by a first start
//! that was interrupted; nobody reads it.

use std::path::Path;

use byteorder::{ByteOrder, LittleEndian};

use super::balances::OpeningBalances;
use crate::base::vocab::{AccountId, Cents};
use crate::store::journal::disk::{self, Disk, DiskFile};
use crate::store::journal::error::{DiskError, Step, if_found};
use crate::store::journal::identity::{IDENTITY_BYTES, Identity};

const MAGIC: &[u8; 8] = b"VLTOPENS";
const VERSION: u32 = 1;

const AT_VERSION: usize = MAGIC.len();
const AT_COUNT: usize = AT_VERSION + 4;
const AT_IDENTITY: usize = AT_COUNT + 4;
const HEADER_BYTES: usize = AT_IDENTITY + IDENTITY_BYTES;
const ACCOUNT_BYTES: usize = 12;
const CRC_BYTES: usize = 4;
/// Accounts that are read or written in one call.
const ACCOUNTS_PER_CHUNK: usize = 1 << 16;

/// By what `format` names the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Seal {
    /// Accounts in it.
    pub count: u32,
    /// Its checksum.
    pub checksum: u32,
}

/// A file that was read: its balances, or what is wrong with it.
pub(in super::super) type Stored = Result<OpeningBalances, &'static str>;

/// Writes the file, durably.
pub(in super::super) fn write(
    disk: &dyn Disk,
    path: &Path,
    identity: &Identity,
    balances: &OpeningBalances,
) -> Result<Seal, DiskError> {
    let count =
        u32::try_from(balances.len()).map_err(|_| std::io::ErrorKind::FileTooLarge.into()).step("write", path)?;
    let mut hasher = crc32fast::Hasher::new();
    let mut each = balances.from(AccountId(0)).peekable();
    let written = disk::replace_by(disk, path, |file| {
        let mut bytes = header(identity, count).to_vec();
        let mut at = 0;
        loop {
            for (account, cents) in each.by_ref().take(ACCOUNTS_PER_CHUNK) {
                bytes.extend_from_slice(&account.0.to_le_bytes());
                bytes.extend_from_slice(&cents.0.to_le_bytes());
            }
            hasher.update(&bytes);
            let last = each.peek().is_none();
            if last {
                bytes.extend_from_slice(&hasher.clone().finalize().to_le_bytes());
            }
            file.write_at(&bytes, at)?;
            if last {
                return Ok(());
            }
            at += bytes.len() as u64;
            bytes.clear();
        }
    });
    written.step("write", path)?;
    Ok(Seal { count, checksum: hasher.finalize() })
}

fn header(identity: &Identity, count: u32) -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    bytes[..AT_VERSION].copy_from_slice(MAGIC);
    LittleEndian::write_u32(&mut bytes[AT_VERSION..], VERSION);
    LittleEndian::write_u32(&mut bytes[AT_COUNT..], count);
    bytes[AT_IDENTITY..].copy_from_slice(identity);
    bytes
}

/// Reads the file that `seal` is of. Memory is taken only for a file that is as long as it says.
pub(in super::super) fn read(
    disk: &dyn Disk,
    path: &Path,
    identity: &Identity,
    seal: Seal,
) -> Result<Stored, DiskError> {
    let Some(file) = if_found(disk.open(path)).step("open", path)? else {
        return Ok(Err("it is missing"));
    };
    let bytes = (HEADER_BYTES + CRC_BYTES) as u64 + u64::from(seal.count) * ACCOUNT_BYTES as u64;
    if file.size().step("measure", path)? != bytes {
        return Ok(Err("it is shorter or longer than it should be"));
    }
    read_contents(&*file, identity, seal).step("read", path)
}

fn read_contents(file: &dyn DiskFile, identity: &Identity, seal: Seal) -> std::io::Result<Stored> {
    let mut hasher = crc32fast::Hasher::new();
    let mut start = [0; HEADER_BYTES];
    let mut whole = file.read_at(&mut start, 0)? == start.len();
    hasher.update(&start);
    let mut at = start.len() as u64;
    let mut left = seal.count as usize;
    let mut balances = OpeningBalances::with_capacity(left);
    let mut possible = true;
    while left > 0 {
        let count = left.min(ACCOUNTS_PER_CHUNK);
        let mut chunk = vec![0; count * ACCOUNT_BYTES];
        whole &= file.read_at(&mut chunk, at)? == chunk.len();
        hasher.update(&chunk);
        for account in chunk.chunks_exact(ACCOUNT_BYTES) {
            let (number, cents) = (LittleEndian::read_u32(account), LittleEndian::read_i64(&account[4..]));
            possible &= balances.push(AccountId(number), Cents(cents));
        }
        at += chunk.len() as u64;
        left -= count;
    }
    let mut crc = [0; CRC_BYTES];
    whole &= file.read_at(&mut crc, at)? == crc.len();
    let checksum = hasher.finalize();
    Ok(if !whole || checksum.to_le_bytes() != crc {
        Err("its checksum is wrong")
    } else if start[AT_IDENTITY..] != *identity {
        Err("it belongs to another data directory")
    } else if start != header(identity, seal.count) {
        Err("it is of a format version that this program does not know")
    } else if checksum != seal.checksum {
        Err("it is not the one that `format` names")
    } else if !possible {
        Err("its checksum is right, but it says what cannot be")
    } else {
        Ok(balances)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::journal::disk::forgetful::Forgetful;

    const PATH: &str = "/data/openings";
    const IDENTITY: Identity = [7; IDENTITY_BYTES];

    fn written(balances: &OpeningBalances) -> (Forgetful, Seal) {
        let disk = Forgetful::default();
        let seal = write(&disk, Path::new(PATH), &IDENTITY, balances).unwrap();
        (disk, seal)
    }

    fn read_again(disk: &Forgetful, identity: &Identity, seal: Seal) -> Stored {
        read(disk, Path::new(PATH), identity, seal).unwrap()
    }

    fn some(count: u32) -> OpeningBalances {
        (0..count).map(|n| (AccountId(n * 3), Cents(i64::from(n) * 1001))).collect()
    }

    #[test]
    fn what_is_written_is_read_also_in_several_chunks() {
        let chunk = u32::try_from(ACCOUNTS_PER_CHUNK).unwrap();
        for count in [0, 1, 5, chunk - 1, chunk, chunk + 1, 2 * chunk, 2 * chunk + 7] {
            let balances = some(count);
            let (disk, seal) = written(&balances);
            assert_eq!(seal.count, count);
            let mut length = 0;
            disk.tamper(Path::new(PATH), |bytes| length = bytes.len());
            assert_eq!(length, 36 + 12 * count as usize);
            assert_eq!(read_again(&disk, &IDENTITY, seal).as_ref(), Ok(&balances), "{count}");
        }
    }

    #[test]
    fn every_damaged_bit_and_every_cut_is_seen() {
        let (disk, seal) = written(&some(5));
        let mut good = Vec::new();
        disk.tamper(Path::new(PATH), |bytes| good.clone_from(bytes));
        for bit in 0..good.len() * 8 {
            disk.tamper(Path::new(PATH), |bytes| bytes[bit / 8] ^= 1 << (bit % 8));
            assert_eq!(read_again(&disk, &IDENTITY, seal), Err("its checksum is wrong"), "bit {bit}");
            disk.tamper(Path::new(PATH), |bytes| bytes.clone_from(&good));
        }
        for length in 0..good.len() {
            disk.tamper(Path::new(PATH), |bytes| bytes.truncate(length));
            assert_eq!(read_again(&disk, &IDENTITY, seal), Err("it is shorter or longer than it should be"));
            disk.tamper(Path::new(PATH), |bytes| bytes.clone_from(&good));
        }
        disk.remove(Path::new(PATH)).unwrap();
        assert_eq!(read_again(&disk, &IDENTITY, seal), Err("it is missing"));
    }

    #[test]
    fn a_whole_file_that_is_another_one_is_not_taken() {
        let (disk, seal) = written(&some(5));
        assert_eq!(read_again(&disk, &[8; 16], seal), Err("it belongs to another data directory"));
        let other = Seal { checksum: seal.checksum ^ 1, ..seal };
        assert_eq!(read_again(&disk, &IDENTITY, other), Err("it is not the one that `format` names"));
        // With a right checksum: another version, and accounts and balances that cannot be.
        let body = HEADER_BYTES;
        for (at, with, why) in [
            (AT_VERSION, &[2][..], "it is of a format version that this program does not know"),
            (body, &[200, 0, 0, 0], "its checksum is right, but it says what cannot be"),
            (body + ACCOUNT_BYTES, &[0], "its checksum is right, but it says what cannot be"),
            (body + 4 + 7, &[0x80], "its checksum is right, but it says what cannot be"),
        ] {
            let (disk, seal) = written(&some(5));
            let mut checksum = 0;
            disk.tamper(Path::new(PATH), |bytes| {
                bytes[at..at + with.len()].copy_from_slice(with);
                let end = bytes.len() - CRC_BYTES;
                checksum = crc32fast::hash(&bytes[..end]);
                bytes[end..].copy_from_slice(&checksum.to_le_bytes());
            });
            assert_eq!(read_again(&disk, &IDENTITY, Seal { checksum, ..seal }), Err(why), "byte {at}");
        }
    }
}
