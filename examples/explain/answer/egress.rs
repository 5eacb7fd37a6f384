//! Kind `egress`: one request, and the redirects that answer it, under one policy. A live lease is assumed.

use std::{collections::BTreeMap, net::IpAddr};

use leasehold::{
    code::{self, Coded},
    egress::{
        Bearer, ConnectPlan, EgressPolicy, EgressProxyPolicyService, EgressRequest, EgressVerdict,
        HeaderField, LeaseCheck, LeaseRefusal, LeaseStanding, LookupFailure, NextRequest, Secret,
        SecretError, SecretStore, SignedBody, Stage, address::parse_literal,
    },
    id::WorkerId,
    lease::{EgressScope, Epoch, Fence, SecretRef, SecretScope},
    time::{Mono, Wall},
};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::{Value, json};

use super::{Refused, strict_line};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    #[serde(rename = "kind")]
    _kind: IgnoredAny,
    #[serde(rename = "id", default)]
    _id: IgnoredAny,
    policy: EgressPolicy,
    request: Request,
    #[serde(default)]
    dns: BTreeMap<String, Answers>,
    #[serde(default)]
    redirects: Vec<Redirect>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    method: String,
    url: Option<String>,
    authority: Option<String>,
    #[serde(default)]
    headers: Vec<(String, String)>,
    body_bytes: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Redirect {
    status: u16,
    location: Option<String>,
}

/// What a name is answered with.
#[derive(Deserialize)]
#[serde(untagged)]
enum Answers {
    Addresses(Vec<String>),
    Failure(Failed),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Failed {
    failure: LookupFailure,
}

/// The lease that this kind assumes: live, and allowed every rule and secret of the policy.
struct AssumedLease(Bearer);

impl LeaseCheck for AssumedLease {
    fn standing(&self, _fence: Fence, _now: Mono) -> Result<LeaseStanding, LeaseRefusal> {
        Ok(LeaseStanding {
            worker: self.0.worker.clone(),
            expires: Mono::NEVER,
            egress: EgressScope::all(),
            secrets: SecretScope::all(),
        })
    }
}

/// A store that has every secret. Its values are shown as `***` like all others.
struct AssumedStore;

impl SecretStore for AssumedStore {
    fn secret(&self, _reference: &SecretRef) -> Result<Option<Secret>, SecretError> {
        // As long as base64 wants it, which a rule may ask for.
        Secret::new(b"assumed=".to_vec()).map(Some)
    }
}

type Dns = BTreeMap<String, Result<Vec<IpAddr>, LookupFailure>>;

/// Names of documents in the spelling in which names are looked up.
fn dns(names: &BTreeMap<String, Answers>) -> Result<Dns, Refused> {
    let mut dns = Dns::new();
    for (name, answers) in names {
        let found = match answers {
            Answers::Failure(failed) => Err(failed.failure),
            Answers::Addresses(texts) => {
                let parsed: Result<Vec<IpAddr>, _> = texts.iter().map(|text| parse_literal(text)).collect();
                Ok(parsed.map_err(|error| Refused::new(error.code(), format!("dns {name}: {error}")))?)
            }
        };
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        dns.insert(name, found);
    }
    Ok(dns)
}

struct Judge {
    service: EgressProxyPolicyService,
    lease: AssumedLease,
    dns: Dns,
}

impl Judge {
    fn judge(&self, request: &EgressRequest<'_>) -> EgressVerdict {
        self.service
            .judge(request, &self.lease.0, &self.lease, Mono::START)
            .with_lookup(|name| self.dns.get(name).cloned().unwrap_or_else(|| Ok(Vec::new())))
    }

    /// The answer to one request, and the plan where it is allowed.
    fn answer(
        &self,
        request: &EgressRequest<'_>,
        fields: &[HeaderField<'_>],
    ) -> (Value, Option<ConnectPlan>) {
        let verdict = self.judge(request);
        let checks: Vec<Value> =
            verdict.checks().map(|check| json!({"stage": check.stage, "code": check.code})).collect();
        let would_refuse = verdict.would_refuse();
        let rule = verdict.rule().cloned();
        if let Some(refusal) = verdict.refusal() {
            return (
                refused(refusal.stage(), refusal, &checks, rule.as_ref().map(|rule| rule.as_str())),
                None,
            );
        }
        let plan = verdict
            .into_permit()
            .map_err(|refusal| (refusal.stage(), refusal.code(), refusal.to_string()))
            .and_then(|permit| {
                let redeemed = permit.redeem(&self.lease.0, &self.lease, Mono::START);
                redeemed.map_err(|error| (Stage::Lease, error.code(), error.to_string()))
            })
            .and_then(|plan| {
                // What is signed is shown as stars, so neither the time nor the body changes the answer.
                let sent = plan.request(fields, SignedBody::Whole(&[]), Wall::START, &AssumedStore);
                match sent.map(|sent| (sent.headers, sent.target)) {
                    Ok((headers, target)) => Ok((plan, headers, target)),
                    Err(error) => Err((Stage::Credentials, error.code(), error.to_string())),
                }
            });
        let (plan, headers, target) = match plan {
            Ok(all) => all,
            Err((stage, code, message)) => {
                return (json!({"allow": false, "code": code, "stage": stage, "message": message}), None);
            }
        };
        let headers: Vec<[String; 2]> =
            headers.iter().map(|header| [header.name().to_string(), header.shown().to_string()]).collect();
        let mut answer = json!({
            "allow": true,
            "code": code::EGRESS_ALLOWED,
            "rule": plan.rule(),
            "scheme": plan.scheme(),
            "host": plan.host().to_string().trim_matches(['[', ']']),
            "port": plan.port(),
            "url": plan.url(),
            "method": plan.method(),
            "addresses": plan.addresses(),
            "inject": plan.injected().collect::<Vec<_>>(),
            "headers": headers,
            "target": target.to_string(),
            "limits": plan.limits(),
            "policy": plan.policy(),
            "checks": checks,
            "hops": [],
        });
        if let (Some(would), Some(object)) = (would_refuse, answer.as_object_mut()) {
            object.insert("would_refuse".into(), json!(would));
        }
        (answer, Some(plan))
    }
}

fn refused(stage: Stage, refusal: &dyn Coded, checks: &[Value], rule: Option<&str>) -> Value {
    json!({
        "allow": false,
        "code": refusal.code(),
        "message": refusal.to_string(),
        "stage": stage,
        "rule": rule,
        "checks": checks,
    })
}

pub fn answer(line: &[u8]) -> Result<Value, Refused> {
    let question: Question = strict_line(line)?;
    let service = EgressProxyPolicyService::compile(&question.policy)
        .map_err(|error| Refused::new(error.code(), error.to_string()))?;
    let worker = WorkerId::new("explain").map_err(|error| Refused::new(error.code(), error.to_string()))?;
    let lease = AssumedLease(Bearer { worker, fence: Fence::new(Epoch(1), 1) });
    let judge = Judge { service, lease, dns: dns(&question.dns)? };

    let asked = &question.request;
    let fields: Vec<HeaderField<'_>> =
        asked.headers.iter().map(|(name, value)| HeaderField { name, value: value.as_bytes() }).collect();
    let request = match (&asked.url, &asked.authority) {
        (Some(url), None) => EgressRequest::url(&asked.method, url),
        (None, Some(authority)) => EgressRequest::tunnel(&asked.method, authority),
        _ => return Err(Refused::new(code::EXPLAIN_MALFORMED, "a request has a url or an authority")),
    };
    let request = match asked.body_bytes {
        Some(bytes) => request.headers(&fields).body_bytes(bytes),
        None => request.headers(&fields),
    };

    let (mut first, mut plan) = judge.answer(&request, &fields);
    let mut hops = Vec::new();
    let mut carried: Vec<(String, Vec<u8>)> =
        fields.iter().map(|field| (field.name.to_string(), field.value.to_vec())).collect();
    for redirect in &question.redirects {
        let Some(from) = plan.take() else { break };
        let own: Vec<HeaderField<'_>> =
            carried.iter().map(|(name, value)| HeaderField { name, value }).collect();
        let next: NextRequest = match from.redirect(redirect.status, redirect.location.as_deref(), &own) {
            Ok(next) => next,
            Err(error) => {
                hops.push(refused(Stage::Redirect, &error, &[], None));
                break;
            }
        };
        let fields = next.fields();
        let (hop, reached) = judge.answer(&next.request(&fields), &fields);
        hops.push(hop);
        plan = reached;
        carried = fields.iter().map(|field| (field.name.to_string(), field.value.to_vec())).collect();
    }
    if let Some(place) = first.get_mut("hops") {
        *place = Value::Array(hops);
    }
    Ok(first)
}
