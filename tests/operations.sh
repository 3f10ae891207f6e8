#!/usr/bin/env bash
# Does what docs/OPERATIONS.md says, so that the page cannot rot: the sandbox of the unit option by option, a container's conditions,
# logrotate, a back-up under load and its restoring, an upgrade behind a release link. Wants root, for namespaces.
#
#   tests/operations.sh            all drills
#   tests/operations.sh backup     those whose names begin so
#
# BIN names the folder of the programs; without it they are built. Exit code: 0 all went as the page says, 1 a drill did not, 2 something
# that it needs is not there.
set -euo pipefail
cd "$(dirname "$0")/.."
exec </dev/null

for tool in python3 unshare setpriv prlimit systemd-analyze logrotate mount; do
    command -v "$tool" >/dev/null || { echo "tests/operations.sh: $tool is not installed" >&2; exit 2; }
done
[[ $(id -u) == 0 ]] || { echo "tests/operations.sh: namespaces and mounts want root" >&2; exit 2; }
if [[ -z ${BIN:-} ]]; then
    cargo build --quiet --locked --bins
    BIN=target/debug
fi
BIN=$(realpath "$BIN")
PAGES=$(realpath docs/operations)
CONFINED=$(realpath tests/support/confined.py)
WORK=$(mktemp -d)
chmod 755 "$WORK"
USER_ID=64123
servers=()

clean_up() {
    local pid
    for pid in "${servers[@]}"; do kill -KILL "$pid" 2>/dev/null || true; done
    for pid in "${servers[@]}"; do while [[ -d /proc/$pid ]] && ! grep -q '^State:.Z' "/proc/$pid/status" 2>/dev/null; do sleep 0.02; done; done
    find /dev/shm -maxdepth 1 -name "*vault.op-$$-*" -delete
    rm -rf "$WORK"
}
trap clean_up EXIT

fail() { echo "WRONG $drill: $*" >&2; [[ -s ${home:-}/err ]] && tail -5 "$home/err" >&2; exit 1; }

# Waits until a command succeeds.
await() {
    local tries=0
    until "$@" >/dev/null 2>&1; do
        ((++tries < 600)) || fail "waited in vain for: $*"
        sleep 0.05
    done
}

# Starts a server in $home, with `under` before its command line, and waits until it is ready: $master, $port, $instance.
start() {
    instance=op-$$-$RANDOM
    : >"$home/out"
    "${under[@]}" "$BIN/master" --instance "$instance" --port 0 --http-port "${http_port:-0}" --data "$home/data" --workers 2 \
        --accounts 100 --initial-balance 10.00 --segment-records "${segment:-4096}" --key-window 10000 "$@" >>"$home/out" 2>>"$home/err" &
    servers+=($!)
    await_ready $!
}
await_ready() {
    local tries=0
    until grep -q '^ready: ' "$home/out"; do
        [[ -d /proc/$1 ]] && ((++tries < 600)) || fail "no ready line"
        sleep 0.05
    done
    port=$(sed -n 's/^ready: [^ ]*:\([0-9]*\) .*/\1/p' "$home/out")
    master=$(pgrep -f "^$BIN/master --instance $instance " | head -1)
    servers+=("$master")
}
# The pids of children by their name's beginning.
children() { pgrep -P "$master" "$1" || true; }
ask() { "$BIN/client" --port "$port" "$@"; }
ctl() { "$BIN/vaultctl" "$@"; }
load() { ask --threads 4 --ops "${1:-100}" --verify >"$home/load" 2>&1 || fail "load: $(tail -3 "$home/load")"; }
replaced() { local now; now=$(children "$1"); [[ -n $now && $now != *"$2"* ]]; }
stop() {
    kill -TERM "$master"
    local tries=0
    while [[ -d /proc/$master ]] && ! grep -q '^State:.Z' "/proc/$master/status" 2>/dev/null; do
        ((++tries < 600)) || fail "SIGTERM does not stop it"
        sleep 0.05
    done
    grep -q '^stopped: ' "$home/out" || fail "no orderly stop"
}
new_home() {
    home=$WORK/$drill-$RANDOM
    mkdir "$home"
    chown "$USER_ID:$USER_ID" "$home"
}

# Everything that a service does in its life.
live() {
    local worker journal
    new_home
    start "$@"
    load
    worker=$(children vault-worker | head -1) journal=$(children vault-journal)
    kill -KILL "$worker" "$journal"
    await replaced vault-worker "$worker"
    await replaced vault-journal "$journal"
    kill -HUP "$master"
    ctl upgrade --instance "$instance" >>"$home/load" 2>&1 || fail "upgrade: $(tail -2 "$home/load")"
    load
    stop
    ctl audit --data "$home/data" >/dev/null || fail "audit"
}

drill_unit() {
    local unit=$WORK/bank-vault.service
    sed "s|/opt/bank-vault/current/master|$BIN/master|" "$PAGES/bank-vault.service" >"$unit"
    systemd-analyze verify "$unit" >"$WORK/verify" 2>&1 || fail "$(cat "$WORK/verify")"
    [[ ! -s $WORK/verify ]] || fail "$(cat "$WORK/verify")"
    systemd-analyze security --offline=true --no-pager --threshold=20 "$unit" >"$WORK/security" || fail "$(tail -2 "$WORK/security")"
    tail -1 "$WORK/security"
}

as_user=(setpriv --reuid "$USER_ID" --regid "$USER_ID" --clear-groups --bounding-set=-all --inh-caps=-all --no-new-privs)
# What ProtectSystem=strict, ProtectKernelTunables= and ProtectControlGroups= do: all is read-only but the data and what lies in /dev.
read -r -d '' READ_ONLY <<'END' || true
mount --make-rprivate / && mount --bind "$DATA" "$DATA" && mount --bind /proc/sys /proc/sys &&
    for place in / /proc/sys /sys; do mount -o remount,bind,ro "$place"; done && exec "$@"
END
read -r -d '' PRIVATE_DEVICES <<'END' || true
mount --make-rprivate / && new=$(mktemp -d) && mount -t tmpfs none "$new" && mkdir "$new/shm" && mount --bind /dev/shm "$new/shm"
for name in null zero full random urandom tty; do cp -a "/dev/$name" "$new/"; done
mount --move "$new" /dev && exec "$@"
END

read -r -d '' OWN_PROCESSES <<'END' || true
mount --make-rprivate / && mount -t proc -o hidepid=invisible,subset=pid proc /proc && exec "$@"
END

# A life under one restriction, as the unit's user.
alone() {
    local name=$1
    shift
    under=("$@" "${as_user[@]}")
    live
    echo "  $name"
}
drill_sandbox() {
    export DATA=$WORK
    # The filters do filter.
    ! "$CONFINED" filter=@system-service -- mount -t tmpfs none "$WORK" 2>/dev/null || fail "mount(2) is let through"
    ! "$CONFINED" families=AF_UNIX,AF_INET,AF_INET6 -- python3 -c 'import socket; socket.socket(socket.AF_NETLINK)' 2>/dev/null ||
        fail "AF_NETLINK is let through"
    ! "$CONFINED" mdwe -- python3 -c 'import mmap; mmap.mmap(-1, 4096, prot=7)' 2>/dev/null || fail "PROT_EXEC with PROT_WRITE is"
    alone "User= NoNewPrivileges= CapabilityBoundingSet="
    alone "LimitNOFILE= LimitCORE=" prlimit --nofile=20000 --core=0
    alone "ProtectSystem= ProtectKernelTunables= ProtectControlGroups=" unshare -m sh -c "$READ_ONLY" sh
    alone "PrivateDevices=" unshare -m sh -c "$PRIVATE_DEVICES" sh
    alone "PrivateIPC=" unshare -i
    alone "ProtectHostname=" unshare -u
    alone "ProtectProc= ProcSubset=" unshare -m sh -c "$OWN_PROCESSES" sh
    alone "RestrictAddressFamilies=" "$CONFINED" families=AF_UNIX,AF_INET,AF_INET6 --
    alone "MemoryDenyWriteExecute=" "$CONFINED" mdwe --
    alone "SystemCallFilter=" "$CONFINED" filter=@system-service --
    under=("${as_user[@]}" unshare -U --map-current-user)
    live
    echo "  PrivateUsers="
}

# All of it at once.
drill_together() {
    export DATA=$WORK
    under=(prlimit --nofile=20000 --core=0 unshare -m -i -u sh -c "$PRIVATE_DEVICES" sh sh -c "$READ_ONLY" sh
        "${as_user[@]}" "$CONFINED" families=AF_UNIX,AF_INET,AF_INET6 mdwe filter=@system-service --)
    live
}

# A container: process 1 of its own process tree, its own /dev/shm of a given size.
drill_container() {
    local size
    for size in 64m 256m; do
        new_home
        under=(unshare -m -p -f --kill-child --mount-proc sh -c 'mount --make-rprivate / && mount -t tmpfs -o size='$size' none /dev/shm && exec "$@"' sh)
        instance=op-$$-$RANDOM
        "${under[@]}" "$BIN/master" --instance "$instance" --port 0 --http-port 0 --data "$home/data" >>"$home/out" 2>>"$home/err" &
        servers+=($!)
        if [[ $size == 64m ]]; then
            ! wait $! || fail "it starts in $size"
            grep -q '^master: .*MiB' "$home/err" || fail "it does not say what it needs"
            grep '^master: ' "$home/err" | cut -c1-150
        else
            await_ready $!
            ask --threads 4 --ops 50 --verify >/dev/null || fail "load"
            stop
        fi
    done
}

drill_limits() {
    new_home
    under=("${as_user[@]}")
    start
    local bytes
    bytes=$(find /dev/shm -maxdepth 1 -name "vault.$instance.*" -printf '%s\n' | awk '{ sum += $1 } END { print int(sum / 1048576) }')
    ((bytes < 100)) || fail "$bytes MiB of shared memory for so small a server"
    stop
    new_home
    under=(prlimit --nofile=1000:1000 "${as_user[@]}")
    instance=op-$$-$RANDOM
    ! "${under[@]}" "$BIN/master" --instance "$instance" --port 0 --data "$home/data" 2>"$home/err" || fail "it starts with 1000 files"
    grep -q 'ulimit -Hn' "$home/err" || fail "it does not say which limit"
}

drill_logrotate() {
    new_home
    under=("${as_user[@]}")
    http_port=$((20000 + RANDOM % 9000)) start
    local web
    web=$(sed -n 's|.* http \(http://[^ ]*\) .*|\1|p' "$home/out")
    get() { python3 -c 'import sys, urllib.request; urllib.request.urlopen(sys.argv[1]).read()' "$web$1" 2>/dev/null || true; }
    lines() { cat "$home"/data/access.log* 2>/dev/null | grep -c "$1"; }
    sed -e "s|/var/lib/bank-vault|$home/data|" -e "s|su .*|su #$USER_ID #$USER_ID|" -e 's|systemctl kill.*|kill -USR1 '"$master"'|' \
        "$PAGES/logrotate.conf" | sed "/^ *su /d" >"$home/logrotate.conf"
    chmod 644 "$home/logrotate.conf"
    get before
    await grep -q /before "$home/data/access.log"
    logrotate --force --state "$home/state" "$home/logrotate.conf" 2>"$home/said" || fail "$(cat "$home/said")"
    get after
    await grep -q /after "$home/data/access.log"
    [[ $(lines /before) == 1 && $(lines /after) == 1 ]] || fail "lines are lost or doubled"
    grep -q /before "$home/data/access.log.1" || fail "not rotated"
    stop
}

drill_backup() {
    new_home
    under=("${as_user[@]}")
    segment=65536 start
    ask --connections 8 --pipeline 16 --duration 60s --mix transfer=3,deposit=1 >/dev/null 2>&1 &
    local busy=$! copy turn lsn
    await test -s "$home/data/journal/00000000000000000001.segment"
    for turn in 1 2 3 4 5; do
        ((turn % 2)) || ctl snapshot --instance "$instance" >/dev/null
        lsn=$(ctl inspect --json --instance "$instance" | python3 -c 'import json, sys; print(json.load(sys.stdin)["journal"]["committed_lsn"])')
        copy=$home/copy-$turn
        "$PAGES/backup.py" "$home/data" "$copy" || { rm -rf "$copy"; "$PAGES/backup.py" "$home/data" "$copy"; }
        ctl audit --data "$copy" --json >"$home/audit" || fail "audit of copy $turn: $(ctl audit --data "$copy" 2>&1 | tail -3)"
        python3 - "$home/audit" "$lsn" "$turn" <<'END' || fail "copy $turn lacks acknowledged operations"
import json, sys
audit, lsn = json.load(open(sys.argv[1])), int(sys.argv[2])
end = next(audit[key] for key in ('last_lsn', 'end', 'durable_lsn', 'lsn') if key in audit)
print(f'  copy {sys.argv[3]}: {end} operations, {lsn} were durable when it was begun')
sys.exit(end < lsn)
END
    done
    kill -INT "$busy"; wait "$busy" || true
    stop
    # Restoring: a server on the copy, which serves and whose books are right.
    mv "$home/data" "$home/data.lost"
    cp -a "$copy" "$home/data"
    chown -R "$USER_ID:$USER_ID" "$home/data"
    segment=65536 start
    load
    stop
    ctl audit --data "$home/data" >/dev/null || fail "audit after restoring"
}

drill_upgrade() {
    new_home
    local release
    for release in 1 2; do
        mkdir "$home/release-$release"
        cp "$BIN/master" "$home/release-$release/"
    done
    ln -s release-1 "$home/current"
    local real=$BIN
    under=("${as_user[@]}")
    BIN=$home/current
    start
    BIN=$real
    ask --connections 8 --ops 3000 --verify >"$home/load" 2>&1 &
    local busy=$!
    ln -s release-2 "$home/next" && mv -T "$home/next" "$home/current"
    ctl upgrade --instance "$instance" >"$home/said" 2>&1 || fail "$(cat "$home/said")"
    wait "$busy" || fail "the load: $(tail -3 "$home/load")"
    [[ $(readlink "/proc/$master/exe") == "$home/release-2/master" ]] || fail "it runs $(readlink "/proc/$master/exe")"
    # And back.
    ln -s release-1 "$home/next" && mv -T "$home/next" "$home/current"
    ctl upgrade --instance "$instance" >"$home/said" 2>&1 || fail "$(cat "$home/said")"
    [[ $(readlink "/proc/$master/exe") == "$home/release-1/master" ]] || fail "it runs $(readlink "/proc/$master/exe")"
    # A program that cannot take over changes nothing.
    mkdir "$home/release-3" && cp /bin/false "$home/release-3/master"
    ln -s release-3 "$home/next" && mv -T "$home/next" "$home/current"
    ! ctl upgrade --instance "$instance" >"$home/said" 2>&1 || fail "an upgrade to /bin/false is reported as done"
    load
    stop
}

for drill in unit sandbox together container limits logrotate backup upgrade; do
    [[ $# == 0 || $drill == "$1"* ]] || continue
    echo "=== $drill"
    "drill_$drill"
done
echo "tests/operations.sh: all went as docs/OPERATIONS.md says"
