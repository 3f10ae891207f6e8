//! `client history 12`: an account's statement, page after page.

use std::fmt::Write;

use crate::base::calendar::iso_utc;
use crate::base::limits::MAX_STATEMENT_ENTRIES;
use crate::base::vocab::{AccountId, Cents, Lsn};
use crate::service::bank::wire::{Entry, Movement, Next, Statement};
use crate::tool::client::error::{ClientError, CommandError, ProtocolError};
use crate::tool::client::options::HistoryOptions;
use crate::tool::client::retrying::RetryingConnection;
use crate::tool::output::{Reader, print_line};

/// Requests the pages and prints each as it comes.
pub fn show(connection: &mut RetryingConnection<'_>, options: &HistoryOptions) -> Result<(), CommandError> {
    let mut before = options.before.unwrap_or(0);
    let mut left = if options.all { u64::MAX } else { options.limit };
    let mut is_first = true;
    loop {
        let most = MAX_STATEMENT_ENTRIES.min(usize::try_from(left).unwrap_or(usize::MAX));
        // At most a page: fits.
        #[allow(clippy::cast_possible_truncation)]
        let limit = most as u16;
        let page = connection.statement(AccountId(options.account), Lsn(before), limit)?;
        check(&page, before, most).map_err(ClientError::from)?;
        left -= page.entries.len() as u64;
        let next = match page.next {
            Next::Before(lsn) if left > 0 => Some(lsn),
            _ => None,
        };
        let mut text = if options.json { json_lines(&page) } else { table(&page, is_first) };
        if next.is_none() {
            text.push_str(&end(page.next, options.json));
        }
        is_first = false;
        // A reader that closed the pipe, as in `client history --all 12 | head`, wants no more pages.
        let reader = print_line(text.trim_end_matches('\n'))?;
        match next {
            Some(lsn) if reader == Reader::Present => before = lsn.0,
            _ => return Ok(()),
        }
    }
}

/// A page must continue below the last one: else a server could keep the client asking for ever.
fn check(page: &Statement, before: u64, most: usize) -> Result<(), ProtocolError> {
    if page.entries.len() > most {
        return Err(ProtocolError::Page("it has more entries than were asked for"));
    }
    let mut last = if before == 0 { u64::MAX } else { before };
    for entry in &page.entries {
        if entry.lsn.0 >= last {
            return Err(ProtocolError::Page("its entries are not in order"));
        }
        last = entry.lsn.0;
    }
    match page.next {
        Next::Before(lsn) if lsn.0 > last || (page.entries.is_empty() && lsn.0 >= last) => {
            Err(ProtocolError::Page("what is to follow is not older"))
        }
        _ => Ok(()),
    }
}

/// Name and counterparty of a movement.
fn names(movement: Movement) -> (&'static str, Option<AccountId>) {
    match movement {
        Movement::Deposit => ("deposit", None),
        Movement::Withdraw => ("withdraw", None),
        Movement::TransferOut { to } => ("transfer to", Some(to)),
        Movement::TransferIn { from } => ("transfer from", Some(from)),
    }
}

fn table(page: &Statement, with_heading: bool) -> String {
    let mut text = String::new();
    if with_heading {
        text.push_str(
            "         lsn  time                      kind           account              amount       balance after\n",
        );
    }
    for Entry { lsn, time_ms, movement, amount, balance_after } in &page.entries {
        let (kind, other) = names(*movement);
        let other = other.map_or_else(String::new, |account| account.to_string());
        let amount = format!("{}{amount}", if movement.is_gain() { '+' } else { '-' });
        let (time, balance) = (iso_utc(*time_ms), balance_after.to_string());
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{lsn:>12}  {time}  {kind:<13}{other:>9}{amount:>20}{balance:>20}", lsn = lsn.0);
    }
    text
}

fn json_lines(page: &Statement) -> String {
    let mut text = String::new();
    for Entry { lsn, time_ms, movement, amount: Cents(amount), balance_after } in &page.entries {
        let (kind, other) = names(*movement);
        let entry = serde_json::json!({
            "lsn": lsn.0,
            "time_ms": time_ms,
            "time": iso_utc(*time_ms),
            "kind": kind,
            "counterparty": other.map(|account| account.0),
            "amount_cents": if movement.is_gain() { *amount } else { -amount },
            "balance_after_cents": balance_after.0,
        });
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{entry}");
    }
    text
}

/// What is older than the last entry shown.
fn end(next: Next, as_json: bool) -> String {
    let (older, before, text) = match next {
        Next::Before(lsn) => ("more", Some(lsn.0), format!("there is more: --before {lsn}")),
        Next::Opening => ("none", None, "nothing before this: the account's opening".to_owned()),
        Next::Trimmed => ("trimmed", None, "older records are no longer kept".to_owned()),
    };
    if as_json { serde_json::json!({ "older": older, "before": before }).to_string() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(lsns: &[u64], next: Next) -> Statement {
        let entries = lsns.iter().map(|&lsn| Entry {
            lsn: Lsn(lsn),
            time_ms: 0,
            movement: Movement::TransferOut { to: AccountId(7) },
            amount: Cents(2500),
            balance_after: Cents(-1),
        });
        Statement { entries: entries.collect(), next }
    }

    #[test]
    fn a_page_that_is_not_older_than_the_last_is_refused() {
        let before = |lsn| Next::Before(Lsn(lsn));
        for (lsns, next, asked) in [
            (&[9, 8, 3][..], Next::Opening, 0),
            (&[9, 8, 3], Next::Trimmed, 10),
            (&[9, 8], before(8), 10),
            (&[9, 8], before(2), 0),
            (&[], before(9), 10),
            (&[], Next::Opening, 0),
        ] {
            assert_eq!(check(&page(lsns, next), asked, 3), Ok(()), "{lsns:?} {next:?} {asked}");
        }
        for (lsns, next, asked) in [
            (&[9, 9][..], Next::Opening, 0),
            (&[8, 9], Next::Opening, 0),
            (&[9], Next::Opening, 9),
            (&[9, 8], before(9), 0),
            (&[], before(9), 9),
            (&[9, 8, 7, 6], Next::Opening, 0),
        ] {
            assert!(check(&page(lsns, next), asked, 3).is_err(), "{lsns:?} {next:?} {asked}");
        }
    }

    #[test]
    fn columns_stand_under_each_other() {
        let text = table(&page(&[12], Next::Opening), true);
        assert_eq!(
            text,
            "         lsn  time                      kind           account              amount       balance after\n          \
             12  1970-01-01T00:00:00.000Z  transfer to          7              -25.00               -0.01\n"
        );
    }
}
