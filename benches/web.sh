# shellcheck shell=bash
# HTTP for benches/system.sh: files, a Bank Vault that serves them, and nginx beside it.

WEB_FILES=$TMP/www
NGINX_PORT=""

# A port without a listener, below the range from which the kernel takes ports for connections.
free_port() {
    local port
    for port in 18080 28080 8180 28180 18280 18380 28280 28380 8280 8380; do
        if ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
            echo "$port"
            return
        fi
    done
}

make_web_files() {
    mkdir "$WEB_FILES"
    chmod 755 "$TMP" "$WEB_FILES"
    head -c 1024 /dev/urandom >"$WEB_FILES/1k"
    head -c 16384 /dev/urandom >"$WEB_FILES/16k"
    head -c 1048576 /dev/urandom >"$WEB_FILES/1m"
}

# With two workers and an access log that is rotated as usual.
start_web() {
    WEB_PORT=$(free_port)
    start_bank web dispatch --durability none --workers 2 --http-port "$WEB_PORT" --www "$WEB_FILES"
}

# With two workers, an access log of the same fields, and open files kept for a second, as Bank Vault keeps them.
start_nginx() {
    command -v nginx >/dev/null || return 0
    NGINX_PORT=$(free_port)
    NGINX_VERSION=$(nginx -v 2>&1 | sed 's|.*/||')
    cat >"$TMP/nginx.conf" <<NGINX
daemon off;
worker_processes 2;
pid $TMP/nginx.pid;
error_log $TMP/nginx.log;
events { worker_connections 2048; }
http {
    sendfile on;
    tcp_nopush on;
    keepalive_requests 1000000000;
    open_file_cache max=1000;
    open_file_cache_valid 1s;
    log_format timed '\$remote_addr - - [\$time_local] "\$request" \$status \$body_bytes_sent "\$http_referer" "\$http_user_agent" \$request_time';
    access_log $TMP/nginx-access.log timed buffer=32k flush=5s;
    client_body_temp_path $TMP/nginx-body;
    proxy_temp_path $TMP/nginx-proxy;
    fastcgi_temp_path $TMP/nginx-fastcgi;
    uwsgi_temp_path $TMP/nginx-uwsgi;
    scgi_temp_path $TMP/nginx-scgi;
    server { listen 127.0.0.1:$NGINX_PORT backlog=4096; root $WEB_FILES; }
}
NGINX
    launch nginx nginx -c "$TMP/nginx.conf" -e "$TMP/nginx.log"
    local deadline=$((SECONDS + 10))
    until (exec 3<>"/dev/tcp/127.0.0.1/$NGINX_PORT") 2>/dev/null; do
        if [ "$SECONDS" -ge "$deadline" ]; then
            NGINX_PORT=""
            return 0
        fi
        sleep 0.05
    done
}

wrk_load() {
    timeout 60 wrk -t 2 -c 100 -d "${SECONDS_EACH}s" "http://127.0.0.1:$1/$2" 2>>"$TMP/wrk.err" |
        sed -nE 's/^Requests\/sec: *([0-9]+).*/\1/p'
}
web_load() { wrk_load "$WEB_PORT" "$1"; }
nginx_load() { wrk_load "$NGINX_PORT" "$1"; }
bank_beside_web() { load "$PORT_web" "$1"; }

compare_to_nginx() {
    local file
    if ! command -v wrk >/dev/null || [ -z "$NGINX_PORT" ]; then
        echo -e "\nnginx or wrk is not installed: no comparison."
        return
    fi
    table "file" "Bank Vault, requests/s" "nginx $NGINX_VERSION, requests/s" "ratio"
    for file in 1k 16k 1m; do compare "$file" web_load nginx_load "$file"; done
}
