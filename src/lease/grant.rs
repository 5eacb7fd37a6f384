//! The grant: who lets which run use which tool, with which capabilities, until when. One attempt, spent by it.

use serde::{Deserialize, Serialize};

use crate::{
    capability::CapabilitySet,
    code::{self, Code, Coded},
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
    /// It was issued before the fleet was restored without its latest events.
    #[error("the grant was issued before the fleet was restored")]
    BeforeRestore,
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
            Self::BeforeRestore => code::GRANT_BEFORE_RESTORE,
            Self::OtherTool => code::GRANT_OTHER_TOOL,
            Self::Capabilities => code::GRANT_CAPABILITIES,
            Self::Spent => code::GRANT_SPENT,
            Self::TooMany => code::GRANT_TOO_MANY,
            Self::NotTrusted => code::GRANT_NOT_TRUSTED,
        }
    }
}

/// A permission for one attempt of a run. Minted in process by [`WorkerRunGrant::mint`], or opened from what a
/// trusted issuer signed; it cannot be deserialised.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WorkerRunGrant(GrantTerms);

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
        Ok(Self(terms))
    }

    /// What it says.
    pub fn terms(&self) -> &GrantTerms {
        &self.0
    }
}
