//! Every reason for which a request is refused.

use alloc::string::String;

use super::{
    LeaseRefusal, LookupFailure, RedirectError, header::HeaderError, policy::NoRule, stage::Stage,
    target::TargetError,
};
use crate::{
    code::{self, Code, Coded},
    id::RuleId,
    lease::SecretRef,
};

/// Why a request is refused. No variant holds a secret or shows a resolved address in its text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EgressRefusal {
    /// No live lease of the bearer.
    #[error(transparent)]
    Lease(#[from] LeaseRefusal),
    /// The lease may not use the rule that won.
    #[error("the lease may not use the rule {0}")]
    RuleOutOfScope(RuleId),
    /// The target is not one.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// On the deny list.
    #[error("the host is on the deny list")]
    HostDenied,
    /// No rule has the host.
    #[error("no rule matches the host")]
    HostNotAllowed,
    /// No rule of the host has the scheme.
    #[error("no rule for the host allows the scheme")]
    SchemeNotAllowed,
    /// No rule of the host has the port.
    #[error("no rule for the host allows the port")]
    PortNotAllowed,
    /// The method is not a token.
    #[error("the method is not an RFC 9110 token")]
    MethodMalformed,
    /// TRACE.
    #[error("TRACE is never sent: it would reflect what was put into the request")]
    Trace,
    /// No rule of the host has the method.
    #[error("no rule for the host allows the method")]
    MethodNotAllowed,
    /// No rule of the host has the path.
    #[error("no rule for the host allows the path, in every way in which an upstream may read it")]
    PathNotAllowed,
    /// CONNECT, and every rule of the host has paths.
    #[error(
        "a tunnel shows no path, so a rule with paths never allows CONNECT; leave its paths out, or reach it by the route \
         /r/RULE/path"
    )]
    TunnelUnderPaths,
    /// The request came by the route of another rule.
    #[error("another rule than the routed one wins the request")]
    OtherRule,
    /// The body is too large.
    #[error("the request body is over the rule's limit of {0} bytes")]
    RequestTooLarge(u64),
    /// The headers.
    #[error(transparent)]
    Headers(#[from] HeaderError),
    /// A required credential and no TLS.
    #[error("the rule requires the {0}, and credentials never go over plain http")]
    CredentialsNotTls(String),
    /// A required credential and a tunnel.
    #[error("the rule requires the {0}, and nothing can be put into a tunnel")]
    OpaqueTunnel(String),
    /// A required credential of the path, and no placeholder.
    #[error("the rule requires the {0}, and the path has no segment that reads so")]
    NoPlace(String),
    /// The lease may not use the secret.
    #[error("the lease may not use {0}")]
    SecretOutOfScope(SecretRef),
    /// The name has no address.
    #[error("the name has no address")]
    NoAnswer,
    /// The name was not found out.
    #[error("the lookup of the name failed: {0}")]
    Lookup(LookupFailure),
    /// More answers than are judged.
    #[error("the name has more addresses than are judged")]
    TooManyAnswers,
    /// An address of a class that may not be reached.
    #[error("an address of the host may not be reached ({0})")]
    Address(Code),
    /// A redirect.
    #[error(transparent)]
    Redirect(#[from] RedirectError),
}

impl From<NoRule> for EgressRefusal {
    fn from(missed: NoRule) -> Self {
        match missed {
            NoRule::Host => Self::HostNotAllowed,
            NoRule::Scheme => Self::SchemeNotAllowed,
            NoRule::Port => Self::PortNotAllowed,
            NoRule::Method => Self::MethodNotAllowed,
            NoRule::Path => Self::PathNotAllowed,
        }
    }
}

impl EgressRefusal {
    /// The check that it failed.
    pub fn stage(&self) -> Stage {
        match self {
            Self::Lease(_) | Self::RuleOutOfScope(_) => Stage::Lease,
            Self::Target(error) => error.stage(),
            Self::HostDenied | Self::HostNotAllowed => Stage::Host,
            Self::SchemeNotAllowed => Stage::Scheme,
            Self::PortNotAllowed => Stage::Port,
            Self::MethodMalformed | Self::Trace | Self::MethodNotAllowed => Stage::Method,
            Self::PathNotAllowed | Self::TunnelUnderPaths | Self::OtherRule => Stage::Path,
            Self::RequestTooLarge(_) => Stage::Limits,
            Self::Headers(_)
            | Self::CredentialsNotTls(_)
            | Self::OpaqueTunnel(_)
            | Self::NoPlace(_)
            | Self::SecretOutOfScope(_) => Stage::Credentials,
            Self::NoAnswer | Self::Lookup(_) | Self::TooManyAnswers => Stage::Dns,
            Self::Address(_) => Stage::Address,
            Self::Redirect(_) => Stage::Redirect,
        }
    }

    /// The status with which a proxy answers: 403 for policy, 400 for what is malformed, 413 and 431 for sizes, 502
    /// for names without addresses, 504 where the resolver took too long. Never 407, which would make clients send their credentials again.
    pub fn http_status(&self) -> u16 {
        match self {
            Self::Target(TargetError::TooLong) => 414,
            Self::Target(TargetError::Scheme) => 403,
            Self::Target(_) | Self::MethodMalformed => 400,
            Self::Headers(HeaderError::TooMany) => 431,
            Self::Headers(HeaderError::Malformed(_) | HeaderError::Framing | HeaderError::Nominated) => 400,
            Self::RequestTooLarge(_) => 413,
            Self::Lookup(LookupFailure::Timeout) => 504,
            Self::NoAnswer | Self::Lookup(_) | Self::TooManyAnswers => 502,
            _ => 403,
        }
    }
}

impl Coded for EgressRefusal {
    fn code(&self) -> Code {
        match self {
            Self::Lease(refusal) => refusal.code(),
            Self::RuleOutOfScope(_) => code::EGRESS_LEASE_RULE_OUT_OF_SCOPE,
            Self::Target(error) => error.code(),
            Self::HostDenied => code::EGRESS_HOST_DENIED,
            Self::HostNotAllowed => code::EGRESS_HOST_NOT_ALLOWED,
            Self::SchemeNotAllowed => code::EGRESS_SCHEME_NOT_ALLOWED,
            Self::PortNotAllowed => code::EGRESS_PORT_NOT_ALLOWED,
            Self::MethodMalformed => code::EGRESS_METHOD_MALFORMED,
            Self::Trace => code::EGRESS_METHOD_TRACE,
            Self::MethodNotAllowed => code::EGRESS_METHOD_NOT_ALLOWED,
            Self::PathNotAllowed | Self::TunnelUnderPaths => code::EGRESS_PATH_NOT_ALLOWED,
            Self::OtherRule => code::EGRESS_ROUTE_OTHER_RULE,
            Self::RequestTooLarge(_) => code::EGRESS_LIMITS_REQUEST_BYTES,
            Self::Headers(error) => error.code(),
            Self::CredentialsNotTls(_) => code::EGRESS_CREDENTIALS_NOT_TLS,
            Self::OpaqueTunnel(_) => code::EGRESS_CREDENTIALS_OPAQUE_TUNNEL,
            Self::NoPlace(_) => code::EGRESS_CREDENTIALS_NO_PLACE,
            Self::SecretOutOfScope(_) => code::EGRESS_CREDENTIALS_OUT_OF_SCOPE,
            Self::NoAnswer => code::EGRESS_DNS_NO_ANSWER,
            Self::Lookup(failure) => failure.code(),
            Self::TooManyAnswers => code::EGRESS_DNS_TOO_MANY,
            Self::Address(code) => *code,
            Self::Redirect(error) => error.code(),
        }
    }
}

/// For connectors and clients whose errors are I/O errors.
#[cfg(feature = "std")]
impl From<EgressRefusal> for std::io::Error {
    fn from(refusal: EgressRefusal) -> Self {
        Self::new(std::io::ErrorKind::PermissionDenied, refusal)
    }
}
