//! Certificates made at start-up, and the rustls configurations of every side.
//!
//! The fleet trusts one authority of its own, and beyond the chain it compares SHA-256 fingerprints of the leaf
//! certificate: a device id is bound to one, and a client knows its server's. The comparison is made on every
//! connection after the handshake, because a resumed session never asks the certificate verifier again.

use std::{
    slice,
    sync::Arc,
    time::{Duration, SystemTime},
};

use leasehold::{
    digest::Sha256Digest,
    identity::{AnchorRole, DeviceCertificate, TrustAnchors},
    time::Now,
};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose,
};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig, SupportedCipherSuite,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName},
    server::{NoServerSessionStorage, WebPkiClientVerifier},
    version::TLS13,
};
use serde::{Deserialize, Serialize};

use crate::{
    Failure,
    hexed::Bytes,
    possession::{self, Shown},
};

/// The names of the servers, as their certificates carry them.
pub const COORDINATOR: &str = "coordinator.fleet.test";
/// The egress proxy's name.
pub const PROXY: &str = "proxy.fleet.test";

/// How long the certificates of one show are valid.
const VALIDITY: Duration = Duration::from_secs(6 * 3600);

/// A certificate and its private key, as they travel from the supervisor to a child over its standard input.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    certificate: Bytes,
    key: Bytes,
}

impl Identity {
    /// A certificate and its key in PKCS #8, both DER.
    pub fn new(certificate: Vec<u8>, key: Vec<u8>) -> Self {
        Self { certificate: Bytes(certificate), key: Bytes(key) }
    }

    /// The SHA-256 over the certificate's DER.
    pub fn fingerprint(&self) -> Sha256Digest {
        Sha256Digest::of(&self.certificate.0)
    }

    /// The certificate's DER.
    pub fn certificate(&self) -> Bytes {
        self.certificate.clone()
    }

    fn chain(&self) -> Vec<CertificateDer<'static>> {
        vec![CertificateDer::from(self.certificate.0.clone())]
    }

    fn shown(&self) -> Shown {
        (self.chain(), self.private_key())
    }

    fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.0.clone()))
    }
}

/// The certificate of an authority: what a side needs to check the chain of the other.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Root(Bytes);

impl Root {
    /// What the fleet's anchors know it by.
    pub fn facts(&self) -> Result<DeviceCertificate, Failure> {
        DeviceCertificate::from_der(&self.0.0).map_err(Failure::coded)
    }
}

/// What a side trusts: every certificate that chains to one of these.
fn store(roots: &[Root]) -> Result<Arc<RootCertStore>, Failure> {
    let mut store = RootCertStore::empty();
    for root in roots {
        store.add(CertificateDer::from(root.0.0.clone()))?;
    }
    Ok(Arc::new(store))
}

/// The roots that a fleet's own anchors accept as authorities: both, while one takes over from the other.
pub fn accepted(known: &[Root], anchors: &TrustAnchors, now: Now) -> Vec<Root> {
    let accepts = |root: &&Root| {
        let fingerprint = Sha256Digest::of(&root.0.0);
        anchors.authenticate_fingerprint(AnchorRole::Authority, fingerprint, now).is_ok()
    };
    known.iter().filter(accepts).cloned().collect()
}

/// What a certificate is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// It names a server by this DNS name.
    Server,
    /// It names a device.
    Client,
    /// It names a server that calls another, too.
    Both,
}

/// A certificate authority whose key never leaves this process.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    root: Root,
}

impl Authority {
    /// A new authority with a key of its own.
    pub fn new(name: &str) -> Result<Self, Failure> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name = named(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        validity(&mut params);
        let root = Root(Bytes(params.self_signed(&key)?.der().to_vec()));
        Ok(Self { issuer: Issuer::new(params, key), root })
    }

    /// The authority's certificate.
    pub fn root(&self) -> Root {
        self.root.clone()
    }

    /// A new key and a certificate over it.
    pub fn issue(&self, name: &str, purpose: Purpose) -> Result<Identity, Failure> {
        let key = KeyPair::generate()?;
        let names = if purpose == Purpose::Client { Vec::new() } else { vec![name.to_owned()] };
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name = named(name);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = match purpose {
            Purpose::Server => vec![ExtendedKeyUsagePurpose::ServerAuth],
            Purpose::Client => vec![ExtendedKeyUsagePurpose::ClientAuth],
            Purpose::Both => vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth],
        };
        validity(&mut params);
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Identity::new(certificate.der().to_vec(), key.serialize_der()))
    }
}

fn named(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

fn validity(params: &mut CertificateParams) {
    let now = SystemTime::now();
    params.not_before = (now - Duration::from_secs(60)).into();
    params.not_after = (now + VALIDITY).into();
}

/// The SHA-256 of an executable, by the TLS provider: it is fast even where this example is built without optimisation.
pub fn measure(bytes: &[u8]) -> Result<Sha256Digest, Failure> {
    let SupportedCipherSuite::Tls13(suite) = ring::cipher_suite::TLS13_AES_128_GCM_SHA256 else {
        return Err(Failure::new("the TLS provider has no SHA-256"));
    };
    let hash = suite.common.hash_provider.hash(bytes);
    let bytes = hash.as_ref().try_into().map_err(|_| Failure::new("a SHA-256 has 32 bytes"))?;
    Ok(Sha256Digest::from_bytes(bytes))
}

/// Bytes that nobody can guess, from the system by way of the TLS provider.
pub fn entropy<const N: usize>() -> Result<[u8; N], Failure> {
    let mut bytes = [0; N];
    match ring::default_provider().secure_random.fill(&mut bytes) {
        Ok(()) => Ok(bytes),
        Err(_) => Err(Failure::new("the system gives no random bytes")),
    }
}

/// The configuration of a server that asks every client for a certificate, as the coordinator and the proxy do.
pub fn mutual_server(identity: &Identity, clients: &Root) -> Result<Arc<ServerConfig>, Failure> {
    mutual_server_of(identity, slice::from_ref(clients))
}

/// The same, for clients of any of these authorities; of none where there is none.
pub fn mutual_server_of(identity: &Identity, clients: &[Root]) -> Result<Arc<ServerConfig>, Failure> {
    let provider = Arc::new(ring::default_provider());
    let clients = store(clients)?;
    let verifier = WebPkiClientVerifier::builder_with_provider(clients, Arc::clone(&provider)).build()?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(verifier)
        .with_single_cert(identity.chain(), identity.private_key())?;
    // A session that is never resumed is a certificate that is looked at every time.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// The configuration of a server that anybody may call, as the local origin is.
pub fn plain_server(identity: &Identity) -> Result<Arc<ServerConfig>, Failure> {
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&TLS13])?
        .with_no_client_auth()
        .with_single_cert(identity.chain(), identity.private_key())?;
    Ok(Arc::new(config))
}

/// The configuration of a client that shows `identity`, or no certificate.
pub fn client(identity: Option<&Identity>, servers: &Root) -> Result<Arc<ClientConfig>, Failure> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&TLS13])?
        .with_root_certificates(store(slice::from_ref(servers))?);
    let mut config = match identity {
        Some(identity) => builder.with_client_auth_cert(identity.chain(), identity.private_key())?,
        None => builder.with_no_client_auth(),
    };
    config.resumption = rustls::client::Resumption::disabled();
    Ok(Arc::new(config))
}

/// The configuration of a client that knows its server by the fingerprint of a certificate and by nothing else: the
/// caller compares, or pairs.
pub fn pinning_client(identity: Option<&Identity>) -> Result<Arc<ClientConfig>, Failure> {
    Ok(Arc::new(possession::client(identity.map(Identity::shown), &[&TLS13])?))
}

/// The configuration of a server that devices pair with, too: it asks for a certificate and does without.
pub fn pairing_server(identity: &Identity) -> Result<Arc<ServerConfig>, Failure> {
    Ok(Arc::new(possession::server(identity.shown(), &[&TLS13])?))
}

/// `name` as the name that a server certificate must carry.
pub fn server_name(name: &str) -> Result<ServerName<'static>, Failure> {
    ServerName::try_from(name.to_owned()).map_err(|_| Failure::new("not a server name"))
}
