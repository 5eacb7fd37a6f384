//! A peer: its keys, its certificate, its TLS sessions, and the frames that it sends.

use std::{
    net::TcpStream,
    sync::{Arc, OnceLock},
    time::Duration,
};

use leasehold::{
    digest::Sha256Digest,
    identity::DeviceCertificate,
    protocol::{
        frame::{Frame, FrameDecoder, FrameKind, encode},
        message::{
            CoordinatorMessage, Document as _, NodeAnswer, NodeMessage, NodeRequest, NodeWord, WireBytes,
            WorkerMessage, WorkerRequest,
        },
    },
};
use rcgen::{CertificateParams, KeyPair};
use rustls::{
    ClientConfig, HandshakeKind, SignatureScheme,
    client::{ResolvesClientCert, Resumption},
    crypto::ring::sign::any_supported_type,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
    sign::CertifiedKey,
};

use super::{
    Protocol,
    fleet::{duplex::Duplex, possession},
    port::Port,
};

/// How long a peer waits for the coordinator: long, since nothing here depends on it but how a failure looks.
const PATIENCE: Duration = Duration::from_secs(30);

/// A certificate and a key, and the TLS sessions that were made with them.
pub struct Credentials {
    certificate: Vec<u8>,
    key: Vec<u8>,
    configs: [OnceLock<Arc<ClientConfig>>; 2],
}

/// A key whose certificate was asked for.
pub struct Wanted(KeyPair);

impl Wanted {
    pub fn with(self, certificate: Vec<u8>) -> Credentials {
        Credentials::new(certificate, self.0.serialize_der())
    }
}

/// Shows one certificate and signs with whatever key it was given.
#[derive(Debug)]
struct Pretender(Arc<CertifiedKey>);

impl ResolvesClientCert for Pretender {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl Credentials {
    fn new(certificate: Vec<u8>, key: Vec<u8>) -> Self {
        Self { certificate, key, configs: Default::default() }
    }

    /// A new key, and a certificate request over it.
    pub fn wanted() -> (Wanted, WireBytes) {
        let key = KeyPair::generate().unwrap();
        let request = CertificateParams::new(vec![]).unwrap().serialize_request(&key).unwrap();
        (Wanted(key), WireBytes(request.der().to_vec()))
    }

    /// A certificate that its holder signed.
    pub fn self_signed() -> Self {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![]).unwrap().self_signed(&key).unwrap();
        Self::new(certificate.der().to_vec(), key.serialize_der())
    }

    /// This key under the certificate of another.
    pub fn with_certificate_of(self, other: &Self) -> Self {
        Self::new(other.certificate.clone(), self.key)
    }

    /// The same without what earlier connections left.
    pub fn without_sessions(&self) -> Self {
        Self::new(self.certificate.clone(), self.key.clone())
    }

    /// A connection to whoever answers there. Whom it is with, the caller judges by the certificate that was shown.
    pub fn dial(&self, port: &Port) -> Duplex {
        let socket = TcpStream::connect(port.address).unwrap();
        Duplex::connect(socket, self.config(port.protocol), "coordinator.test", None).unwrap()
    }

    pub fn fingerprint(&self) -> Sha256Digest {
        Sha256Digest::of(&self.certificate)
    }

    pub fn key(&self) -> Sha256Digest {
        DeviceCertificate::from_der(&self.certificate).unwrap().key()
    }

    /// One configuration for each protocol, kept: rustls resumes a session only under the one that it was made with.
    fn config(&self, protocol: Protocol) -> Arc<ClientConfig> {
        let make = || {
            let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.clone()));
            let chain = vec![CertificateDer::from(self.certificate.clone())];
            let shown = CertifiedKey::new(chain, any_supported_type(&key).unwrap());
            let mut config = possession::client(None, protocol.versions()).unwrap();
            config.client_auth_cert_resolver = Arc::new(Pretender(Arc::new(shown)));
            config.resumption = Resumption::in_memory_sessions(32);
            Arc::new(config)
        };
        Arc::clone(self.configs[protocol as usize].get_or_init(make))
    }
}

/// A connection to the port.
pub struct Caller {
    duplex: Duplex,
    decoder: FrameDecoder,
    rest: Vec<u8>,
    sequence: u64,
}

impl Caller {
    /// Calls; an error where TLS already refuses.
    pub fn call(port: &Port, credentials: Option<&Credentials>) -> Result<Self, ()> {
        let config = match credentials {
            Some(credentials) => credentials.config(port.protocol),
            None => Arc::new(possession::client(None, port.protocol.versions()).unwrap()),
        };
        let socket = TcpStream::connect(port.address).unwrap();
        let known = Some(port.certificate);
        let duplex = Duplex::connect(socket, config, "coordinator.test", known).map_err(|_| ())?;
        duplex.set_timeouts(Some(PATIENCE), Some(PATIENCE)).unwrap();
        Ok(Self { duplex, decoder: FrameDecoder::new(), rest: Vec::new(), sequence: 0 })
    }

    pub fn handshake(&self) -> Option<HandshakeKind> {
        self.duplex.handshake()
    }

    /// Sends a frame. Where the other side has closed already, the next [`Self::heard`] shows that.
    pub fn frame(&mut self, kind: FrameKind, body: &[u8]) {
        let mut bytes = Vec::new();
        encode(kind, body, &mut bytes).unwrap();
        let _ = self.duplex.write_all(&bytes);
    }

    /// The next frame; `None` where the coordinator closed the connection.
    pub fn heard(&mut self) -> Option<Frame> {
        loop {
            let mut rest = self.rest.as_slice();
            let frame = self.decoder.decode(&mut rest).unwrap();
            self.rest = rest.to_vec();
            if frame.is_some() {
                return frame;
            }
            let mut buffer = [0; 4096];
            match self.duplex.read(&mut buffer) {
                Ok(0) => return None,
                Ok(count) => self.rest.extend_from_slice(&buffer[..count]),
                Err(error) => {
                    let waited = [std::io::ErrorKind::WouldBlock, std::io::ErrorKind::TimedOut];
                    assert!(!waited.contains(&error.kind()), "the connection is open and nothing is said");
                    return None;
                }
            }
        }
    }

    /// Whether a worker's message is answered, and not with a refusal. No: the connection was closed.
    pub fn worker(&mut self, message: WorkerMessage) -> bool {
        self.sequence += 1;
        let mut bytes = Vec::new();
        WorkerRequest { sequence: self.sequence, message }.write(&mut bytes).unwrap();
        let _ = self.duplex.write_all(&bytes);
        let Some(frame) = self.heard() else { return false };
        let answer = CoordinatorMessage::read(&frame.body).unwrap();
        assert!(matches!(answer, CoordinatorMessage::Answer { .. }), "{answer:?}");
        true
    }

    /// The answer to a device's message; `None` where the connection was closed.
    pub fn node(&mut self, message: NodeMessage) -> Option<NodeAnswer> {
        self.sequence += 1;
        let mut bytes = Vec::new();
        NodeRequest { sequence: self.sequence, message }.write(&mut bytes).unwrap();
        let _ = self.duplex.write_all(&bytes);
        match NodeWord::read(&self.heard()?.body).unwrap() {
            NodeWord::Answer { answer, .. } => Some(answer),
            other => panic!("{other:?}"),
        }
    }

    /// A pairing message and its answer.
    pub fn pairing(&mut self, message: &[u8]) -> Vec<u8> {
        self.frame(FrameKind::Pairing, message);
        let answer = self.heard().unwrap();
        assert_eq!(answer.kind, FrameKind::Pairing);
        answer.body
    }
}
