//! Builders without keys of their own: workload identities in certificates of a short life.
//!
//! A service such as Fulcio certifies, for minutes, that whoever holds a key runs as some workload; a transparency log or
//! a time authority says when the signature was made. What a statement signed in that way comes in is a sigstore bundle.
//! This crate has no part of that: an [`IdentityVerifier`] checks a bundle and says whose it is, and the policy
//! says which identities are builders ([`ScopedIdentity`](super::policy::ScopedIdentity)).
//! `examples/packages/keyless` has a verifier over `sigstore-verify`, without any network.

use alloc::{string::String, sync::Arc};

use serde::{Deserialize, Serialize};

use super::excerpt::Excerpt;
use crate::{
    code::{self, Code, Coded},
    digest::Sha256Digest,
    time::Wall,
};

/// The longest text of an identity, in bytes.
pub const MAX_IDENTITY_BYTES: usize = 1024;

/// Verifies who signed the envelope of a bundle.
///
/// An implementation checks everything that makes an identity believable: the chain of the certificate to its trust root,
/// that the signature was made while the certificate was valid (by a log or a time authority that the root knows), the
/// proof that the log has the entry, and the signature over the envelope's payload and type. It says nothing about
/// whether the identity may build anything. An appraisal counts each call as eight signature checks.
pub trait IdentityVerifier {
    /// Whose signature the bundle holds.
    ///
    /// # Errors
    /// [`IdentityError`] where anything does not hold. Nothing is assumed in its place.
    fn verify(&self, bundle: &KeylessBundle<'_>) -> Result<VerifiedIdentity, IdentityError>;
}

/// What a verifier of identities is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeylessBundle<'a> {
    /// The bundle as it came: strict JSON with an envelope and a certificate in it, and what stands beside them.
    pub bytes: &'a [u8],
    /// The time of the appraisal.
    pub now: Wall,
}

/// What a verifier found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedIdentity {
    /// Whose certificate it is.
    pub identity: BuilderIdentity,
    /// SHA-256 of the payload that the signature is over. The appraisal compares it with the payload that it reads, so that
    /// two readers of one bundle cannot be made to see two.
    pub payload: Sha256Digest,
}

/// What a certificate says about a workload.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BuilderIdentity {
    issuer: Arc<str>,
    subject: Arc<str>,
    repository: Option<Arc<str>>,
    workflow: Option<Arc<str>>,
    #[serde(rename = "ref")]
    reference: Option<Arc<str>>,
}

impl BuilderIdentity {
    /// An identity of `issuer`, the OIDC issuer, with the certificate's subject alternative name.
    ///
    /// # Errors
    /// [`IdentityError::Malformed`] for a text that is empty or over [`MAX_IDENTITY_BYTES`].
    pub fn new(issuer: &str, subject: &str) -> Result<Self, IdentityError> {
        let (issuer, subject) = (text("issuer", issuer)?, text("subject", subject)?);
        Ok(Self { issuer, subject, repository: None, workflow: None, reference: None })
    }

    /// With the URI of the source repository (Fulcio's extension 1.3.6.1.4.1.57264.1.12).
    ///
    /// # Errors
    /// As for [`Self::new`].
    pub fn with_repository(self, repository: &str) -> Result<Self, IdentityError> {
        Ok(Self { repository: Some(text("repository", repository)?), ..self })
    }

    /// With the URI of the workflow that ran (the build's configuration, 1.3.6.1.4.1.57264.1.18).
    ///
    /// # Errors
    /// As for [`Self::new`].
    pub fn with_workflow(self, workflow: &str) -> Result<Self, IdentityError> {
        Ok(Self { workflow: Some(text("workflow", workflow)?), ..self })
    }

    /// With the ref of the source repository (1.3.6.1.4.1.57264.1.14).
    ///
    /// # Errors
    /// As for [`Self::new`].
    pub fn with_reference(self, reference: &str) -> Result<Self, IdentityError> {
        Ok(Self { reference: Some(text("ref", reference)?), ..self })
    }

    /// Who issued the identity.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The subject of the certificate.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// The URI of the source repository, where the certificate names one.
    pub fn repository(&self) -> Option<&str> {
        self.repository.as_deref()
    }

    /// The URI of the workflow, where the certificate names one.
    pub fn workflow(&self) -> Option<&str> {
        self.workflow.as_deref()
    }

    /// The ref of the source, where the certificate names one.
    pub fn reference(&self) -> Option<&str> {
        self.reference.as_deref()
    }
}

fn text(name: &'static str, text: &str) -> Result<Arc<str>, IdentityError> {
    let fits = !text.is_empty() && text.len() <= MAX_IDENTITY_BYTES;
    if fits { Ok(Arc::from(text)) } else { Err(IdentityError::Malformed(name)) }
}

/// Why nobody is known to have signed a bundle.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// The appraisal has no verifier of identities.
    #[error("the bundle is signed by an identity, and no verifier of identities is set up here")]
    NoVerifier,
    /// The bundle has nothing that a verifier could work on.
    #[error("the bundle cannot be read by the verifier of identities: {0}")]
    Bundle(String),
    /// There is no trust root.
    #[error("there is no trust root to verify identities with: load one")]
    RootMissing,
    /// The trust root is over, for this signature or altogether.
    #[error("the trust root has expired: load a newer one")]
    RootExpired,
    /// The log that the entry is from is none that the trust root knows.
    #[error("the transparency log of the entry is none that the trust root knows")]
    UnknownLog,
    /// The log's entry, its promise or its proof does not hold.
    #[error("the entry of the transparency log does not hold: {0}")]
    Log(String),
    /// The certificate does not lead to the trust root.
    #[error("the certificate does not lead to the trust root: {0}")]
    Certificate(String),
    /// Nobody says that the signature was made while the certificate was valid.
    #[error("no time at which the certificate was valid is proved for the signature: {0}")]
    Time(String),
    /// The signature does not hold.
    #[error("the signature is none of the certificate's key: {0}")]
    Signature(String),
    /// The certificate lacks a part of the identity, or it is out of bounds.
    #[error("the certificate states no {0} of 1 to {MAX_IDENTITY_BYTES} bytes")]
    Malformed(&'static str),
    /// The verifier saw another payload than the appraisal.
    #[error("the verifier of identities saw another payload than the one that is read here")]
    OtherPayload,
    /// The identity is good and is no builder of the policy.
    #[error("the identity {0} is no builder of the policy")]
    Unknown(Excerpt),
    /// The identity is a builder of the policy, at another time.
    #[error("the identity of {0} is trusted at another time")]
    OutsideWindow(Excerpt),
}

impl Coded for IdentityError {
    fn code(&self) -> Code {
        match self {
            Self::NoVerifier => code::KEYLESS_NO_VERIFIER,
            Self::Bundle(_) => code::KEYLESS_BUNDLE,
            Self::RootMissing => code::KEYLESS_ROOT_MISSING,
            Self::RootExpired => code::KEYLESS_ROOT_EXPIRED,
            Self::UnknownLog => code::KEYLESS_LOG_UNKNOWN,
            Self::Log(_) => code::KEYLESS_LOG,
            Self::Certificate(_) => code::KEYLESS_CERTIFICATE,
            Self::Time(_) => code::KEYLESS_TIME,
            Self::Signature(_) => code::KEYLESS_SIGNATURE,
            Self::Malformed(_) => code::KEYLESS_IDENTITY_MALFORMED,
            Self::OtherPayload => code::KEYLESS_OTHER_PAYLOAD,
            Self::Unknown(_) => code::KEYLESS_IDENTITY_UNKNOWN,
            Self::OutsideWindow(_) => code::KEYLESS_IDENTITY_TIME,
        }
    }
}
