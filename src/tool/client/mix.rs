//! The mix: how often each operation is sent.

use std::fmt;
use std::str::FromStr;

use rand::distr::Distribution;
use rand::distr::weighted::WeightedIndex;
use rand::rngs::SmallRng;

use crate::service::bank::wire::Opcode;

/// The operations that a load can be made of.
const CHOICES: [Opcode; 6] =
    [Opcode::Transfer, Opcode::Withdraw, Opcode::Deposit, Opcode::Balance, Opcode::Ping, Opcode::Totals];

/// Weights of the operations, in the order of `CHOICES`; at least one is not zero.
#[derive(Clone, Debug, PartialEq)]
pub struct Mix {
    weights: WeightedIndex<u32>,
}

impl Mix {
    /// Draws an operation.
    #[inline]
    pub fn choose(&self, rng: &mut SmallRng) -> Opcode {
        CHOICES[self.weights.sample(rng)]
    }

    /// Whether the operation can be drawn.
    #[must_use]
    pub fn has(&self, opcode: Opcode) -> bool {
        self.drawn().any(|(choice, _)| choice == opcode)
    }

    /// The operations that can be drawn, and their weights.
    fn drawn(&self) -> impl Iterator<Item = (Opcode, u32)> {
        CHOICES.into_iter().zip(self.weights.weights()).filter(|(_, weight)| *weight > 0)
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
            let index = CHOICES.iter().position(|choice| choice.name().eq_ignore_ascii_case(name));
            let weight_of = &mut weights[index.ok_or_else(|| MixError::Unknown(name.to_owned()))?];
            if weight_of.replace(weight).is_some() {
                return Err(MixError::Twice(name.to_owned()));
            }
        }
        let weights = WeightedIndex::new(weights.map(Option::unwrap_or_default)).map_err(|_| MixError::Sum)?;
        Ok(Mix { weights })
    }
}

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut comma = "";
        for (choice, weight) in self.drawn() {
            write!(f, "{comma}{}={weight}", choice.name().to_ascii_lowercase())?;
            comma = ",";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn operations_are_drawn_by_their_weights() {
        let mix: Mix = "transfer=10,withdraw=20,deposit=30,balance=40".parse().unwrap();
        let mut rng = SmallRng::seed_from_u64(3);
        let mut counts = [0u32; 8];
        for _ in 0..100_000 {
            counts[mix.choose(&mut rng).index()] += 1;
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
        let mut rng = SmallRng::seed_from_u64(4);
        assert!((0..1000).all(|_| mix.choose(&mut rng) == Opcode::Totals));
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
