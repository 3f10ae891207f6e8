//! The key-value service of one instance: what each call is answered.

use crate::kv::{Answer, Kv, delete, get, kv_server};

use bank_vault::service::kv::wire::{KvRefusal, KvRequest};

#[test]
fn a_key_is_written_read_and_taken_away() {
    let (server, address) = kv_server(&["--workers", "1"]);
    let mut kv = Kv::connect(address);
    assert_eq!(kv.call(&KvRequest::Null).unwrap(), Answer::Null);
    assert_eq!(kv.call(&get(b"k")).unwrap(), Answer::Refused(KvRefusal::NotFound));
    assert_eq!(kv.put(b"k", b"value"), 2, "the number of the last record of the write");
    assert_eq!(kv.get(b"k"), Some((2, b"value".to_vec())));
    let node = kv.status();
    assert_eq!((node.primary, node.primary_address, node.keys), (true, address.to_string(), 1));
    assert_eq!((node.term, node.committed, node.applied), (0, 2, 2));
    assert_eq!(kv.delete(b"k"), 4);
    assert_eq!(kv.call(&delete(b"k")).unwrap(), Answer::Refused(KvRefusal::NotFound));
    assert_eq!(kv.get(b"k"), None);
    assert!(server.stop().status.success());
}
