//! The grant: who lets which run use which tool, with which capabilities, until when. One attempt, spent by it.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::{
    attestation::{
        dsse::{self, EnvelopeLimits, TrustRoot},
        signature::{SignatureVerifier, Signer, SignerError, TrustedKey},
        strict::{self, Limits},
    },
    capability::CapabilitySet,
    code::{self, Code, Coded},
    digest::Sha256Digest,
    id::{FleetId, GrantId, IssuerId, RunId, ToolId},
    time::{Millis, Wall},
};

/// What a grant says. Plain data: it authorises nothing until it is a [`WorkerRunGrant`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantTerms {
    /// The grant's own name, unique for its issuer for as long as it is valid.
    pub id: GrantId,
    /// The fleet that it is addressed to.
    pub fleet: FleetId,
    /// Who made it.
    pub issuer: IssuerId,
    /// The run that it lets run, once.
    pub run: RunId,
    /// The tool.
    pub tool: ToolId,
    /// The capabilities that the run may use. Never empty.
    pub capabilities: CapabilitySet,
    /// When it was made.
    pub issued: Wall,
    /// When it ends; at this instant it is over.
    pub expires: Wall,
}

/// Why a grant is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GrantError {
    /// It names no capability, and silence is not everything.
    #[error("a grant names at least one capability")]
    NoCapabilities,
    /// It ends before it begins.
    #[error("a grant ends after it was issued")]
    Backwards,
    /// It is for another fleet.
    #[error("the grant is for another fleet")]
    OtherFleet,
    /// It is from the future, beyond the clock budget.
    #[error("the grant was issued in the future")]
    NotYet,
    /// It is over.
    #[error("the grant has expired")]
    Expired,
    /// It lives longer than the fleet lets a grant live.
    #[error("the grant lives {0}, longer than the fleet allows")]
    TooLong(Millis),
    /// It was issued before the fleet was restored without its latest events, or before grants were let to live
    /// longer: what it could repeat may have been forgotten.
    #[error("the grant was issued before the instant from which on this fleet takes grants")]
    BeforeFloor,
    /// The request asks for another tool than the grant names.
    #[error("the grant is for another tool")]
    OtherTool,
    /// The request asks for capabilities that the grant does not name.
    #[error("the request asks for capabilities that the grant does not give")]
    Capabilities,
    /// It has been used.
    #[error("the grant is spent")]
    Spent,
    /// No more grants can be remembered as spent before some expire.
    #[error("the fleet cannot remember more spent grants")]
    TooMany,
    /// It is signed, and what was signed is not a grant.
    #[error("what was signed is not a grant")]
    Malformed,
    /// No trusted issuer made it.
    #[error("no trusted issuer made this grant")]
    NotTrusted,
}

impl Coded for GrantError {
    fn code(&self) -> Code {
        match self {
            Self::NoCapabilities => code::GRANT_NO_CAPABILITIES,
            Self::Backwards => code::GRANT_BACKWARDS,
            Self::OtherFleet => code::GRANT_OTHER_FLEET,
            Self::NotYet => code::GRANT_NOT_YET,
            Self::Expired => code::GRANT_EXPIRED,
            Self::TooLong(_) => code::GRANT_TOO_LONG,
            Self::BeforeFloor => code::GRANT_BEFORE_FLOOR,
            Self::OtherTool => code::GRANT_OTHER_TOOL,
            Self::Capabilities => code::GRANT_CAPABILITIES,
            Self::Spent => code::GRANT_SPENT,
            Self::TooMany => code::GRANT_TOO_MANY,
            Self::Malformed => code::GRANT_MALFORMED,
            Self::NotTrusted => code::GRANT_NOT_TRUSTED,
        }
    }
}

/// A permission for one attempt of a run. Minted in process by [`WorkerRunGrant::mint`], or opened by
/// [`GrantIssuers::open`] from what a trusted issuer signed; it cannot be deserialised.
///
/// ```compile_fail,E0277
/// let forged: leasehold::lease::WorkerRunGrant = serde_json::from_str("{}").unwrap();
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WorkerRunGrant {
    terms: GrantTerms,
    /// The key that signed it; `None` where it was minted in process.
    signed_by: Option<Sha256Digest>,
}

impl WorkerRunGrant {
    /// Mints a grant in process: the caller is the issuer.
    ///
    /// # Errors
    /// [`GrantError::NoCapabilities`] and [`GrantError::Backwards`].
    pub fn mint(terms: GrantTerms) -> Result<Self, GrantError> {
        if terms.capabilities.is_empty() {
            return Err(GrantError::NoCapabilities);
        }
        if terms.expires <= terms.issued {
            return Err(GrantError::Backwards);
        }
        Ok(Self { terms, signed_by: None })
    }

    /// What it says.
    pub fn terms(&self) -> &GrantTerms {
        &self.terms
    }

    /// The fingerprint of the key that signed it; `None` where it was minted in process.
    pub fn signed_by(&self) -> Option<Sha256Digest> {
        self.signed_by
    }
}

/// The DSSE payload type of a signed grant.
pub const GRANT_PAYLOAD_TYPE: &str = "application/vnd.leasehold.run-grant+json";

/// Signs a grant, for an issuer that is not in the coordinator's process.
///
/// # Errors
/// [`SignerError`] where the signer gives no signature.
pub fn seal_grant(terms: &GrantTerms, issuer: &dyn Signer) -> Result<Vec<u8>, SignerError> {
    // Ids, numbers and lists alone: writing them cannot fail.
    let payload = serde_json::to_vec(terms).unwrap_or_default();
    dsse::seal(GRANT_PAYLOAD_TYPE, &payload, &[issuer])
}

/// The issuers whose signed grants a fleet accepts: keys whose owner is the issuer's id. None at first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GrantIssuers(Vec<TrustedKey>);

impl GrantIssuers {
    /// These keys. The owner of each is the id of the issuer that it signs for.
    pub fn new(keys: impl IntoIterator<Item = TrustedKey>) -> Self {
        Self(keys.into_iter().collect())
    }

    /// The keys.
    pub fn keys(&self) -> &[TrustedKey] {
        &self.0
    }

    /// Whether the key with this fingerprint signs for `issuer`.
    pub fn trusts(&self, fingerprint: Sha256Digest, issuer: &IssuerId) -> bool {
        self.0.iter().any(|key| key.owner() == issuer.as_str() && key.fingerprint() == fingerprint)
    }

    /// Opens a signed grant: the signature is checked over the bytes that arrived, then they are read strictly, and
    /// the signer must be the issuer that the grant names.
    ///
    /// # Errors
    /// [`GrantError::NotTrusted`], [`GrantError::Malformed`], and those of [`WorkerRunGrant::mint`].
    pub fn open(
        &self,
        envelope: &[u8],
        verifier: &dyn SignatureVerifier,
    ) -> Result<WorkerRunGrant, GrantError> {
        let root = TrustRoot::new(self.0.iter().cloned(), 1).map_err(|_| GrantError::NotTrusted)?;
        let opened = root
            .open(envelope, GRANT_PAYLOAD_TYPE, &EnvelopeLimits::DEFAULT, verifier)
            .map_err(|_| GrantError::NotTrusted)?;
        let terms: GrantTerms =
            strict::read(opened.payload(), &Limits::DOCUMENT).map_err(|_| GrantError::Malformed)?;
        let signer = opened.signers().iter().find(|key| key.owner() == terms.issuer.as_str());
        let signed_by = Some(signer.ok_or(GrantError::NotTrusted)?.fingerprint());
        WorkerRunGrant::mint(terms).map(|grant| WorkerRunGrant { signed_by, ..grant })
    }
}
