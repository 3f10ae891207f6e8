#!/usr/bin/env bash
# Measures what a start costs that reads a journal without a snapshot: journals of the key-value store beside one of the ledger with as many
# records, in turns. Prints a Markdown table.
#
#   benches/start.sh             a million records each, nine rounds; about two minutes once built
#   benches/start.sh --quick     a tenth of that
#
# Exit code: 0, 1 if a measurement failed, 2 if arguments are wrong.
set -euo pipefail

ROUNDS=9 SECONDS_EACH=3 RECORDS=1000000
for argument; do
    case "$argument" in
        --quick) ROUNDS=3 RECORDS=100000 ;;
        *) echo "usage: $0 [--quick]" >&2; exit 2 ;;
    esac
done

cd "$(dirname "$0")/.."
source benches/support.sh
[[ ${BIN_READY:-} ]] || cargo build --release --locked --quiet --bins
KV_PORT=$((20000 + $$ % 10000))

# Starts the server of the journal $1 on what it has, to remember the keys and request ids of $2 records. Snapshots are off, and so all of the
# journal is read.
start_journal() {
    rm -f "$TMP/$1"
    start_bank "$1" dispatch --snapshot-every 0 --key-window "$2" --kv-port "$KV_PORT" --rpcbind no
}
stop_journal() {
    kill -TERM "$PID"
    wait "$PID" || true
}

# Puts $1 values of $2 bytes under $3 keys in turn, each with a request id, over one connection.
put_values() {
    python3 - "$KV_PORT" "$@" <<'PYTHON'
import os, socket, struct, sys, threading
port, count, size, keys = map(int, sys.argv[1:])
server = socket.create_connection(("127.0.0.1", port))
head, value = struct.pack(">10I", 7, 0, 2, 0x31230018, 1, 2, 0, 0, 0, 0), os.urandom(size)
def opaque(data): return struct.pack(">I", len(data)) + data + bytes(-len(data) % 4)
tail = opaque(value) + struct.pack(">IQ", 0, 0)
def send():
    for first in range(0, count, 64):
        calls = (head + struct.pack("<QQ", 1, number + 1) + opaque(b"key-%08d" % (number % keys)) + tail
                 for number in range(first, min(first + 64, count)))
        server.sendall(b"".join(struct.pack(">I", 1 << 31 | len(call)) + call for call in calls))
threading.Thread(target=send, daemon=True).start()
left = 40 * count  # A mark, 24 bytes of RPC, the status, the version: of KV_OK alone there are as many.
while left > 0:
    part = server.recv(1 << 16)
    if not part: sys.exit("the server has closed the connection")
    left -= len(part)
PYTHON
}

# Records per second of the processor time that the master takes for a start on the journal $1, with the keys of $2 records, until it is
# ready (/proc/PID/schedstat): so what else the machine does matters little.
reading() {
    local ns records
    start_journal "$1" "$2"
    read -r ns _ <"/proc/$PID/schedstat"
    records=$(sed -nE 's/.*the ledger is read.* ([0-9]+) records in .*/\1/p' "$TMP/$1.err" | tail -1)
    stop_journal
    awk -v records="$records" -v ns="$ns" 'BEGIN { printf "%.0f\n", records / ns * 1e9 }'
}

start_journal ledger 1000000
timeout 120 "$BIN/client" --port "$PORT_ledger" --connections 100 --pipeline 128 --mix transfer=100 --ops $((RECORDS / 100)) >/dev/null
stop_journal
start_journal small 1000000
put_values $((RECORDS / 3)) 100 10000
stop_journal
start_journal large 1000000
put_values $((RECORDS / 206)) 16384 1000
stop_journal

for what in ledger small large; do eval "read_$what() { reading $what \$1; }"; done
echo "Machine: $(nproc) cores, Linux $(uname -r | cut -d- -f1); files in memory. Each figure: median of $ROUNDS starts [least-most], in turns,"
echo "in records per second of the master's processor time."
table "journal of $RECORDS records, beside transfers" "records/s" "transfers, records/s" "ratio"
for window in 1000000 1000; do
    compare "PUTs of 100 bytes, $window remembered" read_small read_ledger "$window"
    compare "PUTs of 16 KiB, $window remembered" read_large read_ledger "$window"
done
