//! Requests and results of the key-value service: what is read is written as it was, within its bounds.
#![no_main]

use bank_vault::base::limits::{MAX_KV_KEY_BYTES, MAX_KV_PAGE, MAX_KV_VALUE_BYTES};
use bank_vault::base::vocab::Condition;
use bank_vault::service::kv::wire::{KvProcedure, KvReply, KvRequest};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((&choice, data)) = data.split_first() else { return };
    let procedure = KvProcedure::ALL[usize::from(choice) % KvProcedure::ALL.len()];
    if let Ok(request) = KvRequest::read(procedure, data) {
        assert_eq!(request.procedure(), procedure);
        let mut written = Vec::new();
        request.write(&mut written);
        assert_eq!(KvRequest::read(procedure, &written), Ok(request));
        // What is expected counts with one condition only.
        let (key, value, all_counts) = match request {
            KvRequest::Put { key, value, condition, .. } => (key, value, matches!(condition, Condition::IfVersion(_))),
            KvRequest::Delete { key, condition, .. } => (key, &[][..], matches!(condition, Condition::IfVersion(_))),
            KvRequest::Get { key, .. } => (key, &[][..], true),
            KvRequest::Scan { from, prefix, .. } => (from, prefix, true),
            KvRequest::Null | KvRequest::Status => (&[][..], &[][..], true),
        };
        assert!(key.len() <= MAX_KV_KEY_BYTES && value.len() <= MAX_KV_VALUE_BYTES);
        let end = data.len() - if all_counts { 0 } else { 8 };
        assert_eq!(written[..end], data[..end]);
    }
    if let Ok(reply) = KvReply::read(procedure, data) {
        let mut record = Vec::new();
        assert_eq!(reply.write(1, &mut record).bytes, record.len());
        assert_eq!(&record[28..], data, "behind the head of a reply");
        if let KvReply::Page(page) = reply {
            assert!(page.len() <= MAX_KV_PAGE && page.entries().count() == page.len());
        }
    }
});
