//! What the registry keeps of a certificate, and how it reads that from DER.

use serde::{Deserialize, Serialize};

use super::der::{self, BIT_STRING, DerError, INTEGER, Reader, SEQUENCE};
use crate::{
    code::{self, Code, Coded},
    digest::Sha256Digest,
    time::Wall,
};

/// The longest certificate that is read at all, in bytes. A registry's limits say less where they say nothing else:
/// [`DEFAULT_CERTIFICATE_BYTES`].
pub const MAX_CERTIFICATE_BYTES: usize = 64 * 1024;

/// The longest certificate that a registry takes where its limits name no other, and the longest certificate request, in
/// bytes. Leaves that carry evidence of their key (RA-TLS) are longer.
pub const DEFAULT_CERTIFICATE_BYTES: usize = 16 * 1024;

/// Why a certificate or a certificate request was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// Longer than the limit in force: of the registry ([`DeviceLimits::max_certificate_bytes`]), of requests, or of all.
    ///
    /// [`DeviceLimits::max_certificate_bytes`]: super::DeviceLimits::max_certificate_bytes
    #[error("a certificate or request has at most {limit} bytes here, this has {bytes}")]
    TooLong {
        /// How many it has.
        bytes: usize,
        /// How many it may have.
        limit: usize,
    },
    /// Not DER of the expected shape.
    #[error(transparent)]
    Der(#[from] DerError),
    /// The validity ends before it begins.
    #[error("the validity of the certificate ends before it begins")]
    Validity,
}

impl Coded for CertificateError {
    fn code(&self) -> Code {
        match self {
            Self::TooLong { .. } => code::CERTIFICATE_TOO_LONG,
            Self::Der(error) => error.code(),
            Self::Validity => code::CERTIFICATE_VALIDITY,
        }
    }
}

/// What identifies a device's certificate: digests and validity, never the certificate itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Form", into = "Form")]
// What authentication reads comes first, so that it fits into a cache line of a device's record.
#[repr(C)]
pub struct DeviceCertificate {
    fingerprint: Sha256Digest,
    not_before: Wall,
    not_after: Wall,
    key: Sha256Digest,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    fingerprint: Sha256Digest,
    key: Sha256Digest,
    not_before: Wall,
    not_after: Wall,
}

impl TryFrom<Form> for DeviceCertificate {
    type Error = CertificateError;
    fn try_from(form: Form) -> Result<Self, CertificateError> {
        Self::new(form.fingerprint, form.key, form.not_before, form.not_after)
    }
}

impl From<DeviceCertificate> for Form {
    fn from(certificate: DeviceCertificate) -> Self {
        let DeviceCertificate { fingerprint, key, not_before, not_after } = certificate;
        Self { fingerprint, key, not_before, not_after }
    }
}

impl DeviceCertificate {
    /// A certificate from what is known of it, for hosts that read certificates themselves.
    ///
    /// `fingerprint` is the SHA-256 of the exact DER (the `x5t#S256` of RFC 8705 section 3.1), `key` the
    /// SHA-256 of its SubjectPublicKeyInfo. It is valid from `not_before` through `not_after`, both included.
    ///
    /// # Errors
    /// [`CertificateError::Validity`] where `not_after` is earlier than `not_before`.
    pub fn new(
        fingerprint: Sha256Digest,
        key: Sha256Digest,
        not_before: Wall,
        not_after: Wall,
    ) -> Result<Self, CertificateError> {
        if not_after < not_before {
            return Err(CertificateError::Validity);
        }
        Ok(Self { fingerprint, key, not_before, not_after })
    }

    /// Reads an X.509 certificate (RFC 5280 section 4.1): exactly one outer SEQUENCE whose length equals the
    /// input, walked as far as validity and public key. Its signature is not checked: see the module page.
    ///
    /// ```
    /// # use rcgen::{CertificateParams, KeyPair, PublicKeyData as _};
    /// use leasehold::{digest::Sha256Digest, identity::DeviceCertificate};
    /// # let key = KeyPair::generate()?;
    /// # let leaf = CertificateParams::new(vec![])?.self_signed(&key)?.der().to_vec();
    /// let certificate = DeviceCertificate::from_der(&leaf)?;
    /// assert_eq!(certificate.fingerprint(), Sha256Digest::of(&leaf));
    /// assert_eq!(certificate.key(), Sha256Digest::of(&key.subject_public_key_info()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`CertificateError`] where the input is too long, has trailing bytes, or is not a certificate.
    pub fn from_der(leaf: &[u8]) -> Result<Self, CertificateError> {
        Self::from_der_within(leaf, MAX_CERTIFICATE_BYTES)
    }

    /// [`Self::from_der`] under a lower limit of size. The input is not looked at before its length is.
    ///
    /// # Errors
    /// As for [`Self::from_der`].
    pub fn from_der_within(leaf: &[u8], most_bytes: usize) -> Result<Self, CertificateError> {
        let mut body = signed_body(leaf, most_bytes.min(MAX_CERTIFICATE_BYTES))?;
        if let Some(version) = body.optional(0xa0)? {
            let mut inner = version.inside();
            inner.expect(INTEGER)?;
            inner.end()?;
        }
        body.expect(INTEGER)?;
        body.expect(SEQUENCE)?;
        body.expect(SEQUENCE)?;
        let mut validity = body.expect(SEQUENCE)?.inside();
        let not_before = der::time(validity.any()?)?;
        let not_after = der::time(validity.any()?)?;
        validity.end()?;
        body.expect(SEQUENCE)?;
        let key = public_key(&mut body)?;
        // Issuer and subject unique ids (primitive), then extensions, each at most once and in this order.
        body.optional(0x81)?;
        body.optional(0x82)?;
        body.optional(0xa3)?;
        body.end()?;
        Self::new(Sha256Digest::of(leaf), key, not_before, not_after)
    }

    /// SHA-256 of the exact DER.
    pub const fn fingerprint(&self) -> Sha256Digest {
        self.fingerprint
    }

    /// SHA-256 of the SubjectPublicKeyInfo: stays the same when a certificate is renewed for the same key.
    pub const fn key(&self) -> Sha256Digest {
        self.key
    }

    pub(super) const fn fingerprint_bytes(&self) -> &[u8] {
        self.fingerprint.as_bytes()
    }

    pub(super) const fn key_bytes(&self) -> &[u8] {
        self.key.as_bytes()
    }

    /// The first instant at which the certificate is valid.
    pub const fn not_before(&self) -> Wall {
        self.not_before
    }

    /// The last instant at which the certificate is valid (RFC 5280 section 4.1.2.5: both ends are included).
    pub const fn not_after(&self) -> Wall {
        self.not_after
    }

    /// The first instant at which the certificate is not valid any more, for deadlines.
    pub const fn expires(&self) -> Wall {
        Wall(self.not_after.0.saturating_add(1))
    }

    /// When two thirds of its validity are over: the time to ask for the next one, as ACME clients do, with a third left
    /// for an authority that does not answer. Who asks is the host of the device; see the manual's page on operating.
    ///
    /// ```
    /// use leasehold::{digest::Sha256Digest, identity::DeviceCertificate, time::Wall};
    /// let (leaf, key) = (Sha256Digest::of(b"leaf"), Sha256Digest::of(b"key"));
    /// let certificate = DeviceCertificate::new(leaf, key, Wall(1_000), Wall(91_000))?;
    /// assert_eq!(certificate.renew_at(), Wall(61_000));
    /// # Ok::<(), leasehold::identity::CertificateError>(())
    /// ```
    pub const fn renew_at(&self) -> Wall {
        let third = self.not_after.0.saturating_sub(self.not_before.0) / 3;
        Wall(self.not_after.0.saturating_sub(third))
    }

    /// Whether the certificate is valid at `wall`, by its dates alone.
    pub fn is_current(&self, wall: Wall) -> bool {
        self.not_before <= wall && wall <= self.not_after
    }
}

/// The SHA-256 of the SubjectPublicKeyInfo in a PKCS #10 certificate request (RFC 2986 section 4), which has at most
/// [`DEFAULT_CERTIFICATE_BYTES`].
///
/// The signature, which proves that the sender holds the key, is for the issuer to check.
///
/// # Errors
/// [`CertificateError`] where the input is too long, has trailing bytes, or is not a request.
pub fn request_key(request: &[u8]) -> Result<Sha256Digest, CertificateError> {
    let mut body = signed_body(request, DEFAULT_CERTIFICATE_BYTES)?;
    body.expect(INTEGER)?;
    body.expect(SEQUENCE)?;
    let key = public_key(&mut body)?;
    body.optional(0xa0)?;
    body.end()?;
    Ok(key)
}

/// The AlgorithmIdentifier (RFC 5280 section 4.1.1.2) that a PKCS #10 certificate request says it is signed with, DER.
///
/// Libraries check some algorithms of a kind of key and not others, and many call what they do not know a wrong
/// signature: an issuer that asks here first can say which it is.
///
/// # Errors
/// [`CertificateError`] as for [`request_key`].
pub fn request_algorithm(request: &[u8]) -> Result<&[u8], CertificateError> {
    request_key(request)?;
    let mut parts = Reader::new(request).expect(SEQUENCE)?.inside();
    parts.expect(SEQUENCE)?;
    Ok(parts.expect(SEQUENCE)?.whole)
}

/// The body of `SEQUENCE { body SEQUENCE, algorithm SEQUENCE, signature BIT STRING }`, the form that
/// certificates and requests share.
fn signed_body(bytes: &[u8], limit: usize) -> Result<Reader<'_>, CertificateError> {
    if bytes.len() > limit {
        return Err(CertificateError::TooLong { bytes: bytes.len(), limit });
    }
    let mut outer = Reader::new(bytes);
    let mut parts = outer.expect(SEQUENCE)?.inside();
    outer.end()?;
    let body = parts.expect(SEQUENCE)?.inside();
    parts.expect(SEQUENCE)?;
    parts.expect(BIT_STRING)?;
    parts.end()?;
    Ok(body)
}

fn public_key(body: &mut Reader<'_>) -> Result<Sha256Digest, DerError> {
    let info = body.expect(SEQUENCE)?;
    let mut parts = info.inside();
    parts.expect(SEQUENCE)?;
    parts.expect(BIT_STRING)?;
    parts.end()?;
    Ok(Sha256Digest::of(info.whole))
}
