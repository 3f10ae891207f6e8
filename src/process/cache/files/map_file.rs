//! The map file as the threads use it: read by the first that needs it, and again when that was asked for.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::service::getfile::rules::map::FileMap;
use crate::service::getfile::session::read_map;

/// The map file.
pub struct MapFile {
    path: PathBuf,
    /// How often it was to be read.
    asked: AtomicU64,
    known: Mutex<Known>,
}

/// What is known of it.
#[derive(Default)]
struct Known {
    /// What `asked` was when it was read.
    read: u64,
    map: Option<Arc<FileMap>>,
}

impl MapFile {
    /// One that is to be read.
    pub fn new(path: PathBuf) -> Self {
        MapFile { path, asked: AtomicU64::new(1), known: Mutex::default() }
    }

    /// It is to be read again.
    pub fn reload(&self) {
        self.asked.fetch_add(1, Ordering::Release);
    }

    /// What it says. One that cannot be used changes nothing. May wait for the disk.
    pub fn current(&self) -> Option<Arc<FileMap>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let asked = self.asked.load(Ordering::Acquire);
        if known.read != asked {
            known.read = asked;
            match read_map(&self.path) {
                Ok(map) => known.map = Some(Arc::new(map)),
                Err(why) if known.map.is_some() => log::error!("{why}; GetFile goes on with what it had"),
                Err(why) => log::error!("{why}; GetFile answers ERROR until SIGHUP finds it right"),
            }
        }
        known.map.clone()
    }
}
