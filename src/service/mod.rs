//! What the server offers to clients: a folder for each service, and what they have in common.
//!
//! [`table`] lists those that there are, [`entry`] is what a line of it says. [`interface`] is what a worker's event loop asks of a service,
//! [`sessions`] what is remembered of its connections, and [`connection_state`] what of every connection; [`host`] stands between the loop
//! and one service. [`pool`] runs what may block, [`outgoing`] sends files, [`log_queue`] writes the lines of the access log, and [`replies`]
//! has what waits until an operation is committed.

pub mod bank;
pub mod connection_state;
pub mod entry;
pub mod getfile;
pub mod host;
pub mod http;
pub mod interface;
pub mod kv;
pub mod log_queue;
pub mod outgoing;
pub mod pool;
pub mod replies;
pub mod sessions;
pub mod status_pages;
pub mod table;
