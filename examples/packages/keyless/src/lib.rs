//! Who signed a sigstore bundle: [`IdentityVerifier`] over `sigstore-verify`, with a trust root that was loaded before and no
//! network.

mod provider;

use std::path::Path;

use leasehold::{
    attestation::keyless::{
        BuilderIdentity, IdentityError, IdentityVerifier, KeylessBundle, VerifiedIdentity,
    },
    digest::Sha256Digest,
};
use sigstore_verify::{
    CertificateError, Error, TimestampError, TransparencyLogError, VerificationPolicy, VerificationResult,
    Verifier,
    trust_root::{SIGSTORE_PRODUCTION_TRUSTED_ROOT, TrustedRoot},
    types::{Artifact, ArtifactDigest, Bundle, HashAlgorithm, SignatureContent},
};

/// Verifies bundles against one trust root: the certificate's chain and its certificate transparency, a signing time that
/// a log or a time authority proves, the log's entry with its proof and checkpoint, and the signature.
pub struct Sigstore {
    verifier: Verifier,
    /// The ids of the logs that the root names.
    logs: Vec<Vec<u8>>,
}

impl Sigstore {
    /// With the trust root of sigstore's public instance, as it ships with the library.
    ///
    /// # Errors
    /// [`IdentityError::RootMissing`] where that cannot be used.
    pub fn public() -> Result<Self, IdentityError> {
        Self::with_root(SIGSTORE_PRODUCTION_TRUSTED_ROOT)
    }

    /// With the trust root in a file, `trusted_root.json` of a TUF repository.
    ///
    /// # Errors
    /// [`IdentityError::RootMissing`] where there is none, or none that can be used.
    pub fn from_file(path: &Path) -> Result<Self, IdentityError> {
        Self::with_root(&std::fs::read_to_string(path).map_err(|_| IdentityError::RootMissing)?)
    }

    /// With the trust root in this text.
    ///
    /// # Errors
    /// [`IdentityError::RootMissing`] where it is none: it does not parse, or names no authority or no log.
    pub fn with_root(root: &str) -> Result<Self, IdentityError> {
        provider::install();
        let root = TrustedRoot::from_json(root).map_err(|_| IdentityError::RootMissing)?;
        if root.certificate_authorities.is_empty() || root.tlogs.is_empty() || root.ctlogs.is_empty() {
            return Err(IdentityError::RootMissing);
        }
        let logs = root.tlogs.iter().map(|log| log.log_id.key_id.as_bytes().to_vec()).collect();
        Ok(Self { verifier: Verifier::new(&root).map_err(|_| IdentityError::RootMissing)?, logs })
    }
}

impl Sigstore {
    /// That the bundle is in a log, and in no log but those of the root: the library has one error for a log that it does
    /// not know and for one whose key had another time.
    fn know_logs(&self, bundle: &Bundle) -> Result<(), IdentityError> {
        let entries = &bundle.verification_material.tlog_entries;
        if entries.is_empty() {
            return Err(IdentityError::Log("the bundle has no entry of a log".into()));
        }
        let known = |id: &[u8]| self.logs.iter().any(|log| log == id);
        let all = entries.iter().all(|entry| known(entry.log_id.key_id.as_bytes()));
        if all { Ok(()) } else { Err(IdentityError::UnknownLog) }
    }
}

impl IdentityVerifier for Sigstore {
    fn verify(&self, bundle: &KeylessBundle<'_>) -> Result<VerifiedIdentity, IdentityError> {
        let unreadable = |error: &dyn std::fmt::Display| IdentityError::Bundle(error.to_string());
        let text = std::str::from_utf8(bundle.bytes).map_err(|error| unreadable(&error))?;
        let bundle = Bundle::from_json(text).map_err(|error| unreadable(&error))?;
        let SignatureContent::DsseEnvelope(envelope) = &bundle.content else {
            return Err(IdentityError::Bundle("it holds no envelope".into()));
        };
        self.know_logs(&bundle)?;
        let payload = envelope.payload.as_bytes();
        // The library wants to be told which artifact the statement is about. Which subjects count is for the appraisal to
        // say, so it is told what the statement says.
        let subject = subject(payload).ok_or_else(|| unreadable(&"no subject has a SHA-256 or a SHA-512"))?;
        let policy = VerificationPolicy::any_identity();
        let verified = self
            .verifier
            .verify(Artifact::Digest(subject), &bundle, &policy)
            .map_err(|error| refusal(&error))?;
        if !(verified.certificate_verified() && verified.sct_verified() && verified.tlog_verified()) {
            return Err(IdentityError::Certificate("a part of the verification was not made".into()));
        }
        Ok(VerifiedIdentity { identity: identity(&verified)?, payload: Sha256Digest::of(payload) })
    }
}

/// The digest of a subject of the statement: the first one that the library can compare.
fn subject(payload: &[u8]) -> Option<ArtifactDigest> {
    let statement: serde_json::Value = serde_json::from_slice(payload).ok()?;
    let digest = |subject: &serde_json::Value| {
        let of = |name: &str, algorithm| {
            let bytes = unhex(subject["digest"][name].as_str()?)?;
            ArtifactDigest::new(algorithm, bytes).ok()
        };
        of("sha256", HashAlgorithm::Sha2256).or_else(|| of("sha512", HashAlgorithm::Sha2512))
    };
    statement["subject"].as_array()?.iter().find_map(digest)
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let byte = |pair: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    if rest.is_empty() { pairs.iter().map(byte).collect() } else { None }
}

/// What the certificate says about the workload.
fn identity(verified: &VerificationResult) -> Result<BuilderIdentity, IdentityError> {
    let subject = verified.identity().ok_or(IdentityError::Malformed("subject"))?;
    let issuer = verified.issuer().ok_or(IdentityError::Malformed("issuer"))?;
    let mut identity = BuilderIdentity::new(issuer, subject.as_str())?;
    let Some(claims) = verified.certificate().map(|certificate| &certificate.ci_claims) else {
        return Ok(identity);
    };
    if let Some(repository) = &claims.source_repository_uri {
        identity = identity.with_repository(repository)?;
    }
    if let Some(workflow) = &claims.build_config_uri {
        identity = identity.with_workflow(workflow)?;
    }
    if let Some(reference) = &claims.source_repository_ref {
        identity = identity.with_reference(reference)?;
    }
    Ok(identity)
}

/// The library's refusal as one of ours. Its texts describe what failed and repeat no more than dates and ids.
fn refusal(error: &Error) -> IdentityError {
    let text = error.to_string();
    match error {
        Error::TransparencyLog(TransparencyLogError::UnknownLog { .. }) => IdentityError::UnknownLog,
        Error::TransparencyLog(_) => IdentityError::Log(text),
        Error::Certificate(CertificateError::NoValidAuthority { .. })
        | Error::Timestamp(TimestampError::OutsideAuthorityValidity { .. }) => IdentityError::RootExpired,
        Error::Certificate(CertificateError::NotYetValid { .. } | CertificateError::Expired { .. })
        | Error::Timestamp(_) => IdentityError::Time(text),
        Error::Certificate(_) => IdentityError::Certificate(text),
        Error::SignatureInvalid(_) | Error::Crypto(_) => IdentityError::Signature(text),
        Error::InvalidTrustRoot(_) | Error::TrustRoot(_) | Error::TrustedCertificate(_) => {
            IdentityError::RootMissing
        }
        _ => IdentityError::Bundle(text),
    }
}
