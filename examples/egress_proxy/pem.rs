//! TLS from PEM files.

use std::{path::Path, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::{NoServerSessionStorage, WebPkiClientVerifier},
};

/// Where systems keep the authorities that they trust.
const SYSTEM: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

fn failed(path: &Path, why: &dyn ToString) -> String {
    format!("{}: {}", path.display(), why.to_string())
}

/// The certificates of a file.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = CertificateDer::pem_file_iter(path).map_err(|error| failed(path, &error))?;
    let found = read.collect::<Result<Vec<_>, _>>().map_err(|error| failed(path, &error))?;
    if found.is_empty() { Err(failed(path, &"no certificate in it")) } else { Ok(found) }
}

fn roots(path: Option<&Path>) -> Result<Arc<RootCertStore>, String> {
    let system = || SYSTEM.iter().map(Path::new).find(|path| path.exists());
    let path = path.or_else(system).ok_or("no authorities are known here: give some with --roots")?;
    let mut store = RootCertStore::empty();
    // Bundles of systems have authorities that are no longer valid in form; what is not understood is not trusted.
    let (added, _) = store.add_parsable_certificates(certificates(path)?);
    if added == 0 { Err(failed(path, &"no authority in it")) } else { Ok(Arc::new(store)) }
}

/// The configuration towards https origins and the coordinator; with a certificate of its own for the latter.
pub fn client(
    roots_in: Option<&Path>,
    identity: Option<(&Path, &Path)>,
) -> Result<Arc<ClientConfig>, String> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots(roots_in)?);
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => {
            let private = PrivateKeyDer::from_pem_file(key).map_err(|error| failed(key, &error))?;
            builder
                .with_client_auth_cert(certificates(chain)?, private)
                .map_err(|error| failed(key, &error))?
        }
    };
    // A session that is never resumed is a certificate that is looked at every time.
    config.resumption = rustls::client::Resumption::disabled();
    Ok(Arc::new(config))
}

/// The configuration towards clients: with `clients`, only those that show a certificate of theirs.
pub fn server(chain: &Path, key: &Path, clients: Option<&Path>) -> Result<Arc<ServerConfig>, String> {
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(roots(Some(path))?, provider);
            builder.with_client_cert_verifier(verifier.build().map_err(|error| failed(path, &error))?)
        }
    };
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| failed(key, &error))?;
    let mut config =
        builder.with_single_cert(certificates(chain)?, private).map_err(|error| failed(chain, &error))?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}
