//! The account file: balances as text, for books that come from elsewhere or go there.
//!
//! A line is `account, balance`, such as `17, 1200.50`, the balance as [`Cents`] reads it. White space around both is allowed, lines may
//! end in CRLF, and the last one need not end. Empty lines say nothing, nor does what stands behind a `#` at the beginning of a line or
//! behind white space. Whoever writes the file by hand is told of every line that cannot be used, not of the first alone.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use super::balances::OpeningBalances;
use crate::base::limits::{MAX_ACCOUNT_LINE_BYTES, MAX_BAD_LINES};
use crate::base::vocab::{AccountId, Cents, MoneyError};

/// Balances that an account file lists.
#[derive(Debug)]
pub struct AccountFile;

/// What the balances of a file must be within.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// How many accounts there are.
    pub accounts: u32,
    /// The most that one of them may hold.
    pub most: Cents,
}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// It is no pair.
    #[error("`{0}` is not of the form `account, balance`, such as `17, 1200.50`")]
    NoPair(String),
    /// It is longer than any such line.
    #[error("it has more than {MAX_ACCOUNT_LINE_BYTES} bytes")]
    TooLong,
    /// The account is not a number.
    #[error("`{0}` is not the number of an account")]
    NoAccount(String),
    /// There is no account of this number.
    #[error("there is no account {number}: there are {accounts}, numbered from 0")]
    Beyond {
        /// The number, as it was written.
        number: String,
        /// How many accounts there are.
        accounts: u32,
    },
    /// The account was listed before.
    #[error("account {account} is listed already, in line {first}")]
    Repeated {
        /// The account.
        account: AccountId,
        /// Where it is listed first.
        first: u64,
    },
    /// The balance is not money.
    #[error(transparent)]
    Money(#[from] MoneyError),
    /// No account can be in debt.
    #[error("`{0}` is below zero")]
    BelowZero(Cents),
    /// So many accounts with as much would be more than can be counted.
    #[error("`{balance}` is more than an account can hold where there are {accounts}: {most}")]
    TooMuch {
        /// The balance.
        balance: Cents,
        /// How many accounts there are.
        accounts: u32,
        /// The most that one of them may hold.
        most: Cents,
    },
}

/// A line that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadLine {
    /// Its number, from 1.
    pub line: u64,
    /// What is wrong with it.
    pub why: LineError,
}

/// Why an account file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AccountFileError {
    /// It cannot be read.
    #[error("cannot read the account file {}: {source}; check the path given by --opening-balances", path.display())]
    Read {
        /// The file as it was named.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Lines of it cannot be used.
    #[error("{} of the account file {} cannot be used, so nothing was begun", lines(*count), path.display())]
    Lines {
        /// The file as it was named.
        path: PathBuf,
        /// The first of them, [`MAX_BAD_LINES`] at most, in order.
        bad: Vec<BadLine>,
        /// How many there are.
        count: u64,
    },
}

impl AccountFileError {
    /// A text for each bad line, and one for those that are not named; the error's own text says what follows from them.
    pub fn details(&self) -> impl Iterator<Item = String> {
        let (path, bad, count) = match self {
            AccountFileError::Read { path, .. } => (path, &[][..], 0),
            AccountFileError::Lines { path, bad, count } => (path, &bad[..], *count),
        };
        let path = path.display();
        let unnamed = count - bad.len() as u64;
        let others = (unnamed > 0).then(|| format!("{path}: {unnamed} more lines cannot be used either"));
        bad.iter().map(move |BadLine { line, why }| format!("{path}, line {line}: {why}")).chain(others)
    }
}

fn lines(count: u64) -> String {
    if count == 1 { "1 line".to_owned() } else { format!("{count} lines") }
}

impl AccountFile {
    /// Reads a file from its beginning to its end, once: it may be a pipe.
    ///
    /// # Errors
    /// It cannot be read, or lines of it cannot be used.
    pub fn read(path: &Path, bounds: Bounds) -> Result<OpeningBalances, AccountFileError> {
        let failed = |source| AccountFileError::Read { path: path.to_owned(), source };
        let file = File::open(path).map_err(failed)?;
        let parsed = AccountFile::parse(BufReader::with_capacity(1 << 16, file), bounds).map_err(failed)?;
        parsed.map_err(|(bad, count)| AccountFileError::Lines { path: path.to_owned(), bad, count })
    }

    /// The balances that a text lists; of the lines that cannot be used the first, and how many there are.
    ///
    /// It takes 16 bytes of memory for each balance. A text with more balances than there are accounts is read no further than that,
    /// for one of them is listed twice.
    ///
    /// # Errors
    /// What the reader says.
    pub fn parse(text: impl BufRead, bounds: Bounds) -> io::Result<Result<OpeningBalances, (Vec<BadLine>, u64)>> {
        let mut text = text;
        let mut found = Found { bounds, pairs: Vec::new(), bad: Vec::new(), count: 0 };
        let (mut line, mut number) = (Vec::new(), 0);
        while found.pairs.len() <= bounds.accounts as usize {
            line.clear();
            if text.by_ref().take(MAX_ACCOUNT_LINE_BYTES + 2).read_until(b'\n', &mut line)? == 0 {
                break;
            }
            number += 1;
            let content = line.strip_suffix(b"\n").unwrap_or(&line);
            // A spreadsheet's mark that the text is UTF-8.
            let content = if number == 1 { content.strip_prefix(b"\xef\xbb\xbf").unwrap_or(content) } else { content };
            if content.len() as u64 > MAX_ACCOUNT_LINE_BYTES {
                if line.last() != Some(&b'\n') {
                    text.skip_until(b'\n')?;
                }
                found.refuse(number, LineError::TooLong);
                continue;
            }
            found.take(number, content);
        }
        Ok(found.finish())
    }
}

/// What was found so far.
struct Found {
    bounds: Bounds,
    /// Account, line, cents. Sixteen bytes each: no file whose accounts differ has a line that 32 bits cannot count, unless most of it is comments.
    pairs: Vec<(u32, u32, i64)>,
    bad: Vec<BadLine>,
    count: u64,
}

impl Found {
    fn refuse(&mut self, line: u64, why: LineError) {
        self.count += 1;
        if self.bad.len() < MAX_BAD_LINES {
            self.bad.push(BadLine { line, why });
        }
    }

    fn take(&mut self, number: u64, content: &[u8]) {
        match pair(content, self.bounds) {
            Ok(None) => {}
            Ok(Some((account, balance))) => {
                self.pairs.push((account.0, u32::try_from(number).unwrap_or(u32::MAX), balance.0));
            }
            Err(why) => self.refuse(number, why),
        }
    }

    fn finish(mut self) -> Result<OpeningBalances, (Vec<BadLine>, u64)> {
        let mut pairs = std::mem::take(&mut self.pairs);
        // By account, and of one account by line.
        pairs.sort_unstable();
        let mut balances = OpeningBalances::with_capacity(pairs.len());
        let mut first = 0;
        for (account, line, cents) in pairs {
            if balances.push(AccountId(account), Cents(cents)) {
                first = line;
            } else {
                self.count += 1;
                let why = LineError::Repeated { account: AccountId(account), first: first.into() };
                self.bad.push(BadLine { line: line.into(), why });
                // The first by line are kept; now and then is enough.
                if self.bad.len() >= 2 * MAX_BAD_LINES {
                    self.keep_first();
                }
            }
        }
        self.keep_first();
        if self.count == 0 { Ok(balances) } else { Err((self.bad, self.count)) }
    }

    fn keep_first(&mut self) {
        self.bad.sort_by_key(|bad| bad.line);
        self.bad.truncate(MAX_BAD_LINES);
    }
}

/// What a line says, if anything.
fn pair(line: &[u8], bounds: Bounds) -> Result<Option<(AccountId, Cents)>, LineError> {
    let content = without_comment(line).trim_ascii();
    if content.is_empty() {
        return Ok(None);
    }
    let comma =
        content.iter().position(|byte| *byte == b',').ok_or_else(|| LineError::NoPair(shown(content).into()))?;
    let [account, balance] = [&content[..comma], &content[comma + 1..]].map(|word| shown(word.trim_ascii()));
    let Bounds { accounts, most } = bounds;
    if account.is_empty() || !account.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(LineError::NoAccount(account.into()));
    }
    let account = account
        .parse()
        .ok()
        .filter(|&number: &u32| number < accounts)
        .ok_or_else(|| LineError::Beyond { number: account.into(), accounts })?;
    let balance: Cents = balance.parse()?;
    if balance < Cents::ZERO {
        return Err(LineError::BelowZero(balance));
    }
    if balance > most {
        return Err(LineError::TooMuch { balance, accounts, most });
    }
    Ok(Some((AccountId(account), balance)))
}

/// A line up to its comment.
fn without_comment(line: &[u8]) -> &[u8] {
    let begins = |at: usize| line[at] == b'#' && (at == 0 || line[at - 1].is_ascii_whitespace());
    let end = (0..line.len()).find(|&at| begins(at)).unwrap_or(line.len());
    &line[..end]
}

/// A word of the file as a message shows it: what is no character, or none that can be seen, is escaped. A good word stays as it is.
fn shown(word: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(word) {
        Ok(text) if !text.chars().any(char::is_control) => text.into(),
        _ => word.escape_ascii().to_string().into(),
    }
}

/// Writes the line of an account.
///
/// # Errors
/// What the writer says.
pub fn write_line(out: &mut (impl Write + ?Sized), account: AccountId, balance: Cents) -> io::Result<()> {
    writeln!(out, "{account}, {balance}")
}

#[cfg(test)]
#[path = "account_file_tests.rs"]
mod tests;
