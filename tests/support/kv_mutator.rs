//! Calls of the key-value service that are not as they should be: valid ones of each procedure, mutated, as the bytes of a stream; and what a
//! server must make of such a stream, by a reading of RFC 5531 of its own.

#![allow(dead_code, reason = "each test program that includes this file uses another part of it")]

use bank_vault::base::limits::{MAX_RPC_FRAGMENTS, MAX_RPC_RECORD_BYTES};
use bank_vault::base::onc_rpc::auth::{AuthSys, Gids};
use bank_vault::base::onc_rpc::{Call, Credentials, OpaqueAuth};
use bank_vault::base::vocab::{Condition, Lsn};
use bank_vault::service::kv::wire::{KV_PROGRAM, KV_VERSION, KvRequest, RequestId};

use crate::turmoil::Lots;

/// The bit of a mark that says that the fragment is the last one of its record.
const LAST: u32 = 1 << 31;
/// Numbers with which lengths, discriminants and versions are replaced.
const STRANGE: [u32; 10] = [0, 1, 2, 3, 0x7fff_ffff, 0x8000_0000, u32::MAX, 400, 401, 65_537];
/// Keys that valid calls name.
const KEYS: u32 = 300;

/// A stream as a server has to read it.
pub struct Stream {
    /// The payloads of its calls, in their order, until it ends or cannot be read any further.
    pub calls: Vec<Vec<u8>>,
    pub end: End,
}

/// How a stream ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// With a whole record.
    Whole,
    /// Inside one.
    Half,
    /// With something that is no call, or no record: nothing behind it counts.
    Unreadable,
}

impl Stream {
    /// Reads one.
    pub fn read(mut bytes: &[u8]) -> Stream {
        let mut calls = Vec::new();
        while !bytes.is_empty() {
            let (payload, rest) = match record(bytes) {
                Ok(found) => found,
                Err(end) => return Stream { calls, end },
            };
            if payload.get(4..8) != Some(&[0; 4][..]) {
                return Stream { calls, end: End::Unreadable };
            }
            calls.push(payload);
            bytes = rest;
        }
        Stream { calls, end: End::Whole }
    }

    /// The requests among the calls.
    pub fn requests(&self) -> impl Iterator<Item = KvRequest<'_>> {
        self.calls.iter().filter_map(|payload| request_of(payload))
    }
}

/// What a call asks for, if it asks for something that there is.
pub fn request_of(payload: &[u8]) -> Option<KvRequest<'_>> {
    Call::read(payload).ok().and_then(|call| KvRequest::of_call(&call).ok())
}

/// The xid of a call.
pub fn xid_of(payload: &[u8]) -> u32 {
    u32::from_be_bytes(*payload.first_chunk().unwrap())
}

/// The payload of the first record, and what comes behind that; or why there is none.
fn record(bytes: &[u8]) -> Result<(Vec<u8>, &[u8]), End> {
    let (mut payload, mut rest, mut taken) = (Vec::new(), bytes, 0);
    for _ in 0..MAX_RPC_FRAGMENTS {
        taken += 4;
        let Some((mark, behind)) = rest.split_first_chunk() else {
            return Err(if taken > MAX_RPC_RECORD_BYTES { End::Unreadable } else { End::Half });
        };
        let mark = u32::from_be_bytes(*mark);
        let length = (mark & !LAST) as usize;
        taken += length;
        if taken > MAX_RPC_RECORD_BYTES {
            return Err(End::Unreadable);
        }
        let (fragment, behind) = behind.split_at_checked(length).ok_or(End::Half)?;
        payload.extend_from_slice(fragment);
        rest = behind;
        if mark & LAST != 0 {
            return Ok((payload, rest));
        }
    }
    Err(End::Unreadable)
}

/// Makes calls.
pub struct Mutator {
    pub lots: Lots,
    /// In the upper half, who makes them.
    xid: u32,
}

impl Mutator {
    /// One whose calls have xids that no other one's have, but by a mutation.
    pub fn new(seed: u64, number: u16) -> Mutator {
        Mutator { lots: Lots::new(seed), xid: u32::from(number) << 16 }
    }

    /// The next xid.
    pub fn next_xid(&mut self) -> u32 {
        self.xid = self.xid & 0xffff_0000 | (self.xid + 1) & 0xffff;
        self.xid
    }

    fn byte(&mut self, below: u32) -> u8 {
        u8::try_from(self.lots.below(below)).unwrap()
    }

    fn bytes(&mut self, most: u32) -> Vec<u8> {
        let count = self.lots.below(most + 1);
        (0..count).map(|_| self.byte(256)).collect()
    }

    fn key(&mut self) -> Vec<u8> {
        match self.lots.below(20) {
            0 => self.bytes(255),
            1 => Vec::new(),
            _ => format!("key {:04}", self.lots.below(KEYS)).into_bytes(),
        }
    }

    fn value(&mut self) -> Vec<u8> {
        let most = if self.lots.below(200) == 0 { 65_536 } else { 600 };
        let (count, byte) = (self.lots.below(most + 1), self.byte(251));
        (0..count).map(|place| byte.wrapping_add(u8::try_from(place % 253).unwrap())).collect()
    }

    fn condition(&mut self) -> Condition {
        match self.lots.below(6) {
            0 => Condition::IfAbsent,
            1 => Condition::IfVersion(u64::from(self.lots.below(1000))),
            _ => Condition::Always,
        }
    }

    /// Now and then one that comes again.
    fn request_id(&mut self) -> Option<RequestId> {
        (self.lots.below(2) == 0).then(|| [1 + self.byte(200); 16])
    }

    /// The payload of a valid call.
    fn valid(&mut self) -> Vec<u8> {
        let (key, value, prefix) = (self.key(), self.value(), self.bytes(3));
        let (request_id, condition) = (self.request_id(), self.condition());
        let request = match self.lots.below(12) {
            0 => KvRequest::Null,
            1 => KvRequest::Status,
            2 => KvRequest::Scan { from: &key, prefix: &prefix, limit: 20, after: Lsn(0) },
            3..6 => KvRequest::Get { key: &key, after: Lsn(0) },
            6..8 => KvRequest::Delete { request_id, key: &key, condition },
            _ => KvRequest::Put { request_id, key: &key, value: &value, condition },
        };
        let machine = self.bytes(40);
        let credentials = match self.lots.below(3) {
            0 => Credentials::Sys(AuthSys {
                stamp: 7,
                machine_name: &machine,
                uid: self.lots.below(3),
                gid: 0,
                gids: Gids::new(&[1, 2, 3]).unwrap(),
            }),
            1 => Credentials::Other(OpaqueAuth { flavor: 6, body: &machine }),
            _ => Credentials::None,
        };
        let mut record = Vec::new();
        request.write_call(self.next_xid(), credentials, &mut record);
        record.split_off(4)
    }

    /// A call as it goes over the wire, whether anything of it is changed or not.
    pub fn call(&mut self) -> Vec<u8> {
        let mut payload = self.valid();
        match self.lots.below(16) {
            0 => {}
            // Bits and words, in the payload.
            1 | 2 => self.flip(&mut payload),
            3 | 4 => self.replace(&mut payload),
            5 => {
                let count = self.lots.below(u32::try_from(payload.len()).unwrap());
                payload.truncate(count as usize);
            }
            6 => payload.extend(self.bytes(64)),
            // Another version of RPC, program, version, procedure; a reply, or neither.
            7 => {
                let (word, number) = (1 + self.lots.below(5) as usize, self.strange());
                payload[4 * word..][..4].copy_from_slice(&number.to_be_bytes());
            }
            // The xid of a call that was made before, perhaps of another client.
            8 => {
                let xid = self.xid.wrapping_sub(self.lots.below(3)) ^ self.lots.below(2) << 16;
                payload[..4].copy_from_slice(&xid.to_be_bytes());
            }
            9 => payload = self.with_long_credentials(),
            10 => payload = self.bytes(200),
            11 => return self.in_fragments(&payload),
            12 => {
                self.flip(&mut payload);
                return self.in_fragments(&payload);
            }
            // Bits and words of what is sent, marks included; and what stops half way.
            13 => {
                let mut record = self.in_fragments(&payload);
                self.flip(&mut record);
                return record;
            }
            14 => {
                let mut record = marked(&payload, true);
                let mark = self.strange() | self.lots.below(2) << 31;
                record[..4].copy_from_slice(&mark.to_be_bytes());
                return record;
            }
            _ => {
                let mut record = self.in_fragments(&payload);
                let count = self.lots.below(u32::try_from(record.len()).unwrap());
                record.truncate(count as usize);
                return record;
            }
        }
        marked(&payload, true)
    }

    fn strange(&mut self) -> u32 {
        STRANGE[self.lots.below(10) as usize]
    }

    fn flip(&mut self, bytes: &mut [u8]) {
        for _ in 0..=self.lots.below(4) {
            // Heads are short, and more depends on them.
            let most = if self.lots.below(2) == 0 { 100 } else { bytes.len() };
            let place = self.lots.below(u32::try_from(bytes.len().min(most)).unwrap()) as usize;
            bytes[place] ^= 1 << self.lots.below(8);
        }
    }

    fn replace(&mut self, payload: &mut [u8]) {
        let place = self.lots.below(u32::try_from(payload.len() / 4).unwrap().min(40)) as usize;
        let old = u32::from_be_bytes(*payload[4 * place..].first_chunk().unwrap());
        let new = match self.lots.below(4) {
            0 => old.wrapping_add(1),
            1 => old.wrapping_sub(1),
            _ => self.strange(),
        };
        payload[4 * place..][..4].copy_from_slice(&new.to_be_bytes());
    }

    /// NULL with credentials or a verifier that are longer than allowed, or say that they are.
    fn with_long_credentials(&mut self) -> Vec<u8> {
        let words = |words: &[u32]| words.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<u8>>();
        let head = words(&[self.next_xid(), 0, 2, KV_PROGRAM, KV_VERSION, 0]);
        let bytes = 4 * (100 + self.lots.below(200));
        let long = |flavor: u32| [words(&[flavor, bytes]), vec![0; bytes as usize]].concat();
        let flavor = self.lots.below(3);
        match self.lots.below(4) {
            0 => [head, long(flavor), words(&[0, 0])].concat(),
            1 => [head, words(&[0, 0]), long(flavor)].concat(),
            // A machine with a long name, and one with many groups.
            2 => [head, words(&[1, 280, 7, 256]), vec![b'm'; 256], words(&[0, 0, 0, 0, 0])].concat(),
            _ => [head, words(&[1, 20 + 4 * 17, 7, 0, 0, 0, 17]), vec![0; 4 * 17], words(&[0, 0])].concat(),
        }
    }

    /// The record of a payload in as many fragments as it may be, among them such of no or one byte.
    fn in_fragments(&mut self, mut payload: &[u8]) -> Vec<u8> {
        let mut record = Vec::new();
        for _ in 0..self.lots.below(20) {
            let most = u32::try_from(payload.len()).unwrap();
            let count = match self.lots.below(3) {
                0 => 0,
                1 => most.min(1),
                _ => self.lots.below(most + 1),
            };
            let (fragment, rest) = payload.split_at(count as usize);
            record.extend(marked(fragment, false));
            payload = rest;
        }
        record.extend(marked(payload, true));
        record
    }
}

/// A fragment.
fn marked(bytes: &[u8], is_last: bool) -> Vec<u8> {
    let mark = u32::try_from(bytes.len()).unwrap() | if is_last { LAST } else { 0 };
    [&mark.to_be_bytes(), bytes].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bank_vault::base::onc_rpc::record::{RecordLimits, RecordStep, next_record};

    /// The same by the server's own reading.
    fn as_served(mut bytes: &[u8]) -> (Vec<Vec<u8>>, End) {
        let limits = RecordLimits { bytes: MAX_RPC_RECORD_BYTES, fragments: MAX_RPC_FRAGMENTS };
        let mut calls = Vec::new();
        while !bytes.is_empty() {
            match next_record(bytes, limits, &mut Vec::new()) {
                RecordStep::Complete { taken, payload } => {
                    if matches!(Call::read(payload), Err(bank_vault::base::onc_rpc::CallFault::NoCall)) {
                        return (calls, End::Unreadable);
                    }
                    calls.push(payload.to_vec());
                    bytes = &bytes[taken..];
                }
                RecordStep::NeedMore { .. } => return (calls, End::Half),
                RecordStep::Fatal(_) => return (calls, End::Unreadable),
            }
        }
        (calls, End::Whole)
    }

    #[test]
    fn both_readings_of_a_stream_are_the_same() {
        let mut mutator = Mutator::new(1, 1);
        let mut ends = [0; 3];
        for _ in 0..2000 {
            let bytes: Vec<u8> = (0..3).flat_map(|_| mutator.call()).collect();
            let Stream { calls, end } = Stream::read(&bytes);
            ends[end as usize] += 1;
            assert!((calls, end) == as_served(&bytes), "{bytes:02x?}");
        }
        assert!(ends.iter().all(|count| *count > 50), "{ends:?}");
    }
}
