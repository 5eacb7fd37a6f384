//! Grants: the permission of an issuer to run a tool in a run, with certain capabilities, until a certain
//! time. One attempt of the run spends it.

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

/// The content of a grant. It is plain data and authorises nothing until it is a [`WorkerRunGrant`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantTerms {
    /// The grant's id. It must be unique for its issuer while the grant is valid.
    pub id: GrantId,
    /// The fleet to which it is addressed.
    pub fleet: FleetId,
    /// The issuer that made it.
    pub issuer: IssuerId,
    /// The run that it permits, once.
    pub run: RunId,
    /// The tool that the run uses.
    pub tool: ToolId,
    /// The capabilities that the run may use. Must not be empty.
    pub capabilities: CapabilitySet,
    /// When the grant was issued.
    pub issued: Wall,
    /// When the grant expires. It is not valid at this instant.
    pub expires: Wall,
}

/// Why a grant is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GrantError {
    /// The grant names no capability. An empty list does not mean all.
    #[error("a grant names at least one capability")]
    NoCapabilities,
    /// The grant expires at or before its issue.
    #[error("a grant ends after it was issued")]
    Backwards,
    /// The grant is addressed to another fleet.
    #[error("the grant is for another fleet")]
    OtherFleet,
    /// The grant was issued in the future, by more than `lease.clock_budget_ms`.
    #[error("the grant was issued in the future")]
    NotYet,
    /// The grant has expired.
    #[error("the grant has expired")]
    Expired,
    /// The grant lives longer than `runs.grant_lifetime_max_ms`.
    #[error("the grant lives {0}, longer than the fleet allows")]
    TooLong(Millis),
    /// The grant was issued before the instant from which the fleet accepts grants: a restore without the
    /// latest events, an accepted leap of the wall clock, or a policy with longer lifetimes moves it. The
    /// record that an older grant was spent may have been forgotten.
    #[error("the grant was issued before the instant from which on this fleet takes grants")]
    BeforeFloor,
    /// The request is for another tool than the grant names.
    #[error("the grant is for another tool")]
    OtherTool,
    /// The request is for capabilities that the grant does not name.
    #[error("the request asks for capabilities that the grant does not give")]
    Capabilities,
    /// The grant was spent before.
    #[error("the grant is spent")]
    Spent,
    /// No further spent grant can be remembered within `limits.grants`.
    #[error("the fleet cannot remember more spent grants")]
    TooMany,
    /// The grant is signed, and the signed content is not a grant.
    #[error("what was signed is not a grant")]
    Malformed,
    /// No trusted issuer signed the grant.
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

/// A permission for one attempt of a run. [`WorkerRunGrant::mint`] makes one in process;
/// [`GrantIssuers::open`] opens one that a trusted issuer signed. It cannot be deserialised.
///
/// ```compile_fail,E0277
/// let forged: leasehold::lease::WorkerRunGrant = serde_json::from_str("{}").unwrap();
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WorkerRunGrant {
    terms: GrantTerms,
    /// The key that signed it; `None` if it was minted in process.
    signed_by: Option<Sha256Digest>,
}

impl WorkerRunGrant {
    /// Mints a grant in process. The caller is the issuer.
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

    /// The content of the grant.
    pub fn terms(&self) -> &GrantTerms {
        &self.terms
    }

    /// The fingerprint of the key that signed it; `None` if it was minted in process.
    pub fn signed_by(&self) -> Option<Sha256Digest> {
        self.signed_by
    }
}

/// The DSSE payload type of a signed grant.
pub const GRANT_PAYLOAD_TYPE: &str = "application/vnd.leasehold.run-grant+json";

/// Signs a grant, for an issuer outside of the coordinator's process.
///
/// # Errors
/// [`SignerError`] if the signer gives no signature.
pub fn seal_grant(terms: &GrantTerms, issuer: &dyn Signer) -> Result<Vec<u8>, SignerError> {
    // The terms contain only ids, numbers and lists, so they always serialise.
    let payload = serde_json::to_vec(terms).unwrap_or_default();
    dsse::seal(GRANT_PAYLOAD_TYPE, &payload, &[issuer])
}

/// The issuers whose signed grants a fleet accepts, as keys. The owner of each key is the issuer's id. The
/// default is none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GrantIssuers(Vec<TrustedKey>);

impl GrantIssuers {
    /// Issuers with these keys. The owner of each key is the id of the issuer for which it signs.
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

    /// Opens a signed grant. The signature is checked over the bytes as they arrived, then the content is
    /// read strictly, and the signer must be the issuer that the grant names.
    ///
    /// # Errors
    /// [`GrantError::NotTrusted`], [`GrantError::Malformed`], and the errors of [`WorkerRunGrant::mint`].
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
