#!/usr/bin/env bash
# Measures the key-value store beside what else could be used, and prints Markdown tables: ratios, with absolute figures beside them.
#
#   benches/kv.sh                          everything; about ten minutes
#   benches/kv.sh --quick                  shorter runs; about three minutes once built
#   benches/kv.sh [...] redis etcd         only these sections: redis, etcd, cluster
#   benches/kv.sh --check                  exit code 1 if an aim is missed
#
# Servers and load generators share this machine, its loopback network and one disk; each system syncs to it what it acknowledges. Both
# sides of a row are measured in turns (A B A B ...) in one run, since other users of the machine change its speed from minute to minute.
# Redis and etcd (Debian: redis-server, etcd-server) are compared with where they are installed. Both sides of a row have as many connections,
# as many requests under way on each, as many keys and as long values. Redis is driven by redis-benchmark, which checks nothing and so costs
# less than `client kv-load`; where it is the one that limits, the line behind the table shows that. Data are below $TMPDIR, which must not be
# in memory and have 24 GiB free (10 with --quick). Exit code: 0, 1 if a measurement failed, 2 if arguments are wrong.
set -euo pipefail

ROUNDS=5 SECONDS_EACH=4 NEEDED_GIB=24 CHECK="" SECTIONS=""
for argument; do
    case "$argument" in
        --quick) ROUNDS=3 SECONDS_EACH=1 NEEDED_GIB=10 ;;
        --check) CHECK=1 ;;
        redis | etcd | cluster) SECTIONS+=" $argument" ;;
        *) echo "usage: $0 [--quick] [--check] [redis] [etcd] [cluster]" >&2; exit 2 ;;
    esac
done
SECTIONS=${SECTIONS:-redis etcd cluster}

cd "$(dirname "$0")/.."
# A disk in memory syncs nothing.
[ "$(stat -f -c %T "${TMPDIR:-/tmp}")" != tmpfs ] || export TMPDIR=/var/tmp
source benches/support.sh
source benches/clusters.sh

CONNECTIONS=100 KEYS=10000

# Starts an instance named $1 with a key-value store; more options from $2 on. Sets KV_$1.
start_kv() {
    local name=$1 port
    shift
    port=$(free_port_of_all 127.0.0.1)
    start_bank "$name" dispatch --kv-port "$port" --kv-mb 512 --rpcbind no "$@"
    printf -v "KV_$name" %s "$port"
}

# The load client's requests per second against the servers $1, with the arguments $2.
kv_load() {
    # shellcheck disable=SC2086 # the arguments are words
    timeout 60 "$BIN/client" kv-load --server "$1" --connections "$CONNECTIONS" --keys "$KEYS" --duration "${SECONDS_EACH}s" \
        --warmup 200ms $2 2>>"$TMP/client.err" | sed -nE 's/^throughput=([0-9]+).*/\1/p'
}
# Gives every key of the servers $1 a value of $2 bytes.
kv_fill() {
    timeout 60 "$BIN/client" kv-load --server "$1" --connections 10 --keys "$KEYS" --ops 1 --read-share 1 --prefill --value-bytes "$2" \
        >/dev/null 2>>"$TMP/client.err"
}
# Functions of a row: $1 is PUT or GET, $2 the requests under way on each connection, $3 the bytes of a value.
share_of() { if [ "$1" = GET ]; then echo 1; else echo 0; fi; }
single_kv() { kv_load "127.0.0.1:$KV_store" "--read-share $(share_of "$1") --pipeline $2 --value-bytes $3"; }
members_kv() { kv_load "$SERVERS_KV" "--read-share $(share_of "$1") --pipeline $2 --value-bytes $3"; }

# redis-benchmark's requests per second. So many requests that it runs for about as long as a run of the client: by the rate of the last run.
redis_kv() {
    local command=$1 depth=$2 bytes=$3 rate
    rate=$(cat "$TMP/rate-$command-$depth-$bytes" 2>/dev/null || echo $((depth * 4000 * 1024 / (1024 + bytes))))
    timeout 60 redis-benchmark -h 127.0.0.1 -p "$REDIS_ALWAYS" -c "$CONNECTIONS" -P "$depth" -n $((rate * SECONDS_EACH)) -r "$KEYS" -d "$bytes" \
        -t "${command/PUT/SET}" --csv 2>>"$TMP/client.err" | tail -1 | cut -d'"' -f4 | cut -d. -f1 | tee "$TMP/rate-$command-$depth-$bytes"
}
redis_fill() {
    local key
    # Each key once: redis-benchmark would leave some out.
    python3 - "$KEYS" "$1" <<'PYTHON' | redis-cli -h 127.0.0.1 -p "$REDIS_ALWAYS" --pipe >/dev/null
import sys
keys, size = int(sys.argv[1]), int(sys.argv[2])
value = b"x" * size
for number in range(keys):
    sys.stdout.buffer.write(b"*3\r\n$3\r\nSET\r\n$16\r\nkey:%012d\r\n$%d\r\n%s\r\n" % (number, size, value))
PYTHON
}
etcd_kv() {
    timeout 60 "$BIN/examples/etcd_load" --server "$ETCD" --connections "$CONNECTIONS" --pipeline "$2" --put-bytes "$3" \
        --accounts "$KEYS" --seconds "$SECONDS_EACH" 2>>"$TMP/client.err" | sed -nE 's/.* throughput=([0-9]+).*/\1/p'
}

# Prints one row: $1 is its name, $2 is compared with $3, and the ratio should be at least $4; the other arguments are for the loads.
against() {
    local name=$1 one=$2 other=$3 wanted=$4 row
    shift 4
    row=$(compare "$name" "$one" "$other" "$@")
    aim "$name" "$(sed -E 's/.*\*\*([0-9.-]+)\*\*.*/\1/' <<<"$row")" "$wanted"
    echo "$row $wanted | $RESULT |"
}

# How much of a core process $1 takes while the rest of the arguments run.
share_of_core() {
    local pid=$1 before after began ended
    shift
    before=$(awk '{ print $14 + $15 }' "/proc/$pid/stat")
    began=$(date +%s%N)
    "$@" >/dev/null
    ended=$(date +%s%N)
    after=$(awk '{ print $14 + $15 }' "/proc/$pid/stat")
    awk -v t=$((after - before)) -v hz="$(getconf CLK_TCK)" -v ns=$((ended - began)) 'BEGIN { printf "%.2f", t / hz / (ns / 1e9) }'
}

measure_redis() {
    local bytes depth wanted
    if ! command -v redis-server >/dev/null || ! command -v redis-benchmark >/dev/null; then
        echo -e "\nRedis is not installed (\`redis-server\`, \`redis-tools\`): no comparison."
        return
    fi
    launch_redis redis-always --appendonly yes --appendfsync always
    REDIS_ALWAYS=$REDIS_PORT
    section "Beside Redis $(redis-server --version | sed -E 's/.* v=([0-9.]+) .*/\1/')" \
        "\`appendonly yes\`, \`appendfsync always\`: as here, a write is on disk before it is answered. SET and GET by redis-benchmark, PUT and" \
        "GET by \`client kv-load\`, PUTs with request ids; $CONNECTIONS connections, $KEYS keys, all of which are there."
    table "load" "Bank Vault, requests/s" "Redis, requests/s" "ratio" "aim" "result"
    for bytes in 100 16384; do
        kv_fill "127.0.0.1:$KV_store" "$bytes"
        redis_fill "$bytes"
        for depth in 1 64; do
            wanted=$([ "$depth" = 1 ] && echo 1.5 || echo 3)
            against "PUT, $bytes bytes, $depth under way" single_kv redis_kv "$wanted" PUT "$depth" "$bytes"
            against "GET, $bytes bytes, $depth under way" single_kv redis_kv 1 GET "$depth" "$bytes"
        done
    done
    echo
    echo "Of one core, Redis takes while redis-benchmark sends it 64 at a time: $(share_of_core "$PID" redis_kv GET 64 100) with GETs of 100 bytes," \
        "$(share_of_core "$PID" redis_kv PUT 64 100) with SETs."
}

measure_etcd() {
    start_etcd 1
    if [ -z "$ETCD" ]; then
        echo -e "\netcd is not installed, or did not start (\`etcd-server\`): no comparison."
        return
    fi
    section "Beside etcd $ETCD_VERSION" \
        "PUTs of 100 bytes by gRPC (\`examples/etcd_load.rs\`), one instance of each. Pipelined: 10 under way on each connection for etcd, 64" \
        "here."
    table "load" "Bank Vault, PUTs/s" "etcd, PUTs/s" "ratio" "aim" "result"
    against "beside etcd: PUT, 100 bytes, 1 under way" single_kv etcd_kv 20 PUT 1 100
    etcd_ten() { etcd_kv PUT 10 "$3"; }
    against "beside etcd: PUT, 100 bytes, pipelined" single_kv etcd_ten 20 PUT 64 100
    end_etcd
}

measure_cluster() {
    start_cluster kv
    start_etcd 3
    if [ -z "$ETCD" ]; then
        echo -e "\netcd is not installed, or did not start (\`etcd-server\`): no comparison."
        return
    fi
    section "Three members beside three etcd" "As above; the load goes to the primary, and to etcd's leader."
    table "load" "three instances, PUTs/s" "three etcd, PUTs/s" "ratio" "aim" "result"
    against "three members: PUT, 100 bytes, 1 under way" members_kv etcd_kv 10 PUT 1 100
    etcd_ten() { etcd_kv PUT 10 "$3"; }
    against "three members: PUT, 100 bytes, pipelined" members_kv etcd_ten 10 PUT 64 100
    end_etcd
}

if [ "$(df --output=avail -BG "$TMP" | tail -1 | tr -dc 0-9)" -lt "$NEEDED_GIB" ]; then
    echo "$0: $TMP must have $NEEDED_GIB GiB free; set TMPDIR" >&2
    exit 2
fi
echo "Building ..." >&2
cargo build --release --quiet --bins --example etcd_load

describe_machine
echo "The disk's own rate, one write and one fdatasync at a time into a preallocated file: $(disk_rate 4096 400) of 4 KiB," \
    "$(disk_rate 1048576 60) of 1 MiB."
start_kv store
for part in $SECTIONS; do
    "measure_$part"
done

echo -e "\nErrors the servers and tools reported: $(complaints)"
[ -z "$AIMS" ] || echo -e "\n$AIMS"
[ -z "$CHECK" ] || [ "$MISSED" = 0 ] || exit 1
