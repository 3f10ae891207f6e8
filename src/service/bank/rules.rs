//! The bank's counter: what a request means for this user, and what an outcome is called on the wire. Pure.

use crate::base::limits::MAX_STATEMENT_ENTRIES;
use crate::base::vocab::{AccountId, Cents, Lsn, ReplicaRole};
use crate::service::bank::session::login::Login;
use crate::service::bank::wire::{Cluster, ClusterMember, Request, Response, Status};
use crate::store::cluster::{ClusterView, MemberView, Standing};
use crate::store::journal::record::Verdict;
use crate::store::ledger::{Operation, Outcome, Refusal, Totals};

/// What has to be done for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task<'a> {
    /// Answer with the time.
    TellTime,
    /// Find out whether name and password are right. Slow.
    Verify {
        /// The name as sent.
        user: &'a [u8],
        /// The password as sent.
        pass: &'a [u8],
    },
    /// Read one balance.
    Read(AccountId),
    /// Move money.
    Operate(Operation),
    /// Sum up all accounts. Slow.
    SumUp,
    /// Tell of the cluster.
    TellCluster,
    /// Look up what happened to an account. Slow.
    Statement {
        /// The account.
        account: AccountId,
        /// Only what is older; 0 for no such limit.
        before: Lsn,
        /// At most so many entries, 1 to [`MAX_STATEMENT_ENTRIES`].
        limit: usize,
    },
}

/// What `request` asks to be done, if its user may ask for that.
///
/// # Errors
/// The status of the refusal: ERR_AUTH before LOGIN, ERR_FORBIDDEN for what the role does not allow, ERR_INVALID for a
/// statement of no entries.
#[inline]
pub fn task_of<'a>(request: Request<'a>, login: Option<&Login>) -> Result<Task<'a>, Status> {
    let allow = |allowed: bool, task| if allowed { Ok(task) } else { Err(Status::Forbidden) };
    let role = match request {
        Request::Ping => return Ok(Task::TellTime),
        Request::Login { user, pass } => return Ok(Task::Verify { user, pass }),
        _ => login.ok_or(Status::Auth)?.role,
    };
    match request {
        Request::Deposit { account, amount } => {
            allow(role.may_write(account), Task::Operate(Operation::Deposit { account, amount }))
        }
        Request::Withdraw { account, amount } => {
            allow(role.may_write(account), Task::Operate(Operation::Withdraw { account, amount }))
        }
        Request::Transfer { from, to, amount } => allow(
            role.may_write(from) && role.may_pay_into(to),
            Task::Operate(Operation::Transfer { from, to, amount }),
        ),
        Request::Balance { account } => allow(role.may_read(account), Task::Read(account)),
        Request::Totals => allow(role.may_see_totals(), Task::SumUp),
        Request::Cluster => Ok(Task::TellCluster),
        Request::History { account, .. } if !role.may_read(account) => Err(Status::Forbidden),
        Request::History { limit: 0, .. } => Err(Status::Invalid),
        Request::History { account, before, limit } => {
            Ok(Task::Statement { account, before, limit: usize::from(limit).min(MAX_STATEMENT_ENTRIES) })
        }
        Request::Ping | Request::Login { .. } => unreachable!("answered above, without a session"),
    }
}

/// Whether an instance of this standing may answer `request`; `names_after` says whether that names the last operation seen. Where there is
/// no primary, who only reads from followers is answered all the same.
///
/// # Errors
/// The status of the refusal: ERR_NOT_PRIMARY where another is the primary, ERR_NO_QUORUM where none is known.
#[inline]
pub fn may_answer(standing: Standing, request: &Request<'_>, names_after: bool) -> Result<(), Status> {
    match standing.role {
        ReplicaRole::Alone | ReplicaRole::Primary => return Ok(()),
        ReplicaRole::Follower | ReplicaRole::Candidate | ReplicaRole::Learner => {}
    }
    match request {
        Request::Ping | Request::Login { .. } | Request::Cluster => Ok(()),
        Request::Balance { .. } | Request::History { .. } if names_after => Ok(()),
        _ => Err(not_primary(standing)),
    }
}

/// The refusal of what only a primary does, by an instance of this standing, which is none: ERR_NOT_PRIMARY where another is the primary,
/// ERR_NO_QUORUM where none is known.
#[must_use]
pub fn not_primary(standing: Standing) -> Status {
    if standing.primary == 0 { Status::NoQuorum } else { Status::NotPrimary }
}

/// What CLUSTER tells: `replica` is the instance's own number, `address` where its clients reach it, `now_ns` the time of the monotonic clock.
/// An instance without peers is the only member of its cluster, without a number.
#[must_use]
pub fn cluster_response(
    view: ClusterView,
    (replica, address): (u8, String),
    [committed, applied]: [Lsn; 2],
    now_ns: u64,
) -> Cluster {
    let Standing { role, primary } = view.standing;
    if role == ReplicaRole::Alone {
        let itself =
            ClusterMember { match_lsn: committed, client_address: address.clone(), ..ClusterMember::default() };
        return Cluster { committed, applied, primary_address: address, members: vec![itself], ..Cluster::default() };
    }
    let heard_ms = |member: &MemberView| match member.heard_ns {
        _ if member.replica == replica => 0,
        0 => u32::MAX,
        heard_ns => u32::try_from(now_ns.saturating_sub(heard_ns) / 1_000_000).unwrap_or(u32::MAX),
    };
    let members = view.members.into_iter().map(|member| ClusterMember {
        heard_ms: heard_ms(&member),
        replica: member.replica,
        node: member.node,
        role: member.role,
        match_lsn: member.match_lsn,
        peer_address: member.peer_address,
        client_address: member.client_address,
    });
    let primary_address = view.primary_address;
    Cluster { replica, role, term: view.term, committed, applied, primary, primary_address, members: members.collect() }
}

/// The answer to an operation that was done, or whose refusal stands.
#[inline]
#[must_use]
pub fn response_to(operation: Operation, opcode: u16, verdict: Result<Outcome, Refusal>) -> Response {
    let [first, second] = match verdict {
        Ok(outcome) => outcome.balances,
        Err(refusal) => return Response::Error { opcode, status: status_of(refusal) },
    };
    match operation {
        Operation::Deposit { .. } => Response::Deposit { balance: first },
        Operation::Withdraw { .. } => Response::Withdraw { balance: first },
        Operation::Transfer { .. } => Response::Transfer { from_balance: first, to_balance: second },
    }
}

/// What became of a request the first time that it came.
///
/// # Errors
/// It was refused then.
pub fn verdict_of(verdict: Verdict, balances: [Cents; 2]) -> Result<Outcome, Refusal> {
    match verdict {
        Verdict::Done => Ok(Outcome { balances, ..Outcome::NOTHING }),
        Verdict::NoAccount => Err(Refusal::NoAccount),
        Verdict::Insufficient => Err(Refusal::Insufficient),
        Verdict::Invalid => Err(Refusal::Invalid),
    }
}

/// What a refusal is called on the wire.
#[must_use]
pub fn status_of(refusal: Refusal) -> Status {
    match refusal {
        Refusal::NoAccount => Status::NoAccount,
        Refusal::Insufficient => Status::Insufficient,
        Refusal::Invalid => Status::Invalid,
    }
}

/// The answer to TOTALS; a cut that could not be taken is "try again".
#[must_use]
pub fn totals_response(totals: Option<Totals>, opcode: u16) -> Response {
    match totals {
        Some(Totals { accounts, sum, deposited, withdrawn, lsn }) => {
            Response::Totals(crate::service::bank::wire::Totals { accounts, sum, deposited, withdrawn, lsn })
        }
        None => Response::Error { opcode, status: Status::Busy },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::vocab::Cents;
    use crate::service::bank::wire::Opcode;
    use crate::store::users::{AccountRange, Known, Role};

    fn login(role: Role) -> Login {
        Login::begin(b"somebody", Known { role, principal: 1 }).unwrap()
    }

    #[test]
    fn who_may_ask_what() {
        let (mine, other, amount) = (AccountId(5), AccountId(50), Cents(1));
        let customer = login(Role::Customer(AccountRange::new(AccountId(0), AccountId(9)).unwrap()));
        let (teller, auditor) = (login(Role::Teller), login(Role::Auditor));
        let forbidden = Err(Status::Forbidden);
        // request, before login, teller, auditor, customer
        let deposit = Request::Deposit { account: other, amount };
        let table = [
            (deposit, true, false, false),
            (Request::Deposit { account: mine, amount }, true, false, true),
            (Request::Withdraw { account: other, amount }, true, false, false),
            (Request::Transfer { from: mine, to: other, amount }, true, false, true),
            (Request::Transfer { from: other, to: mine, amount }, true, false, false),
            (Request::Balance { account: mine }, true, true, true),
            (Request::Balance { account: other }, true, true, false),
            (Request::Totals, true, true, false),
            (Request::History { account: mine, before: Lsn(0), limit: 1 }, true, true, true),
            (Request::History { account: other, before: Lsn(0), limit: 1 }, true, true, false),
        ];
        for (request, by_teller, by_auditor, by_customer) in table {
            assert_eq!(task_of(request, None), Err(Status::Auth), "{request:?} before LOGIN");
            for (login, allowed) in [(&teller, by_teller), (&auditor, by_auditor), (&customer, by_customer)] {
                let task = task_of(request, Some(login));
                assert!(if allowed { task.is_ok() } else { task == forbidden }, "{request:?} as {:?}", login.role);
            }
        }
        assert_eq!(task_of(Request::Ping, None), Ok(Task::TellTime));
    }

    #[test]
    fn who_answers_what() {
        let (account, amount) = (AccountId(5), Cents(1));
        let deposit = Request::Deposit { account, amount };
        let withdraw = Request::Withdraw { account, amount };
        let transfer = Request::Transfer { from: account, to: AccountId(6), amount };
        let balance = Request::Balance { account };
        let history = Request::History { account, before: Lsn(0), limit: 1 };
        let login = Request::Login { user: b"u", pass: b"p" };
        // request, by a follower without AFTER, and with it
        let table = [
            (login, true, true),
            (Request::Ping, true, true),
            (Request::Cluster, true, true),
            (balance, false, true),
            (history, false, true),
            (Request::Totals, false, false),
            (deposit, false, false),
            (withdraw, false, false),
            (transfer, false, false),
        ];
        assert_eq!(table.len(), Opcode::ALL.len());
        for (request, without, with) in table {
            for (names_after, by_follower) in [(false, without), (true, with)] {
                for role in ReplicaRole::ALL {
                    for (primary, refusal) in [(0, Status::NoQuorum), (2, Status::NotPrimary)] {
                        let everything = matches!(role, ReplicaRole::Alone | ReplicaRole::Primary);
                        let wanted = if everything || by_follower { Ok(()) } else { Err(refusal) };
                        let got = may_answer(Standing { role, primary }, &request, names_after);
                        assert_eq!(got, wanted, "{request:?}, after {names_after}, {role:?} of {primary}");
                    }
                }
            }
        }
    }

    #[test]
    fn an_instance_without_peers_is_its_own_cluster() {
        let address = "127.0.0.1:7777".to_owned();
        let lsns = [Lsn(7), Lsn(9)];
        let cluster = cluster_response(ClusterView::default(), (0, address.clone()), lsns, 5);
        assert_eq!((cluster.replica, cluster.role, cluster.term, cluster.primary), (0, ReplicaRole::Alone, 0, 0));
        assert_eq!((cluster.committed, cluster.applied, &cluster.primary_address), (Lsn(7), Lsn(9), &address));
        let [itself] = &cluster.members[..] else { panic!("{cluster:?}") };
        assert_eq!((itself.match_lsn, &itself.client_address), (Lsn(7), &address));
    }

    #[test]
    fn a_member_that_was_never_heard_is_told_from_one_that_was() {
        let member = |replica, heard_ns| MemberView { replica, heard_ns, ..MemberView::default() };
        let view = ClusterView {
            standing: Standing { role: ReplicaRole::Primary, primary: 1 },
            term: 3,
            members: vec![member(1, 0), member(2, 0), member(3, 2_000_000), member(4, 9_000_000)],
            ..ClusterView::default()
        };
        let cluster = cluster_response(view, (1, String::new()), [Lsn(1); 2], 5_000_000);
        let heard: Vec<_> = cluster.members.iter().map(|member| member.heard_ms).collect();
        assert_eq!(heard, [0, u32::MAX, 3, 0]);
        assert_eq!((cluster.replica, cluster.primary, cluster.term), (1, 1, 3));
    }

    #[test]
    fn a_statement_has_at_least_one_entry_and_at_most_a_page() {
        let (account, before) = (AccountId(5), Lsn(9));
        let teller = login(Role::Teller);
        let asked = |limit| task_of(Request::History { account, before, limit }, Some(&teller));
        assert_eq!(asked(0), Err(Status::Invalid));
        for (limit, wanted) in [(1, 1), (109, 109), (110, 109), (u16::MAX, 109)] {
            assert_eq!(asked(limit), Ok(Task::Statement { account, before, limit: wanted }));
        }
    }
}
