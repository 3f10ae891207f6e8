//! Cuts a message into as many as its entries need: pure.

use std::borrow::Cow;

use crate::base::limits::{MAX_MESSAGE_ENTRIES, MESSAGE_RECORDS};
use crate::process::replica::message::{EntryRange, Message};

/// The messages that together say what `message` says, each with so many entries and records as a frame can have.
///
/// Each is a message of its own to raft: the entries before the first of its own are those of the message before. An entry that has too
/// many records for that has a message of its own.
pub(super) fn split(message: &Message) -> Vec<Cow<'_, Message>> {
    let mut lengths = Vec::new();
    let (mut entries, mut records) = (0, 0_u64);
    for entry in &message.entries {
        let more = records_of(entry);
        if entries > 0 && (entries == MAX_MESSAGE_ENTRIES || records.saturating_add(more) > MESSAGE_RECORDS) {
            lengths.push(entries);
            (entries, records) = (0, 0);
        }
        (entries, records) = (entries + 1, records.saturating_add(more));
    }
    if lengths.is_empty() {
        return vec![Cow::Borrowed(message)];
    }
    lengths.push(entries);
    let (mut left, mut parts) = (&message.entries[..], Vec::new());
    let (mut index, mut log_term) = (message.index, message.log_term);
    for length in lengths {
        let (some, rest) = left.split_at(length);
        parts.push(Cow::Owned(Message { index, log_term, entries: some.to_vec(), ..without_entries(message) }));
        if let Some(last) = some.last() {
            (index, log_term) = (last.index, last.term);
        }
        left = rest;
    }
    parts
}

fn records_of(entry: &EntryRange) -> u64 {
    (entry.last.0.saturating_sub(entry.first.0)).saturating_add(1)
}

fn without_entries(message: &Message) -> Message {
    Message {
        kind: message.kind,
        from: message.from,
        to: message.to,
        term: message.term,
        log_term: message.log_term,
        index: message.index,
        commit: message.commit,
        commit_term: message.commit_term,
        reject: message.reject,
        reject_hint: message.reject_hint,
        request_snapshot: message.request_snapshot,
        priority: message.priority,
        context: message.context,
        entries: Vec::new(),
        snapshot: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::limits::MAX_ENTRY_RECORDS;
    use crate::base::vocab::Lsn;
    use crate::process::replica::message::EntryKind;
    use crate::process::replica::peers::wire::{encode_message, samples};

    /// An append of entries with so many records each.
    fn append(records: &[u64]) -> Message {
        let mut message = samples::message(1);
        (message.index, message.log_term, message.term) = (10, 3, 5);
        let mut last = 100;
        message.entries = (11..)
            .zip(records)
            .map(|(index, records)| {
                let first = last + 1;
                last += records;
                let term = if index < 13 { 4 } else { 5 };
                EntryRange { index, term, first: Lsn(first), last: Lsn(last), kind: EntryKind::Operations }
            })
            .collect();
        message
    }

    #[test]
    fn parts_follow_each_other_and_together_are_the_whole() {
        for (records, count) in [
            (vec![], 1),
            (vec![1; 5], 1),
            (vec![MESSAGE_RECORDS], 1),
            (vec![8000, 8000, 8000], 3),
            (vec![MESSAGE_RECORDS, 1, MESSAGE_RECORDS - 1, 1], 3),
            (vec![1, MAX_ENTRY_RECORDS, 1], 3),
            (vec![1; MAX_MESSAGE_ENTRIES], 1),
            (vec![1; 2 * MAX_MESSAGE_ENTRIES + 1], 3),
        ] {
            let whole = append(&records);
            let parts = split(&whole);
            let entries: Vec<_> = parts.iter().flat_map(|part| part.entries.clone()).collect();
            assert_eq!(entries, whole.entries);
            let (mut index, mut log_term) = (whole.index, whole.log_term);
            for part in &parts {
                assert_eq!((part.index, part.log_term), (index, log_term));
                encode_message(part).unwrap();
                if let Some(last) = part.entries.last() {
                    (index, log_term) = (last.index, last.term);
                }
            }
            assert_eq!(parts.len(), count, "{} entries", records.len());
        }
        assert!(encode_message(&append(&[MAX_ENTRY_RECORDS + 1])).is_err());
        let kept = split(&samples::message(7)).remove(0).into_owned();
        assert_eq!(kept, samples::message(7));
    }
}
