//! The acknowledgement log: the server's reply to each money operation, written outside the server, so that its state after
//! a crash can be compared with what it acknowledged.
//!
//! A load thread only formats its line into its own buffer; a writer thread moves the buffers to the file ten times a second,
//! also while the load threads wait for a server that does not answer.

use std::fs::File;
use std::io::{self, Write};
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};

use crate::service::bank::wire::{Request, Response};
use crate::tool::client::error::CommandError;
use crate::tool::client::keys::Key;
use crate::tool::client::load::counters::Operation;

/// How often the buffers are written to the file.
const WRITE_INTERVAL: Duration = Duration::from_millis(100);

/// The first line: the names of the fields.
const HEADING: &str = "# connection key begin_ns end_ns op account to amount status balance to_balance\n";

/// The lines of one thread that are not yet in the file. On its own cache lines, since its thread writes it all the time.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct AckBuffer(Mutex<Vec<u8>>);

impl AckBuffer {
    fn lines(&self) -> MutexGuard<'_, Vec<u8>> {
        // A panic ends the process; there is no half-written line.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds the line of the reply to a money operation of this connection. `times`: before it was first sent, and after the reply had
    /// come, nanoseconds of `CLOCK_MONOTONIC`. With `itoa`: `write!` would be the costliest part of an operation.
    pub fn append(&self, connection: u32, operation: &Operation, response: &Response, times: [u64; 2]) {
        let (name, account, to, amount): (&[u8], _, _, _) = match operation.request {
            Request::Deposit { account, amount } => (b"deposit ", account, None, amount),
            Request::Withdraw { account, amount } => (b"withdraw ", account, None, amount),
            Request::Transfer { from, to, amount } => (b"transfer ", from, Some(to.0), amount),
            _ => return,
        };
        let balances = match *response {
            Response::Deposit { balance } | Response::Withdraw { balance } => [Some(balance.0), None],
            Response::Transfer { from_balance, to_balance } => [Some(from_balance.0), Some(to_balance.0)],
            _ => [None, None],
        };
        let mut lines = self.lines();
        put(&mut lines, Some(connection));
        put_key(&mut lines, operation.key);
        times.into_iter().for_each(|time| put(&mut lines, Some(time)));
        lines.extend_from_slice(name);
        put(&mut lines, Some(account.0));
        put(&mut lines, to);
        put(&mut lines, Some(amount.0));
        put(&mut lines, Some(response.status().code()));
        balances.into_iter().for_each(|balance| put(&mut lines, balance));
        // In place of the last blank.
        lines.pop();
        lines.push(b'\n');
    }
}

/// The log of a run. Unlike a report its file has its name from the beginning: it is what is left when the client is killed.
#[derive(Debug)]
pub struct AckLog {
    path: PathBuf,
    file: File,
    buffers: Box<[AckBuffer]>,
    /// The first error of the file; nothing is written after it.
    failure: Mutex<Option<io::Error>>,
}

impl AckLog {
    /// Opens or creates the file; its old contents stay until the run begins.
    pub fn open(path: &Path) -> Result<AckLog, CommandError> {
        let opened = File::options().write(true).create(true).truncate(false).open(path);
        let file = opened.map_err(CommandError::system(format!("open {}", path.display())))?;
        Ok(AckLog { path: path.to_owned(), file, buffers: Box::default(), failure: Mutex::default() })
    }

    /// Begins the log of this many threads; the old contents of the file are removed.
    pub fn begin(self, threads: u32) -> AckLog {
        let failure = if self.is_regular() { self.file.set_len(0).err() } else { None };
        let buffers = (0..threads).map(|_| AckBuffer::default()).collect();
        let log = AckLog { buffers, failure: Mutex::new(failure), ..self };
        log.write(HEADING.as_bytes());
        log
    }

    pub fn buffer(&self, number: u32) -> &AckBuffer {
        &self.buffers[number as usize]
    }

    /// Writes the buffers to the file until every load thread has ended (`all_ended` has no sender left).
    pub fn write_until(&self, all_ended: &Receiver<()>) {
        let mut lines = Vec::new();
        loop {
            let is_last = all_ended.recv_timeout(WRITE_INTERVAL) != Err(RecvTimeoutError::Timeout);
            for buffer in &self.buffers {
                // Swapped, so that a load thread never waits for the file, and memory is reused.
                mem::swap(&mut lines, &mut *buffer.lines());
                self.write(&lines);
                lines.clear();
            }
            if is_last {
                return;
            }
        }
    }

    /// Ends the log; it is on disk when this returns. After an error the log is incomplete.
    pub fn finish(self) -> Result<(), CommandError> {
        let sync = || if self.is_regular() { self.file.sync_all() } else { Ok(()) };
        let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner).take();
        failure.map_or_else(sync, Err).map_err(CommandError::system(format!("write {}", self.path.display())))
    }

    /// Whether it is a file on a disk, and not a pipe.
    fn is_regular(&self) -> bool {
        self.file.metadata().is_ok_and(|file| file.is_file())
    }

    fn write(&self, lines: &[u8]) {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        if failure.is_none() {
            *failure = self.add(lines).err();
        }
    }

    /// Appends whole lines. Where the disk takes only a part of them, a partial line is removed.
    fn add(&self, lines: &[u8]) -> io::Result<()> {
        let mut written = 0;
        while written < lines.len() {
            match (&self.file).write(&lines[written..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let partial_line = lines[..written].iter().rev().take_while(|&&byte| byte != b'\n').count();
                    if partial_line > 0 && self.is_regular() {
                        let end = self.file.metadata()?.len();
                        self.file.set_len(end.saturating_sub(partial_line as u64))?;
                    }
                    return Err(error);
                }
            }
        }
        Ok(())
    }
}

/// Adds a number, or a dash where there is none, and a blank.
#[inline]
fn put(lines: &mut Vec<u8>, number: Option<impl itoa::Integer>) {
    match number {
        Some(number) => lines.extend_from_slice(itoa::Buffer::new().format(number).as_bytes()),
        None => lines.push(b'-'),
    }
    lines.push(b' ');
}

fn put_key(lines: &mut Vec<u8>, key: Option<Key>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let Some(key) = key else { return lines.extend_from_slice(b"- ") };
    let mut text = [b' '; 33];
    for (pair, byte) in text.chunks_exact_mut(2).zip(key.0) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
    lines.extend_from_slice(&text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::vocab::{AccountId, Cents};
    use crate::service::bank::wire::Status;

    #[test]
    fn lines_have_the_documented_form() {
        let buffer = AckBuffer::default();
        let key = Some(Key(std::array::from_fn(|at| u8::try_from(at * 17).unwrap())));
        let request = Request::Transfer { from: AccountId(12), to: AccountId(0), amount: Cents(2500) };
        let mut operation = Operation { request, since: 0, key, maybe_done: false };
        let moved = Response::Transfer { from_balance: Cents(i64::MIN), to_balance: Cents(i64::MAX) };
        buffer.append(3, &operation, &moved, [10, u64::MAX]);
        operation.request = Request::Withdraw { account: AccountId(12), amount: Cents(2500) };
        operation.key = None;
        let refused = Response::Error { opcode: 3, status: Status::Insufficient };
        buffer.append(0, &operation, &refused, [1, 2]);
        let text = String::from_utf8(buffer.lines().clone()).unwrap();
        assert_eq!(
            text,
            "3 00112233445566778899aabbccddeeff 10 18446744073709551615 transfer 12 0 2500 0 -9223372036854775808 9223372036854775807\n\
             0 - 1 2 withdraw 12 - 2500 5 - -\n"
        );
        let fields = HEADING.split_whitespace().count() - 1;
        assert!(text.lines().all(|line| line.split(' ').count() == fields));
    }

    #[test]
    fn a_full_disk_is_reported_and_what_stands_in_a_file_goes_when_the_run_begins() {
        let full = AckLog::open(Path::new("/dev/full")).unwrap().begin(1);
        assert!(full.finish().unwrap_err().to_string().starts_with("cannot write /dev/full: "));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("acks");
        std::fs::write(&path, "old").unwrap();
        let file = AckLog::open(&path).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "old");
        file.begin(1).finish().unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), HEADING);
    }
}
