//! The bank's counter: what a request means for this user, and what an outcome is called on the wire. Pure.

use crate::base::limits::MAX_STATEMENT_ENTRIES;
use crate::base::vocab::{AccountId, Lsn};
use crate::service::bank::session::login::Login;
use crate::service::bank::wire::{Request, Response, Status};
use crate::store::journal::record::Verdict;
use crate::store::ledger::keys::Remembered;
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
        Request::History { account, .. } if !role.may_read(account) => Err(Status::Forbidden),
        Request::History { limit: 0, .. } => Err(Status::Invalid),
        Request::History { account, before, limit } => {
            Ok(Task::Statement { account, before, limit: usize::from(limit).min(MAX_STATEMENT_ENTRIES) })
        }
        Request::Ping | Request::Login { .. } => unreachable!("answered above, without a session"),
    }
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
pub fn verdict_of(first: &Remembered) -> Result<Outcome, Refusal> {
    match first.verdict {
        Verdict::Done => Ok(Outcome { balances: first.balances, ..Outcome::NOTHING }),
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
