//! The decision, in stages: everything that needs no address first, then every address.

use alloc::{borrow::Cow, string::String, vec::Vec};
use core::net::{IpAddr, SocketAddr};

use super::{
    Bearer, EgressProxyPolicyService, EgressRefusal, EgressRequest, LeaseCheck, LeaseStanding, LookupFailure,
    Mode, RedirectError, Scheme, Stage,
    header::{self, HeaderError},
    host::HostView,
    lease::stands,
    permit::{EgressPermit, Grant},
    policy::{Credential, NoRule, Place, Rule, Wanted},
    request::{Asked, Body},
    target::{Target, TargetError},
    verdict::{EgressVerdict, JudgedAddress, Passed, WouldRefuse},
};
use crate::{
    code::{self, Coded},
    time::Mono,
};

/// The most addresses of one name. More is no answer that a client needs.
pub const MAX_ANSWERS: usize = 64;

/// What is known after the first half of a decision.
#[must_use]
#[derive(Debug)]
#[allow(clippy::exhaustive_enums, clippy::large_enum_variant)]
pub enum Step {
    /// Decided: refused, or the host is an address literal. Nothing is to be looked up.
    Decided(EgressVerdict),
    /// Only the addresses are missing.
    Lookup(PendingLookup),
}

impl Step {
    /// The whole decision, where `lookup` answers names at once: for tests and for what has a resolver at hand.
    pub fn with_answers<A: IntoIterator<Item = IpAddr>>(
        self,
        lookup: impl FnOnce(&str) -> A,
    ) -> EgressVerdict {
        match self {
            Self::Decided(verdict) => verdict,
            Self::Lookup(pending) => {
                let answers = lookup(pending.name());
                pending.answers(answers)
            }
        }
    }

    /// As [`Step::with_answers`], where the lookup may fail.
    pub fn with_lookup<A: IntoIterator<Item = IpAddr>>(
        self,
        lookup: impl FnOnce(&str) -> Result<A, LookupFailure>,
    ) -> EgressVerdict {
        match self {
            Self::Decided(verdict) => verdict,
            Self::Lookup(pending) => match lookup(pending.name()) {
                Ok(answers) => pending.answers(answers),
                Err(failure) => pending.failed(failure),
            },
        }
    }
}

/// A request that is allowed as far as it can be without addresses. It takes the answers and is used up by them.
#[must_use = "a lookup that is not answered is a request that is not made"]
#[derive(Debug)]
pub struct PendingLookup {
    draft: Draft,
}

#[derive(Debug)]
struct Draft {
    grant: Grant,
    passed: Passed,
    would_refuse: Option<WouldRefuse>,
    now: Mono,
}

impl PendingLookup {
    /// The name to look up.
    pub fn name(&self) -> &str {
        match self.draft.grant.target.host() {
            HostView::Name(name) => name,
            HostView::Ip(_) => "",
        }
    }

    /// Judges every answer. One bad address refuses them all; no answer refuses too.
    ///
    /// The answers of one family are enough where the lookup of the other failed (RFC 8305 section 3): they are the answer,
    /// and the failure is none.
    pub fn answers(self, addresses: impl IntoIterator<Item = IpAddr>) -> EgressVerdict {
        self.draft.settle(addresses)
    }

    /// Refuses the request, because the lookup of every family failed.
    pub fn failed(self, failure: LookupFailure) -> EgressVerdict {
        let Draft { grant, passed, would_refuse, .. } = self.draft;
        EgressVerdict {
            passed,
            rule: Some((grant.service, grant.slot)),
            would_refuse,
            addresses: Vec::new(),
            outcome: Err((EgressRefusal::Lookup(failure), Some(grant.target))),
        }
        .traced()
    }
}

impl Draft {
    fn settle(mut self, addresses: impl IntoIterator<Item = IpAddr>) -> EgressVerdict {
        let mut judged: Vec<JudgedAddress> = Vec::new();
        let mut refusal = None;
        let looked_up = matches!(self.grant.target.host(), HostView::Name(_));
        for address in addresses.into_iter().take(MAX_ANSWERS.saturating_add(1)) {
            if judged.len() == MAX_ANSWERS {
                refusal = Some(EgressRefusal::TooManyAnswers);
                break;
            }
            let (verdict, denied) = self.grant.service.address(address);
            let declared = || {
                let rule = self.grant.service.rule(self.grant.slot).filter(|_| self.grant.matched);
                let reaches = |ip| rule.is_some_and(|rule: &Rule| rule.may_reach_private(ip));
                reaches(verdict.pinned) || reaches(verdict.judged)
            };
            let reachable = verdict.public || declared();
            let allowed = !denied && !verdict.floor && reachable;
            if !allowed && refusal.is_none() {
                let why = match verdict.floor_class {
                    _ if denied => code::EGRESS_ADDRESS_DENIED,
                    Some(floor) if reachable => floor.code(),
                    _ => verdict.code,
                };
                refusal = Some(EgressRefusal::Address(why));
            }
            judged.push(JudgedAddress { address, verdict, allowed });
        }
        if judged.is_empty() {
            refusal = Some(EgressRefusal::NoAnswer);
        }
        if looked_up && !judged.is_empty() && refusal != Some(EgressRefusal::TooManyAnswers) {
            self.passed.add(Stage::Dns);
        }
        let mut rule = None;
        let outcome = match refusal {
            Some(refusal) => {
                rule = Some((self.grant.service, self.grant.slot));
                Err((refusal, Some(self.grant.target)))
            }
            None => {
                self.passed.add(Stage::Address);
                let port = self.grant.target.port();
                for address in &judged {
                    let pin = SocketAddr::new(address.verdict.pinned, port);
                    if !self.grant.addresses.contains(&pin) {
                        self.grant.addresses.push(pin);
                    }
                }
                Ok(EgressPermit::new(self.grant, self.now))
            }
        };
        EgressVerdict {
            passed: self.passed,
            rule,
            would_refuse: self.would_refuse,
            addresses: judged,
            outcome,
        }
        .traced()
    }
}

/// What the stages pass on.
struct Judging {
    passed: Passed,
    target: Option<Target>,
    rule: Option<u32>,
    would_refuse: Option<WouldRefuse>,
}

impl EgressProxyPolicyService {
    /// Judges a request as far as that is possible without addresses: lease, URL, scheme, host, deny list, rules,
    /// limits, headers and credentials. Nothing needs to be looked up for a request that is refused anyway.
    ///
    /// Cost: O(labels of the host + rules that name it), whatever the size of the policy.
    pub fn judge(
        &self,
        request: &EgressRequest<'_>,
        bearer: &Bearer,
        leases: &dyn LeaseCheck,
        now: Mono,
    ) -> Step {
        let mut judging = Judging { passed: Passed::default(), target: None, rule: None, would_refuse: None };
        match self.stages(request, bearer, leases, now, &mut judging) {
            Err(refusal) => {
                let mut verdict = EgressVerdict::refused(judging.passed, refusal, judging.target);
                verdict.rule = judging.rule.map(|slot| (self.clone(), slot));
                verdict.would_refuse = judging.would_refuse;
                Step::Decided(verdict.traced())
            }
            Ok(grant) => {
                let literal = match grant.target.host() {
                    HostView::Ip(ip) => Some(ip),
                    HostView::Name(_) => None,
                };
                let draft = Draft { grant, passed: judging.passed, would_refuse: judging.would_refuse, now };
                match literal {
                    Some(ip) => Step::Decided(draft.settle([ip])),
                    None => Step::Lookup(PendingLookup { draft }),
                }
            }
        }
    }

    /// The whole decision in one call, where `lookup` gives the addresses of a name at once. It is asked only where a
    /// name is all that is missing; a lookup that failed answers nothing.
    ///
    /// ```
    /// use leasehold::egress::*;
    /// use leasehold::{id::WorkerId, lease::*, time::Mono};
    ///
    /// /// One lease, known here.
    /// struct Leases(LeaseStanding);
    /// impl LeaseCheck for Leases {
    ///     fn standing(&self, _: Fence, _: Mono) -> Result<LeaseStanding, LeaseRefusal> {
    ///         Ok(self.0.clone())
    ///     }
    /// }
    /// let worker = WorkerId::new("w1")?;
    /// let leases = Leases(LeaseStanding {
    ///     worker: worker.clone(),
    ///     expires: Mono(60_000),
    ///     egress: EgressScope::all(),
    ///     secrets: SecretScope::none(),
    /// });
    /// let bearer = Bearer { worker, fence: Fence::new(Epoch(1), 7) };
    ///
    /// let policy: EgressPolicy =
    ///     serde_json::from_str(r#"{"rules":[{"id":"api","hosts":["api.example.com"]}]}"#)?;
    /// let service = EgressProxyPolicyService::compile(&policy)?;
    /// let request = EgressRequest::url("GET", "https://api.example.com/v1");
    /// let verdict =
    ///     service.decide(&request, &bearer, &leases, Mono(0), |_| ["93.184.216.34".parse().unwrap()]);
    /// let plan = verdict.into_permit()?.redeem(&bearer, &leases, Mono(10))?;
    /// assert_eq!(plan.addresses(), ["93.184.216.34:443".parse()?]);
    ///
    /// let rebound = service.decide(&request, &bearer, &leases, Mono(0), |_| ["10.0.0.1".parse().unwrap()]);
    /// assert_eq!(rebound.code().as_str(), "egress.address.private");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn decide<A: IntoIterator<Item = IpAddr>>(
        &self,
        request: &EgressRequest<'_>,
        bearer: &Bearer,
        leases: &dyn LeaseCheck,
        now: Mono,
        lookup: impl FnOnce(&str) -> A,
    ) -> EgressVerdict {
        self.judge(request, bearer, leases, now).with_answers(lookup)
    }

    fn stages(
        &self,
        request: &EgressRequest<'_>,
        bearer: &Bearer,
        leases: &dyn LeaseCheck,
        now: Mono,
        judging: &mut Judging,
    ) -> Result<Grant, EgressRefusal> {
        let standing = stands(leases, bearer, now)?;
        if request.chain.hops > self.max_redirects() {
            return Err(RedirectError::TooMany(self.max_redirects()).into());
        }
        if request.chain.hops > 0 {
            judging.passed.add(Stage::Redirect);
        }
        let target = match (request.asked, request.method) {
            (Asked::Authority(authority), "CONNECT") => Target::parse_authority(authority),
            (Asked::Url(url), method) if method != "CONNECT" => Target::parse(url),
            _ => Err(TargetError::Form),
        }
        .map_err(EgressRefusal::from);
        let target = match target {
            Ok(target) => target,
            Err(refusal) => {
                if refusal.stage() != Stage::Url {
                    judging.passed.add(Stage::Url);
                }
                return Err(refusal);
            }
        };
        judging.passed.add(Stage::Url);
        let found = self.winner(request, &target, judging);
        let target = judging.target.insert(target);
        let (slot, matched) = found?;
        let rule = self.rule(slot).ok_or(EgressRefusal::HostNotAllowed)?;
        judging.rule = Some(slot);
        for stage in [Stage::Scheme, Stage::Host, Stage::Port, Stage::Method, Stage::Path] {
            judging.passed.add(stage);
        }
        if !standing.egress.contains(&rule.id) {
            return Err(EgressRefusal::RuleOutOfScope(rule.id.clone()));
        }
        judging.passed.add(Stage::Lease);
        if request.through.is_some_and(|id| *id != rule.id || !matched) {
            return Err(EgressRefusal::OtherRule);
        }

        let credentials = if matched { &*rule.credentials } else { &[] };
        let overrides_allowed = matched.then_some(&*rule.override_headers);
        let said = header::check(request.headers, credentials, overrides_allowed)?;
        let body_bytes = match (request.body, said) {
            (Body::Unsaid, said) => Some(said.unwrap_or(0)),
            (Body::Bytes(bytes), None) => Some(bytes),
            (Body::Bytes(bytes), Some(said)) if bytes == said => Some(bytes),
            (Body::Bytes(_), Some(_)) => return Err(HeaderError::Framing.into()),
            (Body::Unknown, said) => said,
        };
        if let (Some(bytes), Some(limit)) = (body_bytes, rule.limits.max_request_bytes)
            && bytes > limit
        {
            return Err(EgressRefusal::RequestTooLarge(limit));
        }
        judging.passed.add(Stage::Limits);
        check_credentials(credentials, target, &standing)?;
        judging.passed.add(Stage::Credentials);

        Ok(Grant {
            service: self.clone(),
            slot,
            matched,
            target: judging.target.take().ok_or(TargetError::Malformed)?,
            method: own_method(request.method),
            body_bytes,
            addresses: Vec::new(),
            worker: standing.worker,
            fence: bearer.fence,
            chain: request.chain,
            lease_expires: standing.expires,
        })
    }

    /// The rule that wins; in observe mode the first one where none does. And whether it matched.
    fn winner(
        &self,
        request: &EgressRequest<'_>,
        target: &Target,
        judging: &mut Judging,
    ) -> Result<(u32, bool), EgressRefusal> {
        let wanted = Wanted {
            scheme: target.scheme(),
            port: target.port(),
            method: request.method,
            path: target.path(),
        };
        let found = self.search(target.host(), &wanted).map_err(|_| EgressRefusal::HostDenied)?;
        let missed = match found {
            Ok(slot) => {
                check_method(request.method)?;
                return Ok((slot, true));
            }
            Err(missed) => missed,
        };
        for stage in passed_before(missed) {
            judging.passed.add(*stage);
        }
        let observed = self.mode() == Mode::Observe && missed != NoRule::Scheme;
        if observed || missed >= NoRule::Method {
            check_method(request.method)?;
        }
        let refusal = match missed {
            NoRule::Path if target.is_tunnel() => EgressRefusal::TunnelUnderPaths,
            missed => EgressRefusal::from(missed),
        };
        if !observed {
            return Err(refusal);
        }
        judging.would_refuse = Some(WouldRefuse { code: refusal.code(), stage: refusal.stage() });
        Ok((0, false))
    }
}

/// The usual methods need no allocation.
fn own_method(method: &str) -> Cow<'static, str> {
    let usual = ["GET", "POST", "CONNECT", "PUT", "HEAD", "DELETE", "PATCH", "OPTIONS"];
    match usual.into_iter().find(|known| *known == method) {
        Some(known) => Cow::Borrowed(known),
        None => Cow::Owned(String::from(method)),
    }
}

/// What no rule can make good, so that observing does not let it through either.
fn check_method(method: &str) -> Result<(), EgressRefusal> {
    if !header::is_token(method.as_bytes()) {
        return Err(EgressRefusal::MethodMalformed);
    }
    if method == "TRACE" { Err(EgressRefusal::Trace) } else { Ok(()) }
}

/// The stages that some rule for the host passed before every rule failed.
fn passed_before(missed: NoRule) -> &'static [Stage] {
    match missed {
        NoRule::Host => &[],
        NoRule::Scheme => &[Stage::Host],
        NoRule::Port => &[Stage::Scheme, Stage::Host],
        NoRule::Method => &[Stage::Scheme, Stage::Host, Stage::Port],
        NoRule::Path => &[Stage::Scheme, Stage::Host, Stage::Port, Stage::Method],
    }
}

fn check_credentials(
    credentials: &[Credential],
    target: &Target,
    standing: &LeaseStanding,
) -> Result<(), EgressRefusal> {
    let required = || credentials.iter().find(|credential| credential.required);
    let named = |credential: &Credential| credential.place.named();
    if target.is_tunnel()
        && let Some(credential) = required()
    {
        return Err(EgressRefusal::OpaqueTunnel(named(credential)));
    }
    if target.scheme() == Scheme::Http
        && let Some(credential) = required()
    {
        return Err(EgressRefusal::CredentialsNotTls(named(credential)));
    }
    let path = target.path().unwrap_or_default();
    let has_place = |credential: &&Credential| match &credential.place {
        Place::PathSegment(text) if credential.required => path.split('/').any(|segment| *segment == **text),
        _ => true,
    };
    if let Some(credential) = credentials.iter().find(|own| !has_place(own)) {
        return Err(EgressRefusal::NoPlace(named(credential)));
    }
    match credentials.iter().flat_map(Credential::secrets).find(|own| !standing.secrets.contains(own)) {
        Some(outside) => Err(EgressRefusal::SecretOutOfScope(outside.clone())),
        None => Ok(()),
    }
}
