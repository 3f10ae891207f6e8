use super::*;
use crate::store::kv::KvTable;
use crate::store::kv::test_support::{Store, bytes, die_after};
use crate::store::ledger::intent::Plan;

fn names(page: &Page) -> Vec<&str> {
    page.entries.iter().map(|entry| std::str::from_utf8(&entry.key).unwrap()).collect()
}

#[test]
fn a_page_has_the_first_keys_that_are_asked_for_in_their_order() {
    let store = Store::new(64, 4096);
    for key in ["b", "a", "ab", "abc", "abd", "ac", "aab", "c", "b\u{7f}"] {
        store.put(key.as_bytes(), &bytes(key.len(), 0)).unwrap();
    }
    store.put(b"gone", b"").unwrap();
    store.delete(b"gone").unwrap();
    let ask = |from: &str, prefix: &str, limit| {
        let request = PageRequest { from: from.into(), prefix: prefix.into(), limit };
        store.table.page(&store.ledger, &request)
    };
    let all = ["a", "aab", "ab", "abc", "abd", "ac", "b", "b\u{7f}", "c"];
    for limit in 1..=10 {
        let page = ask("", "", limit);
        assert_eq!((names(&page), page.more), (all[..limit.min(9)].to_vec(), limit < 9), "{limit}");
        assert_eq!(page.shows, store.ledger.order().now().lsn);
    }
    for (from, prefix, limit, wanted, more) in [
        ("", "ab", 9, &["ab", "abc", "abd"][..], false),
        ("", "ab", 2, &["ab", "abc"], true),
        ("", "ab", 3, &["ab", "abc", "abd"], false),
        ("abc", "ab", 9, &["abc", "abd"], false),
        ("abc\0", "ab", 9, &["abd"], false),
        ("a", "ab", 1, &["ab"], true),
        ("b", "ab", 9, &[], false),
        ("aba", "", 2, &["abc", "abd"], true),
        ("c\0", "", 9, &[], false),
        ("", "d", 9, &[], false),
    ] {
        let page = ask(from, prefix, limit);
        assert_eq!((names(&page), page.more), (wanted.to_vec(), more), "{from:?} {prefix:?} {limit}");
    }
    let page = ask("abc", "abc", 1);
    let (version, _) = store.get(b"abc").unwrap();
    assert_eq!(page.entries, [PageEntry { key: b"abc".to_vec(), version, value_bytes: 3 }]);
}

#[test]
fn pages_one_behind_the_other_have_every_key_once() {
    let store = Store::new(256, 4096);
    let mut wanted: Vec<Vec<u8>> = (0u8..200).map(|n| vec![n.wrapping_mul(73), n]).collect();
    wanted.iter().for_each(|key| _ = store.put(key, b"v").unwrap());
    wanted.sort();
    let (mut got, mut from) = (Vec::new(), Vec::new());
    loop {
        let page = store.table.page(&store.ledger, &PageRequest { from: from.clone(), prefix: Vec::new(), limit: 7 });
        got.extend(page.entries.into_iter().map(|entry| entry.key));
        if !page.more {
            break;
        }
        from = [got.last().unwrap(), &b"\0"[..]].concat();
    }
    assert_eq!(got, wanted);
}

#[test]
fn a_walk_up_to_a_cut_leaves_out_what_was_written_later() {
    let store = Store::new(64, 4096);
    store.put(b"a", b"1").unwrap();
    store.put(b"b", &bytes(700, 1)).unwrap();
    let cut = store.put(b"c", b"").unwrap();
    let before = store.pairs();
    assert_eq!(before.len(), 3);
    store.put(b"a", b"2").unwrap();
    store.delete(b"c").unwrap();
    store.put(b"d", b"4").unwrap();
    assert_eq!(store.pairs_to(cut), [before[1].clone()], "what has changed since, the log brings");
    let versions: Vec<Lsn> = store.pairs().iter().map(|(_, version, _)| *version).collect();
    assert_eq!(store.pairs().len(), 3);
    assert_eq!(store.pairs_to(versions.into_iter().max().unwrap()), store.pairs());
    let mut seen = 0;
    let stopped = store.table.pairs(&store.ledger, Lsn(u64::MAX), |_, _, _| {
        seen += 1;
        if seen == 2 { Err("enough") } else { Ok(()) }
    });
    assert_eq!((stopped, seen), (Err("enough"), 2));
}

/// A write has its number before its bucket leads to it. A snapshot whose cut includes it would lose it, and a follower would answer
/// who has seen it without it.
#[test]
fn a_key_that_has_its_number_and_is_not_yet_linked_is_not_missed() {
    for dies in [true, false] {
        let store = Store::new(64, 4096);
        let home = store.table.home(b"key");
        let commit = || {
            let bucket = store.table.lock(&store.ledger, home.bucket, || ()).unwrap();
            let change = store.teller(3).take_blocks(home, None, Some((b"key", b"value"))).unwrap();
            let counts = KvTable::counts(&store.ledger).after(0, 1).unwrap().to_word();
            let intent = &store.ledger.rows()[3].intent;
            intent.prepare(&Plan::NOTHING);
            let stamp = store.ledger.commit_applied(intent, 2, (None, Some(counts)), || ());
            (bucket, stamp.lsn, change)
        };
        let wanted = [(b"key".to_vec(), Lsn(2), b"value".to_vec())];
        let page = || store.table.page(&store.ledger, &PageRequest { from: vec![], prefix: vec![], limit: 5 });
        if dies {
            die_after(|| std::mem::forget(commit()));
            assert_eq!(page().entries.len(), 1);
            assert_eq!(store.pairs_to(Lsn(2)), wanted);
            continue;
        }
        let (walked, has_walked) = std::sync::mpsc::channel();
        let (bucket, lsn, change) = commit();
        std::thread::scope(|scope| {
            scope.spawn(|| walked.send(store.pairs_to(Lsn(2))).unwrap());
            // What does not wait for the writer comes back long before.
            assert!(has_walked.recv_timeout(std::time::Duration::from_millis(100)).is_err());
            bucket.carry_out(lsn, &change);
            let teller = store.teller(3);
            teller.give_back(None);
            teller.end();
            drop(bucket);
            assert_eq!(has_walked.recv().unwrap(), wanted);
        });
    }
}
