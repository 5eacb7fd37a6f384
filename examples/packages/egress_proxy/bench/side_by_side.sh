#!/usr/bin/env bash
# The proxy beside Debian's squid and tinyproxy, with nginx as the origin, on one machine in one run.
#
#     examples/packages/egress_proxy/bench/side_by_side.sh
#
# Needs squid, tinyproxy, nginx, wrk, curl and python3. Small requests over 16 connections, kept and new for each, and one
# download of 64 MiB, plain and in a tunnel; the proxies take turns, and of each the median of the rounds is shown. Then the
# memory and threads of the proxy with 10,000 idle connections.
set -euo pipefail
cd "$(dirname "$0")/../.."
[ -n "${BUILT:-}" ] || cargo build --locked --quiet --release -p egress_proxy
proxy=${CARGO_TARGET_DIR:-target}/release/egress_proxy

rounds=${ROUNDS:-5} seconds=${SECONDS_EACH:-4} idle=${IDLE:-10000}
work=$(mktemp -d)
chmod 777 "$work"
pids=()
finish() {
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    wait 2>/dev/null || true
    [ -n "${KEEP:-}" ] || rm -rf "$work"
}
trap finish EXIT

mkdir -p "$work/www"
printf 'hello\n' >"$work/www/small"
head -c $((64 << 20)) /dev/zero >"$work/www/large"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost \
    -addext subjectAltName=DNS:localhost -keyout "$work/key.pem" -out "$work/cert.pem" 2>/dev/null
cat >"$work/nginx.conf" <<CONF
user $(id -un);
worker_processes 1;
pid $work/nginx.pid;
error_log $work/nginx.err;
daemon off;
events { worker_connections 4096; }
http {
    access_log off;
    keepalive_requests 100000000;
    sendfile on;
    server {
        listen 127.0.0.1:18080;
        listen 127.0.0.1:18443 ssl;
        ssl_certificate $work/cert.pem;
        ssl_certificate_key $work/key.pem;
        root $work/www;
    }
}
CONF
nginx -p "$work" -c "$work/nginx.conf" &
pids+=($!)
cat >"$work/squid.conf" <<CONF
http_port 127.0.0.1:13129
acl all_methods method GET CONNECT
http_access allow all_methods
cache deny all
access_log stdio:$work/squid.log
cache_log $work/squid.cache
pid_filename $work/squid.pid
coredump_dir $work
cache_effective_user proxy
max_filedescriptors 4096
CONF
# A name of its own keeps its shared memory apart from that of an installed one.
squid -N -n "bench$$" -f "$work/squid.conf" 2>/dev/null &
pids+=($!)
cat >"$work/tinyproxy.conf" <<CONF
Port 13130
Listen 127.0.0.1
MaxClients 512
LogFile "$work/tinyproxy.log"
LogLevel Connect
ConnectPort 18443
CONF
tinyproxy -d -c "$work/tinyproxy.conf" >/dev/null &
pids+=($!)
token=$("$proxy" lease --leases "$work/leases.json" --worker bench)
cat >"$work/policy.json" <<CONF
{"rules":[
  {"id":"plain","hosts":["127.0.0.1"],"schemes":["http"],"ports":[18080],"methods":["GET"],"private_addresses":["127.0.0.1/32"]},
  {"id":"tunnel","hosts":["localhost"],"ports":[18443],"methods":["CONNECT"],"private_addresses":["127.0.0.1/32"]}]}
CONF
"$proxy" --policy "$work/policy.json" --leases "$work/leases.json" --listen 127.0.0.1:13128 --dns system \
    --log "$work/proxy.log" --unproven "$((idle + 1000))" --connections "$((idle + 1000))" --keep-alive 600000 --head 600000 \
    >/dev/null &
own=$!
pids+=("$own")
sleep 2

ports=(egress_proxy:13128 squid:13129 tinyproxy:13130)
median() { sort -n | sed -n "$(((rounds + 1) / 2))p"; }

cat >"$work/absolute.lua" <<'LUA'
wrk.path = "http://127.0.0.1:18080/small"
wrk.headers["Host"] = "127.0.0.1:18080"
LUA
small() { # name, port, connection
    wrk -t2 -c16 -d"${seconds}s" --latency -H "Proxy-Authorization: Bearer $token" -H "Connection: $3" \
        -s "$work/absolute.lua" "http://127.0.0.1:$2" >"$work/wrk"
    grep -q "Non-2xx" "$work/wrk" && echo "$1: answers other than 200" >&2
    awk '/Requests\/sec/ {print $2}' "$work/wrk" >>"$work/$1.$3.rate"
    awk '/ 99%/ {t=$2; if (t ~ /us$/) t=t/1000; else if (t ~ /ms$/) t=t+0; else t=t*1000; print t}' "$work/wrk" >>"$work/$1.$3.p99"
}
large() { # name, port, kind, url
    local auth=()
    [ "$1" = egress_proxy ] && auth=(-U "lease:$token")
    curl -sS -o /dev/null -k -x "http://127.0.0.1:$2" "${auth[@]}" -w '%{speed_download}\n' "$4" |
        awk '{printf "%.0f\n", $1 / 1e6}' >>"$work/$1.$3.rate"
}
for _ in $(seq "$rounds"); do
    for each in "${ports[@]}"; do
        name=${each%%:*} port=${each##*:}
        # tinyproxy keeps no connection.
        [ "$name" = tinyproxy ] || small "$name" "$port" keep-alive
        small "$name" "$port" close
        large "$name" "$port" plain http://127.0.0.1:18080/large
        large "$name" "$port" tunnel https://localhost:18443/large
    done
done

printf '%-14s %14s %8s %14s %8s %12s %12s\n' "" "kept, req/s" "p99 ms" "new, req/s" "p99 ms" "plain MB/s" "tunnel MB/s"
for each in "${ports[@]}"; do
    name=${each%%:*}
    kept=- kept99=-
    if [ "$name" != tinyproxy ]; then
        kept=$(median <"$work/$name.keep-alive.rate") kept99=$(median <"$work/$name.keep-alive.p99")
    fi
    printf '%-14s %14s %8s %14s %8s %12s %12s\n' "$name" "$kept" "$kept99" "$(median <"$work/$name.close.rate")" \
        "$(median <"$work/$name.close.p99")" "$(median <"$work/$name.plain.rate")" "$(median <"$work/$name.tunnel.rate")"
done

rss() { awk '/VmRSS/ {print $2}' "/proc/$own/status"; }
before=$(rss)
python3 - "$idle" <<'PY' &
import resource, socket, sys, time
count = int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_NOFILE, (min(count + 100, resource.getrlimit(resource.RLIMIT_NOFILE)[1]),) * 2)
held = []
for _ in range(count):
    held.append(socket.create_connection(("127.0.0.1", 13128)))
time.sleep(60)
PY
holder=$!
pids+=("$holder")
for _ in $(seq 100); do
    [ "$(ls "/proc/$own/fd" | wc -l)" -ge "$idle" ] && break
    sleep 0.3
done
sleep 1
after=$(rss)
echo "idle: $(ls "/proc/$own/fd" | wc -l) descriptors, $(((after - before) * 1024 / idle)) bytes each, $(awk '/Threads/ {print $2}' "/proc/$own/status") threads on $(nproc) cores"
