//! Lines that can be checked, and the check of all files of an access log.
#![allow(dead_code, reason = "each test program that includes this file uses another part of it")]

use std::fs;
use std::path::Path;

const PADDING: &str =
    "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz";

/// Line `number` of writer `writer`: some 10 to 115 bytes, all of them told by the two numbers.
pub fn line(writer: u32, number: u32) -> Vec<u8> {
    format!("w{writer} {number} {}\n", &PADDING[..padding(writer, number)]).into_bytes()
}

fn padding(writer: u32, number: u32) -> usize {
    let mixed = (number.wrapping_mul(0x9E37_79B9) ^ writer.wrapping_mul(0x85EB_CA6B)) >> 16;
    mixed as usize % PADDING.len()
}

fn length(writer: u32, number: u32) -> u64 {
    let digits = |n: u32| n.checked_ilog10().map_or(1, |tens| u64::from(tens) + 1);
    padding(writer, number) as u64 + digits(writer) + digits(number) + "w  \n".len() as u64
}

/// Bytes of the first `lines` lines of a writer.
pub fn bytes_of(writer: u32, lines: u32) -> u64 {
    (0..lines).map(|number| length(writer, number)).sum()
}

/// How many of a writer's lines are so many bytes.
pub fn lines_in(writer: u32, bytes: u64) -> u32 {
    let (mut sum, mut number) = (0, 0);
    while sum < bytes {
        sum += length(writer, number);
        number += 1;
    }
    assert_eq!(sum, bytes, "lines are appended whole");
    number
}

/// What is wrong with the files.
#[derive(Debug, PartialEq, Eq)]
pub enum Broken {
    /// A line that nobody has written so.
    Torn { text: String },
    /// A line is doubled, missing before this one, or out of order.
    NotNext { writer: u32, wanted: u32, found: u32 },
    /// Lines are missing at the end.
    Missing { writer: u32, wanted: u32, found: u32 },
}

/// All files of the log in `folder`, the oldest first.
pub fn read_all(folder: &Path) -> Vec<Vec<u8>> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .filter_map(|entry| {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let behind = name.strip_prefix("access.log")?;
            let age: u32 = behind.strip_prefix('.').map_or(0, |number| number.parse().unwrap());
            Some((std::cmp::Reverse(age), name))
        })
        .collect();
    files.sort();
    files.into_iter().map(|(_, name)| fs::read(folder.join(name)).unwrap()).collect()
}

/// Whether the files hold every line that was appended, once, whole and in the order of its writer; `appended` is bytes, by writer.
pub fn verify(folder: &Path, appended: &[u64]) -> Result<(), Broken> {
    let mut next = vec![0; appended.len()];
    for text in read_all(folder).iter().flat_map(|file| file.split_inclusive(|&byte| byte == b'\n')) {
        let torn = || Broken::Torn { text: String::from_utf8_lossy(text).into_owned() };
        let (writer, found) = numbers_of(text).ok_or_else(torn)?;
        let wanted = next.get_mut(writer as usize).ok_or_else(torn)?;
        if text != line(writer, found) {
            return Err(torn());
        }
        if found != *wanted {
            return Err(Broken::NotNext { writer, wanted: *wanted, found });
        }
        *wanted += 1;
    }
    for ((writer, &bytes), found) in (0..).zip(appended).zip(next) {
        let wanted = lines_in(writer, bytes);
        if wanted != found {
            return Err(Broken::Missing { writer, wanted, found });
        }
    }
    Ok(())
}

/// Writer and number, as a line begins.
fn numbers_of(text: &[u8]) -> Option<(u32, u32)> {
    let mut words = std::str::from_utf8(text).ok()?.strip_prefix('w')?.split(' ');
    Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
}
