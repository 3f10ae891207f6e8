#!/usr/bin/env bash
# Measures three instances that are one ledger beside what else could be used, and prints Markdown tables: ratios, with absolute figures
# beside them.
#
#   benches/cluster.sh                          everything; about eight minutes
#   benches/cluster.sh --quick                  shorter runs; about two minutes once built
#   benches/cluster.sh [...] single memory      only these sections: single, etcd, postgres, memory
#   benches/cluster.sh --check                  exit code 1 if an aim is missed
#
# All three instances, what they are compared with, and the load generators share this machine, its loopback network and one disk; each
# system syncs to it what it acknowledges. Both sides of a row are measured in turns (A B A B ...) in one run, since other users of the
# machine change its speed from minute to minute. etcd (Debian: etcd-server) and PostgreSQL are compared with where they are installed.
# Data are below $TMPDIR, which must not be in memory and have 16 GiB free (6 with --quick). Exit code: 0, 1 if a measurement failed, 2 if arguments are wrong.
set -euo pipefail

ROUNDS=5 SECONDS_EACH=4 BEHIND_SECONDS=6 NEEDED_GIB=16 CHECK="" SECTIONS=""
for argument; do
    case "$argument" in
        --quick) ROUNDS=3 SECONDS_EACH=1 BEHIND_SECONDS=2 NEEDED_GIB=6 ;;
        --check) CHECK=1 ;;
        single | etcd | postgres | memory) SECTIONS+=" $argument" ;;
        *) echo "usage: $0 [--quick] [--check] [single] [etcd] [postgres] [memory]" >&2; exit 2 ;;
    esac
done
SECTIONS=${SECTIONS:-single etcd postgres memory}

cd "$(dirname "$0")/.."
# A disk in memory syncs nothing.
[ "$(stat -f -c %T "${TMPDIR:-/tmp}")" != tmpfs ] || export TMPDIR=/var/tmp
source benches/support.sh
source benches/clusters.sh
source benches/web.sh

# Gives the PostgreSQL of start_postgres a standby that a commit waits for, until it is on both disks. POSTGRES becomes nothing if that fails.
start_standby() {
    local data=$TMP/postgres-standby deadline=$((SECONDS + 20)) query=("$POSTGRES_BIN/psql" -q -A -t -h "$POSTGRES_HOME" -U postgres)
    mkdir "$data"
    [ "$(id -u)" != 0 ] || chown postgres "$data"
    if ! "${POSTGRES_AS[@]}" "$POSTGRES_BIN/pg_basebackup" -h "$POSTGRES_HOME" -U postgres -D "$data/books" -R -c fast >"$TMP/basebackup" 2>&1; then
        POSTGRES=""
        return 0
    fi
    launch standby "${POSTGRES_AS[@]}" "$POSTGRES_BIN/postgres" -D "$data/books" -k "$data" -c listen_addresses= -c max_connections=150
    "${query[@]}" -c "ALTER SYSTEM SET synchronous_standby_names = '*'" -c 'SELECT pg_reload_conf()' >/dev/null
    until [ "$("${query[@]}" -c 'SELECT sync_state FROM pg_stat_replication')" = sync ]; do
        if [ "$SECONDS" -ge "$deadline" ]; then
            POSTGRES=""
            return 0
        fi
        sleep 0.1
    done
}

# The load client's transfers per second against the cluster, with the arguments $1; with an idempotency key each, as all loads here.
cluster_load() {
    # shellcheck disable=SC2086 # the arguments are words
    timeout 60 "$BIN/client" --server "$SERVERS" --duration "${SECONDS_EACH}s" --warmup 200ms --mix transfer=100 $1 2>>"$TMP/client.err" |
        sed -nE 's/^throughput=([0-9]+).*/\1/p'
}
single_load() { load "$PORT_durable" "--mix transfer=100 $1"; }
# $2 transfers under way on each of 100 connections; $1 is for the cluster.
etcd_load() {
    timeout 60 "$BIN/examples/etcd_load" --server "$ETCD" --connections 100 --pipeline "$2" --seconds "$SECONDS_EACH" 2>>"$TMP/client.err" |
        sed -nE 's/.* throughput=([0-9]+).*/\1/p'
}
standby_load() { postgres_load; }

# Prints one row: its name is $1, the cluster is compared with $2, and the ratio should be at least $3; the other arguments are for the loads.
against() {
    local name=$1 other=$2 wanted=$3 row
    shift 3
    row=$(compare "$name" cluster_load "$other" "$@")
    RESULT=-
    [ "$wanted" = - ] || aim "$name" "$(sed -E 's/.*\*\*([0-9.-]+)\*\*.*/\1/' <<<"$row")" "$wanted"
    echo "$row $wanted | $RESULT |"
}

measure_single() {
    section "Beside the single instance without peers" \
        "The same load on one instance with its durable journal (\`--durability sync\`); both with idempotency keys."
    table "load" "three instances, transfers/s" "one instance, transfers/s" "ratio" "aim" "result"
    against "1 connection, closed loop" single_load - "--connections 1"
    against "100 connections, closed loop" single_load 0.3 "--connections 100"
    against "100 connections, 16 under way on each" single_load - "--connections 100 --pipeline 16"
    against "100 connections, 128 under way on each" single_load 0.45 "--connections 100 --pipeline 128"
}

measure_etcd() {
    if [ -z "$ETCD" ]; then
        echo -e "\netcd is not installed, or did not start (\`etcd-server\`): no comparison."
        return
    fi
    section "Beside etcd $ETCD_VERSION" \
        "A transfer is one transaction that compares and puts two keys, by gRPC at the leader (\`examples/etcd_load.rs\`). Every request under" \
        "way has accounts of its own, so none fails and none reads first. Pipelined: 10 under way on each of 100 connections for etcd, 128 for" \
        "the cluster."
    table "load" "three instances, transfers/s" "three etcd, transfers/s" "ratio" "aim" "result"
    against "100 connections, closed loop" etcd_load 10 "--connections 100" 1
    against "100 connections, pipelined" etcd_load 50 "--connections 100 --pipeline 128" 10
}

measure_postgres() {
    if [ -z "$POSTGRES" ]; then
        echo -e "\nPostgreSQL is not installed, or did not start (\`postgresql\`): no comparison."
        return
    fi
    section "Beside PostgreSQL $POSTGRES with one synchronous standby" \
        "\`synchronous_commit\` on: a commit waits for both disks. The transfer is a function, driven by pgbench over 100 connections."
    table "load" "three instances, transfers/s" "PostgreSQL, transfers/s" "ratio" "aim" "result"
    against "100 connections, closed loop" standby_load 5 "--connections 100"
}

# The replica process of member $1.
replica_of() { pgrep -P "${MASTER_OF[$1]}" -x vault-replica; }
# Notes the memory of the replica processes in $TMP/memory-MEMBER every 50 ms until it is ended: anonymous and proportional, in KiB.
sample_memory() {
    local name
    while :; do
        for name in "${MEMBERS[@]}"; do
            awk '/^(Anonymous|Pss):/ { v[$1] = $2 } END { if (NR) print v["Anonymous:"], v["Pss:"] }' \
                "/proc/${REPLICA_OF[$name]}/smaps_rollup" >>"$TMP/memory-$name" 2>/dev/null || true
        done
        sleep 0.05
    done
}
# Prints a row for each member: what is going on is $1.
memory_rows() {
    local name role most
    for name in "${MEMBERS[@]}"; do
        role=follower
        [ "$name" != "$PRIMARY" ] || role=primary
        [ "$name" != "$BEHIND" ] || role="follower that is stopped, then catches up"
        read -r -a most < <(awk '{ if ($1 > a) a = $1; if ($2 > p) p = $2 } END { printf "%.1f %.1f\n", a / 1024, p / 1024 }' "$TMP/memory-$name")
        aim "$1, $role, 64 MiB over what its replica process takes" "$(ratio 64 "${most[0]}")" 1
        echo "| $1 | $role | ${most[0]} | ${most[1]} | 64 | $RESULT |"
        rm "$TMP/memory-$name"
    done
}

measure_memory() {
    local name load sampler pids
    section "Memory of the replica processes" \
        "The most of many samples, MiB: anonymous, so its own, and proportional (Pss), with its share of the instance's shared memory." \
        "100 connections, 128 under way on each. A follower, all of its processes, is stopped for $BEHIND_SECONDS s and goes on."
    find_primary
    declare -gA REPLICA_OF
    for name in "${MEMBERS[@]}"; do REPLICA_OF[$name]=$(replica_of "$name"); done
    table "load" "member" "anonymous" "Pss" "aim" "result"
    sample_memory &
    sampler=$!
    STARTED+=("$sampler")
    BEHIND=""
    cluster_load "--connections 100 --pipeline 128" >/dev/null
    memory_rows "full load"
    for name in "${MEMBERS[@]}"; do [ "$name" = "$PRIMARY" ] || BEHIND=$name; done
    mapfile -t pids < <(echo "${MASTER_OF[$BEHIND]}"; pgrep -P "${MASTER_OF[$BEHIND]}")
    SECONDS_EACH=$((BEHIND_SECONDS + 4)) cluster_load "--connections 100 --pipeline 128" >"$TMP/behind" &
    load=$!
    sleep 1
    STOPPED=("${pids[@]}")
    kill -STOP "${pids[@]}"
    sleep "$BEHIND_SECONDS"
    kill -CONT "${pids[@]}"
    STOPPED=()
    wait "$load"
    await_equal
    memory_rows "a member is behind"
    end_processes "$sampler"
}

# Waits until the members have applied the same.
await_equal() {
    local deadline=$((SECONDS + 60)) name
    until [ "$(for name in "${MEMBERS[@]}"; do
        "$BIN/vaultctl" inspect --json --instance "bench-$$-$name" | sed -nE 's/^ *"lsn": ([0-9]+).*/\1/p' | head -1
    done | sort -u | wc -l)" = 1 ]; do
        if [ "$SECONDS" -ge "$deadline" ]; then
            echo "$0: a member has not caught up within a minute" >&2
            return 1
        fi
        sleep 0.2
    done
}

STOPPED=()
clean_up() {
    # What is stopped cannot end.
    [ ${#STOPPED[@]} = 0 ] || kill -CONT "${STOPPED[@]}" 2>/dev/null || true
    finish
}
trap clean_up EXIT

if [ "$(df --output=avail -BG "$TMP" | tail -1 | tr -dc 0-9)" -lt "$NEEDED_GIB" ]; then
    echo "$0: $TMP must have $NEEDED_GIB GiB free; set TMPDIR" >&2
    exit 2
fi
echo "Building ..." >&2
cargo build --release --quiet --bins --example etcd_load

describe_machine
echo "The disk's own rate, one write and one fdatasync at a time into a preallocated file: $(disk_rate 4096 400) of 4 KiB," \
    "$(disk_rate 1048576 60) of 1 MiB."
[[ $SECTIONS != *single* ]] || start_bank durable dispatch
[[ $SECTIONS != *etcd* ]] || start_etcd 3
if [[ $SECTIONS == *postgres* ]]; then
    start_postgres
    [ -z "$POSTGRES" ] || start_standby
fi
for part in $SECTIONS; do
    # Anew for each, since members may keep their whole journals: a minute of full load is some ten gigabytes.
    start_cluster
    "measure_$part"
done

echo "Errors the servers and tools reported: $(complaints)"
[ -z "$AIMS" ] || echo -e "\n$AIMS"
[ -z "$CHECK" ] || [ "$MISSED" = 0 ] || exit 1
