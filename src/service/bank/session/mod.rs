//! The bank's side of a worker.
//!
//! `bank_service` is what the event loop calls; `handler` gives a session its turn, `executor` answers one request, `held_replies` keeps
//! replies back until what they show is durable, and `journal_queue` the sessions that wait for that. What may block is a job
//! (`jobs`) for threads (`blocking_pools`).

mod bank_service;
mod bank_session;
mod blocking_pools;
mod executor;
mod handler;
mod held_replies;
mod jobs;
mod journal_queue;
pub mod login;
mod rate_limit;
mod statement_page;

pub use bank_service::BankService;
