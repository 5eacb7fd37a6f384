//! Certificates that stand for themselves: a key, and a certificate over it that is known by its SHA-256.
//!
//! No authority signs them and no chain is followed. Whoever is spoken to compares the fingerprint after each handshake,
//! which has proved that the peer holds the key.

use std::time::{Duration, SystemTime};

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose,
};

use crate::Failure;

/// A certificate with its key.
pub struct Pair {
    /// DER.
    pub certificate: Vec<u8>,
    /// PEM.
    pub certificate_pem: String,
    /// PKCS #8, PEM.
    pub key_pem: String,
}

/// A key, and a certificate over it that is good for `days`. `name` is for people.
pub fn make(name: &str, days: u32) -> Result<Pair, Failure> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(vec![crate::tls::COORDINATOR.to_owned()])?;
    let mut named = DistinguishedName::new();
    named.push(DnType::CommonName, name);
    params.distinguished_name = named;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let now = SystemTime::now();
    params.not_before = (now - Duration::from_secs(60)).into();
    params.not_after = (now + Duration::from_secs(u64::from(days) * 24 * 3600)).into();
    let certificate = params.self_signed(&key)?;
    Ok(Pair {
        certificate: certificate.der().to_vec(),
        certificate_pem: certificate.pem(),
        key_pem: key.serialize_pem(),
    })
}
