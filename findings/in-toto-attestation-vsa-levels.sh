#!/usr/bin/env bash
# in-toto-attestation 0.9.3 (PyPI, with protobuf 7.36.2): the official bindings cannot read a verification summary as SLSA
# specifies it. `verifiedLevels` is a list of texts in the specification (slsa.dev/verification_summary/v1, its own example)
# and one text in the message of the bindings, so that the example is refused:
#
#   Failed to parse verifiedLevels field: expected string or bytes-like object, got 'list'.
#
# and what is written with the bindings, `"verifiedLevels": "SLSA_BUILD_LEVEL_3"`, is no list to anybody else.
#
# Seen on 2026-12-01:
#   list refused, text SLSA_BUILD_LEVEL_3
#
# A reader takes the member from the statement's Struct and leaves it out of the typed message.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" -q install in-toto-attestation==0.9.3 protobuf==7.36.2
seen=$("$work/venv/bin/python" - <<'PYTHON'
import json
from google.protobuf.json_format import MessageToJson, ParseDict, ParseError
from in_toto_attestation.predicates.vsa.v1.vsa_pb2 import VerificationSummary

summary = {
    "verifier": {"id": "https://example.com/publication_verifier"},
    "timeVerified": "1985-04-12T23:20:50.52Z",
    "resourceUri": "https://example.com/example-1.2.3.tar.gz",
    "policy": {"uri": "https://example.com/example_tarball.policy", "digest": {"sha256": "1234"}},
    "verificationResult": "PASSED",
    "verifiedLevels": ["SLSA_BUILD_LEVEL_3"],
    "slsaVersion": "1.0",
}
try:
    ParseDict(summary, VerificationSummary())
    read = "read"
except ParseError as error:
    read = "refused" if "verifiedLevels" in str(error) else str(error)
written = MessageToJson(ParseDict({**summary, "verifiedLevels": "SLSA_BUILD_LEVEL_3"}, VerificationSummary()))
print("list", read + ", text", json.loads(written)["verifiedLevels"])
PYTHON
)
echo "$seen"
[ "$seen" = "list refused, text SLSA_BUILD_LEVEL_3" ]
