//! Account files: what is read is within the bounds and is read again as it is written; else every bad line is one of the text.
#![no_main]

use bank_vault::base::vocab::{AccountId, Cents};
use bank_vault::store::journal::{AccountFile, Bounds, write_line};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let bounds = Bounds { accounts: 100, most: Cents(i64::MAX / 100) };
    let parse = |text: &[u8]| AccountFile::parse(text, bounds).expect("memory can be read");
    match parse(data) {
        Ok(balances) => {
            let mut text = Vec::new();
            for (account, balance) in balances.from(AccountId(0)) {
                assert!(account.0 < bounds.accounts && (Cents::ZERO..=bounds.most).contains(&balance));
                write_line(&mut text, account, balance).expect("memory can be written");
            }
            assert_eq!(parse(&text), Ok(balances));
        }
        Err((bad, count)) => {
            assert!(count >= bad.len() as u64 && !bad.is_empty());
            let lines = data.split(|byte| *byte == b'\n').count() as u64;
            assert!(bad.iter().all(|bad| (1..=lines).contains(&bad.line)));
            assert!(bad.is_sorted_by(|one, other| one.line < other.line));
            assert!(bad.iter().all(|bad| !bad.why.to_string().contains(char::is_control)));
        }
    }
});
