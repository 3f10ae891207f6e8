//! `DATA/principals`: the number by which records and keys name each user who was ever admitted.
//!
//! A number has 32 bits and a name has more. If numbers were computed from names alone, two users could share one, and with it
//! their idempotency keys. So a number is given to one user only, also when that user is removed, because remembered keys still bear
//! it. It is the CRC-32 of the name, or the next free number if that is taken.
//!
//! ```text
//! bank-vault principals 1
//! 4ddb0c25 plumless
//! 4ddb0c26 buckeroo
//! crc32 1b2c3d4e
//! ```
//!
//! The file is replaced durably before a new user is admitted. It is needed without a journal as well, and so is not part of a
//! [`Directory`](super::Directory).

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use super::disk::{self, Disk, RealDisk};
use super::error::{DiskError, Step};
use super::text;

const TITLE: &str = "bank-vault principals 1\n";

/// Why the users' numbers cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum PrincipalsError {
    /// The file could not be read or written.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// Its text is damaged.
    #[error("{} is damaged: {why}; put it back from a copy: without it, users could share idempotency keys", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
}

/// The users' numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Principals {
    /// In the order in which they were given out.
    given: Vec<(u32, String)>,
    by_name: HashMap<String, u32>,
    taken: HashSet<u32>,
}

impl Principals {
    /// Reads the numbers under the data directory `data`; there may be none.
    pub fn read(data: &Path) -> Result<Self, PrincipalsError> {
        Self::read_on(&RealDisk, data)
    }

    /// Reads them, gives a number to each of `names` that has none, and makes that durable. The caller must hold the lock of `data`.
    ///
    /// # Errors
    /// Every [`PrincipalsError`]; then no new number may be used.
    pub fn admit<'n>(data: &Path, names: impl IntoIterator<Item = &'n str>) -> Result<Self, PrincipalsError> {
        Self::admit_on(&RealDisk, data, names)
    }

    fn read_on(disk: &dyn Disk, data: &Path) -> Result<Self, PrincipalsError> {
        let path = data.join("principals");
        let Some(text) = text::read(disk, &path)? else { return Ok(Self::default()) };
        let parsed = text.and_then(|text| Self::parse(text::unseal(&text)?));
        parsed.map_err(|why| PrincipalsError::Damaged { path, why })
    }

    fn admit_on<'n>(
        disk: &dyn Disk,
        data: &Path,
        names: impl IntoIterator<Item = &'n str>,
    ) -> Result<Self, PrincipalsError> {
        let mut principals = Self::read_on(disk, data)?;
        let before = principals.given.len();
        for name in names {
            principals.give(name);
        }
        if principals.given.len() > before {
            let path = data.join("principals");
            let lines = principals.given.iter().map(|(number, name)| format!("{number:08x} {name}\n"));
            let text = text::seal(TITLE.to_owned() + &lines.collect::<String>());
            disk::replace(disk, &path, text.as_bytes()).step("write", &path)?;
        }
        Ok(principals)
    }

    fn parse(lines: &str) -> Result<Self, &'static str> {
        let strange = "a line is not as it should be, although its checksum is right";
        let mut principals = Self::default();
        for line in lines.strip_prefix(TITLE).ok_or(strange)?.lines() {
            let (number, name) = line.split_once(' ').filter(|(number, _)| number.len() == 8).ok_or(strange)?;
            let number = u32::from_str_radix(number, 16).map_err(|_| strange)?;
            if principals.by_name.contains_key(name) || principals.taken.contains(&number) {
                return Err("a name or a number stands twice, although its checksum is right");
            }
            principals.note(number, name);
        }
        Ok(principals)
    }

    fn give(&mut self, name: &str) {
        if !self.by_name.contains_key(name) {
            let mut number = crc32fast::hash(name.as_bytes());
            // There are far more numbers than names.
            while self.taken.contains(&number) {
                number = number.wrapping_add(1);
            }
            self.note(number, name);
        }
    }

    fn note(&mut self, number: u32, name: &str) {
        self.given.push((number, name.to_owned()));
        self.by_name.insert(name.to_owned(), number);
        self.taken.insert(number);
    }

    /// The number of user `name`, if it was admitted.
    #[must_use]
    pub fn of(&self, name: &str) -> Option<u32> {
        self.by_name.get(name).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::super::disk::forgetful::Forgetful;
    use super::*;

    const DATA: &str = "/data";
    /// Two names of one CRC-32.
    const TWINS: [&str; 2] = ["plumless", "buckeroo"];

    fn admit(disk: &Forgetful, names: &[&str]) -> Principals {
        Principals::admit_on(disk, Path::new(DATA), names.iter().copied()).unwrap()
    }

    #[test]
    fn two_names_of_one_checksum_have_two_numbers_for_ever() {
        let crc = crc32fast::hash(TWINS[0].as_bytes());
        assert_eq!(crc, crc32fast::hash(TWINS[1].as_bytes()));
        let disk = Forgetful::default();
        let first = admit(&disk, &["ada", TWINS[1]]);
        assert_eq!([first.of("ada"), first.of(TWINS[1])], [Some(crc32fast::hash(b"ada")), Some(crc)]);
        // Its user is gone, and still nobody else is given the number; when he comes again he has it.
        let second = admit(&disk, &[TWINS[0], "ada"]);
        assert_eq!([second.of(TWINS[0]), second.of(TWINS[1])], [Some(crc + 1), Some(crc)]);
        assert_eq!(admit(&disk, &TWINS), second);
        assert_eq!(Principals::read_on(&disk, Path::new(DATA)).unwrap(), second);
        assert_eq!(second.of("bob"), None);
    }

    #[test]
    fn what_was_given_out_survives_and_an_interrupted_write_gives_nothing_out() {
        for call in 1..=5 {
            for seed in 0..10 {
                let disk = Forgetful::default();
                let before = admit(&disk, &["ada"]);
                disk.take_log();
                disk.fail_call("", call, libc::ENOSPC);
                let refused = Principals::admit_on(&disk, Path::new(DATA), TWINS);
                assert!(matches!(refused, Err(PrincipalsError::Disk(_))), "call {call}");
                let disk = disk.crash(seed);
                let left = Principals::read_on(&disk, Path::new(DATA)).unwrap();
                assert!(left == before || left.given.len() == 3, "call {call}, seed {seed}: {left:?}");
                let after = admit(&disk, &TWINS);
                assert_eq!(Principals::read_on(&disk.crash(seed), Path::new(DATA)).unwrap(), after);
            }
        }
        let disk = Forgetful::default();
        admit(&disk, &["ada"]);
        disk.take_log();
        admit(&disk, &["ada"]);
        assert_eq!(disk.take_log().len(), 0, "nothing new, nothing written");
    }

    #[test]
    fn every_damaged_bit_is_seen_and_so_is_what_cannot_be() {
        let disk = Forgetful::default();
        admit(&disk, &TWINS);
        let path = Path::new("/data/principals");
        let mut good = Vec::new();
        disk.tamper(path, |bytes| good.clone_from(bytes));
        for bit in 0..good.len() * 8 {
            disk.tamper(path, |bytes| bytes[bit / 8] ^= 1 << (bit % 8));
            let read = Principals::read_on(&disk, Path::new(DATA));
            assert!(matches!(read, Err(PrincipalsError::Damaged { .. })), "bit {bit}");
            disk.tamper(path, |bytes| bytes.clone_from(&good));
        }
        for lines in ["1 ada\n", "0000000g ada\n", "00000001\n", "00000001 a\n00000001 b\n", "00000001 a\n00000002 a\n"]
        {
            let text = text::seal(format!("{TITLE}{lines}"));
            disk.tamper(path, |bytes| *bytes = text.into_bytes());
            assert!(Principals::read_on(&disk, Path::new(DATA)).is_err(), "{lines}");
        }
    }
}
