//! What is needed held against what is there; pure. What is short is said in one line: how much is needed, how much is there, and
//! which options, with which values, would make it fit.

use super::knobs::{self, Knob};
use super::requirements::{Existing, Requirements};
use super::there::{Room, There};
use crate::base::config::Settings;
use crate::service::entry::Entry;

/// Something is short.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}: needed: {needed}; {free}; {advice}")]
pub struct Shortage {
    /// Of what.
    pub what: String,
    /// How much is needed, and what for.
    pub needed: String,
    /// How much there is.
    pub free: String,
    /// What would make it fit.
    pub advice: String,
}

/// What is weighed: the settings, and what they are needed for.
pub struct Scales<'a> {
    /// The services.
    pub services: &'static [Entry],
    /// The settings.
    pub settings: &'a Settings,
    /// The data directory.
    pub existing: Existing,
}

impl Scales<'_> {
    /// Whether all that is needed is there; gives what may become short later, in words.
    ///
    /// # Errors
    /// The first thing that is short.
    pub fn weigh(&self, there: &There) -> Result<Vec<String>, Shortage> {
        let needs = Requirements::of(self.services, self.settings, self.existing);
        if let Some(room) = &there.shared {
            self.weigh_shared(&needs, room)?;
        }
        if let Some(room) = &there.names {
            Self::weigh_names(&needs, room)?;
        }
        for room in &there.memory {
            self.weigh_memory(&needs, room)?;
        }
        self.weigh_descriptors(&needs, there.descriptors)?;
        for room in &there.tasks {
            self.weigh_tasks(&needs, room)?;
        }
        self.weigh_file(&needs, there.file)?;
        self.weigh_address_space(&needs, there.address_space)?;
        if let Some(room) = &there.disk {
            self.weigh_disk(&needs, room)?;
        }
        Ok(there.memory.iter().filter_map(|room| growth_warning(&needs, room)).collect())
    }

    fn weigh_shared(&self, needs: &Requirements, room: &Room) -> Result<(), Shortage> {
        let needed = needs.shared_bytes();
        if needed <= room.free {
            return Ok(());
        }
        let fitting = self.fitting(&MEMORY_KNOBS, |needs| needs.shared_bytes() <= room.free);
        let size = needed.next_multiple_of(64 << 20) >> 20;
        let larger = format!("give it more (docker run --shm-size={size}m, or mount -o remount,size={size}m)");
        Err(Shortage {
            what: format!("shared memory in {} is short", room.what),
            needed: format!("{} ({})", mebibytes(needed), parts(needs)),
            free: free_of(room),
            advice: either(fitting, &larger),
        })
    }

    fn weigh_names(needs: &Requirements, room: &Room) -> Result<(), Shortage> {
        if needs.names <= room.free {
            return Ok(());
        }
        Err(Shortage {
            what: format!("files that {} can have are short (its mount option nr_inodes)", room.what),
            needed: format!("{} segments and semaphores", needs.names),
            free: format!("{} are free of {}", room.free, room.total),
            advice: "fewer --workers take 3 less each, or raise it (mount -o remount,nr_inodes=1000)".to_owned(),
        })
    }

    fn weigh_memory(&self, needs: &Requirements, room: &Room) -> Result<(), Shortage> {
        let needed = |needs: &Requirements| needs.shared_bytes() + needs.private;
        if needed(needs) <= room.free {
            return Ok(());
        }
        let fitting = self.fitting(&MEMORY_KNOBS, |needs| needed(needs) <= room.free);
        let all = format!(
            "{} (shared {}: {}; processes {})",
            mebibytes(needed(needs)),
            mebibytes(needs.shared_bytes()),
            parts(needs),
            mebibytes(needs.private)
        );
        let free = free_of(room);
        Err(Shortage {
            what: format!("{} is short", room.what),
            needed: all,
            free,
            advice: either(fitting, "raise the limit"),
        })
    }

    fn weigh_descriptors(&self, needs: &Requirements, limit: u64) -> Result<(), Shortage> {
        if needs.descriptors <= limit {
            return Ok(());
        }
        let knobs = [Knob::MaxConnections, Knob::HttpConnections];
        let fitting = self.fitting(&knobs, |needs| needs.descriptors <= limit);
        Err(Shortage {
            what: "open files of a process are short (RLIMIT_NOFILE)".to_owned(),
            needed: needs.descriptors.to_string(),
            free: format!("the hard limit is {limit}"),
            advice: either(fitting, &format!("raise it (ulimit -Hn {}, or LimitNOFILE= of a unit)", needs.descriptors)),
        })
    }

    fn weigh_tasks(&self, needs: &Requirements, room: &Room) -> Result<(), Shortage> {
        if needs.tasks <= room.free {
            return Ok(());
        }
        let fitting = self.fitting(&[Knob::Workers, Knob::HttpThreads], |needs| needs.tasks <= room.free);
        Err(Shortage {
            what: format!("{} is short", room.what),
            needed: format!("{} processes and threads", needs.tasks),
            free: format!("{} are free of {}", room.free, room.total),
            advice: either(fitting, "raise the limit"),
        })
    }

    fn weigh_file(&self, needs: &Requirements, limit: u64) -> Result<(), Shortage> {
        if needs.file <= limit {
            return Ok(());
        }
        let all = [MEMORY_KNOBS[0], MEMORY_KNOBS[1], MEMORY_KNOBS[2], Knob::SegmentRecords, Knob::LogRotateMb];
        let fitting = self.fitting(&all, |needs| needs.file <= limit);
        Err(Shortage {
            what: "the limit of a file's size is too low (RLIMIT_FSIZE)".to_owned(),
            needed: mebibytes(needs.file),
            free: format!("the limit is {}", mebibytes(limit)),
            advice: either(fitting, "raise it (ulimit -f unlimited)"),
        })
    }

    fn weigh_address_space(&self, needs: &Requirements, limit: u64) -> Result<(), Shortage> {
        if needs.address_space <= limit {
            return Ok(());
        }
        let fitting = self.fitting(&MEMORY_KNOBS, |needs| needs.address_space <= limit);
        Err(Shortage {
            what: "address space of a process is short (RLIMIT_AS)".to_owned(),
            needed: mebibytes(needs.address_space),
            free: format!("the limit is {}", mebibytes(limit)),
            advice: either(fitting, "raise it (ulimit -v unlimited)"),
        })
    }

    fn weigh_disk(&self, needs: &Requirements, room: &Room) -> Result<(), Shortage> {
        if needs.disk <= room.free {
            return Ok(());
        }
        let decided = self.existing.records_per_segment.is_some();
        let knobs: &[Knob] = if decided { &[] } else { &[Knob::SegmentRecords] };
        let fitting = self.fitting(knobs, |needs| needs.disk <= room.free);
        Err(Shortage {
            what: format!("the volume of the data directory, {}, is short of space", room.what),
            needed: format!("{} for the first segment of the journal", mebibytes(needs.disk)),
            free: free_of(room),
            advice: either(fitting, "make room there, or choose another place with --data"),
        })
    }

    /// Settings with which it would fit, as options: smaller values of `knobs`, all in the same proportion, the largest that do.
    /// Only if that is not enough fewer accounts are proposed; they are what the server is for.
    fn fitting(&self, knobs: &[Knob], fits: impl Fn(&Requirements) -> bool) -> Option<String> {
        let with_accounts: Vec<Knob> = knobs.iter().copied().chain([Knob::Accounts]).collect();
        let accounts_help = self.existing.accounts == 0 && knobs.contains(&Knob::KeyWindow);
        let tries = [Some(knobs.to_vec()), accounts_help.then_some(with_accounts)];
        let fits = |settings: &Settings| fits(&Requirements::of(self.services, settings, self.existing));
        tries.into_iter().flatten().find_map(|knobs| knobs::fitting(self.settings, &knobs, &fits))
    }
}

const MEMORY_KNOBS: [Knob; 3] = [Knob::KeyWindow, Knob::MaxConnections, Knob::HttpConnections];

/// What would help, one or the other.
fn either(fitting: Option<String>, other: &str) -> String {
    match fitting {
        Some(options) => format!("{options} would fit, or {other}"),
        None => other.to_owned(),
    }
}

fn parts(needs: &Requirements) -> String {
    let parts = needs.shared.iter().map(|(name, bytes)| format!("{name} {}", mebibytes(*bytes)));
    parts.collect::<Vec<_>>().join(", ")
}

fn free_of(room: &Room) -> String {
    format!("{} are free of {}", mebibytes(room.free), mebibytes(room.total))
}

/// In mebibytes, as `--shm-size` and `df -m` count.
fn mebibytes(bytes: u64) -> String {
    let tenths = u128::from(bytes) * 10 / (1 << 20);
    format!("{}.{} MiB", tenths / 10, tenths % 10)
}

/// The server starts, and may be killed by the kernel later, when its caches have filled up.
fn growth_warning(needs: &Requirements, room: &Room) -> Option<String> {
    let most = needs.shared_bytes() + needs.private + needs.growth;
    (most > room.free).then(|| {
        format!(
            "{} may become short: the processes can grow to {} altogether, and {}; --cache-mb and --workers make that less",
            room.what,
            mebibytes(most),
            free_of(room)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::config::Durability;
    use crate::service::table::SERVICES;

    const MIB: u64 = 1 << 20;

    fn room(what: &str, free: u64) -> Room {
        Room { what: what.to_owned(), free, total: free }
    }

    /// More of everything than is ever needed.
    fn plenty() -> There {
        There {
            shared: None,
            names: None,
            memory: vec![],
            tasks: vec![],
            descriptors: u64::MAX,
            file: u64::MAX,
            address_space: u64::MAX,
            disk: None,
        }
    }

    fn default_of_two_workers() -> Settings {
        Settings { workers: 2, ..Settings::default() }
    }

    fn shortage(settings: &Settings, there: &There) -> String {
        let text = Scales { services: SERVICES, settings, existing: Existing::default() }
            .weigh(there)
            .unwrap_err()
            .to_string();
        assert!(!text.contains('\n'), "{text}");
        text
    }

    /// The settings with the options that a message proposes.
    fn as_proposed(settings: &Settings, text: &str) -> Settings {
        let mut changed = settings.clone();
        let words: Vec<&str> = text.split_whitespace().collect();
        let knobs = [
            Knob::KeyWindow,
            Knob::MaxConnections,
            Knob::HttpConnections,
            Knob::Accounts,
            Knob::Workers,
            Knob::HttpThreads,
            Knob::SegmentRecords,
            Knob::LogRotateMb,
        ];
        for pair in words.windows(2) {
            let knob = knobs.iter().find(|knob| knob.name() == pair[0]);
            if let Some((knob, value)) = knob.zip(pair[1].parse().ok()) {
                knob.set(&mut changed, value);
            }
        }
        assert_ne!(changed, *settings, "{text}");
        changed
    }

    /// Each resource that can be short, and so little of it that the default settings do not fit.
    fn short_ones() -> [(&'static str, There); 9] {
        let pids = room("the pids control group /x", 11);
        [
            ("/dev/shm", There { shared: Some(room("/dev/shm", 64 * MIB)), ..plenty() }),
            ("control group", There { memory: vec![room("the memory control group /x", 100 * MIB)], ..plenty() }),
            ("machine", There { memory: vec![room("this machine's memory", 50 * MIB)], ..plenty() }),
            ("RLIMIT_NOFILE", There { descriptors: 2_000, ..plenty() }),
            ("pids", There { tasks: vec![pids], ..plenty() }),
            ("RLIMIT_FSIZE", There { file: 8 * MIB + 300_000, ..plenty() }),
            ("RLIMIT_AS", There { address_space: 200 * MIB, ..plenty() }),
            ("volume", There { disk: Some(room("/data", 2 * MIB)), ..plenty() }),
            (
                "control group",
                There { memory: vec![room("x", u64::MAX), room("a control group", MIB * 80)], ..plenty() },
            ),
        ]
    }

    #[test]
    fn what_is_short_is_named_and_what_is_proposed_fits() {
        let settings = default_of_two_workers();
        for (name, there) in short_ones() {
            let text = shortage(&settings, &there);
            assert!(text.contains(name) && text.contains("would fit"), "{text}");
            let proposed = as_proposed(&settings, &text);
            let fits = Scales { services: SERVICES, settings: &proposed, existing: Existing::default() }.weigh(&there);
            assert!(fits.is_ok(), "{text}: {fits:?}");
        }
    }

    #[test]
    fn what_no_option_can_mend_is_said_without_one() {
        let settings = default_of_two_workers();
        let tiny = There { shared: Some(room("/dev/shm", MIB)), ..plenty() };
        let text = shortage(&settings, &tiny);
        assert!(!text.contains("would fit") && text.contains("--shm-size=192m"), "{text}");
        let decided = Existing { accounts: 10, records_per_segment: Some(1 << 19), has_segments: false };
        let disk = There { disk: Some(room("/data", MIB)), ..plenty() };
        let text =
            Scales { services: SERVICES, settings: &settings, existing: decided }.weigh(&disk).unwrap_err().to_string();
        assert!(!text.contains("--segment-records") && text.contains("--data"), "{text}");
    }

    #[test]
    fn what_takes_little_is_not_proposed_to_be_less() {
        let settings = Settings { key_window: 1_000, ..default_of_two_workers() };
        let text = shortage(&settings, &There { shared: Some(room("/dev/shm", 64 * MIB)), ..plenty() });
        assert!(text.contains("--max-connections") && !text.contains("--key-window"), "{text}");
    }

    #[test]
    fn names_can_be_short_too() {
        let there = There { names: Some(room("/dev/shm", 5)), ..plenty() };
        let text = shortage(&default_of_two_workers(), &there);
        assert!(text.contains("nr_inodes") && text.contains("15 segments and semaphores"), "{text}");
    }

    #[test]
    fn many_accounts_are_what_can_be_fewer() {
        let settings = Settings { accounts: 100_000_000, ..default_of_two_workers() };
        let there = There { shared: Some(room("/dev/shm", 1024 * MIB)), ..plenty() };
        let text = shortage(&settings, &there);
        assert!(text.contains("--accounts "), "{text}");
        let existing = Existing { accounts: 100_000_000, ..Existing::default() };
        let text = Scales { services: SERVICES, settings: &settings, existing }.weigh(&there).unwrap_err().to_string();
        assert!(!text.contains("--accounts "), "accounts are never taken away: {text}");
    }

    #[test]
    fn what_is_there_is_enough_to_the_byte() {
        let settings = Settings { durability: Durability::None, ..default_of_two_workers() };
        let needs = Requirements::of(SERVICES, &settings, Existing::default());
        let there = |less| There {
            shared: Some(room("/dev/shm", needs.shared_bytes() - less)),
            descriptors: needs.descriptors,
            ..plenty()
        };
        let scales = Scales { services: SERVICES, settings: &settings, existing: Existing::default() };
        assert_eq!(scales.weigh(&there(0)), Ok(vec![]));
        assert!(scales.weigh(&there(1)).is_err());
    }

    #[test]
    fn what_may_become_short_is_a_warning_only() {
        let settings = default_of_two_workers();
        let there = There { memory: vec![room("a control group", 256 * MIB)], ..plenty() };
        let warnings =
            Scales { services: SERVICES, settings: &settings, existing: Existing::default() }.weigh(&there).unwrap();
        assert!(warnings[0].contains("--cache-mb") && warnings[0].contains("256.0 MiB"), "{warnings:?}");
    }
}
