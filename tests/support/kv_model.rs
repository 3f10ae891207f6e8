//! A client of the key-value service that is the only one to write its keys, and so knows every answer.

#![allow(dead_code, reason = "each test program that includes this file uses another part of it")]

use std::collections::BTreeMap;

use bank_vault::base::vocab::Condition;
use bank_vault::service::kv::wire::{KvRefusal, KvRequest};

use crate::kv::{Answer, Kv, delete, get, put, put_if, scan};
use crate::turmoil::Lots;

/// A call, with what it needs.
#[derive(Clone, Debug)]
enum Asked {
    Get(Vec<u8>),
    Put(Vec<u8>, Vec<u8>),
    PutIf(Condition, Vec<u8>, Vec<u8>),
    Delete(Vec<u8>),
    Scan,
}

/// What one client knows.
pub struct Model {
    prefix: Vec<u8>,
    keys: u32,
    lots: Lots,
    /// Its keys with their versions and values.
    pub pairs: BTreeMap<Vec<u8>, (u64, Vec<u8>)>,
    /// The last version that it has made.
    last: u64,
    /// Answers that it had.
    pub answers: u64,
}

impl Model {
    /// A client of that number, whose keys nobody else has.
    #[must_use]
    pub fn new(client: u32, keys: u32) -> Model {
        let prefix = format!("client {client:03}/").into_bytes();
        let (lots, pairs) = (Lots::new(u64::from(client) + 1), BTreeMap::new());
        Model { prefix, keys, lots, pairs, last: 0, answers: 0 }
    }

    fn key(&mut self) -> Vec<u8> {
        [self.prefix.as_slice(), self.lots.below(self.keys).to_string().as_bytes()].concat()
    }

    /// A value that names its key and is told from others; now and then one of 64 KiB.
    fn value(&mut self, key: &[u8]) -> Vec<u8> {
        let bytes = match self.lots.below(24) {
            0 => 65_536,
            1..=5 => 10,
            _ => self.lots.below(3000) as usize,
        };
        let seed = self.lots.below(u32::MAX).to_le_bytes();
        key.iter().chain(&seed).copied().cycle().take(bytes).collect()
    }

    fn next(&mut self) -> Asked {
        let key = self.key();
        match self.lots.below(12) {
            0..4 => Asked::Get(key),
            4..8 => {
                let value = self.value(&key);
                Asked::Put(key, value)
            }
            8 => {
                let value = self.value(&key);
                Asked::PutIf(Condition::IfAbsent, key, value)
            }
            9 => {
                // What the calls before it in the burst make of that, the answer must say.
                let (version, value) = (self.pairs.get(&key).map_or(1, |(version, _)| *version), self.value(&key));
                Asked::PutIf(Condition::IfVersion(version), key, value)
            }
            10 => Asked::Delete(key),
            _ => Asked::Scan,
        }
    }

    /// Sends some calls at once, and checks what each is answered.
    ///
    /// # Panics
    /// The connection is broken, or an answer is not as it must be.
    pub fn burst(&mut self, kv: &mut Kv) {
        let asked: Vec<Asked> = (0..=self.lots.below(12)).map(|_| self.next()).collect();
        let prefix = self.prefix.clone();
        let requests: Vec<KvRequest<'_>> = asked
            .iter()
            .map(|asked| match asked {
                Asked::Get(key) => get(key),
                Asked::Put(key, value) => put(key, value),
                Asked::PutIf(condition, key, value) => put_if(*condition, key, value),
                Asked::Delete(key) => delete(key),
                Asked::Scan => scan(b"", &prefix, 0),
            })
            .collect();
        kv.send_all(&requests).unwrap();
        for asked in asked {
            let answer = kv.read().unwrap();
            self.check(asked, answer);
            self.answers += 1;
        }
    }

    fn written(&mut self, version: u64) -> u64 {
        assert!(version > self.last, "versions rise: {version} after {}", self.last);
        self.last = version;
        version
    }

    fn check(&mut self, asked: Asked, answer: Answer) {
        match asked {
            Asked::Get(key) => {
                let found = self.pairs.get(&key).map(|(version, value)| Answer::Found(*version, value.clone()));
                let wanted = found.unwrap_or(Answer::Refused(KvRefusal::NotFound));
                assert!(answer == wanted, "GET of {}", String::from_utf8_lossy(&key));
            }
            Asked::Put(key, value) => {
                let version = self.written(answer.version());
                self.pairs.insert(key, (version, value));
            }
            Asked::PutIf(condition, key, value) => {
                let current = self.pairs.get(&key).map_or(0, |(version, _)| *version);
                let is_admitted = match condition {
                    Condition::Always => true,
                    Condition::IfAbsent => current == 0,
                    Condition::IfVersion(version) => current == version,
                };
                if is_admitted {
                    let version = self.written(answer.version());
                    self.pairs.insert(key, (version, value));
                } else {
                    assert_eq!(answer, Answer::Mismatch(current));
                }
            }
            Asked::Delete(key) if self.pairs.remove(&key).is_some() => {
                self.written(answer.version());
            }
            Asked::Delete(_) => assert_eq!(answer, Answer::Refused(KvRefusal::NotFound)),
            Asked::Scan => {
                let entry = |(key, (version, value)): (&Vec<u8>, &(u64, Vec<u8>))| {
                    (key.clone(), *version, u32::try_from(value.len()).unwrap())
                };
                assert_eq!(answer, Answer::Page(self.pairs.iter().map(entry).collect(), false));
            }
        }
    }

    /// Compares all that is there with all that must be.
    ///
    /// # Panics
    /// It is not the same.
    pub fn compare(&self, kv: &mut Kv) {
        let there: Vec<_> = kv.scan_all(&self.prefix, 0).into_iter().map(|(key, version, _)| (key, version)).collect();
        let wanted: Vec<_> = self.pairs.iter().map(|(key, (version, _))| (key.clone(), *version)).collect();
        assert_eq!(there, wanted);
        for (key, pair) in &self.pairs {
            assert!(kv.get(key).as_ref() == Some(pair), "{}", String::from_utf8_lossy(key));
        }
    }
}
