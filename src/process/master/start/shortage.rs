//! Comparing what is needed with what is available; pure. One line says what is short, how much is needed and available, and which
//! options, with which values, would make it fit.

use super::cgroup::Capacity;
use super::probe::Available;
use super::requirements::{Existing, Requirements};
use super::tunables;
use crate::base::config::Settings;
use crate::service::entry::{Entry, Saves};

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

/// What is compared: the requirements of these settings.
pub struct Comparison<'a> {
    /// The services.
    pub services: &'static [Entry],
    /// The settings.
    pub settings: &'a Settings,
    /// The data directory.
    pub existing: Existing,
}

impl Comparison<'_> {
    /// Whether all that is needed is available; gives warnings of what may become short later.
    ///
    /// # Errors
    /// The first thing that is short.
    pub fn check(&self, available: &Available) -> Result<Vec<String>, Shortage> {
        let needs = Requirements::of(self.services, self.settings, self.existing);
        self.check_memory(&needs, available)?;
        self.check_processes(&needs, available)?;
        self.check_files(available)?;
        Ok(available.memory.iter().filter_map(|capacity| self.growth_warning(&needs, capacity)).collect())
    }

    fn check_memory(&self, needs: &Requirements, available: &Available) -> Result<(), Shortage> {
        if let Some(capacity) = &available.shared {
            self.compare(capacity.free, Requirements::shared_bytes, MEMORY, |needed| {
                let size = needed.next_multiple_of(64 << 20) >> 20;
                Shortage {
                    what: format!("shared memory in {} is short", capacity.what),
                    needed: format!("{} ({})", mebibytes(needed), parts(needs)),
                    free: free_of(capacity),
                    advice: format!("give it more (docker run --shm-size={size}m, or mount -o remount,size={size}m)"),
                }
            })?;
        }
        if let Some(capacity) = &available.names {
            self.compare(
                capacity.free,
                |needs| needs.names,
                &[],
                |needed| Shortage {
                    what: format!("files that {} can have are short (its mount option nr_inodes)", capacity.what),
                    needed: format!("{needed} segments and semaphores"),
                    free: format!("{} are free of {}", capacity.free, capacity.total),
                    advice: "fewer --workers take 3 less each, or raise it (mount -o remount,nr_inodes=1000)"
                        .to_owned(),
                },
            )?;
        }
        available.memory.iter().try_for_each(|capacity| {
            self.compare(
                capacity.free,
                |needs| needs.shared_bytes() + needs.private,
                MEMORY,
                |needed| Shortage {
                    what: format!("{} is short", capacity.what),
                    needed: format!(
                        "{} (shared {}: {}; processes {})",
                        mebibytes(needed),
                        mebibytes(needs.shared_bytes()),
                        parts(needs),
                        mebibytes(needs.private)
                    ),
                    free: free_of(capacity),
                    advice: "raise the limit".to_owned(),
                },
            )
        })
    }

    fn check_processes(&self, needs: &Requirements, available: &Available) -> Result<(), Shortage> {
        let limit = available.descriptors;
        self.compare(
            limit,
            |needs| needs.descriptors,
            &[Saves::Connections],
            |needed| Shortage {
                what: "open files of a process are short (RLIMIT_NOFILE)".to_owned(),
                needed: needed.to_string(),
                free: format!("the hard limit is {limit}"),
                advice: format!("raise it (ulimit -Hn {}, or LimitNOFILE= of a unit)", needs.descriptors),
            },
        )?;
        available.tasks.iter().try_for_each(|capacity| {
            self.compare(
                capacity.free,
                |needs| needs.tasks,
                &[Saves::Workers, Saves::Threads],
                |needed| Shortage {
                    what: format!("{} is short", capacity.what),
                    needed: format!("{needed} processes and threads"),
                    free: format!("{} are free of {}", capacity.free, capacity.total),
                    advice: "raise the limit".to_owned(),
                },
            )
        })
    }

    fn check_files(&self, available: &Available) -> Result<(), Shortage> {
        let (file, address_space) = (available.file, available.address_space);
        let saves = [Saves::Keys, Saves::Connections, Saves::Segment, Saves::File];
        self.compare(
            file,
            |needs| needs.file,
            &saves,
            |needed| Shortage {
                what: "the limit of a file's size is too low (RLIMIT_FSIZE)".to_owned(),
                needed: mebibytes(needed),
                free: format!("the limit is {}", mebibytes(file)),
                advice: "raise it (ulimit -f unlimited)".to_owned(),
            },
        )?;
        self.compare(
            address_space,
            |needs| needs.address_space,
            MEMORY,
            |needed| Shortage {
                what: "address space of a process is short (RLIMIT_AS)".to_owned(),
                needed: mebibytes(needed),
                free: format!("the limit is {}", mebibytes(address_space)),
                advice: "raise it (ulimit -v unlimited)".to_owned(),
            },
        )?;
        let Some(capacity) = &available.disk else { return Ok(()) };
        let saves: &[Saves] = if self.existing.records_per_segment.is_some() { &[] } else { &[Saves::Segment] };
        self.compare(
            capacity.free,
            |needs| needs.disk,
            saves,
            |needed| Shortage {
                what: format!("the volume of the data directory, {}, is short of space", capacity.what),
                needed: format!("{} for the first segment of the journal", mebibytes(needed)),
                free: free_of(capacity),
                advice: "make room there, or choose another place with --data".to_owned(),
            },
        )
    }

    /// Whether `free` is as much as is needed of something; if not, `shortage` says so, with what would help beside smaller settings.
    fn compare(
        &self,
        free: u64,
        needed: impl Fn(&Requirements) -> u64,
        saves: &[Saves],
        shortage: impl FnOnce(u64) -> Shortage,
    ) -> Result<(), Shortage> {
        let of = |settings: &Settings| needed(&Requirements::of(self.services, settings, self.existing));
        let all = of(self.settings);
        if all <= free {
            return Ok(());
        }
        let Shortage { what, needed, free: there, advice } = shortage(all);
        // A little less than what is free now: of memory there may be less in a moment, and what is proposed should fit then, too.
        let free_soon = free - free / 64;
        let advice = match self.fitting(saves, &|settings| of(settings) <= free_soon) {
            Some(options) => format!("{options} would fit, or {advice}"),
            None => advice,
        };
        Err(Shortage { what, needed, free: there, advice })
    }

    /// Settings with which it would fit, as options: smaller values of those that save something, all in the same proportion, the largest
    /// that do. Fewer accounts are proposed only if that is not enough.
    fn fitting(&self, saves: &[Saves], fits: &impl Fn(&Settings) -> bool) -> Option<String> {
        let on = |entry: &Entry| (entry.listen)(self.settings).is_some();
        let with_accounts = [saves, &[Saves::Accounts]].concat();
        let accounts_help = self.existing.accounts == 0 && saves.contains(&Saves::Keys);
        let tries = [Some(saves), accounts_help.then_some(&*with_accounts)];
        let tries = tries.into_iter().flatten().map(|saves| tunables::that_save(self.services, saves, on));
        tries.into_iter().find_map(|tunables| tunables::fitting(self.settings, &tunables, fits))
    }

    /// The server starts, but the kernel may kill it later, when its caches are full.
    fn growth_warning(&self, needs: &Requirements, capacity: &Capacity) -> Option<String> {
        let most_of = |needs: &Requirements| needs.shared_bytes() + needs.private + needs.growth;
        let most = most_of(needs);
        let mut less = tunables::that_save(self.services, &[Saves::Growth, Saves::Workers], |_| true);
        // What is off, or is as little as it can be, cannot be made less.
        less.retain(|tunable| {
            let mut least = self.settings.clone();
            let field = (tunable.field)(&mut least);
            field.set(field.get().min(tunable.least * tunable.unit));
            most_of(&Requirements::of(self.services, &least, self.existing)) < most
        });
        let less: Vec<_> = less.iter().map(|tunable| tunable.option).collect();
        let less = if less.is_empty() { String::new() } else { format!("; {} make that less", less.join(" and ")) };
        (most > capacity.free).then(|| {
            format!(
                "{} may become short: the processes can grow to {} altogether, and {}{less}",
                capacity.what,
                mebibytes(most),
                free_of(capacity),
            )
        })
    }
}

/// What saves memory.
const MEMORY: &[Saves] = &[Saves::Keys, Saves::Connections, Saves::Transfers, Saves::KeyValues];

fn parts(needs: &Requirements) -> String {
    let parts = needs
        .shared
        .iter()
        .filter(|(_, bytes)| *bytes > 0)
        .map(|(name, bytes)| format!("{name} {}", mebibytes(*bytes)));
    parts.collect::<Vec<_>>().join(", ")
}

fn free_of(capacity: &Capacity) -> String {
    format!("{} are free of {}", mebibytes(capacity.free), mebibytes(capacity.total))
}

/// In mebibytes, as `--shm-size` and `df -m` count.
fn mebibytes(bytes: u64) -> String {
    let tenths = u128::from(bytes) * 10 / (1 << 20);
    format!("{}.{} MiB", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::config::Durability;
    use crate::service::table::SERVICES;

    const MIB: u64 = 1 << 20;

    fn room(what: &str, free: u64) -> Capacity {
        Capacity { what: what.to_owned(), free, total: free }
    }

    /// More of everything than is ever needed.
    fn plenty() -> Available {
        Available {
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

    fn shortage(settings: &Settings, available: &Available) -> String {
        let text = Comparison { services: SERVICES, settings, existing: Existing::default() }
            .check(available)
            .unwrap_err()
            .to_string();
        assert!(!text.contains('\n'), "{text}");
        text
    }

    /// The settings with the options that a message proposes.
    fn as_proposed(settings: &Settings, text: &str) -> Settings {
        let mut changed = settings.clone();
        let words: Vec<&str> = text.split_whitespace().collect();
        let all = [MEMORY, &[Saves::Accounts, Saves::Workers, Saves::Threads, Saves::Segment, Saves::File]].concat();
        let tunables = tunables::that_save(SERVICES, &all, |_| true);
        for pair in words.windows(2) {
            let tunable = tunables.iter().find(|tunable| tunable.option == pair[0]);
            if let Some((tunable, value)) = tunable.zip(pair[1].parse().ok()) {
                let value: u64 = value;
                (tunable.field)(&mut changed).set(value * tunable.unit);
            }
        }
        assert_ne!(changed, *settings, "{text}");
        changed
    }

    /// Each resource that can be short, and so little of it that the default settings do not fit.
    fn short_ones() -> [(&'static str, Available); 9] {
        let pids = room("the pids control group /x", 11);
        [
            ("/dev/shm", Available { shared: Some(room("/dev/shm", 64 * MIB)), ..plenty() }),
            ("control group", Available { memory: vec![room("the memory control group /x", 100 * MIB)], ..plenty() }),
            ("machine", Available { memory: vec![room("this machine's memory", 50 * MIB)], ..plenty() }),
            ("RLIMIT_NOFILE", Available { descriptors: 2_000, ..plenty() }),
            ("pids", Available { tasks: vec![pids], ..plenty() }),
            ("RLIMIT_FSIZE", Available { file: 8 * MIB + 300_000, ..plenty() }),
            ("RLIMIT_AS", Available { address_space: 200 * MIB, ..plenty() }),
            ("volume", Available { disk: Some(room("/data", 2 * MIB)), ..plenty() }),
            (
                "control group",
                Available { memory: vec![room("x", u64::MAX), room("a control group", MIB * 80)], ..plenty() },
            ),
        ]
    }

    #[test]
    fn what_is_short_is_named_and_what_is_proposed_fits() {
        let settings = default_of_two_workers();
        for (name, available) in short_ones() {
            let text = shortage(&settings, &available);
            assert!(text.contains(name) && text.contains("would fit"), "{text}");
            let proposed = as_proposed(&settings, &text);
            let fits =
                Comparison { services: SERVICES, settings: &proposed, existing: Existing::default() }.check(&available);
            assert!(fits.is_ok(), "{text}: {fits:?}");
        }
    }

    #[test]
    fn what_no_option_can_mend_is_said_without_one() {
        let settings = default_of_two_workers();
        let tiny = Available { shared: Some(room("/dev/shm", MIB)), ..plenty() };
        let text = shortage(&settings, &tiny);
        assert!(!text.contains("would fit") && text.contains("--shm-size=192m"), "{text}");
        let decided = Existing { accounts: 10, records_per_segment: Some(1 << 19), has_segments: false };
        let disk = Available { disk: Some(room("/data", MIB)), ..plenty() };
        let text = Comparison { services: SERVICES, settings: &settings, existing: decided }
            .check(&disk)
            .unwrap_err()
            .to_string();
        assert!(!text.contains("--segment-records") && text.contains("--data"), "{text}");
    }

    #[test]
    fn what_takes_little_is_not_proposed_to_be_less() {
        let settings = Settings { key_window: 1_000, ..default_of_two_workers() };
        let text = shortage(&settings, &Available { shared: Some(room("/dev/shm", 64 * MIB)), ..plenty() });
        assert!(text.contains("--max-connections") && !text.contains("--key-window"), "{text}");
    }

    #[test]
    fn a_pool_of_segments_can_be_smaller() {
        let mut settings = default_of_two_workers();
        (settings.getfile.port, settings.getfile.map) = (1, Some("map".into()));
        (settings.getfile.cache.segments, settings.getfile.cache.segment_bytes) = (64, 1 << 20);
        let needs = Requirements::of(SERVICES, &settings, Existing::default());
        let available = Available { shared: Some(room("/dev/shm", needs.shared_bytes() - 60 * MIB)), ..plenty() };
        let text = shortage(&settings, &available);
        assert!(text.contains("transfers 64.0 MiB") && text.contains("--cache-segment"), "{text}");
        let proposed = as_proposed(&settings, &text);
        let fits =
            Comparison { services: SERVICES, settings: &proposed, existing: Existing::default() }.check(&available);
        assert!(fits.is_ok(), "{text}: {fits:?}");
    }

    #[test]
    fn names_can_be_short_too() {
        let available = Available { names: Some(room("/dev/shm", 5)), ..plenty() };
        let text = shortage(&default_of_two_workers(), &available);
        assert!(text.contains("nr_inodes") && text.contains("16 segments and semaphores"), "{text}");
    }

    #[test]
    fn many_accounts_are_what_can_be_fewer() {
        let settings = Settings { accounts: 100_000_000, ..default_of_two_workers() };
        let available = Available { shared: Some(room("/dev/shm", 1024 * MIB)), ..plenty() };
        let text = shortage(&settings, &available);
        assert!(text.contains("--accounts "), "{text}");
        let existing = Existing { accounts: 100_000_000, ..Existing::default() };
        let text =
            Comparison { services: SERVICES, settings: &settings, existing }.check(&available).unwrap_err().to_string();
        assert!(!text.contains("--accounts "), "accounts are never taken away: {text}");
    }

    #[test]
    fn what_is_there_is_enough_to_the_byte() {
        let settings = Settings { durability: Durability::None, ..default_of_two_workers() };
        let needs = Requirements::of(SERVICES, &settings, Existing::default());
        let available = |less| Available {
            shared: Some(room("/dev/shm", needs.shared_bytes() - less)),
            descriptors: needs.descriptors,
            ..plenty()
        };
        let scales = Comparison { services: SERVICES, settings: &settings, existing: Existing::default() };
        assert_eq!(scales.check(&available(0)), Ok(vec![]));
        assert!(scales.check(&available(1)).is_err());
    }

    #[test]
    fn what_may_become_short_is_a_warning_only() {
        let settings = default_of_two_workers();
        let available = Available { memory: vec![room("a control group", 256 * MIB)], ..plenty() };
        let warnings = Comparison { services: SERVICES, settings: &settings, existing: Existing::default() }
            .check(&available)
            .unwrap();
        assert!(warnings[0].ends_with("--cache-mb and --workers make that less"), "{warnings:?}");
        assert!(warnings[0].contains("256.0 MiB"), "{warnings:?}");
        let mut settings = settings;
        (settings.getfile.port, settings.getfile.map) = (1, Some("map".into()));
        let warnings = Comparison { services: SERVICES, settings: &settings, existing: Existing::default() }
            .check(&available)
            .unwrap();
        assert!(warnings[0].contains("--getfile-cache-mb"), "{warnings:?}");
    }
}
