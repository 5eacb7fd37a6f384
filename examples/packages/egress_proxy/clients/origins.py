"""Origins for clients: http and https with the same pages, a name server that knows one name, and a relay that puts the
token in for browsers, which ask for it in a window only."""

import base64
import hashlib
import http.server
import io
import json
import os
import socket
import ssl
import sys
import threading
import zipfile

WORK = sys.argv[1]


def wheel():
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("leaf/__init__.py", "")
        archive.writestr("leaf-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: leaf\nVersion: 1.0\n")
        archive.writestr("leaf-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("leaf-1.0.dist-info/RECORD", "")
    return data.getvalue()


class Pages(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def echo(self, body=b""):
        """What came, so that a client can look at its signature."""
        said = {"method": self.command, "target": self.path, "headers": self.headers.items()}
        said["sha256"] = hashlib.sha256(body).hexdigest()
        self.answer(json.dumps(said).encode(), "application/json")

    def answer(self, body, kind="text/plain", status=200):
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_GET(self):
        path = self.path.split("?")[0]
        if path == "/simple/leaf/":
            link = "leaf-1.0-py3-none-any.whl"
            self.answer(f'<a href="{link}">{link}</a>'.encode(), "text/html")
        elif path.endswith(".whl"):
            self.answer(wheel(), "application/octet-stream")
        elif path == "/npm/leaf":
            version = {"name": "leaf", "version": "1.0.0", "dist": {"tarball": "http://x/leaf.tgz", "shasum": "0" * 40}}
            page = {"name": "leaf", "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": version}}
            self.answer(json.dumps(page).encode(), "application/json")
        elif path == "/cargo/config.json":
            self.answer(json.dumps({"dl": "http://origin.test/dl"}).encode(), "application/json")
        elif path == "/cargo/le/af/leaf":
            line = {"name": "leaf", "vers": "1.0.0", "deps": [], "cksum": "0" * 64, "features": {}, "yanked": False}
            self.answer(json.dumps(line).encode())
        elif path.startswith("/signed/"):
            self.echo()
        elif path.startswith("/leaf.git/"):
            name = os.path.normpath(os.path.join(WORK, path[1:]))
            if name.startswith(WORK) and os.path.isfile(name):
                with open(name, "rb") as file:
                    self.answer(file.read())
            else:
                self.answer(b"", status=404)
        else:
            self.answer(b"hello\n")

    do_HEAD = do_GET

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if self.path.startswith("/signed/"):
            return self.echo(body)
        self.answer(b"hello %d\n" % len(body))


def serve(context=None):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    if context:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_address[1]


def names(sock):
    while True:
        query, peer = sock.recvfrom(512)
        at = 12
        while query[at]:
            at += 1 + query[at]
        question = query[12 : at + 5]
        known = question.lower().startswith(b"\x06origin\x04test\x00")
        four = query[at + 2] == 1 and known
        head = query[:2] + bytes([0x81, 0x80 if known else 0x83, 0, 1, 0, int(four), 0, 0, 0, 0])
        record = b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x05\x00\x04\x7f\x00\x00\x01" if four else b""
        sock.sendto(head + question + record, peer)


def relay():
    """Puts the token into the first head of each connection and passes the rest on."""
    server = socket.create_server(("127.0.0.1", 0))
    with open(os.path.join(WORK, "relay"), "w") as file:
        file.write(str(server.getsockname()[1]))

    def pump(one, two):
        try:
            while data := one.recv(65536):
                two.sendall(data)
        except OSError:
            pass
        finally:
            two.close()

    def each(client):
        with open(os.path.join(WORK, "listening")) as file:
            host, port = file.readline().split()[-1].rsplit(":", 1)
        with open(os.path.join(WORK, "token")) as file:
            token = file.read().strip()
        head = b""
        while b"\r\n\r\n" not in head:
            data = client.recv(65536)
            if not data:
                return client.close()
            head += data
        first, rest = head.split(b"\r\n", 1)
        said = base64.b64encode(f"lease:{token}".encode())
        upstream = socket.create_connection((host, int(port)))
        # One request a connection, or the next one would go without the token.
        close = b"" if first.startswith(b"CONNECT") else b"Connection: close\r\n"
        upstream.sendall(first + b"\r\nProxy-Authorization: Basic " + said + b"\r\n" + close + rest)
        threading.Thread(target=pump, args=(client, upstream), daemon=True).start()
        pump(upstream, client)

    while True:
        client, _ = server.accept()
        threading.Thread(target=each, args=(client,), daemon=True).start()


context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(os.path.join(WORK, "cert.pem"), os.path.join(WORK, "key.pem"))
dns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
dns.bind(("127.0.0.1", 0))
threading.Thread(target=names, args=(dns,), daemon=True).start()
threading.Thread(target=relay, daemon=True).start()
ports = f"{serve()} {serve(context)} {dns.getsockname()[1]}\n"
with open(os.path.join(WORK, "ports.new"), "w") as file:
    file.write(ports)
os.rename(os.path.join(WORK, "ports.new"), os.path.join(WORK, "ports"))
threading.Event().wait()
