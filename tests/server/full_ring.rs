//! Operations that find no room in the journal's ring.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::sys::signal::Signal;

use bank_vault::store::connection::slot::ConnectionSlot;

use crate::kv::{Kv, kv_server_with, put};
use crate::server::{await_that, send};

/// Connections: what all of them have in their receive rings is more than twice what the journal's ring has room for.
const CLIENTS: usize = 80;
/// Values that each of them puts.
const PUTS: u64 = 28;
const VALUE: [u8; 16_384] = [7; 16_384];
/// Records of a write: a head, and pieces of 80 bytes of key and value.
const RECORDS: u64 = 1 + (8 + VALUE.len() as u64).div_ceil(80);

#[test]
fn who_finds_no_room_in_the_journal_has_it_before_those_who_had_some() {
    let (server, address) = kv_server_with(&["--workers", "2", "--worker-timeout", "60", "--kv-mb", "16"], &[]);
    let running = server.stats();
    let sequencer = running.table().sequencer();
    let executed = || running.table().order().now().lsn;
    // How much of each was carried out when the first had all its answers, in bytes.
    let carried_out = || {
        running.connections().iter().map(|slot| slot.progress().consumed).filter(|&bytes| bytes > 0).collect::<Vec<_>>()
    };
    let (at_first, ended) = (Mutex::new(None), AtomicUsize::new(0));
    let mut times_full = 0;
    // The journal process empties the ring whenever that is full, and stands still otherwise, from before the first client on. So who takes
    // the room is all that matters, and not who is fast.
    let journal = server.journal_now().unwrap();
    send(journal, Signal::SIGSTOP);
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (carried_out, at_first, ended) = (&carried_out, &at_first, &ended);
            scope.spawn(move || {
                let (mut kv, key) = (Kv::connect(address), client.to_be_bytes());
                kv.send_all(&vec![put(&key, &VALUE); usize::try_from(PUTS).unwrap()]).unwrap();
                for _ in 0..PUTS {
                    let _version = kv.read().unwrap().version();
                }
                at_first.lock().unwrap().get_or_insert_with(carried_out);
                ended.fetch_add(1, Ordering::Relaxed);
            });
        }
        let has_call = |slot: &ConnectionSlot| slot.moved().0 > u32::try_from(VALUE.len()).unwrap() + 200;
        let has_come = || running.connections().iter().filter(|slot| has_call(slot)).count() == CLIENTS;
        await_that("all have sent something", has_come);
        while ended.load(Ordering::Relaxed) < CLIENTS {
            send(journal, Signal::SIGSTOP);
            let is_over = || executed().0 == CLIENTS as u64 * PUTS * RECORDS;
            let is_full = || executed().0 + RECORDS > sequencer.limit().0;
            await_that("the ring is full, or all is executed", || is_full() || is_over());
            times_full += u32::from(is_full());
            let end = executed();
            send(journal, Signal::SIGCONT);
            await_that("there is room again", || is_over() || sequencer.limit().0 >= end.0 + RECORDS);
            if is_over() {
                await_that("all are answered", || ended.load(Ordering::Relaxed) == CLIENTS);
            }
        }
    });
    let at_first = at_first.into_inner().unwrap().unwrap();
    println!("full {times_full} times; {at_first:?}");
    assert!(times_full > 3, "{times_full}");
    assert_eq!(at_first.len(), CLIENTS, "{at_first:?}");
}
