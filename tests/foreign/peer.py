"""securesystemslib and in-toto-attestation as the other side. In the folder of this file:
`ours.json` and `summary.json` with the key `ours.hex` are verified; `python-*.json` with `python-*.hex` are made."""

import base64
import copy
import datetime
import json
import pathlib
import re

from cryptography.hazmat.primitives import serialization
from google.protobuf import json_format
from in_toto_attestation.v1.statement import Statement
from in_toto_attestation.v1 import statement_pb2
from in_toto_attestation.predicates.vsa.v1 import vsa_pb2
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import CryptoSigner, SSlibKey

here = pathlib.Path(__file__).parent
TYPE = "application/vnd.in-toto+json"

key = SSlibKey("ours", "ed25519", "ed25519", {"public": (here / "ours.hex").read_text()})
for name in ["ours.json", "summary.json"]:
    envelope = Envelope.from_dict(json.loads((here / name).read_text()))
    assert envelope.payload_type == TYPE
    assert list(envelope.verify([key], 1)) == ["ours"]
    envelope.payload = envelope.payload + b" "
    try:
        envelope.verify([key], 1)
        raise SystemExit("a changed payload was verified")
    except VerificationError:
        pass

# The summary as the official bindings read it: every member that they know, and none that they refuse.
payload = base64.b64decode(json.loads((here / "summary.json").read_text())["payload"])
pb = statement_pb2.Statement()
json_format.ParseDict(json.loads(payload), pb)
statement = Statement.copy_from_pb(pb)
statement.validate()
assert pb.predicate_type == "https://slsa.dev/verification_summary/v1"
predicate = json_format.MessageToDict(pb.predicate)
# The bindings declare `verifiedLevels` as one text (findings/in-toto-attestation-vsa-levels.sh), where the specification has a
# list; it is read beside them.
known = {name.json_name for name in vsa_pb2.VerificationSummary.DESCRIPTOR.fields} - {"verifiedLevels"}
summary = vsa_pb2.VerificationSummary()
json_format.ParseDict({name: value for name, value in predicate.items() if name in known}, summary)
assert all(":" in name for name in predicate if name not in known | {"verifiedLevels"}), predicate.keys()
assert summary.verifier.id and summary.resource_uri and summary.policy.uri
assert summary.verification_result == "PASSED" and list(predicate["verifiedLevels"])

# The rules of `slsa-verifier verify-vsa` (docs of v2.6, "Verification Summary Attestations"; SLSA v1.0, "Verification Summary
# Attestation", "How to verify"), one after the other, and each of them refuses when its field is another.
LEVEL = re.compile(r"SLSA_[A-Z]+_LEVEL_[0-9]+")


def refusal(statement, subject, verifier_id, resource_uri, levels):
    predicate = statement.get("predicate", {})
    if statement.get("_type") != "https://in-toto.io/Statement/v1":
        return "statement type"
    if statement.get("predicateType") != "https://slsa.dev/verification_summary/v1":
        return "predicate type"
    if not any(each.get("digest", {}).get("sha256") == subject for each in statement.get("subject", [])):
        return "subject digest"
    if predicate.get("verifier", {}).get("id") != verifier_id:
        return "verifier id"
    if predicate.get("resourceUri") != resource_uri:
        return "resource URI"
    if predicate.get("verificationResult") != "PASSED":
        return "verification result"
    found = predicate.get("verifiedLevels") or []
    if not found or not all(isinstance(level, str) and level for level in found):
        return "verified levels"
    # Levels of SLSA's own tracks are compared; what another verifier defines is carried beside them.
    if any(level.startswith("SLSA_") and not LEVEL.fullmatch(level) for level in found):
        return "verified levels"
    if not set(levels) <= set(found):
        return "verified levels"
    if predicate.get("slsaVersion") not in (None, "1.0", "1.1"):
        return "SLSA version"
    datetime.datetime.fromisoformat(predicate["timeVerified"].replace("Z", "+00:00"))
    if not predicate["policy"]["digest"].get("sha256") or not predicate["policy"].get("uri"):
        return "policy"
    return None


document = json.loads(payload)
expected = json.loads((here / "expected.json").read_text())
levels = document["predicate"]["verifiedLevels"]
assert refusal(document, levels=levels, **expected) is None, refusal(document, levels=levels, **expected)
CHANGES = [
    (("_type",), "statement type"),
    (("predicateType",), "predicate type"),
    (("subject", 0, "digest", "sha256"), "subject digest"),
    (("predicate", "verifier", "id"), "verifier id"),
    (("predicate", "resourceUri"), "resource URI"),
    (("predicate", "verificationResult"), "verification result"),
    (("predicate", "verifiedLevels", 0), "verified levels"),
]
for path, reason in CHANGES:
    changed = copy.deepcopy(document)
    place = changed
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = place[path[-1]] + "x"
    assert refusal(changed, levels=levels, **expected) == reason, (path, refusal(changed, levels=levels, **expected))

body = b'{"made by":"securesystemslib"}'
for name, signer in [
    ("ed25519", CryptoSigner.generate_ed25519()),
    ("p256-der", CryptoSigner.generate_ecdsa()),
    ("rsa-pss-sha256", CryptoSigner.generate_rsa()),
]:
    envelope = Envelope(body, TYPE, {})
    envelope.sign(signer)
    (here / f"python-{name}.json").write_text(json.dumps(envelope.to_dict()))
    public = signer.public_key.keyval["public"]
    (here / f"python-{name}.key").write_text(public)
