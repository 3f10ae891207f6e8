//! What a request of the key-value service means here, and what an outcome is called in a result. Pure.

use std::collections::HashMap;

use crate::base::limits::MAX_KV_PAGE;
use crate::base::onc_rpc::{AuthStat, Credentials};
use crate::base::vocab::{Condition, Lsn, ReplicaRole};
use crate::service::kv::wire::{KvRefusal, KvReply, KvRequest, RequestId};
use crate::store::cluster::Standing;
use crate::store::users::{Known, Role};

/// What has to be done for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task<'a> {
    /// Answer that there is somebody.
    Null,
    /// Say what the node is.
    TellStatus,
    /// Look a key up, once what the caller has seen is applied here.
    Get {
        /// The key.
        key: &'a [u8],
        /// The last version that the caller has seen; 0 for none.
        after: Lsn,
    },
    /// Give a key a value, or take it away.
    Write(Write<'a>),
    /// Walk over the keys, once what the caller has seen is applied here.
    Scan {
        /// None below this one.
        from: &'a [u8],
        /// Only those that begin so.
        prefix: &'a [u8],
        /// So many at most.
        limit: usize,
        /// The last version that the caller has seen; 0 for none.
        after: Lsn,
    },
}

/// A write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Write<'a> {
    /// By what a repeat is known.
    pub request_id: Option<RequestId>,
    /// The key.
    pub key: &'a [u8],
    /// The value; `None` where the key goes.
    pub value: Option<&'a [u8]>,
    /// When it is to be done.
    pub condition: Condition,
}

/// What is to be done for `request`, where a value may have `max_value` bytes.
///
/// # Errors
/// KV_INVALID: an empty key. KV_TOO_LARGE: a longer value.
pub fn task_of<'a>(request: &KvRequest<'a>, max_value: usize) -> Result<Task<'a>, KvRefusal> {
    let task = match *request {
        KvRequest::Null => Task::Null,
        KvRequest::Status => Task::TellStatus,
        KvRequest::Get { key, after } => Task::Get { key, after },
        KvRequest::Put { request_id, key, value, condition } => {
            if value.len() > max_value {
                return Err(KvRefusal::TooLarge);
            }
            Task::Write(Write { request_id, key, value: Some(value), condition })
        }
        KvRequest::Delete { request_id, key, condition } => {
            Task::Write(Write { request_id, key, value: None, condition })
        }
        KvRequest::Scan { from, prefix, limit, after } => Task::Scan { from, prefix, limit: page_limit(limit), after },
    };
    match task {
        Task::Get { key: [], .. } | Task::Write(Write { key: [], .. }) => Err(KvRefusal::Invalid),
        task => Ok(task),
    }
}

/// Keys of a page for which `asked` were asked.
fn page_limit(asked: u32) -> usize {
    usize::try_from(asked).ok().filter(|asked| (1..=MAX_KV_PAGE).contains(asked)).unwrap_or(MAX_KV_PAGE)
}

/// Whose call it is, and what he may do. `users` are those of a users file by uid, `None` where everybody may call.
///
/// # Errors
/// AUTH_TOOWEAK: the caller does not say who it is. AUTH_REJECTEDCRED: no user has its uid.
pub fn caller(users: Option<&HashMap<u32, Known>>, credentials: &Credentials<'_>) -> Result<Known, AuthStat> {
    let Some(users) = users else { return Ok(Known { role: Role::Teller, principal: 0 }) };
    match credentials {
        Credentials::Sys(caller) => users.get(&caller.uid).copied().ok_or(AuthStat::REJECTEDCRED),
        Credentials::None | Credentials::Other(_) => Err(AuthStat::TOOWEAK),
    }
}

/// Whether a caller of this role may ask for a task.
///
/// # Errors
/// KV_FORBIDDEN.
pub fn may_ask(role: Role, task: &Task<'_>) -> Result<(), KvRefusal> {
    let may = match task {
        Task::Null | Task::TellStatus => true,
        Task::Get { .. } | Task::Scan { .. } => role.may_read_keys(),
        Task::Write(_) => role.may_write_keys(),
    };
    if may { Ok(()) } else { Err(KvRefusal::Forbidden) }
}

/// Whether an instance of this standing may write.
///
/// # Errors
/// KV_NOT_PRIMARY where another is the primary, KV_NO_QUORUM where none is known. Nothing was done then.
pub fn may_write(standing: Standing) -> Result<(), KvRefusal> {
    match standing.role {
        ReplicaRole::Alone | ReplicaRole::Primary => Ok(()),
        ReplicaRole::Follower | ReplicaRole::Candidate | ReplicaRole::Learner if standing.primary == 0 => {
            Err(KvRefusal::NoQuorum)
        }
        ReplicaRole::Follower | ReplicaRole::Candidate | ReplicaRole::Learner => Err(KvRefusal::NotPrimary),
    }
}

/// What came of a write, as a result.
#[must_use]
pub fn reply_to_write(outcome: Result<Lsn, crate::store::kv::KvRefusal>) -> KvReply<'static> {
    use crate::store::kv::KvRefusal as Refusal;
    match outcome {
        Ok(version) => KvReply::Written { version },
        Err(Refusal::NotFound) => KvReply::Refused(KvRefusal::NotFound),
        Err(Refusal::Mismatch(current)) => KvReply::Mismatch { current },
        Err(Refusal::Full) => KvReply::Refused(KvRefusal::Busy),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::onc_rpc::AuthSys;

    #[test]
    fn what_cannot_be_is_told_before_anything_is_done() {
        let put = |key, value| KvRequest::Put { request_id: None, key, value, condition: Condition::Always };
        assert_eq!(task_of(&put(b"", b"v"), 10), Err(KvRefusal::Invalid));
        assert_eq!(task_of(&put(b"k", b"12345678901"), 10), Err(KvRefusal::TooLarge));
        let written = Write { request_id: None, key: b"k", value: Some(b"1234567890"), condition: Condition::Always };
        assert_eq!(task_of(&put(b"k", b"1234567890"), 10), Ok(Task::Write(written)));
        assert_eq!(task_of(&KvRequest::Get { key: b"", after: Lsn(0) }, 10), Err(KvRefusal::Invalid));
        let delete = KvRequest::Delete { request_id: None, key: b"", condition: Condition::Always };
        assert_eq!(task_of(&delete, 10), Err(KvRefusal::Invalid));
        let scan = |limit| KvRequest::Scan { from: b"", prefix: b"", limit, after: Lsn(0) };
        for (asked, limit) in [(0, MAX_KV_PAGE), (1, 1), (256, 256), (257, MAX_KV_PAGE), (u32::MAX, MAX_KV_PAGE)] {
            let task = Task::Scan { from: b"", prefix: b"", limit, after: Lsn(0) };
            assert_eq!(task_of(&scan(asked), 10), Ok(task), "an empty key means any here");
        }
    }

    #[test]
    fn a_users_file_says_who_may_do_what() {
        let sys = |uid| Credentials::Sys(AuthSys { uid, ..AuthSys::default() });
        let everybody = Known { role: Role::Teller, principal: 0 };
        assert_eq!([caller(None, &Credentials::None), caller(None, &sys(7))], [Ok(everybody); 2]);
        let known = Known { role: Role::Auditor, principal: 5 };
        let users = HashMap::from([(7, known)]);
        assert_eq!(caller(Some(&users), &sys(7)), Ok(known));
        assert_eq!(caller(Some(&users), &sys(8)), Err(AuthStat::REJECTEDCRED));
        assert_eq!(caller(Some(&users), &Credentials::None), Err(AuthStat::TOOWEAK));
        let get = Task::Get { key: b"k", after: Lsn(0) };
        let write = Task::Write(Write { request_id: None, key: b"k", value: None, condition: Condition::Always });
        let customer = "customer:1-2".parse().unwrap();
        for (role, may) in [(Role::Teller, [true; 2]), (Role::Auditor, [true, false]), (customer, [false; 2])] {
            assert_eq!([may_ask(role, &get).is_ok(), may_ask(role, &write).is_ok()], may, "{role}");
            assert_eq!(may_ask(role, &Task::TellStatus), Ok(()));
        }
    }

    #[test]
    fn only_a_primary_writes() {
        let standing = |role, primary| Standing { role, primary };
        assert_eq!(may_write(standing(ReplicaRole::Alone, 0)), Ok(()));
        assert_eq!(may_write(standing(ReplicaRole::Primary, 2)), Ok(()));
        for role in [ReplicaRole::Follower, ReplicaRole::Candidate, ReplicaRole::Learner] {
            assert_eq!(may_write(standing(role, 0)), Err(KvRefusal::NoQuorum));
            assert_eq!(may_write(standing(role, 3)), Err(KvRefusal::NotPrimary));
        }
    }
}
