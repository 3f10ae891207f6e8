//! The log, and the few lines on the standard output: whole lines, written without waiting for a reader.
//!
//! A pipe that nobody reads any more must not stop a process that has something to say. What cannot be written at once is
//! dropped and counted, in memory that all processes of an instance share ([`LogLosses`]); the next line that can be written is
//! preceded by one that tells how many are missing.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{self, Write};
use std::panic::PanicHookInfo;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use env_logger::Target;
use nix::errno::Errno;

use crate::base::limits::MAX_LOG_LINE_BYTES;
use crate::ipc::output::{Output, Standard};
use crate::ipc::process;
use crate::shared_struct;

shared_struct! {
    /// Lines that could not be written. Writers: all processes of the instance.
    pub struct LogLosses, align 64, size 64; {
        /// Since the instance began.
        dropped: AtomicU64,
        /// Of these, the ones that no line of the log has told of.
        untold: AtomicU64,
        /// 1 while the standard error ends in the middle of a line.
        torn: AtomicU32,
        /// Why the last of them was dropped, an error number.
        errno: AtomicU32,
        spare: [AtomicU64; 5],
    }
}

impl LogLosses {
    const fn new() -> LogLosses {
        LogLosses {
            dropped: AtomicU64::new(0),
            untold: AtomicU64::new(0),
            torn: AtomicU32::new(0),
            errno: AtomicU32::new(0),
            spare: [const { AtomicU64::new(0) }; 5],
        }
    }

    /// Lines that were dropped since the instance began.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Counts a line; without a new reason it is that of the one before.
    fn count(&self, why: Option<Errno>) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
        self.untold.fetch_add(1, Ordering::Relaxed);
        if let Some(errno) = why {
            self.errno.store(u32::try_from(errno as i32).unwrap_or(0), Ordering::Relaxed);
        }
    }

    fn reason(&self) -> &'static str {
        let errno = i32::try_from(self.errno.load(Ordering::Relaxed)).unwrap_or(0);
        match Errno::from_raw(errno) {
            Errno::EAGAIN => "nobody read the standard error",
            errno => errno.desc(),
        }
    }
}

/// Where losses are counted before there is an instance.
static EARLY: LogLosses = LogLosses::new();
static SHARED: OnceLock<&'static LogLosses> = OnceLock::new();
static STANDARD_ERROR: OnceLock<Output> = OnceLock::new();

fn losses() -> &'static LogLosses {
    SHARED.get().copied().unwrap_or(&EARLY)
}

/// Begins logging to the standard error, as RUST_LOG says, by default from `info` on. Once in a program, before it has threads.
///
/// A panic is logged, too, and ends the process.
pub fn begin() {
    STANDARD_ERROR.get_or_init(|| Output::prepare(Standard::Error));
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info"))
        .format(|out, record| writeln!(out, "{}{}: {}", prefix(), record.level(), record.args()))
        .target(Target::Pipe(Box::new(Lines)))
        .init();
    std::panic::set_hook(Box::new(log_panic));
    end_on_panic();
}

/// Has a panic in any thread end the process once it is told, also in a debug build, which unwinds: half a program is none.
pub fn end_on_panic() {
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        tell(panic);
        std::process::abort();
    }));
}

/// Counts the losses of this process and of its children to come in an instance's memory from here on.
pub fn share(shared: &'static LogLosses) {
    if SHARED.set(shared).is_ok() {
        for (early, shared) in [(&EARLY.dropped, &shared.dropped), (&EARLY.untold, &shared.untold)] {
            shared.fetch_add(early.swap(0, Ordering::Relaxed), Ordering::Relaxed);
        }
        shared.errno.fetch_max(EARLY.errno.load(Ordering::Relaxed), Ordering::Relaxed);
        shared.torn.fetch_max(EARLY.torn.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}

/// Writes a line as it is to the standard error.
pub fn complain(line: &str) {
    write_line(line.as_bytes());
}

/// Writes a line to the standard output, or logs that it could not be.
pub fn announce(line: &str) {
    let bytes = one_line(line.as_bytes());
    let why = match Output::prepare(Standard::Output).write(&bytes) {
        Ok(count) if count == bytes.len() => return,
        Ok(_) | Err(Errno::EAGAIN) => "nobody reads it",
        Err(errno) => errno.desc(),
    };
    log::warn!("the standard output did not take this line, {why}: {line}");
}

/// Says how many lines were dropped, if that was not said yet and can be now; false if it cannot be said now. Every line that is
/// logged does so by itself; a process that logs seldom may call it from time to time.
pub fn tell_losses() -> bool {
    let losses = losses();
    let untold = losses.untold.swap(0, Ordering::Relaxed);
    if untold == 0 {
        return true;
    }
    let line_end = if losses.torn.load(Ordering::Relaxed) == 0 { "" } else { "\n" };
    let (lines, reason) = (if untold == 1 { "line was" } else { "lines were" }, losses.reason());
    let notice = format!("{line_end}{}WARN: {untold} log {lines} dropped: {reason}\n", prefix());
    let told = write_whole(notice.as_bytes()).is_ok();
    if told {
        losses.torn.store(0, Ordering::Relaxed);
    } else {
        losses.untold.fetch_add(untold, Ordering::Relaxed);
    }
    told
}

fn standard_error() -> &'static Output {
    STANDARD_ERROR.get_or_init(|| Output::prepare(Standard::Error))
}

/// What every line of the log begins with.
fn prefix() -> String {
    format!("{} [{}] ", process::name(), std::process::id())
}

/// Takes whole lines from the logger, each by one write.
struct Lines;

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        write_line(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write_line(text: &[u8]) {
    // Lines keep their order: none gets past those that could not be told of.
    if !tell_losses() {
        losses().count(None);
    } else if let Err(errno) = write_whole(&one_line(text)) {
        losses().count(Some(errno));
    }
}

fn write_whole(line: &[u8]) -> Result<(), Errno> {
    match standard_error().write(line) {
        Ok(count) if count == line.len() => Ok(()),
        // A disk that is nearly full, or a terminal, takes a part. The rest would come behind other lines.
        Ok(count) => {
            losses().torn.fetch_max(u32::from(count > 0), Ordering::Relaxed);
            Err(Errno::EAGAIN)
        }
        Err(errno) => Err(errno),
    }
}

/// The text as one line of bounded length: control characters are escaped, so that nobody's file name makes a line of its own.
fn one_line(text: &[u8]) -> Vec<u8> {
    const CUT: &[u8] = b" (cut)";
    const ROOM: usize = MAX_LOG_LINE_BYTES - 1;
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    let mut line = Vec::with_capacity(text.len() + 1);
    for &byte in text {
        if byte < b' ' && byte != b'\t' || byte == 0x7f {
            line.extend(byte.escape_ascii());
        } else {
            line.push(byte);
        }
        if line.len() > ROOM {
            let mut end = ROOM - CUT.len();
            while end > 0 && line[end] & 0xc0 == 0x80 {
                end -= 1;
            }
            line.truncate(end);
            line.extend(CUT);
            break;
        }
    }
    line.push(b'\n');
    line
}

/// Logs a panic, and where it came from if RUST_BACKTRACE asks for that, instead of printing it, which could wait.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let place = panic.location().map(|place| format!(" at {place}")).unwrap_or_default();
    log::error!("panicked{place}: {}", panic.payload_as_str().unwrap_or("no message"));
    let trace = Backtrace::capture();
    if trace.status() == BacktraceStatus::Captured {
        trace.to_string().lines().for_each(|line| log::error!("{line}"));
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::Command;

    use super::*;

    /// In a process of its own: this test, executed again and told to panic.
    #[test]
    fn a_panic_in_any_thread_ends_the_process() {
        const TOLD: &str = "VAULT_TEST_PANICS";
        if std::env::var_os(TOLD).is_some() {
            end_on_panic();
            let ended = std::thread::spawn(|| panic!("as told")).join();
            panic!("the thread alone ended: {ended:?}");
        }
        let mut again = Command::new(std::env::current_exe().unwrap());
        again.args(["base::logging::tests::a_panic_in_any_thread_ends_the_process", "--exact", "--nocapture"]);
        let output = again.env(TOLD, "1").output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.signal(), Some(nix::libc::SIGABRT), "{said}");
        assert!(said.contains("as told") && !said.contains("alone"), "{said}");
    }

    #[test]
    fn a_record_is_one_line() {
        assert_eq!(one_line(b"a b\tc\n"), b"a b\tc\n");
        assert_eq!(one_line("zwölf".as_bytes()), "zwölf\n".as_bytes());
        assert_eq!(one_line(b"a\nmaster [1] ERROR: forged\x1b[2J\r\n"), b"a\\nmaster [1] ERROR: forged\\x1b[2J\\r\n");
    }

    #[test]
    fn a_line_fits_what_a_pipe_takes_whole() {
        for (length, whole) in [(MAX_LOG_LINE_BYTES - 1, true), (MAX_LOG_LINE_BYTES, false), (1 << 20, false)] {
            let line = one_line(&vec![b'x'; length]);
            assert!(line.len() <= MAX_LOG_LINE_BYTES && line.ends_with(b"\n"), "{length}: {}", line.len());
            assert_eq!(!line.ends_with(b" (cut)\n"), whole, "{length}");
        }
        let umlauts = "ü".repeat(MAX_LOG_LINE_BYTES);
        assert!(std::str::from_utf8(&one_line(umlauts.as_bytes())).is_ok(), "no character is cut");
        assert!(one_line(&[7; 5000]).len() <= MAX_LOG_LINE_BYTES);
    }
}
