//! Why trust anchors do not change, or do not load.

use crate::{
    code::{self, Code, Coded},
    identity::authenticate::AuthError,
};

/// Why anchors do not change.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AnchorError {
    /// The certificate is pinned already.
    #[error("the certificate is pinned already")]
    Exists,
    /// [`MAX_ANCHORS`](super::MAX_ANCHORS) of the role are pinned, or no room is left to revoke another.
    #[error("there are as many anchors as can be held and revoked")]
    Full,
    /// The announced one takes over from something that is not an anchor of its role, or already has a successor; or
    /// a coordinator announced for another coordinator, or took back what it had not announced.
    #[error("the announcement does not fit the anchors that are pinned")]
    Succession,
    /// The certificate is past its validity.
    #[error("the certificate has expired")]
    Expired,
    /// Revoked already, or to be pinned and revoked.
    #[error("the certificate is revoked")]
    Revoked,
    /// The announcing, succeeded or used certificate is not accepted.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// Stored anchors have a form that this version does not read.
    #[error("the stored anchors have form {0}, which this version does not read")]
    Version(u16),
    /// Stored anchors without the revocation set that they were stored with, or over their bounds, or in contradiction
    /// with themselves.
    #[error("the stored anchors do not load: {0}")]
    Stored(&'static str),
}

impl Coded for AnchorError {
    fn code(&self) -> Code {
        match self {
            Self::Exists => code::ANCHOR_EXISTS,
            Self::Full => code::ANCHOR_FULL,
            Self::Succession => code::ANCHOR_SUCCESSION,
            Self::Expired => code::CERTIFICATE_EXPIRED,
            Self::Revoked => code::CERTIFICATE_REVOKED,
            Self::Auth(error) => error.code(),
            Self::Version(_) | Self::Stored(_) => code::ANCHOR_STORED,
        }
    }
}
