use super::*;
use crate::store::kv::test_support::{Store, die_after};
use std::sync::mpsc;

const DEAD: usize = 3;

/// Holds what `take` takes on another thread while `body` runs.
fn while_held(take: impl FnOnce(&dyn Fn()) + Send, body: impl FnOnce()) {
    let (locked, is_locked) = mpsc::channel();
    let (go_on, may_go_on) = mpsc::channel::<()>();
    // Moved, so that the holder ends also where `body` fails.
    std::thread::scope(move |scope| {
        let holder = scope.spawn(move || {
            take(&|| {
                locked.send(()).unwrap();
                may_go_on.recv().unwrap();
            });
        });
        is_locked.recv().unwrap();
        body();
        go_on.send(()).unwrap();
        holder.join().unwrap();
    });
}

/// A row that has blocks, and whose write has not happened.
fn dead(store: &Store) {
    die_after(|| {
        let home = store.table.home(b"key");
        let bucket = store.table.lock(&store.ledger, home.bucket, || ());
        store.teller(DEAD).take_blocks(home, None, Some((b"key", b"value"))).unwrap();
        std::mem::forget(bucket);
    });
}

#[test]
fn the_master_waits_for_nobody_and_comes_again() {
    let store = Store::new(8, 64);
    dead(&store);
    let settle = || settle(&store.table, &store.ledger, DEAD);
    while_held(
        |hold| {
            let _held = store.table.pool().lock(|| ());
            hold();
        },
        || assert_eq!(settle(), Err(Busy)),
    );
    while_held(
        |hold| {
            let _held = store.ledger.try_lock_sequencer().unwrap();
            hold();
        },
        || assert_eq!(settle(), Err(Busy)),
    );
    while_held(
        |hold| {
            let _held = store.table.lock(&store.ledger, store.table.home(b"key").bucket, || ());
            hold();
        },
        || assert_eq!(settle(), Err(Busy)),
    );
    assert_eq!(store.table.rows()[DEAD].stage(), RowStage::Owning, "nothing was done");
    assert_eq!([settle(), settle()], [Ok(()); 2]);
    store.must_be_whole();
    assert_eq!(super::settle(&store.table, &store.ledger, 100_000), Ok(()), "no such row");
}
