//! Where the fields of a record are, and what is read and written of every record whatever it contains: its place in the order of
//! operations and in the log of a cluster, and its checksum.

use byteorder::{ByteOrder, LittleEndian};

use crate::base::limits::KEY_BYTES;
use crate::base::vocab::Lsn;

/// Bytes of a record.
pub const RECORD_BYTES: usize = 128;
/// A record as it is in the file.
pub type RecordBytes = [u8; RECORD_BYTES];

pub(super) const AT_LSN: usize = 0; // u64
pub(super) const AT_TERM: usize = AT_LSN + 8; // u64
pub(super) const AT_TIME: usize = AT_TERM + 8; // u64
pub(super) const AT_KIND: usize = AT_TIME + 8; // u8
pub(super) const AT_VERDICT: usize = AT_KIND + 1; // u8
pub(super) const AT_FLAGS: usize = AT_VERDICT + 1; // u16
pub(super) const AT_PRINCIPAL: usize = AT_FLAGS + 2; // u32
pub(super) const AT_ACCOUNTS: usize = AT_PRINCIPAL + 4; // 2 × u32
pub(super) const AT_AMOUNT: usize = AT_ACCOUNTS + 8; // i64
pub(super) const AT_BALANCES: usize = AT_AMOUNT + 8; // 2 × i64
pub(super) const AT_PREVIOUS: usize = AT_BALANCES + 16; // 2 × u64
pub(super) const AT_KEY: usize = AT_PREVIOUS + 16; // the idempotency key
pub(super) const AT_SYNCED: usize = AT_KEY + KEY_BYTES; // u64: the highest LSN that was durable when this was written
pub(super) const AT_INDEX: usize = AT_SYNCED + 8; // u64
pub(super) const AT_REFERENCE: usize = AT_INDEX + 8; // u64, zero until a kind gives it a meaning
pub(super) const AT_CODE: usize = AT_REFERENCE + 8; // u32, zero until a kind gives it a meaning
pub(super) const AT_CRC: usize = AT_CODE + 4; // u32

const _: () = {
    assert!(AT_CRC + 4 == RECORD_BYTES);
    assert!(AT_ACCOUNTS == 32 && AT_AMOUNT == 40 && AT_PREVIOUS == 64 && AT_SYNCED == 96, "as documented");
    assert!(AT_INDEX == 104 && AT_REFERENCE == 112 && AT_CODE == 120, "as documented");
};

/// Flag bit: an idempotency key is there.
pub(super) const KEYED: u16 = 1;
/// Flag bit: the last record of its raft entry.
pub(super) const ENDS_ENTRY: u16 = 2;

/// A record's place: in the order of all operations, and in the log that a cluster agrees on.
///
/// A raft entry is a range of consecutive records. All of them have its term and index; the last one ends it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Its place in the order of all operations; never 0.
    pub lsn: Lsn,
    /// The raft term of its entry; 0 on an instance without peers.
    pub term: u64,
    /// The raft index of its entry; 0 on an instance without peers.
    pub index: u64,
    /// Whether it is the last record of its entry; never without peers.
    pub ends_entry: bool,
}

/// The place that a record's bytes claim.
#[inline]
#[must_use]
pub fn place_of(bytes: &RecordBytes) -> Place {
    Place {
        lsn: lsn_of(bytes),
        term: LittleEndian::read_u64(&bytes[AT_TERM..]),
        index: LittleEndian::read_u64(&bytes[AT_INDEX..]),
        ends_entry: LittleEndian::read_u16(&bytes[AT_FLAGS..]) & ENDS_ENTRY != 0,
    }
}

/// Gives a record, which is not sealed yet, its place in the log of a cluster; `term` and `index` are above 0. Stamping again replaces
/// what was stamped.
#[inline]
pub fn stamp(bytes: &mut RecordBytes, term: u64, index: u64, ends_entry: bool) {
    LittleEndian::write_u64(&mut bytes[AT_TERM..], term);
    LittleEndian::write_u64(&mut bytes[AT_INDEX..], index);
    let others = LittleEndian::read_u16(&bytes[AT_FLAGS..]) & !ENDS_ENTRY;
    LittleEndian::write_u16(&mut bytes[AT_FLAGS..], others | if ends_entry { ENDS_ENTRY } else { 0 });
}

/// The LSN that a record's bytes claim.
#[inline]
#[must_use]
pub fn lsn_of(bytes: &RecordBytes) -> Lsn {
    Lsn(LittleEndian::read_u64(&bytes[AT_LSN..]))
}

/// The time that a record's bytes bear, nanoseconds since 1970.
#[inline]
#[must_use]
pub fn time_of(bytes: &RecordBytes) -> u64 {
    LittleEndian::read_u64(&bytes[AT_TIME..])
}

/// The highest LSN that was durable when these bytes were written.
#[inline]
#[must_use]
pub fn synced_of(bytes: &RecordBytes) -> Lsn {
    Lsn(LittleEndian::read_u64(&bytes[AT_SYNCED..]))
}

/// The checksum in a record's bytes.
#[inline]
#[must_use]
pub fn stored_crc(bytes: &RecordBytes) -> u32 {
    LittleEndian::read_u32(&bytes[AT_CRC..])
}

/// The checksum that a record's bytes should carry behind a record of checksum `chain`: CRC-32 (IEEE) of all 128 bytes, with
/// `chain` in the place of the checksum itself.
#[inline]
#[must_use]
pub fn computed_crc(bytes: &RecordBytes, chain: u32) -> u32 {
    // Continuing the predecessor's checksum over 124 bytes would be as strong and take half as long again: the wide steps of the
    // computation need whole blocks, and begin at 128 bytes.
    let mut block = *bytes;
    LittleEndian::write_u32(&mut block[AT_CRC..], chain);
    crc32fast::hash(&block)
}

/// Completes a record that will be written behind one of checksum `chain`; gives its own checksum.
///
/// `synced` is the highest LSN known to be durable: recovery tells a torn tail from a damaged journal by it.
#[inline]
pub fn seal(bytes: &mut RecordBytes, synced: Lsn, chain: u32) -> u32 {
    LittleEndian::write_u64(&mut bytes[AT_SYNCED..], synced.0);
    let crc = computed_crc(bytes, chain);
    LittleEndian::write_u32(&mut bytes[AT_CRC..], crc);
    crc
}

/// Takes off what each node seals for itself: the record is as it was when it was stamped.
#[inline]
pub fn unseal(bytes: &mut RecordBytes) {
    bytes[AT_SYNCED..AT_INDEX].fill(0);
    bytes[AT_CRC..].fill(0);
}

/// Whether a record's checksum is right behind a record of checksum `chain`.
#[inline]
#[must_use]
pub fn check(bytes: &RecordBytes, chain: u32) -> bool {
    stored_crc(bytes) == computed_crc(bytes, chain)
}
