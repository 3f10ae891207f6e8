//! The times of records, which never go back from one record to the next.

use super::ended::Ended;
use super::report::AuditReport;
use crate::base::calendar::iso_utc;
use crate::store::journal::Record;

/// Checks the times of records. Those of a cluster never go back. Of an instance without peers, versions before clusters took the time as
/// each worker had it: such are counted, and are not wrong.
#[derive(Debug, Default)]
pub(super) struct Times {
    last_ns: u64,
}

impl Times {
    /// Takes in the next record.
    pub(super) fn take(&mut self, record: &Record, report: &mut AuditReport) -> Result<(), Ended> {
        let time_ns = record.time_ns();
        if time_ns >= self.last_ns {
            self.last_ns = time_ns;
        } else if record.index > 0 {
            let [time, before] = [time_ns, self.last_ns].map(|ns| iso_utc(ns / 1_000_000));
            let by = self.last_ns - time_ns;
            return Err(Ended::wrong(format!("its time, {time}, is {by} ns before {before}, the latest before it")));
        } else {
            report.times_back += 1;
        }
        Ok(())
    }
}
