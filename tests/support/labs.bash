# What the commands of docs/LABS.md stand on. Read it into a bash of your own, in the repository's top directory:
#
#   . tests/support/labs.bash
#
# It builds the programs (unless BIN says where they are), makes a directory of its own, $LAB, and cleans up behind you when the
# shell ends. It ends only processes that it started, and touches only objects of its own instance name, $INSTANCE.

BIN=${BIN:-}
if [[ -z $BIN ]]; then
    cargo build --locked --quiet --bins || return
    BIN=${CARGO_TARGET_DIR:-target}/debug
fi
BIN=$(cd "$BIN" && pwd)
INSTANCE=labs-$$
LAB=$(mktemp -d)
MASTER= JOURNAL= CACHE= W0= W1= PORT= GETFILE_PORT=

# With --server it speaks to the servers that are named there.
client() { if [[ ${1-} == --server ]]; then "$BIN/client" "$@"; else "$BIN/client" --port "$PORT" "$@"; fi; }
inspect() { "$BIN/vaultctl" inspect --instance "$INSTANCE" "$@"; }
vaultctl() { "$BIN/vaultctl" "$@"; }

# await COMMAND…: runs it again and again until it succeeds, for half a minute at most.
await() {
    local deadline=$((SECONDS + 30))
    until "$@" >/dev/null 2>&1; do
        ((SECONDS < deadline)) || { echo "waited in vain: $*" >&2; return 1; }
        sleep 0.05
    done
}
# Whether a line of a command's output fits: shows PATTERN COMMAND…
shows() { local pattern=$1; shift; "$@" 2>&1 | grep -E -- "$pattern" >/dev/null; }
runs() { kill -0 "$1" 2>/dev/null; }
# Whether every thread of a process is halted, as by SIGSTOP.
running() { ! halted "$1"; }
# Whether a process has written nothing for a while: nothing happens, so there is nothing to wait for.
stuck() {
    local before
    before=$(grep wchar "/proc/$1/io")
    sleep 0.5
    [[ $before == "$(grep wchar "/proc/$1/io")" ]]
}
halted() { shows '^State:[[:space:]]*[Tt]' cat "/proc/$1/status"; }

# start [VARIABLE=VALUE…] [OPTION…]: a server in the background, with options of `master`; returns when it is ready. Sets MASTER,
# W0, W1, JOURNAL (process ids) and PORT. Its log is $LAB/log.
start() {
    local environment=() options=(--instance "$INSTANCE") pair
    while [[ ${1-} == *=* && ${1-} != -* ]]; do environment+=("$1"); shift; done
    for pair in "--data $LAB/data" "--port 0" "--http-port 0" "--workers 2" "--accounts 100" "--initial-balance 1000.00" \
        "--segment-records 4096"; do
        [[ " $* " == *" ${pair% *} "* ]] || options+=("${pair% *}" "${pair##* }")
    done
    : >"$LAB/out"
    env "${environment[@]}" "${MASTER_PROGRAM:-$BIN/master}" "${options[@]}" "$@" >"$LAB/out" 2>>"$LAB/log" &
    MASTER=$!
    await ready_or_gone
    grep '^ready: ' "$LAB/out" || { echo "the server did not start:"; tail -n 5 "$LAB/log"; wait "$MASTER"; return; }
    PORT=$(sed -n 's/^ready: [^ ]*:\([0-9]*\) .*/\1/p' "$LAB/out")
    await named
    pids
}
ready_or_gone() { grep -q '^ready: ' "$LAB/out" || ! runs "$MASTER"; }
# A child bears the master's name until it has taken its own.
named() {
    { [[ -n $(child vault-journal) ]] || grep -q 'durability none' "$LAB/out"; } &&
        { [[ -n $(child vault-cache) ]] || ! grep -q ' queue /' "$LAB/out"; }
}
child() { ps -o pid=,comm= --ppid "$MASTER" | awk -v name="$1" '$2 == name { print $1 }'; }
# pids: looks again who is who, after a death.
pids() {
    await shows '^vault-worker-0' ps -o comm= --ppid "$MASTER"
    W0=$(child vault-worker-0) W1=$(child vault-worker-1) JOURNAL=$(child vault-journal) CACHE=$(child vault-cache)
}
# Whether a process has a successor under its name: replaced NAME PID
replaced() { local now; now=$(child "$1"); [[ -n $now && $now != "$2" ]]; }

# stop: an orderly end; says with which exit code.
stop() {
    local code=0
    kill -INT "$MASTER"
    wait "$MASTER" || code=$?
    echo "the server ended with exit code $code"
    MASTER=
}
# crash: a death of all processes at once, as by a power cut; /dev/shm is cleaned by the next start.
crash() {
    local all
    mapfile -t all < <(pgrep -P "$MASTER")
    kill -KILL "$MASTER" "${all[@]}"
    wait "$MASTER" 2>/dev/null || true
    local pid
    for pid in "${all[@]}"; do await gone "$pid"; done
    MASTER=
}
gone() { ! runs "$1" || shows '^State:[[:space:]]*Z' cat "/proc/$1/status"; }

# broken: builds the servers of lab 12 and has `start` take them; in a directory of their own, so that nobody takes one for the real.
broken() {
    MASTER_PROGRAM=${BROKEN:-}
    if [[ -z $MASTER_PROGRAM ]]; then
        cargo build --locked --quiet --features break-it --target-dir target/break-it --bin master || return
        MASTER_PROGRAM=target/break-it/debug/master
    fi
}

# free_port: a TCP port of the loopback interface that nobody has.
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
# origin: an HTTP server that gives what is in $LAB/origin. Sets ORIGIN (process id), ORIGIN_PORT, and GETFILE_PORT, for a server that fetches
# from it.
origin() {
    mkdir -p "$LAB/origin"
    ORIGIN_PORT=$(free_port)
    python3 -m http.server --bind 127.0.0.1 --directory "$LAB/origin" "$ORIGIN_PORT" >"$LAB/origin.log" 2>&1 &
    ORIGIN=$!
    await shows ":$ORIGIN_PORT " ss -tln
    GETFILE_PORT=$(free_port)
}
# queues COMMAND…: runs it in a mount namespace of its own, in the folder of this instance's message queues.
queues() {
    mkdir -p "$LAB/queues"
    unshare --mount bash -c 'mount -t mqueue none "$0" && cd "$0" && "$@"' "$LAB/queues" "$@"
}
getfile() { "$BIN/client" getfile -p "$GETFILE_PORT" "$@"; }

# decoded OPTION…: what tshark makes of what is in $LAB/wire.pcapng so far.
decoded() { tshark -X lua_script:docs/vault.lua -r "$LAB/wire.pcapng" "$@" 2>/dev/null; }
# Whether the capture runs: it says so before it is true, so a packet must have come by.
capturing() { client ping && shows 'PING' decoded; }

. "$(dirname "${BASH_SOURCE[0]}")/labs_cluster.bash"

labs_clean_up() {
    local code=$? pid
    trap - EXIT
    # Jobs are children of this shell that it has not collected, so their pids cannot mean anybody else.
    for pid in $(jobs -pr) $(jobs -ps); do kill -KILL "$pid" 2>/dev/null || true; done
    wait 2>/dev/null
    local name
    for name in "$INSTANCE" $(printf '%s\n' "${!MASTERS[@]}" | sed "s/^./$INSTANCE-&/"); do
        await "$BIN/vaultctl" clean --instance "$name"
    done
    rm -rf "$LAB"
    exit "$code"
}
trap labs_clean_up EXIT
