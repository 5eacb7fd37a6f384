//! How the lookup of a name fails, as the caller's resolver says.

use crate::code::{self, Code, Coded};

/// How the lookup of a name failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize, thiserror::Error)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum LookupFailure {
    /// NXDOMAIN (RFC 1035 section 4.1.1).
    #[error("the name does not exist")]
    NxDomain,
    /// SERVFAIL, or an answer that cannot be read.
    #[error("the resolver could not answer")]
    ServFail,
    /// REFUSED or NOTIMP.
    #[error("the resolver refused to answer")]
    Refused,
    /// No answer in time.
    #[error("the resolver did not answer in time")]
    Timeout,
}

impl Coded for LookupFailure {
    fn code(&self) -> Code {
        match self {
            Self::NxDomain => code::EGRESS_DNS_NXDOMAIN,
            Self::ServFail => code::EGRESS_DNS_SERVFAIL,
            Self::Refused => code::EGRESS_DNS_REFUSED,
            Self::Timeout => code::EGRESS_DNS_TIMEOUT,
        }
    }
}
