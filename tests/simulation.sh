#!/usr/bin/env bash
# So many lives of simulated clusters, each from its own seed, from the seed FIRST on: tests/simulation.sh [LIVES [FIRST]]
# What is promised must hold in each (src/process/replica/core/simulation). The first that fails is named, with what repeats it; at the end
# stands how often what can happen did.
set -euo pipefail
cd "$(dirname "$0")/.."

# Only this crate is optimised for it; the dependencies are those that all tests have.
exec env VAULT_TEST_SEEDS="${1:-10000}" VAULT_TEST_SEED="${2:-0}" \
    cargo test --locked --lib --config 'profile.dev.package.bank-vault.opt-level=2' -- --nocapture --exact \
    process::replica::core::simulation::what_was_promised_holds_whatever_fails
