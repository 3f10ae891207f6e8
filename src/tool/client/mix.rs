//! The mix: how often each operation is sent.

use std::fmt;
use std::str::FromStr;

use crate::service::bank::wire::Opcode;
use crate::tool::client::prng::scale;

/// The operations that a load can be made of.
const CHOICES: [Opcode; 6] =
    [Opcode::Transfer, Opcode::Withdraw, Opcode::Deposit, Opcode::Balance, Opcode::Ping, Opcode::Totals];

/// Weights of the operations; at least one is not zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mix {
    /// One weight per entry of [`CHOICES`].
    weights: [u32; CHOICES.len()],
    /// `bounds[i]` is the sum of the weights up to and with the i-th.
    bounds: [u32; CHOICES.len()],
}

impl Mix {
    /// PING and nothing else.
    #[must_use]
    pub fn pings() -> Mix {
        let weights = CHOICES.map(|choice| u32::from(choice == Opcode::Ping));
        let mut sum = 0;
        let bounds = weights.map(|weight| {
            sum += weight;
            sum
        });
        Mix { weights, bounds }
    }

    /// The operation that 32 random bits choose.
    #[inline]
    #[must_use]
    pub fn choose(&self, bits: u32) -> Opcode {
        let at = scale(bits, self.total());
        // Counting, unlike searching, has no branch that a random number could make the processor guess wrong.
        let passed = self.bounds.iter().map(|&bound| usize::from(at >= bound)).sum::<usize>();
        CHOICES[passed.min(CHOICES.len() - 1)]
    }

    /// Whether the operation can be chosen.
    #[must_use]
    pub fn has(&self, opcode: Opcode) -> bool {
        CHOICES.iter().zip(self.weights).any(|(&choice, weight)| choice == opcode && weight > 0)
    }

    fn total(&self) -> u32 {
        self.bounds[CHOICES.len() - 1]
    }
}

/// Why a text is no mix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MixError {
    /// A part is not of the form `name=weight`.
    #[error("`{0}` is no part of a mix: write name=weight, such as deposit=30")]
    Malformed(String),
    /// A name is none of the operations.
    #[error("`{0}` is no operation of a mix: choose from transfer, withdraw, deposit, balance, ping, totals")]
    Unknown(String),
    /// A name stands there twice.
    #[error("`{0}` stands in the mix twice")]
    Twice(String),
    /// All weights are zero, or together beyond 32 bits.
    #[error("the weights of a mix must add up to 1 at least and {} at most", u32::MAX)]
    Sum,
}

impl FromStr for Mix {
    type Err = MixError;

    fn from_str(text: &str) -> Result<Mix, MixError> {
        let mut weights = [None; CHOICES.len()];
        for part in text.split(',') {
            let malformed = || MixError::Malformed(part.to_owned());
            let (name, weight) = part.split_once('=').ok_or_else(malformed)?;
            let weight: u32 = weight.trim().parse().map_err(|_| malformed())?;
            let name = name.trim();
            let place = CHOICES.iter().position(|choice| choice.name().eq_ignore_ascii_case(name));
            let slot = &mut weights[place.ok_or_else(|| MixError::Unknown(name.to_owned()))?];
            if slot.replace(weight).is_some() {
                return Err(MixError::Twice(name.to_owned()));
            }
        }
        let weights = weights.map(Option::unwrap_or_default);
        let mut bounds = [0; CHOICES.len()];
        let mut sum = 0u32;
        for (bound, weight) in bounds.iter_mut().zip(weights) {
            sum = sum.checked_add(weight).ok_or(MixError::Sum)?;
            *bound = sum;
        }
        if sum == 0 { Err(MixError::Sum) } else { Ok(Mix { weights, bounds }) }
    }
}

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut comma = "";
        for (choice, weight) in CHOICES.iter().zip(self.weights).filter(|(_, weight)| *weight > 0) {
            write!(f, "{comma}{}={weight}", choice.name().to_ascii_lowercase())?;
            comma = ",";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tool::client::prng::{Prng, low};

    #[test]
    fn a_mix_is_chosen_by_its_weights() {
        let mix: Mix = "transfer=10,withdraw=20,deposit=30,balance=40".parse().unwrap();
        let mut prng = Prng::new(3, 0);
        let mut counts = [0u32; 8];
        for _ in 0..100_000 {
            counts[mix.choose(low(prng.next_u64())).index()] += 1;
        }
        for (opcode, wanted) in
            [(Opcode::Transfer, 10), (Opcode::Withdraw, 20), (Opcode::Deposit, 30), (Opcode::Balance, 40)]
        {
            let got = counts[opcode.index()];
            assert!((wanted * 950..wanted * 1050).contains(&got), "{opcode}: {got}");
        }
        assert_eq!(counts[Opcode::Ping.index()] + counts[Opcode::Totals.index()], 0);
        assert_eq!(mix.to_string().parse(), Ok(mix));
    }

    #[test]
    fn a_mix_of_one_is_always_that_one() {
        let mix: Mix = "Totals=1".parse().unwrap();
        assert!([0, 1, u32::MAX].iter().all(|&bits| mix.choose(bits) == Opcode::Totals));
        assert!(mix.has(Opcode::Totals) && !mix.has(Opcode::Transfer));
    }

    #[test]
    fn what_is_no_mix_is_told_why() {
        for (text, error) in [
            ("deposit", MixError::Malformed("deposit".into())),
            ("deposit=x", MixError::Malformed("deposit=x".into())),
            ("steal=1", MixError::Unknown("steal".into())),
            ("login=1", MixError::Unknown("login".into())),
            ("ping=1,ping=2", MixError::Twice("ping".into())),
            ("ping=0", MixError::Sum),
            ("ping=4294967295,totals=1", MixError::Sum),
        ] {
            assert_eq!(text.parse::<Mix>(), Err(error), "{text}");
        }
    }
}
