//! An answer, and this crate's own.

use alloc::{
    borrow::ToOwned as _,
    format,
    string::{String, ToString as _},
    vec::Vec,
};
use core::net::IpAddr;

use serde::Deserialize;

use super::case::{Question, QuestionRequest};
use crate::{
    code::Coded as _,
    egress::{
        Bearer, ConnectPlan, EgressPolicy, EgressProxyPolicyService, EgressRequest, HeaderField, LeaseCheck,
        LeaseRefusal, LeaseStanding, PolicyError, Secret, SecretError, SecretStore, SignedBody,
        address::parse_literal,
    },
    id::WorkerId,
    lease::{EgressScope, Epoch, Fence, SecretRef, SecretScope},
    time::{Mono, Wall},
};

/// The part of an answer that cases are judged by.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Answer {
    /// Whether the request goes out.
    pub allow: bool,
    /// The stable code.
    #[serde(default)]
    pub code: String,
    /// The header fields as sent, secrets as `***`.
    #[serde(default)]
    pub headers: Vec<(String, String)>,
    /// One for each redirect that was looked at.
    #[serde(default)]
    pub hops: Vec<Hop>,
}

/// What became of a redirect.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Hop {
    /// Whether it is followed.
    pub allow: bool,
    /// The stable code.
    #[serde(default)]
    pub code: String,
    /// The header fields as sent.
    #[serde(default)]
    pub headers: Vec<(String, String)>,
}

impl Answer {
    /// The values of a header in the last request that goes out.
    pub(super) fn last_headers_named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let last = self.hops.iter().rfind(|hop| hop.allow).map_or(&self.headers, |hop| &hop.headers);
        let named = last.iter().filter(move |(own, _)| own.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.as_str())
    }

    pub(super) fn found(&self) -> String {
        match self.hops.last() {
            Some(hop) => format!("{}, then {}", self.code, hop.code),
            None => self.code.clone(),
        }
    }
}

/// The lease of every question: live, and allowed every rule and secret.
struct Live(Bearer);

impl LeaseCheck for Live {
    fn standing(&self, _: Fence, _: Mono) -> Result<LeaseStanding, LeaseRefusal> {
        Ok(LeaseStanding {
            worker: self.0.worker.clone(),
            expires: Mono::NEVER,
            egress: EgressScope::all(),
            secrets: SecretScope::all(),
        })
    }
}

/// Has every secret.
struct Vault;

impl SecretStore for Vault {
    fn secret(&self, _: &SecretRef) -> Result<Option<Secret>, SecretError> {
        Secret::new(b"assumed=".to_vec()).map(Some)
    }
}

/// This crate's decision as a program that answers questions.
pub(super) struct Judge {
    service: EgressProxyPolicyService,
    lease: Live,
}

impl Judge {
    pub(super) fn new(policy: &EgressPolicy) -> Result<Self, PolicyError> {
        let worker = WorkerId::new("attacker").expect("an id");
        let lease = Live(Bearer { worker, fence: Fence::new(Epoch(1), 1) });
        Ok(Self { service: EgressProxyPolicyService::compile(policy)?, lease })
    }

    pub(super) fn answer(&self, question: &Question) -> Answer {
        let lookup = |name: &str| -> Vec<IpAddr> {
            let answers = question.dns.get(name).map(Vec::as_slice).unwrap_or_default();
            answers.iter().filter_map(|text| parse_literal(text).ok()).collect()
        };
        let mut carried: Vec<(String, Vec<u8>)> = Vec::new();
        for (name, value) in &question.request.headers {
            carried.push((name.clone(), value.as_bytes().to_vec()));
        }
        let fields = borrowed(&carried);
        let Some(request) = request(&question.request) else {
            return Answer { code: "a request has a url or an authority".to_owned(), ..Answer::default() };
        };
        let (first, mut plan) = self.one(&request.headers(&fields), &fields, lookup);
        let mut answer =
            Answer { allow: first.allow, code: first.code, headers: first.headers, hops: Vec::new() };
        for redirect in &question.redirects {
            let Some(from) = plan.take() else { break };
            let fields = borrowed(&carried);
            let next = match from.redirect(redirect.status, Some(&redirect.location), &fields) {
                Ok(next) => next,
                Err(error) => {
                    answer.hops.push(Hop { code: error.code().to_string(), ..Hop::default() });
                    break;
                }
            };
            let fields = next.fields();
            let (hop, reached) = self.one(&next.request(&fields), &fields, lookup);
            answer.hops.push(hop);
            plan = reached;
            carried = fields.iter().map(|field| (field.name.to_string(), field.value.to_vec())).collect();
        }
        answer
    }

    fn one(
        &self,
        request: &EgressRequest<'_>,
        fields: &[HeaderField<'_>],
        lookup: impl Fn(&str) -> Vec<IpAddr>,
    ) -> (Hop, Option<ConnectPlan>) {
        let refused = |code: crate::code::Code| Hop { code: code.to_string(), ..Hop::default() };
        let verdict = self.service.decide(request, &self.lease.0, &self.lease, Mono::START, lookup);
        let code = verdict.code();
        let permit = match verdict.into_permit() {
            Ok(permit) => permit,
            Err(refusal) => return (refused(refusal.code()), None),
        };
        let plan = match permit.redeem(&self.lease.0, &self.lease, Mono::START) {
            Ok(plan) => plan,
            Err(error) => return (refused(error.code()), None),
        };
        let body = SignedBody::Whole(&[]);
        let headers = match plan.request(fields, body, Wall::START, &Vault) {
            Ok(sent) => sent.headers,
            Err(error) => return (refused(error.code()), None),
        };
        let headers = headers.iter().map(|header| (header.name().to_string(), header.shown().to_string()));
        (Hop { allow: true, code: code.to_string(), headers: headers.collect() }, Some(plan))
    }
}

fn borrowed(fields: &[(String, Vec<u8>)]) -> Vec<HeaderField<'_>> {
    fields.iter().map(|(name, value)| HeaderField { name, value }).collect()
}

fn request(request: &QuestionRequest) -> Option<EgressRequest<'_>> {
    match (&request.url, &request.authority) {
        (Some(url), None) => Some(EgressRequest::url(&request.method, url)),
        (None, Some(authority)) => Some(EgressRequest::tunnel(&request.method, authority)),
        _ => None,
    }
}
