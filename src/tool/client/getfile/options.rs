//! The options of `client getfile`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

/// Which files to get, and what becomes of them.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "GetFile")]
pub struct GetFileOptions {
    /// The server's host name or address [default: 127.0.0.1].
    // The client's own --server and --port: the same identifiers, so that the values are in `Target`.
    #[arg(id = "servers", short = 's', long = "server", value_name = "HOST", conflicts_with = "host")]
    pub server: Option<String>,
    /// The server's port for GetFile.
    #[arg(short, long)]
    pub port: u16,
    /// Write this file to the standard output.
    #[arg(help_heading = None, required_unless_present = "workload", conflicts_with_all = ["workload", "threads", "requests", "output", "check", "discard", "json"])]
    pub path: Option<OsString>,
    /// Get the files that are listed here, a path on each line, one after the other and from the beginning again.
    #[arg(short, long, value_name = "FILE")]
    pub workload: Option<PathBuf>,
    /// Threads, each of which gets one file at a time.
    #[arg(short, long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub threads: u32,
    /// Files to get, by all threads together [default: one for each line of the workload].
    #[arg(short = 'n', long, value_parser = clap::value_parser!(u64).range(1..))]
    pub requests: Option<u64>,
    /// Write the files below this folder [default: the working directory].
    #[arg(short, long, value_name = "DIR", conflicts_with_all = ["check", "discard"])]
    pub output: Option<PathBuf>,
    /// Write nothing, but compare with the files below this folder; what is not there must be FILE_NOT_FOUND.
    #[arg(long, value_name = "DIR", conflicts_with = "discard")]
    pub check: Option<PathBuf>,
    /// Write nothing, and throw away what comes.
    #[arg(long)]
    pub discard: bool,
    /// Write the result as JSON to this file (docs/GETFILE.md describes it).
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}
