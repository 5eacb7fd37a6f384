//! The authority that signs certificates for paired devices, with rcgen.
//!
//! What it takes from a certificate request is the public key, once the request's signature has proved that its sender
//! holds the private one. Names, uses and validity are the authority's own; whatever else a request asks for is not read.

use std::time::{Duration, UNIX_EPOCH};

use leasehold::{
    id::DeviceId,
    identity::{
        DeviceCertificate,
        pairing::{CertificateIssuer, IssueError, VerifiedPairing},
        request_algorithm, request_key,
    },
    shell::{Entropy as _, OsEntropy},
    time::Now,
};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ED25519,
    PublicKey, PublicKeyData, SerialNumber,
};

/// The clock of a device may be this far behind.
const BACK: Duration = Duration::from_secs(60);

/// The signatures of requests that are checked, as AlgorithmIdentifier in DER: Ed25519 (RFC 8410) and ECDSA with SHA-256
/// (RFC 5758).
const ED25519: &[u8] = &[0x30, 5, 6, 3, 0x2b, 0x65, 0x70];
const ECDSA_SHA256: &[u8] = &[0x30, 10, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];

/// A certificate authority. Its key is made here and never leaves this value.
pub struct DeviceAuthority {
    issuer: Issuer<'static, KeyPair>,
    lifetime: Duration,
}

impl DeviceAuthority {
    /// A new authority whose certificates are good for `lifetime`.
    pub fn new(name: &str, lifetime: Duration) -> Result<Self, rcgen::Error> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name = named(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        Ok(Self { issuer: Issuer::new(params, KeyPair::generate()?), lifetime })
    }

    /// A certificate for `device` over the key in `request`, DER.
    ///
    /// # Errors
    /// [`IssueError::Request`] for a request that is not readable or not signed with its own key,
    /// [`IssueError::Algorithm`] for one over a key of a kind, or signed in a way, that this authority does not read.
    pub fn sign(&self, device: &DeviceId, request: &[u8], now: Now) -> Result<Vec<u8>, IssueError> {
        let key = proved_key(request)?;
        let mut params = CertificateParams::new(Vec::new()).map_err(|_| IssueError::Unavailable)?;
        params.distinguished_name = named(device.as_str());
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let now = UNIX_EPOCH + Duration::from_millis(now.wall.0);
        params.serial_number = Some(serial()?);
        params.not_before = (now - BACK).into();
        params.not_after = (now + self.lifetime).into();
        let signed = params.signed_by(&key, &self.issuer).map_err(|_| IssueError::Unavailable)?;
        let leaf = signed.der().to_vec();
        // The certificate must be for exactly the key of the request, also where the two libraries read it differently.
        let asked = request_key(request).map_err(|_| IssueError::Request)?;
        match DeviceCertificate::from_der(&leaf) {
            Ok(certificate) if certificate.key() == asked => Ok(leaf),
            _ => Err(IssueError::Request),
        }
    }
}

impl CertificateIssuer for DeviceAuthority {
    fn issue(&mut self, pairing: &VerifiedPairing, now: Now) -> Result<Vec<u8>, IssueError> {
        self.sign(pairing.device(), pairing.request(), now)
    }
}

/// The public half of the key in `request`, which its sender has proved to hold, where it is an Ed25519 key: 32 bytes.
/// Evidence of the device is signed with the same key, so that pairing is what makes it trusted.
pub fn evidence_key(request: &[u8]) -> Result<Vec<u8>, IssueError> {
    let key = proved_key(request)?;
    if *key.algorithm() == PKCS_ED25519 { Ok(key.der_bytes().to_vec()) } else { Err(IssueError::Request) }
}

/// The public key of a request, after its signature was checked.
fn proved_key(request: &[u8]) -> Result<PublicKey, IssueError> {
    // One outer SEQUENCE and nothing after it: the other reader does not mind trailing bytes.
    // rcgen checks one algorithm for each kind of key, and calls the signature of a P-256 key with SHA-512 invalid.
    let algorithm = request_algorithm(request).map_err(|_| IssueError::Request)?;
    if ![ED25519, ECDSA_SHA256].contains(&algorithm) {
        return Err(IssueError::Algorithm);
    }
    let read = CertificateSigningRequestParams::from_der(&request.into()).map_err(|_| IssueError::Request)?;
    let known = [&PKCS_ED25519, &PKCS_ECDSA_P256_SHA256].contains(&read.public_key.algorithm());
    if known { Ok(read.public_key) } else { Err(IssueError::Algorithm) }
}

/// A serial number that no other certificate has (RFC 5280 section 4.1.2.2): 126 random bits, positive, in 16 bytes. The
/// default of rcgen is a hash of the key, which is the same again when the certificate is renewed.
fn serial() -> Result<SerialNumber, IssueError> {
    let mut bytes = [0; 16];
    let filled = OsEntropy::open().and_then(|mut entropy| entropy.fill(&mut bytes));
    filled.map_err(|_| IssueError::Unavailable)?;
    bytes[0] = bytes[0] & 0x3f | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

fn named(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}
