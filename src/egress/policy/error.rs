//! Why a policy does not compile, with the rule and the field.

use alloc::{format, string::String};
use core::fmt;

use crate::{
    code::{self, Code, Coded},
    egress::{header::HeaderNameError, host_rule::HostRuleError},
    id::IdError,
    lease::SecretRefError,
};

/// Why a policy does not compile.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{field}: {reason}", Place(*index, id))]
#[non_exhaustive]
pub struct PolicyError {
    /// The place of the rule in the policy, from zero; none where the policy itself is at fault.
    pub index: Option<usize>,
    /// The rule's id as far as it can be shown.
    pub id: String,
    /// The field at fault.
    pub field: &'static str,
    /// What is wrong with it.
    pub reason: PolicyReason,
}

struct Place<'a>(Option<usize>, &'a str);

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(index) => write!(f, "rule {index} ({}): ", self.1),
            None => Ok(()),
        }
    }
}

/// What is wrong with a field of a policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyReason {
    /// The id.
    #[error(transparent)]
    Id(#[from] IdError),
    /// Another rule has this id.
    #[error("another rule has this id")]
    DuplicateId,
    /// A host or suffix.
    #[error("entry {at}: {error}")]
    Host {
        /// The entry's place, from zero.
        at: usize,
        /// What is wrong.
        error: HostRuleError,
    },
    /// A scheme.
    #[error("entry {0} is neither http nor https")]
    Scheme(usize),
    /// A port.
    #[error("zero is not a port")]
    Port,
    /// A method.
    #[error("entry {0} is not a method token")]
    Method(usize),
    /// A path.
    #[error(
        "entry {0} is not a canonical path: it begins with a slash and has no dot segments, parameters, query or \
         fragment, and no percent sign except in %2F"
    )]
    Path(usize),
    /// An address range.
    #[error("entry {0} is not an address or a prefix without host bits")]
    Address(usize),
    /// The prefix of a translator.
    #[error(
        "entry {0} is not the prefix of a translator: an IPv6 prefix of 32, 40, 48, 56, 64 or 96 bits with zeros in bits \
         64 to 71, and not within another"
    )]
    Nat64Prefix(usize),
    /// A credential header's name.
    #[error("{0}")]
    Header(#[from] HeaderNameError),
    /// A secret reference.
    #[error(transparent)]
    Secret(#[from] SecretRefError),
    /// A credential's prefix.
    #[error("the prefix has bytes that no header value may have, or is too long")]
    Prefix,
    /// No place for a credential, or more than one.
    #[error("a credential names exactly one of header, basic, query, path_segment and sign")]
    CredentialPlace,
    /// The user name of a Basic pair.
    #[error("the user name of a Basic pair is at most 128 bytes of visible ASCII or blanks, without a colon")]
    BasicUser,
    /// A parameter of the query.
    #[error("a query parameter is 1 to 128 letters, digits and -._~[]$")]
    QueryName,
    /// The placeholder of a path segment.
    #[error("a placeholder in the path is 1 to 128 letters, digits and -._~, and no dot segment")]
    PathSegment,
    /// A prefix before a signature that has its own.
    #[error("a signature of AWS has a prefix of its own; leave prefix out")]
    SignPrefix,
    /// Region or service.
    #[error("region and service are 1 to 64 lowercase letters, digits and hyphens")]
    AwsScope,
    /// The id of an access key.
    #[error("an access key is 1 to 128 letters, digits and underscores, or the reference of a secret")]
    AccessKey,
    /// The text that is signed.
    #[error(
        "a template is 1 to 1024 bytes with {{method}}, {{host}}, {{path}}, {{query}}, {{target}}, {{timestamp}}, \
         {{body_sha256}} and {{body}}; double a brace that stands for itself"
    )]
    Template,
    /// Two bindings for one place of the same requests.
    #[error("the {0} has two different bindings for the same requests")]
    CredentialConflict(String),
    /// A secret that every host would get.
    #[error("a credential is bound to hosts; any_host would send it to all of them")]
    CredentialAnyHost,
    /// A private endpoint that is not declared as one.
    #[error(
        "a rule with private addresses needs hosts and ports, and takes no suffixes, patterns or any_host"
    )]
    PrivateRule,
    /// An allow list that is written and empty.
    #[error("the list is empty; leave it out for its default")]
    EmptyList,
    /// Over a bound.
    #[error("more than {0} entries")]
    TooMany(usize),
    /// Observe mode without rules.
    #[error("a policy without rules cannot observe")]
    ObserveNeedsRules,
    /// Too many redirects.
    #[error("at most {0} redirects")]
    Redirects(u8),
}

impl Coded for PolicyError {
    fn code(&self) -> Code {
        match &self.reason {
            PolicyReason::Id(_) => code::EGRESS_POLICY_ID,
            PolicyReason::DuplicateId => code::EGRESS_POLICY_DUPLICATE_ID,
            PolicyReason::Host { error, .. } => error.code(),
            PolicyReason::Scheme(_) => code::EGRESS_POLICY_SCHEME,
            PolicyReason::Port => code::EGRESS_POLICY_PORT,
            PolicyReason::Method(_) => code::EGRESS_POLICY_METHOD,
            PolicyReason::Path(_) => code::EGRESS_POLICY_PATH,
            PolicyReason::Address(_) => code::EGRESS_POLICY_ADDRESS,
            PolicyReason::Nat64Prefix(_) => code::EGRESS_POLICY_NAT64_PREFIX,
            PolicyReason::Header(_) => code::EGRESS_POLICY_HEADER,
            PolicyReason::Secret(_) => code::EGRESS_POLICY_SECRET,
            PolicyReason::Prefix => code::EGRESS_POLICY_PREFIX,
            PolicyReason::CredentialPlace
            | PolicyReason::BasicUser
            | PolicyReason::QueryName
            | PolicyReason::PathSegment => code::EGRESS_POLICY_CREDENTIAL_PLACE,
            PolicyReason::SignPrefix
            | PolicyReason::AwsScope
            | PolicyReason::AccessKey
            | PolicyReason::Template => code::EGRESS_POLICY_SIGN,
            PolicyReason::CredentialConflict(_) => code::EGRESS_POLICY_CREDENTIAL_CONFLICT,
            PolicyReason::CredentialAnyHost => code::EGRESS_POLICY_CREDENTIAL_ANY_HOST,
            PolicyReason::PrivateRule => code::EGRESS_POLICY_PRIVATE_RULE,
            PolicyReason::EmptyList => code::EGRESS_POLICY_EMPTY_LIST,
            PolicyReason::TooMany(_) => code::EGRESS_POLICY_TOO_MANY,
            PolicyReason::ObserveNeedsRules => code::EGRESS_POLICY_OBSERVE_NEEDS_RULES,
            PolicyReason::Redirects(_) => code::EGRESS_POLICY_REDIRECTS,
        }
    }
}

impl PolicyError {
    pub(super) fn of_policy(field: &'static str, reason: impl Into<PolicyReason>) -> Self {
        Self { index: None, id: String::new(), field, reason: reason.into() }
    }

    pub(super) fn of_rule(
        index: usize,
        id: &str,
        field: &'static str,
        reason: impl Into<PolicyReason>,
    ) -> Self {
        // An id is shown escaped and cut, because this one may be anything.
        let id = format!("{:.40}", id.escape_debug());
        Self { index: Some(index), id, field, reason: reason.into() }
    }
}
