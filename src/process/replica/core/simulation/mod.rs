//! Thousands of lives of a small cluster in which everything fails that can, held against what was promised.
//!
//! A life is determined by its seed. `VAULT_TEST_SEED=N` repeats one, `VAULT_TEST_SEEDS=N` says how many there are to be.

mod clients;
mod defects;
mod disk;
mod faults;
mod instance;
mod network;
mod oracle;
mod records;
mod world;

use faults::Faults;
use instance::{Instance, Memory};
use oracle::{Verdict, hold};
use world::{Seen, TICK, World};

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
    world.live().map_err(|error| {
        let how = "VAULT_TEST_SEED=N cargo nextest run --lib replica::core::simulation";
        format!("seed {seed}, moment {}: {error}\nto repeat it, with N = {seed}: {how}", world.now)
    })?;
    (world.seen.acknowledged, world.seen.read) = (world.oracle.acknowledged, world.oracle.read);
    Ok(world.seen)
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{name}={value} is no number")))
}

fn sum(seeds: impl Iterator<Item = u64>) -> Result<Seen, String> {
    let mut sum = Seen::default();
    for seed in seeds {
        let seen = run(seed, |_| (), None)?;
        sum.elections += seen.elections;
        sum.resumed += seen.resumed;
        sum.truncated += seen.truncated;
        sum.remade += seen.remade;
        sum.installed += seen.installed;
        sum.changed += seen.changed;
        sum.emptied += seen.emptied;
        sum.transferred += seen.transferred;
        sum.acknowledged += seen.acknowledged;
        sum.read += seen.read;
        sum.founded += seen.founded;
        sum.read_back += seen.read_back;
    }
    Ok(sum)
}

#[test]
fn what_was_promised_holds_whatever_fails() {
    let one = variable("VAULT_TEST_SEED");
    let seeds = one.map_or(0..variable("VAULT_TEST_SEEDS").unwrap_or(SEEDS), |seed| seed..seed + 1);
    let many = seeds.end - seeds.start;
    let seen = sum(seeds).unwrap_or_else(|error| panic!("{error}"));
    println!("{many} lives: {seen:?}");
    if many < SEEDS {
        return;
    }
    // What does not happen is not tried.
    let Seen { elections, resumed, truncated, remade, installed, changed, emptied, founded, .. } = seen;
    let least = [elections, resumed, truncated, remade, installed, changed, emptied, founded];
    assert!(least.iter().all(|times| times * 40 > many), "{seen:?}");
    assert!(
        seen.acknowledged > 10 * many && seen.read > 20 * many && seen.transferred > many && seen.read_back > many,
        "{seen:?}"
    );
}

#[test]
fn a_life_is_determined_by_its_seed() {
    let told = |seed| format!("{:?}", run(seed, |_| (), None));
    assert!((0..8).all(|seed| told(seed) == told(seed)));
}
