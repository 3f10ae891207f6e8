//! That what holds is held, and would be missed: each defect that is put in is found.

use std::panic::catch_unwind;

use super::faults::Faults;
use super::run;
use crate::process::replica::core::defect::Defect;

/// Whether a defect shows in one of so many lives, and nothing does in the same life without it.
fn is_found(defect: Defect, shape: fn(&mut Faults)) {
    let fails = |seed| match catch_unwind(|| run(seed, shape, Some(defect))) {
        Ok(result) => result.err(),
        Err(_) => Some("a panic".to_owned()),
    };
    let found = (0..LIVES).find_map(|seed| fails(seed).map(|error| (seed, error)));
    println!("{defect:?}: {found:?}");
    let (seed, _) = found.unwrap_or_else(|| panic!("{defect:?} is not found in {LIVES} lives"));
    for seed in 0..=seed {
        run(seed, shape, None).unwrap_or_else(|error| panic!("without {defect:?}: {error}"));
    }
}

#[test]
fn a_vote_that_is_not_synced_is_found() {
    is_found(Defect::VoteNotSynced, |_| ());
}

#[test]
fn an_acknowledgement_before_a_quorum_has_it_is_found() {
    is_found(Defect::AcknowledgedBeforeQuorum, |_| ());
}

#[test]
fn a_read_that_is_not_confirmed_is_found() {
    is_found(Defect::ReadNotConfirmed, Faults::cuts_only);
}

#[test]
fn a_truncation_without_intent_is_found() {
    is_found(Defect::TruncationWithoutIntent, Faults::truncations);
}

#[test]
fn a_gate_that_opens_early_is_found() {
    is_found(Defect::GateOpenedEarly, |_| ());
}

#[test]
fn a_late_report_of_persistence_that_counts_is_found() {
    is_found(Defect::LateReportCounts, Faults::late_reports);
}

#[test]
fn a_worker_that_goes_on_after_the_gate_was_closed_is_found() {
    is_found(Defect::StaleWorker, |_| ());
}

#[test]
fn a_snapshot_with_what_is_not_committed_is_found() {
    is_found(Defect::UncommittedSnapshot, |_| ());
}

#[test]
fn an_entry_that_ends_inside_an_operation_is_found() {
    is_found(Defect::CutsInsideOperations, |_| ());
}

/// Lives in which a defect is to be found.
const LIVES: u64 = 400;
