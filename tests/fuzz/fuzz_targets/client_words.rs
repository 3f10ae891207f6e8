//! Words of the client's options: amounts, keys, mixes, ranges, skews. What is read is written, and read again, the same.
#![no_main]

use bank_vault::base::vocab::Cents;
use bank_vault::tool::client::accounts::{AccountRange, AccountSampler};
use bank_vault::tool::client::keys::Key;
use bank_vault::tool::client::mix::Mix;
use bank_vault::tool::client::sampler::Skew;
use bank_vault_fuzz::text;
use libfuzzer_sys::fuzz_target;
use rand::SeedableRng;
use rand::rngs::SmallRng;

fuzz_target!(|data: &[u8]| {
    let Some(text) = text(data) else { return };
    if let Ok(amount) = text.parse::<Cents>() {
        assert_eq!(amount.to_string().parse(), Ok(amount));
    }
    if let Ok(key) = text.parse::<Key>() {
        assert_eq!(key.to_string().parse(), Ok(key));
    }
    if let Ok(mix) = text.parse::<Mix>() {
        assert_eq!(mix.to_string().parse(), Ok(mix.clone()));
        let mut rng = SmallRng::seed_from_u64(7);
        assert!((0..16).all(|_| mix.has(mix.choose(&mut rng))));
    }
    let mut words = text.splitn(2, ' ');
    let range = words.next().and_then(|word| word.parse::<AccountRange>().ok());
    let skew = words.next().map_or(Some(Skew::Uniform), |word| word.parse().ok());
    let (Some(range), Some(skew)) = (range, skew) else { return };
    assert!(range.count() >= 1);
    if range.count() < 1000 || skew == Skew::Uniform {
        let sampler = AccountSampler::new(range, skew);
        let mut rng = SmallRng::seed_from_u64(7);
        assert!((0..16).all(|_| range.index_of(sampler.sample(&mut rng)).is_some()));
    }
});
