//! The acknowledgement log: what the server said to each money operation, written down outside the server, so that what it
//! recovers after a crash can be held against what it had promised.
//!
//! A thread of the load only formats its line into a page of its own; a scribe takes the pages to the file ten times a
//! second, also while those threads wait for a server that does not answer.

use std::fs::File;
use std::io::{self, Write};
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};

use crate::service::bank::wire::{Opcode, Response, Status};
use crate::tool::client::load::Trouble;
use crate::tool::client::load::desk::Flight;

/// How often the pages are taken to the file.
const EVERY: Duration = Duration::from_millis(100);

const HEADING: &str = "# connection key begin_ns end_ns op account to amount status balance to_balance\n";

/// The lines of one thread that the scribe has not yet taken. On cache lines of its own, as its thread writes it all the time.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Page(Mutex<Vec<u8>>);

impl Page {
    fn lines(&self) -> MutexGuard<'_, Vec<u8>> {
        // A thread that panicked ends the process; there is no half-written line to be afraid of.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The file of a log. Unlike a report it stands under its own name while the run lasts: it is what is left when that is killed.
#[derive(Debug)]
pub struct AckFile {
    path: PathBuf,
    file: File,
}

impl AckFile {
    /// Opens the file, or makes it; what stands in it stays until the run begins.
    ///
    /// # Errors
    /// [`Trouble::System`] naming the file.
    pub fn open(path: &Path) -> Result<AckFile, Trouble> {
        let opened = File::options().write(true).create(true).truncate(false).open(path);
        let what = || format!("open {}", path.display());
        opened
            .map(|file| AckFile { path: path.to_owned(), file })
            .map_err(|source| Trouble::System { what: what(), source })
    }

    fn trouble(&self, source: io::Error) -> Trouble {
        Trouble::System { what: format!("write {}", self.path.display()), source }
    }

    /// Whether it is a file on a disk, and no pipe.
    fn is_regular(&self) -> bool {
        self.file.metadata().is_ok_and(|file| file.is_file())
    }

    /// Adds whole lines. A disk that takes only a part of them is left with whole ones.
    fn add(&self, lines: &[u8]) -> io::Result<()> {
        let mut written = 0;
        while written < lines.len() {
            match (&self.file).write(&lines[written..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let behind_last_line = lines[..written].iter().rev().take_while(|&&byte| byte != b'\n').count();
                    if behind_last_line > 0 && self.is_regular() {
                        let end = self.file.metadata()?.len();
                        self.file.set_len(end.saturating_sub(behind_last_line as u64))?;
                    }
                    return Err(error);
                }
            }
        }
        Ok(())
    }
}

/// The log of a run.
#[derive(Debug)]
pub struct AckLog {
    file: AckFile,
    pages: Box<[Page]>,
    /// The first error of the file; nothing is written after it.
    failure: Mutex<Option<io::Error>>,
}

impl AckLog {
    /// Begins the log of this many threads; what stood in the file goes.
    #[must_use]
    pub fn begin(file: AckFile, threads: u32) -> AckLog {
        let failure = if file.is_regular() { file.file.set_len(0).err() } else { None };
        let pages = (0..threads).map(|_| Page::default()).collect();
        let log = AckLog { file, pages, failure: Mutex::new(failure) };
        log.write(HEADING.as_bytes());
        log
    }

    /// The page of the thread with this number, which is below the number of threads.
    #[must_use]
    pub fn page(&self, number: u32) -> &Page {
        &self.pages[number as usize]
    }

    /// Takes the pages to the file until every thread is gone (`all_gone` has no sender left).
    pub fn keep(&self, all_gone: &Receiver<()>) {
        let mut lines = Vec::new();
        loop {
            let is_last = all_gone.recv_timeout(EVERY) != Err(RecvTimeoutError::Timeout);
            for page in &self.pages {
                // The threads get the memory of another page back, and never wait for the file.
                mem::swap(&mut lines, &mut *page.lines());
                self.write(&lines);
                lines.clear();
            }
            if is_last {
                return;
            }
        }
    }

    /// Ends the log; it is on disk when this returns.
    ///
    /// # Errors
    /// [`Trouble::System`] when something could not be written: the log has a hole then.
    pub fn finish(self) -> Result<(), Trouble> {
        let failure = self.failure.into_inner().unwrap_or_else(PoisonError::into_inner);
        let sync = || if self.file.is_regular() { self.file.file.sync_all() } else { Ok(()) };
        failure.map_or_else(sync, Err).map_err(|source| self.file.trouble(source))
    }

    fn write(&self, lines: &[u8]) {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        if failure.is_none() {
            *failure = self.file.add(lines).err();
        }
    }
}

/// An answer to a money operation.
#[derive(Clone, Copy)]
pub struct Ack<'a> {
    /// The connection's number in the run.
    pub connection: u32,
    /// What was asked for.
    pub flight: &'a Flight,
    /// What the server said.
    pub response: &'a Response,
    /// Before it was first sent, nanoseconds of `CLOCK_MONOTONIC`.
    pub begin: u64,
    /// After the answer had come, on the same clock.
    pub end: u64,
}

/// Adds a line to a page. By hand: with `write!` this would be the costliest part of an operation.
pub fn enter(page: &Page, ack: &Ack<'_>) {
    let Ack { connection, flight, response, begin, end } = *ack;
    let op = &flight.op;
    let is_transfer = op.opcode == Opcode::Transfer;
    let (status, balances) = match *response {
        Response::Deposit { balance } | Response::Withdraw { balance } => (Status::Ok, [Some(balance.0), None]),
        Response::Transfer { from_balance, to_balance } => (Status::Ok, [Some(from_balance.0), Some(to_balance.0)]),
        Response::Error { status, .. } => (status, [None, None]),
        // No other response answers a money operation.
        _ => return,
    };
    let mut line = Line { text: [b' '; LONGEST_LINE], length: 0 };
    put(&mut line, u64::from(connection));
    put_key(&mut line, flight.key.map(|key| key.0));
    put(&mut line, begin);
    put(&mut line, end);
    line.put(match op.opcode {
        Opcode::Deposit => b"deposit ",
        Opcode::Withdraw => b"withdraw ",
        _ => b"transfer ",
    });
    put(&mut line, u64::from(op.account.0));
    put_if(&mut line, is_transfer.then_some(i64::from(op.to.0)));
    put_if(&mut line, Some(op.amount.0));
    put(&mut line, u64::from(status.code()));
    for balance in balances {
        put_if(&mut line, balance);
    }
    // In place of the last blank.
    line.text[line.length - 1] = b'\n';
    page.lines().extend_from_slice(&line.text[..line.length]);
}

/// Room for a line whose eleven fields are as long as can be.
const LONGEST_LINE: usize = 192;

/// A line being put together; each field brings the blank behind it.
struct Line {
    text: [u8; LONGEST_LINE],
    length: usize,
}

impl Line {
    #[inline]
    fn put(&mut self, field: &[u8]) {
        self.text[self.length..self.length + field.len()].copy_from_slice(field);
        self.length += field.len();
    }
}

fn put_key(line: &mut Line, key: Option<[u8; 16]>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let Some(key) = key else { return line.put(b"- ") };
    let mut text = [b' '; 33];
    for (pair, byte) in text.chunks_exact_mut(2).zip(key) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
    line.put(&text);
}

fn put_if(line: &mut Line, number: Option<i64>) {
    match number {
        None => line.put(b"- "),
        Some(number) => {
            if number < 0 {
                line.put(b"-");
            }
            put(line, number.unsigned_abs());
        }
    }
}

/// A decimal number and a blank.
fn put(line: &mut Line, mut number: u64) {
    // The longest has 20 digits.
    let mut text = [b' '; 21];
    let mut at = text.len() - 1;
    loop {
        at -= 1;
        // Below ten: fits.
        #[allow(clippy::cast_possible_truncation)]
        let digit = (number % 10) as u8;
        text[at] = b'0' + digit;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    line.put(&text[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::vocab::{AccountId, Cents};
    use crate::tool::client::keys::Key;
    use crate::tool::client::load::desk::Op;

    #[test]
    fn lines_have_the_documented_form() {
        let page = Page::default();
        let key = Some(Key(std::array::from_fn(|at| u8::try_from(at * 17).unwrap())));
        let mut flight = Flight {
            op: Op { opcode: Opcode::Transfer, account: AccountId(12), to: AccountId(0), amount: Cents(2500) },
            since: 0,
            key,
            is_unsure: false,
        };
        let moved = Response::Transfer { from_balance: Cents(0), to_balance: Cents(i64::MAX) };
        enter(&page, &Ack { connection: 3, flight: &flight, response: &moved, begin: 10, end: u64::MAX });
        flight.op.opcode = Opcode::Withdraw;
        flight.key = None;
        let refused = Response::Error { opcode: 3, status: Status::Insufficient };
        enter(&page, &Ack { connection: 0, flight: &flight, response: &refused, begin: 1, end: 2 });
        let text = String::from_utf8(page.lines().clone()).unwrap();
        assert_eq!(
            text,
            "3 00112233445566778899aabbccddeeff 10 18446744073709551615 transfer 12 0 2500 0 0 9223372036854775807\n\
             0 - 1 2 withdraw 12 - 2500 5 - -\n"
        );
        // No field can be longer than these.
        flight.key = key;
        flight.op = Op { account: AccountId(u32::MAX), to: AccountId(u32::MAX), amount: Cents(i64::MIN), ..flight.op };
        flight.op.opcode = Opcode::Transfer;
        let moved = Response::Transfer { from_balance: Cents(i64::MIN), to_balance: Cents(i64::MIN) };
        let ack = Ack { connection: u32::MAX, flight: &flight, response: &moved, begin: u64::MAX, end: u64::MAX };
        enter(&page, &ack);
        assert!(page.lines().len() - text.len() <= LONGEST_LINE);
        let fields = HEADING.split_whitespace().count() - 1;
        assert!(text.lines().all(|line| line.split(' ').count() == fields));
    }
}
