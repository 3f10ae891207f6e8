//! Writes to the key-value store, as `vaultctl journal dump` shows them.

use serde::Serialize;

use crate::base::vocab::{Condition, Lsn};
use crate::store::journal::record::{KvHead, PIECE_BYTES};
use crate::store::journal::{Content, ReadError, Reader, Record, hexadecimal};

/// The text of a key; `None` where it is better shown in hexadecimal.
pub(super) fn printable(key: &[u8]) -> Option<&str> {
    let is_plain = key.iter().all(|&byte| (byte.is_ascii_graphic() || byte == b' ') && byte != b'"');
    std::str::from_utf8(key).ok().filter(|_| is_plain && !key.is_empty())
}

/// A write as `--json` shows it.
#[derive(Serialize)]
pub(super) struct WriteFields {
    verdict: &'static str,
    principal: u32,
    /// The key where it is plain text, else in hexadecimal; neither of a refusal, of which the journal does not keep the key, nor of a write
    /// that is not whole, nor with `--records`.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_hex: Option<String>,
    key_bytes: u8,
    value_bytes: u32,
    condition: &'static str,
    /// The version that the condition wants.
    #[serde(skip_serializing_if = "Option::is_none")]
    expected: Option<u64>,
    /// The LSN of its last record, which is the version of the key if it was put.
    version: u64,
    /// The version that the key had before; 0 where it was not there.
    previous: u64,
    /// Keys, and the blocks that they take, that there are afterwards.
    keys: u32,
    blocks: u32,
    request_id: Option<String>,
    /// How many records it has.
    records: u64,
}

impl WriteFields {
    /// Of a record that begins a write, whose key is known or not.
    pub(super) fn of(record: &Record, key: Option<Vec<u8>>) -> Option<Self> {
        let Content::KvHead(head) = &record.content else { return None };
        let text = key.as_deref().and_then(printable).map(str::to_owned);
        let (condition, expected) = match head.condition {
            Condition::Always => ("always", None),
            Condition::IfAbsent => ("if absent", None),
            Condition::IfVersion(version) => ("if version", Some(version)),
        };
        Some(WriteFields {
            verdict: head.verdict.name(),
            principal: head.principal,
            key_hex: if text.is_some() { None } else { key.map(|key| hexadecimal(&key)) },
            key: text,
            key_bytes: head.key_bytes,
            value_bytes: head.value_bytes,
            condition,
            expected,
            version: head.version().0,
            previous: head.previous.0,
            keys: head.keys,
            blocks: head.blocks,
            request_id: head.request.map(|request| hexadecimal(&request)),
            records: head.records(),
        })
    }
}

/// What stands behind the kind of a write.
pub(super) fn write_row(write: &WriteFields) -> String {
    let key = match (&write.key, &write.key_hex) {
        (Some(text), _) => format!("\"{text}\""),
        (None, Some(digits)) => digits.clone(),
        (None, None) => format!("a key of {} bytes", write.key_bytes),
    };
    let mut row = format!("{:<12}{key}, value of {} bytes", write.verdict, write.value_bytes);
    match write.expected {
        Some(expected) => row += &format!(", if version {expected}"),
        None if write.condition == "always" => {}
        None => row += &format!(", {}", write.condition),
    }
    row +=
        &format!("; version {} after {}; {} keys, {} blocks", write.version, write.previous, write.keys, write.blocks);
    if let Some(request) = &write.request_id {
        row += &format!("; {request}");
    }
    row
}

/// A record as it is shown where a write is shown as one: the head of a write with its key, if all its records are there, and as the end of its
/// entry if its last record is that.
pub(super) fn whole(reader: &mut Reader, mut record: Record) -> Result<(Record, Option<Vec<u8>>), ReadError> {
    let Content::KvHead(head) = record.content else { return Ok((record, None)) };
    let Some(last) = reader.place(head.version())? else { return Ok((record, None)) };
    record.ends_entry |= last.ends_entry;
    let key = key_of(reader, &head)?;
    Ok((record, key))
}

fn key_of(reader: &mut Reader, head: &KvHead) -> Result<Option<Vec<u8>>, ReadError> {
    if !head.is_done() {
        return Ok(None);
    }
    let key_bytes = usize::from(head.key_bytes);
    let mut key = Vec::new();
    for at in 1..=key_bytes.div_ceil(PIECE_BYTES) as u64 {
        match reader.get(Lsn(head.lsn.0 + at))?.map(|record| record.content) {
            Some(Content::KvPiece(piece)) => key.extend_from_slice(piece.bytes()),
            _ => return Ok(None),
        }
    }
    key.truncate(key_bytes);
    Ok(Some(key))
}
