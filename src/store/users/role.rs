//! What a user may do.

use std::fmt;
use std::str::FromStr;

use crate::base::limits::MAX_ACCOUNTS;
use crate::base::vocab::AccountId;

/// Bits of an account number inside [`Role::to_bits`].
const ACCOUNT_BITS: u32 = 30;
const ACCOUNT_MASK: u64 = (1 << ACCOUNT_BITS) - 1;
const KIND_SHIFT: u32 = 2 * ACCOUNT_BITS;
const KIND_TELLER: u64 = 1;
const KIND_AUDITOR: u64 = 2;
const KIND_CUSTOMER: u64 = 3;

const _: () = assert!(MAX_ACCOUNTS <= 1 << ACCOUNT_BITS, "two account numbers and the kind must share 64 bits");

/// The accounts of a customer, both ends included; never empty, never beyond [`MAX_ACCOUNTS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccountRange {
    first: u32,
    last: u32,
}

impl AccountRange {
    /// The accounts from `first` to `last`, or `None` if they are in the wrong order or no account can have such a
    /// number.
    #[must_use]
    pub fn new(first: AccountId, last: AccountId) -> Option<AccountRange> {
        (first <= last && last.0 < MAX_ACCOUNTS).then_some(AccountRange { first: first.0, last: last.0 })
    }

    /// Whether `account` is one of them.
    #[must_use]
    pub fn contains(self, account: AccountId) -> bool {
        (self.first..=self.last).contains(&account.0)
    }
}

/// The right of a user over accounts, as the third field of the users file says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// `teller`: reads and moves everything.
    Teller,
    /// `auditor`: reads everything, moves nothing.
    Auditor,
    /// `customer:LO-HI`: reads and moves the accounts LO to HI; may pay into any.
    Customer(AccountRange),
}

impl Role {
    /// May read keys and values. A customer's right is over accounts alone.
    #[must_use]
    pub fn may_read_keys(self) -> bool {
        matches!(self, Role::Teller | Role::Auditor)
    }

    /// May write keys and values.
    #[must_use]
    pub fn may_write_keys(self) -> bool {
        self == Role::Teller
    }

    /// May ask for the balance and the history of `account`.
    #[must_use]
    pub fn may_read(self, account: AccountId) -> bool {
        match self {
            Role::Teller | Role::Auditor => true,
            Role::Customer(own) => own.contains(account),
        }
    }

    /// May deposit into, withdraw from, or transfer out of `account`.
    #[must_use]
    pub fn may_write(self, account: AccountId) -> bool {
        match self {
            Role::Teller => true,
            Role::Auditor => false,
            Role::Customer(own) => own.contains(account),
        }
    }

    /// May name `account` as the receiver of a transfer; the sender needs [`Role::may_write`].
    #[must_use]
    pub fn may_pay_into(self, _account: AccountId) -> bool {
        // Everyone may be paid, so the account does not matter yet; it is asked for, because callers must not assume so.
        match self {
            Role::Teller | Role::Customer(_) => true,
            Role::Auditor => false,
        }
    }

    /// May ask for the totals of the whole ledger.
    #[must_use]
    pub fn may_see_totals(self) -> bool {
        match self {
            Role::Teller | Role::Auditor => true,
            Role::Customer(_) => false,
        }
    }

    /// The role as one word for a session in shared memory; never zero, so that zero can stand for "not logged in".
    ///
    /// Bits 60 and up: the kind; bits 30 to 59: the last account; bits 0 to 29: the first. A kind without accounts has
    /// zeros there.
    #[must_use]
    pub fn to_bits(self) -> u64 {
        match self {
            Role::Teller => KIND_TELLER << KIND_SHIFT,
            Role::Auditor => KIND_AUDITOR << KIND_SHIFT,
            Role::Customer(own) => {
                KIND_CUSTOMER << KIND_SHIFT | u64::from(own.last) << ACCOUNT_BITS | u64::from(own.first)
            }
        }
    }

    /// The role that [`Role::to_bits`] wrote, or `None` for any word that it cannot have written.
    #[must_use]
    pub fn from_bits(bits: u64) -> Option<Role> {
        let first = u32::try_from(bits & ACCOUNT_MASK).ok()?;
        let last = u32::try_from(bits >> ACCOUNT_BITS & ACCOUNT_MASK).ok()?;
        match (bits >> KIND_SHIFT, first, last) {
            (KIND_TELLER, 0, 0) => Some(Role::Teller),
            (KIND_AUDITOR, 0, 0) => Some(Role::Auditor),
            (KIND_CUSTOMER, _, _) => AccountRange::new(AccountId(first), AccountId(last)).map(Role::Customer),
            _ => None,
        }
    }
}

/// Writes the third field of the users file.
impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Role::Teller => f.write_str("teller"),
            Role::Auditor => f.write_str("auditor"),
            Role::Customer(own) => write!(f, "customer:{}-{}", own.first, own.last),
        }
    }
}

/// A text that is not a role.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a role: write `teller`, `auditor` or `customer:LO-HI` with the customer's first and last account, \
     LO not above HI, both from 0 to {most}", most = MAX_ACCOUNTS - 1
)]
pub struct RoleError(pub String);

/// Reads the third field of the users file.
impl FromStr for Role {
    type Err = RoleError;

    fn from_str(text: &str) -> Result<Self, RoleError> {
        match text {
            "teller" => Some(Role::Teller),
            "auditor" => Some(Role::Auditor),
            _ => text.strip_prefix("customer:").and_then(parse_range).map(Role::Customer),
        }
        .ok_or_else(|| RoleError(text.to_owned()))
    }
}

fn parse_range(text: &str) -> Option<AccountRange> {
    let (first, last) = text.split_once('-')?;
    AccountRange::new(parse_account(first)?, parse_account(last)?)
}

/// Digits only: `u32::from_str` alone would also take a plus sign.
fn parse_account(text: &str) -> Option<AccountId> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    if digits { text.parse().ok().map(AccountId) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn customer(first: u32, last: u32) -> Role {
        Role::Customer(AccountRange::new(AccountId(first), AccountId(last)).unwrap())
    }

    fn any_role() -> impl Strategy<Value = Role> {
        prop_oneof![
            Just(Role::Teller),
            Just(Role::Auditor),
            (0..MAX_ACCOUNTS, 0..MAX_ACCOUNTS).prop_map(|(a, b)| customer(a.min(b), a.max(b))),
        ]
    }

    #[test]
    fn rights_are_as_the_table_says() {
        let own = customer(10, 19);
        // Role, account, may read, may write, may pay into.
        let table = [
            (Role::Teller, 0, true, true, true),
            (Role::Auditor, 0, true, false, false),
            (own, 9, false, false, true),
            (own, 10, true, true, true),
            (own, 19, true, true, true),
            (own, 20, false, false, true),
        ];
        for (role, account, read, write, pay) in table {
            let account = AccountId(account);
            let rights = (role.may_read(account), role.may_write(account), role.may_pay_into(account));
            assert_eq!(rights, (read, write, pay), "{role} on {account}");
        }
        assert!(Role::Teller.may_see_totals() && Role::Auditor.may_see_totals() && !own.may_see_totals());
    }

    #[test]
    fn only_roles_are_read_as_roles() {
        assert_eq!("customer:0-1073741823".parse(), Ok(customer(0, MAX_ACCOUNTS - 1)));
        assert_eq!("customer:7-7".parse(), Ok(customer(7, 7)));
        for text in [
            "",
            "Teller",
            "teller ",
            "customer",
            "customer:",
            "customer:5",
            "customer:-",
            "customer:1-",
            "customer:2-1",
            "customer:+1-2",
            "customer:1-2-3",
            "customer:0-1073741824",
            "customer:0-4294967296",
            "auditor:1-2",
        ] {
            assert_eq!(text.parse::<Role>(), Err(RoleError(text.to_owned())));
        }
    }

    #[test]
    fn words_that_no_role_wrote_are_refused() {
        let teller = Role::Teller.to_bits();
        let backwards = KIND_CUSTOMER << KIND_SHIFT | 1 << ACCOUNT_BITS | 2;
        for bits in [0, 1, teller | 1, teller | 1 << ACCOUNT_BITS, 4 << KIND_SHIFT, u64::MAX, backwards] {
            assert_eq!(Role::from_bits(bits), None, "{bits:#x}");
        }
    }

    proptest! {
        #[test]
        fn bits_and_text_round_trip(role in any_role()) {
            prop_assert_ne!(role.to_bits(), 0);
            prop_assert_eq!(Role::from_bits(role.to_bits()), Some(role));
            prop_assert_eq!(role.to_string().parse(), Ok(role));
        }

        #[test]
        fn whatever_is_accepted_is_written_back_alike(bits: u64) {
            if let Some(role) = Role::from_bits(bits) {
                prop_assert_eq!(role.to_bits(), bits);
            }
        }
    }
}
