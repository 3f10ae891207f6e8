#!/usr/bin/env bash
# Kills workers, the journal process and whole servers at random under load, for MINUTES at least and until there were KILLS; then has
# the machine around a server fail under load, FAULTS times, and one or another of three servers that are one ledger, for MINUTES. It
# holds everything that was acknowledged against what the servers kept.
# Then 64 clients make a million calls to the key-value store while its processes are killed, and send it a million that are mutated.
# At last it kills GetFile's cache process and workers 300 times under load, and sends a file of 5 GiB through it.
set -euo pipefail
cd "$(dirname "$0")/.."

if [[ ! ${1-} =~ ^[0-9]+$ || ! ${2-0} =~ ^[0-9]+$ || ! ${3-0} =~ ^[0-9]+$ ]]; then
    echo "usage: tests/soak.sh MINUTES [KILLS, by default 10000 [FAULTS, by default 1000]]" >&2
    exit 2
fi
export VAULT_SOAK_MINUTES=$1 VAULT_SOAK_KILLS=${2-10000} VAULT_TEST_FAULTS=${3-1000}
cargo test --release --locked --test server soak::soak -- --exact --ignored --nocapture
cargo test --release --locked --test server environment:: -- --nocapture
# Only root can cut links and fill disks.
machines=() && [[ $(id -u) != 0 ]] || machines=(--include-ignored)
VAULT_TEST_CLUSTER_SECONDS=$((60 * $1)) cargo test --release --locked --test server cluster_ -- --nocapture "${machines[@]}"
VAULT_TEST_KV_CALLS=1000000 cargo test --release --locked --test server kv_at_scale:: -- --nocapture --test-threads 1
VAULT_TEST_MUTATED_CALLS=1000000 cargo test --release --locked --test server kv_mutations:: -- --nocapture
export VAULT_TEST_CACHE_KILLS=300 VAULT_TEST_GIBIBYTES=5
exec cargo test --release --locked --test server getfile_ -- --nocapture
