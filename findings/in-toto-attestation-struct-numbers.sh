#!/usr/bin/env bash
# in-toto-attestation 0.9.3 (PyPI, with protobuf 7.36.2): the official bindings keep a predicate in a protobuf Struct, whose
# numbers are doubles. A statement that is read and written again says something else, and no error says so:
#
#   1763999999000          becomes  1763999999000.0     whole, and no integer to readers that want one
#   9007199254740993       becomes  9007199254740992.0  another number
#   10000000000000000000000 becomes 1e+22
#
# Seen on 2026-11-30:
#   {"run_id": 1763999999000.0, "snowflake": 9007199254740992.0, "large": 1e+22}
#
# A reader of provenance takes whole numbers with `.0`, up to 2^53; a writer puts ids into texts, as GitHub's builders do.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" -q install in-toto-attestation==0.9.3 protobuf==7.36.2
seen=$("$work/venv/bin/python" - <<'PYTHON'
import json
from google.protobuf.json_format import MessageToJson
from in_toto_attestation.v1.resource_descriptor import ResourceDescriptor
from in_toto_attestation.v1.statement import Statement

predicate = json.loads('{"run_id": 1763999999000, "snowflake": 9007199254740993, "large": 10000000000000000000000}')
subject = ResourceDescriptor(name="x", digest={"sha256": "a" * 64})
statement = Statement(subjects=[subject.pb], predicate_type="https://example.com/p/v1", predicate=predicate)
statement.validate()
written = MessageToJson(statement.pb, indent=None)
values = json.loads(written, parse_int=lambda text: "int " + text, parse_float=lambda text: text)["predicate"]
print(values["run_id"], values["snowflake"], values["large"])
PYTHON
)
echo "$seen"
[ "$seen" = "1763999999000.0 9007199254740992.0 1e+22" ]
