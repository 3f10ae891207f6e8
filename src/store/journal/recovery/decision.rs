//! The whole decision about the first slot that is no good record, as one table.

/// The contents of the first slot that is no good record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// There is no such segment, nor a later one.
    Absent,
    /// Zeros.
    Zero,
    /// Something whose checksum or LSN is wrong.
    Damaged,
    /// The file ends before the slot does.
    Short,
    /// A record of right checksum that no writer can have written.
    Senseless,
}

/// What the first slot that is no good record means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The journal ends there.
    Clean,
    /// The journal ends there; what is left of a batch that was never acknowledged must be truncated.
    Torn,
    /// Something that had been durable is gone.
    Corrupt,
}

/// The table. `witness`: something later shows that the slot had been durable; `leftovers`: something later is not zero; `is_open`: the
/// last good record is of a raft entry, or of a write to the key-value store, and does not end it.
///
/// An entry is reported as persisted as a whole, so one that is not whole was not; nor was anybody told of a write that is not. It goes, as
/// what is left of a batch does.
#[must_use]
pub fn decide(slot: Slot, witness: bool, leftovers: bool, is_open: bool) -> End {
    match (slot, witness, leftovers || is_open) {
        (_, true, _) | (Slot::Senseless, ..) => End::Corrupt,
        (Slot::Absent | Slot::Zero, false, false) => End::Clean,
        (Slot::Absent | Slot::Zero, false, true) | (Slot::Damaged | Slot::Short, false, _) => End::Torn,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_over_all_inputs() {
        use End::{Clean, Corrupt, Torn};
        use Slot::{Absent, Damaged, Senseless, Short, Zero};
        let wanted = [
            // (slot, [no witness: nothing behind, leftovers behind; a witness: either], the same behind an entry or a write that is not whole)
            (Absent, [Clean, Torn, Corrupt, Corrupt], [Torn, Torn, Corrupt, Corrupt]),
            (Zero, [Clean, Torn, Corrupt, Corrupt], [Torn, Torn, Corrupt, Corrupt]),
            (Damaged, [Torn, Torn, Corrupt, Corrupt], [Torn, Torn, Corrupt, Corrupt]),
            (Short, [Torn, Torn, Corrupt, Corrupt], [Torn, Torn, Corrupt, Corrupt]),
            (Senseless, [Corrupt, Corrupt, Corrupt, Corrupt], [Corrupt, Corrupt, Corrupt, Corrupt]),
        ];
        for (slot, behind_a_whole_one, behind_an_open_one) in wanted {
            for (is_open, ends) in [(false, behind_a_whole_one), (true, behind_an_open_one)] {
                let inputs = [(false, false), (false, true), (true, false), (true, true)];
                let found = inputs.map(|(witness, leftovers)| decide(slot, witness, leftovers, is_open));
                assert_eq!(found, ends, "{slot:?}, open: {is_open}");
            }
        }
    }
}
