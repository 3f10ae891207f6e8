//! Remaking the books: the tables are emptied and filled from the journal, as at a start.
//!
//! They are filled in place. The segments stay, with their names and their mappings; every byte of them behind the header becomes zero,
//! and then what their maker prepared is prepared again, locks included. So nothing of before can be left, and a restored table is the
//! one that a start would make. No process has them but this one: those that had are dead, and their locks with them. Tools that look
//! meanwhile are told by [`ReplicaRow::is_remaking`](crate::store::instance::control::ReplicaRow::is_remaking).
//!
//! It takes as long as a start. The master does nothing else meanwhile: there is nobody whom it could serve.

use std::error::Error;
use std::io;

use nix::errno::Errno;

use crate::base::config::Settings;
use crate::process::master::driver::Driver;
use crate::process::master::error::MasterError;
use crate::process::master::restore;
use crate::process::master::start::requirements;
use crate::process::master::supervisor::Event;
use crate::store::instance::Instance;
use crate::store::journal::Directory;
use crate::store::kv::KvTable;

impl Driver {
    /// Closes the connections that dead workers had, and remakes the books; what became of it.
    pub(super) fn remake(&mut self) -> Event {
        let closed = self.connections.close_all();
        log::warn!("the books are being remade; {closed} connections are closed");
        self.workers.iter_mut().flatten().for_each(|slot| slot.connections = 0);
        self.accepting.ready = true;
        let instance = self.common.instance;
        let row = instance.replica_row();
        let Some(directory) = &self.common.directory else { return Event::Remade };
        row.set_remaking(true);
        match remake(instance, directory, self.common.settings) {
            Ok(()) => {
                row.set_remaking(false);
                row.remakes.add(1);
                Event::Remade
            }
            Err(error) => {
                let (why, has_prospect) = (error.to_string(), is_shortage(&error));
                self.failure = (!has_prospect).then_some(error);
                Event::NotRemade { why, has_prospect }
            }
        }
    }
}

fn remake(instance: &Instance, directory: &Directory, settings: &Settings) -> Result<(), MasterError> {
    let table = instance.table();
    table.reset(&requirements::shape(settings, table.accounts()))?;
    instance.kv().map(KvTable::reset).transpose()?;
    restore::restore(instance, directory, settings.key_window)
}

/// Whether only something was lacking that may be there later, so that it is of use to try again. A damaged journal stays damaged.
fn is_shortage(error: &MasterError) -> bool {
    let errno = match error {
        MasterError::Ipc(error) => error.errno(),
        other => errno_of(other),
    };
    let lacking = [Errno::EAGAIN, Errno::ENOMEM, Errno::EMFILE, Errno::ENFILE, Errno::ENOBUFS, Errno::ENOSPC];
    errno.is_some_and(|errno| lacking.contains(&errno))
}

/// What the kernel said, if that is what it came from.
fn errno_of(error: &(dyn Error + 'static)) -> Option<Errno> {
    match error.downcast_ref::<io::Error>() {
        Some(error) => error.raw_os_error().map(Errno::from_raw),
        None => error.source().and_then(errno_of),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use super::*;
    use crate::base::config::ClusterSettings;
    use crate::base::vocab::{AccountId, Cents, Lsn};
    use crate::ipc::IpcError;
    use crate::ipc::names::Generation;
    use crate::store::cluster::{ClusterId, Commit, NodeId, ReplicaId, State, StateFile};
    use crate::store::connection::{RingBytes, SlotShape};
    use crate::store::instance::{Blueprint, ServiceBlueprint};
    use crate::store::journal::{
        DirectoryError, DiscardRecords, DiskError, InstallError, Kind, OperationRecord, Record, RecordBytes,
        RecoveryError, SnapshotSink, SnapshotSource, Verdict, Writer, recover,
    };

    /// An instance whose objects are gone with it, also where a test fails.
    struct Made(Instance);

    impl Drop for Made {
        fn drop(&mut self) {
            let unlinked = self.0.unlink();
            // A panic inside a panic would hide the first one.
            if !std::thread::panicking() {
                unlinked.unwrap();
            }
        }
    }

    /// A deposit of 1.00 into account 1, with a key of its own.
    fn record(lsn: u64) -> RecordBytes {
        let balance = 1000 + 100 * i64::try_from(lsn).unwrap();
        let mut key = [7; 16];
        key[..8].copy_from_slice(&lsn.to_le_bytes());
        let record = OperationRecord {
            lsn: Lsn(lsn),
            time_ns: 1_700_000_000_000_000_000 + lsn,
            kind: Kind::Deposit,
            verdict: Verdict::Done,
            principal: 7,
            accounts: (AccountId(1), None),
            amount: Cents(100),
            balances: [Cents(balance), Cents::ZERO],
            previous: [Lsn(lsn - 1), Lsn(0)],
            key: Some(key),
        };
        record.encode()
    }

    /// What the segments of the books hold, but for the seeds of the keys and what depends on them.
    fn books(instance: &Instance) -> Vec<Vec<u8>> {
        let bytes = |(name, _): &(&str, usize)| std::fs::read(format!("/dev/shm{name}")).unwrap();
        let [accounts, intents, ring, keys, _] = instance.table().segments();
        let keys = bytes(&keys);
        // Behind the header, which has the boot, and behind two seeds.
        let mut all: Vec<Vec<u8>> =
            [accounts, intents, ring].iter().map(|segment| bytes(segment).split_off(64)).collect();
        all.push(keys[80..].to_vec());
        all
    }

    #[test]
    fn remade_books_are_those_of_a_fresh_start() {
        let home = tempfile::tempdir().unwrap();
        let settings = Settings {
            accounts: 3,
            initial_balance: Cents(1000),
            key_window: 10,
            data: home.path().to_owned(),
            ..Settings::default()
        };
        let directory = Directory::open_or_create(&settings.data, 3, Cents(1000), 4096).unwrap();
        let recovered = recover(&directory, Lsn(u64::MAX), &mut DiscardRecords, |_| ()).unwrap();
        let mut writer = recovered.into_writer(0).unwrap();
        assert!(writer.wait_until_prepared(Lsn(5), Duration::from_secs(60)));
        writer.append(&mut (1..=5).map(record).collect::<Vec<_>>(), Lsn(0)).unwrap();
        writer.sync().unwrap();
        drop(writer);
        let make = |boot| {
            let generation = Generation { instance: format!("remake-{}", std::process::id()), boot };
            let services =
                [ServiceBlueprint { name: "bank", slots: SlotShape { count: 4, rings: RingBytes::STANDARD } }];
            let ledger = requirements::shape(&settings, 3);
            let blueprint = Blueprint {
                generation,
                ledger,
                kv_blocks: 0,
                services: &services,
                queue_depth: 4,
                accept_mode: 0,
                data: "",
            };
            Made(Instance::create(&blueprint).unwrap())
        };
        let made = [make(1), make(2)];
        let [ran, fresh] = [&made[0].0, &made[1].0];
        // As after a life in which more was carried out than is in the journal.
        restore::restore(ran, &directory, settings.key_window).unwrap();
        ran.table().restore(AccountId(2), Cents(77), Lsn(9));
        ran.table().restore_key(&Record::decode(&record(9)).unwrap().into_operation().unwrap());
        ran.table().begin_after(Lsn(9), Cents(3000), [Cents(900), Cents(5)]);
        restore::restore(fresh, &directory, settings.key_window).unwrap();
        assert_ne!(books(ran), books(fresh));
        for _ in 0..2 {
            remake(ran, &directory, &settings).unwrap();
            assert!(books(ran) == books(fresh), "remade books differ from those of a start");
        }
        assert_eq!(ran.table().peek(AccountId(1)), Some(Cents(1500)));
        assert_eq!((ran.table().order().now().lsn, ran.table().sequencer().keys().known()), (Lsn(5), 5));
    }

    /// A directory of 3 accounts with so many deposits.
    fn directory_of(home: &Path, deposits: u64) -> Directory {
        let directory = Directory::open_or_create(home, 3, Cents(1000), 4096).unwrap();
        let mut writer = Writer::resume(&directory, Lsn(0)).unwrap();
        for first in (1..=deposits).step_by(4096) {
            let last = deposits.min(first + 4095);
            assert!(writer.wait_until_prepared(Lsn(last), Duration::from_secs(60)));
            writer.append(&mut (first..=last).map(record).collect::<Vec<_>>(), Lsn(0)).unwrap();
            writer.sync().unwrap();
        }
        directory
    }

    #[test]
    fn what_another_member_sent_is_there_after_a_remake_and_what_is_not_ordered_is_removed() {
        let [home, other] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let number = ReplicaId::new(1).unwrap();
        let cluster = ClusterSettings { replica: number, peers: Vec::new(), secret: "secret".into() };
        let settings = Settings {
            accounts: 3,
            initial_balance: Cents(1000),
            key_window: 10,
            data: home.path().to_owned(),
            cluster: Some(cluster),
            ..Settings::default()
        };
        // What goes has segments behind those that come: keys are looked for in what is there afterwards.
        let (directory, sender) = (directory_of(home.path(), 9000), directory_of(other.path(), 5));
        let ledger = requirements::shape(&settings, 3);
        let generation = Generation { instance: format!("install-{}", std::process::id()), boot: 1 };
        let services = [ServiceBlueprint { name: "bank", slots: SlotShape { count: 4, rings: RingBytes::STANDARD } }];
        let blueprint = Blueprint {
            generation,
            ledger,
            kv_blocks: 0,
            services: &services,
            queue_depth: 4,
            accept_mode: 0,
            data: "",
        };
        let made = Made(Instance::create(&blueprint).unwrap());
        let instance = &made.0;
        let held = || (instance.table().peek(AccountId(1)), instance.table().order().now().lsn);
        let incoming = home.path().join("incoming");
        let state = State {
            cluster: ClusterId::new([3; 16]),
            term: 1,
            commit: Commit { index: 1, lsn: Lsn(2) },
            ..State::fresh(NodeId::new(5).unwrap(), number)
        };
        let mut file = StateFile::create(&directory, state.clone()).unwrap();
        let send = || {
            let mut source = SnapshotSource::open(&sender, Lsn(1), Lsn(5)).unwrap().unwrap();
            let mut sink = SnapshotSink::create(&directory, source.bytes(), Lsn(5)).unwrap();
            while let piece = source.read(100).unwrap()
                && !piece.is_empty()
            {
                sink.write(&piece).unwrap();
            }
            sink.finish().unwrap();
        };
        send();
        restore::restore(instance, &directory, settings.key_window).unwrap();
        assert_eq!(held(), (Some(Cents(1200)), Lsn(2)));
        assert!(!incoming.exists(), "there was no order to install it");
        send();
        file.save(&State { commit: Commit { index: 4, lsn: Lsn(5) }, install: true, ..state }, true).unwrap();
        for _ in 0..2 {
            // The second time there is nothing left to do, although the order stands until the replica process takes it back.
            remake(instance, &directory, &settings).unwrap();
            assert_eq!(held(), (Some(Cents(1500)), Lsn(5)));
            assert_eq!(instance.table().sequencer().keys().known(), 5);
            assert!(!incoming.exists());
        }
        std::fs::create_dir_all(incoming.join("journal")).unwrap();
        let refused = remake(instance, &directory, &settings).unwrap_err();
        assert!(matches!(refused, MasterError::Install(InstallError::NotWhole { .. })), "{refused}");
        assert!(!is_shortage(&refused));
    }

    #[test]
    fn only_what_was_lacking_is_tried_again() {
        let failed = |errno: Errno| DiskError { step: "read", path: "journal".into(), source: errno.into() };
        for (errno, has_prospect) in [(Errno::EMFILE, true), (Errno::ENOMEM, true), (Errno::EIO, false)] {
            assert_eq!(is_shortage(&failed(errno).into()), has_prospect, "{errno}");
            assert_eq!(is_shortage(&RecoveryError::from(failed(errno)).into()), has_prospect, "{errno}");
            assert_eq!(is_shortage(&IpcError::system("lock", "accounts", errno).into()), has_prospect, "{errno}");
        }
        let opening = Cents(1);
        assert!(!is_shortage(&RecoveryError::TooMuchOpened { opening }.into()));
        assert!(!is_shortage(&DirectoryError::Opening { accounts: 1, opening }.into()));
    }
}
