//! Messages of the cache process' queues, and the words of its answers: what is accepted is written back as it was.
#![no_main]

use bank_vault::base::config::BaseUrl;
use bank_vault::ipc::message_queue::Message;
use bank_vault::store::cache_channel::{Command, Detail, Refusal, Reply};
use libfuzzer_sys::fuzz_target;

fn hold<M: Message>(data: &[u8]) {
    let Some(message) = M::decode(data) else { return };
    let mut bytes = vec![0xAA; M::MAX_BYTES];
    let length = message.encode(&mut bytes);
    assert_eq!(M::decode(&bytes[..length]).map(|again| again.encode(&mut vec![0; M::MAX_BYTES])), Some(length));
    assert!(length <= data.len());
}

fuzz_target!(|data: &[u8]| {
    hold::<Command>(data);
    hold::<Reply>(data);
    if let Some(word) = data.first_chunk::<4>().map(|bytes| u32::from_le_bytes(*bytes)) {
        assert!(Detail::from_word(word).is_none_or(|detail| detail.word() == word));
        let refusal = Refusal::from_word(word);
        assert!(refusal == Refusal::Unfinished || refusal.word() == word);
    }
    if let Some(url) = std::str::from_utf8(data).ok().and_then(|text| BaseUrl::new(text).ok()) {
        let joined = url.join(b"/a%b \xff?#");
        assert!(joined.ends_with("/a%25b%20%FF%3F%23") && joined.is_ascii() | !data.is_ascii());
    }
});
