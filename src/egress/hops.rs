//! Chains of redirects: where a request stands in one, and why it ends.

use super::target::TargetError;
use crate::code::{self, Code, Coded};

/// Where a request stands in a chain of redirects. Only following a redirect moves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chain {
    pub(super) hops: u8,
}

impl Chain {
    pub(super) const FIRST: Self = Self { hops: 0 };
}

/// Why a redirect is not followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RedirectError {
    /// The limit is used up.
    #[error("the policy's limit of {0} redirects is used up")]
    TooMany(u8),
    /// Not 301, 302, 303, 307 or 308.
    #[error("{0} is no redirect that is followed")]
    Status(u16),
    /// No Location, or one that does not parse.
    #[error("the Location is missing or malformed: {0:?}")]
    Location(Option<TargetError>),
    /// From https to http.
    #[error("a redirect from https to http is not followed")]
    Downgrade,
    /// 307 or 308 with a body to another origin.
    #[error("the body is not replayed at another origin")]
    Body,
    /// After CONNECT.
    #[error("a tunnel is not redirected")]
    Tunnel,
}

impl Coded for RedirectError {
    fn code(&self) -> Code {
        match self {
            Self::TooMany(_) => code::EGRESS_REDIRECT_TOO_MANY,
            Self::Status(_) => code::EGRESS_REDIRECT_STATUS,
            Self::Location(_) => code::EGRESS_REDIRECT_LOCATION,
            Self::Downgrade => code::EGRESS_REDIRECT_DOWNGRADE,
            Self::Body => code::EGRESS_REDIRECT_BODY,
            Self::Tunnel => code::EGRESS_REDIRECT_TUNNEL,
        }
    }
}
