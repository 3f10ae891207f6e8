# What `./run_demo.sh --cluster` shows: three instances that are one ledger and one key-value store. run_demo.sh reads this file, and defines what it uses.

MEMBERS=(1 2 3)
CLUSTER_ACCOUNTS=1000
declare -A MASTERS=() PORTS=() KV_PORTS=()
# Processes that are stopped by SIGSTOP, and must go on before they can be ended.
STOPPED=()

prepare_cluster() {
    local ports member peers=()
    mapfile -t ports < <(free_ports 7)
    for member in "${MEMBERS[@]}"; do
        PORTS[$member]=${ports[$member]}
        KV_PORTS[$member]=${ports[$((member + 3))]}
        peers+=("$member=127.0.0.$((member + 1)):${ports[0]}")
    done
    PEERS=$(IFS=,; echo "${peers[*]}")
    SERVERS=$(IFS=,; echo "${PORTS[*]/#/127.0.0.1:}")
    KV_SERVERS=$(IFS=,; echo "${KV_PORTS[*]/#/127.0.0.1:}")
    "$BIN/vaultctl" cluster secret "$WORK/secret" >/dev/null
}

start_member() {
    "$BIN/master" --instance "$INSTANCE-$1" --data "$WORK/data$1" --port "${PORTS[$1]}" --http-port 0 --workers 2 \
        --accounts "$CLUSTER_ACCOUNTS" --initial-balance $((OPENING_CENTS / 100)).00 --max-connections 200 --key-window 100000 \
        --kv-port "${KV_PORTS[$1]}" --kv-mb 1 --rpcbind no \
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

# The store by kv_client, which finds the primary and follows it; or as KV_SERVERS and KV_TIMEOUT say.
cluster_kv() { "$BIN/kv_client" --server "$KV_SERVERS" --timeout "${KV_TIMEOUT:-30}" "$@"; }
# The same of one member alone.
kv_at() {
    local member=$1
    shift
    KV_SERVERS=127.0.0.1:${KV_PORTS[$member]} cluster_kv "$@"
}
version_of() { sed 's/^version //'; }

# What kv_client does for its user must not hide what a server answers, so this is a PUT by hand: RPC (RFC 5531) and XDR (RFC 4506) in hex
# digits, by docs/kv.x. put_by_hand MEMBER REQUEST-ID KEY VALUE prints the name of the status, or that the connection ended without one.
put_by_hand() {
    local message reply names=(KV_OK KV_NOT_FOUND KV_VERSION_MISMATCH KV_NOT_PRIMARY KV_NO_QUORUM KV_BEHIND KV_BUSY)
    # xid, CALL, RPC version 2, program, its version, procedure 2, no credentials, no verifier; and KV_ALWAYS behind id, key and value.
    message=000000010000000000000002312300180000000100000002$(printf '%032x' 0)
    message+=$2$(xdr_opaque "$3")$(xdr_opaque "$4")$(printf '%024x' 0)
    message=$(printf '8000%04x' $((${#message} / 2)))$message
    exec 7<>"/dev/tcp/127.0.0.1/${KV_PORTS[$1]}"
    printf '%b' "$(sed 's/../\\x&/g' <<<"$message")" >&7
    reply=$(timeout 20 head -c 32 <&7 | od -An -v -tx1 | tr -d ' \n') || true
    exec 7<&- 7>&-
    # Behind mark, xid, REPLY, accepted, verifier, SUCCESS.
    if [[ ${#reply} == 64 ]]; then echo "${names[16#${reply:56}]-another status}"; else echo "no answer"; fi
}
# A text as XDR has it: its length, its bytes, and zeros up to a multiple of four.
xdr_opaque() {
    local bytes
    bytes=$(printf '%s' "$1" | od -An -v -tx1 | tr -d ' \n')
    printf '%08x%s' "${#1}" "$bytes"
    while ((${#bytes} % 8)); do bytes+=00 && printf 00; done
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

show_key_values() {
    step "a key-value store on the same log: every member reads, and the primary alone writes"
    is_elected_after 0
    local version member answer followers=()
    for member in "${MEMBERS[@]}"; do ((member == PRIMARY)) || followers+=("$member"); done
    version=$(kv put colour green | version_of)
    for member in "${followers[@]}"; do
        [[ $(kv_at "$member" get colour --after "$version") == green ]] || fail "member $member has not what the primary has put"
    done
    show echo "colour is green in version $version at members ${followers[*]}; the primary is member $PRIMARY"
    say "put at the primary, and read at both followers, no older than that put (--after): each waits until it has applied it"
    answer=$(put_by_hand "${followers[0]}" "$(printf '%032x' 1)" colour blue)
    [[ $answer == KV_NOT_PRIMARY && $(kv get colour) == green ]] || fail "a put at a follower: $answer, colour is $(kv get colour)"
    show kv_at "${followers[0]}" status
    [[ $(kv_at "${followers[0]}" status | sed -n 's/^primary address //p') == "127.0.0.1:${KV_PORTS[$PRIMARY]}" ]] ||
        fail "a follower does not know the primary"
    say "a put at a follower: KV_NOT_PRIMARY, and nothing is done; KV_STATUS names the primary, where kv_client goes by itself"

    step "SIGSTOP of a follower's replica process: what is put now does not come to that member"
    member=${followers[0]}
    STOPPED=("$(pgrep -P "${MASTERS[$member]}" -x vault-replica)")
    kill -STOP "${STOPPED[@]}"
    version=$(kv put colour red | version_of)
    [[ $(kv_at "$member" get colour) == green ]] || fail "member $member shows what it cannot have heard of"
    KV_TIMEOUT=1 KV_SERVERS=127.0.0.1:${KV_PORTS[$member]} kv_refuses KV_BEHIND get colour --after "$version"
    kill -CONT "${STOPPED[@]}"
    STOPPED=()
    await "member $member has applied it" reads_at "$member" red --after "$version"
    say "a put is done all the same: two of three are a quorum"
    say "that member still reads the value before; asked for one no older than the put (--after), it says KV_BEHIND"
    say "after SIGCONT it has caught up, and reads the new value"
}
reads_at() { local member=$1 value=$2; shift 2; [[ $(kv_at "$member" get colour "$@" 2>/dev/null) == "$value" ]]; }

# Puts one number after the other until there is $WORK/enough; notes each with its version once it is answered.
put_numbers() {
    local number=0 version
    until [[ -e $WORK/enough ]]; do
        number=$((number + 1))
        version=$(cluster_kv put counter "$number" | version_of)
        echo "$number $version" >>"$WORK/numbers"
    done
}
start_putting_numbers() {
    put_numbers 2>"$WORK/numbers.err" &
    NUMBERS=$!
    await_numbers
}
numbers() { wc -l 2>/dev/null <"$WORK/numbers" || echo 0; }
more_numbers_than() { (($(numbers) > $1)); }
# Waits until some more have been put than now.
await_numbers() { await "puts go on" more_numbers_than $(($(numbers) + 5)); }
# Ends that, and holds that each was done once, that versions have risen, and that all members read the last one.
check_numbers() {
    local last member version
    : >"$WORK/enough"
    wait "$NUMBERS" || fail "a put of a number: $(<"$WORK/numbers.err")"
    awk '$1 != NR || $2 <= version { exit 1 } { version = $2 }' "$WORK/numbers" || fail "the versions do not rise: $(<"$WORK/numbers")"
    read -r last version < <(tail -n 1 "$WORK/numbers")
    for member in "${MEMBERS[@]}"; do
        [[ $(kv_at "$member" get counter --after "$version") == "$last" ]] || fail "member $member does not read the last number, $last"
    done
    show echo "$last puts, the last one in version $version"
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
    start_putting_numbers
    is_elected_after 0
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
    await_numbers
    say "another member is the primary, and the load goes on there, and so do puts: the two that are left are a quorum"

    step "it is started again"
    local reached
    reached=$(operations)
    start_member "$killed"
    await "it has caught up" has_applied "$killed" "$reached"
    show echo "member $killed has applied operation $(last_applied "$killed"); at its start the primary was at $reached"
    say "it follows, and has caught up, under load"
    check_numbers
    say "puts of one client, one after the other all the time: none failed, versions rise, and all three members read the last one"
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

show_split_brain() {
    step "SIGSTOP of both followers: the primary is alone, and does not know whether the others have elected another one"
    await "a primary answers" answers
    is_elected_after 0
    local alone=$PRIMARY member early refused begun answer before after
    early=$(printf '%032x' 11)
    refused=$(printf '%032x' 12)
    STOPPED=()
    for member in "${MEMBERS[@]}"; do
        ((member == alone)) || mapfile -t -O "${#STOPPED[@]}" STOPPED < <(processes_of "$member")
    done
    kill -STOP "${STOPPED[@]}"
    # It leads until it has heard nobody for a second or two, executes this, and cannot commit it.
    answer=$(put_by_hand "$alone" "$early" early here)
    show echo "a put at once: $answer"
    [[ $answer == "no answer" || $answer == KV_NO_QUORUM ]] || fail "a put that nobody else has: $answer"
    begun=$(milliseconds)
    await "it knows that it has no quorum" is_refused "$alone" "$refused"
    show echo "a put later: KV_NO_QUORUM, after $(($(milliseconds) - begun)) ms"
    show kv_at "$alone" status
    say "it stops to lead: a put is answered KV_NO_QUORUM after 3 s, and is not executed. One that came before it knew is not answered KV_OK"
    kill -CONT "${STOPPED[@]}"
    STOPPED=()
    await "a primary answers" answers
    kv_refuses KV_NOT_FOUND get refused
    # It may have been executed before, and be in the log of the member that is elected now.
    before=$(kv get early --json 2>/dev/null) || before=
    show echo "the put at once: ${before:-is not there}"
    kv put early here --request-id "$early" >/dev/null
    after=$(kv get early --json)
    show echo "sent again: $after"
    [[ -z $before || $after == "$before" ]] || fail "a put under one request id was done twice: $before, $after"
    kv put refused later --request-id "$refused" >/dev/null
    [[ $(kv get refused) == later ]] || fail "the request id of what was refused is not free"
    say "with the others back: what was answered KV_NO_QUORUM is not there, and its request id is free"
    say "what had no answer may be there or not, as after any broken connection: sent again under its request id, it is done once"
}
is_refused() { [[ $(put_by_hand "$1" "$2" refused here) == KV_NO_QUORUM ]]; }

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
    for member in "${MEMBERS[@]}"; do kv_at "$member" scan >"$WORK/keys$member"; done
    show cat "$WORK/keys1"
    { cmp "$WORK/keys1" "$WORK/keys2" && cmp "$WORK/keys2" "$WORK/keys3"; } || fail "the key-value stores differ"
    say "the key-value stores of the three are equal: $(wc -l <"$WORK/keys1") keys with their versions"
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
    kv() { cluster_kv "$@"; }
    prepare_cluster
    show_founding
    show_key_values
    start_cluster_load
    show_killed_primary
    show_partition
    show_split_brain
    show_emptied_disk
    show_cluster_books
    show_cluster_end
}
