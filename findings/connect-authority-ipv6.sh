#!/usr/bin/env bash
# httpx 0.28.1 (PyPI), hpagent 1.2.0, tunnel 0.0.6 and global-agent 4.1.6 (npm): asked for https://[::1]:8443/ through a proxy
# they send `CONNECT ::1:8443`. RFC 9110 section 9.3.6 and RFC 3986 section 3.2.2 want `[::1]:8443`: without the brackets the
# authority is also the address ::1:8443 without a port. requests 2.32.5 and https-proxy-agent 7.0.6 write them.
#
# Seen on 2026-11-30:
#   httpx CONNECT ::1:8443
#   requests CONNECT [::1]:8443
#   hpagent CONNECT ::1:8443
#   tunnel CONNECT ::1:8443
#   global-agent CONNECT ::1:8443
#   https-proxy-agent CONNECT [::1]:8443
#
# A proxy that reads authorities strictly answers 400 to the former and says that brackets are missing; one that guesses has
# two readings of one request.
set -euo pipefail
work=$(mktemp -d)
trap 'kill $sink 2>/dev/null; rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" -q install httpx==0.28.1 requests==2.32.5
(cd "$work" && npm install --silent --no-audit --no-fund hpagent@1.2.0 tunnel@0.0.6 global-agent@4.1.6 \
    https-proxy-agent@7.0.6 >/dev/null)
# A proxy that writes down the target of each CONNECT and refuses it.
python3 - "$work" <<'PYTHON' &
import socket, sys
server = socket.create_server(("127.0.0.1", 0))
open(sys.argv[1] + "/port.new", "w").write(str(server.getsockname()[1]))
import os
os.rename(sys.argv[1] + "/port.new", sys.argv[1] + "/port")
while True:
    client, _ = server.accept()
    line = client.recv(65536).split(b"\r\n")[0].decode()
    open(sys.argv[1] + "/seen", "a").write(line.rsplit(" ", 1)[0] + "\n")
    client.sendall(b"HTTP/1.1 403 No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
    client.close()
PYTHON
sink=$!
for _ in $(seq 100); do [ -s "$work/port" ] && break; sleep 0.1; done
proxy=http://127.0.0.1:$(cat "$work/port") url=https://[::1]:8443/
unset http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY
seen() { # name, command: what it says first
    rm -f "$work/seen"
    (cd "$work" && timeout 30 "${@:2}" >/dev/null 2>&1) || true
    echo "$1 $(head -1 "$work/seen" 2>/dev/null || echo nothing)"
}
lines=$(
    seen httpx "$work/venv/bin/python" -c "import httpx; httpx.Client(proxy='$proxy').get('$url')"
    seen requests "$work/venv/bin/python" -c "import requests; requests.get('$url', proxies={'https': '$proxy'})"
    seen hpagent node -e "const {HttpsProxyAgent} = require('hpagent'); require('https').get('$url', {agent: new HttpsProxyAgent({proxy: '$proxy'})}).on('error', () => {})"
    seen tunnel node -e "const p = new URL('$proxy'); require('https').get('$url', {agent: require('tunnel').httpsOverHttp({proxy: {host: p.hostname, port: p.port}})}).on('error', () => {})"
    seen global-agent env GLOBAL_AGENT_HTTP_PROXY="$proxy" node -e "const {bootstrap} = require('global-agent'); bootstrap(); require('https').get('$url').on('error', () => {})"
    seen https-proxy-agent node -e "const {HttpsProxyAgent} = require('https-proxy-agent'); require('https').get('$url', {agent: new HttpsProxyAgent('$proxy')}).on('error', () => {})"
)
echo "$lines"
[ "$lines" = "httpx CONNECT ::1:8443
requests CONNECT [::1]:8443
hpagent CONNECT ::1:8443
tunnel CONNECT ::1:8443
global-agent CONNECT ::1:8443
https-proxy-agent CONNECT [::1]:8443" ]
