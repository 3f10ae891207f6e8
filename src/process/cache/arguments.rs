//! What the cache process is started with.

use std::os::fd::AsRawFd;

use crate::base::config::Settings;
use crate::store::cache_channel::{CacheChannel, CacheRow};

/// What the cache process is started with.
pub struct CacheArguments {
    /// What is known of the process, and what it counts.
    pub row: &'static CacheRow,
    /// How it is asked, and where it answers.
    pub channel: &'static CacheChannel,
    /// The settings.
    pub settings: &'static Settings,
    /// How often files that the settings name were to be read again.
    pub reloads: Box<dyn Fn() -> u64>,
}

impl CacheArguments {
    /// The descriptors that a cache process keeps of its parent's, beside the standard ones. The queue it opens by itself.
    #[must_use]
    pub fn descriptors(&self) -> Vec<i32> {
        self.channel.wake_ups.descriptors().map(|fd| fd.as_raw_fd()).collect()
    }
}
