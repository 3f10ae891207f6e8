//! Settings: every value that is accepted is usable.
#![no_main]

use std::time::Duration;

use bank_vault::base::config::{Settings, Values};
use bank_vault::base::limits::{MAX_ACCOUNTS, MAX_CONNECTIONS, MAX_QUEUE_DEPTH, MAX_WORKERS};
use bank_vault_fuzz::text;
use libfuzzer_sys::fuzz_target;

const YEARS: Duration = Duration::from_secs(100 * 366 * 86_400);

fuzz_target!(|data: &[u8]| {
    let Some(values) = text(data).and_then(|text| toml::from_str::<Values>(text).ok()) else { return };
    let Ok(settings) = Settings::resolve(values) else { return };
    assert!(settings.differences(&settings.clone()).is_empty());
    assert!((1..=MAX_WORKERS).contains(&settings.workers) && (1..=MAX_ACCOUNTS).contains(&settings.accounts));
    assert!((1..=MAX_CONNECTIONS).contains(&settings.max_connections));
    assert!((1..=MAX_QUEUE_DEPTH).contains(&settings.queue_depth));
    assert!(settings.initial_balance.0.checked_mul(i64::from(settings.accounts)).is_some_and(|total| total >= 0));
    assert!(settings.users.is_some() || settings.host.to_canonical().is_loopback());
    let times = [
        settings.idle_timeout.unwrap_or_default(),
        settings.worker_timeout,
        settings.flush_interval,
        settings.http.timeout,
    ];
    assert!(times.iter().all(|time| *time < YEARS), "clocks of nanoseconds hold them");
    assert!(settings.http.cache_bytes.checked_mul(settings.workers as u64).is_some());
});
