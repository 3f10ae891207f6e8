//! The access log under deaths: writers are killed at every named point, at random ones, and while they make good a death.
//!
//! Every line is a function of its writer and its number, so what a file must hold follows from how many bytes each row has
//! ever taken: nothing else has to be remembered across a death.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use bank_vault::base::crash_point::{self, Charge, CrashPoint};
use bank_vault::store::access_log::AccessLog;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::{log_files, log_life};

use log_files::{Broken, line, lines_in, read_all, verify};
use log_life::{
    INTERVAL, Lots, appended, child, dying_life, leave_lines, life, log, points, start, torn, was_killed, write_behind,
};

#[test]
fn random_deaths_of_eight_writers_lose_tear_and_double_nothing() {
    const WRITERS: u32 = 8;
    const LINES: u32 = 60_000;
    const DEATHS: u32 = 250;
    let (home, log) = log(WRITERS as usize, 150_000, 1_000);
    let points: Vec<_> = points().collect();
    let mut lots = Lots(0x2545_F491);
    let mut born = |worker: u32, armed: bool| {
        // Two of three die by themselves, if they come so far.
        let point = points[lots.below(1 << 20) as usize % points.len()];
        let charge = Charge { point, hit: 1 + lots.below(3), stop: false };
        let charge = (armed && lots.below(3) > 0).then_some(charge);
        child(|| {
            charge.into_iter().for_each(crash_point::arm);
            life(log, worker, LINES);
        })
    };
    let mut children: Vec<_> = (0..WRITERS).map(|worker| Some(born(worker, true))).collect();
    let (mut lots, mut deaths) = (Lots(0x9E37_79B9), 0);
    while children.iter().any(Option::is_some) {
        // The moment is what is random; there is no event to wait for.
        std::thread::sleep(Duration::from_micros(u64::from(lots.below(2_000))));
        let worker = lots.below(WRITERS);
        let Some(pid) = children[worker as usize] else { continue };
        let flags = if deaths < DEATHS {
            kill(pid, Signal::SIGKILL).unwrap();
            WaitPidFlag::empty()
        } else {
            // It may wait for one that has killed itself.
            WaitPidFlag::WNOHANG
        };
        children[worker as usize] = match waitpid(pid, Some(flags)).unwrap() {
            WaitStatus::StillAlive => Some(pid),
            WaitStatus::Exited(_, 0) => None,
            WaitStatus::Signaled(_, Signal::SIGKILL, _) => {
                deaths += 1;
                Some(born(worker, deaths < DEATHS))
            }
            other => panic!("{other:?}"),
        };
    }
    let appended = appended(log);
    assert!((0..WRITERS).all(|worker| lines_in(worker, appended[worker as usize]) == LINES));
    let (held, planned) = (log.inherited(), log.replayed());
    let what = format!("{deaths} deaths, {held} of them with the lock, {planned} with a plan");
    verify(home.path(), &appended).unwrap_or_else(|broken| panic!("{broken:?} after {what}"));
    println!("{what}");
    assert!(held > planned && planned > 0, "{what}");
}

#[test]
fn a_death_at_every_point_is_made_good_by_a_successor_or_by_anybody() {
    assert!(points().count() >= 9);
    for point in points() {
        for hit in 1..=3 {
            for successor in [true, false] {
                let what = format!("killed at {} #{hit}, successor: {successor}", point.name());
                // Each flush is a file, so that each death is among rotations.
                let (home, log) = log(2, 1, 40);
                life(log, 1, 50);
                let killed = was_killed(dying_life(log, 0, point, hit));
                // Nobody has left a plan before.
                assert!(killed || hit > 1 || point == CrashPoint::LogInherited, "{what}: it does not come by there");
                if successor {
                    life(log, 0, 2_000);
                } else {
                    life(log, 1, 100);
                    log.drain().unwrap();
                }
                verify(home.path(), &appended(log)).unwrap_or_else(|broken| panic!("{broken:?}, {what}"));
                assert_eq!((log.lock_holder(), log.plan().load()), (None, None), "{what}");
            }
        }
    }
}

#[test]
fn a_death_of_who_makes_a_death_good_is_made_good() {
    for first in points() {
        for second in points() {
            let what = format!("killed at {}, and who came next at {}", first.name(), second.name());
            let (home, log) = log(2, 1, 40);
            let [_, again] =
                [(0, first), (1, second)].map(|(worker, point)| was_killed(dying_life(log, worker, point, 1)));
            // The first one comes by `log.inherited` only where another has left a plan.
            let leaves_plan = [CrashPoint::LogPlanned, CrashPoint::LogWritten, CrashPoint::LogFlushed].contains(&first);
            assert_eq!(again, second != CrashPoint::LogInherited || leaves_plan, "{what}");
            log.drain().unwrap();
            verify(home.path(), &appended(log)).unwrap_or_else(|broken| panic!("{broken:?}, {what}"));
        }
    }
}

#[test]
fn a_rotation_that_a_death_cut_short_is_done_once_and_only_the_oldest_goes() {
    let rotated = (CrashPoint::LogRotated, 1, ["?", "?", "b", "c"]);
    for (point, hit, wanted) in (1..=4).map(|hit| (CrashPoint::LogRotating, hit, ["?", "b", "c", "d"])).chain([rotated])
    {
        let (home, log) = log(2, 1, 4);
        let old = |number| home.path().join(format!("access.log.{number}"));
        (1..=4).zip(["b", "c", "d", "e"]).for_each(|(number, text)| fs::write(old(number), text).unwrap());
        leave_lines(log, 0, 10);
        let pid = child(|| {
            crash_point::arm(Charge { point, hit, stop: false });
            log.drain().unwrap();
        });
        assert!(was_killed(pid));
        leave_lines(log, 1, 10);
        log.drain().unwrap();
        let found = [1, 2, 3, 4].map(|number| fs::read_to_string(old(number)).unwrap());
        let names = found.each_ref().map(|text| if text.len() > 1 { "?" } else { text.as_str() });
        assert_eq!(names, wanted, "killed at {} #{hit}", point.name());
        (1..=4).filter(|&number| found[number - 1].len() == 1).for_each(|number| fs::remove_file(old(number)).unwrap());
        verify(home.path(), &appended(log)).unwrap();
    }
}

#[test]
fn a_write_that_a_death_cut_short_is_completed_at_any_byte() {
    for share in 0..=20 {
        let (home, log, lines) = torn();
        let reached = if share == 20 { lines.len() } else { (lines.len() * share / 20 + share).min(lines.len()) };
        write_behind(&log.target().path, &lines[..reached]);
        life(log, 1, 60);
        log.drain().unwrap();
        verify(home.path(), &appended(log)).unwrap_or_else(|broken| panic!("{broken:?} after {reached} bytes"));
    }
}

#[test]
fn a_recovery_that_ignores_the_plan_is_caught() {
    let (home, log, lines) = torn();
    write_behind(&log.target().path, &lines[..lines.len() / 2]);
    log.plan().clear(&log.lock());
    life(log, 1, 60);
    log.drain().unwrap();
    let broken = verify(home.path(), &appended(log)).unwrap_err();
    assert!(matches!(broken, Broken::Torn { .. }), "half a line: {broken:?}");

    let (home, log, lines) = torn();
    write_behind(&log.target().path, &lines);
    log.plan().clear(&log.lock());
    log.drain().unwrap();
    let broken = verify(home.path(), &appended(log)).unwrap_err();
    assert_eq!(broken, Broken::NotNext { writer: 0, wanted: lines_in(0, lines.len() as u64), found: 0 }, "doubled");

    let (home, log, _) = torn();
    log.drain().unwrap();
    let path = &log.target().path;
    let whole = fs::read(path).unwrap();
    let last = whole.len() - line(0, lines_in(0, log.rings()[0].appended()) - 1).len();
    fs::write(path, &whole[..last]).unwrap();
    let broken = verify(home.path(), &appended(log)).unwrap_err();
    assert!(matches!(broken, Broken::Missing { writer: 0, .. }), "lost at the end: {broken:?}");
    fs::write(path, &whole[line(1, 0).len()..]).unwrap();
    let broken = verify(home.path(), &appended(log)).unwrap_err();
    assert_eq!(broken, Broken::NotNext { writer: 1, wanted: 0, found: 1 }, "lost at the beginning");
}

#[test]
fn a_plan_is_carried_out_in_its_file_wherever_that_was_renamed_to() {
    let (home, log, lines) = torn();
    let path = &log.target().path;
    write_behind(path, &lines[..lines.len() / 3]);
    fs::rename(path, home.path().join("access.log.1")).unwrap();
    life(log, 1, 60);
    log.drain().unwrap();
    verify(home.path(), &appended(log)).unwrap();
    assert_eq!(read_all(home.path()).len(), 2, "and what came behind it is in a new one");
}

#[test]
fn lines_whose_file_was_removed_in_the_middle_of_a_write_are_written_anew() {
    let (home, log, lines) = torn();
    let path = &log.target().path;
    write_behind(path, &lines[..lines.len() / 3]);
    fs::remove_file(path).unwrap();
    log.drain().unwrap();
    assert_eq!((log.plan().load(), log.rings()[0].pending()), (None, 0));
    assert!(fs::read(home.path().join("access.log")).unwrap().starts_with(&lines));
}

#[test]
fn a_holder_that_died_blocks_nobody() {
    for point in points() {
        let (home, log) = log(2, 1, 40);
        let killed = was_killed(dying_life(log, 0, point, 1));
        let began = Instant::now();
        life(log, 1, 10);
        assert!(began.elapsed() < Duration::from_secs(1), "{} {killed}: {:?}", point.name(), began.elapsed());
        log.drain().unwrap();
        verify(home.path(), &appended(log)).unwrap();
    }
}

/// A child that is halted with the lock, in the middle of a write.
fn halted(log: &'static AccessLog) -> Pid {
    let pid = child(|| {
        crash_point::arm(Charge { point: CrashPoint::LogPlanned, hit: 1, stop: true });
        life(log, 0, 100);
    });
    assert!(matches!(waitpid(pid, Some(WaitPidFlag::WUNTRACED)).unwrap(), WaitStatus::Stopped(..)));
    assert!(has_lock(log, pid));
    pid
}

/// Whether a thread of process `pid` holds the lock.
fn has_lock(log: &AccessLog, pid: Pid) -> bool {
    log.lock_holder().is_some_and(|thread| Path::new(&format!("/proc/{pid}/task/{thread}")).exists())
}

#[test]
fn nobody_breaks_in_on_a_holder_that_is_halted() {
    for goes_on in [true, false] {
        let (home, log) = log(2, 1 << 30, 5);
        let pid = halted(log);
        let other = child(|| life(log, 1, 50));
        // Time in which nothing may happen.
        std::thread::sleep(Duration::from_millis(200));
        assert_eq!(waitpid(other, Some(WaitPidFlag::WNOHANG)).unwrap(), WaitStatus::StillAlive);
        assert!(has_lock(log, pid) && log.rings()[1].flushed() == 0);
        assert_eq!(fs::metadata(&log.target().path).unwrap().len(), 0);
        let began = Instant::now();
        if goes_on {
            kill(pid, Signal::SIGCONT).unwrap();
            assert!(!was_killed(pid));
        } else {
            kill(pid, Signal::SIGKILL).unwrap();
            assert!(was_killed(pid));
        }
        assert!(!was_killed(other));
        assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
        log.drain().unwrap();
        verify(home.path(), &appended(log)).unwrap();
    }
}

#[test]
fn what_a_dead_worker_without_a_successor_had_appended_is_written_by_another() {
    let (home, log) = log(2, 1 << 30, 5);
    assert!(was_killed(dying_life(log, 0, CrashPoint::LogAppended, 20)));
    assert_eq!(lines_in(0, log.rings()[0].appended()), 20);
    let handle = start(log, 1);
    let deadline = Instant::now() + Duration::from_secs(10);
    while log.rings()[0].pending() > 0 {
        assert!(Instant::now() < deadline, "nobody swept it");
        std::thread::sleep(INTERVAL / 5);
    }
    handle.finish().unwrap();
    verify(home.path(), &appended(log)).unwrap();
}
