//! The command line.

use std::num::NonZeroU64;
use std::str::FromStr;

use clap::{Parser, Subcommand};

use crate::service::kv::wire::RequestId;

/// Talk to the key-value service of Bank Vault.
///
/// Exit code: 0 done, 1 refused or no such key, 2 bad arguments, nobody to talk to, or a result that could not be written.
#[derive(Debug, Parser)]
#[command(name = "kv_client", version)]
pub struct Options {
    /// The servers, of which the primary is found and followed
    #[arg(long, value_name = "HOST:PORT,…", value_delimiter = ',', default_value = "127.0.0.1:9001", global = true)]
    pub server: Vec<String>,
    /// Print results as JSON
    #[arg(long, global = true)]
    pub json: bool,
    /// Print the value alone, without a newline behind it (get)
    #[arg(long, global = true, conflicts_with = "json")]
    pub raw: bool,
    /// Seconds in which each request must be answered, all tries included
    #[arg(long, value_name = "SECONDS", default_value = "10", global = true)]
    pub timeout: NonZeroU64,
    /// Read from whichever server answers, not from the primary: what it has may be older (get, scan)
    #[arg(long, global = true)]
    pub any: bool,
    /// The last version that was seen: what is read is no older (get, scan)
    #[arg(long, value_name = "VERSION", default_value_t = 0, global = true)]
    pub after: u64,
    /// 32 hex digits by which this write is known when it is sent again (put, delete, cas) [default: random ones]
    #[arg(long, value_name = "HEX", global = true)]
    pub request_id: Option<HexId>,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Give a key a value
    Put {
        /// The key
        key: String,
        /// The value; - for what is on the standard input
        value: String,
        /// Only if the key is not there
        #[arg(long)]
        if_absent: bool,
    },
    /// Print the value of a key
    Get {
        /// The key
        key: String,
    },
    /// Delete a key
    Delete {
        /// The key
        key: String,
        /// Only if it has this version
        #[arg(long, value_name = "VERSION")]
        if_version: Option<u64>,
    },
    /// List keys in the order of their bytes, each with its version and the length of its value in bytes
    Scan {
        /// Only keys that begin so
        #[arg(default_value = "", hide_default_value = true)]
        prefix: String,
        /// No keys below this one
        #[arg(long, value_name = "KEY", default_value = "", hide_default_value = true)]
        from: String,
        /// So many keys at most [default: all]
        #[arg(long, value_name = "COUNT")]
        limit: Option<usize>,
    },
    /// Give a key a value if it has this version (compare and set)
    Cas {
        /// The key
        key: String,
        /// The version that it must have
        version: u64,
        /// The value; - for what is on the standard input
        value: String,
    },
    /// Print whether the server is the primary, and how far it has got
    Status,
}

impl Command {
    /// Whether it changes a key.
    pub fn is_write(&self) -> bool {
        matches!(self, Command::Put { .. } | Command::Delete { .. } | Command::Cas { .. })
    }
}

/// A request id in hex digits; not all zero, which stands for none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HexId(pub RequestId);

impl FromStr for HexId {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_hex = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = u128::from_str_radix(text, 16).ok().filter(|number| is_hex && *number != 0);
        number.map(|number| HexId(number.to_be_bytes())).ok_or("it is not 32 hex digits, or they are all zero")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_id_is_32_digits() {
        assert_eq!("000000000000000000000000000000ff".parse::<HexId>().unwrap().0[15], 255);
        for text in ["", "0", "00000000000000000000000000000000", "+00000000000000000000000000000ff", "zz"] {
            assert!(text.parse::<HexId>().is_err(), "{text}");
        }
        use clap::CommandFactory;
        Options::command().debug_assert();
    }
}
