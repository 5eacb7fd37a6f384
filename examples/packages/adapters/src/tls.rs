//! rustls configurations from PEM files, by the ring provider.

use std::{path::Path, path::PathBuf, sync::Arc};

use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// A certificate, its key, and the authority that the certificates of others come from.
#[allow(missing_docs)]
#[derive(serde::Deserialize)]
pub struct Files {
    pub certificate: PathBuf,
    pub key: PathBuf,
    pub authority: PathBuf,
}

impl Files {
    /// A server that asks every client for a certificate.
    ///
    /// # Errors
    /// A file that is missing or is not what it should be.
    pub fn server(&self) -> Outcome<ServerConfig> {
        let provider = Arc::new(ring::default_provider());
        let clients = Arc::new(roots(&self.authority)?);
        let clients = WebPkiClientVerifier::builder_with_provider(clients, Arc::clone(&provider)).build()?;
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        Ok(config.with_client_cert_verifier(clients).with_single_cert(self.chain()?, self.key()?)?)
    }

    /// A client that shows this certificate.
    ///
    /// # Errors
    /// A file that is missing or is not what it should be.
    pub fn client(&self) -> Outcome<ClientConfig> {
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let config = config.with_safe_default_protocol_versions()?;
        let config = config.with_root_certificates(roots(&self.authority)?);
        Ok(config.with_client_auth_cert(self.chain()?, self.key()?)?)
    }

    fn chain(&self) -> Outcome<Vec<CertificateDer<'static>>> {
        Ok(CertificateDer::pem_file_iter(&self.certificate)?.collect::<Result<_, _>>()?)
    }

    fn key(&self) -> Outcome<PrivateKeyDer<'static>> {
        Ok(PrivateKeyDer::from_pem_file(&self.key)?)
    }
}

/// A client that shows no certificate and trusts servers of `authority`.
///
/// # Errors
/// A file that is missing or is not what it should be.
pub fn anonymous(authority: &Path) -> Outcome<ClientConfig> {
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let config = config.with_safe_default_protocol_versions()?;
    Ok(config.with_root_certificates(roots(authority)?).with_no_client_auth())
}

fn roots(authority: &Path) -> Outcome<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(authority)? {
        roots.add(certificate?)?;
    }
    Ok(roots)
}
