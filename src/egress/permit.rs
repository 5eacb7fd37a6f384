//! The permit: made by an allowed verdict only, checked again when it is used, and used up by it.

use alloc::{borrow::Cow, format, string::String, vec::Vec};
use core::{fmt, net::SocketAddr};

use super::{
    Bearer, EgressLimits, EgressProxyPolicyService, HeaderField, LeaseCheck, LeaseRefusal, Scheme,
    address::parse_literal,
    credentials::{SecretError, SecretStore},
    echo::{EchoError, Echoes},
    header::{self, HeaderError, HeaderName, OutgoingHeaders},
    hello::TlsHello,
    hops::Chain,
    host::Host,
    lease::{LeaseStanding, stands},
    outgoing::{self, OutgoingRequest, OutgoingTarget},
    policy::{Credential, Rule, Tunnel},
    sign::{self, SignError, SignedBody, Signer, Unsigned},
    target::Target,
};
use crate::{
    code::{self, Code, Coded},
    digest::Sha256Digest,
    id::{RuleId, WorkerId},
    lease::{Fence, SecretRef},
    time::{Millis, Mono, Wall},
};

/// How long a permit waits to be used. Long enough to connect to several addresses, too short to keep.
pub const PERMIT_LIFETIME: Millis = Millis(30_000);

/// Why a permit, or a plan made of it, does not serve.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PermitError {
    /// The lease.
    #[error(transparent)]
    Lease(#[from] LeaseRefusal),
    /// Not used within [`PERMIT_LIFETIME`].
    #[error("the permit was not used in time")]
    Expired,
    /// The policy in force is another one.
    #[error("the permit was made under another policy")]
    Policy,
    /// The lease may no longer use the rule.
    #[error("the lease may not use the rule {0}")]
    RuleOutOfScope(RuleId),
    /// The lease may no longer use the secret.
    #[error("the lease may not use {0}")]
    SecretOutOfScope(SecretRef),
    /// Connected to something else.
    #[error("the peer is not one of the pinned addresses")]
    Peer,
    /// The TLS hello names another host, or none.
    #[error("the server name of the TLS hello is not the judged host")]
    ServerName,
    /// The TLS hello carries an encrypted one.
    #[error("the TLS hello hides the host that it is for")]
    EncryptedName,
    /// The headers.
    #[error(transparent)]
    Headers(#[from] HeaderError),
    /// A secret.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// A signature.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// Masking what comes back.
    #[error(transparent)]
    Echo(#[from] EchoError),
}

impl Coded for PermitError {
    fn code(&self) -> Code {
        match self {
            Self::Lease(refusal) => refusal.code(),
            Self::Expired => code::EGRESS_PERMIT_EXPIRED,
            Self::Policy => code::EGRESS_PERMIT_POLICY,
            Self::RuleOutOfScope(_) => code::EGRESS_LEASE_RULE_OUT_OF_SCOPE,
            Self::SecretOutOfScope(_) => code::EGRESS_CREDENTIALS_OUT_OF_SCOPE,
            Self::Peer => code::EGRESS_PERMIT_PEER,
            Self::ServerName => code::EGRESS_PERMIT_SERVER_NAME,
            Self::EncryptedName => code::EGRESS_PERMIT_ENCRYPTED_NAME,
            Self::Headers(error) => error.code(),
            Self::Secret(error) => error.code(),
            Self::Sign(error) => error.code(),
            Self::Echo(error) => error.code(),
        }
    }
}

/// For connectors and clients whose errors are I/O errors.
#[cfg(feature = "std")]
impl From<PermitError> for std::io::Error {
    fn from(error: PermitError) -> Self {
        Self::new(std::io::ErrorKind::PermissionDenied, error)
    }
}

/// What a request was granted. Shared by the permit and the plan that it becomes.
pub(super) struct Grant {
    pub(super) service: EgressProxyPolicyService,
    /// The rule whose limits hold.
    pub(super) slot: u32,
    /// Whether that rule matched; where not, the policy observes and no credential goes in.
    pub(super) matched: bool,
    pub(super) target: Target,
    pub(super) method: Cow<'static, str>,
    pub(super) body_bytes: Option<u64>,
    pub(super) addresses: Vec<SocketAddr>,
    pub(super) worker: WorkerId,
    pub(super) fence: Fence,
    pub(super) chain: Chain,
    pub(super) lease_expires: Mono,
}

impl Grant {
    /// The rule whose limits hold. A grant is made with a slot of its own service, so there is one.
    pub(super) fn rule(&self) -> Option<&RuleId> {
        self.service.rule(self.slot).map(|rule| &rule.id)
    }

    /// The rule, where it matched: what observing lets through is lent nothing of a rule but its limits.
    pub(super) fn winner(&self) -> Option<&Rule> {
        self.service.rule(self.slot).filter(|_| self.matched)
    }

    pub(super) fn credentials(&self) -> &[Credential] {
        self.winner().map(|rule| &*rule.credentials).unwrap_or_default()
    }

    fn overrides_allowed(&self) -> Option<&[HeaderName]> {
        self.winner().map(|rule| &*rule.override_headers)
    }

    fn is_tls(&self) -> bool {
        self.target.scheme() == Scheme::Https && !self.target.is_tunnel()
    }

    fn limits(&self) -> EgressLimits {
        self.service.rule(self.slot).map(|rule| rule.limits).unwrap_or_default()
    }
}

impl fmt::Debug for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grant")
            .field("rule", &self.rule())
            .field("method", &self.method)
            .field("target", &self.target.text())
            .field("addresses", &self.addresses)
            .field("worker", &self.worker)
            .field("fence", &self.fence)
            .field("lease_expires", &self.lease_expires)
            .finish_non_exhaustive()
    }
}

/// Leave to make one request, or to open one tunnel, at addresses that were judged.
///
/// It cannot be built, cloned or deserialised outside this crate (invariant 9), and using it uses it up:
///
/// ```compile_fail,E0382
/// # fn take(permit: leasehold::egress::EgressPermit) {}
/// fn twice(permit: leasehold::egress::EgressPermit) {
///     take(permit);
///     take(permit);
/// }
/// ```
#[must_use = "a permit does nothing until it is redeemed"]
#[derive(Debug)]
pub struct EgressPermit {
    grant: Grant,
    expires: Mono,
}

impl EgressPermit {
    pub(super) fn new(grant: Grant, now: Mono) -> Self {
        let expires = now.plus(PERMIT_LIFETIME).min(grant.lease_expires);
        Self { grant, expires }
    }

    pub(super) fn target(&self) -> &Target {
        &self.grant.target
    }

    pub(super) fn rule(&self) -> Option<&RuleId> {
        self.grant.rule()
    }

    /// When it lapses: [`PERMIT_LIFETIME`] after it was made, or with the lease.
    pub fn expires(&self) -> Mono {
        self.expires
    }

    /// The digest of the policy that made it.
    pub fn policy(&self) -> Sha256Digest {
        self.grant.service.digest()
    }

    /// Checks the permit against the lease as it is now, and turns it into what a connector needs.
    ///
    /// # Errors
    /// [`PermitError`]: the policy was [replaced](EgressProxyPolicyService::replace); the lease ended, is another worker's, or lost the rule or a secret; or the permit has lapsed.
    pub fn redeem(
        self,
        bearer: &Bearer,
        leases: &dyn LeaseCheck,
        now: Mono,
    ) -> Result<ConnectPlan, PermitError> {
        if bearer.worker != self.grant.worker || bearer.fence != self.grant.fence {
            return Err(LeaseRefusal::OtherWorker.into());
        }
        if now >= self.expires {
            return Err(PermitError::Expired);
        }
        if !self.grant.service.is_in_force() {
            return Err(PermitError::Policy);
        }
        let standing = stands(leases, bearer, now)?;
        in_scope(&standing, &self.grant)?;
        // A renewed lease may end later than when the permit was made, a shortened one sooner.
        let grant = Grant { lease_expires: standing.expires, ..self.grant };
        let rule = grant.rule().cloned().ok_or(PermitError::Policy)?;
        Ok(ConnectPlan { grant, rule })
    }

    /// As [`EgressPermit::redeem`], and refused where `policy` is not the policy that made the permit: for hosts that
    /// want a new policy to stop requests that are already on their way.
    ///
    /// # Errors
    /// [`PermitError`], also [`PermitError::Policy`].
    pub fn redeem_under(
        self,
        policy: &EgressProxyPolicyService,
        bearer: &Bearer,
        leases: &dyn LeaseCheck,
        now: Mono,
    ) -> Result<ConnectPlan, PermitError> {
        if policy.digest() != self.policy() {
            return Err(PermitError::Policy);
        }
        self.redeem(bearer, leases, now)
    }
}

fn in_scope(standing: &LeaseStanding, grant: &Grant) -> Result<(), PermitError> {
    if let Some(outside) = grant.rule().filter(|rule| !standing.egress.contains(rule)) {
        return Err(PermitError::RuleOutOfScope(outside.clone()));
    }
    match grant.credentials().iter().flat_map(Credential::secrets).find(|own| !standing.secrets.contains(own))
    {
        Some(outside) => Err(PermitError::SecretOutOfScope(outside.clone())),
        None => Ok(()),
    }
}

/// A redeemed permit: where to connect, what to say there, and within which limits.
#[derive(Debug)]
pub struct ConnectPlan {
    grant: Grant,
    rule: RuleId,
}

impl ConnectPlan {
    /// The addresses to dial, in the order in which they were answered. Each was judged; there are no others.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.grant.addresses
    }

    /// Checks the address that a connection reached.
    ///
    /// # Errors
    /// [`PermitError::Peer`] where it is none of the pinned ones.
    pub fn confirm(&self, peer: SocketAddr) -> Result<(), PermitError> {
        let reached = (peer.ip().to_canonical(), peer.port());
        let pinned = self.grant.addresses.iter().any(|own| (own.ip(), own.port()) == reached);
        if pinned { Ok(()) } else { Err(PermitError::Peer) }
    }

    /// The scheme. Tunnels count as https.
    pub fn scheme(&self) -> Scheme {
        self.grant.target.scheme()
    }

    /// The host that was judged, IPv6 in brackets. It is the Host field and the name that a certificate must prove.
    pub fn host(&self) -> impl fmt::Display + '_ {
        self.grant.target.host()
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.grant.target.port()
    }

    /// The method.
    pub fn method(&self) -> &str {
        &self.grant.method
    }

    /// The canonical URL, or `host:port` of a tunnel.
    pub fn url(&self) -> &str {
        self.grant.target.text()
    }

    /// The canonical path and query, as the request line carries them; empty for a tunnel.
    pub fn path_and_query(&self) -> &str {
        self.grant.target.path_and_query()
    }

    /// Whether this is a tunnel.
    pub fn is_tunnel(&self) -> bool {
        self.grant.target.is_tunnel()
    }

    /// Checks the TLS hello in a tunnel: the server that it names is the judged host. An encrypted hello beside that name
    /// is let through: browsers send random bytes in its place (GREASE), and a real one names the server that unwraps it.
    /// A hello without a name hides where it goes, and is refused unless the rule says `hidden_server_name`.
    ///
    /// # Errors
    /// [`PermitError::ServerName`], [`PermitError::EncryptedName`] where a hello with another name or none is encrypted.
    pub fn check_hello(&self, hello: &TlsHello) -> Result<(), PermitError> {
        let hidden = self.grant.winner().is_some_and(|rule| rule.hidden_server_name);
        match hello.server_name.as_deref() {
            None if hidden => Ok(()),
            None if hello.encrypted => Err(PermitError::EncryptedName),
            name => self
                .check_server_name(name)
                .map_err(|error| if hello.encrypted && !hidden { PermitError::EncryptedName } else { error }),
        }
    }

    /// Checks the server name of the TLS hello in a tunnel, for hosts that read hellos themselves;
    /// [`ConnectPlan::check_hello`] also knows the rule.
    ///
    /// # Errors
    /// [`PermitError::ServerName`] where it is not the judged host. A judged address literal has none (RFC 6066
    /// section 3), so there it must be absent.
    pub fn check_server_name(&self, name: Option<&str>) -> Result<(), PermitError> {
        let judged = self.grant.target.host();
        let same = match name {
            None => matches!(judged, super::host::HostView::Ip(_)),
            Some(name) => {
                parse_literal(name).is_err() && Host::parse(name).is_ok_and(|host| host.view() == judged)
            }
        };
        if same { Ok(()) } else { Err(PermitError::ServerName) }
    }

    /// The byte limits of the rule.
    pub fn limits(&self) -> EgressLimits {
        self.grant.limits()
    }

    /// The rule.
    pub fn rule(&self) -> &RuleId {
        &self.rule
    }

    /// The worker that asked.
    pub fn worker(&self) -> &WorkerId {
        &self.grant.worker
    }

    /// The fence of its lease.
    pub fn fence(&self) -> Fence {
        self.grant.fence
    }

    /// When the lease ends, as it was known when the permit was redeemed. A tunnel ends no later.
    pub fn lease_expires(&self) -> Mono {
        self.grant.lease_expires
    }

    /// The digest of the policy that allowed it.
    pub fn policy(&self) -> Sha256Digest {
        self.grant.service.digest()
    }

    /// The names of the headers into which secrets go.
    pub fn injected(&self) -> impl Iterator<Item = &str> {
        let credentials = self.grant.credentials().iter().filter(|_| self.grant.is_tls());
        credentials.flat_map(Credential::headers)
    }

    /// Whether secrets go into the path or the query, so that [`ConnectPlan::target`] is what is sent.
    pub fn injects_target(&self) -> bool {
        self.grant.is_tls() && self.grant.credentials().iter().any(|own| own.place.is_in_target())
    }

    /// Path and query for the request line, with the secrets that go there; empty for a tunnel. Where no rule puts any there
    /// it is [`ConnectPlan::path_and_query`].
    ///
    /// # Errors
    /// [`PermitError::Secret`] for a required secret that is missing or cannot be used, [`PermitError::Echo`] where the rule
    /// masks what comes back.
    pub fn target(&self, store: &dyn SecretStore) -> Result<OutgoingTarget, PermitError> {
        self.unmasked()?;
        Ok(self.target_with(store, &mut Echoes::default())?)
    }

    fn target_with(
        &self,
        store: &dyn SecretStore,
        echoes: &mut Echoes,
    ) -> Result<OutgoingTarget, SecretError> {
        outgoing::build(self.path_and_query(), self.grant.credentials(), self.grant.is_tls(), store, echoes)
    }

    /// Whether secrets are masked in the answer, so that [`ConnectPlan::request`] makes what is sent and its
    /// [`echo`](OutgoingRequest::echo) says what is masked.
    pub fn masks_echoes(&self) -> bool {
        self.grant.is_tls() && self.grant.credentials().iter().any(|own| own.mask_echoes)
    }

    fn unmasked(&self) -> Result<(), EchoError> {
        if self.masks_echoes() { Err(EchoError::Needed) } else { Ok(()) }
    }

    /// What may be spoken in this tunnel.
    pub fn tunnel(&self) -> Tunnel {
        self.grant.winner().map(|rule| rule.tunnel).unwrap_or_default()
    }

    /// Whether the rule signs the request, so that [`ConnectPlan::request`] makes what is sent.
    pub fn signs(&self) -> bool {
        self.signatures().next().is_some()
    }

    /// Whether a signature covers the body, so that the whole body has to be there before anything is sent.
    pub fn signs_body(&self) -> bool {
        self.signatures().any(|(_, signer)| signer.needs_body())
    }

    fn signatures(&self) -> impl Iterator<Item = (&Credential, &Signer)> {
        let credentials = self.grant.credentials().iter().filter(|_| self.grant.is_tls());
        credentials.filter_map(|own| own.signer().map(|signer| (own, signer)))
    }

    /// The host as the Host field names it: with the port where it is not the scheme's own.
    pub fn authority(&self) -> String {
        let (host, port) = (self.host(), self.port());
        if port == self.scheme().default_port() { format!("{host}") } else { format!("{host}:{port}") }
    }

    /// What is sent: [`ConnectPlan::target`] and [`ConnectPlan::headers`], and the signatures over them where the rule
    /// signs. `now` is the wall clock; `body` may be [`SignedBody::Streamed`] unless [`ConnectPlan::signs_body`]. Where there
    /// is an [`echo`](OutgoingRequest::echo), the answer is checked and masked with it.
    ///
    /// # Errors
    /// As [`ConnectPlan::headers`], [`PermitError::Sign`], and [`PermitError::Echo`] for a secret that is too short to be masked.
    pub fn request(
        &self,
        fields: &[HeaderField<'_>],
        body: SignedBody<'_>,
        now: Wall,
        store: &dyn SecretStore,
    ) -> Result<OutgoingRequest, PermitError> {
        let mut echoes = Echoes::default();
        let target = self.target_with(store, &mut echoes)?;
        let mut headers = self.unsigned_headers(fields, store, &mut echoes)?;
        let claimed = fields.iter().find(|field| field.name.eq_ignore_ascii_case("x-amz-content-sha256"));
        for (credential, signer) in self.signatures() {
            let Some(key) = store.secret(&credential.secret)? else {
                if credential.required {
                    return Err(SecretError::Missing.into());
                }
                continue;
            };
            let request = sign::Request {
                method: self.method(),
                authority: &self.authority(),
                target: target.expose(),
                fields: headers.as_slice(),
                body,
                now,
            };
            let claimed = claimed.map(|field| field.value);
            let signed = signer.sign(&request, &credential.prefix, &key, claimed, store);
            let signed = signed.map_err(|error| match error {
                Unsigned::Sign(error) => PermitError::Sign(error),
                Unsigned::Secret(error) => PermitError::Secret(error),
            })?;
            for own in signed.iter().filter(|own| credential.mask_echoes && own.is_injected()) {
                let [_, written] = own.expose_value();
                echoes.written(written);
            }
            headers.extend(signed);
        }
        Ok(OutgoingRequest { target, headers, echo: echoes.into_mask()? })
    }

    /// The header fields for the upstream: the worker's, cleaned, with the secrets put in. In a tunnel there are none.
    ///
    /// # Errors
    /// [`PermitError::Headers`] for fields that are refused, [`PermitError::Secret`] for a required secret that is
    /// missing or cannot be used, [`PermitError::Sign`] where the rule signs its requests, [`PermitError::Echo`] where it masks
    /// what comes back.
    pub fn headers(
        &self,
        fields: &[HeaderField<'_>],
        store: &dyn SecretStore,
    ) -> Result<OutgoingHeaders, PermitError> {
        if self.signs() {
            return Err(SignError::Needed.into());
        }
        self.unmasked()?;
        self.unsigned_headers(fields, store, &mut Echoes::default())
    }

    fn unsigned_headers(
        &self,
        fields: &[HeaderField<'_>],
        store: &dyn SecretStore,
        echoes: &mut Echoes,
    ) -> Result<OutgoingHeaders, PermitError> {
        if self.is_tunnel() {
            return Ok(OutgoingHeaders::default());
        }
        header::check(fields, self.grant.credentials(), self.grant.overrides_allowed())?;
        Ok(header::build(fields, self.grant.credentials(), self.grant.is_tls(), store, echoes)?)
    }

    /// Whether the policy that allowed it is still in force. A tunnel that is open is to be judged again where it is not.
    pub fn is_in_force(&self) -> bool {
        self.grant.service.is_in_force()
    }

    pub(super) fn judged(&self) -> &Target {
        &self.grant.target
    }

    pub(super) fn chain(&self) -> Chain {
        self.grant.chain
    }

    pub(super) fn service(&self) -> &EgressProxyPolicyService {
        &self.grant.service
    }

    pub(super) fn credentials(&self) -> &[Credential] {
        self.grant.credentials()
    }

    pub(super) fn body_bytes(&self) -> Option<u64> {
        self.grant.body_bytes
    }
}
