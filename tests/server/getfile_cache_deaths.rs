//! The cache process and workers die, at each of their steps and at random, or stop, while many clients are served: every one gets all of
//! its content, or less than its head has said; the successor serves; nothing is left.

use crate::getfile::Files;
use crate::getfile_cache::{await_idle, begin, cache_pid};
use crate::upstream::{Got, Upstream, got, object};
use crate::{bank, crowd, server, turmoil, visitor};

use std::net::SocketAddr;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use bank::{Bank, deposit};
use bank_vault::base::crash_point::{CrashPoint, VARIABLE};
use bank_vault::service::bank::wire::Response;
use nix::sys::signal::Signal;
use server::{await_that, send, unused_port};
use turmoil::Lots;
use visitor::Visitor;

const CLIENTS: u32 = 8;

/// What clients have got, by kinds.
#[derive(Default)]
struct Tally([AtomicU64; 5]);

impl Tally {
    fn count(&self, got: Got) {
        self.0[got as usize].fetch_add(1, Ordering::Relaxed);
    }

    fn of(&self, got: Got) -> u64 {
        self.0[got as usize].load(Ordering::Relaxed)
    }

    fn all(&self) -> u64 {
        self.0.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// Waits until so many more have an answer.
    fn await_more(&self, more: u64) {
        let wanted = self.all() + more;
        await_that("clients are served", || self.all() >= wanted);
    }
}

/// Says that all is over, also when what goes on meanwhile panics.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Does something while clients ask for what is kept, what is not, and what is not there.
fn under_load(files: &Files, act: impl FnOnce(&Tally)) -> Tally {
    let (tally, is_over) = (Tally::default(), AtomicBool::new(false));
    let ask = |client: u32, round: u64| match round % 4 {
        0 => tally.count(got(begin(files, "/none"), b"")),
        kind => {
            let length = [1, 3000, 200_000][usize::try_from(round % 3).unwrap()];
            let path = if kind == 1 { format!("/{length}/hot") } else { format!("/{length}/{client}-{round}") };
            tally.count(got(begin(files, &path), &object(&path).unwrap()));
        }
    };
    thread::scope(|scope| {
        let _over = Over(&is_over);
        for client in 0..CLIENTS {
            let (ask, is_over) = (&ask, &is_over);
            scope.spawn(move || {
                (0..).take_while(|_| !is_over.load(Ordering::Relaxed)).for_each(|round| ask(client, round));
            });
        }
        act(&tally);
    });
    tally
}

/// A server of an upstream, with these variables in the environment.
fn proxied_in(environment: &[(&str, &str)], upstream: &Upstream, args: &[&str]) -> Files {
    let home = tempfile::tempdir().unwrap();
    let own = ["--workers", "2", "--cache-segments", "3", "--cache-segment-bytes", "4096"];
    Files::serving_in(environment, home, "--getfile-upstream", &upstream.url(), &[&own[..], args].concat())
}

/// Deaths of the cache process, and of all workers.
fn deaths(files: &Files) -> (u32, u32) {
    let stats = files.server.stats();
    let of_workers = stats.workers().iter().map(|worker| worker.life.deaths.get()).sum();
    (stats.cache_row().life.deaths.get(), of_workers)
}

/// `who` dies at `point`, for the `hit`-th time that it comes by.
fn die_at(who: &str, point: CrashPoint, hit: u32) {
    let upstream = Upstream::of_objects();
    let charge = format!("{who}:{}#{hit}", point.name());
    let channel = if point == CrashPoint::CacheDescriptorPassed { "memfd" } else { "segments" };
    let files = proxied_in(&[(VARIABLE, &charge)], &upstream, &["--cache-channel", channel]);
    let expected = if who == "cache" { (1, 0) } else { (0, 1) };
    let tally = under_load(&files, |tally| {
        await_that(&format!("it has died at {charge}"), || deaths(&files) == expected);
        tally.await_more(50);
    });
    let [short, errors, nothing] = [Got::Short, Got::Error, Got::Nothing].map(|got| tally.of(got));
    // Requests without an answer are answered all the same, and only what was on its way through a segment ends short.
    assert!(errors == 0 && nothing == 0 && short <= 3, "{charge}: {tally:?}");
    await_idle(&files);
    assert!(files.server.stop().status.success(), "{charge}");
}

impl std::fmt::Debug for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kinds = [Got::Whole, Got::Short, Got::NotFound, Got::Error, Got::Nothing];
        f.debug_map().entries(kinds.map(|got| (got, self.of(got)))).finish()
    }
}

const OF_WORKER: [CrashPoint; 5] = [
    CrashPoint::TransferClaimed,
    CrashPoint::TransferOffered,
    CrashPoint::TransferTaken,
    CrashPoint::TransferReturned,
    CrashPoint::TransferFreed,
];

#[test]
fn a_cache_process_that_dies_at_any_step_under_load_costs_no_client_an_answer() {
    let is_its = |point: &&CrashPoint| {
        point.name().starts_with("cache.") || point.name().starts_with("transfer.") && !OF_WORKER.contains(point)
    };
    let points: Vec<CrashPoint> = CrashPoint::ALL.iter().filter(is_its).copied().collect();
    assert!(points.len() >= 9, "{points:?}");
    for (hit, point) in (5..).zip(points) {
        die_at("cache", point, hit);
    }
}

#[test]
fn a_worker_that_dies_at_any_step_of_a_transfer_under_load_costs_no_client_an_answer() {
    for (hit, point) in (5..).zip(OF_WORKER) {
        die_at("0", point, hit);
    }
}

/// `VAULT_TEST_CACHE_KILLS` says how many there are.
#[test]
fn random_deaths_under_load_mix_no_contents_and_leak_no_segment() {
    let kills: u32 = std::env::var("VAULT_TEST_CACHE_KILLS").map_or(20, |text| text.parse().unwrap());
    let mut lots = Lots::new(u64::from(std::process::id()));
    let upstream = Upstream::of_objects();
    let files = proxied_in(&[], &upstream, &[]);
    let tally = under_load(&files, |tally| {
        for kill in 0..kills {
            tally.await_more(lots.below(100).into());
            let before = deaths(&files);
            if kill % 4 == 3 {
                send(files.server.workers_now()[0], Signal::SIGKILL);
                await_that("both workers live", || {
                    deaths(&files).1 > before.1 && files.server.workers_now().len() == 2
                });
            } else {
                send(cache_pid(&files), Signal::SIGKILL);
                await_that("there is a successor", || deaths(&files).0 > before.0 && cache_pid(&files) != 0);
            }
        }
        tally.await_more(50);
    });
    println!("{kills} kills: {tally:?}, deaths {:?}", deaths(&files));
    assert!(tally.of(Got::Nothing) == 0 && tally.of(Got::Error) == 0, "{tally:?}");
    assert!(tally.of(Got::Short) <= 3 * u64::from(kills), "{tally:?}");
    await_idle(&files);
    assert!(files.server.stop().status.success());
}

#[test]
fn an_upgrade_under_load_costs_no_client_an_answer() {
    let upstream = Upstream::of_objects();
    let files = proxied_in(&[], &upstream, &[]);
    let tally = under_load(&files, |tally| {
        for _ in 0..2 {
            tally.await_more(50);
            let before = cache_pid(&files);
            let mut vaultctl = Command::new(env!("CARGO_BIN_EXE_vaultctl"));
            let output = vaultctl.args(["upgrade", "--instance", &files.server.instance]).output().unwrap();
            assert!(output.status.success(), "{output:?} {}", files.server.stderr());
            await_that("there is a successor", || ![0, before].contains(&cache_pid(&files)));
        }
        tally.await_more(50);
    });
    // What was on its way through a segment when the cache process left ends short.
    assert!(tally.of(Got::Nothing) == 0 && tally.of(Got::Error) == 0 && tally.of(Got::Short) <= 2 * 3, "{tally:?}");
    assert_eq!(deaths(&files), (0, 0));
    await_idle(&files);
    assert!(files.server.stop().status.success());
}

#[test]
fn while_the_cache_process_is_stopped_all_that_needs_none_goes_on() {
    let upstream = Upstream::of_objects();
    let port = unused_port().to_string();
    let files = proxied_in(&[], &upstream, &["--http-port", &port, "--worker-timeout", "30"]);
    let http = SocketAddr::new(files.server.address.ip(), port.parse().unwrap());
    let (mut bank, mut visitor) = (Bank::demo(files.server.address), Visitor::to(http));
    let tally = under_load(&files, |tally| {
        tally.await_more(50);
        let cache = cache_pid(&files);
        send(cache, Signal::SIGSTOP);
        let bearable = Duration::from_millis(800);
        let (longest, count) = crowd::longest(Duration::from_secs(3), bearable, || {
            assert!(matches!(bank.call(&deposit(1, 1)).unwrap(), Response::Deposit { .. }));
            assert_eq!(visitor.get("/_vault/health").status, 200);
        });
        println!("{count} calls, the longest took {longest:?}");
        assert!(longest < bearable, "one of {count} took {longest:?}");
        assert!(tally.of(Got::Error) > 0, "those who waited for it were told: {tally:?}");
        send(cache, Signal::SIGCONT);
        let served = tally.of(Got::Whole);
        await_that("it serves again", || tally.of(Got::Whole) > served + 50);
        assert_eq!((cache_pid(&files), deaths(&files)), (cache, (0, 0)));
    });
    assert_eq!(tally.of(Got::Nothing), 0, "{tally:?}");
    await_idle(&files);
    assert_eq!(got(begin(&files, "/9/a"), &object("/9/a").unwrap()), Got::Whole);
}
