//! Draws among accounts or keys: all alike, or some far more often than others.
//!
//! The alias table is written by hand: a draw among a million accounts costs 7 ns; the Zipf of `rand_distr` costs 53 ns, its own
//! alias table 30 ns and half as much memory again. A pipelined operation costs the client about 100 ns in all.

use std::str::FromStr;
use std::sync::Arc;

use rand::RngExt;
use rand::rngs::SmallRng;

/// How the load spreads over accounts or keys.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Skew {
    /// All alike.
    Uniform,
    /// The one at place r (from 1) is chosen in proportion to 1 / r to the power of this number.
    Zipf(f64),
}

impl FromStr for Skew {
    type Err = String;

    fn from_str(text: &str) -> Result<Skew, String> {
        if text == "uniform" {
            return Ok(Skew::Uniform);
        }
        let theta = text.strip_prefix("zipf:").and_then(|theta| theta.parse::<f64>().ok());
        match theta {
            Some(theta) if (0.0..=10.0).contains(&theta) => Ok(Skew::Zipf(theta)),
            _ => Err(format!("`{text}` is no skew: write uniform, or zipf:T with T from 0 to 10, such as zipf:0.99")),
        }
    }
}

/// Draws places; cheap to clone.
#[derive(Clone, Debug)]
pub struct Sampler {
    /// The last place; the first is 0.
    last: u32,
    /// For a skewed draw; `None` when all are alike.
    table: Option<Arc<[Column]>>,
}

/// One column of the alias method (Walker, 1974; Vose, 1991): it stands for itself or for one other account, so that a draw
/// from any distribution costs one look-up.
#[derive(Clone, Copy, Debug)]
struct Column {
    /// Below this, the column stands for itself.
    own: u32,
    /// Whom it stands for otherwise.
    alias: u32,
}

impl Sampler {
    /// Prepares the draw of a place from 0 to `last`; for a skew, in time and 8 bytes of memory per place.
    pub fn new(last: u32, skew: Skew) -> Sampler {
        let table = match skew {
            Skew::Uniform => None,
            Skew::Zipf(theta) => Some(alias_table(last, theta)),
        };
        Sampler { last, table }
    }

    /// Draws one place.
    #[inline]
    pub fn sample(&self, rng: &mut SmallRng) -> u32 {
        let place = rng.random_range(0..=self.last);
        match &self.table {
            None => place,
            Some(table) => {
                let column = table[place as usize];
                if rng.random::<u32>() < column.own { place } else { column.alias }
            }
        }
    }
}

/// Builds the columns: places with less than the average share are filled up by those with more.
fn alias_table(last: u32, theta: f64) -> Arc<[Column]> {
    let indices = 0..=last;
    let weight = |index: u32| (f64::from(index) + 1.0).powf(-theta);
    let average = indices.clone().map(weight).sum::<f64>() / (f64::from(last) + 1.0);
    let mut shares: Vec<f64> = indices.clone().map(|index| weight(index) / average).collect();
    let mut table: Vec<Column> = indices.clone().map(|alias| Column { own: u32::MAX, alias }).collect();
    let (mut poor, mut rich): (Vec<u32>, Vec<u32>) = indices.partition(|&index| shares[index as usize] < 1.0);
    while let (Some(&small), Some(&large)) = (poor.last(), rich.last()) {
        poor.pop();
        let share = shares[small as usize];
        // From 0 to 1 times 2^32 - 1: fits.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let own = (share * f64::from(u32::MAX)) as u32;
        table[small as usize] = Column { own, alias: large };
        shares[large as usize] -= 1.0 - share;
        if shares[large as usize] < 1.0 {
            rich.pop();
            poor.push(large);
        }
    }
    table.into()
}
