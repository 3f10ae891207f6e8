//! How much there is of something that has a limit.

/// How much there is of something that has a limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// What has the limit, in words.
    pub what: String,
    /// What is left of it.
    pub free: u64,
    /// The limit.
    pub total: u64,
}

/// A line of `/proc/meminfo` (`proc_meminfo(5)`), in bytes.
#[must_use]
pub fn meminfo(text: &str, name: &str) -> u64 {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let kibibytes = value.and_then(|value| value.split_whitespace().next()?.parse::<u64>().ok());
    kibibytes.unwrap_or(0) << 10
}
