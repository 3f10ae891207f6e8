//! The operations that a frame can name.

use std::fmt;

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum Opcode {
    /// Prove who you are; every money operation needs it first.
    Login = 0x0001,
    /// Put money into an account.
    Deposit = 0x0002,
    /// Take money out of an account.
    Withdraw = 0x0003,
    /// Move money from one account to another.
    Transfer = 0x0004,
    /// Read what an account holds.
    Balance = 0x0005,
    /// Read a page of an account's statement.
    History = 0x0006,
    /// Show that the connection lives; allowed before LOGIN.
    Ping = 0x00F0,
    /// Read the sums over all accounts as one consistent cut.
    Totals = 0x00F1,
}

impl Opcode {
    /// Every opcode, in the order of [`Opcode::index`].
    pub const ALL: [Opcode; 8] = [
        Opcode::Login,
        Opcode::Deposit,
        Opcode::Withdraw,
        Opcode::Transfer,
        Opcode::Balance,
        Opcode::History,
        Opcode::Ping,
        Opcode::Totals,
    ];

    /// The number on the wire.
    #[inline]
    #[must_use]
    pub const fn code(self) -> u16 {
        self as u16
    }

    /// The place in [`Opcode::ALL`], for tables of counters.
    #[inline]
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Opcode::Login => 0,
            Opcode::Deposit => 1,
            Opcode::Withdraw => 2,
            Opcode::Transfer => 3,
            Opcode::Balance => 4,
            Opcode::History => 5,
            Opcode::Ping => 6,
            Opcode::Totals => 7,
        }
    }

    /// The name in the protocol document, such as `DEPOSIT`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Opcode::Login => "LOGIN",
            Opcode::Deposit => "DEPOSIT",
            Opcode::Withdraw => "WITHDRAW",
            Opcode::Transfer => "TRANSFER",
            Opcode::Balance => "BALANCE",
            Opcode::History => "HISTORY",
            Opcode::Ping => "PING",
            Opcode::Totals => "TOTALS",
        }
    }

    /// Whether the operation moves money, so that repeating it blindly would move it twice. These, and no others, can carry
    /// an idempotency key.
    #[inline]
    #[must_use]
    pub const fn is_money(self) -> bool {
        matches!(self, Opcode::Deposit | Opcode::Withdraw | Opcode::Transfer)
    }
}

impl fmt::Display for Opcode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A number that is no opcode of protocol version 1; such a request is answered `ERR_BAD_FRAME`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:#06x} is not an opcode of protocol version 1")]
pub struct UnknownOpcode(pub u16);

impl TryFrom<u16> for Opcode {
    type Error = UnknownOpcode;

    #[inline]
    fn try_from(code: u16) -> Result<Opcode, UnknownOpcode> {
        match code {
            0x0001 => Ok(Opcode::Login),
            0x0002 => Ok(Opcode::Deposit),
            0x0003 => Ok(Opcode::Withdraw),
            0x0004 => Ok(Opcode::Transfer),
            0x0005 => Ok(Opcode::Balance),
            0x0006 => Ok(Opcode::History),
            0x00F0 => Ok(Opcode::Ping),
            0x00F1 => Ok(Opcode::Totals),
            other => Err(UnknownOpcode(other)),
        }
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
        assert_eq!(names, "LOGIN DEPOSIT WITHDRAW TRANSFER BALANCE HISTORY PING TOTALS");
        let money = Opcode::ALL.into_iter().filter(|opcode| opcode.is_money());
        assert_eq!(money.collect::<Vec<_>>(), [Opcode::Deposit, Opcode::Withdraw, Opcode::Transfer]);
    }
}
