//! Results as people and programs read them.

use serde_json::{Map, Value, json};

use super::connection::{Answer, Entry};
use super::error::{Failure, explained};
use super::options::Options;
use crate::service::kv::wire::KvStatus;

/// What no answer to this request is.
pub fn unexpected(answer: &Answer) -> Failure {
    match answer {
        Answer::Refused(refusal) => {
            let status = refusal.status();
            Failure::Refused(format!("{status}: {}", explained(status)))
        }
        Answer::Mismatch { current } if current.0 == 0 => {
            Failure::Refused(format!("{}: the key is not there", KvStatus::VersionMismatch))
        }
        Answer::Mismatch { current } => {
            Failure::Refused(format!("{}: the key has version {current}", KvStatus::VersionMismatch))
        }
        other => Failure::Unusable(format!("that is no answer to what was asked: {other:?}")),
    }
}

fn line(json: &Value) -> Vec<u8> {
    format!("{json}\n").into_bytes()
}

/// Bytes under `name`, or, where they are no text, in hex digits under `name_hex`.
fn put_bytes(object: &mut Map<String, Value>, name: &str, bytes: &[u8]) {
    match std::str::from_utf8(bytes) {
        Ok(text) => object.insert(name.to_owned(), json!(text)),
        Err(_) => {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            object.insert(format!("{name}_hex"), json!(hex))
        }
    };
}

/// The answer to a GET.
pub fn value(options: &Options, key: &str, answer: Answer) -> Result<Vec<u8>, Failure> {
    let Answer::Found { version, mut value } = answer else { return Err(unexpected(&answer)) };
    if options.json {
        let mut object = Map::new();
        object.insert("key".to_owned(), json!(key));
        object.insert("version".to_owned(), json!(version.0));
        put_bytes(&mut object, "value", &value);
        return Ok(line(&Value::Object(object)));
    }
    if !options.raw {
        value.push(b'\n');
    }
    Ok(value)
}

/// The answer to a write.
pub fn version(options: &Options, answer: Answer) -> Result<Vec<u8>, Failure> {
    let Answer::Written { version } = answer else { return Err(unexpected(&answer)) };
    Ok(if options.json { line(&json!({ "version": version.0 })) } else { format!("version {version}\n").into_bytes() })
}

/// The answer to a scan: a line for each key, with its version and the bytes of its value; other bytes than printable ones are escaped.
pub fn entries(options: &Options, entries: &[Entry]) -> Vec<u8> {
    if options.json {
        let all = entries.iter().map(|entry| {
            let mut object = Map::new();
            put_bytes(&mut object, "key", &entry.key);
            object.insert("version".to_owned(), json!(entry.version.0));
            object.insert("bytes".to_owned(), json!(entry.value_bytes));
            Value::Object(object)
        });
        return line(&Value::Array(all.collect()));
    }
    let lines = entries.iter().map(|entry| {
        let key = match std::str::from_utf8(&entry.key) {
            Ok(text) if !text.chars().any(char::is_control) => text.to_owned(),
            _ => entry.key.escape_ascii().to_string(),
        };
        format!("{key}\t{}\t{}\n", entry.version, entry.value_bytes)
    });
    lines.collect::<String>().into_bytes()
}

/// The answer to STATUS.
pub fn status(options: &Options, answer: Answer) -> Result<Vec<u8>, Failure> {
    let Answer::Node(node) = answer else { return Err(unexpected(&answer)) };
    if options.json {
        return Ok(line(&json!({
            "primary": node.primary,
            "primary_address": node.primary_address,
            "term": node.term,
            "committed": node.committed.0,
            "applied": node.applied.0,
            "keys": node.keys,
        })));
    }
    let primary = if node.primary { "yes" } else { "no" };
    let address = match node.primary_address.as_str() {
        "" => "none that it knows".to_owned(),
        address => address.escape_debug().to_string(),
    };
    Ok(format!(
        "primary {primary}\nprimary address {address}\nterm {}\ncommitted {}\napplied {}\nkeys {}\n",
        node.term, node.committed, node.applied, node.keys
    )
    .into_bytes())
}
