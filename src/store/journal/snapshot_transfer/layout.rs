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

use byteorder::{ByteOrder, LittleEndian};

use super::error::Flaw;
use crate::base::limits::MAX_LSN;
use crate::base::vocab::{Cents, Lsn};
use crate::store::journal::directory::Directory;
use crate::store::journal::record::RECORD_BYTES;
use crate::store::journal::running_totals::RunningTotals;
use crate::store::journal::segment::first_of;
use crate::store::journal::snapshot::ACCOUNT_BYTES;

pub const HEADER_BYTES: usize = AT_CRC + 4;
/// Bytes of the checksum of all before.
pub const END_BYTES: usize = 4;

const MAGIC: &[u8; 8] = b"VLTBOOKS";
const VERSION: u32 = 1;

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
}

impl Header {
    /// Bytes of the whole stream. `first` is at most `last`, and both are bounded.
    pub fn stream_bytes(&self) -> u64 {
        let records = self.last.0 + 1 - self.first.0;
        let accounts = u64::from(self.accounts) * ACCOUNT_BYTES as u64;
        (HEADER_BYTES + END_BYTES) as u64 + accounts + records * RECORD_BYTES as u64
    }

    /// The header's bytes, of the books in `directory`.
    pub fn encode(&self, directory: &Directory) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..AT_VERSION].copy_from_slice(MAGIC);
        LittleEndian::write_u32(&mut bytes[AT_VERSION..], VERSION);
        LittleEndian::write_u32(&mut bytes[AT_ACCOUNTS..], self.accounts);
        LittleEndian::write_u32(&mut bytes[AT_BOOKS..], directory.openings().accounts());
        LittleEndian::write_u64(&mut bytes[AT_SEGMENT..], directory.records_per_segment());
        LittleEndian::write_u64(&mut bytes[AT_CUT..], self.cut.0);
        LittleEndian::write_i64(&mut bytes[AT_DEPOSITED..], self.deposited.0);
        LittleEndian::write_i64(&mut bytes[AT_WITHDRAWN..], self.withdrawn.0);
        LittleEndian::write_i64(&mut bytes[AT_OPENING..], directory.openings().total().0);
        LittleEndian::write_u64(&mut bytes[AT_FIRST..], self.first.0);
        LittleEndian::write_u64(&mut bytes[AT_LAST..], self.last.0);
        let crc = crc32fast::hash(&bytes[..AT_CRC]);
        LittleEndian::write_u32(&mut bytes[AT_CRC..], crc);
        bytes
    }

    /// Reads a header, and checks it against the books in `directory` and what was announced: so many bytes, up to record `last`.
    pub fn decode(bytes: &[u8; HEADER_BYTES], directory: &Directory, announced: u64, last: Lsn) -> Result<Self, Flaw> {
        if &bytes[..AT_VERSION] != MAGIC {
            return Err(Flaw::Magic);
        }
        if LittleEndian::read_u32(&bytes[AT_CRC..]) != crc32fast::hash(&bytes[..AT_CRC]) {
            return Err(Flaw::HeaderCrc);
        }
        let version = LittleEndian::read_u32(&bytes[AT_VERSION..]);
        if version != VERSION {
            return Err(Flaw::Version(version));
        }
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
        let &Header { accounts, cut, deposited, withdrawn, first, last } = self;
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
            (RunningTotals::new(opening, deposited, withdrawn).is_some(), "sum of deposits or withdrawals"),
        ];
        checks.into_iter().find(|&(holds, _)| !holds).map_or(Ok(()), |(_, what)| Err(Flaw::Senseless(what)))
    }
}
