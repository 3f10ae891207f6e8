#!/usr/bin/env bash
# Measures GetFile beside nginx, a connection for each request on both sides, and prints Markdown tables.
#
#   benches/files.sh                     everything; about fifteen minutes
#   benches/files.sh --quick             shorter runs, a cold object of 256 MiB; about three minutes once built
#   benches/files.sh [...] hits cold     only these sections: direct, hits, channels, cold
#   benches/files.sh --check             exit code 1 if an aim is missed
#
# The load generator is one and the same for both (examples/connection_load.rs): it knows no protocol, sends bytes, and reads to the end
# of the stream. All that is compared is measured in turns (A B C A B C ...) in one run, since other users of the machine change its speed
# from minute to minute. Nothing is sent beyond loopback. Exit code: 0, 1 if a measurement failed, 2 if arguments or nginx are missing.
set -euo pipefail

ROUNDS=5 SECONDS_EACH=3 COLD_ROUNDS=3 COLD_MB=1024 CHECK="" SECTIONS=""
for argument; do
    case "$argument" in
        --quick) ROUNDS=3 SECONDS_EACH=1 COLD_ROUNDS=1 COLD_MB=256 ;;
        --check) CHECK=1 ;;
        direct | hits | channels | cold) SECTIONS+=" $argument" ;;
        *) echo "usage: $0 [--quick] [--check] [direct] [hits] [channels] [cold]" >&2; exit 2 ;;
    esac
done
SECTIONS=${SECTIONS:-direct hits channels cold}
if ! command -v nginx >/dev/null; then
    echo "$0: nginx is missing: it is compared with, and it is the upstream of both (apt-get install nginx-light)" >&2
    exit 2
fi

cd "$(dirname "$0")/.."
source benches/support.sh
source benches/web.sh

CONNECTIONS=64
COLD_CLIENTS=50
# In memory, as nginx's cache is best.
MEMORY=$(mktemp -d /dev/shm/bench-files.XXXXXX)
LOAD=""
clean_up() {
    [ -z "$LOAD" ] || kill -TERM "$LOAD" 2>/dev/null || true
    finish
    rm -rf "$MEMORY"
}
trap clean_up EXIT
# For each server, by its short name: its port, the process that is the parent of its others, its protocol, and how it is called.
declare -A PORT_OF PARENT_OF PROTOCOL_OF TITLE_OF BYTES_OF=([1k]=1024 [64k]=65536 [1m]=1048576 [big]=$((COLD_MB << 20)))

make_files() {
    local name
    mkdir -p "$WEB_FILES" "$MEMORY/origin"
    chmod 755 "$TMP" "$MEMORY"
    for name in 1k 64k 1m; do
        head -c "${BYTES_OF[$name]}" /dev/urandom >"$WEB_FILES/$name"
        cp "$WEB_FILES/$name" "$MEMORY/origin"
    done
    [[ $SECTIONS != *cold* ]] || head -c "${BYTES_OF[big]}" /dev/urandom >"$MEMORY/origin/big"
}

# Starts a Bank Vault named $1, titled $2, in accept mode $3, that serves files; more options from $4 on.
start_getfile() {
    local name=$1 accept=$3 port
    TITLE_OF[$name]=$2
    shift 3
    port=$(free_port)
    start_bank "$name" "$accept" --durability none --workers 2 --getfile-port "$port" "$@"
    PORT_OF[$name]=$port PARENT_OF[$name]=$PID PROTOCOL_OF[$name]=GetFile
}
# The same, before the origin.
start_proxy() {
    local name=$1 title=$2 accept=$3
    shift 3
    start_getfile "$name" "$title" "$accept" --getfile-upstream "http://127.0.0.1:${PORT_OF[origin]}" --getfile-ttl 3600 "$@"
}

# Starts an nginx named $1, titled $2, with two workers and, as Bank Vault has them, an access log and open files kept for a second. The
# lines from standard input are for its server block, those in $3 for the block around it.
start_files_nginx() {
    local name=$1 port deadline=$((SECONDS + 10))
    port=$(free_port)
    cat >"$TMP/$name.conf" <<NGINX
daemon off;
worker_processes 2;
pid $TMP/$name.pid;
error_log $TMP/$name.err;
events { worker_connections 4096; }
http {
    sendfile on;
    tcp_nopush on;
    open_file_cache max=1000;
    open_file_cache_valid 1s;
    log_format timed '\$remote_addr - - [\$time_local] "\$request" \$status \$body_bytes_sent '
        '"\$http_referer" "\$http_user_agent" \$request_time';
    client_body_temp_path $TMP/$name-body;
    proxy_temp_path $TMP/$name-proxy;
    fastcgi_temp_path $TMP/$name-fastcgi;
    uwsgi_temp_path $TMP/$name-uwsgi;
    scgi_temp_path $TMP/$name-scgi;
    $3
    server {
        listen 127.0.0.1:$port backlog=4096;
        $(cat)
    }
}
NGINX
    launch "$name" nginx -c "$TMP/$name.conf" -e "$TMP/$name.err"
    until (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do
        if [ "$SECONDS" -ge "$deadline" ] || ! kill -0 "$PID"; then
            cat "$TMP/$name.err" >&2
            return 1
        fi
        sleep 0.05
    done
    TITLE_OF[$name]=$2 PORT_OF[$name]=$port PARENT_OF[$name]=$PID PROTOCOL_OF[$name]=HTTP
}

# Both proxies fetch from it. Its access log is not buffered: the fetches are counted in it.
start_origin() {
    start_files_nginx origin origin "" <<NGINX
        root $MEMORY/origin;
        access_log $TMP/origin.log timed;
NGINX
    KEPT=${#STARTED[@]}
}
start_direct_nginx() {
    start_files_nginx nginx "nginx $NGINX_VERSION" "" <<NGINX
        root $WEB_FILES;
        keepalive_timeout 0;
        access_log $TMP/nginx.log timed buffer=32k flush=5s;
NGINX
}
# With a cache in memory, and one fetch however many wait for an object.
start_nginx_proxy() {
    rm -rf "$MEMORY/cache"
    start_files_nginx nginx "nginx $NGINX_VERSION, proxy_cache" "
    proxy_cache_path $MEMORY/cache levels=1:2 keys_zone=files:10m max_size=4g inactive=1h use_temp_path=off;
    upstream origin { server 127.0.0.1:${PORT_OF[origin]}; keepalive 16; }" <<NGINX
        keepalive_timeout 0;
        access_log $TMP/nginx.log timed buffer=32k flush=5s;
        location / {
            proxy_pass http://origin;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_cache files;
            proxy_cache_valid 200 1h;
            proxy_cache_lock on;
            proxy_cache_lock_age 300s;
            proxy_cache_lock_timeout 300s;
        }
NGINX
}

# Ends all servers but the origin.
stop_servers() {
    end_processes "${STARTED[@]:KEPT}"
    STARTED=("${STARTED[@]:0:KEPT}")
    rm -rf "$TMP"/data-* "$MEMORY/cache"
}

# The request for file $2 in the protocol of server $1.
request() {
    case "${PROTOCOL_OF[$1]}" in
        GetFile) REQUEST="GETFILE GET /$2"$'\r\n\r\n' ;;
        HTTP) REQUEST="GET /$2 HTTP/1.1"$'\r\nHost: 127.0.0.1\r\n\r\n' ;;
    esac
}

# Fetches file $2 from server $1 once and compares every byte of its content, which follows the first empty line.
verify() {
    local line
    request "$1" "$2"
    if ! (
        exec 3<>"/dev/tcp/127.0.0.1/${PORT_OF[$1]}"
        printf %s "$REQUEST" >&3
        while IFS= read -r line <&3 && [ "$line" != $'\r' ]; do :; done
        cmp - "$MEMORY/origin/$2" <&3 >&2
    ); then
        echo "$0: ${TITLE_OF[$1]} did not answer with the file $2" >&2
        return 1
    fi
}

# Ticks of processor time that the process $1 and its children have used.
ticks() {
    local pid line sum=0
    for pid in "$1" $(pgrep -P "$1"); do
        line=$(cat "/proc/$pid/stat" 2>/dev/null) || continue
        # The name before it, in brackets, may have spaces.
        read -ra line <<<"${line##*) }"
        sum=$((sum + line[11] + line[12]))
    done
    echo "$sum"
}
TICKS_PER_SECOND=$(getconf CLK_TCK)

# Loads server $1 with requests for file $2; the other arguments are for the load generator. Its result is in $TMP/load.
run_load() {
    local name=$1 file=$2
    shift 2
    request "$name" "$file"
    # In the background, since a trap does not interrupt a command in the foreground.
    "$BIN/examples/connection_load" --port "${PORT_OF[$name]}" --request "$REQUEST" --content-bytes "${BYTES_OF[$file]}" "$@" \
        >"$TMP/load" &
    LOAD=$!
    if ! wait "$LOAD"; then
        echo "$0: ${TITLE_OF[$name]}, file $file: $(cat "$TMP/load")" >&2
        return 1
    fi
    LOAD=""
}

# The same, measured. Appends a line to $TMP/figures-$1:
# requests per second, processor time of the server per request in microseconds, p50 and p99 in microseconds, seconds.
measure() {
    local name=$1 file=$2 before after
    shift 2
    before=$(ticks "${PARENT_OF[$name]}")
    run_load "$name" "$file" "$@"
    after=$(ticks "${PARENT_OF[$name]}")
    awk -v RS=' ' -F= -v ticks=$((after - before)) -v hertz="$TICKS_PER_SECOND" '{ v[$1] = $2 } END {
        print v["requests_per_s"], ticks * 1e6 / hertz / v["requests"], v["p50_us"], v["p99_us"], v["seconds"] }' \
        "$TMP/load" >>"$TMP/figures-$name"
}

# The median of column $2 of the figures of server $1, times $3, in the format $4.
median() { sort -n -k "$2,$2" "$TMP/figures-$1" | awk -v c="$2" -v by="$3" -v form="$4" '{ v[NR] = $c * by } END {
    printf form, (NR % 2) ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }

# Measures file $1 at the other arguments, servers, in turns, and prints a row for each. The last one is what they are compared to.
compare_servers() {
    local file=$1 round name last=${*: -1} base
    shift
    rm -f "$TMP"/figures-*
    for name; do
        verify "$name" "$file"
        run_load "$name" "$file" --connections "$CONNECTIONS" --seconds 0.3
    done
    for ((round = 0; round < ROUNDS; round++)); do
        for name; do measure "$name" "$file" --connections "$CONNECTIONS" --seconds "$SECONDS_EACH"; done
    done
    base=$(median "$last" 1 1 %f)
    for name; do
        summary <(cut -d' ' -f1 "$TMP/figures-$name")
        RATIO_OF[$name]=$(ratio "$MEDIAN" "$base")
        echo "| $file | ${TITLE_OF[$name]} | $SUMMARY | **${RATIO_OF[$name]}** | $(median "$name" 2 1 %.1f) |" \
            "$(median "$name" 3 .001 %.2f) | $(median "$name" 4 .001 %.2f) |"
    done
}
declare -A RATIO_OF
files_table() { table file server "requests/s" "ratio to the last" "server's processor time, µs/request" "p50 ms" "p99 ms"; }

measure_direct() {
    local file mode
    section "Files from a folder" "\`--getfile-root\` beside nginx as a server of static files; no cache process."
    for mode in dispatch shared reuseport; do start_getfile "$mode" "GetFile, $mode" "$mode" --getfile-root "$WEB_FILES"; done
    start_direct_nginx
    files_table
    for file in 1k 64k 1m; do compare_servers "$file" dispatch shared reuseport nginx; done
    stop_servers
}

measure_hits() {
    local file mode
    section "Hits in the cache" \
        "\`--getfile-upstream\` with the default settings, beside nginx with \`proxy_cache\` on tmpfs; both before one origin."
    for mode in dispatch shared reuseport; do start_proxy "$mode" "GetFile, $mode" "$mode"; done
    start_nginx_proxy
    files_table
    for file in 1k 64k 1m; do
        compare_servers "$file" dispatch shared reuseport nginx
        aim "hits of $file, GetFile with dispatch beside nginx" "${RATIO_OF[dispatch]}" "$([ "$file" = 1m ] && echo 1.0 || echo 1.2)"
    done
    stop_servers
}

measure_channels() {
    local file
    section "Contents by memfd beside segments" "Hits, \`--accept dispatch\`, \`--cache-channel memfd\` and \`segments\`."
    start_proxy memfd "GetFile, memfd" dispatch --cache-channel memfd
    start_proxy segments "GetFile, segments" dispatch
    files_table
    for file in 1k 64k 1m; do compare_servers "$file" memfd segments; done
    stop_servers
}

# Requests for the big file in the origin's access log.
fetches() { grep -c 'GET /big ' "$TMP/origin.log" || true; }

# Starts each server with an empty cache, has all clients ask for the same object at once, and stops it again.
measure_cold_round() {
    local name before
    for name in keeps passes memfd nginx; do
        case "$name" in
            keeps) start_proxy keeps "GetFile, segments, a cache that keeps it" dispatch --getfile-cache-mb $((COLD_MB * 2)) ;;
            passes) start_proxy passes "GetFile, segments, passed through" dispatch --getfile-object-mb 64 ;;
            memfd)
                start_proxy memfd "GetFile, memfd, a cache that keeps it" dispatch --getfile-cache-mb $((COLD_MB * 2)) \
                    --cache-channel memfd
                ;;
            nginx) start_nginx_proxy ;;
        esac
        verify "$name" 1k
        before=$(fetches)
        measure "$name" big --connections "$COLD_CLIENTS" --requests "$COLD_CLIENTS" --timeout 300
        # Nobody keeps what is passed through: it would be fetched once more.
        [ "$name" = passes ] || verify "$name" big
        stop_servers
        echo $(($(fetches) - before)) >>"$TMP/fetches-$name"
    done
}

measure_cold() {
    local round name rate
    section "A cold object of $COLD_MB MiB for $COLD_CLIENTS clients" \
        "Nobody has it yet when all ask at once. nginx with \`proxy_cache_lock\`. Seconds until all of them have all of it."
    rm -f "$TMP"/figures-*
    for ((round = 0; round < COLD_ROUNDS; round++)); do measure_cold_round; done
    table server seconds "MiB/s" "first half of the clients, seconds" "fetches at the origin" "server's processor time, s"
    for name in keeps passes memfd nginx; do
        rate=$(awk -v s="$(median "$name" 5 1 %f)" -v mb=$((COLD_MB * COLD_CLIENTS)) 'BEGIN { printf "%.0f", mb / s }')
        echo "| ${TITLE_OF[$name]} | $(median "$name" 5 1 %.1f) | $rate | $(median "$name" 3 1e-6 %.1f) |" \
            "$(sort -nu "$TMP/fetches-$name" | paste -sd' ') | $(median "$name" 2 "${COLD_CLIENTS}e-6" %.1f) |"
    done
}

echo "Building ..." >&2
cargo build --release --quiet --bins --example connection_load
NGINX_VERSION=$(nginx -v 2>&1 | sed 's|.*/||')

describe_machine
echo "$CONNECTIONS connections at a time, one request for each, by two threads; two workers each, both with an access log."
make_files
start_origin
for part in $SECTIONS; do "measure_$part"; done

echo -e "\nErrors the servers and tools reported: $(complaints)"
[ -z "$AIMS" ] || echo -e "\n$AIMS"
[ -z "$CHECK" ] || [ "$MISSED" = 0 ] || exit 1
