//! The access log among living workers: many writers, a full ring, renames by others, a full disk. `access_log_deaths.rs` has
//! the deaths.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use bank_vault::base::crash_point::CrashPoint;
use bank_vault::ipc::names::Generation;
use bank_vault::ipc::segment::Access;
use bank_vault::store::access_log::{AccessLog, Flusher, Full, RING_BYTES, Target, Writer};

use crate::{log_files, log_life, mount};

use log_files::{bytes_of, line, lines_in, read_all, verify};
use log_life::{
    INTERVAL, Lots, append, appended, child, dying_life, leave_lines, life, log, log_in, start, was_killed,
};

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
    assert_eq!((log.lock_holder(), log.plan().load(), log.failures()), (None, None, (0, 0)));
    assert_eq!(log.rings().iter().map(|ring| ring.lines()).sum::<u64>(), 4 * u64::from(LINES));
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&fs::metadata(home.path().join("access.log.1")).unwrap().permissions());
    assert_eq!(mode & 0o777 & !0o640, 0, "no more than owner and group may look");
}

#[test]
fn a_full_ring_is_an_answer_and_the_event_loop_is_woken_when_there_is_room() {
    let (home, log) = log(2, 1 << 30, 5);
    let held = log.lock();
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
    let flushed = || log.rings().iter().map(|ring| ring.flushed()).sum::<u64>();
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
    while log.rings()[0].pending() > 0 {
        assert!(Instant::now() < deadline);
        std::thread::yield_now();
    }
    handle.finish().unwrap();
}

#[test]
#[ignore = "needs root, to mount a file system"]
fn a_full_disk_loses_nothing_that_fits_the_ring() {
    let mount = mount::Mount::tmpfs(1).unwrap();
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
        while log.failures().0 == 0 && log.rings()[0].pending() > RING_BYTES * 3 / 4 {
            std::thread::yield_now();
        }
    }
    assert_eq!(log.failures().1, nix::errno::Errno::ENOSPC as u32);
    assert!(log.plan().load().is_some(), "what was begun stands until it is completed");
    // Others have no room either, and say so; a dead one's place is not lost.
    assert!(Flusher::new(log).flush(1).is_err());
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
    assert_eq!((log.rings()[0].pending(), log.plan().load(), log.failures().0, log.rotations()), (0, None, 1, 0));
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
    assert!(was_killed(dying_life(log, 0, CrashPoint::LogPlanned, 1)));
    assert_eq!((looked.plan().load(), looked.rings()[0].flushed()), (log.plan().load(), 0));
    opened.drain().unwrap();
    assert_eq!((looked.plan().load(), looked.rings()[0].pending()), (None, 0));
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
