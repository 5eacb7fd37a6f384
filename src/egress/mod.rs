//! May this lease holder reach that host, at which addresses, with which injected secret?
//!
//! An [`EgressPolicy`] is compiled once into an [`EgressProxyPolicyService`]. [`judge`](EgressProxyPolicyService::judge)
//! says all that can be said without addresses; a [`PendingLookup`] takes the resolver's answers; an allowed
//! [`EgressVerdict`] holds an [`EgressPermit`], which is checked against the lease again when it becomes a
//! [`ConnectPlan`]. There is no other path from a name to a socket.
//!
//! Adapters to HTTP clients hold an [`Outlet`], which has all of this in one value, and carry out the [`Leg`]s of an
//! [`Errand`], a request with the redirects that it follows.

pub mod address;
mod budget;
mod credentials;
mod errand;
mod event;
mod header;
mod hello;
mod host;
mod host_rule;
#[cfg(feature = "http1")]
pub mod http1;
mod judge;
mod lease;
mod outlet;
mod permit;
mod policy;
mod redirect;
mod refusal;
mod request;
mod route;
mod target;
mod token;
mod verdict;

pub use address::Nat64;
pub use budget::{BudgetError, BudgetLimits, EgressBudget, MAX_DESTINATIONS};
pub use credentials::{MAX_SECRET_BYTES, Secret, SecretError, SecretStore};
pub use errand::{Errand, Leg};
pub use event::{EgressEvent, EgressLog, EgressSink};
pub use header::{
    HeaderError, HeaderNameError, MAX_HEADER_BYTES, MAX_HEADERS, OutgoingHeader, OutgoingHeaders,
};
pub use hello::{HelloError, MAX_HELLO_BYTES, TlsHello};
pub use host::{Host, HostError, MAX_LABEL_BYTES, MAX_NAME_BYTES};
pub use host_rule::{HostRule, HostRuleError};
pub use judge::{MAX_ANSWERS, PendingLookup, Step};
pub use lease::{Bearer, LeaseCheck, LeaseRefusal, LeaseStanding};
pub use outlet::{Denied, Outlet};
pub use permit::{ConnectPlan, EgressPermit, PERMIT_LIFETIME, PermitError};
#[cfg(feature = "public-suffix")]
pub use policy::Psl;
pub use policy::{
    CredentialBinding, DenyList, EgressLimits, EgressPolicy, EgressProxyPolicyService, EgressRule,
    MAX_DENY_LIST, MAX_REDIRECTS, MAX_RULE_HOSTS, MAX_RULE_LIST, MAX_RULES, MAX_RULES_PER_HOST, Mode,
    PolicyError, PolicyReason, PolicyWarning, PublicSuffixes, Scheme, lint,
};
pub use redirect::{NextRequest, RedirectError};
pub use refusal::EgressRefusal;
pub use request::{EgressRequest, HeaderField};
pub use route::{RouteError, Routed};
pub use target::{MAX_URL_BYTES, TargetError};
pub use token::{Claim, MAX_TOKEN_BYTES, TokenError, TokenKey};
pub use verdict::{Check, CheckOutcome, EgressVerdict, JudgedAddress, Stage, WouldRefuse};
