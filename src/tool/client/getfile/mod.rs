//! `client getfile`: one file to the standard output, or the files of a workload by many threads. `docs/GETFILE.md` describes both.

mod counters;
mod destination;
mod download;
mod failure;
pub mod options;
mod report;
mod threads;
mod workload;

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::service::getfile::wire::request::RequestPath;
use crate::tool::client::connection::Server;
use crate::tool::client::error::{CommandError, Outcome};
use crate::tool::client::interrupt;
use crate::tool::client::load::raise_descriptor_limit;
use crate::tool::client::load::report::{prepare_file, write_file};
use crate::tool::client::options::Target;
use crate::tool::output;
use destination::{Destination, PATH_RULE};
use download::{BUFFER_BYTES, Download};
use failure::Failure;
use options::GetFileOptions;
use threads::Plan;

/// Gets what the options ask for.
pub fn run(options: &GetFileOptions, target: &Target) -> Result<Outcome, CommandError> {
    match (&options.path, &options.workload) {
        (Some(path), _) => print_file(path, target),
        (None, Some(workload)) => run_workload(workload, options, target),
        (None, None) => Err(CommandError::Unusable("a path or a --workload is needed".to_owned())),
    }
}

/// Writes one file to the standard output.
fn print_file(path: &OsStr, target: &Target) -> Result<Outcome, CommandError> {
    let path = RequestPath::new(path.as_bytes()).ok_or_else(|| CommandError::Unusable(PATH_RULE.to_owned()))?;
    let server = Server::resolve_host(target)?;
    // Not by `Stdout`, which looks for line ends.
    let out = io::stdout().as_fd().try_clone_to_owned().map_err(CommandError::system("open the standard output"))?;
    let mut buffer = vec![0; BUFFER_BYTES];
    let copied = Download::start(&server, path, &mut buffer).and_then(|download| copy(download, &mut File::from(out)));
    Ok(copied.map_or_else(|failure| fail(&failure), |()| Outcome::Success))
}

/// Writes the content while it comes.
fn copy(mut download: Download<'_>, out: &mut File) -> Result<(), Failure> {
    while let Some(part) = download.next_part()? {
        match out.write_all(part) {
            // Whoever read it has closed the pipe, and has what it wanted.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            written => written.map_err(Failure::local(|| "write to the standard output".to_owned()))?,
        }
    }
    Ok(())
}

/// Gets the files of a workload, and reports what became of them.
fn run_workload(workload: &Path, options: &GetFileOptions, target: &Target) -> Result<Outcome, CommandError> {
    interrupt::watch().map_err(CommandError::system("read signals"))?;
    let contents = fs::read(workload).map_err(CommandError::system(format!("read {}", workload.display())))?;
    let destination = Destination::new(options)?;
    let wanted = workload::parse(&contents, &destination)
        .map_err(|why| CommandError::Unusable(format!("{}: {why}", workload.display())))?;
    let json = options.json.as_deref().map(prepare_file).transpose()?;
    let requests = options.requests.unwrap_or(wanted.len() as u64);
    let threads = options.threads.min(u32::try_from(requests).unwrap_or(u32::MAX));
    let server = Server::resolve_host(target)?;
    raise_descriptor_limit();
    let plan = Plan { server, workload: &wanted, requests, threads, destination: &destination };
    let result = threads::run(&plan)?;
    if let Some(unreachable @ Failure::NoConnection(_)) = &result.fatal {
        return Ok(fail(unreachable));
    }
    // Each of the two is written also where the other one cannot be.
    let printed = output::print(&result.text(&plan));
    if let Some(file) = json {
        write_file(file, |file| writeln!(file, "{:#}", result.json(&plan)))?;
    }
    printed?;
    Ok(match (&result.fatal, interrupt::signal()) {
        (Some(failure), _) => fail(failure),
        _ if result.counters.failed > 0 => Outcome::Failed,
        (None, Some(signal)) => Outcome::Interrupted(signal),
        (None, None) => Outcome::Success,
    })
}

/// Prints why nothing came of it; what that means for the exit code.
fn fail(failure: &Failure) -> Outcome {
    output::print_error("client", &failure.to_string());
    failure.outcome()
}
