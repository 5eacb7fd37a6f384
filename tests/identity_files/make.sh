#!/usr/bin/env bash
# Makes the certificates and requests of this folder again, each with another tool: openssl 3, GnuTLS' certtool 3.7,
# node-forge 1.4 (npm) and cryptography 46 (PyPI). Keys are drawn anew and thrown away, so the files differ from run to run;
# `table.jsonl` says which key is to be read from them, as openssl has it.
#
# usage: make.sh FOLDER, with node-forge and cryptography installed for `node` and `python3`
set -euo pipefail
out=$(mkdir -p "$1" && cd "$1" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
from=20251124000000 to=20550301000000
for key in p256 p384 ed25519 rsa2048; do
    case $key in
    p256) openssl genpkey -quiet -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$work/$key.pem" ;;
    p384) openssl genpkey -quiet -algorithm EC -pkeyopt ec_paramgen_curve:P-384 -out "$work/$key.pem" ;;
    ed25519) openssl genpkey -algorithm ED25519 -out "$work/$key.pem" ;;
    rsa2048) openssl genpkey -quiet -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out "$work/$key.pem" ;;
    esac
    openssl req -new -key "$work/$key.pem" -subj /CN=press-1 -outform DER -out "$out/openssl-$key.csr.der"
done
openssl req -new -key "$work/p256.pem" -sha512 -subj /CN=press-1 -outform DER -out "$out/openssl-p256-sha512.csr.der"
# `openssl req -x509` has no dates in version 3.0, `openssl ca` has.
mkdir "$work/ca"; : >"$work/ca/index"
printf '[ca]\ndefault_ca=d\n[d]\ndatabase=%s\nserial=%s\nnew_certs_dir=%s\npolicy=p\nunique_subject=no\n[p]\nCN=supplied\n' \
    "$work/ca/index" "$work/ca/serial" "$work/ca" >"$work/ca.cnf"
for key in p256 p384 ed25519 rsa2048; do
    digest=sha256; [ "$key" != ed25519 ] || digest=default
    openssl req -new -key "$work/$key.pem" -subj /CN=press-1 -out "$work/$key.csr"
    openssl ca -config "$work/ca.cnf" -selfsign -keyfile "$work/$key.pem" -in "$work/$key.csr" -batch -notext -rand_serial \
        -md "$digest" -startdate ${from}Z -enddate ${to}Z -outdir "$work/ca" -out "$work/leaf.pem" 2>/dev/null
    openssl x509 -in "$work/leaf.pem" -outform DER -out "$out/openssl-$key.crt.der"
done

printf 'cn = "press-1"\nactivation_date = "2025-11-24 00:00:00 UTC"\nexpiration_date = "2055-03-01 00:00:00 UTC"\nsigning_key\ntls_www_client\n' >"$work/template"
for key in p256 ed25519 rsa2048; do
    certtool --generate-self-signed --load-privkey "$work/$key.pem" --template "$work/template" --outder \
        --outfile "$out/gnutls-$key.crt.der" 2>/dev/null
    certtool --generate-request --load-privkey "$work/$key.pem" --template "$work/template" --outder \
        --outfile "$out/gnutls-$key.csr.der" 2>/dev/null
done

KEY="$work/rsa2048.pem" OUT="$out" node <<'JS'
const forge = require('node-forge'), fs = require('fs');
const pair = forge.pki.privateKeyFromPem(fs.readFileSync(process.env.KEY, 'utf8'));
const open = forge.pki.setRsaPublicKey(pair.n, pair.e);
const write = (name, asn1) => fs.writeFileSync(`${process.env.OUT}/forge-rsa2048.${name}.der`,
  Buffer.from(forge.asn1.toDer(asn1).getBytes(), 'binary'));
const names = [{ name: 'commonName', value: 'press-1' }];
const leaf = forge.pki.createCertificate();
leaf.publicKey = open; leaf.serialNumber = '0123456789abcdef';
leaf.validity.notBefore = new Date('2025-11-24T00:00:00Z');
leaf.validity.notAfter = new Date('2055-03-01T00:00:00Z');
leaf.setSubject(names); leaf.setIssuer(names);
leaf.setExtensions([{ name: 'keyUsage', digitalSignature: true }]);
leaf.sign(pair, forge.md.sha256.create());
write('crt', forge.pki.certificateToAsn1(leaf));
const request = forge.pki.createCertificationRequest();
request.publicKey = open; request.setSubject(names); request.sign(pair, forge.md.sha256.create());
write('csr', forge.pki.certificationRequestToAsn1(request));
JS

WORK="$work" OUT="$out" python3 <<'PY'
import datetime, os
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
work, out = os.environ["WORK"], os.environ["OUT"]
name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "press-1")])
for kind in ["p256", "p384", "ed25519", "rsa2048"]:
    key = serialization.load_pem_private_key(open(f"{work}/{kind}.pem", "rb").read(), None)
    algorithm = None if kind == "ed25519" else hashes.SHA256()
    leaf = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.datetime(2025, 11, 24)).not_valid_after(datetime.datetime(2055, 3, 1))
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .sign(key, algorithm))
    open(f"{out}/cryptography-{kind}.crt.der", "wb").write(leaf.public_bytes(serialization.Encoding.DER))
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, algorithm)
    open(f"{out}/cryptography-{kind}.csr.der", "wb").write(request.public_bytes(serialization.Encoding.DER))
PY

# What each key is, as openssl says.
: >"$out/table.jsonl"
for key in p256 p384 ed25519 rsa2048; do
    spki=$(openssl pkey -in "$work/$key.pem" -pubout -outform DER | sha256sum | cut -d' ' -f1)
    printf '{"key":"%s","spki_sha256":"%s"}\n' "$key" "$spki" >>"$out/table.jsonl"
done
