//! The settings of GetFile's cache process and of its upstream.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::check::{not_empty, number};
use super::{CacheChannelKind, ConfigError, Values, range};

/// The checked settings of the cache process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetFileCache {
    /// Bytes of contents that it keeps; 0 keeps nothing.
    pub bytes: u64,
    /// Bytes of the largest object that it keeps.
    pub object_bytes: u64,
    /// How long what it keeps is fresh.
    pub ttl: Duration,
    /// How long it believes that there is no such object.
    pub negative_ttl: Duration,
    /// How contents come to the workers.
    pub channel: CacheChannelKind,
    /// Segments of the pool.
    pub segments: usize,
    /// Bytes of a segment, header included.
    pub segment_bytes: usize,
    /// How long connecting to the upstream may take, its answer, and the next part of its content.
    pub upstream_timeout: Duration,
    /// Who may certify the upstream; `None` for those that browsers trust.
    pub upstream_ca: Option<PathBuf>,
}

impl Default for GetFileCache {
    fn default() -> Self {
        GetFileCache {
            bytes: 64 << 20,
            object_bytes: 1024 << 20,
            ttl: Duration::from_secs(60),
            negative_ttl: Duration::from_secs(5),
            channel: CacheChannelKind::Segments,
            segments: 16,
            segment_bytes: 65_536,
            upstream_timeout: Duration::from_secs(10),
            upstream_ca: None,
        }
    }
}

impl GetFileCache {
    /// Checks what `values` say of it.
    pub(super) fn resolve(values: &mut Values) -> Result<GetFileCache, ConfigError> {
        let default = GetFileCache::default();
        let mebibytes = |range: range::Range, value: Option<i64>, default| {
            value.map_or(Ok(default), |value| range.check::<u64>(value).map(|value| value << 20))
        };
        let seconds = |range: range::Range, value: Option<i64>, default| {
            value.map_or(Ok(default), |value| range.check(value).map(Duration::from_secs))
        };
        Ok(GetFileCache {
            bytes: mebibytes(range::GETFILE_CACHE_MB, values.getfile_cache_mb, default.bytes)?,
            object_bytes: mebibytes(range::GETFILE_OBJECT_MB, values.getfile_object_mb, default.object_bytes)?,
            ttl: seconds(range::GETFILE_TTL, values.getfile_ttl, default.ttl)?,
            negative_ttl: seconds(range::GETFILE_NEGATIVE_TTL, values.getfile_negative_ttl, default.negative_ttl)?,
            channel: values.cache_channel.unwrap_or(default.channel),
            segments: number(range::CACHE_SEGMENTS, values.cache_segments, default.segments)?,
            segment_bytes: number(range::CACHE_SEGMENT_BYTES, values.cache_segment_bytes, default.segment_bytes)?,
            upstream_timeout: seconds(
                range::GETFILE_UPSTREAM_TIMEOUT,
                values.getfile_upstream_timeout,
                default.upstream_timeout,
            )?,
            upstream_ca: values
                .getfile_upstream_ca
                .take()
                .map(|path| not_empty("getfile-upstream-ca", path))
                .transpose()?,
        })
    }

    /// Whether each of them is the same in `other`, by name.
    pub(super) fn compare(&self, other: &GetFileCache) -> [(&'static str, bool); 9] {
        // A pattern without `..`: a new setting that is not compared here does not compile.
        let GetFileCache {
            bytes,
            object_bytes,
            ttl,
            negative_ttl,
            channel,
            segments,
            segment_bytes,
            upstream_timeout,
            upstream_ca,
        } = self;
        [
            ("getfile-cache-mb", *bytes == other.bytes),
            ("getfile-object-mb", *object_bytes == other.object_bytes),
            ("getfile-ttl", *ttl == other.ttl),
            ("getfile-negative-ttl", *negative_ttl == other.negative_ttl),
            ("cache-channel", *channel == other.channel),
            ("cache-segments", *segments == other.segments),
            ("cache-segment-bytes", *segment_bytes == other.segment_bytes),
            ("getfile-upstream-timeout", *upstream_timeout == other.upstream_timeout),
            ("getfile-upstream-ca", *upstream_ca == other.upstream_ca),
        ]
    }
}
