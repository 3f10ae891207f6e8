//! The operations that a frame can name.

use super::codes::codes;

codes! {
    /// What a request asks for.
    Opcode, else
    /// A number that is no opcode of protocol version 1; such a request is answered `ERR_BAD_FRAME`.
    #[error("{0:#06x} is not an opcode of protocol version 1")]
    UnknownOpcode;
    /// Prove who you are; every money operation needs it first.
    Login = 0x0001 "LOGIN",
    /// Put money into an account.
    Deposit = 0x0002 "DEPOSIT",
    /// Take money out of an account.
    Withdraw = 0x0003 "WITHDRAW",
    /// Move money from one account to another.
    Transfer = 0x0004 "TRANSFER",
    /// Read what an account holds.
    Balance = 0x0005 "BALANCE",
    /// Read a page of an account's statement.
    History = 0x0006 "HISTORY",
    /// Show that the connection lives; allowed before LOGIN.
    Ping = 0x00F0 "PING",
    /// Read the sums over all accounts as one consistent cut.
    Totals = 0x00F1 "TOTALS",
    /// Read who is a member of the cluster, who its primary is, and how far each has got.
    Cluster = 0x00F2 "CLUSTER",
}

impl Opcode {
    /// Whether the operation moves money, so that repeating it blindly would move it twice. These, and no others, can carry
    /// an idempotency key.
    #[inline]
    #[must_use]
    pub const fn is_money(self) -> bool {
        matches!(self, Opcode::Deposit | Opcode::Withdraw | Opcode::Transfer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_one_opcode_or_none() {
        let mut known = 0;
        for code in 0..=u16::MAX {
            match Opcode::try_from(code) {
                Ok(opcode) => {
                    assert_eq!(opcode.code(), code);
                    assert_eq!(Opcode::ALL[opcode.index()], opcode);
                    known += 1;
                }
                Err(error) => assert_eq!(error, UnknownOpcode(code)),
            }
        }
        assert_eq!(known, Opcode::ALL.len());
    }

    #[test]
    fn names_are_those_of_the_document_and_three_opcodes_move_money() {
        let names = Opcode::ALL.map(|opcode| opcode.to_string()).join(" ");
        assert_eq!(names, "LOGIN DEPOSIT WITHDRAW TRANSFER BALANCE HISTORY PING TOTALS CLUSTER");
        let money = Opcode::ALL.into_iter().filter(|opcode| opcode.is_money());
        assert_eq!(money.collect::<Vec<_>>(), [Opcode::Deposit, Opcode::Withdraw, Opcode::Transfer]);
    }
}
