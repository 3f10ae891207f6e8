//! The client of the key-value service: one request, or the pages of one scan.
//!
//! It knows the server only by `docs/kv.x` and ONC RPC. Of several servers it finds and follows the primary, and what it sends again it
//! sends under the same request id, so that nothing is done twice.

mod connection;
mod error;
pub mod options;
mod servers;
mod show;

use std::io::Read;

use connection::Answer;
use error::Failure;
use options::{Command, Options};
use servers::Servers;

use crate::base::limits::{KEY_BYTES, MAX_KV_KEY_BYTES, MAX_KV_PAGE, MAX_KV_VALUE_BYTES};
use crate::base::vocab::{Condition, Lsn};
use crate::service::kv::wire::{KvRequest, RequestId};
use crate::tool::output;

/// Executes the command line, prints the result, and returns the exit code: 0 it was done, 1 it was refused or there is no such key, 2
/// the arguments are bad or nobody answers.
pub fn run(options: &Options) -> u8 {
    let unwritten = |error: output::StdoutError| {
        let done = if options.command.is_write() { ". The server has answered: the write is done" } else { "" };
        Failure::Unusable(format!("{error}{done}"))
    };
    let done = execute(options).and_then(|shown| {
        output::check_write(std::io::Write::write_all(&mut std::io::stdout().lock(), &shown)).map_err(unwritten)?;
        output::close_stdout().map_err(unwritten)
    });
    match done {
        Ok(()) => 0,
        Err(failure) => {
            output::print_error("kv_client", &failure.to_string());
            failure.exit_code()
        }
    }
}

/// What is to be shown, all of it: where something fails, nothing is.
fn execute(options: &Options) -> Result<Vec<u8>, Failure> {
    let mut servers = Servers::new(options);
    match &options.command {
        Command::Get { key, .. } => {
            let request = KvRequest::Get { key: checked_key(key)?, after: Lsn(options.after) };
            servers.ask(&request).and_then(|answer| show::value(options, key, answer))
        }
        Command::Put { key, value, if_absent } => {
            let condition = if *if_absent { Condition::IfAbsent } else { Condition::Always };
            put(options, &mut servers, key, value, condition)
        }
        Command::Cas { key, version, value } => put(options, &mut servers, key, value, Condition::IfVersion(*version)),
        Command::Delete { key, if_version } => {
            let condition = if_version.map_or(Condition::Always, Condition::IfVersion);
            let request = KvRequest::Delete { request_id: request_id(options)?, key: checked_key(key)?, condition };
            servers.ask(&request).and_then(|answer| show::version(options, answer))
        }
        Command::Scan { prefix, from, limit } => scan(options, &mut servers, prefix, from, *limit),
        Command::Status => servers.ask(&KvRequest::Status).and_then(|answer| show::status(options, answer)),
    }
}

fn put(
    options: &Options,
    servers: &mut Servers,
    key: &str,
    value: &str,
    condition: Condition,
) -> Result<Vec<u8>, Failure> {
    let value = if value == "-" { standard_input()? } else { value.as_bytes().to_vec() };
    if value.len() > MAX_KV_VALUE_BYTES {
        return Err(Failure::Unusable(format!("a value has at most {MAX_KV_VALUE_BYTES} bytes")));
    }
    let (key, request_id) = (checked_key(key)?, request_id(options)?);
    let answer = servers.ask(&KvRequest::Put { request_id, key, value: &value, condition })?;
    show::version(options, answer)
}

/// As much of it as shows whether it is too long.
fn standard_input() -> Result<Vec<u8>, Failure> {
    let mut value = Vec::new();
    let input = std::io::stdin().lock();
    let read = input.take(MAX_KV_VALUE_BYTES as u64 + 1).read_to_end(&mut value);
    read.map(|_| value).map_err(|error| Failure::Unusable(format!("cannot read the standard input: {error}")))
}

fn checked_key(key: &str) -> Result<&[u8], Failure> {
    if (1..=MAX_KV_KEY_BYTES).contains(&key.len()) {
        return Ok(key.as_bytes());
    }
    Err(Failure::Unusable(format!("a key has 1 to {MAX_KV_KEY_BYTES} bytes")))
}

/// The one that is named, or a random one.
fn request_id(options: &Options) -> Result<Option<RequestId>, Failure> {
    if let Some(id) = options.request_id {
        return Ok(Some(id.0));
    }
    let mut id = [0; KEY_BYTES];
    getrandom::fill(&mut id).map_err(|error| Failure::Unusable(format!("no random request id: {error}")))?;
    Ok(Some(id))
}

/// All pages, or as many keys as are wanted.
fn scan(
    options: &Options,
    servers: &mut Servers,
    prefix: &str,
    from: &str,
    limit: Option<usize>,
) -> Result<Vec<u8>, Failure> {
    if prefix.len().max(from.len()) > MAX_KV_KEY_BYTES {
        return Err(Failure::Unusable(format!("a key has at most {MAX_KV_KEY_BYTES} bytes")));
    }
    let (mut all, mut from) = (Vec::new(), Some(from.as_bytes().to_vec()));
    let mut is_all = false;
    while let (Some(begin), false) = (&from, is_all) {
        let left = limit.map_or(MAX_KV_PAGE, |limit| limit.saturating_sub(all.len()).min(MAX_KV_PAGE));
        let Some(page_limit) = u32::try_from(left).ok().filter(|left| *left > 0) else { break };
        let (prefix, after) = (prefix.as_bytes(), Lsn(options.after));
        match servers.ask(&KvRequest::Scan { from: begin, prefix, limit: page_limit, after })? {
            Answer::Page { entries, more } => {
                // A page without keys leads nowhere.
                is_all = !more || entries.is_empty();
                from = entries.last().and_then(|last| following(&last.key));
                all.extend(entries);
            }
            other => return Err(show::unexpected(&other)),
        }
    }
    Ok(show::entries(options, &all))
}

/// The least key above `key`; `None` where there is none.
fn following(key: &[u8]) -> Option<Vec<u8>> {
    let mut next = key.to_vec();
    if next.len() < MAX_KV_KEY_BYTES {
        next.push(0);
        return Some(next);
    }
    while next.last() == Some(&u8::MAX) {
        next.pop();
    }
    *next.last_mut()? += 1;
    Some(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_begins_behind_the_last_key() {
        assert_eq!(following(b"a"), Some(b"a\0".to_vec()));
        assert_eq!(following(&[b'a'; 254]), Some([&[b'a'; 254][..], b"\0"].concat()));
        assert_eq!(following(&[b'a'; 255]), Some([&[b'a'; 254][..], b"b"].concat()));
        assert_eq!(following(&[&[b'a'; 2][..], &[255; 253]].concat()), Some(b"ab".to_vec()));
        assert_eq!(following(&[255; 255]), None);
    }
}
