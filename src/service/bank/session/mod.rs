//! The bank's side of a worker.
//!
//! `bank_service` is what the event loop calls, and has the sessions that wait for the journal; `handler` gives a session its turn,
//! `executor` answers one request, `held_replies` keeps replies back until what they show is committed,
//! `after_queue` has the sessions that wait for an operation that this instance has not applied. What may block is a job for
//! threads (`jobs`).

mod after_queue;
mod bank_service;
mod bank_session;
mod executor;
mod handler;
mod held_replies;
mod jobs;
pub mod login;
mod rate_limit;
mod statement_page;

pub use bank_service::BankService;
