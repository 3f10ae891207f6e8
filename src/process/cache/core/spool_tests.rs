//! Tables as in [`tests`](super::tests): what goes into spools, for whom, and for how long.

use super::settings::Settings;
use super::tests::{run, run_with, settings};

/// The cache is smaller than what may be kept.
fn small() -> Settings {
    Settings { cache_bytes: 250, ..settings() }
}

#[test]
fn what_has_no_length_is_spooled_and_kept_if_it_fits() {
    let core = run("
        ask 1 /a    => fetch 0 /a
        head 0 ? v1 => open 0 spool
        chunk 0 100 => append 0
        ask 2 /a
        chunk 0 200 => append 0
        whole 0     => keep 0; 1: miss 300 of 0; 2: coalesced 300 of 0
        ask 3 /a    => 3: hit 300 of 0
    ");
    assert_eq!((core.counters().bytes, core.counters().spooled_bytes), (302, 0));
    let mut small = settings();
    small.cache_bytes = 250;
    let core = run_with(
        small,
        "
        ask 1 /a    => fetch 0 /a
        head 0 ?    => open 0 spool
        chunk 0 300 => append 0
        whole 0     => 1: miss 300 of 0
        ask 2 /a    => 2: hit 300 of 0
        done 1
        done 2
        at 29
        ask 4 /a    => 4: hit 300 of 0
        ask 5 /c    => fetch 1 /c
        head 1 ?    => open 1 spool
        chunk 1 400 => append 1
        ask 6 /d    => fetch 2 /d
        head 2 ?    => open 2 spool
        chunk 2 201 => cancel 2; release 2; 6: error toolarge
        fail 1      => release 1; 5: error upstream
        done 4
        at 58
        tick
        at 59
        tick        => release 0
        ask 3 /b    => fetch 3 /b
        head 3 ?    => open 3 spool
        done 3
        chunk 3 249 => append 3; cancel 3; release 3
    ",
    );
    assert_eq!((core.contents.len(), core.counters().spooled_bytes), (0, 0));
    run("ask 1 /a => fetch 0 /a\n head 0 ? => open 0 spool\n fail 0 => release 0; 1: error upstream");
    run("ask 1 /a => fetch 0 /a\n head 0 ? => open 0 spool\n chunk 0 501 => cancel 0; release 0; 1: error toolarge");
}

#[test]
fn what_memory_has_no_room_for_is_fetched_once_for_all_who_read_it() {
    let core = run_with(
        small(),
        "
        ask 1 /a       => fetch 0 /a
        head 0 400 v1  => open 0 spool; 1: miss 400 of 0
        chunk 0 100    => append 0
        ask 2 /a       => 2: coalesced 400 of 0
        read 2 100
        done 1
        chunk 0 300    => append 0
        ask 3 /a       => 3: coalesced 400 of 0
        whole 0
        ask 4 /a       => 4: hit 400 of 0
        done 2
        done 3
        at 99
        done 4
        at 120
        ask 5 /a       => 5: stale 400 of 0; fetch 1 /a unless v1
        done 5
        at 170
        same 1
        at 199
        ask 6 /a       => 6: hit 400 of 0
        done 6
        at 228
        tick
        at 229
        tick           => release 0
        ask 7 /a       => fetch 2 /a
        ",
    );
    let counters = core.counters();
    assert_eq!((counters.fetches, counters.passed_through, counters.renewed), (3, 0, 1));
    assert_eq!((counters.bytes, counters.spooled_bytes, counters.entries), (0, 0, 0));
}

#[test]
fn what_nobody_reads_before_it_is_whole_goes_unless_all_of_it_has_come() {
    // Who has all of it may be done before it is known to be whole.
    run_with(
        small(),
        "
        ask 1 /a       => fetch 0 /a
        head 0 400     => open 0 spool; 1: miss 400 of 0
        chunk 0 400    => append 0
        done 1
        ask 2 /a       => 2: coalesced 400 of 0
        done 2
        whole 0
        ask 3 /a       => 3: hit 400 of 0
        ",
    );
    // With its last reader goes what is still coming, and at once what was purged.
    run_with(
        small(),
        "ask 1 /a => fetch 0 /a\n head 0 400 => open 0 spool; 1: miss 400 of 0\n done 1 => cancel 0; release 0",
    );
    run_with(
        small(),
        "
        ask 1 /a       => fetch 0 /a
        head 0 400     => open 0 spool; 1: miss 400 of 0
        chunk 0 400    => append 0
        whole 0
        purge /a
        ask 2 /a       => fetch 1 /a
        done 1         => release 0
        ",
    );
    for (event, how) in [("fail 0", ""), ("whole 0", ""), ("chunk 0 301", "cancel 0; ")] {
        let script = format!(
            "
            ask 1 /a    => fetch 0 /a
            head 0 400  => open 0 spool; 1: miss 400 of 0
            chunk 0 100 => append 0
            {event}     => {how}cut 0
            done 1      => release 0"
        );
        assert_eq!(run_with(small(), &script).counters().spooled_bytes, 0);
    }
}

#[test]
fn what_found_memory_busy_moves_there_when_nobody_reads_it() {
    let core = run("
        ask 1 /a       => fetch 0 /a
        head 0 500     => open 0 memory; 1: miss 500 of 0
        ask 2 /b       => fetch 1 /b
        head 1 490     => open 1 memory; 2: miss 490 of 1
        chunk 1 490    => append 1
        whole 1
        ask 3 /c       => fetch 2 /c
        head 2 300     => open 2 spool; 3: miss 300 of 2
        chunk 2 300    => append 2
        whole 2
        done 3
        at 20
        ask 4 /c       => 4: hit 300 of 2
        done 4
        done 2
        at 50
        tick           => release 1; keep 2
        at 99
        ask 5 /c       => 5: hit 300 of 2
    ");
    assert_eq!((core.counters().entries, core.counters().spooled_bytes, core.counters().bytes), (1, 0, 804));
}

#[test]
fn what_finds_no_room_in_the_spools_passes_through() {
    let mut settings = small();
    settings.fetches = 3;
    settings.pass_through = 2;
    let core = run_with(
        settings.clone(),
        "
        ask 1 /a       => fetch 0 /a
        head 0 400     => open 0 spool; 1: miss 400 of 0
        ask 2 /b       => fetch 1 /b
        head 1 260     => open 1 window; 2: miss 260 of 1
        chunk 0 400    => append 0
        whole 0
        done 1
        ask 3 /c       => fetch 2 /c
        head 2 400     => release 0; open 2 spool; 3: miss 400 of 2
        ask 4 /d       => fetch 3 /d
        head 3 501     => open 3 window; 4: miss 501 of 3
        ",
    );
    assert_eq!((core.counters().passed_through, core.counters().spooled_bytes, core.running), (2, 400, 1));
    // There is no file for it.
    let core = run_with(
        settings,
        "
        ask 1 /a       => fetch 0 /a
        ask 2 /a
        head 0 400     => open 0 spool; 1: miss 400 of 0; 2: coalesced 400 of 0
        nofile 0
        chunk 0 100    => append 0
        chunk 0 100    => append 0; pause 0
        read 1 100
        read 2 100     => trim 0 100; resume 0
        done 1
        nofile 0
        done 2         => cancel 0; release 0
        ask 3 /b       => fetch 1 /b
        head 1 9999    => open 1 window; 3: miss 9999 of 1
        ask 4 /c       => fetch 2 /c
        head 2 9999    => open 2 window; 4: miss 9999 of 2
        ask 5 /a       => fetch 3 /a
        head 3 400     => open 3 spool; 5: miss 400 of 3
        nofile 3       => cancel 3; cut 3
        done 5         => release 3
        ",
    );
    assert_eq!((core.counters().spooled_bytes, core.running, core.passing), (0, 0, 2));
    // Where nothing is to be kept, all passes through.
    run_with(
        Settings { cache_bytes: 0, ..small() },
        "
        ask 1 /a       => fetch 0 /a
        head 0 10      => open 0 window; 1: miss 10 of 0
        done 1         => cancel 0; release 0
        ask 2 /a       => fetch 1 /a
        head 1 ?       => open 1 spool
        chunk 1 10     => append 1
        whole 1        => 2: miss 10 of 1
        ask 3 /a       => fetch 2 /a
        done 2         => release 1
        ",
    );
}

#[test]
fn few_stay_in_spools_that_nobody_reads() {
    let mut script = String::new();
    for n in 0..3 {
        let what = format!(
            "ask {n} /{n} => fetch {n} /{n}\n head {n} ? => open {n} spool\n chunk {n} 260 => append {n}
             whole {n} => {n}: miss 260 of {n}\n done {n} => {}\n",
            if n == 2 { "release 0" } else { "" }
        );
        script.push_str(&what);
    }
    assert_eq!(run_with(small(), &script).counters().spooled_bytes, 520);
    // They go for what comes.
    script.push_str("ask 3 /3 => fetch 3 /3\n head 3 ? => open 3 spool\n chunk 3 380 => append 3\n chunk 3 1 => release 1; append 3");
    assert_eq!(run_with(small(), &script).counters().spooled_bytes, 641);
}
