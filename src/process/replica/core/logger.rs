//! What the crate `raft` says of itself goes to `log`, one level lower: it is of use to whoever looks into an election.

use std::fmt::Arguments;

use slog::{Drain, KV, Level, Logger, Never, OwnedKVList, Record, o};

/// The target that these lines have in `log`.
const TARGET: &str = "raft";

struct ToLog;

/// Keys and values, as ` key: value` each.
struct Pairs(String);

impl slog::Serializer for Pairs {
    fn emit_arguments(&mut self, key: slog::Key, value: &Arguments) -> slog::Result {
        use std::fmt::Write;
        write!(self.0, " {key}: {value}").map_err(slog::Error::from)
    }
}

impl Drain for ToLog {
    type Ok = ();
    type Err = Never;

    fn log(&self, record: &Record, _: &OwnedKVList) -> Result<(), Never> {
        let level = match record.level() {
            Level::Critical | Level::Error => log::Level::Error,
            Level::Warning => log::Level::Info,
            Level::Info => log::Level::Debug,
            Level::Debug | Level::Trace => log::Level::Trace,
        };
        if log::log_enabled!(target: TARGET, level) {
            let mut pairs = Pairs(String::new());
            // A value that cannot be written is missing in the line.
            let _ = record.kv().serialize(record, &mut pairs);
            log::log!(target: TARGET, level, "{}{}", record.msg(), pairs.0);
        }
        Ok(())
    }
}

/// What raft logs to.
pub(super) fn logger() -> Logger {
    Logger::root(ToLog, o!())
}
