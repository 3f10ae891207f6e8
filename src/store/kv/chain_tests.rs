use super::*;
use crate::store::journal::record::{FIRST_BLOCK_BYTES, MAX_BLOCKS, NEXT_BLOCK_BYTES, blocks_of};
use crate::store::kv::table::KvTable;
use crate::store::kv::test_support::{Store, bytes};

/// Fills a chain of just as many blocks as it needs, and gives it back.
fn with_chain(table: &KvTable, key: &[u8], value: &[u8], body: impl FnOnce(Blocks<'_>, u32)) {
    let (row, pool) = (&table.rows()[0], table.pool().lock(|| ()));
    row.prepare(0, None);
    let chain = pool.allocate(row, blocks_of(key.len(), value.len())).unwrap();
    let blocks = table.blocks();
    blocks.fill(chain.first, 7, key, value);
    body(blocks, chain.first);
    pool.release(row, chain);
}

fn must_come_back(table: &KvTable, key: &[u8], value: &[u8]) {
    with_chain(table, key, value, |blocks, first| {
        let mut copied = b"before".to_vec();
        blocks.copy(first, key.len() + value.len(), &mut copied);
        assert_eq!(copied, [b"before", key, value].concat(), "{} and {} bytes", key.len(), value.len());
        copied.clear();
        blocks.copy(first, key.len(), &mut copied);
        assert_eq!(copied, key);
        let entry = blocks.entry(first).unwrap();
        assert_eq!((entry.key_bytes, entry.value_bytes, entry.hash), (key.len(), value.len(), 7));
        assert!(blocks.is_of(first, key));
        let mut other = key.to_vec();
        for at in [0, key.len() / 2, key.len() - 1] {
            other[at] ^= 0x80;
            assert!(!blocks.is_of(first, &other), "{} bytes, another at {at}", key.len());
            other[at] ^= 0x80;
        }
    });
}

#[test]
fn keys_of_every_length_come_back_with_values_around_every_boundary() {
    let table = Store::new(16, 0).table;
    let boundaries =
        [0, FIRST_BLOCK_BYTES, FIRST_BLOCK_BYTES + NEXT_BLOCK_BYTES, FIRST_BLOCK_BYTES + 3 * NEXT_BLOCK_BYTES];
    for key_bytes in 1..=255 {
        let key = bytes(key_bytes, 3);
        let around = boundaries
            .iter()
            .flat_map(|end| (end.saturating_sub(9)..=end + 9).map(|all| all.saturating_sub(key_bytes)));
        let mut last = None;
        for value_bytes in around.filter(|&value| last.replace(value) != Some(value)) {
            must_come_back(&table, &key, &bytes(value_bytes, 100));
        }
    }
    must_come_back(&table, &bytes(255, 9), &bytes(65_536, 1));
    assert_eq!(blocks_of(255, 65_536), MAX_BLOCKS);
}

#[test]
fn a_chain_tells_its_version_and_its_last_block() {
    let table = Store::new(16, 0).table;
    with_chain(&table, b"k", &bytes(600, 0), |blocks, first| {
        blocks.set_version(first, Lsn(77));
        let third = first + 2;
        assert_eq!(blocks.entry(first).unwrap().version, Lsn(77));
        assert!(
            std::ptr::eq(blocks.last(first).unwrap(), blocks.get(third).unwrap()),
            "filled in their order at first"
        );
    });
}

#[test]
fn what_cannot_be_is_cut_to_what_a_key_and_a_value_can_be() {
    let table = Store::new(16, 0).table;
    with_chain(&table, b"k", b"v", |blocks, first| {
        let block = blocks.get(first).unwrap();
        block.words[AT_LENGTHS].store(u64::MAX, Ordering::Relaxed);
        let entry = blocks.entry(first).unwrap();
        assert_eq!((entry.key_bytes, entry.value_bytes), (255, 65_536));
        // A chain that leads back to itself ends by the lengths.
        block.next.lead_to(Some(first));
        let mut copied = Vec::new();
        blocks.copy(first, 65_791, &mut copied);
        assert_eq!(copied.len(), 65_791);
        // One that leads nowhere gives less.
        block.next.lead_to(Some(u32::MAX - 1));
        copied.clear();
        blocks.copy(first, 65_791, &mut copied);
        assert_eq!(copied.len(), FIRST_BLOCK_BYTES);
    });
    assert!(table.blocks().entry(u32::MAX).is_none() && table.blocks().last(u32::MAX).is_none());
}
