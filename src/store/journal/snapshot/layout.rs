//! The bytes of a snapshot's parts.

use byteorder::{ByteOrder, LittleEndian};

use crate::base::limits::MAX_LSN;
use crate::base::vocab::{Cents, Lsn};
use crate::store::journal::directory::{Directory, IDENTITY_BYTES};
use crate::store::journal::running_totals::RunningTotals;

pub const HEADER_BYTES: usize = 96;
pub const ACCOUNT_BYTES: usize = 16;
pub const ACCOUNTS_PER_BLOCK: usize = 4096;
/// A full block: its accounts, and their checksum.
pub const BLOCK_BYTES: usize = ACCOUNTS_PER_BLOCK * ACCOUNT_BYTES + CRC_BYTES;
pub const END_BYTES: usize = 24;
pub const CRC_BYTES: usize = 4;

const MAGIC: &[u8; 8] = b"VLTSNAPS";
const END_MAGIC: &[u8; 8] = b"VLTSNEND";
/// Without pairs of a key-value store, and with them.
const VERSIONS: [u32; 2] = [1, 2];

const AT_MAGIC: usize = 0;
const AT_VERSION: usize = AT_MAGIC + MAGIC.len();
const AT_ACCOUNTS: usize = AT_VERSION + 4;
const AT_IDENTITY: usize = AT_ACCOUNTS + 4;
const AT_LSN: usize = AT_IDENTITY + IDENTITY_BYTES;
const AT_DEPOSITED: usize = AT_LSN + 8;
const AT_WITHDRAWN: usize = AT_DEPOSITED + 8;
const AT_OPENING: usize = AT_WITHDRAWN + 8;
const AT_PAYLOAD: usize = AT_OPENING + 8;
const AT_RESERVED: usize = AT_PAYLOAD + 8;
const AT_CRC: usize = AT_RESERVED + 20;

const _: () = assert!(AT_CRC + CRC_BYTES == HEADER_BYTES);

/// What a snapshot says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The record of the cut: replay begins behind it.
    pub lsn: Lsn,
    /// How many accounts there were.
    pub accounts: u32,
    /// All deposits up to the cut.
    pub deposited: Cents,
    /// All withdrawals up to the cut.
    pub withdrawn: Cents,
}

/// Continues a checksum.
pub fn crc_behind(chain: u32, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(chain);
    hasher.update(bytes);
    hasher.finalize()
}

impl Header {
    /// Bytes of the accounts, without checksums.
    pub fn payload(&self) -> u64 {
        u64::from(self.accounts) * ACCOUNT_BYTES as u64
    }

    /// The byte behind the accounts.
    pub fn end_of_accounts(&self) -> u64 {
        let blocks = u64::from(self.accounts).div_ceil(ACCOUNTS_PER_BLOCK as u64);
        HEADER_BYTES as u64 + self.payload() + blocks * CRC_BYTES as u64
    }

    /// Bytes of the whole file, where no pairs may follow the accounts.
    pub fn file_bytes(&self) -> u64 {
        self.end_of_accounts() + END_BYTES as u64
    }

    /// The header's bytes and their checksum; `has_pairs` where pairs may follow the accounts.
    pub fn encode(&self, directory: &Directory, has_pairs: bool) -> ([u8; HEADER_BYTES], u32) {
        let mut bytes = [0; HEADER_BYTES];
        bytes[AT_MAGIC..AT_VERSION].copy_from_slice(MAGIC);
        LittleEndian::write_u32(&mut bytes[AT_VERSION..], VERSIONS[usize::from(has_pairs)]);
        LittleEndian::write_u32(&mut bytes[AT_ACCOUNTS..], self.accounts);
        bytes[AT_IDENTITY..AT_LSN].copy_from_slice(directory.identity());
        LittleEndian::write_u64(&mut bytes[AT_LSN..], self.lsn.0);
        LittleEndian::write_i64(&mut bytes[AT_DEPOSITED..], self.deposited.0);
        LittleEndian::write_i64(&mut bytes[AT_WITHDRAWN..], self.withdrawn.0);
        LittleEndian::write_i64(&mut bytes[AT_OPENING..], directory.openings().total_of(self.accounts).0);
        LittleEndian::write_u64(&mut bytes[AT_PAYLOAD..], self.payload());
        let crc = crc_behind(0, &bytes[..AT_CRC]);
        LittleEndian::write_u32(&mut bytes[AT_CRC..], crc);
        (bytes, crc)
    }

    /// Reads a header of `directory`, its checksum, and whether pairs may follow the accounts; the reason where it is not one.
    pub fn decode(directory: &Directory, bytes: &[u8; HEADER_BYTES]) -> Result<(Self, u32, bool), &'static str> {
        if &bytes[AT_MAGIC..AT_VERSION] != MAGIC {
            return Err("it is not a snapshot");
        }
        let crc = LittleEndian::read_u32(&bytes[AT_CRC..]);
        if crc != crc_behind(0, &bytes[..AT_CRC]) {
            return Err("its header's checksum is wrong");
        }
        let version = LittleEndian::read_u32(&bytes[AT_VERSION..]);
        if !VERSIONS.contains(&version) {
            return Err("it is of a format version that this program does not know");
        }
        let has_pairs = version == VERSIONS[1];
        if bytes[AT_IDENTITY..AT_LSN] != *directory.identity() {
            return Err("it belongs to another data directory");
        }
        let header = Header {
            lsn: Lsn(LittleEndian::read_u64(&bytes[AT_LSN..])),
            accounts: LittleEndian::read_u32(&bytes[AT_ACCOUNTS..]),
            deposited: Cents(LittleEndian::read_i64(&bytes[AT_DEPOSITED..])),
            withdrawn: Cents(LittleEndian::read_i64(&bytes[AT_WITHDRAWN..])),
        };
        // The opening total, the size and the reserved zeros follow from the rest.
        if header.accounts > directory.openings().accounts() || header.encode(directory, has_pairs).0 != *bytes {
            return Err("its header does not fit the accounts that the data directory was opened with");
        }
        let opening = directory.openings().total_of(header.accounts);
        let flows = RunningTotals::new(opening, header.deposited, header.withdrawn);
        if header.lsn.0 > MAX_LSN || flows.is_none() {
            return Err("its header's checksum is right, but it says what cannot be");
        }
        Ok((header, crc, has_pairs))
    }
}

pub fn encode_account(balance: Cents, lsn: Lsn) -> [u8; ACCOUNT_BYTES] {
    let mut bytes = [0; ACCOUNT_BYTES];
    LittleEndian::write_i64(&mut bytes, balance.0);
    LittleEndian::write_u64(&mut bytes[8..], lsn.0);
    bytes
}

/// An account's balance and the record that it is of; `None` where it is no balance, or no record.
pub fn decode_account(bytes: &[u8]) -> Option<(Cents, Lsn)> {
    let (balance, lsn) = (LittleEndian::read_i64(bytes), LittleEndian::read_u64(&bytes[8..]));
    (balance >= 0 && lsn <= MAX_LSN).then_some((Cents(balance), Lsn(lsn)))
}

/// The end mark behind a block of checksum `chain`; `newest` is the newest record in the snapshot.
pub fn encode_end(newest: Lsn, chain: u32) -> [u8; END_BYTES] {
    let mut bytes = [0; END_BYTES];
    bytes[..8].copy_from_slice(END_MAGIC);
    LittleEndian::write_u64(&mut bytes[8..], newest.0);
    let crc = crc_behind(chain, &bytes[..END_BYTES - CRC_BYTES]);
    LittleEndian::write_u32(&mut bytes[END_BYTES - CRC_BYTES..], crc);
    bytes
}
