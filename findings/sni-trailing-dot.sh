#!/usr/bin/env bash
# httpx 0.28.1 and aiohttp 3.13.2 (PyPI): asked for https://origin.test./ they put `origin.test.` with the dot into the TLS
# server name. RFC 6066 section 3 says that the name stands there without a trailing dot. requests 2.32.5 takes it off.
#
# Seen on 2026-11-30:
#   httpx origin.test.
#   aiohttp origin.test.
#   requests origin.test
#
# A proxy that holds the server name of a tunnel against the host that it judged has to take one dot off on either side.
set -euo pipefail
work=$(mktemp -d)
trap 'kill $server 2>/dev/null; rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" -q install httpx==0.28.1 aiohttp==3.13.2 requests==2.32.5
openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=origin.test -keyout "$work/key.pem" -out "$work/cert.pem" 2>/dev/null
# A proxy whose tunnels all lead to a server that writes down the name it is asked for.
python3 - "$work" <<'PYTHON' &
import os, socket, ssl, sys
work = sys.argv[1]
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(work + "/cert.pem", work + "/key.pem")
context.sni_callback = lambda _connection, name, _context: open(work + "/seen", "a").write(f"{name}\n") and None
server = socket.create_server(("127.0.0.1", 0))
open(work + "/port.new", "w").write(str(server.getsockname()[1]))
os.rename(work + "/port.new", work + "/port")
while True:
    client, _ = server.accept()
    client.recv(65536)
    client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    try:
        context.wrap_socket(client, server_side=True).close()
    except OSError:
        client.close()
PYTHON
server=$!
for _ in $(seq 100); do [ -s "$work/port" ] && break; sleep 0.1; done
proxy=http://127.0.0.1:$(cat "$work/port") url=https://origin.test./
seen() {
    rm -f "$work/seen"
    timeout 30 "$work/venv/bin/python" -c "$2" >/dev/null 2>&1 || true
    echo "$1 $(head -1 "$work/seen" 2>/dev/null || echo nothing)"
}
lines=$(
    seen httpx "import httpx; httpx.Client(proxy='$proxy', verify=False).get('$url')"
    seen aiohttp "
import asyncio, aiohttp
async def main():
    async with aiohttp.ClientSession() as session:
        await session.get('$url', proxy='$proxy', ssl=False)
asyncio.run(main())"
    seen requests "import requests; requests.get('$url', proxies={'https': '$proxy'}, verify=False)"
)
echo "$lines"
[ "$lines" = "httpx origin.test.
aiohttp origin.test.
requests origin.test" ]
