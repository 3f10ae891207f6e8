//! `vaultctl export`: the balances of all accounts as an account file, such as `master --opening-balances` reads.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::failure::Failure;
use super::source::{ATTEMPTS, JournalArgs, JournalSource};
use crate::base::vocab::{AccountId, Cents, Lsn};
use crate::store::journal::{Record, RecoveryError, Replay, read_balances, write_line};
use crate::tool::output::{self, OutputFile};

#[derive(Debug, clap::Args)]
#[command(
    after_help = "The balances are those after one operation, which the first line names: beside a running server the last that \
                        is committed when the export begins. All accounts are written, those without money too. It reads a snapshot \
                        and the journal behind it, changes nothing and takes no lock. FILE is replaced as a whole, when all is \
                        written. Exit codes: 0 written; 1 the journal is damaged; 2 it cannot be read, or FILE not be written."
)]
pub(super) struct Export {
    #[command(flatten)]
    which: JournalArgs,
    /// File to write [default: the standard output]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Writes the balances, once all are known and their sum is what it must be.
pub(super) fn run(export: &Export) -> Result<(), Failure> {
    let source = JournalSource::open(&export.which)?;
    let unwritable = |path: &Path, why: io::Error| {
        Failure::unavailable(format!("cannot write {}: {why}; what it held before is still there", path.display()))
    };
    let prepare = |path: &PathBuf| OutputFile::prepare(path).map_err(|why| unwritable(path, why));
    let file = export.output.as_ref().map(prepare).transpose()?;
    let balances = read(&source)?;
    match (file, &export.output) {
        (Some(file), Some(path)) => file.write(|out| balances.write(out)).map_err(|why| unwritable(path, why)),
        _ => {
            let mut out = BufWriter::new(io::stdout().lock());
            let written = balances.write(&mut out).and_then(|()| out.flush());
            output::check_write(written)?;
            Ok(())
        }
    }
}

/// The balances of all accounts.
#[derive(Default)]
struct Balances {
    /// Of each account, with the record that changed it last.
    accounts: Vec<(Cents, Lsn)>,
    /// The operation that they are after.
    lsn: Lsn,
    total: Cents,
}

impl Replay for Balances {
    fn snapshot_account(&mut self, _: AccountId, balance: Cents, lsn: Lsn) {
        self.accounts.push((balance, lsn));
    }

    fn snapshot_pair(&mut self, _: &[u8], _: Lsn, _: &[u8]) {}

    fn record(&mut self, record: &Record) {
        let Some(done) = record.operation().filter(|operation| operation.is_done()) else { return };
        let (first, second) = done.accounts;
        for (account, balance) in [Some(first), second].into_iter().flatten().zip(done.balances) {
            // A snapshot has accounts as later records left them.
            if let Some(place) = self.accounts.get_mut(account.0 as usize).filter(|(_, last)| *last < done.lsn) {
                *place = (balance, done.lsn);
            }
        }
    }
}

impl Balances {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let Balances { accounts, lsn, total } = self;
        writeln!(out, "# bank-vault export, operation {lsn}, {} accounts, total {total}", accounts.len())?;
        for (account, &(balance, _)) in (0..).map(AccountId).zip(accounts) {
            write_line(out, account, balance)?;
        }
        Ok(())
    }
}

/// Reads the balances; again, where a running server has removed files meanwhile that it does not need any more.
fn read(source: &JournalSource) -> Result<Balances, Failure> {
    let mut attempt = 1;
    loop {
        let before = source.oldest_files()?;
        match read_once(source) {
            Err(_) if source.running.is_some() && attempt < ATTEMPTS && source.oldest_files()? != before => {
                attempt += 1;
            }
            ended => return ended,
        }
    }
}

fn read_once(source: &JournalSource) -> Result<Balances, Failure> {
    let mut balances = Balances::default();
    let recovered = read_balances(&source.directory, || source.committed(), &mut balances);
    let recovered = recovered.map_err(|error| match error {
        RecoveryError::Disk(error) => error.into(),
        damaged => Failure::refused(damaged),
    })?;
    let warn = |what: &dyn std::fmt::Display| output::print_error("vaultctl", &format!("warning: {what}"));
    recovered.damaged_snapshots.iter().for_each(|damaged| warn(damaged));
    recovered.damaged_mark.iter().for_each(|damaged| warn(damaged));
    if let Some(torn) = &recovered.torn {
        warn(&format_args!("{torn}; it is not exported"));
    }
    (balances.lsn, balances.total) = (recovered.end, recovered.totals.sum());
    let held = balances.accounts.iter().try_fold(Cents::ZERO, |sum, &(balance, _)| sum.checked_add(balance));
    if held == Some(balances.total) {
        return Ok(balances);
    }
    let held = held.map_or_else(|| "more than can be counted".to_owned(), |held| held.to_string());
    let should = format!("opened, deposited and not withdrawn were {}", balances.total);
    Err(Failure::refused(format!("after operation {} all accounts hold {held}; {should}", balances.lsn)))
}
