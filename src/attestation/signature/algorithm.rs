//! How keys sign: the algorithms, by the names that documents have for them.

use serde::{Deserialize, Serialize};

/// How a key signs. P-256 signatures travel in two encodings, so the key names its own and nothing is guessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Algorithm {
    /// Ed25519 (RFC 8032). The key is its 32 bytes, the signature 64.
    #[serde(rename = "ed25519")]
    Ed25519,
    /// ECDSA over P-256 with SHA-256, signatures as ASN.1 DER (RFC 3279 section 2.2.3). The key is its
    /// SubjectPublicKeyInfo with an uncompressed point: 91 bytes.
    #[serde(rename = "p256-der")]
    P256Der,
    /// ECDSA over P-256 with SHA-256, signatures as r and s of 32 bytes each (IEEE P1363). The key as for
    /// [`Algorithm::P256Der`].
    #[serde(rename = "p256-p1363")]
    P256P1363,
    /// ECDSA over P-384 with SHA-384, signatures as ASN.1 DER. The key is its SubjectPublicKeyInfo with an uncompressed
    /// point: 120 bytes.
    #[serde(rename = "p384-der")]
    P384Der,
    /// ECDSA over P-384 with SHA-384, signatures as r and s of 48 bytes each. The key as for [`Algorithm::P384Der`].
    #[serde(rename = "p384-p1363")]
    P384P1363,
    /// RSASSA-PSS (RFC 8017 section 8.1) with SHA-256, MGF1 with SHA-256, and a salt of 32 bytes. The key is its
    /// SubjectPublicKeyInfo under `rsaEncryption`, with a modulus of 2048 to 4096 bits.
    #[serde(rename = "rsa-pss-sha256")]
    RsaPssSha256,
    /// RSASSA-PKCS1-v1_5 (RFC 8017 section 8.2) with SHA-256. The key as for [`Algorithm::RsaPssSha256`].
    #[serde(rename = "rsa-pkcs1-sha256")]
    RsaPkcs1Sha256,
    /// ML-DSA-65 (FIPS 204), without a context. The key is its SubjectPublicKeyInfo (RFC 9881): 1974 bytes.
    #[serde(rename = "ml-dsa-65")]
    MlDsa65,
}

impl Algorithm {
    /// The longest signature that this algorithm makes, in bytes.
    pub const fn max_signature_bytes(self) -> usize {
        match self {
            Self::Ed25519 | Self::P256P1363 => 64,
            Self::P256Der => 72,
            Self::P384P1363 => 96,
            Self::P384Der => 104,
            Self::RsaPssSha256 | Self::RsaPkcs1Sha256 => 512,
            Self::MlDsa65 => 3309,
        }
    }

    /// The algorithm's name in documents.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ed25519 => "ed25519",
            Self::P256Der => "p256-der",
            Self::P256P1363 => "p256-p1363",
            Self::P384Der => "p384-der",
            Self::P384P1363 => "p384-p1363",
            Self::RsaPssSha256 => "rsa-pss-sha256",
            Self::RsaPkcs1Sha256 => "rsa-pkcs1-sha256",
            Self::MlDsa65 => "ml-dsa-65",
        }
    }

    /// What a public key of this algorithm is, in words.
    pub(super) const fn key_form(self) -> &'static str {
        match self {
            Self::Ed25519 => "32 bytes, the coordinate reduced",
            Self::P256Der | Self::P256P1363 => {
                "the DER of its SubjectPublicKeyInfo with an uncompressed point, 91 bytes"
            }
            Self::P384Der | Self::P384P1363 => {
                "the DER of its SubjectPublicKeyInfo with an uncompressed point, 120 bytes"
            }
            Self::RsaPssSha256 | Self::RsaPkcs1Sha256 => {
                "the DER of its SubjectPublicKeyInfo under rsaEncryption, 2048 to 4096 bits"
            }
            Self::MlDsa65 => "the DER of its SubjectPublicKeyInfo, 1974 bytes",
        }
    }

    /// The kind of key, whatever the encoding of its signatures.
    pub(super) const fn family(self) -> &'static [u8] {
        match self {
            Self::Ed25519 => b"ed25519",
            Self::P256Der | Self::P256P1363 => b"p256",
            Self::P384Der | Self::P384P1363 => b"p384",
            Self::RsaPssSha256 | Self::RsaPkcs1Sha256 => b"rsa",
            Self::MlDsa65 => b"ml-dsa-65",
        }
    }
}
