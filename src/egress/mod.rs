//! May this lease holder reach that host, at which addresses, with which injected secret?
//!
//! An [`EgressPolicy`] is compiled once into an [`EgressProxyPolicyService`]. [`judge`](EgressProxyPolicyService::judge)
//! says all that can be said without addresses; a [`PendingLookup`] takes the resolver's answers; an allowed
//! [`EgressVerdict`] holds an [`EgressPermit`], which is checked against the lease again when it becomes a
//! [`ConnectPlan`]. There is no other path from a name to a socket.
//!
//! Adapters to HTTP clients hold an [`EgressClient`], which has all of this in one value, and carry out the [`PlannedRequest`]s of an
//! [`RequestChain`], a request with the redirects that it follows.

pub mod address;
mod budget;
mod client;
mod credentials;
mod echo;
mod event;
mod header;
mod hello;
mod hops;
mod host;
mod host_rule;
#[cfg(feature = "http1")]
pub mod http1;
mod judge;
mod lease;
mod lookup;
mod outgoing;
mod permit;
mod policy;
mod redirect;
mod refusal;
mod request;
mod request_chain;
mod route;
mod sign;
mod stage;
mod target;
mod token;
mod verdict;

pub use address::{Nat64, Nat64Prefix};
pub use budget::{BudgetError, BudgetLimits, EgressBudget, MAX_DESTINATIONS};
pub use client::{Denied, EgressClient};
pub use credentials::{MAX_SECRET_BYTES, Secret, SecretError, SecretStore};
pub use echo::{EchoError, EchoMask, EchoStream};
pub use event::{EgressEvent, EgressLog, EgressSink};
pub use header::{
    HeaderError, HeaderField, HeaderNameError, MAX_HEADER_BYTES, MAX_HEADERS, OutgoingHeader, OutgoingHeaders,
};
pub use hello::{HelloError, MAX_HELLO_BYTES, TlsHello};
pub use hops::RedirectError;
pub use host::{Host, HostError, MAX_LABEL_BYTES, MAX_NAME_BYTES};
pub use host_rule::{HostRule, HostRuleError};
pub use judge::{MAX_ANSWERS, PendingLookup, Step};
pub use lease::{Bearer, LeaseCheck, LeaseRefusal, LeaseStanding};
pub use lookup::LookupFailure;
pub use outgoing::{OutgoingRequest, OutgoingTarget};
pub use permit::{ConnectPlan, EgressPermit, PERMIT_LIFETIME, PermitError};
#[cfg(feature = "public-suffix")]
pub use policy::Psl;
pub use policy::{
    AwsSigv4, CredentialBinding, DenyList, EgressLimits, EgressPolicy, EgressProxyPolicyService, EgressRule,
    HmacEncoding, HmacHash, HmacKey, HmacTemplate, HmacTimestamp, MAX_DENY_LIST, MAX_NAT64_PREFIXES,
    MAX_REDIRECTS, MAX_RULE_HOSTS, MAX_RULE_LIST, MAX_RULES, MAX_RULES_PER_HOST, Mode, PolicyError,
    PolicyReason, PolicyWarning, PublicSuffixes, Scheme, SignBinding, SignedPayload, Tunnel, lint,
};
pub use redirect::NextRequest;
pub use refusal::EgressRefusal;
pub use request::EgressRequest;
pub use request_chain::{PlannedRequest, RequestChain};
pub use route::{RouteError, Routed};
pub use sign::{SignError, SignedBody};
pub use stage::Stage;
pub use target::{MAX_URL_BYTES, TargetError};
pub use token::{Claim, MAX_TOKEN_BYTES, TokenError, TokenKey};
pub use verdict::{Check, CheckOutcome, EgressVerdict, JudgedAddress, WouldRefuse};
