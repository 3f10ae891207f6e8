use super::*;
use crate::store::kv::layout::SPARE_BLOCKS;
use crate::store::kv::test_support::{Store, die_after};

const ALL: u32 = 8 + SPARE_BLOCKS;
const DEAD: usize = 3;

fn words(store: &Store) -> u64 {
    store.table.pool().header.free.load(Ordering::Acquire)
}

#[test]
fn blocks_are_taken_and_given_back_and_none_is_lost() {
    let store = Store::new(8, 0);
    let (pool, rows) = (store.table.pool(), store.table.rows());
    assert_eq!(pool.free(), ALL);
    let locked = pool.lock(|| ());
    rows[0].prepare(0, None);
    rows[1].prepare(0, None);
    let first = locked.allocate(&rows[0], 3).unwrap();
    let rest = locked.allocate(&rows[1], ALL - 3).unwrap();
    assert_eq!((pool.free(), first.blocks, rest.blocks), (0, 3, ALL - 3));
    assert_eq!(locked.allocate(&rows[2], 1), None, "none is left");
    assert_eq!(rows[2].stage(), RowStage::Idle);
    assert_eq!(rows[0].change().unwrap().fresh, Some(first));
    locked.release(&rows[0], first);
    assert_eq!((pool.free(), rows[0].stage()), (3, RowStage::Idle));
    assert_eq!(locked.allocate(&rows[2], 4), None, "not so many are left");
    locked.release(&rows[1], rest);
    drop(locked);
    store.must_be_whole();
}

#[test]
fn a_chain_that_is_taken_again_has_other_ends() {
    let store = Store::new(8, 0);
    let row = &store.table.rows()[0];
    row.prepare(0, None);
    for blocks in [5, 1, 7, 2, 7] {
        let locked = store.table.pool().lock(|| ());
        let chain = locked.allocate(row, blocks).unwrap();
        locked.release(row, chain);
        drop(locked);
        store.must_be_whole();
    }
}

/// Dies as the pool's holder, having come so far with taking three blocks or with giving them back.
fn die_at(store: &Store, stage: RowStage, is_made: bool) {
    let (pool, row) = (store.table.pool(), &store.table.rows()[DEAD]);
    row.prepare(0, None);
    let before = words(store);
    let locked = pool.lock(|| ());
    let chain = locked.allocate(row, 3).unwrap();
    let after = words(store);
    drop(locked);
    die_after(|| {
        let locked = pool.lock(|| ());
        let [before, after] = if stage == RowStage::Allocating {
            row.begin_allocating(chain, [before, after]);
            [before, after]
        } else {
            let last = pool.blocks.last(chain.first).unwrap();
            last.next.lead_to(Free::from_word(after).first);
            row.begin_releasing([after, before]);
            [after, before]
        };
        pool.header.free.store(if is_made { after } else { before }, Ordering::Release);
        std::mem::forget(locked);
    });
}

#[test]
fn who_inherits_the_list_finds_out_whether_blocks_were_taken_or_given_back() {
    for (stage, is_made, owns) in [
        (RowStage::Allocating, false, false),
        (RowStage::Allocating, true, true),
        (RowStage::Releasing, false, true),
        (RowStage::Releasing, true, false),
    ] {
        for dies_too in [false, true] {
            let what = format!("{stage:?}, {is_made}, repairer dies: {dies_too}");
            let store = Store::new(8, 0);
            die_at(&store, stage, is_made);
            let (pool, row) = (store.table.pool(), &store.table.rows()[DEAD]);
            if dies_too {
                // Having repaired, and not said so: the lock is inherited once more.
                die_after(|| {
                    let Acquired::Inherited(_kept) = pool.header.pool_lock.lock(PATIENCE, || ()) else {
                        panic!("its holder died")
                    };
                    pool.repair();
                });
            }
            drop(pool.try_lock().unwrap());
            assert_eq!(row.stage(), if owns { RowStage::Owning } else { RowStage::Idle }, "{what}");
            assert_eq!(pool.free(), if owns { ALL - 3 } else { ALL }, "{what}");
            // The master, which finds that nothing has happened, gives back what there is.
            super::super::settle(&store.table, &store.ledger, DEAD).unwrap();
            store.must_be_whole();
            super::super::settle(&store.table, &store.ledger, DEAD).unwrap();
            store.must_be_whole();
        }
    }
}

#[test]
fn a_chain_without_an_end_is_not_led_to() {
    let store = Store::new(8, 0);
    let (pool, row) = (store.table.pool(), &store.table.rows()[0]);
    row.prepare(0, None);
    let locked = pool.lock(|| ());
    let chain = locked.allocate(row, 1).unwrap();
    pool.blocks.set_last(chain.first, u32::MAX);
    locked.release(row, chain);
    assert_eq!((pool.free(), row.stage()), (ALL - 1, RowStage::Idle));
}
