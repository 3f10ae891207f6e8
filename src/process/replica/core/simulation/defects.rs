//! That what holds is held, and would be missed: each defect that is put in is found.

use std::panic::catch_unwind;

use super::run;
use crate::process::replica::core::defect::Defect;

/// The first life of so many in which a defect shows.
fn first_found(defect: Defect, lives: u64) -> Option<(u64, String)> {
    let fails = |seed| match catch_unwind(|| run(seed, Some(defect))) {
        Ok(result) => result.err(),
        Err(_) => Some("a panic".to_owned()),
    };
    (0..lives).find_map(|seed| fails(seed).map(|error| (seed, error)))
}

fn is_found(defect: Defect, lives: u64) {
    // The test that nothing is found without it runs over these lives, and more.
    let found = first_found(defect, lives);
    println!("{defect:?}: {found:?}");
    assert!(found.is_some(), "{defect:?} is not found in {lives} lives");
}

#[test]
fn a_vote_that_is_not_synced_is_found() {
    is_found(Defect::VoteNotSynced, LIVES);
}

#[test]
fn an_acknowledgement_before_a_quorum_has_it_is_found() {
    is_found(Defect::AcknowledgedBeforeQuorum, LIVES);
}

#[test]
fn a_read_that_is_not_confirmed_is_found() {
    is_found(Defect::ReadNotConfirmed, LIVES);
}

#[test]
fn a_truncation_without_intent_is_found() {
    is_found(Defect::TruncationWithoutIntent, LIVES);
}

#[test]
fn a_gate_that_opens_early_is_found() {
    is_found(Defect::GateOpenedEarly, LIVES);
}

#[test]
fn a_late_report_of_persistence_that_counts_is_found() {
    is_found(Defect::LateReportCounts, LIVES);
}

#[test]
fn a_worker_that_goes_on_after_the_gate_was_closed_is_found() {
    is_found(Defect::StaleWorker, LIVES);
}

#[test]
fn a_snapshot_with_what_is_not_committed_is_found() {
    is_found(Defect::UncommittedSnapshot, LIVES);
}

/// Lives in which a defect is to be found.
const LIVES: u64 = 400;
