//! The fetches under way, and where they come from.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::core::{FetchId, Head, Path, Validators};
use super::files::MappedFiles;
use super::origin::{Failure, Said, Transfer, Wake};
use super::upstream::{self, Upstream};
use crate::base::config::{GetFile, Roots};
use crate::base::limits::{MAX_CACHE_FETCHES, MAX_CACHE_PASS_THROUGH};

/// Threads that fetch: as many as there may be fetches.
const THREADS: usize = MAX_CACHE_FETCHES + MAX_CACHE_PASS_THROUGH;
/// How often a failure is told.
const WARNING_INTERVAL: Duration = Duration::from_secs(1);

/// Where objects come from.
enum Origin {
    Upstream(Box<Upstream>),
    Files(MappedFiles),
    /// It cannot be used, as the log says; every fetch fails.
    None,
}

/// One fetch.
struct Fetch {
    transfer: Transfer,
    path: Path,
    is_paused: bool,
}

/// All of them.
pub struct Fetches {
    origin: Origin,
    under_way: BTreeMap<FetchId, Fetch>,
    warnings: Warnings,
}

/// Tells of failures, but not of each where there are many.
#[derive(Default)]
struct Warnings {
    last: Option<Instant>,
    untold: u64,
}

impl Warnings {
    fn warn(&mut self, path: &Path, failure: &Failure) {
        if self.last.is_some_and(|last| last.elapsed() < WARNING_INTERVAL) {
            self.untold += 1;
            return;
        }
        let untold = std::mem::take(&mut self.untold);
        let others = if untold > 0 { format!(" ({untold} failures before it are not told)") } else { String::new() };
        log::warn!("GetFile cannot fetch {}: {failure}{others}", path.escape_ascii());
        self.last = Some(Instant::now());
    }
}

impl Origin {
    fn new(settings: &GetFile, wake: Wake) -> Self {
        if let Some(map) = &settings.map {
            return Origin::Files(MappedFiles::new(map.clone(), THREADS, wake));
        }
        let Some(url) = settings.upstream.clone() else { return Origin::None };
        let timeout: Duration = settings.cache.upstream_timeout;
        match Roots::read(settings.cache.upstream_ca.as_deref()) {
            Ok(roots) => {
                let settings = upstream::Settings { url, timeout, roots, threads: THREADS };
                Origin::Upstream(Box::new(Upstream::new(settings, wake)))
            }
            Err(why) => {
                // The start has tried it, so it has been changed since.
                log::error!("{why}; GetFile fetches nothing from its upstream");
                Origin::None
            }
        }
    }
}

impl Fetches {
    /// None yet. `wake` is called, on any thread, when one of them has something to say.
    #[must_use]
    pub fn new(settings: &GetFile, wake: Wake) -> Self {
        Fetches { origin: Origin::new(settings, wake), under_way: BTreeMap::new(), warnings: Warnings::default() }
    }

    /// Begins one. Returns whether it has not failed at once.
    pub fn begin(&mut self, id: FetchId, path: Path, validators: Validators) -> bool {
        let begun = match &self.origin {
            Origin::Upstream(upstream) => upstream.fetch(&path, validators),
            Origin::Files(files) => files.fetch(&path, validators),
            Origin::None => Err(Failure::NoOrigin),
        };
        match begun {
            Ok(transfer) => _ = self.under_way.insert(id, Fetch { transfer, path, is_paused: false }),
            Err(failure) => {
                self.warnings.warn(&path, &failure);
                return false;
            }
        }
        true
    }

    /// What one of them is of.
    #[must_use]
    pub fn path(&self, id: FetchId) -> Option<&Path> {
        self.under_way.get(&id).map(|fetch| &fetch.path)
    }

    /// Takes no more of a fetch, or goes on with it.
    pub fn set_paused(&mut self, id: FetchId, is_paused: bool) {
        if let Some(fetch) = self.under_way.get_mut(&id) {
            fetch.is_paused = is_paused;
        }
    }

    /// Gives a fetch up.
    pub fn cancel(&mut self, id: FetchId) {
        self.under_way.remove(&id);
    }

    /// Those that are under way.
    #[must_use]
    pub fn ids(&self) -> Vec<FetchId> {
        self.under_way.keys().copied().collect()
    }

    /// What one of them has said next, if it may be taken. What is last ends it.
    pub fn next(&mut self, id: FetchId) -> Option<Said> {
        let fetch = self.under_way.get(&id).filter(|fetch| !fetch.is_paused)?;
        let said = fetch.transfer.next()?;
        if let Said::Failed(failure) = &said {
            self.warnings.warn(&fetch.path, failure);
        }
        if !matches!(said, Said::Head(Head::Found { .. }) | Said::Chunk(_)) {
            self.under_way.remove(&id);
        }
        Some(said)
    }

    /// What was to be read again is, before the next fetch. Returns whether objects may be others than before.
    pub fn reload(&self) -> bool {
        match &self.origin {
            Origin::Files(files) => {
                files.reload();
                true
            }
            Origin::Upstream(_) | Origin::None => false,
        }
    }
}
