//! What is signed, and why it cannot be.

use crate::{
    code::{self, Code, Coded},
    egress::{credentials::SecretError, header::OutgoingHeader},
    time::Wall,
};

/// What a signature may cover of the body of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "whoever sends a request either has its body or has not")]
pub enum SignedBody<'a> {
    /// All of it. Empty where there is none.
    Whole(&'a [u8]),
    /// It is sent as it comes. Enough where [`ConnectPlan::signs_body`](crate::egress::ConnectPlan::signs_body) says no.
    Streamed,
}

/// Why a request cannot be signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignError {
    /// The rule signs its requests, and the caller has asked for headers alone.
    #[error("the rule signs its requests; ConnectPlan::request makes what is sent")]
    Needed,
    /// The signature covers the body, and the body was not given.
    #[error("the signature covers the body, which has to be there as a whole")]
    Body,
    /// The client signs its body in chunks, with a key of its own that chains them.
    #[error(
        "the body is signed in chunks by its client; let the client send UNSIGNED-PAYLOAD or \
         STREAMING-UNSIGNED-PAYLOAD-TRAILER"
    )]
    Chunks,
    /// A time after the year 9999.
    #[error("the time has no calendar date")]
    Time,
    /// The key is to be base64, and is not.
    #[error("the secret is not base64, which the rule says that its key is")]
    Key,
}

impl Coded for SignError {
    fn code(&self) -> Code {
        match self {
            Self::Needed => code::EGRESS_SIGN_NEEDED,
            Self::Body => code::EGRESS_SIGN_BODY,
            Self::Chunks => code::EGRESS_SIGN_CHUNKS,
            Self::Time => code::EGRESS_SIGN_TIME,
            Self::Key => code::EGRESS_SIGN_KEY,
        }
    }
}

/// Why a signature is not made: the scheme, or the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::egress) enum Unsigned {
    Sign(SignError),
    Secret(SecretError),
}

impl From<SignError> for Unsigned {
    fn from(error: SignError) -> Self {
        Self::Sign(error)
    }
}

impl From<SecretError> for Unsigned {
    fn from(error: SecretError) -> Self {
        Self::Secret(error)
    }
}

/// What is signed: the request as it goes out.
#[derive(Clone, Copy)]
pub(in crate::egress) struct Request<'a> {
    pub(in crate::egress) method: &'a str,
    /// Host, and the port where it is not the scheme's own.
    pub(in crate::egress) authority: &'a str,
    /// Path and query with the secrets in them.
    pub(in crate::egress) target: &'a str,
    pub(in crate::egress) fields: &'a [OutgoingHeader],
    pub(in crate::egress) body: SignedBody<'a>,
    pub(in crate::egress) now: Wall,
}

impl Request<'_> {
    pub(super) fn path_and_query(&self) -> (&str, Option<&str>) {
        self.target.split_once('?').map_or((self.target, None), |(path, query)| (path, Some(query)))
    }

    pub(super) fn body(&self) -> Result<&[u8], SignError> {
        match self.body {
            SignedBody::Whole(body) => Ok(body),
            SignedBody::Streamed => Err(SignError::Body),
        }
    }
}
