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
    pub fn has(&self, opcode: Opcode) -> bool {
        self.drawn().any(|(choice, _)| choice == opcode)
    }

    /// The operations that can be drawn, and their weights.
    fn drawn(&self) -> impl Iterator<Item = (Opcode, u32)> {
        CHOICES.into_iter().zip(self.weights.weights()).filter(|(_, weight)| *weight > 0)
    }
}

impl FromStr for Mix {
    type Err = String;

    fn from_str(text: &str) -> Result<Mix, String> {
        let mut weights = [None; CHOICES.len()];
        for part in text.split(',') {
            let malformed = || format!("`{part}` is no part of a mix: write name=weight, such as deposit=30");
            let (name, weight) = part.split_once('=').ok_or_else(malformed)?;
            let (name, weight) = (name.trim(), weight.trim().parse::<u32>().map_err(|_| malformed())?);
            let index = CHOICES.iter().position(|choice| choice.name().eq_ignore_ascii_case(name)).ok_or_else(|| {
                format!("`{name}` is no operation of a mix: choose from transfer, withdraw, deposit, balance, ping, totals")
            })?;
            if weights[index].replace(weight).is_some() {
                return Err(format!("`{name}` stands in the mix twice"));
            }
        }
        let weights = WeightedIndex::new(weights.map(Option::unwrap_or_default));
        let sum = |_| format!("the weights of a mix must add up to 1 at least and {} at most", u32::MAX);
        Ok(Mix { weights: weights.map_err(sum)? })
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
        for (text, part) in [
            ("deposit", "`deposit` is no part of a mix"),
            ("deposit=x", "`deposit=x` is no part of a mix"),
            ("steal=1", "`steal` is no operation of a mix"),
            ("login=1", "`login` is no operation of a mix"),
            ("ping=1,ping=2", "`ping` stands in the mix twice"),
            ("ping=0", "must add up to 1 at least"),
            ("ping=4294967295,totals=1", "and 4294967295 at most"),
        ] {
            assert!(text.parse::<Mix>().unwrap_err().contains(part), "{text}");
        }
    }
}
