//! TLS from PEM files.

use std::{path::Path, sync::Arc, time::SystemTime};

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

/// Refuses an authority whose time is over or has not come: rustls looks at the certificates below it only.
fn within_validity(path: &Path, certificate: &CertificateDer<'_>) -> Result<(), String> {
    let (_, parsed) =
        x509_parser::parse_x509_certificate(certificate).map_err(|error| failed(path, &error))?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let validity = parsed.validity();
    if now < validity.not_before.timestamp() || now > validity.not_after.timestamp() {
        return Err(failed(
            path,
            &format!(
                "the authority {} is valid from {} to {}",
                parsed.subject(),
                validity.not_before,
                validity.not_after
            ),
        ));
    }
    Ok(())
}

/// The configuration towards https origins and the coordinator; with a certificate of its own for the latter.
pub fn client(
    roots_in: Option<&Path>,
    identity: Option<(&Path, &Path)>,
    protocols: &[&str],
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
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
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
            certificates(path)?.iter().try_for_each(|authority| within_validity(path, authority))?;
            let verifier = WebPkiClientVerifier::builder_with_provider(roots(Some(path))?, provider);
            builder.with_client_cert_verifier(verifier.build().map_err(|error| failed(path, &error))?)
        }
    };
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| failed(key, &error))?;
    let mut config =
        builder.with_single_cert(certificates(chain)?, private).map_err(|error| failed(chain, &error))?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
