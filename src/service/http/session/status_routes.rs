//! The pages that show the instance, below `/_vault/`: which there are, and who may see them.

use crate::base::limits::STREAM_SHARE;
use crate::service::status_pages::StatusPages;
use crate::store::connection::ServiceId;
use crate::store::instance::Instance;
use crate::store::instance::stats::WebStats;

/// What all of its addresses begin with.
const ROOT: &[u8] = b"/_vault";

/// The pages, who may see them, and how many watch the stream.
pub struct StatusRoutes {
    /// The pages.
    pub pages: Box<dyn StatusPages>,
    service: ServiceId,
    instance: &'static Instance,
    /// Whether others than this machine may look.
    pub public: bool,
    /// Counters of HTTP.
    pub stats: &'static WebStats,
    /// When the readers of the stream are told next what happened, nanoseconds of the monotonic clock.
    pub next_event_ns: u64,
}

impl StatusRoutes {
    /// The pages of `instance`, served by `service`; to others than this machine only if they are `public`.
    #[must_use]
    pub fn new(
        pages: Box<dyn StatusPages>,
        service: ServiceId,
        instance: &'static Instance,
        public: bool,
        stats: &'static WebStats,
    ) -> Self {
        stats.streams.set(0);
        StatusRoutes { pages, service, instance, public, stats, next_event_ns: 0 }
    }

    /// Which page a target means, without the query, if any.
    #[must_use]
    pub fn page_of(target: &[u8]) -> Option<&[u8]> {
        let page = target.strip_prefix(ROOT)?;
        let page = page.split(|byte| *byte == b'?').next().unwrap_or_default();
        (page.is_empty() || page.starts_with(b"/")).then_some(page)
    }

    /// Whether there are fewer connections of HTTP than there may be.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.instance.occupancy(self.service).excess() == 0
    }

    /// Whether no more streams may begin: they never end by themselves, and each takes a place.
    #[must_use]
    pub fn has_enough_streams(&self) -> bool {
        let streams: u64 = self.instance.workers().iter().map(|row| row.stats.web.streams.get()).sum();
        streams >= (self.instance.occupancy(self.service).allowed / STREAM_SHARE).max(1)
    }

    /// A stream has ended.
    pub fn end_stream(&mut self) {
        let left = self.stats.streams.get().saturating_sub(1);
        self.stats.streams.set(left);
        if left == 0 {
            self.pages.unwatch();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_pages_are_told_from_files() {
        assert_eq!(StatusRoutes::page_of(b"/_vault/ready?x"), Some(&b"/ready"[..]));
        assert_eq!(StatusRoutes::page_of(b"/_vault?x"), Some(&b""[..]));
        assert_eq!(StatusRoutes::page_of(b"/_vaults"), None);
        assert_eq!(StatusRoutes::page_of(b"/"), None);
    }
}
