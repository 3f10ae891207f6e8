# shellcheck shell=bash
# Functions of benches/system.sh, files.sh, cluster.sh and start.sh: they start and end servers, measure in turns, and print tables.

BIN=target/release
DEFAULT_MIX="transfer=10,withdraw=20,deposit=30,balance=40"
TMP=$(mktemp -d)
STARTED=()
REDIS_PORT=""
REDIS_ALWAYS=""
POSTGRES=""
# What was compared with its aim, a line each, and how many of them are missed.
AIMS="" MISSED=0
REDIS_OPS=$((40000 * SECONDS_EACH))
# Enough that no account becomes empty.
OPENING=1000000.00

# Ends the processes $@. SIGTERM, since background commands of bash ignore SIGINT. Those that remain after ten seconds are killed, by pid.
end_processes() {
    local pid deadline=$((SECONDS + 10))
    for pid; do kill -TERM "$pid" 2>/dev/null || true; done
    for pid; do
        while kill -0 "$pid" 2>/dev/null && [ "$SECONDS" -lt "$deadline" ]; do sleep 0.05; done
        kill -KILL "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
}
finish() {
    end_processes "${STARTED[@]}"
    rm -rf "$TMP"
}
trap finish EXIT
trap 'exit 130' INT TERM

# Waits until file $2, the output of process $1, has a line that matches $3, and prints that line.
await_line() {
    local deadline=$((SECONDS + 20))
    until grep -m1 -- "$3" "$2" 2>/dev/null; do
        if ! kill -0 "$1" 2>/dev/null || [ "$SECONDS" -ge "$deadline" ]; then
            echo "a server did not start:" >&2
            cat "$2" "$2.err" >&2 || true
            return 1
        fi
        sleep 0.05
    done
}

# Starts a server under the short name $1; the other arguments are its command. Sets PID.
launch() {
    local name=$1
    shift
    "$@" >"$TMP/$name" 2>"$TMP/$name.err" &
    PID=$!
    STARTED+=("$PID")
}

# Starts a Bank Vault named $1 in accept mode $2, with more options from $3 on. Sets PORT_$1 and WORKERS_$1.
start_bank() {
    local name=$1 accept=$2 line
    shift 2
    [[ " $* " == *" --http-port "* ]] || set -- --http-port 0 "$@"
    launch "$name" "$BIN/master" --port 0 --instance "bench-$$-$name" --data "$TMP/data-$name" --accept "$accept" \
        --accounts 10000 --initial-balance "$OPENING" "$@"
    line=$(await_line "$PID" "$TMP/$name" '^ready: ')
    printf -v "PORT_$name" %s "$(sed -E 's/^ready: [^ ]*:([0-9]+) .*/\1/' <<<"$line")"
    printf -v "WORKERS_$name" %s "$(sed -E 's/.* workers ([0-9,]+).*/\1/' <<<"$line")"
}

start_echo() {
    launch echo "$BIN/examples/echo_server" --port 0 --threads "$(nproc)"
    PORT_echo=$(await_line "$PID" "$TMP/echo" '^listening on ' | sed 's/.*://')
}

# Starts a Redis named $1 with the other arguments as options. Sets REDIS_PORT, to nothing if it fails. Redis has no port 0, so the
# first free one of a few is taken.
launch_redis() {
    local name=$1 port
    shift
    REDIS_PORT=""
    for port in 17379 27379 37379 47379; do
        launch "$name" redis-server --bind 127.0.0.1 --port "$port" --save '' --dir "$TMP" --daemonize no "$@"
        if await_line "$PID" "$TMP/$name" 'Ready to accept connections' >/dev/null 2>&1; then
            REDIS_PORT=$port
            return
        fi
    done
}

# Starts two: REDIS_PORT is the port of one without persistence, REDIS_ALWAYS of one that syncs every write. Both are empty without Redis.
start_redis() {
    local tool
    for tool in redis-server redis-cli redis-benchmark; do command -v "$tool" >/dev/null || return 0; done
    launch_redis redis-always --appendonly yes --appendfsync always
    [ -n "$REDIS_PORT" ] || return 0
    REDIS_ALWAYS=$REDIS_PORT
    fill_redis
    launch_redis redis --appendonly no
    [ -n "$REDIS_PORT" ] || return 0
    fill_redis
}

fill_redis() {
    REDIS_VERSION=$(redis-server --version | sed -E 's/.* v=([0-9.]+) .*/\1/')
    redis_cli EVAL "for i = 0, 9999 do redis.call('SET', string.format('account:%012d', i), 100000000) end" 0 >/dev/null
    # The rules of TRANSFER: no transfer to oneself, no balance below zero, both new balances in the answer. A refusal is
    # answered by 0, since redis-benchmark stops at the first error.
    SCRIPT=$(redis_cli SCRIPT LOAD "
        local amount = tonumber(ARGV[1])
        if KEYS[1] == KEYS[2] or amount <= 0 or tonumber(redis.call('GET', KEYS[1])) < amount then return 0 end
        return {redis.call('DECRBY', KEYS[1], amount), redis.call('INCRBY', KEYS[2], amount)}")
}

redis_cli() { redis-cli -h 127.0.0.1 -p "$REDIS_PORT" "$@"; }

describe_machine() {
    local cpu
    cpu=$(sed -nE 's/^model name\s*: //p' /proc/cpuinfo | head -1)
    echo "Machine: $(nproc) cores (${cpu:-unknown}), Linux $(uname -r | cut -d- -f1); servers and load generators share it."
    echo "Each figure: median of $ROUNDS runs of $SECONDS_EACH s [least-most], in turns with what it is compared to."
}

# Starts PostgreSQL under its own user, since it refuses to run as root. Sets POSTGRES to its version, to nothing without it; its programs
# are in POSTGRES_BIN, to be called by POSTGRES_AS, and its socket is in POSTGRES_HOME.
start_postgres() {
    local bin run=() data=$TMP/postgres-data
    bin=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | tail -1)
    [ -x "$bin/postgres" ] && [ -x "$bin/pgbench" ] || return 0
    mkdir "$data"
    if [ "$(id -u)" = 0 ]; then
        id postgres >/dev/null 2>&1 || return 0
        chmod 711 "$TMP" && chown postgres "$data"
        run=(setpriv --reuid postgres --regid postgres --clear-groups)
    fi
    POSTGRES_BIN=$bin POSTGRES_HOME=$data POSTGRES_AS=("${run[@]}")
    "${run[@]}" "$bin/initdb" -D "$data/books" -A trust -U postgres >"$TMP/initdb" 2>&1 || return 0
    launch postgres "${run[@]}" "$bin/postgres" -D "$data/books" -k "$data" -c listen_addresses= -c max_connections=150
    local deadline=$((SECONDS + 20))
    until "$bin/pg_isready" -q -h "$data"; do
        [ "$SECONDS" -lt "$deadline" ] || return 0
        sleep 0.1
    done
    "$bin/psql" -q -h "$data" -U postgres >"$TMP/psql" 2>&1 <<'SQL' || return 0
CREATE TABLE account (id int PRIMARY KEY, balance bigint NOT NULL);
INSERT INTO account SELECT id, 100000000 FROM generate_series(1, 10000) id;
CREATE FUNCTION transfer(a int, b int, amount bigint, OUT from_balance bigint, OUT to_balance bigint) AS $$
BEGIN
    IF a = b OR amount <= 0 THEN RETURN; END IF;
    -- In the order of the accounts, so that no two wait for each other.
    PERFORM 1 FROM account WHERE id IN (a, b) ORDER BY id FOR UPDATE;
    UPDATE account SET balance = balance - amount WHERE id = a AND balance >= amount RETURNING balance INTO from_balance;
    IF FOUND THEN UPDATE account SET balance = balance + amount WHERE id = b RETURNING balance INTO to_balance; END IF;
END $$ LANGUAGE plpgsql;
SQL
    printf '%s\n' '\set a random(1, 10000)' '\set b random(1, 10000)' 'SELECT * FROM transfer(:a, :b, 1);' >"$TMP/transfer.sql"
    PGBENCH=("$bin/pgbench" -n -M prepared -h "$data" -U postgres -c 100 -j 2 -f "$TMP/transfer.sql")
    POSTGRES=$("$bin/postgres" --version | sed -E 's/.* ([0-9.]+).*/\1/')
}
postgres_load() {
    timeout 60 "${PGBENCH[@]}" -T "$SECONDS_EACH" postgres 2>>"$TMP/client.err" | sed -nE 's/^tps = ([0-9]+).*/\1/p'
}

# How often per second the disk writes and syncs $1 bytes in a preallocated file; measured over $2 writes, one after the other.
disk_rate() {
    python3 - "$TMP/disk-rate" "$1" "$2" <<'PYTHON'
import os, sys, time
path, size, times = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
file = os.open(path, os.O_RDWR | os.O_CREAT)
os.pwrite(file, bytes(size * times), 0)
os.fsync(file)
data, began = os.urandom(size), time.monotonic()
for number in range(times):
    os.pwrite(file, data, number * size)
    os.fdatasync(file)
rate = times / (time.monotonic() - began)
os.unlink(path)
print(f"{rate:.0f}/s")
PYTHON
}

# What an operation takes on disk, and how long a start takes to read the journal.
what_it_keeps() {
    local line operations began journal
    line=$("$BIN/vaultctl" inspect --json --instance "bench-$$-durable")
    operations=$(sed -nE 's/^ *"lsn": ([0-9]+).*/\1/p' <<<"$line" | head -1)
    journal=$(du -sb "$TMP/data-durable/journal" | cut -f1)
    echo
    echo "On disk 128 bytes an operation; after $operations of them the journal takes $((journal >> 20)) MiB, since older segments" \
        "are removed once two snapshots and the remembered keys do not need them."
    start_bank long dispatch --snapshot-every 0
    timeout 60 "$BIN/client" --port "$PORT_long" --connections 100 --pipeline 128 --mix transfer=100 \
        --duration $((SECONDS_EACH + 4))s >/dev/null
    kill -TERM "$PID"
    wait "$PID" || true
    began=$(date +%s%N)
    start_bank long dispatch --snapshot-every 0
    echo "A start that reads the whole journal, no snapshot: $(grep -ho 'the ledger is read.*' "$TMP/long.err" | tail -1);" \
        "ready after $((($(date +%s%N) - began) / 1000000)) ms."
    kill -TERM "$PID"
    wait "$PID" || true
}

section() {
    echo -e "\n## $1\n"
    shift
    printf '%s\n' "$@"
}

table() {
    local heading
    echo
    printf '| %s ' "$@"
    echo '|'
    for heading in "$@"; do printf '| --- '; done
    echo '|'
}

# The load client's requests per second against port $1, with the arguments $2.
load() {
    # shellcheck disable=SC2086 # the arguments are words
    timeout 60 "$BIN/client" --port "$1" --duration "${SECONDS_EACH}s" --warmup 200ms $2 2>>"$TMP/client.err" |
        sed -nE 's/^throughput=([0-9]+).*/\1/p'
}
bank_load() { load "$PORT_bank" "$1"; }
durable_load() { load "$PORT_durable" "$1"; }
durable_transfers() { load "$PORT_durable" "--connections 100 --mix transfer=100 --pipeline $1"; }
echo_load() { load "$PORT_echo" "$1"; }

# redis-benchmark with $1 requests under way on each connection and $2 in all; the rest is the command.
redis_load() {
    local depth=$1 ops=$2
    shift 2
    timeout 60 redis-benchmark -h 127.0.0.1 -p "$REDIS_PORT" -c 100 -P "$depth" -n "$ops" -r 10000 --csv "$@" 2>>"$TMP/client.err" |
        tail -1 | cut -d'"' -f4 | cut -d. -f1
}
redis_script() { redis_load "$1" "$2" EVALSHA "$SCRIPT" 2 account:__rand_int__ account:__rand_int__ 1; }
redis_always() { REDIS_PORT=$REDIS_ALWAYS redis_script "$1" $((REDIS_OPS * ($1 > 1 ? 2 : 1))); }
redis_incrby() { redis_load "$1" "$2" INCRBY account:__rand_int__ 1; }

# "median [least-most]" of the numbers in file $1, and the median alone in MEDIAN.
summary() {
    local sorted
    sorted=$(sort -n "$1")
    MEDIAN=$(awk '{ v[NR] = $1 } END { print (NR % 2) ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }' <<<"$sorted")
    SUMMARY=$(awk -v m="$MEDIAN" '
        function brief(x) { return x >= 1e6 ? sprintf("%.2f M", x / 1e6) : x >= 1e4 ? sprintf("%.1f k", x / 1e3) : sprintf("%d", x) }
        NR == 1 { least = $1 } { most = $1 } END { print brief(m) " [" brief(least) "-" brief(most) "]" }' <<<"$sorted")
}

# Says whether $2, measured as $1, is at least $3; in RESULT, too.
aim() {
    RESULT=met
    awk -v a="$2" -v b="$3" 'BEGIN { exit !(a >= b) }' || RESULT=missed
    [ "$RESULT" = met ] || MISSED=$((MISSED + 1))
    AIMS+="$1: $2, aim $3: $RESULT"$'\n'
}

ratio() { awk -v a="$1" -v b="$2" 'BEGIN { if (b > 0) printf "%.2f", a / b; else printf "-" }'; }

# Prints one row: $1 is its name; $2 and $3 are functions that print a figure, called in turns with the other arguments.
compare() {
    local name=$1 a=$2 b=$3 round first
    shift 3
    : >"$TMP/a"
    : >"$TMP/b"
    for ((round = 0; round < ROUNDS; round++)); do
        "$a" "$@" >>"$TMP/a"
        "$b" "$@" >>"$TMP/b"
    done
    summary "$TMP/a"
    first="$SUMMARY"
    local median=$MEDIAN
    summary "$TMP/b"
    echo "| \`$name\` | $first | $SUMMARY | **$(ratio "$median" "$MEDIAN")** |"
}

# The same, for functions that take the number of requests under way.
compare_two() { compare "$@"; }

compare_to_redis() {
    local depth=$2 redis=$3 ops=$4
    bank_transfers() { load "$PORT_bank" "--connections 100 --no-keys --mix transfer=100 --pipeline $depth"; }
    redis_ops() { "$redis" "$depth" "$ops"; }
    compare "$1" bank_transfers redis_ops
}

churn_modes() {
    local round mode port shared
    for ((round = 0; round < ROUNDS; round++)); do
        for mode in bank shared reuseport; do
            port="PORT_$mode"
            timeout 60 "$BIN/client" --port "${!port}" --churn --threads 16 --ops $((CHURN_OPS * 10)) 2>>"$TMP/client.err" |
                sed -nE 's/^throughput=([0-9]+).*/\1/p' >>"$TMP/churn-$mode"
        done
    done
    summary "$TMP/churn-shared"
    shared=$MEDIAN
    for mode in bank shared reuseport; do
        summary "$TMP/churn-$mode"
        echo "| \`${mode/bank/dispatch}\` | $SUMMARY | **$(ratio "$MEDIAN" "$shared")** |"
    done
}

# Prints one row: the latencies from the client's table of opcodes.
totals_under_load() {
    local report
    # shellcheck disable=SC2086 # the arguments are words
    report=$(timeout 60 "$BIN/client" --port "$PORT_bank" --duration "${SECONDS_EACH}s" --mix transfer=9999,totals=1 $2)
    awk -v name="$1" '$1 == "TOTALS" { t = $5 " | " $7 " | " $8 } $1 == "TRANSFER" { p = $7 }
        END { print "| `" name "` | " t " | " p " |" }' <<<"$report"
}

# System calls per request of a single worker, by strace, which slows the worker down but counts exactly.
calls_per_request() {
    local depth ops=20000
    section "Where the time goes: system calls of a worker, per request" \
        "One worker, 100 connections, $ops transfers (LOGINs, $((100)) of them, are in the counts)."
    if ! command -v strace >/dev/null; then
        echo "strace is not installed."
        return
    fi
    start_bank lone dispatch --workers 1
    table "requests under way" "calls per request"
    for depth in 1 16 128; do
        strace -c -f -q -o "$TMP/calls" -p "$WORKERS_lone" 2>>"$TMP/strace.err" &
        local tracer=$!
        sleep 0.5
        timeout 60 "$BIN/client" --port "$PORT_lone" --connections 100 --pipeline "$depth" --ops $((ops / 100)) --mix transfer=100 >/dev/null
        kill -TERM "$tracer"
        wait "$tracer" || true
        echo "| $depth | $(awk -v n="$ops" '$4 ~ /^[0-9]+$/ && $NF != "total" && $4 / n >= 0.001 {
            printf "%s%s %.3f", comma, $NF, $4 / n; comma = ", " }' "$TMP/calls") |"
    done
}

# The ten user-space symbols where a worker spends most of its time.
symbols() {
    local worker=${WORKERS_bank%%,*} depth client
    section "Where the time goes: user-space symbols of a worker" "\`perf record -e cycles:u\`, 100 connections, transfers."
    if ! perf record -q -e cycles:u -o "$TMP/perf.data" true >/dev/null 2>&1; then
        echo "perf is not installed, or may not look."
        return
    fi
    for depth in 1 128; do
        timeout 60 "$BIN/client" --port "$PORT_bank" --connections 100 --pipeline "$depth" --duration 3s --mix transfer=100 >/dev/null &
        client=$!
        sleep 0.7
        perf record -q -e cycles:u -p "$worker" -o "$TMP/perf.data" -- sleep 1.5 >/dev/null 2>>"$TMP/perf.err"
        wait "$client"
        table "share, $depth under way" "symbol"
        perf report -i "$TMP/perf.data" --stdio --no-children --sort symbol 2>/dev/null |
            sed -nE 's/^ *([0-9.]+%) +\[.\] ([^ ].*)$/\1\t\2/p' | sed -E 's/ +- +- *$//; s/ +$//' | head -10 |
            awk -F'\t' '{ print "| " $1 " | `" $2 "` |" }'
    done
}

complaints() {
    local text
    text=$(cat "$TMP"/*.err 2>/dev/null | grep -Ei 'error|panic|cannot|refused' | head -3 || true)
    echo "${text:-none}"
}
