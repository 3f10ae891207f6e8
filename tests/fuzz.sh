#!/usr/bin/env bash
# Fuzzes every decoder and parser for so many SECONDS each, or only the TARGETs that are named: tests/fuzz.sh [SECONDS [TARGET…]]
# With 0 seconds they are only built.
# Needs cargo-fuzz (cargo install cargo-fuzz --locked) and a C++ compiler; any stable toolchain will do. It begins with the inputs in
# tests/fuzz/corpus, and adds none to them. What is found is left in target/fuzz/findings; such a file is the argument with which
# the program of its target shows the fault again. Ends with 1 if anything was found.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${1:-10}
shift $(($# > 0))
(($#)) || set -- $(cargo fuzz list --fuzz-dir tests/fuzz)

# Without a sanitizer, which only a nightly compiler has: what is fuzzed has no unsafe code. Overflows and assertions are checked.
cargo fuzz build --fuzz-dir tests/fuzz --target-dir target/fuzz --sanitizer none --codegen-units 16
((seconds)) || exit 0
programs=$(find target/fuzz -path '*/release/http_head' -printf '%h\n' -quit)
findings=target/fuzz/findings
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$findings"

fuzz() {
    local target=$1 new=$work/$1 said=$work/$1.log
    mkdir "$new"
    if "$programs/$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 -max_len=16384 -print_final_stats=1 \
        -artifact_prefix="$findings/$target-" "$new" "tests/fuzz/corpus/$target" >"$said" 2>&1; then
        printf '%-18s %s\n' "$target" "$(grep '^Done ' "$said")"
    else
        printf '%-18s FAILED\n' "$target"
        grep -v '^#' "$said" | tail -n 40
        return 1
    fi
}
export -f fuzz
export programs findings work seconds

# xargs goes on with the others after a finding, and then ends with 123.
printf '%s\n' "$@" | xargs -P "$(nproc)" -I{} bash -c 'fuzz {}' || exit 1
