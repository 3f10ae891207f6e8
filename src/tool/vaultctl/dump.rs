//! `vaultctl journal dump`: the records themselves, for people and for programs.

use std::io::{self, BufWriter, Write};

use serde::Serialize;

use super::failure::Failure;
use super::source::{JournalArgs, JournalSource};
use crate::base::calendar::iso_utc;
use crate::base::vocab::{AccountId, Committed, Lsn};
use crate::store::journal::{Content, OperationRecord, ReadError, Reader, Record, Verdict, hexadecimal};
use crate::tool::output;
use crate::tool::vaultctl::writes::{WriteFields, whole, write_row};

#[derive(Debug, clap::Args)]
pub(super) struct Journal {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Show records, the oldest first; beside a running server those that are committed
    Dump(Dump),
}

#[derive(Debug, clap::Args)]
struct Dump {
    #[command(flatten)]
    which: JournalArgs,
    /// First record to show [default: the oldest there is]
    #[arg(long, value_name = "LSN")]
    from: Option<u64>,
    /// Last record to show [default: the newest there is]
    #[arg(long, value_name = "LSN")]
    to: Option<u64>,
    /// Show only what names this account
    #[arg(long, value_name = "N")]
    account: Option<u32>,
    /// Show each record of a write to the key-value store, also those that only carry its key and value
    #[arg(long)]
    records: bool,
    /// Write one JSON object a line; money in cents
    #[arg(long)]
    json: bool,
}

const HEADING: &str = "         lsn  time                      kind      verdict          amount  account          balance    previous  key\n";

/// A record as `--json` shows it.
#[derive(Serialize)]
struct Line {
    lsn: u64,
    time_ns: u64,
    kind: &'static str,
    #[serde(flatten)]
    operation: Option<OperationFields>,
    /// Of the first record of a write to the key-value store: the write.
    #[serde(skip_serializing_if = "Option::is_none")]
    write: Option<WriteFields>,
    /// Of a membership: its bytes, as the cluster wrote them; of a piece of a write: its bytes of key and value.
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<String>,
    #[serde(flatten)]
    entry: Option<EntryFields>,
}

/// Where a record is in the log of a cluster.
#[derive(Serialize)]
struct EntryFields {
    term: u64,
    index: u64,
    ends_entry: bool,
}

/// What only operations have.
#[derive(Serialize)]
struct OperationFields {
    verdict: &'static str,
    principal: u32,
    accounts: Vec<u32>,
    amount_cents: i64,
    /// Of each account; empty in a refusal.
    balances_cents: Vec<i64>,
    previous: Vec<u64>,
    key: Option<String>,
}

impl Line {
    fn of(record: &Record, write: Option<WriteFields>) -> Self {
        let entry = EntryFields { term: record.term, index: record.index, ends_entry: record.ends_entry };
        let payload = match &record.content {
            Content::Membership(membership) => Some(hexadecimal(membership.payload.bytes())),
            Content::KvPiece(piece) => Some(hexadecimal(piece.bytes())),
            Content::Operation(_) | Content::Term(_) | Content::KvHead(_) => None,
        };
        Line {
            lsn: record.lsn().0,
            time_ns: record.time_ns(),
            kind: kind_of(record),
            operation: record.operation().map(OperationFields::of),
            write,
            payload,
            entry: (record.index > 0).then_some(entry),
        }
    }
}

impl OperationFields {
    fn of(record: &OperationRecord) -> Self {
        let accounts: Vec<u32> = accounts_of(record).map(|account| account.0).collect();
        let sides = if record.is_done() { accounts.len() } else { 0 };
        OperationFields {
            verdict: verdict(record.verdict),
            principal: record.principal,
            amount_cents: record.amount.0,
            balances_cents: record.balances[..sides].iter().map(|balance| balance.0).collect(),
            previous: record.previous[..sides].iter().map(|lsn| lsn.0).collect(),
            key: record.key.map(|key| hexadecimal(&key)),
            accounts,
        }
    }
}

pub(super) fn run(journal: &Journal) -> Result<(), Failure> {
    let Action::Dump(dump) = &journal.action;
    let source = JournalSource::open(&dump.which)?;
    let mut reader = Reader::open(&source.directory);
    let failed = |error| match error {
        ReadError::Disk(error) => error.into(),
        wrong => Failure::refused(wrong),
    };
    let oldest = reader.oldest().map_err(failed)?.unwrap_or(Lsn(1));
    let first = dump.from.unwrap_or(0).max(oldest.0);
    let last = dump.to.unwrap_or(u64::MAX).min(source.committed().map_or(u64::MAX, |Committed(committed)| committed.0));
    let mut out = BufWriter::new(io::stdout().lock());
    let mut text = if dump.json { String::new() } else { HEADING.to_owned() };
    for lsn in (first..=last).map(Lsn) {
        // What was read before a damaged record is shown before that is named.
        let shown = reader.get(lsn).and_then(|record| match record {
            Some(record) if !dump.records => whole(&mut reader, record).map(Some),
            record => Ok(record.map(|record| (record, None))),
        });
        let Some((record, write)) = shown.or_else(|error| out.flush().map_or(Ok(None), |()| Err(failed(error))))?
        else {
            break;
        };
        let is_shown = dump.records || !record.is_piece();
        if is_shown && dump.account.is_none_or(|account| names_account(&record, account)) {
            let write = WriteFields::of(&record, write);
            if dump.json {
                text += &serde_json::to_string(&Line::of(&record, write))?;
                text.push('\n');
            } else {
                row(&mut text, &record, write.as_ref());
            }
            let written = out.write_all(text.as_bytes());
            text.clear();
            // A reader that has gone, as in `vaultctl journal dump | head`, wants no more.
            if output::check_write(written)? == output::Reader::Gone {
                return Ok(());
            }
        }
    }
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    output::check_write(written)?;
    Ok(())
}

/// One line for each account; what is the record's as a whole stands in the first. Of a record of a cluster, a line more says where it is in
/// the log.
fn row(text: &mut String, record: &Record, write: Option<&WriteFields>) {
    match &record.content {
        Content::Operation(operation) => operation_rows(text, operation),
        Content::Term(_) => raft_row(text, record, &format!("term {} begins", record.term)),
        Content::KvHead(_) => raft_row(text, record, &write.map(write_row).unwrap_or_default()),
        Content::KvPiece(piece) => raft_row(text, record, &hexadecimal(piece.bytes())),
        Content::Membership(membership) => raft_row(text, record, &hexadecimal(membership.payload.bytes())),
    }
    if record.index > 0 {
        let ends = if record.ends_entry { ", its last record" } else { "" };
        *text += &format!("{:14}entry {} of term {}{ends}\n", "", record.index, record.term);
    }
}

fn raft_row(text: &mut String, record: &Record, what: &str) {
    let (lsn, time) = (record.lsn().0, iso_utc(record.time_ns() / 1_000_000));
    *text += &format!("{lsn:>12}  {time}  {:<10}{what}\n", kind_of(record));
}

fn operation_rows(text: &mut String, record: &OperationRecord) {
    let time = iso_utc(record.time_ns / 1_000_000);
    let (kind, verdict) = (record.kind.name(), verdict(record.verdict));
    let key = record.key.map_or_else(|| "-".to_owned(), |key| hexadecimal(&key));
    for (side, account) in accounts_of(record).enumerate() {
        let (whole, key) = match side {
            0 => {
                let (lsn, amount) = (record.lsn.0, record.amount.to_string());
                (format!("{lsn:>12}  {time}  {kind:<8}  {verdict:<12}{amount:>11}"), &*key)
            }
            _ => (" ".repeat(71), ""),
        };
        let (balance, previous) = match record.is_done() {
            true => (record.balances[side].to_string(), record.previous[side].to_string()),
            false => ("-".to_owned(), "-".to_owned()),
        };
        let line = format!("{whole}  {:>7}{balance:>17}{previous:>12}  {key}", account.0);
        text.push_str(line.trim_end());
        text.push('\n');
    }
}

fn kind_of(record: &Record) -> &'static str {
    match &record.content {
        Content::Operation(operation) => operation.kind.name(),
        Content::Term(_) => "term",
        Content::KvHead(head) => head.kind.name(),
        Content::KvPiece(_) => "piece",
        Content::Membership(_) => "members",
    }
}

fn names_account(record: &Record, account: u32) -> bool {
    record.operation().is_some_and(|operation| accounts_of(operation).any(|of| of.0 == account))
}

fn accounts_of(record: &OperationRecord) -> impl Iterator<Item = AccountId> {
    [Some(record.accounts.0), record.accounts.1].into_iter().flatten()
}

fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Done => "done",
        Verdict::NoAccount => "no account",
        Verdict::Insufficient => "insufficient",
        Verdict::Invalid => "invalid",
    }
}
