//! The users file: no text is a panic, and no hash of it costs more than the bounds allow.
#![no_main]

use bank_vault::store::users::{Role, Users};
use bank_vault_fuzz::text;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some(text) = text(data) else { return };
    if let Ok(role) = text.parse::<Role>() {
        assert_eq!(role.to_string().parse(), Ok(role));
        assert_eq!(Role::from_bits(role.to_bits()), Some(role));
    }
    match Users::from_text(text) {
        Ok(users) => assert!(!users.is_demo()),
        Err((line, _)) => assert!(line >= 1 && line <= text.lines().count()),
    }
    // A hash alone, which a mutation of the whole line rarely leaves whole.
    let _ = Users::from_text(&format!("a:{text}:teller"));
    let _ = Users::from_text(&format!("a:$argon2id$v=19${text}$c29tZXNhbHRzb21l$YWJjZGVmZ2hpamtsbW5vcA:teller"));
});
