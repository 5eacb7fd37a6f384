#!/usr/bin/env bash
# securesystemslib 1.3.1 (PyPI): `dsse.Envelope.from_dict` keeps signatures by their key id, which DSSE makes OPTIONAL
# (envelope.md, v1.0.2: unset is the same as empty). So it raises for valid envelopes that are common in public: of 365
# signatures in slsa-verifier's test data 15 have no key id and 177 an empty one, and 26 of 330 envelopes have several.
#
# Seen on 2026-11-30:
#   absent:     KeyError 'keyid'
#   null:       read
#   empty:      read
#   two empty:  ValueError Multiple signatures found for keyid
#
# Who writes for both sides gives each signature a key id of its own.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" -q install securesystemslib==1.3.1
seen=$("$work/venv/bin/python" - <<'PYTHON'
from securesystemslib.dsse import Envelope

cases = {
    "absent": [{"sig": "YQ=="}],
    "null": [{"keyid": None, "sig": "YQ=="}],
    "empty": [{"keyid": "", "sig": "YQ=="}],
    "two empty": [{"keyid": "", "sig": "YQ=="}, {"keyid": "", "sig": "Yg=="}],
}
for name, signatures in cases.items():
    envelope = {"payload": "e30=", "payloadType": "application/vnd.in-toto+json", "signatures": signatures}
    try:
        Envelope.from_dict(envelope)
        print(f"{name}: read")
    except Exception as error:
        print(f"{name}: {type(error).__name__} {str(error).strip()}")
PYTHON
)
echo "$seen"
[ "$seen" = "absent: KeyError 'keyid'
null: read
empty: read
two empty: ValueError Multiple signatures found for keyid" ]
