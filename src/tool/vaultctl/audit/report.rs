//! What an audit has counted; this is also the schema of `--json`.

use std::fmt;

use serde::Serialize;

use crate::base::calendar::iso_utc;
use crate::base::vocab::Cents;
use crate::store::journal::record::{KvHead, KvKind};
use crate::store::journal::{Content, Kind, OperationRecord, RECORD_BYTES, Record};

/// Money is in cents, times are in milliseconds since 1970.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct AuditReport {
    pub(super) data: String,
    /// Whether all was right.
    pub(super) whole: bool,
    /// The first thing that was not.
    #[serde(rename = "offence", skip_serializing_if = "Option::is_none")]
    pub(super) violation: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) offending_lsn: Option<u64>,
    pub(super) records: u64,
    /// 0 where there is none.
    pub(super) first_lsn: u64,
    pub(super) last_lsn: u64,
    pub(super) first_time_ms: u64,
    pub(super) last_time_ms: u64,
    /// Records of an instance without peers that are earlier than one before: older versions wrote such.
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) times_back: u64,
    pub(super) bytes: u64,
    pub(super) deposits: u64,
    pub(super) withdrawals: u64,
    pub(super) transfers: u64,
    /// Refusals are kept only of requests with a key.
    pub(super) refusals: u64,
    pub(super) keyed: u64,
    /// Beginnings of terms and changes of membership, which a cluster has in its journal beside operations.
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) replication: u64,
    /// Writes to the key-value store that were done, those that were refused and had a request id, and what is in it afterwards.
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) kv_puts: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) kv_deletes: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) kv_refusals: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) kv_keys: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) kv_blocks: u64,
    pub(super) accounts: u32,
    pub(super) opening_cents: i64,
    pub(super) deposited_cents: i64,
    pub(super) withdrawn_cents: i64,
    pub(super) sum_cents: i64,
    /// The snapshot that balances were taken from; 0 where they were followed from the accounts' opening.
    pub(super) from_snapshot: u64,
    /// Snapshots that agree.
    pub(super) snapshots: u64,
    /// Accounts of these that are newer than what was audited.
    pub(super) snapshot_accounts_skipped: u64,
    /// Whether a server runs; then only what it had committed when the audit began is audited.
    pub(super) running: bool,
    /// Accounts in the server's memory that agree.
    pub(super) memory_agrees: u64,
    /// Accounts in the server's memory that are newer than what was audited, or were being changed.
    pub(super) memory_skipped: u64,
    /// What a power failure left of a batch that was never acknowledged; the next start cuts it, and keeps it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) torn_tail: Option<String>,
    pub(super) seconds: f64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl AuditReport {
    /// Counts a record.
    pub(super) fn count(&mut self, record: &Record) {
        let time_ms = record.time_ns() / 1_000_000;
        if self.records == 0 {
            (self.first_lsn, self.first_time_ms) = (record.lsn().0, time_ms);
        }
        (self.last_lsn, self.last_time_ms) = (record.lsn().0, time_ms);
        self.records += 1;
        self.bytes += RECORD_BYTES as u64;
        match &record.content {
            Content::Operation(operation) => self.count_operation(operation),
            Content::KvHead(head) => self.count_write(head),
            Content::KvPiece(_) => {}
            Content::Term(_) | Content::Membership(_) => self.replication += 1,
        }
    }

    fn count_write(&mut self, head: &KvHead) {
        self.keyed += u64::from(head.request.is_some());
        *match head.kind {
            _ if !head.is_done() => &mut self.kv_refusals,
            KvKind::Put => &mut self.kv_puts,
            KvKind::Delete => &mut self.kv_deletes,
        } += 1;
    }

    fn count_operation(&mut self, operation: &OperationRecord) {
        self.keyed += u64::from(operation.key.is_some());
        *match operation.kind {
            _ if !operation.is_done() => &mut self.refusals,
            Kind::Deposit => &mut self.deposits,
            Kind::Withdraw => &mut self.withdrawals,
            Kind::Transfer => &mut self.transfers,
        } += 1;
    }
}

impl fmt::Display for AuditReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let AuditReport { records, first_lsn, last_lsn, bytes, keyed, .. } = self;
        let AuditReport { deposits, withdrawals, transfers, refusals, accounts, from_snapshot, .. } = self;
        let AuditReport { snapshots, snapshot_accounts_skipped, memory_agrees, memory_skipped, .. } = self;
        let verdict = if self.whole { "all is right" } else { "NOT right" };
        writeln!(f, "audit of {}: {verdict}", self.data)?;
        writeln!(f, "  records    {records} ({first_lsn} to {last_lsn}), {bytes} bytes, {keyed} with a key")?;
        write!(f, "  kinds      {deposits} deposits, {withdrawals} withdrawals, {transfers} transfers, ")?;
        writeln!(f, "{refusals} refused")?;
        let AuditReport { kv_puts, kv_deletes, kv_refusals, kv_keys, kv_blocks, .. } = self;
        if kv_puts + kv_deletes + kv_refusals + kv_keys > 0 {
            write!(f, "  key-value  {kv_puts} puts, {kv_deletes} deletes, {kv_refusals} refused; ")?;
            writeln!(f, "{kv_keys} keys in {kv_blocks} blocks")?;
        }
        if self.replication > 0 {
            writeln!(f, "  cluster    {} beginnings of terms and changes of membership", self.replication)?;
        }
        if *records > 0 {
            write!(f, "  times      {} to {}", iso_utc(self.first_time_ms), iso_utc(self.last_time_ms))?;
            if self.times_back > 0 {
                write!(f, ", {} go back, as older versions wrote them", self.times_back)?;
            }
            writeln!(f)?;
        }
        let [opening, deposited, withdrawn, sum] =
            [self.opening_cents, self.deposited_cents, self.withdrawn_cents, self.sum_cents].map(Cents);
        writeln!(f, "  money      opening {opening} + deposited {deposited} - withdrawn {withdrawn}")?;
        writeln!(f, "             {accounts} accounts hold {sum}")?;
        if *from_snapshot > 0 {
            writeln!(f, "  from       the snapshot of record {from_snapshot}, since older records are not kept")?;
        }
        writeln!(f, "  snapshots  {snapshots} agree; {snapshot_accounts_skipped} accounts in them are newer")?;
        if self.running {
            write!(f, "  memory     {memory_agrees} accounts of the running server agree, ")?;
            writeln!(f, "{memory_skipped} are newer")?;
        }
        if let Some(torn) = &self.torn_tail {
            writeln!(f, "  tail       {torn}; the next start cuts it, and keeps it in DATA/torn")?;
        }
        writeln!(f, "  took       {:.3} s", self.seconds)
    }
}
