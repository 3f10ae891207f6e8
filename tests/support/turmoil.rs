//! Deaths at random, with the means to have each at another moment: by what was done until then, not by time.

#![allow(dead_code, reason = "each test program that includes this file uses another part of it")]

use bank_vault::store::instance::{Instance, stale};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::server::{Server, lives};

/// Random numbers, the same in each run.
pub struct Lots(u64);

impl Lots {
    /// Another sequence for each seed.
    pub fn new(seed: u64) -> Lots {
        Lots(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// A number below `n`.
    pub fn below(&mut self, n: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        u32::try_from(((self.0 >> 32) * u64::from(n)) >> 32).unwrap()
    }
}

/// One life of a server, as its shared memory shows it.
pub struct Turmoil {
    /// The memory.
    pub instance: Instance,
    /// Workers killed so far.
    pub workers: u32,
    /// Journal processes killed so far.
    pub journal: u32,
}

impl Turmoil {
    /// Looks into a server that is ready.
    pub fn of(server: &Server) -> Turmoil {
        Turmoil { instance: stale::open_running(&server.instance).unwrap(), workers: 0, journal: 0 }
    }

    /// Looks into the server's next life, and goes on counting.
    pub fn look_again(&mut self, server: &Server) {
        self.instance = Turmoil::of(server).instance;
    }

    /// Operations done so far, since the data directory was made.
    pub fn done(&self) -> u64 {
        self.instance.table().order().now().lsn.0
    }

    /// Operations that are on disk.
    pub fn durable(&self) -> u64 {
        self.instance.table().sequencer().committed().0.0
    }

    /// Kills a worker or, one time in four, the journal process; `false` if the chosen one is dead already.
    pub fn kill_one(&mut self, lots: &mut Lots) -> bool {
        let workers: Vec<u32> =
            self.instance.workers().iter().map(|row| row.life.pid.get()).filter(|&pid| pid != 0).collect();
        let of_journal = lots.below(4) == 0 || workers.is_empty();
        let place = usize::try_from(lots.below(64)).unwrap() % workers.len().max(1);
        let pid = if of_journal { self.instance.journal_row().life.pid.get() } else { workers[place] };
        if pid == 0 || !lives(pid) {
            return false;
        }
        // Not our child: between the look and the signal it may have ended, its pid not yet been used again.
        let _ = kill(Pid::from_raw(i32::try_from(pid).unwrap()), Signal::SIGKILL);
        *(if of_journal { &mut self.journal } else { &mut self.workers }) += 1;
        true
    }
}
