# shellcheck shell=bash
# Functions of benches/cluster.sh and benches/kv.sh: they start instances, or etcd, that are one.

MEMBERS=(member1 member2 member3)
declare -A MASTER_OF
SERVERS=""

# A port at which none of the loopback addresses $@ is listened to.
free_port_of_all() {
    local port address
    for port in 17411 27411 8411 28411 17412 27412; do
        for address; do
            if (exec 3<>"/dev/tcp/$address/$port") 2>/dev/null; then continue 2; fi
        done
        echo "$port"
        return
    done
}

# Starts three instances with empty journals, each with its own loopback address for its peers, and waits until one is the primary. With $1
# kv, each has a key-value store, and SERVERS_KV names them.
start_cluster() {
    local number name port peers deadline=$((SECONDS + 20)) more=()
    end_processes "${MASTER_OF[@]}"
    rm -rf "$TMP"/data-member? "$TMP/secret" "$TMP"/member?.err
    SERVERS="" SERVERS_KV=""
    port=$(free_port_of_all 127.0.0.2 127.0.0.3 127.0.0.4)
    peers="1=127.0.0.2:$port,2=127.0.0.3:$port,3=127.0.0.4:$port"
    "$BIN/vaultctl" cluster secret "$TMP/secret" >/dev/null
    for number in 1 2 3; do
        name=member$number
        if [ "${1:-}" = kv ]; then
            more=(--kv-port "$(free_port_of_all 127.0.0.1)" --kv-mb 512 --rpcbind no)
            SERVERS_KV+="${SERVERS_KV:+,}127.0.0.1:${more[1]}"
        fi
        start_bank "$name" dispatch "${more[@]}" --replica-id "$number" --peers "$peers" --cluster-secret "$TMP/secret"
        MASTER_OF[$name]=$PID
        port="PORT_$name"
        SERVERS+="${SERVERS:+,}127.0.0.1:${!port}"
    done
    until find_primary; do
        if [ "$SECONDS" -ge "$deadline" ]; then
            echo "no member became the primary:" >&2
            tail -n 5 "$TMP"/member?.err >&2
            return 1
        fi
        sleep 0.05
    done
}

# Sets PRIMARY to the name of the member that became the primary last: terms rise with each election.
find_primary() {
    PRIMARY=$(sed -n 's/.*this instance is the primary in term \([0-9]*\)$/\1/p;' /dev/null "$TMP"/member?.err | sort -n | tail -n 1)
    [ -n "$PRIMARY" ] || return 1
    PRIMARY=$(grep -l "this instance is the primary in term $PRIMARY\$" "$TMP"/member?.err | head -1)
    PRIMARY=$(basename "$PRIMARY" .err)
}

# Starts $1 etcd that are one, each with its data on the same disk, and sets ETCD to the leader's address: another one would pass requests on to
# it.
start_etcd() {
    local number address port peer_port peers="" deadline=$((SECONDS + 20))
    ETCD="" ETCD_PIDS=()
    command -v etcd >/dev/null || return 0
    ETCD_VERSION=$(etcd --version | sed -n 's/^etcd Version: //p')
    port=$(free_port_of_all 127.0.1.1 127.0.1.2 127.0.1.3)
    peer_port=$((port + 1000))
    for ((number = 1; number <= $1; number++)); do peers+="${peers:+,}e$number=http://127.0.1.$number:$peer_port"; done
    for ((number = 1; number <= $1; number++)); do
        address=127.0.1.$number
        launch "etcd$number" etcd --name "e$number" --data-dir "$TMP/data-etcd$number" --initial-cluster "$peers" \
            --listen-client-urls "http://$address:$port" --advertise-client-urls "http://$address:$port" \
            --listen-peer-urls "http://$address:$peer_port" --initial-advertise-peer-urls "http://$address:$peer_port" \
            --initial-cluster-token "bench-$$" --logger zap --log-level error
        ETCD_PIDS+=("$PID")
    done
    until [ -n "$ETCD" ]; do
        [ "$SECONDS" -lt "$deadline" ] || return 0
        sleep 0.1
        for ((number = 1; number <= $1; number++)); do
            if metrics "127.0.1.$number" "$port" | grep -q '^etcd_server_is_leader 1'; then ETCD=127.0.1.$number:$port; fi
        done
    done
}
# Ends what start_etcd has started, and removes its data.
end_etcd() {
    end_processes "${ETCD_PIDS[@]}"
    rm -rf "$TMP"/data-etcd?
    ETCD=""
}
# etcd's metrics at address $1, port $2.
metrics() {
    (
        exec 3<>"/dev/tcp/$1/$2"
        printf 'GET /metrics HTTP/1.0\r\n\r\n' >&3
        cat <&3
    ) 2>/dev/null || true
}
