//! Hours of what `durability.rs` does for seconds: `tests/soak.sh` runs it.

use crate::{bank, load, server, shift, turmoil};

use std::time::{Duration, Instant};

use bank::Bank;
use load::Load;
use server::{Server, await_that, unused_port};
use turmoil::{Lots, Turmoil};

const ACCOUNTS: u32 = 500;
const CLIENTS: u32 = 4;
/// Kills between two of the whole group, on average.
const KILLS_PER_GROUP: u32 = 40;

/// What was done to servers, and what they did meanwhile.
#[derive(Debug, Default)]
struct Score {
    shifts: u32,
    workers: u32,
    journal: u32,
    groups: u32,
    answers: usize,
    records: usize,
    reconnects: u64,
}

impl Score {
    fn kills(&self) -> u32 {
        self.workers + self.journal + self.groups
    }
}

/// One server, from an empty data directory to its end; what was acknowledged is held against what it kept.
fn shift(lots: &mut Lots, with_groups: bool, score: &mut Score) {
    let (port, accounts) = (unused_port().to_string(), ACCOUNTS.to_string());
    let args = [
        &["--port", &port, "--workers", "8", "--accounts", &accounts, "--initial-balance", "1000.00"][..],
        &["--key-window", "1000000", "--segment-records", "65536", "--keep-journal", "--snapshot-every", "5000"],
    ];
    let mut server = Server::start(&args.concat());
    let load = ["--connections", "12", "--pipeline", "4", "--rate", "3000", "--duration", "10s"];
    let mut loads: Vec<Load> = (0..CLIENTS).map(|_| Load::start_with(server.address, &load)).collect();
    let mut turmoil = Turmoil::of(&server);
    await_that("all clients have begun", || loads.iter().all(Load::has_begun));
    let mut all_over = || loads.iter_mut().all(Load::is_over);
    while !all_over() {
        let wanted = turmoil.done() + u64::from(lots.below(50));
        await_that("the clients are served", || turmoil.done() >= wanted || all_over());
        if with_groups && lots.below(KILLS_PER_GROUP) == 0 {
            let kill = if lots.below(2) == 0 { Server::kill_master } else { Server::kill_all };
            kill(&mut server);
            server.start_again(&[]);
            score.groups += 1;
            turmoil.look_again(&server);
        } else {
            await_that("one of them lives", || turmoil.kill_one(lots) || all_over());
        }
    }
    let closed = shift::close(&mut server, loads, ACCOUNTS, |server| Bank::demo(server.address), &["ERR_INSUFFICIENT"]);
    assert!(with_groups || closed.reconnects == 0, "{closed:?}");
    score.shifts += 1;
    score.workers += turmoil.workers;
    score.journal += turmoil.journal;
    score.answers += closed.answers;
    score.records += closed.records;
    score.reconnects += closed.reconnects;
}

#[test]
#[ignore = "takes as long as it is told to: tests/soak.sh"]
fn soak() {
    let number = |name, default| std::env::var(name).map_or(default, |text| text.parse().unwrap());
    let (minutes, kills) = (number("VAULT_SOAK_MINUTES", 1), number("VAULT_SOAK_KILLS", 0));
    let until = Instant::now() + Duration::from_secs(60 * u64::from(minutes));
    let mut lots = Lots::new(u64::from(std::process::id()));
    let mut score = Score::default();
    while Instant::now() < until || score.kills() < kills {
        let with_groups = score.shifts % 2 == 1;
        shift(&mut lots, with_groups, &mut score);
        println!("{} kills, 0 promises broken: {score:?}", score.kills());
    }
}
