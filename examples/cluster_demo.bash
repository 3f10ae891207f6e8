# What `./run_demo.sh --cluster` shows: three instances that are one ledger. run_demo.sh reads this file, and defines what it uses.

MEMBERS=(1 2 3)
CLUSTER_ACCOUNTS=1000
declare -A MASTERS=() PORTS=()
# Processes that are stopped by SIGSTOP, and must go on before they can be ended.
STOPPED=()

prepare_cluster() {
    local ports member peers=()
    mapfile -t ports < <(free_ports 4)
    for member in "${MEMBERS[@]}"; do
        PORTS[$member]=${ports[$member]}
        peers+=("$member=127.0.0.$((member + 1)):${ports[0]}")
    done
    PEERS=$(IFS=,; echo "${peers[*]}")
    SERVERS=$(IFS=,; echo "${PORTS[*]/#/127.0.0.1:}")
    "$BIN/vaultctl" cluster secret "$WORK/secret" >/dev/null
}

start_member() {
    "$BIN/master" --instance "$INSTANCE-$1" --data "$WORK/data$1" --port "${PORTS[$1]}" --http-port 0 --workers 2 \
        --accounts "$CLUSTER_ACCOUNTS" --initial-balance $((OPENING_CENTS / 100)).00 --max-connections 200 --key-window 100000 \
        --replica-id "$1" --peers "$PEERS" --cluster-secret "$WORK/secret" >>"$WORK/member$1.out" 2>>"$WORK/member$1.err" &
    MASTERS[$1]=$!
}

# A server that is stopped is as silent as one that is cut off: the client goes to the next one after a second.
cluster_client() { "$BIN/client" --server "$SERVERS" --timeout 1s "$@"; }
# All processes of a member, the master first.
processes_of() { echo "${MASTERS[$1]}"; pgrep -P "${MASTERS[$1]}"; }
names_of() { ps -o comm= --ppid "${MASTERS[$1]}" | sort -V | paste -sd ' '; }
has_all_names() { [[ $(names_of "$1") == "vault-journal vault-replica vault-worker-0 vault-worker-1" ]]; }

# "MEMBER TERM" of the member that became the primary last, as the members' logs have it: terms rise with each election.
last_primary() {
    local member
    {
        echo 0 0
        for member in "${MEMBERS[@]}"; do
            sed -n "s/.*this instance is the primary in term \([0-9]*\)\$/$member \1/p" "$WORK/member$member.err"
        done
    } | sort -n -k 2 | tail -n 1
}
# Whether there was an election after that of term $1; sets PRIMARY and TERM.
is_elected_after() {
    read -r PRIMARY TERM < <(last_primary)
    ((TERM > $1))
}
# Whether somebody answers as the primary.
answers() { cluster_client --retry-for 2s balance 0 >/dev/null 2>&1; }
milliseconds() { echo $(($(date +%s%N) / 1000000)); }

# The last operation that a member has applied, as its export says in its first line; writes its books to $WORK/booksN.
last_applied() {
    "$BIN/vaultctl" export --instance "$INSTANCE-$1" --output "$WORK/books$1" 2>"$WORK/export.log" || return
    sed -n '1s/.* operation \([0-9]*\), .*/\1/p' "$WORK/books$1"
}
has_applied() { local lsn; lsn=$(last_applied "$1") && ((${lsn:-0} >= $2)); }
books_are_equal() {
    local member
    for member in "${MEMBERS[@]}"; do last_applied "$member" >/dev/null; done
    cmp -s "$WORK/books1" "$WORK/books2" && cmp -s "$WORK/books2" "$WORK/books3"
}

show_founding() {
    step "three instances: each knows the addresses of all, and a secret; they found a cluster and elect a primary"
    local member
    for member in "${MEMBERS[@]}"; do start_member "$member"; done
    await "a primary is elected" is_elected_after 0
    await "it answers" answers
    for member in "${MEMBERS[@]}"; do await "member $member has its processes" has_all_names "$member"; done
    show ps -o pid,ppid,comm --forest -p "${MASTERS[1]}" --ppid "${MASTERS[1]}"
    show grep -hE 'founds cluster|is the primary' "$WORK"/member{1,2,3}.err
    (($(cat "$WORK"/member*.err | grep -c 'founds cluster') == 1)) || fail "not exactly one member founded the cluster"
    say "three times vault-master with $(names_of 1); one of them founded the cluster, one is the primary"
}

start_cluster_load() {
    # Not by the function, whose process would be a shell that the client survives.
    "$BIN/client" --server "$SERVERS" --timeout 1s --threads 20 --verify --retry-for 60s --duration 10m >"$WORK/load.out" 2>"$WORK/load.err" &
    LOAD=$!
    await_operations
}
# Waits until there are more operations than now.
await_operations() {
    local now
    now=$(operations)
    await "operations go on" more_than "${now:-0}"
}
operations() { cluster_client totals 2>/dev/null | sed -n 's/^last operation: //p'; }
more_than() { local now; now=$(operations); ((${now:-0} > $1)); }

show_killed_primary() {
    step "kill -9 of all processes of the primary, under load"
    local killed=$PRIMARY begun processes
    mapfile -t processes < <(processes_of "$killed")
    begun=$(milliseconds)
    kill -9 "${processes[@]}"
    wait "${MASTERS[$killed]}" 2>/dev/null || true
    await "another primary is elected" is_elected_after "$TERM"
    await "it answers" answers
    show echo "member $killed was killed; member $PRIMARY, primary in term $TERM, answered after $(($(milliseconds) - begun)) ms"
    ((PRIMARY != killed)) || fail "the member that was killed is the primary"
    await_operations
    say "another member is the primary, and the load goes on there"

    step "it is started again"
    local reached
    reached=$(operations)
    start_member "$killed"
    await "it has caught up" has_applied "$killed" "$reached"
    show echo "member $killed has applied operation $(last_applied "$killed"); at its start the primary was at $reached"
    say "it follows, and has caught up, under load"
}

show_partition() {
    step "SIGSTOP of all processes of the primary for some seconds: to the others it is cut off"
    await "a primary answers" answers
    is_elected_after 0
    local stopped=$PRIMARY begun processes
    mapfile -t processes < <(processes_of "$stopped")
    STOPPED=("${processes[@]}")
    begun=$(milliseconds)
    kill -STOP "${processes[@]}"
    await "another primary is elected" is_elected_after "$TERM"
    await "it answers" answers
    show echo "member $stopped was stopped; member $PRIMARY, primary in term $TERM, answered after $(($(milliseconds) - begun)) ms"
    ((PRIMARY != stopped)) || fail "the member that is stopped is the primary"
    await_operations
    kill -CONT "${processes[@]}"
    STOPPED=()
    local reached
    reached=$(operations)
    await "it has caught up" has_applied "$stopped" "$reached"
    show echo "$(grep -hE "is the primary|books" "$WORK/member$stopped.err" | tail -n 3)"
    say "another member is the primary; the one that was stopped follows now, and has caught up"
}

show_emptied_disk() {
    step "a follower's disk is lost: all its processes are killed, its data directory is gone"
    await "a primary answers" answers
    is_elected_after 0
    local member emptied processes reached
    for member in "${MEMBERS[@]}"; do ((member == PRIMARY)) || emptied=$member; done
    mapfile -t processes < <(processes_of "$emptied")
    kill -9 "${processes[@]}"
    wait "${MASTERS[$emptied]}" 2>/dev/null || true
    rm -rf "$WORK/data$emptied"
    reached=$(operations)
    start_member "$emptied"
    await "it has caught up" has_applied "$emptied" "$reached"
    await "it is a follower again" follows "$emptied"
    show "$BIN/vaultctl" cluster status --instance "$INSTANCE-$PRIMARY"
    say "under its number, as another node, it joined as a learner, caught up, was promoted, and the lost node was removed"
}
# Whether a member votes, and is the only one with its number.
follows() {
    "$BIN/vaultctl" cluster status --instance "$INSTANCE-$1" --json >"$WORK/status" 2>/dev/null &&
        grep -q '^  "role": "follower"' "$WORK/status" && (($(grep -c '"peer_address"' "$WORK/status") == ${#MEMBERS[@]}))
}

show_cluster_books() {
    step "what 20 clients entered into ledgers of their own, and what the three instances have"
    local code=0 member audit
    kill -TERM "$LOAD"
    wait "$LOAD" || code=$?
    show cat "$WORK/load.out"
    ((code == 143)) || fail "the load ended with $code: $(<"$WORK/load.out")$(<"$WORK/load.err")"
    grep -q "^verify: OK, totals and $CLUSTER_ACCOUNTS balances agree with the acknowledged operations\$" "$WORK/load.out" ||
        fail "the ledgers do not agree: $(cat "$WORK/load.out" "$WORK/load.err")"
    say "every acknowledged operation was done once, none in doubt"
    await "the books are equal" books_are_equal
    show head -n 1 "$WORK/books1"
    say "the books of the three are equal, to the cent and to the last operation"
    for member in "${MEMBERS[@]}"; do
        audit=$("$BIN/vaultctl" audit --instance "$INSTANCE-$member") || fail "the audit of member $member: $audit"
        show head -n 2 <<<"$audit"
    done
    say "each one's journal passes its audit"
    ACCOUNTS=$CLUSTER_ACCOUNTS check_books
    for member in "${MEMBERS[@]}"; do reads_the_same "$member"; done
    say "each one answers BALANCE, as of what the primary said last (AFTER)"
}
# TOTALS comes from the primary, and its LSN is the AFTER of BALANCE, which this member is asked first.
reads_the_same() {
    local expected seen
    expected=$(cluster_client balance 7)
    seen=$(printf 'totals\nbalance 7\n' | "$BIN/client" --server "127.0.0.1:${PORTS[$1]}" --read-from any shell) ||
        fail "a read from member $1: $seen"
    grep -qF "${expected##* }" <<<"$seen" || fail "account 7 of member $1: $seen, not $expected"
}

show_cluster_end() {
    step "SIGINT to all three"
    local member code processes=()
    for member in "${MEMBERS[@]}"; do mapfile -t -O "${#processes[@]}" processes < <(processes_of "$member"); done
    for member in "${MEMBERS[@]}"; do kill -INT "${MASTERS[$member]}"; done
    for member in "${MEMBERS[@]}"; do
        code=0
        wait "${MASTERS[$member]}" || code=$?
        ((code == 0)) || fail "member $member ended with exit code $code"
    done
    show grep -h '^stopped: ' "$WORK"/member{1,2,3}.out
    local pid
    for pid in "${processes[@]}"; do ! runs "$pid" || fail "process $pid still runs"; done
    [[ -z $(objects) ]] || fail "left in /dev/shm: $(objects)"
    say "each ended by itself, exit code 0; no object in /dev/shm, no process"
}

show_cluster() {
    client() { cluster_client "$@"; }
    prepare_cluster
    show_founding
    start_cluster_load
    show_killed_primary
    show_partition
    show_emptied_disk
    show_cluster_books
    show_cluster_end
}
