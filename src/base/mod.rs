//! What everything else may use: words, bounds, settings, the server's log, ONC RPC as bytes, and the places where a process can be made to die.

pub mod calendar;
pub mod config;
pub mod crash_point;
pub mod defect;
pub mod limits;
pub mod logging;
pub mod onc_rpc;
pub mod time;
pub mod vocab;
