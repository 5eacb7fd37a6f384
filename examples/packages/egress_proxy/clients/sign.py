"""A second opinion on the proxy's signatures: botocore signs what the origin got, and both must agree."""

import http.client
import json
import os
import sys

import botocore
from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

if sys.argv[1:] == ["version"]:
    print(botocore.__version__)
    sys.exit()

KEY = Credentials("AKIDEXAMPLE", os.environ["AWS_KEY"])
CASES = [
    ("execute", "GET", "/signed/execute/", b"", {}),
    ("execute", "GET", "/signed/execute/a%20b//c?b=2&a=1&a=%20&flag&plus=x%2By", b"", {}),
    ("execute", "GET", "/signed/execute/x?X-Amz-Signature=mine&c=1", b"", {"Authorization": "mine", "X-Amz-Date": "mine"}),
    ("execute", "POST", "/signed/execute/x", b'{"a":1}', {"Content-Type": "application/json", "X-Amz-Target": "T.Get"}),
    ("execute", "POST", "/signed/execute/x", b"x" * 100_000, {"Content-Type": "a/b;  c=d"}),
    ("storage", "GET", "/signed/storage/it%27s/%C3%BC?list-type=2&prefix=a%2Fb", b"", {}),
    ("storage", "POST", "/signed/storage/k%20e%20y//x", b"body", {"Content-MD5": "hBotaJrYa9FhFEdFPCLG/A=="}),
]


def check(route, method, target, body, headers):
    connection = http.client.HTTPConnection(os.environ["PROXY_HOST"], int(os.environ["PROXY_PORT"]), timeout=20)
    own = {"Proxy-Authorization": "Bearer " + os.environ["TOKEN"]} | headers
    connection.request(method, f"/r/{route}{target}", body or None, own)
    answer = connection.getresponse()
    said = answer.read()
    assert answer.status == 200, (answer.status, said)
    seen = json.loads(said)
    got = {name.lower(): value for name, value in seen["headers"]}
    assert "mine" not in json.dumps(seen), seen
    algorithm, _, fields = got["authorization"].partition(" ")
    fields = dict(field.split("=", 1) for field in fields.split(", "))
    day, region, service, end = fields["Credential"].split("/")[1:]
    assert algorithm == "AWS4-HMAC-SHA256" and end == "aws4_request"
    hashed = got["x-amz-content-sha256"]
    assert hashed == ("UNSIGNED-PAYLOAD" if route == "storage" else seen["sha256"]), seen
    signed = {name: got[name] for name in fields["SignedHeaders"].split(";")}
    for name in ["host", "x-amz-date", "x-amz-content-sha256", *(name.lower() for name in headers if name.lower().startswith(("content-", "x-amz-t")))]:
        assert name in signed, (name, signed)
    request = AWSRequest(method, "https://" + got["host"] + seen["target"], headers=signed)
    request.context["timestamp"] = got["x-amz-date"]
    auth = (S3SigV4Auth if service == "s3" else SigV4Auth)(KEY, service, region)
    text = auth.string_to_sign(request, auth.canonical_request(request))
    assert auth.signature(text, request) == fields["Signature"], (target, text, fields)


for case in CASES:
    check(*case)
print("hello")
