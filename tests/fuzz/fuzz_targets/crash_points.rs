//! The variable that arms crash points.
#![no_main]

use bank_vault::base::crash_point::armed_for;
use bank_vault_fuzz::text;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some(text) = text(data) else { return };
    for who in ["0", "7", "journal"] {
        match armed_for(text, who) {
            Ok(Some(charge)) => {
                assert!(charge.hit > 0);
                let stop = if charge.stop { "/stop" } else { "" };
                let written = format!("{who}:{}#{}{stop}", charge.point.name(), charge.hit);
                assert_eq!(armed_for(&written, who), Ok(Some(charge)));
            }
            Ok(None) => {}
            Err(entry) => assert!(text.split(',').any(|part| part == entry)),
        }
    }
});
