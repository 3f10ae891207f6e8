//! The side of GetFile in a worker.
//!
//! `getfile_service` is what the event loop calls; `handler` gives a session its turn, from the request to the end of its answer, and
//! `source` finds files in the folder that is served, or by the map file. Where there is a cache process, `asker` puts requests to it instead,
//! `cached` is the handler's part in that, `transfer` sends what comes through a segment, and `descriptors` takes what comes as a
//! descriptor.

mod asked;
mod asker;
#[cfg(test)]
mod asker_tests;
mod cached;
mod descriptors;
mod getfile_service;
mod getfile_session;
mod handler;
mod source;
mod transfer;

pub use getfile_service::GetFileService;
pub use source::read_map;
