//! Thousands of lives of a small cluster in which everything fails that can, held against what was promised.
//!
//! A life is determined by its seed. `VAULT_TEST_SEED=N` repeats one, `VAULT_TEST_SEEDS=N` says how many there are to be; both together, so
//! many from that seed on. `tests/simulation.sh` has tens of thousands, optimised.

mod clients;
mod defects;
mod disk;
mod faults;
mod instance;
mod network;
mod oracle;
mod records;
mod seen;
mod world;

use std::ops::Range;
use std::panic::resume_unwind;

use faults::Faults;
use instance::{Instance, Memory};
use oracle::{Verdict, hold};
use seen::Seen;
use world::{TICK, World};

use super::defect::Defect;

/// Moments in which things go wrong.
const TROUBLE: u64 = 1200;
/// Ticks within which all is well again.
const RECOVERY: u64 = 200;
/// Ticks within which all have the same when nothing is added.
const CATCHING_UP: u64 = 120;
/// Lives, where nobody says how many.
const SEEDS: u64 = 500;

impl World {
    /// Whether everybody votes, and clients have been served since then.
    fn serves(&self, acknowledged: u64) -> bool {
        self.oracle.acknowledged > acknowledged && self.is_whole()
    }

    /// Whether everybody has everything.
    fn is_equal(&self) -> bool {
        let last = self.oracle.log.len() as u64;
        let has_all = |memory: &Memory| {
            let all = [memory.committed, memory.books.upto, memory.on_disk, memory.log_end];
            memory.held.is_empty() && all.iter().all(|lsn| *lsn == last)
        };
        let has_all = |instance: &Instance| instance.core.is_some() && instance.memory.as_ref().is_some_and(has_all);
        self.instances.iter().all(has_all)
    }

    fn live(&mut self) -> Verdict {
        while self.now < TROUBLE {
            self.step()?;
            self.fault()?;
            if self.now.is_multiple_of(40) {
                self.operate()?;
            }
        }
        self.calm();
        let acknowledged = self.oracle.acknowledged;
        while !self.serves(acknowledged) {
            self.step()?;
            if self.now.is_multiple_of(10) {
                self.operate()?;
            }
            hold(self.now < TROUBLE + RECOVERY * TICK, || format!("clients are not served again:\n{}", self.told()))?;
        }
        self.faults.idle = u32::MAX;
        let end = self.now + CATCHING_UP * TICK;
        while !self.is_equal() || !self.is_whole() {
            self.step()?;
            // A change that an earlier primary has begun may be committed only now.
            if self.now.is_multiple_of(10) {
                self.operate()?;
            }
            hold(self.now < end, || format!("not all have everything:\n{}", self.told()))?;
        }
        for instance in &self.instances {
            instance.memory.iter().try_for_each(|memory| self.oracle.books(&memory.books))?;
        }
        Ok(())
    }

    /// How the instances are.
    fn told(&self) -> String {
        let told = self.instances.iter().map(|instance| {
            let status = instance.core.as_ref().map(super::state::Core::status);
            let memory = instance.memory.as_ref().map(|memory| {
                (
                    memory.gate,
                    memory.log_end,
                    memory.on_disk,
                    memory.committed,
                    memory.books.upto,
                    memory.ring.len(),
                    memory.cut,
                )
            });
            format!("{}: {status:?}\n  {memory:?}\n", instance.node)
        });
        format!("{} committed\n{}", self.oracle.log.len(), told.collect::<String>())
    }
}

/// A life.
fn run(seed: u64, shape: fn(&mut Faults), defect: Option<Defect>) -> Result<Seen, String> {
    let mut world = World::new(seed, shape, defect);
    world.live().map_err(|error| format!("seed {seed}, moment {}: {error}\n{}", world.now, repeated(seed)))?;
    (world.seen.acknowledged, world.seen.read) = (world.oracle.acknowledged, world.oracle.read);
    [world.seen.added, world.seen.promoted, world.seen.removed] = world.oracle.changes;
    Ok(world.seen)
}

fn repeated(seed: u64) -> String {
    format!("to repeat it: VAULT_TEST_SEED={seed} cargo nextest run --lib replica::core::simulation")
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{name}={value} is no number")))
}

/// Says which life it was that panics.
struct Life(u64);

impl Drop for Life {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed {} panics\n{}", self.0, repeated(self.0));
        }
    }
}

/// The lives of some seeds, one after the other.
fn sum(seeds: impl Iterator<Item = u64>) -> Result<Seen, (u64, String)> {
    let mut sum = Seen::default();
    for seed in seeds {
        let life = Life(seed);
        sum.add(&run(life.0, |_| (), None).map_err(|error| (seed, error))?);
    }
    Ok(sum)
}

/// The lives of many seeds, on all cores. The error of the smallest seed that has one.
fn sum_of_all(seeds: &Range<u64>) -> Result<Seen, (u64, String)> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let sums: Vec<_> = std::thread::scope(|scope| {
        let share = |core| scope.spawn(move || sum(seeds.clone().skip(core).step_by(cores)));
        let shares: Vec<_> = (0..cores).map(share).collect();
        shares.into_iter().map(|share| share.join().unwrap_or_else(|panic| resume_unwind(panic))).collect()
    });
    let mut all = Seen::default();
    let mut errors = Vec::new();
    sums.into_iter().for_each(|sum| match sum {
        Ok(seen) => all.add(&seen),
        Err(error) => errors.push(error),
    });
    errors.into_iter().min().map_or(Ok(all), Err)
}

#[test]
fn what_was_promised_holds_whatever_fails() {
    let (first, many) = (variable("VAULT_TEST_SEED"), variable("VAULT_TEST_SEEDS"));
    let many = many.unwrap_or(if first.is_some() { 1 } else { SEEDS });
    let seeds = first.unwrap_or(0)..first.unwrap_or(0) + many;
    println!("seeds {seeds:?}");
    let began = std::time::Instant::now();
    let seen = sum_of_all(&seeds).unwrap_or_else(|(_, error)| panic!("{error}"));
    println!("{many} lives in {:.1} s: {seen:?}", began.elapsed().as_secs_f64());
    if many < SEEDS {
        return;
    }
    // What does not happen is not tried.
    for (what, times, of_lives) in seen.least() {
        assert!(times * of_lives > many, "{what} happened {times} times in {many} lives: {seen:?}");
    }
}

#[test]
fn a_life_is_determined_by_its_seed() {
    let told = |seed| format!("{:?}", run(seed, |_| (), None));
    assert!((0..8).all(|seed| told(seed) == told(seed)));
}
