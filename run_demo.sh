#!/usr/bin/env bash
# Shows Bank Vault at work: processes, shared memory, a hand-over, a verified load, deaths, a page, and a clean end.
#
#   ./run_demo.sh                  everything, with pids, times and the output of the tools
#   ./run_demo.sh --mode=golden    the same steps and checks; prints only lines that are the same in every run
#   ./run_demo.sh --mode=failure   starts that must be refused, with their messages; ends with exit code 2
#   ./run_demo.sh --cluster        three instances that are one ledger and one key-value store; also with --mode=golden
#   --bin=DIR                      takes the programs from DIR instead of building them
#
# It ends only processes that it started. Everything that it makes is in a directory of its own or has its own instance name.
# Exit code: 0 all checks passed, 1 one failed, 2 wrong usage (and the end of --mode=failure).
set -euo pipefail
cd "$(dirname "$0")"

MODE=full
BIN=
CLUSTER=
for argument in "$@"; do
    case $argument in
        --mode=full | --mode=golden | --mode=failure) MODE=${argument#--mode=} ;;
        --bin=?*) BIN=${argument#--bin=} ;;
        --cluster) CLUSTER=yes ;;
        *)
            echo "run_demo.sh: unknown argument $argument; it takes --mode=full|golden|failure, --cluster and --bin=DIR" >&2
            exit 2
            ;;
    esac
done

INSTANCE=demo-$$
WORKERS=4
THREADS=100
OPENING_CENTS=100000 # in each account
ACCOUNTS=10000
WORK=$(mktemp -d)
MASTER=

# --- output --------------------------------------------------------------------------------------------------------------

golden() { [[ $MODE == golden ]]; }
# Prints the title of a step.
step() { if golden; then echo "$*"; else printf '\n== %s\n' "$*"; fi; }
# Prints the result of a step, which is the same in every run.
say() { echo "-> $*"; }
# Runs a command and prints its output, which differs from run to run.
show() { if ! golden; then "$@" | sed 's/^./   &/'; fi; }

fail() {
    echo "FAILED: $*" >&2
    local log
    for log in "$WORK"/{master,member?}.err; do
        [[ -s $log ]] || continue
        echo "the server's log, $(basename "$log" .err):" >&2
        tail -n 20 "$log" >&2
    done
    exit 1
}

# --- clean-up ------------------------------------------------------------------------------------------------------------

clean_up() {
    local code=$? pid member
    trap - EXIT
    [[ -z ${STOPPED-} ]] || kill -CONT "${STOPPED[@]}" 2>/dev/null || true
    # Jobs are children that this shell has not collected, so no other process can have their pids.
    for pid in $(jobs -pr); do kill -TERM "$pid" 2>/dev/null || true; done
    wait
    if [[ $CLUSTER && $code != 0 ]]; then
        # What a member that was killed and not started again could not remove.
        for member in 1 2 3; do "$BIN/vaultctl" clean --instance "$INSTANCE-$member" >/dev/null 2>&1 || true; done
    fi
    rm -rf "$WORK"
    exit "$code"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

# await WHAT COMMAND…: repeats the command until it succeeds.
await() {
    local what=$1 deadline=$((SECONDS + 30))
    shift
    until "$@"; do
        ((SECONDS < deadline)) || fail "waited 30 seconds in vain: $what"
        sleep 0.05
    done
}

# --- the server ----------------------------------------------------------------------------------------------------------

build() {
    [[ -n $BIN ]] && return
    [[ $MODE != full ]] || echo "building (release) ..."
    cargo build --release --locked --quiet --bins
    BIN=${CARGO_TARGET_DIR:-target}/release
}

# So many ports without a listener, below the range from which the kernel takes ports for connections.
free_ports() {
    local port wanted=$1
    for port in $(shuf -i 10000-32000 -n $((20 + wanted))); do
        ((wanted > 0)) || break
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo "$port"; wanted=$((wanted - 1)); }
    done
}
free_port() { free_ports 1; }

start_master() {
    : >"$WORK/master.out"
    HTTP_PORT=$(free_port) GETFILE_PORT=$(free_port) KV_PORT=$(free_port)
    mkdir -p "$WORK/files"
    "$BIN/master" --port 0 --http-port "$HTTP_PORT" --workers "$WORKERS" --accounts "$ACCOUNTS" --initial-balance $((OPENING_CENTS / 100)).00 \
        --getfile-port "$GETFILE_PORT" --getfile-root "$WORK/files" --kv-port "$KV_PORT" --kv-mb 8 --rpcbind no --instance "$INSTANCE" --data "$WORK/data" >"$WORK/master.out" 2>"$WORK/master.err" &
    MASTER=$!
    await "the server is ready" ready_or_dead
    grep -q '^ready: ' "$WORK/master.out" || fail "the server did not start"
    PORT=$(sed -n 's/^ready: [^ ]*:\([0-9]*\) .*/\1/p' "$WORK/master.out")
}
ready_or_dead() { grep -q '^ready: ' "$WORK/master.out" || ! runs "$MASTER"; }
runs() { kill -0 "$1" 2>/dev/null; }

client() { "$BIN/client" --port "$PORT" "$@"; }
kv() { "$BIN/kv_client" --server "127.0.0.1:$KV_PORT" "$@"; }
inspect() { "$BIN/vaultctl" inspect --instance "$INSTANCE" "$@"; }
worker_pids() { ps -o pid=,comm= --ppid "$MASTER" | awk '$2 ~ /^vault-worker/ { print $1 }'; }
process_names() { ps -o comm= --ppid "$MASTER" | sort -V | paste -sd ' '; }
pid_of() { ps -o pid=,comm= --ppid "$MASTER" | awk -v name="$1" '$2 == name { print $1 }'; }
objects() { find /dev/shm -maxdepth 1 -name "*vault.$INSTANCE[.-]*" -printf '%f\n' | sort; }
# The number of connections that are served now.
served() { inspect --json | sed -n 's/^ *"served": \([0-9]*\).*/\1/p'; }
all_threads_are_served() { local count; count=$(served); ((${count:-0} >= THREADS)); }

# Starts a load of all threads in the background, with its output in $WORK/load.out; returns when all are connected.
start_load() {
    client --threads "$THREADS" "$@" >"$WORK/load.out" 2>"$WORK/load.err" &
    LOAD=$!
    await "all $THREADS clients are connected" all_threads_are_served
}

# --- the steps -----------------------------------------------------------------------------------------------------------

show_processes() {
    step "processes: a master, its workers and the journal, each under its own name"
    show ps -o pid,ppid,comm --forest -p "$MASTER" --ppid "$MASTER"
    [[ $(<"/proc/$MASTER/comm") == vault-master ]] || fail "the master's name is $(<"/proc/$MASTER/comm")"
    [[ $(process_names) == "vault-journal vault-worker-0 vault-worker-1 vault-worker-2 vault-worker-3" ]] ||
        fail "the processes are $(process_names)"
    say "vault-master with $(process_names)"
}

show_objects() {
    step "IPC objects: segments of shared memory, and named semaphores"
    show objects
    show inspect
    if lsipc --help 2>/dev/null | grep -q -- --posix-shm; then
        show lsipc --posix-shm --posix-semaphores
    fi
    local all semaphores
    all=$(objects | wc -l)
    semaphores=$(objects | grep -c '^sem\.')
    say "$((all - semaphores)) segments, $semaphores semaphores"
    inspect >/dev/null || fail "vaultctl inspect failed"
}

# The open sockets of process $1.
sockets_of() { find "/proc/$1/fd" -type l -printf '%l\n' 2>/dev/null | grep '^socket:' | sort -u; }

# The socket that is open in the master and in worker $1: of a lane each has another end, so it can only be a connection that was
# handed over.
shared_socket() { comm -12 <(sockets_of "$MASTER") <(sockets_of "$1"); }
handed_over() {
    local worker
    for worker in $(worker_pids); do
        [[ -z $(shared_socket "$worker") ]] || return 0
    done
    return 1
}

show_hand_over() {
    step "hand-over: the master accepts, a worker gets the descriptor (SCM_RIGHTS)"
    golden || trace_hand_over
    exec 9<>"/dev/tcp/127.0.0.1/$PORT"
    await "a worker has the connection" handed_over
    local worker
    for worker in $(worker_pids); do
        [[ -z $(shared_socket "$worker") ]] ||
            show echo "$(shared_socket "$worker") is open in vault-master ($MASTER) and $(<"/proc/$worker/comm") ($worker)"
    done
    exec 9<&- 9>&-
    say "one connection's socket is open in the master and in a worker"
}

trace_hand_over() {
    command -v strace >/dev/null || { show echo "(strace is not installed)"; return; }
    local tracees=("$MASTER") pid tracer
    : >"$WORK/strace.err"
    mapfile -t -O 1 tracees < <(worker_pids)
    strace "${tracees[@]/#/-p}" -e trace=accept4,sendmsg,recvmsg -o "$WORK/strace" 2>"$WORK/strace.err" &
    tracer=$!
    await "strace is attached" traced_or_refused "$tracer"
    if runs "$tracer"; then
        client ping >/dev/null
        await "strace has seen it" grep -q 'recvmsg.*SCM_RIGHTS' "$WORK/strace"
        kill "$tracer"
        wait "$tracer" || true
        for pid in "${tracees[@]}"; do sed -i "s/^$pid /$(<"/proc/$pid/comm") /" "$WORK/strace"; done
        show sed -n '/accept4.*= [0-9]/p; /SCM_RIGHTS/p' "$WORK/strace"
    else
        show echo "(strace may not attach here)"
    fi
}
traced_or_refused() { (($(grep -c ' attached' "$WORK/strace.err") == WORKERS + 1)) || ! runs "$1"; }

show_load() {
    local ops=2000
    if golden; then ops=200; fi
    step "load: $THREADS clients at once, every answer entered into a ledger of their own"
    client --threads "$THREADS" --ops "$ops" --verify >"$WORK/load.out" || fail "the load: $(<"$WORK/load.out")"
    show cat "$WORK/load.out"
    grep -q "^total_ops=$((THREADS * ops)) ok=.* err=0 " "$WORK/load.out" || fail "errors under load"
    say "$((THREADS * ops)) operations, 0 errors; the server's ledger and the clients' agree"
}

show_deaths() {
    step "kill -9 of a worker and of the journal process under load"
    start_load --duration 3s --verify
    local worker journal
    worker=$(pid_of vault-worker-1)
    journal=$(pid_of vault-journal)
    kill -9 "$worker"
    await "the worker is replaced" is_replaced vault-worker-1 "$worker"
    kill -9 "$journal"
    await "the journal process is replaced" is_replaced vault-journal "$journal"
    wait "$LOAD" || fail "the load: $(<"$WORK/load.out")$(<"$WORK/load.err")"
    show cat "$WORK/load.out"
    show grep -E 'worker 1|the journal' "$WORK/master.err"
    grep -q '^verify: OK' "$WORK/load.out" || fail "the ledgers do not agree: $(<"$WORK/load.out")"
    grep -q '^reconnects=0 timeouts=0' "$WORK/load.out" || fail "a client noticed: $(<"$WORK/load.out")"
    say "both were replaced, connections went on with other workers, replies waited for the journal, and no client noticed"
    check_books
}
is_replaced() { local now; now=$(pid_of "$1"); [[ -n $now && $now != "$2" ]]; }

# The balances must be the opening total, plus deposits, less withdrawals, to the cent.
check_books() {
    client totals >"$WORK/totals"
    show cat "$WORK/totals"
    local opening
    opening=$(($(cents_of sum) - $(cents_of deposited) + $(cents_of withdrawn)))
    ((opening == ACCOUNTS * OPENING_CENTS)) || fail "the accounts opened with $opening cents by the ledger"
    say "sum - deposited + withdrawn = $((opening / 100)).00, the opening total: no cent was lost or made"
}
cents_of() { sed -n "s/^$1: \([0-9]*\)\.\([0-9][0-9]\)$/\1\2/p" "$WORK/totals"; }

show_faults() {
    step "bad input: each wrong frame has a named answer"
    client faults >"$WORK/faults" || fail "wrong frames: $(<"$WORK/faults")"
    show cat "$WORK/faults"
    grep -q '^right  bad CRC  .*ERR_BAD_CRC.*the connection lives' "$WORK/faults" || fail "a bad CRC is not rejected"
    say "bad CRC: ERR_BAD_CRC, and the connection lives"
}

show_http() {
    step "HTTP: a page comes the same way, and shows what the server does"
    local page
    for page in / /_vault/ready /_vault/; do
        http_get "$page" >"$WORK/page"
        show sed -n '1p' "$WORK/page"
        grep -q '^HTTP/1.1 200 OK' "$WORK/page" || fail "GET $page: $(head -1 "$WORK/page")"
    done
    show cat "$WORK/data/access.log"
    say "GET /, /_vault/ready and /_vault/ (the dashboard): 200"
}
# Also has the access log written, and waits until the request is in it.
http_get() {
    exec 8<>"/dev/tcp/127.0.0.1/$HTTP_PORT"
    printf 'GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' "$1" >&8
    cat <&8
    exec 8<&- 8>&-
    kill -USR1 "$MASTER"
    await "the request is logged" grep -qF "GET $1 " "$WORK/data/access.log"
}

show_getfile() {
    step "GetFile: a file for each connection, by a protocol of two lines"
    head -c 5000000 /dev/urandom >"$WORK/files/large"
    echo hello >"$WORK/files/hello.txt"
    : >"$WORK/files/empty"
    printf '/%s\n' hello.txt empty large none >"$WORK/workload"
    show "$BIN/client" getfile -p "$GETFILE_PORT" /hello.txt
    "$BIN/client" getfile -p "$GETFILE_PORT" -w "$WORK/workload" -t 8 -n 400 --check "$WORK/files" >"$WORK/getfile.out" ||
        fail "a file is not what it should be: $(cat "$WORK/getfile.out")"
    show cat "$WORK/getfile.out"
    say "400 requests by 8 threads: 300 files, each byte compared, and 100 times FILE_NOT_FOUND"
}

# A second server, whose GetFile fetches from the first one's HTTP.
show_cache() {
    step "cache process: what an HTTP server has, by way of a message queue and of shared memory"
    local page cache second=$INSTANCE-cache
    mkdir "$WORK/pages"
    for page in index.html style.css; do http_get "/$page" | sed '1,/^\r$/d' >"$WORK/pages/$page"; done
    printf '/%s\n' index.html style.css none >"$WORK/workload"
    CACHE_PORT=$(free_port)
    : >"$WORK/second.out"
    "$BIN/master" --instance "$second" --data "$WORK/cache-data" --port 0 --http-port 0 --workers 2 --accounts 10 --durability none \
        --getfile-port "$CACHE_PORT" --getfile-upstream "http://127.0.0.1:$HTTP_PORT" >"$WORK/second.out" 2>"$WORK/second.err" &
    SECOND=$!
    await "the second server is ready" grep -q '^ready: ' "$WORK/second.out"
    get_pages || fail "a page is not what HTTP has: $(cat "$WORK/pages.out")"
    show cat "$WORK/pages.out"
    show "$BIN/vaultctl" cache stats --instance "$second"
    fetches=$("$BIN/vaultctl" cache stats --instance "$second" --json | sed -n 's/^ *"fetches": \([0-9]*\).*/\1/p')
    say "300 requests by 8 threads for 2 pages and one that is not there: $fetches fetches"
    cache=$(pgrep -P "$SECOND" -x vault-cache)
    kill -KILL "$cache"
    get_pages || fail "after kill -9 of the cache process: $(cat "$WORK/pages.out")"
    await "there is a successor" is_there_after "$cache"
    say "after kill -9 of the cache process its successor answers the next 300"
    kill -INT "$SECOND"
    wait "$SECOND" || fail "the second server ended with exit code $?"
}
get_pages() { "$BIN/client" getfile -p "$CACHE_PORT" -w "$WORK/workload" -t 8 -n 300 --check "$WORK/pages" >"$WORK/pages.out"; }
is_there_after() { local now; now=$(pgrep -P "$SECOND" -x vault-cache); [[ -n $now && $now != "$1" ]]; }

show_kv() {
    step "key-value store: versions, compare-and-set and request ids, over ONC RPC"
    local first second key worker id=000102030405060708090a0b0c0d0e0f
    first=$(kv put colour green | sed 's/^version //')
    second=$(kv cas colour "$first" red | sed 's/^version //')
    show kv get colour --json
    ((second > first)) || fail "the version after $first is $second"
    kv_refuses KV_VERSION_MISMATCH cas colour "$first" blue
    kv_refuses KV_VERSION_MISMATCH put colour blue --if-absent
    kv_refuses KV_NOT_FOUND get nothing
    [[ $(kv get colour) == red ]] || fail "what was refused was done"
    say "put, and compare-and-set with its version: done; with that version again: KV_VERSION_MISMATCH, and nothing was done"
    first=$(kv put once 1 --request-id "$id")
    kv put once 2 >/dev/null
    [[ $(kv put once 1 --request-id "$id") == "$first" && $(kv get once) == 2 ]] || fail "a repeated put was done twice"
    kv_refuses KV_CONFLICT put once 3 --request-id "$id"
    say "a put that comes again under its request id has the same answer, and is not done twice; another one is KV_CONFLICT"
    for key in {1..20}; do kv put "user/$key" "$(printf "%${key}000d" "$key")" >/dev/null; done
    worker=$(pid_of vault-worker-0)
    kill -9 "$worker"
    await "the worker is replaced" is_replaced vault-worker-0 "$worker"
    kv scan user/ >"$WORK/scan"
    show head -n 3 "$WORK/scan"
    show kv status
    kv delete colour >/dev/null
    say "after kill -9 of a worker: $(wc -l <"$WORK/scan") keys begin with user/, their values have $(awk '{ sum += $3 } END { print sum }' "$WORK/scan") bytes"
    kv_refuses KV_NOT_FOUND get colour
    say "delete, then get: KV_NOT_FOUND, exit code 1"
}
# kv_refuses STATUS WORD…: the command must be refused with this status and exit code 1, and print no result.
kv_refuses() {
    local status=$1 code=0
    shift
    kv "$@" >"$WORK/kv.out" 2>"$WORK/kv.err" || code=$?
    show cat "$WORK/kv.err"
    [[ $code == 1 && ! -s $WORK/kv.out ]] && grep -q "^kv_client: $status: " "$WORK/kv.err" ||
        fail "kv_client $*: exit code $code, $(cat "$WORK/kv.out" "$WORK/kv.err")"
}

show_stop() {
    step "SIGINT under load"
    start_load --duration 60s
    kill -INT "$MASTER"
    local code=0
    wait "$MASTER" || code=$?
    kill "$LOAD"
    wait "$LOAD" || true
    show grep '^stopped: ' "$WORK/master.out"
    ((code == 0)) || fail "the server ended with exit code $code"
    say "the server ended by itself, exit code 0"
}

show_nothing_left() {
    step "what is left"
    local pid
    for pid in "$MASTER" "${last_workers[@]}"; do ! runs "$pid" || fail "process $pid still runs"; done
    [[ -z $(objects) ]] || fail "left in /dev/shm: $(objects)"
    show echo "/dev/shm has no object of $INSTANCE; $MASTER and ${last_workers[*]} are gone"
    say "no object in /dev/shm, no process"
}

# Starts that must be refused with a message and exit code 2.
show_failures() {
    start_master
    local code=0
    "$BIN/master" --workers 0 || code=$?
    ((code == 2)) || fail "an invalid option: exit code $code"
    code=0
    "$BIN/master" --kv-port "$KV_PORT" --kv-max-value 70000 || code=$?
    ((code == 2)) || fail "a value of an option of the key-value store: exit code $code"
    code=0
    "$BIN/master" --port 0 --http-port 0 --instance "$INSTANCE-b" --data "$WORK/data" || code=$?
    ((code == 2)) || fail "a data directory in use: exit code $code"
    echo "ERROR: invalid input or unavailable IPC resource"
    exit 2
}

build
if [[ $MODE == failure ]]; then show_failures; fi
if [[ $CLUSTER ]]; then
    . examples/cluster_demo.bash
    show_cluster
    if golden; then echo "OK: golden scenario completed"; else printf '\nOK: all as promised\n'; fi
    exit 0
fi
start_master
show_processes
show_objects
show_hand_over
show_load
show_deaths
show_faults
show_http
show_getfile
show_cache
show_kv
mapfile -t last_workers < <(worker_pids)
show_stop
show_nothing_left
if golden; then echo "OK: golden scenario completed"; else printf '\nOK: all as promised\n'; fi
