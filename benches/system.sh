#!/usr/bin/env bash
# Measures the whole system under load, and prints Markdown tables: ratios, with absolute figures beside them.
#
#   benches/system.sh            everything; less than ten minutes
#   benches/system.sh --quick    shorter runs; less than two minutes once built
#
# Both sides of a comparison are measured in one run, in turns (A B A B ...), since other users of the machine change its speed from
# minute to minute. A table shows the median and, in brackets, the least and the most. Nothing is sent beyond loopback. The script uses
# Redis, PostgreSQL, nginx with wrk, strace and perf where they are installed; it names what is missing and leaves that out.
set -euo pipefail

case "${1:-}" in
    "") ROUNDS=5 SECONDS_EACH=4 CHURN_OPS=300 ;;
    --quick) ROUNDS=3 SECONDS_EACH=1 CHURN_OPS=100 ;;
    *) echo "usage: $0 [--quick]" >&2; exit 2 ;;
esac

cd "$(dirname "$0")/.."
source benches/support.sh
source benches/web.sh

echo "Building ..." >&2
cargo build --release --quiet --bins --example echo_server

describe_machine
start_echo
start_bank bank dispatch --durability none
start_bank durable dispatch
start_bank shared shared --durability none
start_bank reuseport reuseport --durability none
make_web_files
start_web
start_nginx
start_redis
start_postgres

section "Closed loop: 100 connections, one request under way on each" \
    "The ceiling is \`examples/echo_server.rs\`: frames of the same sizes, prepared replies, no ledger. Aim: 0.9 of it." \
    "Bank Vault with \`--durability none\` here and in all sections but the next-named one."
table "load" "Bank Vault, requests/s" "echo, requests/s" "ratio"
for drive in --connections --threads; do
    for mix in transfer=100 "$DEFAULT_MIX"; do
        compare "client $drive 100 --mix $mix" bank_load echo_load "$drive 100 --no-keys --mix $mix"
    done
done

section "Pipelined: 100 connections, many requests under way on each" \
    "The second column is also the load client's own ceiling: it checks every reply of the echo, too, and so is not what" \
    "limits the bank."
table "load" "Bank Vault, requests/s" "echo, requests/s" "ratio"
for depth in 16 128; do
    for mix in transfer=100 "$DEFAULT_MIX"; do
        arguments="--connections 100 --pipeline $depth --no-keys --mix $mix"
        compare "client $arguments" bank_load echo_load "$arguments"
    done
done

if [ -n "$REDIS_PORT" ]; then
    section "Beside Redis: a transfer between two of 10,000 accounts, 100 connections" \
        "Redis $REDIS_VERSION without persistence, the transfer as a Lua script by EVALSHA, driven by redis-benchmark." \
        "Aim: 10 times the script at 128 requests under way."
    table "requests under way" "Bank Vault, transfers/s" "Redis, script, transfers/s" "ratio"
    compare_to_redis "1" 1 redis_script "$REDIS_OPS"
    compare_to_redis "16" 16 redis_script $((REDIS_OPS * 2))
    compare_to_redis "128" 128 redis_script $((REDIS_OPS * 2))
    echo
    echo "Plain INCRBY, which has one key and checks nothing, for orientation:"
    table "requests under way" "Bank Vault, transfers/s" "Redis, INCRBY/s" "ratio"
    compare_to_redis "1" 1 redis_incrby "$REDIS_OPS"
    compare_to_redis "128" 128 redis_incrby $((REDIS_OPS * 10))
else
    echo -e "\nRedis is not installed (\`redis-server\`, \`redis-cli\`, \`redis-benchmark\`): no comparison."
fi

section "Durable: \`--durability sync\`, 100 connections, transfers" \
    "No reply leaves before its record is on disk. The disk's own rate, one write and one fdatasync at a time into a preallocated" \
    "file: $(disk_rate 4096 400) of 4 KiB, $(disk_rate 1048576 60) of 1 MiB."
table "load" "sync, requests/s" "compared with" "ratio"
compare "closed loop, beside the raw echo" durable_load echo_load "--connections 100 --mix transfer=100"
compare "closed loop, beside --durability none" durable_load bank_load "--connections 100 --mix transfer=100"
compare "128 under way, beside --durability none" durable_load bank_load "--connections 100 --pipeline 128 --mix transfer=100"
compare "128 under way, no keys, beside --durability none" durable_load bank_load \
    "--connections 100 --pipeline 128 --no-keys --mix transfer=100"
if [ -n "$REDIS_ALWAYS" ]; then
    for depth in 1 128; do
        compare_two "$depth under way, beside Redis, appendfsync always, a script" durable_transfers redis_always "$depth"
    done
fi
if [ -n "$POSTGRES" ]; then
    compare_two "closed loop, beside PostgreSQL $POSTGRES, synchronous_commit on, a function" durable_transfers postgres_load 1
fi
what_it_keeps

section "HTTP: files over 100 connections that stay" \
    "\`wrk -t 2 -c 100\`, two workers each, both write an access log. Aims: 1.1 of nginx for 1 KiB and 16 KiB, 1.0 for 1 MiB."
compare_to_nginx
echo -e "\nThe bank with HTTP on, beside one without:"
table "load" "HTTP on, requests/s" "off, requests/s" "ratio"
compare "client --connections 100 --mix transfer=100" bank_beside_web bank_load "--connections 100 --no-keys --mix transfer=100"

section "Connections per second: connect, one PING, close" \
    "\`client --churn\` with 16 threads. \`dispatch\` passes each descriptor from the master to a worker (SCM_RIGHTS); aim: 0.8 of" \
    "\`shared\`, where the workers accept from one socket. \`reuseport\` gives each worker a socket of its own."
table "accept mode" "connections/s" "ratio to shared"
churn_modes

section "TOTALS while others work" \
    "One request in ten thousand is a TOTALS, a cut over 10,000 accounts taken by a thread beside the event loop."
table "load" "TOTALS, p50 ms" "p99 ms" "max ms" "TRANSFER, p99 ms"
totals_under_load "client --connections 100" "--connections 100"
totals_under_load "client --connections 100 --pipeline 128" "--connections 100 --pipeline 128"

calls_per_request
symbols

echo -e "\nErrors the servers and tools reported: $(complaints)"
