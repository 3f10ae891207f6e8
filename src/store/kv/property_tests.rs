//! Random writes, against a map.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::applier::LogApplier;
use super::teller::{KvRefusal, KvUndone, KvWriteRequest};
use super::test_support::{Store, ask, bytes};
use super::{KvTable, PageRequest};
use crate::base::vocab::{Condition, Lsn};
use crate::store::journal::record::{KvKind, blocks_of};

const CAPACITY: u32 = 24;

#[derive(Clone, Debug)]
struct Step {
    kind: KvKind,
    key: u8,
    value_bytes: usize,
    /// 0: always; 1: if absent; 2: if it has the version that it has; 3: if it has another.
    condition: u8,
    request: Option<u8>,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let sizes = prop_oneof![0usize..300, 0usize..3000, Just(224 - 5), Just(224 - 5 + 248)];
    let kind = prop_oneof![3 => Just(KvKind::Put), 1 => Just(KvKind::Delete)];
    let request = prop_oneof![2 => Just(None), 1 => (0u8..20).prop_map(Some)];
    let step = (kind, 0u8..8, sizes, 0u8..4, request).prop_map(|(kind, key, value_bytes, condition, request)| Step {
        kind,
        key,
        value_bytes: if kind == KvKind::Put { value_bytes } else { 0 },
        condition,
        request,
    });
    proptest::collection::vec(step, 1..60)
}

/// What was asked for, and what was answered.
type Answer = (KvKind, [u8; 16], Lsn, Result<(), KvRefusal>);

#[derive(Default)]
struct Model {
    pairs: BTreeMap<Vec<u8>, (Lsn, Vec<u8>)>,
    answers: BTreeMap<u8, Answer>,
    last: u64,
}

impl Model {
    fn blocks(&self) -> u32 {
        self.pairs.iter().map(|(key, (_, value))| blocks_of(key.len(), value.len())).sum()
    }

    fn outcome(&self, write: &KvWriteRequest<'_>) -> Result<(), KvRefusal> {
        let before = self.pairs.get(write.key);
        let current = before.map_or(Lsn(0), |(version, _)| *version);
        if !write.condition.admits(current) {
            return Err(KvRefusal::Mismatch(current));
        }
        if write.kind == KvKind::Delete {
            return if before.is_some() { Ok(()) } else { Err(KvRefusal::NotFound) };
        }
        let had = before.map_or(0, |(_, value)| blocks_of(write.key.len(), value.len()));
        let after = self.blocks() - had + blocks_of(write.key.len(), write.value.len());
        if after <= CAPACITY { Ok(()) } else { Err(KvRefusal::Full) }
    }

    fn ask(&mut self, write: &KvWriteRequest<'_>, request: Option<u8>) -> Result<Lsn, KvUndone> {
        if let Some((kind, print, lsn, first)) = request.and_then(|id| self.answers.get(&id)).copied() {
            let same = (kind, print) == (write.kind, write.fingerprint());
            return Err(if same { KvUndone::Repeated { lsn, first } } else { KvUndone::Conflict });
        }
        let outcome = self.outcome(write);
        let records = match outcome {
            Ok(()) => 1 + (write.key.len() + write.value.len()).div_ceil(80) as u64,
            Err(refusal) if request.is_none() => return Err(KvUndone::Refused(refusal)),
            Err(_) => 1,
        };
        self.last += records;
        if let Some(id) = request {
            self.answers.insert(id, (write.kind, write.fingerprint(), Lsn(self.last), outcome));
        }
        match (outcome, write.kind) {
            (Ok(()), KvKind::Put) => _ = self.pairs.insert(write.key.to_vec(), (Lsn(self.last), write.value.to_vec())),
            (Ok(()), KvKind::Delete) => _ = self.pairs.remove(write.key),
            (Err(_), _) => {}
        }
        Ok(Lsn(self.last))
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_writes_do_what_they_do_to_a_map(steps in steps(), journaled: bool) {
        let store = Store::new(CAPACITY, if journaled { 4096 } else { 0 });
        let mut model = Model::default();
        for (number, step) in (0u8..).zip(&steps) {
            let key = bytes(5, step.key);
            let value = bytes(step.value_bytes, number);
            let current = model.pairs.get(&key).map_or(0, |(version, _)| version.0);
            let condition = match step.condition {
                0 => Condition::Always,
                1 => Condition::IfAbsent,
                2 => Condition::IfVersion(current),
                _ => Condition::IfVersion(current + 1),
            };
            let write = KvWriteRequest { kind: step.kind, key: &key, value: &value, condition };
            let mut teller = store.teller(usize::from(number % 4));
            prop_assert_eq!(ask(&mut teller, &write, step.request), model.ask(&write, step.request), "step {}", number);
        }
        let pairs: Vec<_> =
            model.pairs.iter().map(|(key, (version, value))| (key.clone(), *version, value.clone())).collect();
        prop_assert_eq!(&store.pairs(), &pairs);
        let request = PageRequest { from: Vec::new(), prefix: Vec::new(), limit: 100 };
        let page = store.table.page(&store.ledger, &request).entries;
        prop_assert!(page.iter().map(|entry| &entry.key).eq(model.pairs.keys()));
        prop_assert_eq!(KvTable::counts(&store.ledger).blocks, model.blocks());
        store.must_be_whole();
        if journaled {
            let follower = Store::following(CAPACITY);
            let mut applier = LogApplier::new(&follower.ledger, Some(&follower.table), || ());
            for record in store.records() {
                applier.apply(&record).unwrap();
            }
            prop_assert_eq!(&follower.pairs(), &pairs);
            follower.must_be_whole();
        }
    }
}
