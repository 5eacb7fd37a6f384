#!/usr/bin/env bash
# rcgen 0.14.10 (crates.io, features crypto, pem, ring, x509-parser): a valid certificate request over a P-256 key that was
# signed with SHA-512 is refused as one with a wrong signature. SHA-256 and SHA-384 under the same key are read, and openssl
# verifies all three. RFC 5758 section 3.2 pairs any of the hashes with any curve; what is under the verification, ring,
# has no P-256 with SHA-512, and the error says that the signature does not hold where nothing could check it.
#
# Seen on 2026-12-01:
#   sha256 read, sha384 read, sha512 InvalidCertificationRequestSignature
#
# An authority on rcgen reads the algorithm before it believes that error, and says which algorithms it checks.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
mkdir src
cat >Cargo.toml <<'TOML'
[package]
name = "probe"
version = "0.0.0"
edition = "2024"
[dependencies]
rcgen = { version = "=0.14.10", default-features = false, features = ["crypto", "pem", "ring", "x509-parser"] }
TOML
cat >src/main.rs <<'RUST'
fn main() {
    let read = |hash: &str| {
        let der = std::fs::read(format!("{hash}.der")).unwrap();
        match rcgen::CertificateSigningRequestParams::from_der(&der.as_slice().into()) {
            Ok(_) => format!("{hash} read"),
            Err(error) => format!("{hash} {error:?}"),
        }
    };
    println!("{}", ["sha256", "sha384", "sha512"].map(read).join(", "));
}
RUST
openssl ecparam -name prime256v1 -genkey -noout -out key.pem
for hash in sha256 sha384 sha512; do
    openssl req -new -key key.pem "-$hash" -subj /CN=probe -outform DER -out "$hash.der"
    openssl req -inform DER -in "$hash.der" -verify -noout 2>/dev/null
done
seen=$(cargo run --quiet)
echo "$seen"
[ "$seen" = "sha256 read, sha384 read, sha512 InvalidCertificationRequestSignature" ]
