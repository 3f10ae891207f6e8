//! Each defect that the verifier is for is seeded, and found.

use super::*;
use crate::tool::client::kv_load::values::Values;

const RUN: u64 = 99;

struct Run {
    verifier: Verifier,
    values: Values,
}

impl Run {
    /// Two connections have written key 3 and key 4: versions 10 and 20, and 30.
    fn new() -> Run {
        let run = Run { verifier: Verifier::new(8, 2, RUN), values: Values::new(1, true) };
        run.write(3, 0, 1, 10).unwrap();
        run.write(3, 1, 1, 20).unwrap();
        run.write(4, 1, 2, 30).unwrap();
        run
    }

    fn write(&self, key: u32, writer: u32, count: u64, version: u64) -> Result<(), Violation> {
        let floor = self.verifier.floor(key);
        self.verifier.send(key, writer, count);
        self.verifier.check_write(&Stamp { run: RUN, key, writer, count }, floor, version)
    }

    fn value(&self, key: u32, writer: u32, count: u64) -> Vec<u8> {
        self.values.value(&Stamp { run: RUN, key, writer, count }, 100, &mut Vec::new()).to_vec()
    }

    /// Reads key 3 as version `version`.
    fn read(&self, version: u64, value: &[u8]) -> Result<(), Violation> {
        self.verifier.check_read(3, self.verifier.floor(3), version, value)
    }
}

#[test]
fn what_a_single_copy_would_show_is_right() {
    let run = Run::new();
    assert_eq!(run.read(20, &run.value(3, 1, 1)), Ok(()));
    // A write that is under way may be seen before it is answered, and gets the version that was seen.
    run.verifier.send(3, 0, 2);
    assert_eq!(run.read(40, &run.value(3, 0, 2)), Ok(()));
    assert_eq!(run.verifier.floor(3), 40);
    assert_eq!(run.verifier.check_write(&Stamp { run: RUN, key: 3, writer: 0, count: 2 }, 20, 40), Ok(()));
    // A read that was sent before that may show what was there then.
    assert_eq!(run.verifier.check_read(3, 20, 20, &run.value(3, 1, 1)), Ok(()));
    assert_eq!(run.verifier.check_missing(run.verifier.floor(5)), Ok(()));
}

#[test]
fn each_defect_is_found() {
    let run = Run::new();
    let mut torn = run.value(3, 1, 1);
    torn[50..].copy_from_slice(&run.value(3, 0, 1)[50..]);
    assert_eq!(run.read(20, &torn), Err(Violation::Torn));
    assert_eq!(run.read(20, b""), Err(Violation::Torn));
    assert_eq!(run.read(30, &run.value(4, 1, 2)), Err(Violation::OtherKey(4)));
    let foreign = Stamp { run: 98, key: 3, writer: 1, count: 1 };
    assert_eq!(run.read(20, run.values.value(&foreign, 100, &mut Vec::new())), Err(Violation::OtherRun));
    assert_eq!(run.read(10, &run.value(3, 0, 1)), Err(Violation::Older { version: 10, known: 20 }));
    assert_eq!(run.verifier.check_missing(20), Err(Violation::Missing { known: 20 }));
    for (writer, count) in [(0, 2), (1, 3), (2, 1), (9, 1), (0, 0)] {
        assert_eq!(run.read(50, &run.value(3, writer, count)), Err(Violation::NeverSent { writer, count }));
    }
    assert_eq!(run.read(20, &run.value(3, 0, 1)), Err(Violation::TwoValues { version: 20 }));
    assert_eq!(run.read(21, &run.value(3, 1, 1)), Err(Violation::TwoVersions { version: 21, known: 20 }));
    for version in [0, 10, 20] {
        assert_eq!(run.write(3, 0, 2, version), Err(Violation::NotAbove { version, known: 20 }));
    }
    assert_eq!(run.verifier.floor(3), 20, "what is wrong is not learnt");
}
