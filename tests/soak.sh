#!/usr/bin/env bash
# Kills workers, the journal process and whole servers at random under load, for MINUTES at least and until there were KILLS,
# and holds everything that was acknowledged against what the servers kept.
set -euo pipefail
cd "$(dirname "$0")/.."

if [[ ! ${1-} =~ ^[0-9]+$ || ! ${2-0} =~ ^[0-9]+$ ]]; then
    echo "usage: tests/soak.sh MINUTES [KILLS, by default 10000]" >&2
    exit 2
fi
export VAULT_SOAK_MINUTES=$1 VAULT_SOAK_KILLS=${2-10000}
exec cargo test --release --locked --test soak -- --ignored --nocapture
