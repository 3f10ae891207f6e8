//! The bank's side of a worker.
//!
//! `bank_service` is what the event loop calls; `handler` gives a session its turn, `executor` answers one request. What replies and
//! requests wait for is common to services that show operations ([`crate::service::replies`]). What may block is a job for threads (`jobs`).

mod bank_service;
mod bank_session;
mod executor;
mod handler;
mod jobs;
pub mod login;
mod rate_limit;
mod statement_page;

pub use bank_service::BankService;
