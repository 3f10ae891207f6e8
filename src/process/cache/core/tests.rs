//! What follows upon what, as tables: an event, and the actions that it must lead to.

use std::fmt::Write;

use super::event::{Action, Answer, ContentId, Event, FetchId, Head, OwnerId, Path, RequestId, Source, Validators};
use super::settings::Settings;
use super::state::Core;

pub fn settings() -> Settings {
    let mut settings = Settings::new(1000, 500, 100, 50);
    (settings.spool_bytes, settings.spool_idle_ns) = (900, 30);
    (settings.window_bytes, settings.chunk_bytes) = (200, 100);
    (settings.stale_while_revalidate_ns, settings.stale_if_error_ns, settings.retry_ns) = (100, 500, 20);
    (settings.fetches, settings.pass_through, settings.revalidations) = (2, 1, 1);
    (settings.waiting_per_path, settings.waiting, settings.readers, settings.negative) = (3, 6, 5, 2);
    settings
}

fn path(text: &str) -> Path {
    text.as_bytes().into()
}

/// An action in words.
fn told(action: &Action) -> String {
    let source = |source: &Source| format!("{source:?}").to_lowercase();
    match action {
        Action::Answer(id, Answer::Found { content, length, source: from }) => {
            format!("{}: {} {length} of {}", id.0, source(from), content.0)
        }
        Action::Answer(id, Answer::NotFound(from)) => format!("{}: {} none", id.0, source(from)),
        Action::Answer(id, Answer::Error(reason)) => {
            format!("{}: error {}", id.0, format!("{reason:?}").to_lowercase())
        }
        Action::Fetch { fetch, path, validators } => {
            let mut text = format!("fetch {} {}", fetch.0, path.escape_ascii());
            if let Some(etag) = &validators.etag {
                write!(text, " unless {}", etag.escape_ascii()).unwrap();
            }
            text
        }
        Action::Pause(fetch) => format!("pause {}", fetch.0),
        Action::Resume(fetch) => format!("resume {}", fetch.0),
        Action::Cancel(fetch) => format!("cancel {}", fetch.0),
        Action::Open { content, place, .. } => {
            format!("open {} {}", content.0, format!("{place:?}").to_lowercase())
        }
        Action::Append(content) => format!("append {}", content.0),
        Action::Trim(content, before) => format!("trim {} {before}", content.0),
        Action::Keep(content) => format!("keep {}", content.0),
        Action::Cut(content) => format!("cut {}", content.0),
        Action::Release(content) => format!("release {}", content.0),
    }
}

/// Has happen what a line says.
fn perform(core: &mut Core, now_ns: &mut u64, line: &str) {
    let words: Vec<&str> = line.split_whitespace().collect();
    let number = |index: usize| words[index].parse::<u64>().unwrap();
    let fetch = || FetchId(number(1));
    let event = match words[0] {
        "at" => {
            *now_ns = number(1);
            return;
        }
        "purge" if words[1] == "*" => return assert!(core.purge_all() > 0, "{line}"),
        "purge" => return assert!(core.purge(words[1].as_bytes()), "{line}"),
        "ask" => {
            let owner = OwnerId(words.get(3).map_or(0, |owner| owner.parse().unwrap()));
            Event::Requested { request: RequestId(number(1)), owner, path: path(words[2]) }
        }
        "done" => Event::Finished(RequestId(number(1))),
        "read" => Event::Read { request: RequestId(number(1)), position: number(2) },
        "head" => {
            let etag = words.get(3).map(|etag| etag.as_bytes().into());
            let validators = Validators { etag, last_modified: None };
            Event::Head(fetch(), Head::Found { length: words[2].parse().ok(), validators })
        }
        "same" => Event::Head(fetch(), Head::NotModified),
        "none" => Event::Head(fetch(), Head::NotFound),
        "chunk" => Event::Chunk(fetch(), number(2)),
        "whole" => Event::Whole(fetch()),
        "fail" => Event::Failed(fetch()),
        "nofile" => Event::Unspooled(ContentId(number(1))),
        "tick" => Event::Tick,
        other => panic!("{other}"),
    };
    core.handle(*now_ns, event);
}

/// Lines of `event => action; action`.
pub fn run_with(settings: Settings, script: &str) -> Core {
    let (mut core, mut now_ns) = (Core::new(settings), 0);
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (event, expected) = line.split_once("=>").unwrap_or((line, ""));
        perform(&mut core, &mut now_ns, event);
        let actions: Vec<_> = std::iter::from_fn(|| core.next_action()).map(|action| told(&action)).collect();
        assert_eq!(actions.join("; "), expected.trim(), "after {event} of {script}");
    }
    core
}

pub fn run(script: &str) -> Core {
    run_with(settings(), script)
}

/// `/a` is there, with 100 bytes, and has been read.
const HAS_A: &str = "
    ask 1 /a       => fetch 0 /a
    head 0 100 v1  => open 0 memory; 1: miss 100 of 0
    chunk 0 100    => append 0
    whole 0
    done 1
";

#[test]
fn what_is_fetched_is_kept_and_fresh_for_its_time() {
    let core = run(&format!(
        "{HAS_A}
        at 99
        ask 2 /a    => 2: hit 100 of 0
        at 100
        ask 3 /a    => 3: stale 100 of 0; fetch 1 /a unless v1
        ask 4 /a    => 4: stale 100 of 0
        same 1
        ask 5 /a    => 5: hit 100 of 0
        done 2
        done 3
        done 4
        done 5
    "
    ));
    let counters = core.counters();
    assert_eq!((counters.hits, counters.misses, counters.stale, counters.renewed), (2, 1, 2, 1));
    assert_eq!((counters.bytes, counters.entries, counters.reading, counters.fetching), (102, 1, 0, 0));
}

#[test]
fn one_fetch_serves_all_who_wait_and_survives_who_began_it() {
    run("
        ask 1 /a       => fetch 0 /a
        ask 2 /a
        done 1
        done 2
        ask 3 /a
        head 0 100     => open 0 memory; 3: coalesced 100 of 0
        chunk 0 40     => append 0
        ask 4 /a       => 4: coalesced 100 of 0
        done 3
        done 4
        chunk 0 60     => append 0
        whole 0
        ask 5 /a       => 5: hit 100 of 0
    ");
}

#[test]
fn a_fetch_that_waits_for_its_turn_is_dropped_with_the_last_who_waits_for_it() {
    let core = run("
        ask 1 /a       => fetch 0 /a
        ask 2 /b       => fetch 1 /b
        ask 3 /c
        ask 4 /d
        done 3
        none 0         => 1: miss none; fetch 3 /d
    ");
    assert_eq!((core.fetches.len(), core.queue.len()), (2, 0));
}

#[test]
fn owners_take_turns() {
    run("
        ask 1 /a 7     => fetch 0 /a
        ask 2 /b 7     => fetch 1 /b
        ask 3 /c 7
        ask 4 /d 7
        ask 5 /e 8
        ask 6 /f 5
        none 0         => 1: miss none; fetch 4 /e
        none 1         => 2: miss none; fetch 5 /f
        none 4         => 5: miss none; fetch 2 /c
        none 5         => 6: miss none; fetch 3 /d
    ");
}

#[test]
fn who_waits_is_served_before_the_background_and_may_take_it_over() {
    run(&format!(
        "{HAS_A}
        ask 2 /b       => fetch 1 /b
        ask 3 /c       => fetch 2 /c
        at 150
        ask 4 /a       => 4: stale 100 of 0
        ask 5 /d
        none 1         => 2: miss none; fetch 4 /d
        at 250
        ask 6 /a
        ask 7 /e
        none 2         => 3: miss none; fetch 3 /a unless v1
        same 3         => 6: revalidated 100 of 0; fetch 5 /e
    "
    ));
}

#[test]
fn a_fetch_that_fails_ends_those_who_read_and_refuses_those_who_wait() {
    for (event, how) in [
        ("fail 0", ""),
        ("whole 0", ""),
        ("chunk 0 61", "cancel 0; "),
        ("same 0", "cancel 0; "),
        ("head 0 40", "cancel 0; "),
    ] {
        run(&format!(
            "
            ask 1 /a    => fetch 0 /a
            head 0 100  => open 0 memory; 1: miss 100 of 0
            chunk 0 40  => append 0
            {event}     => {how}cut 0
            ask 2 /a    => fetch 1 /a
            done 1      => release 0
            fail 1      => 2: error upstream
        "
        ));
    }
    for (event, how) in [("fail 0", ""), ("chunk 0 1", "cancel 0; "), ("whole 0", "cancel 0; "), ("same 0", "")] {
        let core =
            run(&format!("ask 1 /a => fetch 0 /a\n ask 2 /a\n {event} => {how}1: error upstream; 2: error upstream"));
        assert_eq!((core.counters().errors, core.counters().failed_fetches, core.fetches.len()), (2, 1, 0));
    }
}

#[test]
fn an_old_entry_serves_when_the_upstream_fails() {
    run(&format!(
        "{HAS_A}
        at 250
        ask 2 /a    => fetch 1 /a unless v1
        fail 1      => 2: stale 100 of 0
        at 269
        ask 3 /a    => 3: stale 100 of 0
        at 270
        ask 4 /a    => fetch 2 /a unless v1
        at 600
        fail 2      => 4: error upstream
        at 700
        ask 5 /a    => fetch 3 /a unless v1
        same 3      => 5: revalidated 100 of 0
    "
    ));
}

#[test]
fn what_is_new_replaces_what_was_old_but_not_for_who_reads_it() {
    run(&format!(
        "{HAS_A}
        at 150
        ask 2 /a       => 2: stale 100 of 0; fetch 1 /a unless v1
        head 1 200 v2  => open 1 memory
        ask 3 /a       => 3: stale 100 of 0
        chunk 1 200    => append 1
        whole 1
        ask 4 /a       => 4: hit 200 of 1
        done 2
        done 3         => release 0
    "
    ));
    run(&format!("{HAS_A}\n at 250\n ask 2 /a => fetch 1 /a unless v1\n none 1 => 2: miss none; release 0"));
}

#[test]
fn what_has_become_too_large_is_not_asked_about_for_ever() {
    run(&format!(
        "{HAS_A}
        at 150
        ask 2 /a       => 2: stale 100 of 0; fetch 1 /a unless v1
        head 1 501     => open 1 window; cancel 1; release 1
        done 2         => release 0
        ask 3 /a       => fetch 2 /a
        head 2 501     => open 2 window; 3: miss 501 of 2
    "
    ));
    let mut small = settings();
    small.cache_bytes = 250;
    run_with(
        small,
        &format!(
            "{HAS_A}
            at 150
            ask 2 /a      => 2: stale 100 of 0; fetch 1 /a unless v1
            head 1 ? v2   => open 1 spool
            chunk 1 249   => append 1; cancel 1; release 1
            done 2        => release 0
        "
        ),
    );
}

#[test]
fn what_is_not_there_is_remembered_for_its_time_and_in_bounded_number() {
    let core = run("
        ask 1 /a    => fetch 0 /a
        ask 2 /a
        none 0      => 1: miss none; 2: coalesced none
        at 49
        ask 3 /a    => 3: hit none
        at 50
        ask 4 /a    => fetch 1 /a
        none 1      => 4: miss none
        at 60
        ask 5 /b    => fetch 2 /b
        none 2      => 5: miss none
        ask 6 /c    => fetch 3 /c
        none 3      => 6: miss none
        ask 7 /c    => 7: hit none
        ask 8 /a    => fetch 4 /a
    ");
    assert_eq!((core.counters().negative_entries, core.records.len()), (2, 3));
}

#[test]
fn the_least_recently_used_goes_and_what_is_read_does_not() {
    let get = |n: u32, path: &str, length: u32| {
        format!(
            "ask {n} {path} => fetch {n} {path}\n head {n} {length} => open {n} memory; {n}: miss {length} of {n}
             chunk {n} {length} => append {n}\n whole {n}\n done {n}\n"
        )
    };
    run(&format!(
        "{}{}
        ask 9 /0     => 9: hit 398 of 0
        done 9
        ask 2 /2     => fetch 2 /2
        head 2 400   => release 1; open 2 memory; 2: miss 400 of 2
        ask 8 /0     => 8: hit 398 of 0
        ask 3 /3     => fetch 3 /3
        head 3 300   => open 3 spool; 3: miss 300 of 3
        done 8
        purge /3
        done 3       => cancel 3; release 3
        ask 4 /4     => fetch 4 /4
        head 4 300   => release 0; open 4 memory; 4: miss 300 of 4
    ",
        get(0, "/0", 398),
        get(1, "/1", 398)
    ));
}

#[test]
fn what_is_too_large_passes_by_a_window() {
    let core = run("
        ask 1 /big      => fetch 0 /big
        head 0 501 v1   => open 0 window; 1: miss 501 of 0
        ask 2 /big      => 2: coalesced 501 of 0
        chunk 0 100     => append 0
        chunk 0 100     => append 0; pause 0
        read 1 150
        read 2 120      => trim 0 120; resume 0
        ask 3 /big      => fetch 1 /big
        chunk 0 100     => append 0; pause 0
        done 2          => trim 0 150
        head 1 501      => cancel 1; 3: error full
        read 1 300      => trim 0 300; resume 0
        chunk 0 100     => append 0
        chunk 0 101     => append 0; pause 0
        whole 0
        read 1 501      => trim 0 501
        done 1          => release 0
    ");
    assert_eq!((core.contents.len(), core.records.len(), core.counters().bytes, core.passing), (0, 0, 0, 0));
    run("ask 1 /big => fetch 0 /big
         head 0 9999 => open 0 window; 1: miss 9999 of 0
         done 1 => cancel 0; release 0");
}

#[test]
fn what_is_purged_is_not_answered_any_more() {
    run(&format!(
        "{HAS_A}
        ask 2 /a    => 2: hit 100 of 0
        purge /a
        ask 3 /a    => fetch 1 /a
        head 1 50   => open 1 memory; 3: miss 50 of 1
        purge /a
        ask 4 /a    => fetch 2 /a
        chunk 1 50  => append 1
        whole 1
        done 3      => release 1
        done 2      => release 0
        purge *
        head 2 50   => open 2 memory; 4: miss 50 of 2
        done 4      => cancel 2; release 2
    "
    ));
    // Who waits for the upstream's word on what is purged meanwhile has asked before.
    run(&format!(
        "{HAS_A}\n at 250\n ask 2 /a => fetch 1 /a unless v1\n purge /a\n same 1 => 2: revalidated 100 of 0\n done 2 => release 0"
    ));
    let core = run(&format!(
        "{HAS_A}
        at 150
        ask 2 /a => 2: stale 100 of 0; fetch 1 /a unless v1
        done 2
        purge /a => cancel 1; release 0"
    ));
    assert_eq!((core.records.len(), core.contents.len(), core.fetches.len(), core.running), (0, 0, 0, 0));
}

#[test]
fn what_can_grow_has_bounds() {
    let core = run("
        ask 1 /a    => fetch 0 /a
        ask 2 /a
        ask 3 /a
        ask 4 /a    => 4: error full
        ask 5 /b    => fetch 1 /b
        ask 6 /c
        ask 7 /d
        ask 8 /e    => 8: error full
        ask 9 /b    => 9: error full
        head 0 10   => open 0 memory; 1: miss 10 of 0; 2: coalesced 10 of 0; 3: coalesced 10 of 0
        ask 10 /a   => 10: coalesced 10 of 0
        ask 11 /a   => 11: coalesced 10 of 0
        ask 12 /a   => 12: error full
        head 1 10   => open 1 memory; 5: error full
    ");
    assert_eq!((core.counters().refused, core.counters().waiting, core.counters().reading), (5, 2, 5));
}

#[test]
fn a_head_of_nothing_and_events_of_what_is_over() {
    run("
        ask 1 /a    => fetch 0 /a
        head 0 0    => open 0 memory; 1: miss 0 of 0
        whole 0
        chunk 0 5
        fail 0
        done 1
        done 1
        done 77
        read 1 5
        ask 2 /a    => 2: hit 0 of 0
    ");
}

#[test]
fn the_list_says_what_there_is() {
    let core = run(&format!(
        "{HAS_A}
        ask 2 /b    => fetch 1 /b
        none 1      => 2: miss none
        ask 3 /c    => fetch 2 /c
        head 2 30   => open 1 memory; 3: miss 30 of 1
        chunk 2 10  => append 1
    "
    ));
    let list = |now_ns, after: Option<&[u8]>| -> Vec<_> {
        let line = |entry: super::Listed| {
            format!("{} {:?} {} {}", entry.path.escape_ascii(), entry.what, entry.bytes, entry.readers)
        };
        core.list(now_ns, after).map(line).collect()
    };
    assert_eq!(list(50, None), ["/a Fresh 100 0", "/b Negative 0 0", "/c Coming 10 1"]);
    assert_eq!(list(100, Some(b"/")).first().unwrap(), "/a Stale 100 0");
    assert_eq!(list(50, Some(b"/b")), ["/c Coming 10 1"]);
}

#[test]
fn without_a_time_to_live_every_request_asks() {
    let mut settings = Settings::new(1000, 500, 0, 0);
    settings.fetches = 2;
    run_with(
        settings,
        "
        ask 1 /a       => fetch 0 /a
        head 0 10 v1   => open 0 memory; 1: miss 10 of 0
        chunk 0 10     => append 0
        whole 0
        ask 2 /a       => fetch 1 /a unless v1
        same 1         => 2: revalidated 10 of 0
        ask 3 /b       => fetch 2 /b
        none 2         => 3: miss none
        ask 4 /b       => fetch 3 /b
    ",
    );
}
