//! The side of GetFile in a worker.
//!
//! `getfile_service` is what the event loop calls; `handler` gives a session its turn, from the request to the end of its answer, and
//! `root` finds files in the folder that is served.

mod getfile_service;
mod getfile_session;
mod handler;
mod root;

pub use getfile_service::GetFileService;
