//! The access log under deaths, a halted holder, renames by others, and a full disk.
//!
//! Every line is a function of its writer and its number, so what a file must hold follows from how many bytes each row has
//! ever taken: nothing else has to be remembered across a death.
#![allow(unsafe_code)] // fork(2), in a test process of several threads: the children use nothing but the log.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use bank_vault::access_log::{AccessLog, Full, Handle, RING_BYTES, Sink, Target, Writer};
use bank_vault::crash_point::{self, Charge, CrashPoint};
use bank_vault::ipc::names::Generation;
use bank_vault::ipc::segment::Access;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};
use tempfile::TempDir;

#[path = "support/mount.rs"]
mod mount;
#[path = "support/shelf.rs"]
mod shelf;

use shelf::{Broken, bytes_of, line, lines_in, read_all, verify};

/// Short, so that a test does not wait for what only time brings.
const INTERVAL: Duration = Duration::from_millis(50);

/// A log whose names are gone as soon as it is made: the children have it by fork, and nothing can be left behind.
fn log_in(folder: &Path, writers: usize, rotate_bytes: u64, keep: u32) -> &'static AccessLog {
    static NUMBER: AtomicU32 = AtomicU32::new(1);
    let boot = NUMBER.fetch_add(1, Ordering::Relaxed);
    let generation = Generation { instance: format!("test-log-{}", std::process::id()), boot };
    let target = Target { path: folder.join("access.log"), rotate_bytes, keep, interval: INTERVAL };
    let log = AccessLog::create(&generation, writers, target).unwrap();
    AccessLog::unlink(&generation).unwrap();
    log.check_target().unwrap();
    // Log threads refer to it for as long as the process lives.
    Box::leak(Box::new(log))
}

fn log(writers: usize, rotate_bytes: u64, keep: u32) -> (TempDir, &'static AccessLog) {
    let home = tempfile::tempdir().unwrap();
    let log = log_in(home.path(), writers, rotate_bytes, keep);
    (home, log)
}

/// Runs `body` in a forked child, which is killed when this process dies.
fn child(body: impl FnOnce()) -> Pid {
    // SAFETY: the child uses the log and then ends by _exit; it takes no lock that another thread of the parent may hold.
    match unsafe { fork() }.unwrap() {
        ForkResult::Parent { child } => child,
        ForkResult::Child => {
            nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).unwrap();
            body();
            // SAFETY: ends the child without running the parent's destructors.
            unsafe { libc::_exit(0) }
        }
    }
}

/// Waits for a child; whether it died of SIGKILL rather than reaching its end.
fn was_killed(pid: Pid) -> bool {
    match waitpid(pid, None).unwrap() {
        WaitStatus::Signaled(_, Signal::SIGKILL, _) => true,
        WaitStatus::Exited(_, 0) => false,
        other => panic!("{other:?}"),
    }
}

/// Appends a line; when there is no room, waits until the log thread says that there is.
fn append(handle: &mut Handle, line: &[u8]) {
    while handle.append(line) == Err(Full) {
        std::thread::park();
    }
}

fn start(log: &'static AccessLog, worker: u32) -> Handle {
    let event_loop = std::thread::current();
    Writer::start(log, worker, move || event_loop.unpark()).unwrap()
}

/// What a worker does in its life: goes on behind what was appended in earlier lives, up to `lines`, and ends in order.
fn life(log: &'static AccessLog, worker: u32, lines: u32) {
    let from = lines_in(worker, log.rows()[worker as usize].appended());
    let mut handle = start(log, worker);
    for number in from..lines {
        append(&mut handle, &line(worker, number));
    }
    handle.finish().unwrap();
}

fn appended(log: &AccessLog) -> Vec<u64> {
    log.rows().iter().map(|row| row.appended()).collect()
}

/// Collects a child that must have been killed, as the master does.
fn bury(log: &AccessLog, worker: u32, pid: Pid) {
    assert!(was_killed(pid));
    log.relinquish(worker);
}

#[test]
fn lines_of_many_writers_come_whole_and_in_order_over_all_files() {
    const LINES: u32 = 5_000;
    const ROTATE: u64 = 100_000;
    let (home, log) = log(4, ROTATE, 50);
    let children: Vec<_> = (0..4).map(|worker| child(|| life(log, worker, LINES))).collect();
    assert!(children.into_iter().all(|pid| !was_killed(pid)));
    let appended = appended(log);
    assert!((0..4).all(|worker| lines_in(worker, appended[worker as usize]) == LINES));
    verify(home.path(), &appended).unwrap();
    let rotated = usize::try_from(log.rotations()).unwrap();
    for file in &read_all(home.path())[..rotated] {
        assert!((ROTATE..ROTATE + RING_BYTES as u64).contains(&(file.len() as u64)), "{} bytes", file.len());
    }
    assert!(rotated as u64 >= appended.iter().sum::<u64>() / (ROTATE + RING_BYTES as u64));
    assert_eq!((log.guard().holder(), log.plan().load(), log.failures()), (None, None, (0, 0)));
    assert_eq!(log.rows().iter().map(|row| row.lines()).sum::<u64>(), 4 * u64::from(LINES));
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&fs::metadata(home.path().join("access.log.1")).unwrap().permissions());
    assert_eq!(mode & 0o777 & !0o640, 0, "no more than owner and group may look");
}

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
    let (mut lots, mut deaths, mut held, mut planned) = (Lots(0x9E37_79B9), 0, 0, 0);
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
                planned += u32::from(log.guard().holder() == Some(worker) && log.plan().load().is_some());
                held += u32::from(log.relinquish(worker));
                Some(born(worker, deaths < DEATHS))
            }
            other => panic!("{other:?}"),
        };
    }
    let appended = appended(log);
    assert!((0..WRITERS).all(|worker| lines_in(worker, appended[worker as usize]) == LINES));
    let what = format!("{deaths} deaths, {held} of them with the guard, {planned} with a plan");
    verify(home.path(), &appended).unwrap_or_else(|broken| panic!("{broken:?} after {what}"));
    println!("{what}");
    assert!(held > planned && planned > 0, "{what}");
}

/// Random numbers, the same in each run (xorshift, Marsaglia 2003).
struct Lots(u32);

impl Lots {
    fn below(&mut self, n: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0 % n
    }
}

fn points() -> impl Iterator<Item = CrashPoint> {
    CrashPoint::ALL.iter().copied().filter(|point| point.name().starts_with("log."))
}

/// Appends more than a ring, flushes that and dies of it at `point`, if it comes by there.
fn dying_life(log: &'static AccessLog, worker: u32, point: CrashPoint, hit: u32) -> Pid {
    child(|| {
        crash_point::arm(Charge { point, hit, stop: false });
        life(log, worker, lines_in(worker, log.rows()[worker as usize].appended()) + 1_500);
    })
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
                if killed {
                    log.relinquish(0);
                }
                // Nobody has left a plan before.
                assert!(killed || hit > 1 || point == CrashPoint::LogInherited, "{what}: it does not come by there");
                if successor {
                    life(log, 0, 2_000);
                } else {
                    life(log, 1, 100);
                    log.drain().unwrap();
                }
                verify(home.path(), &appended(log)).unwrap_or_else(|broken| panic!("{broken:?}, {what}"));
                assert_eq!((log.guard().holder(), log.plan().load()), (None, None), "{what}");
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
            let [_, again] = [(0, first), (1, second)].map(|(worker, point)| {
                let killed = was_killed(dying_life(log, worker, point, 1));
                log.relinquish(worker);
                killed
            });
            // The first one comes by `log.inherited` only where another has left a plan.
            let leaves_plan = [CrashPoint::LogPlanned, CrashPoint::LogWritten, CrashPoint::LogFlushed].contains(&first);
            assert_eq!(again, second != CrashPoint::LogInherited || leaves_plan, "{what}");
            log.drain().unwrap();
            verify(home.path(), &appended(log)).unwrap_or_else(|broken| panic!("{broken:?}, {what}"));
        }
    }
}

/// Appends lines that nobody has written yet, in a life that ends with the last one.
fn leave_lines(log: &'static AccessLog, worker: u32, lines: u32) {
    let held = log.guard().take(worker);
    let pid = child(|| {
        crash_point::arm(Charge { point: CrashPoint::LogAppended, hit: lines, stop: false });
        life(log, worker, u32::MAX);
    });
    assert!(was_killed(pid));
    drop(held);
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
        // The number that `drain` has the guard by.
        bury(log, 2, pid);
        leave_lines(log, 1, 10);
        log.drain().unwrap();
        let found = [1, 2, 3, 4].map(|number| fs::read_to_string(old(number)).unwrap());
        let shelf = found.each_ref().map(|text| if text.len() > 1 { "?" } else { text.as_str() });
        assert_eq!(shelf, wanted, "killed at {} #{hit}", point.name());
        (1..=4).filter(|&number| found[number - 1].len() == 1).for_each(|number| fs::remove_file(old(number)).unwrap());
        verify(home.path(), &appended(log)).unwrap();
    }
}

/// A log whose writer 0 died with a plan of which nothing is written, and that plan's bytes.
fn torn() -> (TempDir, &'static AccessLog, Vec<u8>) {
    let (home, log) = log(2, 1 << 30, 5);
    life(log, 1, 30);
    bury(log, 0, dying_life(log, 0, CrashPoint::LogPlanned, 1));
    let planned = log.plan().load().unwrap();
    let lines: Vec<u8> = (0..).flat_map(|number| line(0, number)).take(planned.length as usize).collect();
    (home, log, lines)
}

/// What the kernel had taken of a dead one's write.
fn write_behind(path: &Path, part: &[u8]) {
    use std::io::Write;
    fs::File::options().append(true).open(path).unwrap().write_all(part).unwrap();
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
    log.plan().clear(&log.guard().take(1));
    life(log, 1, 60);
    log.drain().unwrap();
    let broken = verify(home.path(), &appended(log)).unwrap_err();
    assert!(matches!(broken, Broken::Torn { .. }), "half a line: {broken:?}");

    let (home, log, lines) = torn();
    write_behind(&log.target().path, &lines);
    log.plan().clear(&log.guard().take(1));
    log.drain().unwrap();
    let broken = verify(home.path(), &appended(log)).unwrap_err();
    assert_eq!(broken, Broken::NotNext { writer: 0, wanted: lines_in(0, lines.len() as u64), found: 0 }, "doubled");

    let (home, log, _) = torn();
    log.drain().unwrap();
    let path = &log.target().path;
    let whole = fs::read(path).unwrap();
    let last = whole.len() - line(0, lines_in(0, log.rows()[0].appended()) - 1).len();
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
    assert_eq!((log.plan().load(), log.rows()[0].pending()), (None, 0));
    assert!(fs::read(home.path().join("access.log")).unwrap().starts_with(&lines));
}

#[test]
fn a_holder_that_died_blocks_others_for_less_than_a_second() {
    for point in points() {
        let (home, log) = log(2, 1, 40);
        let killed = was_killed(dying_life(log, 0, point, 1));
        let began = Instant::now();
        log.relinquish(0);
        life(log, 1, 10);
        assert!(began.elapsed() < Duration::from_secs(1), "{} {killed}: {:?}", point.name(), began.elapsed());
        log.drain().unwrap();
        verify(home.path(), &appended(log)).unwrap();
    }
}

/// A child that is halted with the guard, in the middle of a write.
fn halted(log: &'static AccessLog) -> Pid {
    let pid = child(|| {
        crash_point::arm(Charge { point: CrashPoint::LogPlanned, hit: 1, stop: true });
        life(log, 0, 100);
    });
    assert!(matches!(waitpid(pid, Some(WaitPidFlag::WUNTRACED)).unwrap(), WaitStatus::Stopped(..)));
    assert_eq!(log.guard().holder(), Some(0));
    pid
}

#[test]
fn nobody_breaks_in_on_a_holder_that_is_halted() {
    for goes_on in [true, false] {
        let (home, log) = log(2, 1 << 30, 5);
        let pid = halted(log);
        let other = child(|| life(log, 1, 50));
        // Four patiences, in which nothing may happen.
        std::thread::sleep(Duration::from_millis(200));
        assert_eq!(waitpid(other, Some(WaitPidFlag::WNOHANG)).unwrap(), WaitStatus::StillAlive);
        assert_eq!((log.guard().holder(), log.rows()[1].flushed()), (Some(0), 0));
        assert_eq!(fs::metadata(&log.target().path).unwrap().len(), 0);
        let began = Instant::now();
        if goes_on {
            kill(pid, Signal::SIGCONT).unwrap();
            assert!(!was_killed(pid));
        } else {
            kill(pid, Signal::SIGKILL).unwrap();
            bury(log, 0, pid);
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
    bury(log, 0, dying_life(log, 0, CrashPoint::LogAppended, 20));
    assert_eq!(lines_in(0, log.rows()[0].appended()), 20);
    let handle = start(log, 1);
    let deadline = Instant::now() + Duration::from_secs(10);
    while log.rows()[0].pending() > 0 {
        assert!(Instant::now() < deadline, "nobody swept it");
        std::thread::sleep(INTERVAL / 5);
    }
    handle.finish().unwrap();
    verify(home.path(), &appended(log)).unwrap();
}

#[test]
fn a_full_ring_is_an_answer_and_the_event_loop_is_woken_when_there_is_room() {
    let (home, log) = log(2, 1 << 30, 5);
    let held = log.guard().take(1);
    let (tell, told) = crossbeam_channel::unbounded();
    let mut handle = Writer::start(log, 0, move || tell.send(()).unwrap()).unwrap();
    let mut number = 0;
    while handle.append(&line(0, number)) == Ok(()) {
        number += 1;
    }
    let bytes: usize = (0..=number).map(|number| line(0, number).len()).sum();
    assert!(bytes > RING_BYTES && bytes - line(0, number).len() <= RING_BYTES);
    assert_eq!(handle.append(&line(0, number)), Err(Full), "and again");
    assert!(told.is_empty(), "there is no room yet");
    drop(held);
    told.recv_timeout(Duration::from_secs(10)).unwrap();
    handle.append(&line(0, number)).unwrap();
    handle.finish().unwrap();
    verify(home.path(), &appended(log)).unwrap();
}

#[test]
fn files_that_others_rename_lose_nothing() {
    let (home, log) = log(2, 1 << 30, 5);
    let path = &log.target().path;
    let flushed = || log.rows().iter().map(|row| row.flushed()).sum::<u64>();
    let mut lots = Lots(0x6C07_8965);
    for round in 1..=20 {
        let lines = round * 3_000;
        let total = bytes_of(0, lines) + bytes_of(1, lines);
        let moment = flushed() + (total - flushed()) * u64::from(lots.below(10)) / 10;
        let children = [0, 1].map(|worker| child(|| life(log, worker, lines)));
        while flushed() < moment {
            std::thread::yield_now();
        }
        // As logrotate(8) does it: rename, make a new one unless a writer was faster, tell the server.
        fs::rename(path, home.path().join(format!("access.log.{}", 100 - round))).unwrap();
        fs::File::options().append(true).create(true).open(path).unwrap();
        log.announce_reopen();
        assert!(children.into_iter().all(|pid| !was_killed(pid)));
    }
    let files = read_all(home.path());
    assert!(files.len() == 21 && files.iter().filter(|file| !file.is_empty()).count() > 15);
    verify(home.path(), &appended(log)).unwrap();
}

#[test]
fn lines_are_written_at_the_word_of_the_master() {
    let home = tempfile::tempdir().unwrap();
    let log = log_in(home.path(), 1, 1 << 30, 5);
    let mut handle = start(log, 0);
    append(&mut handle, &line(0, 0));
    log.announce_reopen();
    let deadline = Instant::now() + Duration::from_secs(10);
    while log.rows()[0].pending() > 0 {
        assert!(Instant::now() < deadline);
        std::thread::yield_now();
    }
    handle.finish().unwrap();
}

#[test]
fn a_full_disk_loses_nothing_that_fits_the_ring() {
    let mount = match mount::Mount::tmpfs(1) {
        Ok(mount) => mount,
        Err(why) => return eprintln!("not tried: {why}"),
    };
    let log = log_in(&mount.path, 2, 300_000, 3);
    life(log, 1, 100);
    let filler = mount.path.join("filler");
    // Leaves room that is no multiple of a line: some write is cut in the middle of one.
    let room: u64 = 20_480;
    fs::write(&filler, vec![0; usize::try_from((1 << 20) - 65_536 - room).unwrap()]).unwrap();
    let mut handle = start(log, 0);
    let mut number = 0;
    while handle.append(&line(0, number)) == Ok(()) {
        number += 1;
        // The thread keeps up while there is room on the disk.
        while log.failures().0 == 0 && log.rows()[0].pending() > RING_BYTES * 3 / 4 {
            std::thread::yield_now();
        }
    }
    assert_eq!(log.failures().1, nix::errno::Errno::ENOSPC as u32);
    assert!(log.plan().load().is_some(), "what was begun stands until it is completed");
    // Others have no room either, and say so; a dead one's place is not lost.
    assert!(Sink::new(log, 1).flush(1).is_err());
    fs::remove_file(&filler).unwrap();
    append(&mut handle, &line(0, number));
    handle.finish().unwrap();
    assert_eq!((log.plan().load(), log.failures().1), (None, 0));
    verify(&mount.path, &appended(log)).unwrap();
}

#[test]
fn a_rotation_that_cannot_be_done_keeps_no_line_back() {
    let (home, log) = log(1, 1, 1);
    let in_the_way = home.path().join("access.log.1");
    fs::create_dir_all(in_the_way.join("full")).unwrap();
    leave_lines(log, 0, 10);
    let error = log.drain().unwrap_err().to_string();
    assert!(error.contains("cannot rotate") && error.contains("access.log"), "{error}");
    assert_eq!((log.rows()[0].pending(), log.plan().load(), log.failures().0, log.rotations()), (0, None, 1, 0));
    fs::remove_dir_all(in_the_way).unwrap();
    leave_lines(log, 0, 5);
    log.drain().unwrap();
    assert_eq!((log.failures(), log.rotations()), ((1, 0), 1));
    verify(home.path(), &appended(log)).unwrap();
}

#[test]
fn another_mapping_of_the_same_log_goes_on_with_it() {
    let home = tempfile::tempdir().unwrap();
    let generation = Generation { instance: format!("test-log-{}", std::process::id()), boot: 98 };
    let target = || Target { path: home.path().join("access.log"), rotate_bytes: 1 << 30, keep: 5, interval: INTERVAL };
    let log: &'static AccessLog = Box::leak(Box::new(AccessLog::create(&generation, 1, target()).unwrap()));
    let opened = AccessLog::open(&generation, Access::Write, target());
    let looked = AccessLog::open(&generation, Access::Read, target());
    AccessLog::unlink(&generation).unwrap();
    let (opened, looked) = (opened.unwrap(), looked.unwrap());
    bury(log, 0, dying_life(log, 0, CrashPoint::LogPlanned, 1));
    assert_eq!((looked.plan().load(), looked.rows()[0].flushed()), (log.plan().load(), 0));
    opened.drain().unwrap();
    assert_eq!((looked.plan().load(), looked.rows()[0].pending()), (None, 0));
    verify(home.path(), &appended(log)).unwrap();
}

#[test]
fn a_target_that_is_no_file_is_an_error_at_the_start() {
    let home = tempfile::tempdir().unwrap();
    let pipe = home.path().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRUSR | nix::sys::stat::Mode::S_IWUSR).unwrap();
    let generation = Generation { instance: format!("test-log-{}", std::process::id()), boot: 99 };
    let check = |path: &Path| {
        let target = Target { path: path.to_owned(), rotate_bytes: 1, keep: 1, interval: INTERVAL };
        let log = AccessLog::create(&generation, 1, target).unwrap();
        AccessLog::unlink(&generation).unwrap();
        log.check_target().unwrap_err().to_string()
    };
    let kept_open = fs::File::options().read(true).write(true).open(&pipe).unwrap();
    assert!(check(&pipe).contains("is not a regular file"));
    drop(kept_open);
    assert!(check(&pipe).contains("cannot open"), "and nobody waits for a reader");
    assert!(check(home.path()).contains("cannot open"));
    assert!(check(&home.path().join("no/such/folder")).contains("No such file"));
}
