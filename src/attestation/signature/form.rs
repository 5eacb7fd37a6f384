//! The one encoding that each algorithm's public key has here, checked without a back end; and PEM around it.

use alloc::vec::Vec;

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::Algorithm;

/// DER of a P-256 SubjectPublicKeyInfo up to its uncompressed point (RFC 5480 section 2).
pub(super) const P256_SPKI: [u8; 27] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04,
];

/// The same for P-384.
pub(super) const P384_SPKI: [u8; 24] = [
    0x30, 0x76, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b, 0x81,
    0x04, 0x00, 0x22, 0x03, 0x62, 0x00, 0x04,
];

/// DER of an Ed25519 SubjectPublicKeyInfo up to its 32 bytes (RFC 8410 section 4). Only PEM has it.
const ED25519_SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// DER of an ML-DSA-65 SubjectPublicKeyInfo up to its 1952 bytes (RFC 9881 section 4).
pub(super) const ML_DSA_65_SPKI: [u8; 22] = [
    0x30, 0x82, 0x07, 0xb2, 0x30, 0x0b, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x03, 0x12,
    0x03, 0x82, 0x07, 0xa1, 0x00,
];
pub(super) const ML_DSA_65_BYTES: usize = 1952;

/// `AlgorithmIdentifier { rsaEncryption, NULL }` (RFC 3279 section 2.3.1).
const RSA_ENCRYPTION: [u8; 15] =
    [0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];

/// The bytes of a modulus of 2048 and of one of 4096 bits.
const MODULUS_BYTES: core::ops::RangeInclusive<usize> = 256..=512;

/// Whether `bytes` are the one encoding of a public key of `algorithm`.
pub(super) fn is_well_formed(algorithm: Algorithm, bytes: &[u8]) -> bool {
    let after = |header: &[u8]| bytes.strip_prefix(header).map(<[u8]>::len);
    match algorithm {
        Algorithm::Ed25519 => bytes.len() == 32,
        Algorithm::P256Der | Algorithm::P256P1363 => after(&P256_SPKI) == Some(64),
        Algorithm::P384Der | Algorithm::P384P1363 => after(&P384_SPKI) == Some(96),
        Algorithm::RsaPssSha256 | Algorithm::RsaPkcs1Sha256 => rsa_parts(bytes).is_some(),
        Algorithm::MlDsa65 => after(&ML_DSA_65_SPKI) == Some(ML_DSA_65_BYTES),
    }
}

/// Modulus and exponent of an RSA SubjectPublicKeyInfo: 2048 to 4096 bits, both odd, the exponent 3 to 2^32 - 1.
pub(super) fn rsa_parts(info: &[u8]) -> Option<(&[u8], &[u8])> {
    let info = whole(info, 0x30)?.strip_prefix(&RSA_ENCRYPTION)?;
    let key = whole(whole(info, 0x03)?.strip_prefix(&[0])?, 0x30)?;
    let (modulus, rest) = positive(key)?;
    let (exponent, rest) = positive(rest)?;
    let bits_fit = MODULUS_BYTES.contains(&modulus.len())
        && (modulus.len() > *MODULUS_BYTES.start() || modulus.first().is_some_and(|byte| *byte >= 0x80));
    let odd = |number: &[u8]| number.last().is_some_and(|byte| byte % 2 == 1);
    let fits = rest.is_empty() && bits_fit && odd(modulus) && odd(exponent) && exponent.len() <= 4;
    (fits && exponent != [1]).then_some((modulus, exponent))
}

/// The first value of `bytes`, which has `tag`, and what follows it.
fn first(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let rest = bytes.strip_prefix(&[tag])?;
    let (length, rest) = match rest {
        [short @ 0..=0x7f, rest @ ..] => (usize::from(*short), rest),
        [0x81, long @ 0x80..=0xff, rest @ ..] => (usize::from(*long), rest),
        [0x82, high @ 1..=0xff, low, rest @ ..] => (usize::from(*high) << 8 | usize::from(*low), rest),
        _ => return None,
    };
    rest.split_at_checked(length)
}

/// The content of the only value of `bytes`, which has `tag`.
fn whole(bytes: &[u8], tag: u8) -> Option<&[u8]> {
    first(bytes, tag).filter(|(_, rest)| rest.is_empty()).map(|(content, _)| content)
}

/// The magnitude of the INTEGER at the front of `bytes`, which is positive and minimal, and what follows it.
fn positive(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (content, rest) = first(bytes, 0x02)?;
    let magnitude = match content {
        [0, magnitude @ ..] if magnitude.first().is_some_and(|byte| *byte >= 0x80) => magnitude,
        [1..=0x7f, ..] => content,
        _ => return None,
    };
    Some((magnitude, rest))
}

const BEGIN: &str = "-----BEGIN PUBLIC KEY-----";
const END: &str = "-----END PUBLIC KEY-----";

/// The key bytes in PEM (RFC 7468 section 13), as `algorithm` has them. None for text that is not one PEM block of a public
/// key; white space may stand at line ends and around the block, and nothing else may.
pub(super) fn from_pem(algorithm: Algorithm, text: &str) -> Option<Vec<u8>> {
    let body = text.trim_ascii().strip_prefix(BEGIN)?.strip_suffix(END)?;
    let digits: Vec<u8> = body.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let info = STANDARD.decode(digits).ok()?;
    match algorithm {
        Algorithm::Ed25519 => info.strip_prefix(&ED25519_SPKI).map(<[u8]>::to_vec),
        _ => Some(info),
    }
}

/// Whether `text` is meant as PEM.
pub(super) fn looks_like_pem(text: &str) -> bool {
    text.trim_ascii_start().starts_with("-----")
}
