//! The options of `client kv-load`.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;

use crate::base::limits::{MAX_KV_KEY_BYTES, MAX_KV_VALUE_BYTES};
use crate::tool::client::quantities::{duration, rate};

/// The load of the key-value store.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Load")]
pub struct KvLoadOptions {
    /// The port of the server's key-value service.
    // The client's own --port: the same identifier, so that the value is in `Target`.
    #[arg(long, default_value_t = 9001, help_heading = "Server")]
    pub port: u16,
    /// Threads, each with a connection of its own.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub threads: u32,
    /// This many connections, driven by a few event loops instead of a thread each.
    #[arg(long, conflicts_with = "threads", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub connections: Option<u32>,
    /// Event loops for --connections and --rate [default: number of cores].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub loops: Option<u32>,
    /// Operations per connection [default: 2000, or without end when --duration is given].
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub ops: Option<u64>,
    /// Send for this long: 500ms, 10s, 2m.
    #[arg(long, value_parser = duration)]
    pub duration: Option<Duration>,
    /// Leave what happens in the first stretch of this length out of the result; --ops and --duration count from there.
    #[arg(long, default_value = "0s", value_parser = duration)]
    pub warmup: Duration,
    /// Requests in flight on each connection.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub pipeline: u32,
    /// Send on a fixed schedule, this many operations per second in all, and take latencies from the scheduled time.
    #[arg(long, value_parser = rate)]
    pub rate: Option<f64>,
    /// How many keys there are.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=(1 << 26)))]
    pub keys: u32,
    /// The bytes of each key.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=MAX_KV_KEY_BYTES as i64))]
    pub key_bytes: u16,
    /// The bytes of each value, N, or evenly from N to M.
    #[arg(long, value_name = "N[..M]", default_value = "100")]
    pub value_bytes: ValueBytes,
    /// Choose the key of rank r in proportion to 1 / r to the power of S; 0: all keys alike.
    #[arg(long, value_name = "S", default_value_t = 0.0, value_parser = exponent)]
    pub zipf: f64,
    /// The share of GETs, from 0 to 1; the others are PUTs.
    #[arg(long, value_name = "P", default_value_t = 0.5, value_parser = share)]
    pub read_share: f64,
    /// Give every key a value before the load begins.
    #[arg(long)]
    pub prefill: bool,
    /// Call as this user, by AUTH_SYS [default: AUTH_NONE].
    #[arg(long)]
    pub uid: Option<u32>,
    /// Seed of the random choices; the same seed sends the same operations [default: a random one].
    #[arg(long)]
    pub seed: Option<u64>,
    /// Check every answer against all that was sent and answered before; prefills, and needs the keys to itself.
    #[arg(long)]
    pub verify: bool,
    /// Write the result as JSON to this file (docs/CLIENT.md describes it).
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write the latencies as a HdrHistogram percentile log to this file.
    #[arg(long, value_name = "FILE")]
    pub hdr: Option<PathBuf>,
}

/// Lengths of values, bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ValueBytes {
    /// The shortest one.
    pub least: u32,
    /// The longest one.
    pub most: u32,
}

impl ValueBytes {
    /// All of them.
    pub fn range(self) -> RangeInclusive<u32> {
        self.least..=self.most
    }
}

impl FromStr for ValueBytes {
    type Err = String;

    fn from_str(text: &str) -> Result<ValueBytes, String> {
        let (least, most) = text.split_once("..").unwrap_or((text, text));
        let both = least.parse().ok().zip(most.parse().ok());
        let (least, most) = both.ok_or("write it like 100 or 100..4096")?;
        if least > most || most as usize > MAX_KV_VALUE_BYTES {
            return Err(format!("the lower number first, and at most {MAX_KV_VALUE_BYTES} bytes"));
        }
        Ok(ValueBytes { least, most })
    }
}

fn exponent(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(exponent) if (0.0..=10.0).contains(&exponent) => Ok(exponent),
        _ => Err("a number from 0 to 10, such as 0.99".to_owned()),
    }
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("a number from 0 to 1, such as 0.95".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_and_shares_are_read_or_refused() {
        assert_eq!("100".parse(), Ok(ValueBytes { least: 100, most: 100 }));
        assert_eq!("0..65536".parse(), Ok(ValueBytes { least: 0, most: 65_536 }));
        assert!(["", "..", "9..3", "65537", "1..", "-1", "a"].iter().all(|text| text.parse::<ValueBytes>().is_err()));
        assert_eq!((share("0.95"), exponent("0")), (Ok(0.95), Ok(0.0)));
        assert!(["1.1", "-1", "nan", ""].iter().all(|text| share(text).is_err()));
        assert!(["11", "-1", "inf", ""].iter().all(|text| exponent(text).is_err()));
    }
}
