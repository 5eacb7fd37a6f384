//! TLS that proves who holds a key and leaves the question whose key it is to the core.
//!
//! A certificate verifier is asked once for a session and never again when the session is resumed (RFC 8446 section
//! 2.2). A decision made in it would outlive a revocation. So these verifiers make none: they check the signature that
//! proves possession of the certificate's key, and the core judges the certificate itself on every connection.

use std::sync::Arc;

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, ServerConfig,
    SignatureScheme, SupportedProtocolVersion,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{
        CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature,
    },
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime},
    server::{
        NoServerSessionStorage, ParsedCertificate,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};

/// A certificate and its key, as rustls takes them.
pub type Shown = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// Proof that the peer holds the key of the certificate that it shows, and of nothing else.
#[derive(Debug)]
struct Possession(WebPkiSupportedAlgorithms);

impl Possession {
    fn new(provider: &CryptoProvider) -> Arc<Self> {
        Arc::new(Self(provider.signature_verification_algorithms))
    }

    /// The signature checks read the key out of the certificate; what they cannot read is refused here, where the
    /// peer is still told which message was wrong.
    fn readable(leaf: &CertificateDer<'_>) -> Result<(), Error> {
        match ParsedCertificate::try_from(leaf) {
            Ok(_) => Ok(()),
            Err(_) => Err(CertificateError::BadEncoding.into()),
        }
    }
}

/// The proof itself, which rustls asks of a client's verifier and of a server's in the same words.
macro_rules! signature_checks {
    () => {
        fn verify_tls12_signature(
            &self,
            message: &[u8],
            leaf: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_tls12_signature(message, leaf, signed, &self.0)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            leaf: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_tls13_signature(message, leaf, signed, &self.0)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.0.supported_schemes()
        }
    };
}

impl ClientCertVerifier for Possession {
    /// A device that is not paired yet has no certificate, and may come as far as pairing.
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Self::readable(leaf).map(|()| ClientCertVerified::assertion())
    }

    signature_checks!();
}

impl ServerCertVerifier for Possession {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Self::readable(leaf).map(|()| ServerCertVerified::assertion())
    }

    signature_checks!();
}

/// A server that asks every client for a certificate and takes those that have none: a port for pairing and for the
/// fleet. What a client without one may do, and whose a certificate is, the core says.
///
/// Sessions are not resumed, as a second line: where somebody changes that, the core still judges every connection.
pub fn server(shown: Shown, versions: &[&'static SupportedProtocolVersion]) -> Result<ServerConfig, Error> {
    let provider = Arc::new(ring::default_provider());
    let verifier = Possession::new(&provider);
    let (chain, key) = shown;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    // TLS 1.2 without it does not bind a session to its certificates (RFC 7627).
    config.require_ems = true;
    Ok(config)
}

/// A client that believes a server only that it holds the key of what it shows. The caller compares the certificate
/// with the one that it knows, or gives it to the pairing, which makes it known.
pub fn client(
    shown: Option<Shown>,
    versions: &[&'static SupportedProtocolVersion],
) -> Result<ClientConfig, Error> {
    let provider = Arc::new(ring::default_provider());
    let verifier = Possession::new(&provider);
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match shown {
        Some((chain, key)) => builder.with_client_auth_cert(chain, key)?,
        None => builder.with_no_client_auth(),
    };
    config.resumption = rustls::client::Resumption::disabled();
    config.require_ems = true;
    Ok(config)
}
