//! The side of HTTP in a worker.
//!
//! `http_service` is what the event loop calls; `handler` gives a session its turn and reads requests, `answer` answers them, `sending` sends
//! that. `file_cache` has files in memory, `file_loader` finds the others (a job for threads), `status`
//! serves the pages that show the instance (`status_routes`).

mod answer;
mod built_in;
mod file_cache;
mod file_loader;
mod handler;
mod http_service;
mod http_session;
mod sending;
mod served_file;
mod status;
mod status_routes;

pub use http_service::HttpService;
