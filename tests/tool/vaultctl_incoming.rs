//! What `vaultctl` says of a data directory into which another member sent its books.

use bank_vault::base::vocab::{Cents, Lsn};
use bank_vault::store::cluster::{ClusterId, Commit, NodeId, ReplicaId, State, StateFile};
use bank_vault::store::journal::{Directory, SnapshotSink, SnapshotSource, finish_install};

use crate::vaultctl_journal::{ACCOUNTS, OPENING, PER_SEGMENT, append, audited, told, written};

#[test]
fn books_that_another_member_sent_are_refused_until_they_are_in_place_and_found_right_afterwards() {
    let [home, other] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let (sender, mut writer, mut books) = written(other.path(), |_| ());
    books.snapshot(&sender, |_, _| ());
    for _ in 0..50 {
        append(&mut writer, &books.next());
    }
    let directory = Directory::open_or_create(home.path(), ACCOUNTS, Cents(OPENING), PER_SEGMENT).unwrap();
    let mut source = SnapshotSource::open(&sender, Lsn(150), Lsn(150)).unwrap().unwrap();
    let mut sink = SnapshotSink::create(&directory, source.bytes(), Lsn(150)).unwrap();
    while let piece = source.read(1000).unwrap()
        && !piece.is_empty()
    {
        sink.write(&piece).unwrap();
    }
    sink.finish().unwrap();
    let state = State {
        cluster: ClusterId::new([3; 16]),
        term: 1,
        commit: Commit { index: 1, lsn: Lsn(150) },
        install: true,
        ..State::fresh(NodeId::new(5).unwrap(), ReplicaId::new(1).unwrap())
    };
    StateFile::create(&directory, state).unwrap();
    let data = home.path().to_str().unwrap();
    for words in [&["audit"][..], &["export"], &["journal", "dump"], &["repair", "--yes"]] {
        let (code, out, err) = told(&[words, &["--data", data]].concat());
        assert!(code != 0 && out.is_empty() && err.lines().count() == 1, "{words:?}: {code} {out}{err}");
        assert!(err.contains("the next start of its server finishes that"), "{words:?}: {err}");
    }
    assert!(finish_install(&directory, Lsn(150)).unwrap());
    let (code, report) = audited(home.path(), &[]);
    assert_eq!((code, &report["last_lsn"], &report["from_snapshot"]), (0, &150.into(), &100.into()), "{report}");
    let sum: i64 = books.accounts.iter().map(|(balance, _)| balance).sum();
    assert_eq!(report["sum_cents"], sum, "{report}");
}
