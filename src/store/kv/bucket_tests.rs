use super::*;
use crate::store::kv::row::RowStage;
use crate::store::kv::settle;
use crate::store::kv::teller::KvTeller;
use crate::store::kv::test_support::{Pair, Store, bytes, die_after};
use crate::store::ledger::intent::Plan;
use crate::store::ledger::repair::{self, Settled};

const DEAD: usize = 3;

/// So many keys that all belong to the first bucket.
fn neighbours(store: &Store, count: usize) -> Vec<Vec<u8>> {
    let names = (0u32..).map(|number| format!("key {number}").into_bytes());
    names.filter(|key| store.table.home(key).bucket == 0).take(count).collect()
}

fn store() -> (Store, Vec<Vec<u8>>) {
    let store = Store::new(64, 4096);
    let keys = neighbours(&store, 5);
    for key in &keys[..4] {
        store.put(key, b"old").unwrap();
    }
    (store, keys)
}

/// Brings a write to `key` past the commit point, and dies as `body` says.
fn die_after_commit(
    store: &Store,
    row: usize,
    key: &[u8],
    value: Option<&[u8]>,
    body: impl FnOnce(&LockedBucket<'_>, Lsn, &Change) + Send,
) {
    die_after(|| {
        let home = store.table.home(key);
        let bucket = store.table.lock(&store.ledger, home.bucket, || ()).unwrap();
        let displaced = bucket.find(home, key).map(|found| found.chain);
        let teller: KvTeller<'_> = store.teller(row);
        let change = teller.take_blocks(home, displaced, value.map(|value| (key, value))).unwrap();
        let [had, has] = [displaced, change.fresh].map(|chain| chain.map_or(0, |chain| chain.blocks));
        let counts = KvTable::counts(&store.ledger).after(had, has).unwrap();
        let intent = &store.ledger.rows()[row].intent;
        intent.prepare(&Plan::NOTHING);
        let stamp = store.ledger.commit_applied(intent, 2, (None, Some(counts.to_word())), || ());
        body(&bucket, stamp.lsn, &change);
        std::mem::forget(bucket);
    });
}

fn must_have(store: &Store, keys: &[Vec<u8>], values: &[Option<&[u8]>]) {
    for (key, value) in keys.iter().zip(values) {
        assert_eq!(store.get(key).map(|(_, value)| value).as_deref(), *value, "{}", String::from_utf8_lossy(key));
    }
}

/// Every place in the bucket, every kind of change, every step at which it may have been left.
#[test]
fn the_next_holder_finishes_what_a_dead_one_began_wherever_its_key_stands() {
    for (at, value) in [0, 1, 2, 3]
        .map(|at| [(at, Some(&b"new"[..])), (at, None)])
        .concat()
        .into_iter()
        .chain([(4, Some(&b"new"[..]))])
    {
        for steps in 0..3 {
            let what = format!("key {at}, {value:?}, {steps} steps");
            let (store, keys) = store();
            die_after_commit(&store, DEAD, &keys[at], value, |bucket, lsn, change| {
                if steps > 0 {
                    bucket.bucket.carry_out(bucket.blocks, lsn, change);
                }
                if steps > 1 {
                    bucket.bucket.stamp(lsn);
                }
            });
            let mut wanted = [Some(&b"old"[..]); 5];
            wanted[4] = None;
            wanted[at] = value;
            must_have(&store, &keys, &wanted);
            assert_eq!(store.table.rows()[DEAD].stage(), RowStage::Owning, "{what}: until the master comes");
            let version = store.ledger.order().now().lsn;
            assert_eq!(store.get(&keys[at]).map(|(version, _)| version), value.map(|_| version), "{what}");
            // Again, as whoever inherits a repairer's lock.
            let change = store.table.rows()[DEAD].change().unwrap();
            let bucket = store.table.lock(&store.ledger, 0, || ()).unwrap();
            bucket.bucket.carry_out(bucket.blocks, version, &change);
            drop(bucket);
            must_have(&store, &keys, &wanted);
            settle(&store.table, &store.ledger, DEAD).unwrap();
            assert!(
                matches!(repair::settle(&store.ledger, DEAD), Ok(Settled::Finished { lsn, .. }) if lsn == version),
                "{what}"
            );
            must_have(&store, &keys, &wanted);
            store.must_be_whole();
        }
    }
}

#[test]
fn what_had_not_happened_leaves_the_bucket_as_it_was() {
    for (at, value) in [(1, Some(&b"new"[..])), (1, None), (4, Some(&b"new"[..]))] {
        let (store, keys) = store();
        let before: Vec<Pair> = store.pairs();
        die_after(|| {
            let home = store.table.home(&keys[at]);
            let bucket = store.table.lock(&store.ledger, 0, || ()).unwrap();
            let displaced = bucket.find(home, &keys[at]).map(|found| found.chain);
            let teller = store.teller(DEAD);
            teller.take_blocks(home, displaced, value.map(|value| (&keys[at][..], value))).unwrap();
            store.ledger.rows()[DEAD].intent.prepare(&Plan::NOTHING);
            std::mem::forget(bucket);
        });
        assert_eq!(store.pairs(), before);
        // Another write to the same key in between.
        store.put(&keys[at], b"next").unwrap();
        settle(&store.table, &store.ledger, DEAD).unwrap();
        assert_eq!(repair::settle(&store.ledger, DEAD), Ok(Settled::Dropped));
        assert_eq!(store.get(&keys[at]).unwrap().1, b"next");
        store.must_be_whole();
    }
}

/// The second one repairs what the first one left, writes the same key, and dies before it has carried that out.
#[test]
fn two_changes_of_the_dead_are_carried_out_in_their_order() {
    // The newer one in the row that is looked at first.
    for rows in [[4, 3], [3, 4]] {
        for value in [Some(&b"second"[..]), None] {
            let (store, keys) = store();
            let big = bytes(700, 1);
            die_after_commit(&store, rows[0], &keys[2], Some(&big), |_, _, _| ());
            die_after_commit(&store, rows[1], &keys[2], value, |_, _, _| ());
            let mut wanted = [Some(&b"old"[..]); 4];
            wanted[2] = value;
            must_have(&store, &keys, &wanted);
            for row in rows {
                settle(&store.table, &store.ledger, row).unwrap();
                repair::settle(&store.ledger, row).unwrap();
            }
            must_have(&store, &keys, &wanted);
            store.must_be_whole();
        }
    }
}

#[test]
fn a_change_of_another_bucket_is_left_to_its_next_holder() {
    let store = Store::new(64, 4096);
    let here = neighbours(&store, 1).remove(0);
    let elsewhere = (0u32..).map(|n| n.to_string().into_bytes()).find(|key| store.table.home(key).bucket != 0).unwrap();
    die_after_commit(&store, DEAD, &elsewhere, Some(b"there"), |_, _, _| ());
    die_after(|| std::mem::forget(store.table.lock(&store.ledger, 0, || ())));
    store.put(&here, b"here").unwrap();
    assert_eq!(store.table.bucket(store.table.home(&elsewhere).bucket).unwrap().first.target(), None);
    assert_eq!(store.get(&elsewhere).unwrap().1, b"there");
}

#[test]
fn links_in_a_circle_are_followed_once_round() {
    let (store, keys) = store();
    let bucket = store.table.lock(&store.ledger, 0, || ()).unwrap();
    let first = bucket.keys().next().unwrap().chain.first;
    store.table.blocks().get(first).unwrap().next_key.lead_to(Some(first));
    assert_eq!(bucket.keys().count(), store.table.blocks().0.len());
    assert_eq!(bucket.find(store.table.home(&keys[0]), &keys[0]), None);
    store.table.blocks().get(first).unwrap().next_key.lead_to(Some(u32::MAX - 1));
    assert_eq!(bucket.keys().count(), 1);
}

#[test]
fn there_is_no_bucket_behind_the_last() {
    let store = Store::new(64, 0);
    assert_eq!(store.table.bucket_count(), 32);
    assert!(store.table.lock(&store.ledger, 32, || ()).is_none());
    assert!(matches!(store.table.try_lock(&store.ledger, 32), Ok(None)));
}
