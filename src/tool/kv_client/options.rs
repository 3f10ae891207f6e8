//! The command line.

use std::num::NonZeroU64;
use std::str::FromStr;

use clap::{Parser, Subcommand};

use crate::service::kv::wire::RequestId;

/// Talk to the key-value service of Bank Vault.
///
/// Exit code: 0 done, 1 refused or no such key, 2 bad arguments or nobody to talk to.
#[derive(Debug, Parser)]
#[command(name = "kv_client", version)]
pub struct Options {
    /// The servers, of which the primary is found and followed
    #[arg(long, value_name = "HOST:PORT,…", value_delimiter = ',', default_value = "127.0.0.1:9001", global = true)]
    pub server: Vec<String>,
    /// Write results as JSON
    #[arg(long, global = true)]
    pub json: bool,
    /// Write a value alone, without a newline behind it
    #[arg(long, global = true, conflicts_with = "json")]
    pub raw: bool,
    /// Seconds in which it must be done, all tries included
    #[arg(long, value_name = "SECONDS", default_value = "10", global = true)]
    pub timeout: NonZeroU64,
    /// Read from whichever server answers, not from the primary: what it has may be older
    #[arg(long, global = true)]
    pub any: bool,
    /// The last version that was seen: what is read is no older
    #[arg(long, value_name = "VERSION", default_value_t = 0, global = true)]
    pub after: u64,
    /// 32 hex digits by which this write is known when it is sent again [default: random ones]
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
        /// The value; `-` for standard input
        value: String,
        /// Only if the key is not there
        #[arg(long)]
        if_absent: bool,
    },
    /// Write the value of a key
    Get {
        /// The key
        key: String,
    },
    /// Take a key away
    Delete {
        /// The key
        key: String,
        /// Only if it has this version
        #[arg(long, value_name = "VERSION")]
        if_version: Option<u64>,
    },
    /// List keys in their order, each with its version and the bytes of its value
    Scan {
        /// Only keys that begin so
        #[arg(default_value = "")]
        prefix: String,
        /// No keys below this one
        #[arg(long, value_name = "KEY", default_value = "")]
        from: String,
        /// So many at most
        #[arg(long, value_name = "COUNT")]
        limit: Option<usize>,
    },
    /// Give a key a value if it has this version (compare and set)
    Cas {
        /// The key
        key: String,
        /// The version that it must have
        version: u64,
        /// The value; `-` for standard input
        value: String,
    },
    /// Write what the server is, and how far it has got
    Status,
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
