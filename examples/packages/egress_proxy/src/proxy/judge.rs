//! The decision, and its permit redeemed: what is dialled next is what was judged.

use leasehold::egress::{ConnectPlan, EgressEvent, EgressRequest, LeaseCheck, Routed, Step, http1::Framing};

use super::{
    Proxy, Record, Refused,
    ask::{Asked, Form},
};

/// Judges `asked` under the policy in force.
pub async fn judge(proxy: &Proxy, asked: &Asked) -> Result<ConnectPlan, Refused> {
    let setup = &proxy.setup;
    let leases: &(dyn LeaseCheck + Send + Sync) = &*setup.leases;
    // One policy for the whole decision, whatever is put into force meanwhile.
    let policy = proxy.policy();
    let unjudged = |refused: Refused| {
        let peer = asked.bearer.worker.as_str().to_owned();
        proxy.tell(Record::Unjudged { peer, target: asked.shown(), refused: refused.clone() });
        refused
    };
    let routed: Routed;
    let request = match &asked.form {
        Form::Tunnel(authority) => EgressRequest::tunnel(&asked.method, authority),
        Form::Route(path) => {
            routed = policy.route(path).map_err(|error| unjudged(Refused::coded(403, &error)))?;
            routed.request(&asked.method)
        }
        Form::Url(target) => EgressRequest::url(&asked.method, target),
    };
    let fields = asked.header_fields();
    let request = match asked.framing {
        Framing::Length(bytes) => request.headers(&fields).body_bytes(bytes),
        _ => request.headers(&fields).body_of_unknown_size(),
    };
    let verdict = match policy.judge(&request, &asked.bearer, leases, proxy.now()) {
        Step::Decided(verdict) => verdict,
        Step::Lookup(pending) => match setup.names.addresses(pending.name()).await {
            Ok(addresses) => pending.answers(addresses),
            Err(failure) => pending.failed(failure),
        },
    };
    let event = EgressEvent::of(&verdict, &request, &asked.bearer, policy.digest(), proxy.now());
    let message = match (verdict.refusal(), verdict.rule()) {
        (Some(refusal), _) => refusal.to_string(),
        (None, rule) => format!("rule {}", rule.map_or("", |rule| rule.as_str())),
    };
    proxy.tell(Record::Judged { event: Box::new(event), target: asked.shown(), message });
    let permit = verdict.into_permit().map_err(|refusal| Refused::coded(refusal.http_status(), &refusal))?;
    // A policy that was put into force meanwhile counts: the client asks again, and is judged by that one.
    let redeemed = permit.redeem_under(&proxy.policy(), &asked.bearer, leases, proxy.now());
    redeemed.map_err(|error| unjudged(Refused::coded(403, &error)))
}
