# What the labs of docs/LABS.md about clusters stand on; tests/support/labs.bash reads it.

declare -A MASTERS=() PORTS=() KV_PORTS=()
PRIMARY=0 TERM_SEEN=0 SERVERS= KV_SERVERS=
FOLLOWERS=()

# cluster: three servers that are one ledger, members 1 to 3; returns when one is the primary. Sets SERVERS (for `client --server`),
# PRIMARY, FOLLOWERS (members' numbers), and MASTERS and PORTS by number. Their logs are $LAB/log1 to $LAB/log3. With `cluster kv` each has a
# key-value store: sets KV_SERVERS and KV_PORTS, too.
cluster() {
    local member port peers=()
    for member in 1 2 3; do
        PORTS[$member]=$(free_port)
        [[ ${1-} != kv ]] || KV_PORTS[$member]=$(free_port)
        peers+=("$member=127.0.0.$((member + 1)):$(free_port)")
        : >"$LAB/log$member"
    done
    PEERS=$(IFS=,; echo "${peers[*]}")
    SERVERS=$(IFS=,; echo "${PORTS[*]/#/127.0.0.1:}")
    KV_SERVERS=$(IFS=,; echo "${KV_PORTS[*]/#/127.0.0.1:}")
    vaultctl cluster secret "$LAB/secret" >/dev/null
    for member in 1 2 3; do member "$member"; done
    elected
}
# member N: starts member N, on what data it has; returns when it is ready.
member() {
    : >"$LAB/out$1"
    local kv=()
    [[ -z ${KV_PORTS[$1]-} ]] || kv=(--kv-port "${KV_PORTS[$1]}" --rpcbind no)
    "$BIN/master" --instance "$INSTANCE-$1" --data "$LAB/data$1" --port "${PORTS[$1]}" --http-port 0 --workers 2 --accounts 100 \
        --initial-balance 1000.00 --max-connections 100 --key-window 10000 --replica-id "$1" --peers "$PEERS" \
        --cluster-secret "$LAB/secret" "${kv[@]}" >"$LAB/out$1" 2>>"$LAB/log$1" &
    MASTERS[$1]=$!
    await grep -q '^ready: ' "$LAB/out$1"
}
# elected: waits until there is a primary of a later term than the last one that was seen, and the members that run name it.
elected() {
    await has_later_term
    read -r PRIMARY TERM_SEEN < <(last_primary)
    local member
    FOLLOWERS=()
    for member in 1 2 3; do
        if answering "$member" && ((member != PRIMARY)); then FOLLOWERS+=("$member"); fi
    done
    for member in "$PRIMARY" "${FOLLOWERS[@]}"; do await shows " primary $PRIMARY " ask "$member" cluster; done
}
# "MEMBER TERM" of the last that became primary, by the logs.
last_primary() {
    local member
    for member in 1 2 3; do
        sed -n "s/.*this instance is the primary in term \([0-9]*\)\$/$member \1/p" "$LAB/log$member"
    done | sort -n -k 2 | tail -n 1
}
has_later_term() { local now; now=$(last_primary); ((${now#* } > TERM_SEEN)); }
# Whether a member runs and is not stopped.
answering() { runs "${MASTERS[$1]}" && running "${MASTERS[$1]}"; }
# processes N: all processes of member N, the master first.
processes() { echo "${MASTERS[$1]}"; pgrep -P "${MASTERS[$1]}"; }
# process N NAME: member N's process of that name.
process() { pgrep -P "${MASTERS[$1]}" -x "$2"; }
# ask N cluster|totals|balance ACCOUNT [AFTER]: asks member N, and only that one.
ask() { python3 tests/support/ask.py "${PORTS[$1]}" "${@:2}"; }
# kv COMMAND…: kv_client, which finds the primary. kv_of N COMMAND…: asks member N, and only that one.
kv() { "$BIN/kv_client" --server "$KV_SERVERS" "$@"; }
kv_of() { "$BIN/kv_client" --server "127.0.0.1:${KV_PORTS[$1]}" "${@:2}"; }
# roles: how many members are what.
roles() { local member; for member in 1 2 3; do ! answering "$member" || ask "$member" cluster; done | cut -d ' ' -f 1 | sort | uniq -c; }
milliseconds() { echo $(($(date +%s%N) / 1000000)); }
