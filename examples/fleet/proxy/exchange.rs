//! One connection: read a request, find out who asks, have it judged, and carry it out.

use std::time::Instant;

use leasehold::{
    egress::{
        Bearer, ConnectPlan, EgressEvent, EgressRequest, HeaderField, Routed, Step,
        http1::{Field, Framing, RequestForm, RequestHead},
    },
    id::WorkerId,
};

use super::{
    Moved, OwnRequest, Proxy, Record, Refused,
    channel::Channel,
    dial::{Registered, dial},
    forward,
    refused::{CLIENT_GONE, LOOP, MAX_FORWARDS},
    tunnel,
    wire::{self, HeadError},
};

/// A request as it is judged and sent on.
pub struct Asked {
    /// Who asks.
    pub bearer: Bearer,
    /// The method.
    pub method: String,
    /// The target as it was written.
    pub target: String,
    /// The fields, without those that were for this proxy.
    pub fields: Vec<Field>,
    /// Where the body ends.
    pub framing: Framing,
    /// The bytes that came behind the head.
    pub early: Vec<u8>,
    /// Whether the client waits to be told to send the body.
    pub waits: bool,
    /// The client's minor version.
    pub minor: u8,
}

impl Asked {
    /// The fields as the library takes them.
    pub fn header_fields(&self) -> Vec<HeaderField<'_>> {
        self.fields.iter().map(|(name, value)| HeaderField { name, value }).collect()
    }
}

/// What stopped a request that was allowed.
pub struct Stopped {
    /// Why.
    pub refused: Refused,
    /// What had moved by then.
    pub moved: Moved,
    /// Whether the client has begun to hear the origin: a refusal would be read as the origin's word.
    pub begun: bool,
}

impl From<Refused> for Stopped {
    fn from(refused: Refused) -> Self {
        Self { refused, moved: Moved::default(), begun: false }
    }
}

/// Serves one connection to its end.
pub fn serve(proxy: &Proxy, client: &Channel, address: &str) {
    let certificate = client.certificate();
    let worker = certificate.and_then(|shown| proxy.setup.identities.workers.get(&shown));
    let peer = worker.map_or(address, WorkerId::as_str);
    match exchange(proxy, client, peer) {
        Ok(()) => client.part(),
        Err(None) => client.close(),
        Err(Some(refused)) => {
            // A peer that does not want to hear it misses it.
            let _ = client.write_all(&refused.answer());
            client.part();
        }
    }
}

/// `Err(None)`: the connection is cut without a word.
fn exchange(proxy: &Proxy, client: &Channel, peer: &str) -> Result<(), Option<Refused>> {
    let times = proxy.setup.times;
    let deadline = Instant::now() + times.head;
    let unjudged = |target: &str, refused: Refused| {
        let record =
            Record::Unjudged { peer: peer.to_owned(), target: target.to_owned(), refused: refused.clone() };
        proxy.tell(record);
        Some(refused)
    };
    client.set_idle(times.head).map_err(|_| None)?;
    let (head, early) = match wire::request(|buffer| client.read(buffer, Some(deadline)), times.head) {
        Ok(read) => read,
        // A connection that was opened for later and not used.
        Err(HeadError::Nothing) => return Err(None),
        Err(error) => return Err(unjudged("", Refused::head(&error))),
    };
    client.set_idle(times.idle).map_err(|_| None)?;
    let asked = admit(proxy, client, &head, early).map_err(|refused| unjudged(&head.target, refused))?;
    let Some(asked) = asked else { return Ok(()) };
    let plan = judge(proxy, &head, &asked).map_err(Some)?;
    let (bearer, target) = (asked.bearer.clone(), asked.target.clone());
    let outcome = match plan.is_tunnel() {
        true => tunnel::carry(proxy, client, &asked, &plan),
        false => forward::carry(proxy, client, &asked, &plan),
    };
    match outcome {
        Ok(moved) => {
            proxy.tell(Record::Moved { bearer, target, moved });
            Ok(())
        }
        Err(Stopped { refused, moved, begun }) => {
            proxy.tell(Record::Failed { bearer, target, refused: refused.clone(), moved });
            Err((!begun).then_some(refused))
        }
    }
}

/// Everything before the judgement. `None`: it was a page of the proxy's own, and it was answered.
fn admit(
    proxy: &Proxy,
    client: &Channel,
    head: &RequestHead,
    early: Vec<u8>,
) -> Result<Option<Asked>, Refused> {
    let setup = &proxy.setup;
    let malformed = |error: leasehold::egress::http1::HttpError| Refused::coded(error.http_status(), &error);
    let framing = head.framing().map_err(malformed)?;
    let form = head.form().map_err(malformed)?;
    let certificate = client.certificate();
    if let RequestForm::Own(_) = form {
        let worker = certificate.and_then(|shown| setup.identities.workers.get(&shown));
        let own = OwnRequest { head, certificate, worker, policy: proxy.policy().digest() };
        let body = (setup.pages)(&own)?;
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
        // A client that is gone asks again when it is back.
        let _ = client.write_all(&[head.into_bytes(), body].concat());
        return Ok(None);
    }
    let routed = matches!(form, RequestForm::Route(_));
    let (bearer, used) = setup.identities.bearer(certificate, head, routed)?;
    let values = |name: &str| {
        let own = head.fields.iter().filter(move |(own, _)| own == name);
        own.map(|(_, value)| String::from_utf8_lossy(value).to_ascii_lowercase()).collect::<Vec<_>>()
    };
    if values("via").iter().any(|via| came_by(via, &setup.name)) {
        return Err(Refused::new(403, LOOP, "the request was here before"));
    }
    let mut fields = head.fields.clone();
    if matches!(head.method.as_str(), "OPTIONS" | "TRACE") {
        forwards(&mut fields)?;
    }
    let waits = head.minor > 0 && values("expect").iter().any(|value| value == "100-continue");
    // The proxy answers for itself; what it tells the origin about the body is its own.
    fields.retain(|(name, _)| {
        !matches!(name.as_str(), "proxy-authorization" | "expect") && !used.contains(&name.as_str())
    });
    let (method, target) = (head.method.clone(), head.target.clone());
    Ok(Some(Asked { bearer, method, target, fields, framing, early, waits, minor: head.minor }))
}

/// Whether `via` names this proxy: `protocol name`, separated by commas (RFC 9110 section 7.6.3).
fn came_by(via: &str, name: &str) -> bool {
    via.split(',')
        .any(|entry| entry.split_whitespace().nth(1).is_some_and(|by| by.eq_ignore_ascii_case(name)))
}

/// Max-Forwards (RFC 9110 section 7.6.2): at zero the request goes no further, else it is one less.
fn forwards(fields: &mut [Field]) -> Result<(), Refused> {
    let used_up = || Refused::new(403, MAX_FORWARDS, "Max-Forwards is used up, or no number");
    for (_, value) in fields.iter_mut().filter(|(name, _)| name == "max-forwards") {
        let text =
            std::str::from_utf8(value).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        let left: u64 = text.and_then(|text| text.parse().ok()).ok_or_else(used_up)?;
        *value = left.checked_sub(1).ok_or_else(used_up)?.to_string().into_bytes();
    }
    Ok(())
}

/// The decision, and its permit redeemed: what is dialled next is what was judged.
fn judge(proxy: &Proxy, head: &RequestHead, asked: &Asked) -> Result<ConnectPlan, Refused> {
    let setup = &proxy.setup;
    // One policy for the whole decision, whatever is put into force meanwhile.
    let policy = proxy.policy();
    let unjudged = |refused: Refused| {
        let peer = asked.bearer.worker.as_str().to_owned();
        proxy.tell(Record::Unjudged { peer, target: asked.target.clone(), refused: refused.clone() });
        refused
    };
    let form = head.form().map_err(|error| unjudged(Refused::coded(error.http_status(), &error)))?;
    let routed: Routed;
    let request = match form {
        RequestForm::Tunnel(authority) => EgressRequest::tunnel(&asked.method, authority),
        RequestForm::Route(path) => {
            routed = policy.route(path).map_err(|error| unjudged(Refused::coded(403, &error)))?;
            routed.request(&asked.method)
        }
        RequestForm::Url(target) | RequestForm::Own(target) => EgressRequest::url(&asked.method, target),
    };
    let fields = asked.header_fields();
    let request = match asked.framing {
        Framing::Length(bytes) => request.headers(&fields).body_bytes(bytes),
        _ => request.headers(&fields).body_of_unknown_size(),
    };
    let verdict = match policy.judge(&request, &asked.bearer, &*setup.leases, proxy.now()) {
        Step::Decided(verdict) => verdict,
        Step::Lookup(pending) => {
            let answers = (setup.names)(pending.name());
            pending.answers(answers)
        }
    };
    let event = EgressEvent::of(&verdict, &request, &asked.bearer, policy.digest(), proxy.now());
    let message = match (verdict.refusal(), verdict.rule()) {
        (Some(refusal), _) => refusal.to_string(),
        (None, rule) => format!("rule {}", rule.map_or("", |rule| rule.as_str())),
    };
    proxy.tell(Record::Judged { event: Box::new(event), target: asked.target.clone(), message });
    let permit = verdict.into_permit().map_err(|refusal| Refused::coded(refusal.http_status(), &refusal))?;
    let redeemed = permit.redeem(&asked.bearer, &*setup.leases, proxy.now());
    let plan = redeemed.map_err(|error| unjudged(Refused::coded(403, &error)))?;
    let admitted = proxy.spend(asked.bearer.fence, |budget| budget.admit(&plan));
    admitted.map_err(|error| unjudged(Refused::coded(429, &error)))?;
    Ok(plan)
}

/// A connection to a pinned address, on the list of what is cut when the lease ends. `with` makes a channel of it.
pub fn connect<'a>(
    proxy: &'a Proxy,
    client: &Channel,
    plan: &ConnectPlan,
    with: impl FnOnce(std::net::TcpStream) -> Result<Channel, Refused>,
) -> Result<(Channel, Registered<'a>), Refused> {
    let setup = &proxy.setup;
    let upstream = with(dial(plan, &proxy.own(), setup.times.connect)?)?;
    let registered = proxy.streams.register(plan.fence(), client, &upstream);
    // The lease may have ended between verdict and registration, and then nobody cut this one.
    if let Err(over) = setup.leases.standing(plan.fence(), proxy.now()) {
        return Err(Refused::coded(403, &over));
    }
    upstream.set_idle(setup.times.idle).map_err(|error| Refused::new(500, CLIENT_GONE, error))?;
    Ok((upstream, registered))
}
