//! What processes share and what is kept, without a server: the ledger, the journal, lanes, the access log and the cache, each by its own interface. Some
//! of these tests fork, so whatever waits for the ends of a child's pipes is elsewhere.

#[path = "../support/cache.rs"]
mod cache_support;
#[path = "../support/http_origin.rs"]
mod http_origin;
#[path = "../support/log_files.rs"]
mod log_files;
#[path = "../support/log_life.rs"]
mod log_life;
#[path = "../support/mount.rs"]
mod mount;
#[path = "../support/tools.rs"]
mod tools;
#[path = "../support/transfer.rs"]
mod transfer_support;

mod access_log;
mod access_log_deaths;
mod applier_deaths;
mod cache_deaths;
mod cache_process;
mod journal_files;
mod kv_deaths;
mod kv_stress;
mod lane;
mod ledger_deaths;
mod recent_records;
mod transfer;
mod transfer_deaths;
