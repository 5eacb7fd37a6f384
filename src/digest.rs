//! SHA-256 digests, and the one way in which this crate hashes several fields.

use alloc::string::String;
use core::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest as _, Sha256};

use crate::code::{self, Code, Coded};

/// A SHA-256 digest (FIPS 180-4). Its text form is exactly 64 lowercase hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sha256Digest([u8; 32]);

/// The text is not 64 lowercase hex digits. Upper case is refused, so that each digest has one spelling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a digest is exactly 64 lowercase hex digits, without `sha256:` before them")]
pub struct DigestError;

impl Coded for DigestError {
    fn code(&self) -> Code {
        code::DIGEST_MALFORMED
    }
}

impl Sha256Digest {
    /// The digest of `bytes`. Cost: one pass of SHA-256.
    ///
    /// ```
    /// use leasehold::digest::Sha256Digest;
    /// let digest = Sha256Digest::of(b"abc");
    /// assert_eq!(digest.to_string(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    /// ```
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// A digest from its 32 bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl FromStr for Sha256Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let mut bytes = [0; 32];
        decode_hex(text, &mut bytes).ok_or(DigestError)?;
        Ok(Self(bytes))
    }
}

/// Fills `bytes` from exactly as many lowercase hex digits. Upper case is refused, so that each value has one
/// spelling.
pub(crate) fn decode_hex(text: &str, bytes: &mut [u8]) -> Option<()> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != bytes.len() || !rest.is_empty() {
        return None;
    }
    // The loop has neither branches nor tables, so that the compiler can vectorise it.
    let mut wrong = 0;
    let mut value = |digit: u8| {
        let (number, letter) = (digit.wrapping_sub(b'0'), digit.wrapping_sub(b'a'));
        wrong |= u8::from((number > 9) & (letter > 5));
        if letter > 5 { number } else { letter.wrapping_add(10) }
    };
    for ([high, low], byte) in pairs.iter().zip(bytes) {
        *byte = value(*high) << 4 | value(*low) & 15;
    }
    (wrong == 0).then_some(())
}

impl fmt::Display for Sha256Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; 64];
        hex::encode_to_slice(self.0, &mut text).map_err(|_| fmt::Error)?;
        f.write_str(core::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Sha256Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Sha256Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            self.0.serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for Sha256Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
        } else {
            <[u8; 32]>::deserialize(deserializer).map(Self)
        }
    }
}

/// A SHA-512 digest (FIPS 180-4) that another party states. Its text form is exactly 128 lowercase hex
/// digits.
///
/// Some builders, such as those that publish to npm, name their artifacts by SHA-512 only. This crate
/// compares such digests and computes none.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sha512Digest([u8; 64]);

/// The text is not 128 lowercase hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a SHA-512 digest is exactly 128 lowercase hex digits")]
pub struct Sha512DigestError;

impl Coded for Sha512DigestError {
    fn code(&self) -> Code {
        code::DIGEST_MALFORMED
    }
}

impl Sha512Digest {
    /// A digest from its 64 bytes.
    pub const fn from_bytes(bytes: [u8; 64]) -> Self {
        Self(bytes)
    }

    /// The 64 bytes.
    pub const fn as_bytes(&self) -> &[u8; 64] {
        &self.0
    }
}

impl FromStr for Sha512Digest {
    type Err = Sha512DigestError;

    fn from_str(text: &str) -> Result<Self, Sha512DigestError> {
        let mut bytes = [0; 64];
        decode_hex(text, &mut bytes).ok_or(Sha512DigestError)?;
        Ok(Self(bytes))
    }
}

impl fmt::Display for Sha512Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Sha512Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Hashes several fields under one domain. Each field is preceded by its length, so that two different lists
/// of fields never have the same input.
///
/// ```
/// use leasehold::digest::FieldHasher;
/// let one = FieldHasher::new("example.v1").field(b"ab").field(b"c").finish();
/// let two = FieldHasher::new("example.v1").field(b"a").field(b"bc").finish();
/// assert_ne!(one, two);
/// ```
#[derive(Clone)]
pub struct FieldHasher(Sha256);

impl FieldHasher {
    /// A hasher for `domain`, which is a name with a version that is unique to one kind of fingerprint.
    #[must_use]
    pub fn new(domain: &str) -> Self {
        Self(Sha256::new()).field(b"leasehold").field(domain.as_bytes())
    }

    /// Adds one field.
    #[must_use]
    #[inline]
    pub fn field(mut self, bytes: &[u8]) -> Self {
        self.add(bytes);
        self
    }

    /// Adds an integer as a field of eight bytes.
    #[must_use]
    #[inline]
    pub fn number(mut self, value: u64) -> Self {
        self.add_number(value);
        self
    }

    /// As [`Self::field`], in place: where many fields follow each other, the hasher is not moved for each.
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        // A `usize` has at most 64 bits on every target of Rust, so the conversion keeps the value.
        let length = (bytes.len() as u64).to_be_bytes();
        self.0.update(length);
        self.0.update(bytes);
    }

    /// As [`Self::number`], in place.
    pub(crate) fn add_number(&mut self, value: u64) {
        let mut both = [0; 16];
        let (length, number) = both.split_at_mut(8);
        length.copy_from_slice(&8_u64.to_be_bytes());
        number.copy_from_slice(&value.to_be_bytes());
        self.0.update(both);
    }

    /// The digest of all fields.
    #[must_use]
    pub fn finish(self) -> Sha256Digest {
        Sha256Digest(self.0.finalize().into())
    }
}

impl fmt::Debug for FieldHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FieldHasher").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    /// Attack A7: a digest is 64 lowercase hex digits, and nothing else.
    #[test]
    fn a7_only_64_lowercase_hex_digits_are_a_digest() {
        let good = Sha256Digest::of(b"x").to_string();
        assert_eq!(good.parse::<Sha256Digest>().unwrap(), Sha256Digest::of(b"x"));
        for bad in
            ["", "00", &good.to_uppercase(), &good[1..], &alloc::format!("{good}0"), &good.replace('a', "g")]
        {
            assert_eq!(bad.parse::<Sha256Digest>(), Err(DigestError), "{bad}");
        }
    }

    /// The input is length, then bytes, for each field, however the hasher is given it.
    #[test]
    fn a_field_of_any_length_is_its_length_and_its_bytes() {
        let bytes: alloc::vec::Vec<u8> = (0..=200).collect();
        for length in 0..bytes.len() {
            let field = &bytes[..length];
            let mut input = alloc::vec::Vec::new();
            for part in [b"leasehold".as_slice(), b"example.v1", field, &7_u64.to_be_bytes()] {
                input.extend_from_slice(&(part.len() as u64).to_be_bytes());
                input.extend_from_slice(part);
            }
            let digest = FieldHasher::new("example.v1").field(field).number(7).finish();
            assert_eq!(digest, Sha256Digest::of(&input), "{length}");
        }
    }

    #[test]
    fn both_serde_forms_round_trip() {
        let digest = Sha256Digest::of(b"y");
        let json = serde_json::to_string(&digest).unwrap();
        assert_eq!(serde_json::from_str::<Sha256Digest>(&json).unwrap(), digest);
        let bytes = postcard::to_allocvec(&digest).unwrap();
        assert_eq!(bytes.len(), 32);
        assert_eq!(postcard::from_bytes::<Sha256Digest>(&bytes).unwrap(), digest);
    }
}
