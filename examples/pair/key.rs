//! The device's own key: made here, shown to nobody; only its certificate request leaves.

use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::PrivatePkcs8KeyDer;

use crate::{Failure, hexed::Bytes, tls};

/// What stands before the 32 bytes of an Ed25519 key in PKCS #8 (RFC 8410 section 7).
const PKCS8: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// An Ed25519 key for TLS and for evidence: what the operator approves is this key, and with it what the node says of
/// itself. The two uses cannot be taken for each other: each signs its own prefix (RFC 8446 section 4.4.3; DSSE).
pub struct DeviceKey {
    seed: [u8; 32],
    pkcs8: Vec<u8>,
    request: Vec<u8>,
    public: Vec<u8>,
}

impl DeviceKey {
    /// A new key and a certificate request over it.
    pub fn make() -> Result<Self, Failure> {
        let seed = tls::entropy::<32>()?;
        let pkcs8 = [PKCS8.as_slice(), &seed].concat();
        let pair = KeyPair::try_from(&PrivatePkcs8KeyDer::from(pkcs8.as_slice()))?;
        // No names: the authority writes its own.
        let request = CertificateParams::new(Vec::new())?.serialize_request(&pair)?.der().to_vec();
        Ok(Self { seed, pkcs8, request, public: pair.public_key_raw().to_vec() })
    }

    /// The certificate request, DER.
    pub fn request(&self) -> &[u8] {
        &self.request
    }

    /// The public half, 32 bytes.
    pub fn public(&self) -> Bytes {
        Bytes(self.public.clone())
    }

    /// The seed, for the device's own worker process.
    pub fn seed(&self) -> Bytes {
        Bytes(self.seed.to_vec())
    }

    /// The key with its certificate, as TLS takes them.
    pub fn identity(&self, certificate: &[u8]) -> tls::Identity {
        tls::Identity::new(certificate.to_vec(), self.pkcs8.clone())
    }
}
