//! The bytes of a snapshot on its way. The header, little-endian:
//!
//! | offset | field |
//! | --- | --- |
//! | 0, 8 | "VLTBOOKS"; version: u32 |
//! | 12 | accounts that follow, as a snapshot file has them: u32; 0 for none |
//! | 16 | accounts of the sender: u32; 4 bytes zero |
//! | 24 | records of a segment: u64 |
//! | 32 | the record of the snapshot's cut: u64 |
//! | 40, 48 | all deposits, all withdrawals up to the cut: i64 |
//! | 56 | what all accounts of the sender opened with: i64 |
//! | 64, 72 | the first record, the last record: u64 |
//! | 80 | CRC-32 of all before |
//!
//! In version 2, where keys and values follow the accounts, at 80 the bytes that these take, with lengths and end: u64, and the CRC-32 at 88.

use byteorder::{ByteOrder, LittleEndian};

use super::error::Flaw;
use crate::base::limits::MAX_LSN;
use crate::base::vocab::{Cents, Lsn};
use crate::store::journal::directory::Directory;
use crate::store::journal::record::RECORD_BYTES;
use crate::store::journal::running_totals::RunningTotals;
use crate::store::journal::segment::first_of;
use crate::store::journal::snapshot::{ACCOUNT_BYTES, LENGTH_BYTES};

/// Bytes of the longest header.
pub const MAX_HEADER_BYTES: usize = AT_PAIRS_CRC + 4;
/// Bytes of the header of a stream without pairs.
pub const HEADER_BYTES: usize = AT_CRC + 4;
/// Bytes of the checksum of all before.
pub const END_BYTES: usize = 4;

const MAGIC: &[u8; 8] = b"VLTBOOKS";
/// Without pairs of a key-value store, and with them.
const VERSIONS: [u32; 2] = [1, 2];

const AT_VERSION: usize = 8;
const AT_ACCOUNTS: usize = 12;
const AT_BOOKS: usize = 16;
const AT_ZERO: usize = 20;
const AT_SEGMENT: usize = 24;
const AT_CUT: usize = 32;
const AT_DEPOSITED: usize = 40;
const AT_WITHDRAWN: usize = 48;
const AT_OPENING: usize = 56;
const AT_FIRST: usize = 64;
const AT_LAST: usize = 72;
const AT_CRC: usize = 80;
const AT_PAIRS: usize = 80;
const AT_PAIRS_CRC: usize = 88;

/// What a snapshot says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Accounts that follow; 0 where there is no snapshot file.
    pub accounts: u32,
    /// The record of the cut, all deposits and all withdrawals up to there.
    pub cut: Lsn,
    pub deposited: Cents,
    pub withdrawn: Cents,
    /// The records that follow.
    pub first: Lsn,
    pub last: Lsn,
    /// Bytes of the pairs between accounts and records, with the length before each block and the one that ends them; `None` where the
    /// sender has no key-value store.
    pub pairs: Option<u64>,
}

impl Header {
    /// Bytes of the whole stream; of a header that says what cannot be, at most 2^64 - 1. `first` is at most `last`, and both are bounded.
    pub fn stream_bytes(&self) -> u64 {
        let records = self.last.0 + 1 - self.first.0;
        let accounts = u64::from(self.accounts) * ACCOUNT_BYTES as u64;
        let others = (self.header_bytes() + END_BYTES) as u64 + accounts + records * RECORD_BYTES as u64;
        others.saturating_add(self.pairs.unwrap_or(0))
    }

    /// Bytes of the header itself.
    pub fn header_bytes(&self) -> usize {
        if self.pairs.is_some() { MAX_HEADER_BYTES } else { HEADER_BYTES }
    }

    /// Bytes of the header that begins with `bytes`, as far as they say; more are needed where there are fewer.
    pub fn length_of(bytes: &[u8]) -> usize {
        let version = bytes.get(AT_VERSION..AT_ACCOUNTS).map(LittleEndian::read_u32);
        if version == Some(VERSIONS[1]) { MAX_HEADER_BYTES } else { HEADER_BYTES }
    }

    /// The header's bytes, of the books in `directory`.
    pub fn encode(&self, directory: &Directory) -> Vec<u8> {
        let mut bytes = vec![0; self.header_bytes()];
        bytes[..AT_VERSION].copy_from_slice(MAGIC);
        LittleEndian::write_u32(&mut bytes[AT_VERSION..], VERSIONS[usize::from(self.pairs.is_some())]);
        LittleEndian::write_u32(&mut bytes[AT_ACCOUNTS..], self.accounts);
        LittleEndian::write_u32(&mut bytes[AT_BOOKS..], directory.openings().accounts());
        LittleEndian::write_u64(&mut bytes[AT_SEGMENT..], directory.records_per_segment());
        LittleEndian::write_u64(&mut bytes[AT_CUT..], self.cut.0);
        LittleEndian::write_i64(&mut bytes[AT_DEPOSITED..], self.deposited.0);
        LittleEndian::write_i64(&mut bytes[AT_WITHDRAWN..], self.withdrawn.0);
        LittleEndian::write_i64(&mut bytes[AT_OPENING..], directory.openings().total().0);
        LittleEndian::write_u64(&mut bytes[AT_FIRST..], self.first.0);
        LittleEndian::write_u64(&mut bytes[AT_LAST..], self.last.0);
        if let Some(pairs) = self.pairs {
            LittleEndian::write_u64(&mut bytes[AT_PAIRS..], pairs);
        }
        let end = bytes.len() - 4;
        let crc = crc32fast::hash(&bytes[..end]);
        LittleEndian::write_u32(&mut bytes[end..], crc);
        bytes
    }

    /// Reads a header, and checks it against the books in `directory` and what was announced: so many bytes, up to record `last`.
    ///
    /// There are as many bytes as [`Header::length_of`] says.
    pub fn decode(bytes: &[u8], directory: &Directory, announced: u64, last: Lsn) -> Result<Self, Flaw> {
        if &bytes[..AT_VERSION] != MAGIC {
            return Err(Flaw::Magic);
        }
        let end = bytes.len() - 4;
        if LittleEndian::read_u32(&bytes[end..]) != crc32fast::hash(&bytes[..end]) {
            return Err(Flaw::HeaderCrc);
        }
        let version = LittleEndian::read_u32(&bytes[AT_VERSION..]);
        if !VERSIONS.contains(&version) {
            return Err(Flaw::Version(version));
        }
        let has_pairs = version == VERSIONS[1];
        let cents = |at: usize| Cents(LittleEndian::read_i64(&bytes[at..]));
        let lsn = |at: usize| Lsn(LittleEndian::read_u64(&bytes[at..]));
        let (found, opening) = (LittleEndian::read_u32(&bytes[AT_BOOKS..]), cents(AT_OPENING));
        let (accounts, total) = (directory.openings().accounts(), directory.openings().total());
        if (found, opening) != (accounts, total) {
            return Err(Flaw::Accounts { found, opening, accounts, total });
        }
        let (found, wanted) = (LittleEndian::read_u64(&bytes[AT_SEGMENT..]), directory.records_per_segment());
        if found != wanted {
            return Err(Flaw::Segments { found, wanted });
        }
        let header = Header {
            accounts: LittleEndian::read_u32(&bytes[AT_ACCOUNTS..]),
            cut: lsn(AT_CUT),
            deposited: cents(AT_DEPOSITED),
            withdrawn: cents(AT_WITHDRAWN),
            first: lsn(AT_FIRST),
            last: lsn(AT_LAST),
            pairs: has_pairs.then(|| LittleEndian::read_u64(&bytes[AT_PAIRS..])),
        };
        if header.last != last {
            return Err(Flaw::Last { found: header.last, wanted: last });
        }
        header.check(directory)?;
        if bytes[AT_ZERO..AT_SEGMENT] != [0; AT_SEGMENT - AT_ZERO] {
            return Err(Flaw::Senseless("reserved bytes"));
        }
        let found = header.stream_bytes();
        if found == announced { Ok(header) } else { Err(Flaw::Length { found, announced }) }
    }

    /// Checks the fields against each other.
    fn check(&self, directory: &Directory) -> Result<(), Flaw> {
        let &Header { accounts, cut, deposited, withdrawn, first, last, pairs } = self;
        let begins_a_segment = first > Lsn(0) && first_of(first, directory.records_per_segment()) == first;
        // Recovery begins with the segment of the cut.
        let reaches = first.0 <= cut.0.max(1) && cut <= last;
        let opening = directory.openings().total_of(accounts.min(directory.openings().accounts()));
        let as_opened = (cut, deposited, withdrawn) == (Lsn(0), Cents::ZERO, Cents::ZERO);
        let checks = [
            (last.0 > 0 && last.0 <= MAX_LSN, "last record"),
            (first <= last && begins_a_segment && reaches, "first record"),
            (accounts <= directory.openings().accounts(), "number of accounts"),
            (accounts > 0 || as_opened, "cut"),
            (
                pairs.is_none_or(|bytes| accounts > 0 && bytes >= LENGTH_BYTES as u64),
                "number of bytes of keys and values",
            ),
            (RunningTotals::new(opening, deposited, withdrawn).is_some(), "sum of deposits or withdrawals"),
        ];
        checks.into_iter().find(|&(holds, _)| !holds).map_or(Ok(()), |(_, what)| Err(Flaw::Senseless(what)))
    }
}
