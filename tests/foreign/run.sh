#!/usr/bin/env bash
# A second opinion on envelopes and statements. Installs pinned public packages in a temporary folder; needs Python 3.10,
# Node 20, and the registries of both. Envelopes and summaries that are made here are read by securesystemslib and
# in-toto-attestation (PyPI) and by the DSSE layer of @sigstore/verify (npm); what those sign is verified here.
set -euo pipefail
cd "$(dirname "$0")"
FOREIGN=$(mktemp -d)
export FOREIGN
trap 'rm -rf "$FOREIGN"' EXIT
python3 -m venv "$FOREIGN/venv"
"$FOREIGN/venv/bin/pip" install --quiet --disable-pip-version-check \
    cryptography==46.0.3 securesystemslib==1.3.1 in-toto-attestation==0.9.3 protobuf==7.36.2
npm install --silent --no-audit --no-fund --prefix "$FOREIGN" @sigstore/core@3.2.1 @sigstore/verify@3.1.1
cp peer.py peer.js "$FOREIGN"
cargo test --locked --all-features --test attestation_foreign -- --ignored
