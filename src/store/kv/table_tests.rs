use super::*;
use crate::store::kv::test_support::Store;

#[test]
fn a_table_has_the_size_that_it_says_and_is_found_by_its_names() {
    for capacity in [1, 2, 3, 64, 1000] {
        let store = Store::new(capacity, 0);
        assert_eq!(store.table.segments().map(|(_, bytes)| bytes), KvTable::bytes_for(capacity));
        assert_eq!((store.table.capacity(), store.table.free_blocks()), (capacity, capacity + SPARE_BLOCKS));
        assert!(store.table.bucket_count().is_power_of_two());
        store.must_be_whole();
    }
    let mebibytes = [0, 1, 64, 65_536, u64::from(u32::MAX)].map(|mebibytes| KvTable::capacity_of(mebibytes << 20));
    assert_eq!(mebibytes, [0, 4096, 262_144, 1 << 28, u32::MAX]);
}

#[test]
fn a_reset_leaves_nothing() {
    let store = Store::new(64, 0);
    for number in 0u8..9 {
        store.put(&[number], &[number; 300]).unwrap();
    }
    std::mem::forget(store.table.lock(&store.ledger, 3, || ()));
    let home = store.table.home(b"key");
    store.table.reset().unwrap();
    store.ledger.sequencer().set_counts(0);
    assert_eq!((store.pairs(), store.table.capacity()), (vec![], 64));
    assert_ne!(store.table.home(b"key"), home, "other seeds");
    store.must_be_whole();
    store.put(b"key", b"value").unwrap();
    store.must_be_whole();
}

#[test]
fn keys_spread_over_the_buckets() {
    let table = Store::new(512, 0).table;
    let mut counts = vec![0u32; 256];
    for number in 0u32..25_600 {
        counts[table.home(&number.to_le_bytes()).bucket as usize] += 1;
    }
    // A hundred each; the deviation is ten.
    assert!(counts.iter().all(|&count| (40..200).contains(&count)), "{counts:?}");
    let home = |key: &[u8]| table.home(key);
    assert_ne!(home(b"a"), home(b"a\0"));
    assert_ne!(home(&[0; 16]), home(&[0; 32]));
    assert_eq!(home(b"a"), home(b"a"));
}
