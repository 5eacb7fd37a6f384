//! The egress proxy's socket side: reads a request, has it judged, and carries out what the permit allows.
//!
//! One request per connection, so that no verdict is ever used twice. Who asks is known by the certificate; under
//! which lease, by `proxy-authorization: Lease EPOCH.COUNTER`, which must be that worker's own and live.

use std::{
    collections::BTreeMap,
    io::Write,
    net::{IpAddr, TcpListener, TcpStream},
    sync::Arc,
    thread,
    time::Duration,
};

use leasehold::{
    attestation::{EgressBinding, signature::Ed25519Signer},
    digest::Sha256Digest,
    egress::{Bearer, ConnectPlan, EgressProxyPolicyService, EgressRequest, LeaseCheck},
    id::WorkerId,
    time::{Millis, Now},
};
use rustls::ServerConfig;
use serde_json::json;

use crate::{
    Failure,
    duplex::Duplex,
    escape::{self, shown},
    head::{self, Framing, Request},
    hexed::Bytes,
    note::Note,
    policy,
    relay::{self, IDLE, Moved, Streams, Timed},
    server::Seats,
};

mod asked;
#[cfg(test)]
mod tests;

use asked::{Asked, Refused, bad_head, hop_by_hop};

/// How long a request's head may take.
const HEAD: Duration = Duration::from_secs(5);
/// How long a whole exchange with an origin may take.
const EXCHANGE: Duration = Duration::from_secs(20);
/// The most bytes of a body where the rule has no limit of its own.
const MAX_BODY: u64 = 1 << 20;
/// How long a binding is good for.
const BINDING: Millis = Millis::from_secs(600);
/// Where a worker asks for the proxy's word that its traffic goes through here; a nonce in hex follows.
pub const BINDING_PATH: &str = "/.well-known/leasehold/binding?nonce=";

/// Everything that the proxy decides with.
pub struct Judgement {
    /// The policy.
    pub policy: EgressProxyPolicyService,
    /// Where names lead. There is no other resolver.
    pub names: BTreeMap<String, Vec<IpAddr>>,
    /// Whose certificate is whose.
    pub workers: BTreeMap<Sha256Digest, WorkerId>,
    /// Which leases are live.
    pub leases: Arc<dyn LeaseCheck + Send + Sync>,
    /// Signs that a worker's traffic goes through here.
    pub signer: Ed25519Signer,
    /// The time.
    pub clock: Arc<dyn Fn() -> Now + Send + Sync>,
    /// Who hears about it.
    pub tell: fn(&Note),
}

/// The proxy: what it decides with, and what is under way.
pub struct Proxy {
    judgement: Judgement,
    streams: Streams,
    seats: Seats,
}

impl Proxy {
    /// A proxy that decides with `judgement`.
    pub fn new(judgement: Judgement) -> Arc<Self> {
        Arc::new(Self { judgement, streams: Streams::default(), seats: Seats::default() })
    }

    /// Takes connections until the process ends.
    pub fn listen(self: &Arc<Self>, listener: TcpListener, config: Arc<ServerConfig>) -> Result<(), Failure> {
        let proxy = Arc::clone(self);
        thread::Builder::new().name("accept".into()).spawn(move || {
            for socket in listener.incoming().flatten() {
                // Over the bound nothing is read, and nobody waits for it.
                let Some(seat) = proxy.seats.take() else { continue };
                let (serving, config) = (Arc::clone(&proxy), Arc::clone(&config));
                // Without a thread the closure is dropped, and with it the socket and the place.
                let _ = thread::Builder::new().name("exchange".into()).spawn(move || {
                    serving.connection(socket, config);
                    drop(seat);
                });
            }
        })?;
        Ok(())
    }

    /// Cuts what moves under leases that are over.
    pub fn cut(&self) -> usize {
        let now = (self.judgement.clock)().mono;
        self.streams.cut(|fence| self.judgement.leases.standing(fence, now).is_ok())
    }

    fn tell(&self, note: &Note) {
        (self.judgement.tell)(note);
    }

    fn connection(&self, socket: TcpStream, config: Arc<ServerConfig>) {
        let duplex = match Duplex::accept(socket, config) {
            Ok(duplex) => duplex,
            Err(error) => {
                let (peer, act) = ("a stranger".into(), "TLS handshake with the proxy".into());
                let (code, message) = ("tls.handshake".into(), error.to_string());
                return self.tell(&Note::Refused { peer, act, code, message });
            }
        };
        if let Err(refused) = self.exchange(&duplex) {
            let body = json!({ "code": refused.code, "message": refused.message });
            // The same escaping as in logs: what a worker sent may stand in the message.
            let body = escape::line(&body).unwrap_or_default();
            let authenticate = if refused.status == 407 { "proxy-authenticate: Lease\r\n" } else { "" };
            let head = format!(
                "HTTP/1.1 {} Refused\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
                 leasehold-code: {}\r\n{authenticate}connection: close\r\n\r\n",
                refused.status,
                body.len(),
                shown(&refused.code),
            );
            // A peer that does not want to hear it misses it.
            let _ = duplex.write_all(&[head.into_bytes(), body].concat());
        }
        duplex.part();
    }

    /// The worker behind a connection's certificate.
    fn worker(&self, client: &Duplex) -> Result<(Sha256Digest, WorkerId), Refused> {
        let unpaired =
            || Refused::new(403, "proxy.device.unknown", "no worker of the fleet has this certificate");
        let certificate = client.peer().ok_or_else(unpaired)?;
        let worker = self.judgement.workers.get(&certificate).ok_or_else(unpaired)?;
        Ok((certificate, worker.clone()))
    }

    fn exchange(&self, client: &Duplex) -> Result<(), Refused> {
        let internal = |error: std::io::Error| Refused::new(500, "proxy.internal", error);
        client.set_timeouts(Some(IDLE), Some(IDLE)).map_err(internal)?;
        let refuse = |peer: &str, target: &str, asked: Option<&Asked>, refused: Refused| {
            self.tell(&Note::Egress {
                peer: peer.to_owned(),
                fence: asked.map(|asked| asked.fence),
                allowed: false,
                code: refused.code.clone(),
                message: shown(&refused.message),
                target: shown(target),
            });
            refused
        };
        let (certificate, worker) = self.worker(client).map_err(|no| refuse("a stranger", "", None, no))?;
        let peer = worker.as_str();
        let request = head::request(|buffer| client.read(buffer), HEAD)
            .map_err(|error| refuse(peer, "", None, bad_head(error)))?;
        if request.target.starts_with('/') {
            return self.answer(client, &request, certificate, worker);
        }
        let target = request.target.clone();
        let asked = Asked::read(request).map_err(|no| refuse(peer, &target, None, no))?;
        let plan =
            self.judge(&asked, worker.clone()).map_err(|no| refuse(peer, &target, Some(&asked), no))?;
        self.tell(&Note::Egress {
            peer: peer.to_owned(),
            fence: Some(asked.fence),
            allowed: true,
            code: "egress.allowed".into(),
            message: format!("rule {}", plan.rule()),
            target: shown(&target),
        });
        let moved = match plan.is_tunnel() {
            true => self.tunnel(client, &asked, &plan),
            false => self.forward(client, &asked, &plan),
        };
        match moved {
            Ok(Moved { sent, received }) => {
                self.tell(&Note::Moved { peer: peer.to_owned(), fence: asked.fence, sent, received });
                Ok(())
            }
            Err(refused) => {
                let (act, code) = (format!("carry out {}", shown(&target)), refused.code.clone());
                let message = shown(&refused.message);
                self.tell(&Note::Refused { peer: peer.to_owned(), act, code, message });
                Err(refused)
            }
        }
    }

    /// The decision, and its permit redeemed: what is dialled next is what was judged.
    fn judge(&self, asked: &Asked, worker: WorkerId) -> Result<ConnectPlan, Refused> {
        let Judgement { policy, names, leases, clock, .. } = &self.judgement;
        let fields = asked.header_fields();
        let request = match asked.method.as_str() {
            "CONNECT" => EgressRequest::tunnel(&asked.method, &asked.target),
            method => EgressRequest::url(method, &asked.target),
        };
        let request = request.headers(&fields).body_bytes(asked.body);
        let bearer = Bearer { worker, fence: asked.fence };
        let step = policy.judge(&request, &bearer, &**leases, clock().mono);
        let verdict = step.with_answers(|name| names.get(name).cloned().unwrap_or_default());
        let permit =
            verdict.into_permit().map_err(|refusal| Refused::coded(refusal.http_status(), &refusal))?;
        permit.redeem(&bearer, &**leases, clock().mono).map_err(|error| Refused::coded(403, &error))
    }

    /// A connection to the first of the pinned addresses that answers. No name is looked up here.
    fn dial(
        &self,
        client: &Duplex,
        plan: &ConnectPlan,
    ) -> Result<(TcpStream, relay::Registered<'_>), Refused> {
        let unreachable = |error: std::io::Error| Refused::new(502, "proxy.upstream.unreachable", error);
        let upstream = relay::dial(plan.addresses()).map_err(unreachable)?;
        let reached = upstream.peer_addr().map_err(unreachable)?;
        plan.confirm(reached).map_err(|error| Refused::coded(502, &error))?;
        let registered = self.streams.register(plan.fence(), client, &upstream).map_err(unreachable)?;
        // The lease may have ended between verdict and registration, and then nobody cut this one.
        let now = (self.judgement.clock)().mono;
        match self.judgement.leases.standing(plan.fence(), now) {
            Ok(_) => Ok((upstream, registered)),
            Err(over) => Err(Refused::coded(403, &over)),
        }
    }

    fn forward(&self, client: &Duplex, asked: &Asked, plan: &ConnectPlan) -> Result<Moved, Refused> {
        let failed = |error: std::io::Error| Refused::new(502, "proxy.upstream.failed", error);
        let limits = plan.limits();
        let timed = Timed::new(Reading(client), EXCHANGE);
        let max_request = limits.max_request_bytes.unwrap_or(MAX_BODY);
        let body = head::body(timed, asked.rest.clone(), Framing::Length(asked.body), max_request)
            .map_err(|error| Refused::new(413, "proxy.request.body", error))?;
        let fields =
            plan.headers(&asked.header_fields(), &()).map_err(|error| Refused::coded(400, &error))?;
        let (mut upstream, _registered) = self.dial(client, plan)?;
        let path = plan.path_and_query();
        let mut message =
            format!("{} {path} HTTP/1.1\r\nhost: {}:{}\r\n", plan.method(), plan.host(), plan.port())
                .into_bytes();
        for field in fields.iter() {
            message.extend([field.name().as_bytes(), b": "].concat());
            field.expose_value().iter().for_each(|part| message.extend(*part));
            message.extend(b"\r\n");
        }
        if !body.is_empty() {
            message.extend(format!("content-length: {}\r\n", body.len()).into_bytes());
        }
        message.extend(b"via: 1.1 leasehold\r\nconnection: close\r\n\r\n");
        message.extend(&body);
        upstream.write_all(&message).map_err(failed)?;
        let mut timed = Timed::new(&upstream, EXCHANGE);
        let response = head::response(|buffer| std::io::Read::read(&mut timed, buffer), IDLE)
            .map_err(|error| Refused::new(502, "proxy.upstream.head", Failure::from(error)))?;
        let framing = head::framing(&response.fields)
            .map_err(|error| Refused::new(502, "proxy.upstream.framing", Failure::from(error)))?;
        // These have no body, whatever their fields say (RFC 9112 section 6.3).
        let bodiless = plan.method() == "HEAD" || matches!(response.status, 100..=199 | 204 | 304);
        let framing = if bodiless { Framing::Length(0) } else { framing };
        // Read whole before a byte is passed on: an answer that is too long or cut is refused, not cut again.
        let max_response = limits.max_response_bytes.unwrap_or(MAX_BODY);
        let answer = head::body(timed, response.rest, framing, max_response)
            .map_err(|error| Refused::new(502, "proxy.upstream.body", error))?;
        let mut head = format!("HTTP/1.1 {} Origin\r\n", response.status).into_bytes();
        let own = hop_by_hop(&response.fields);
        for (name, value) in response.fields.iter().filter(|(name, _)| !own.contains(name)) {
            head.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
        }
        head.extend(format!("content-length: {}\r\nconnection: close\r\n\r\n", answer.len()).into_bytes());
        head.extend(&answer);
        // The worker's own connection; its end is seen there.
        let _ = client.write_all(&head);
        Ok(Moved { sent: message.len() as u64, received: answer.len() as u64 })
    }

    fn tunnel(&self, client: &Duplex, asked: &Asked, plan: &ConnectPlan) -> Result<Moved, Refused> {
        if !asked.rest.is_empty() {
            return Err(Refused::new(400, "proxy.connect.early", "bytes before the tunnel was open"));
        }
        // From here on a refusal is a closed connection: inside of the tunnel, HTTP would be the origin's word.
        let closed = |refused: Refused| {
            client.close();
            refused
        };
        client
            .write_all(b"HTTP/1.1 200 Open\r\n\r\n")
            .map_err(|error| closed(Refused::new(499, "proxy.client", error)))?;
        let (first, named) =
            relay::hello(client).map_err(|error| closed(Refused::new(403, "proxy.tunnel.hello", error)))?;
        plan.check_server_name(named.as_deref()).map_err(|error| closed(Refused::coded(403, &error)))?;
        let (upstream, _registered) = self.dial(client, plan).map_err(closed)?;
        let limits = plan.limits();
        let max_sent = limits.max_request_bytes.unwrap_or(MAX_BODY);
        let max_received = limits.max_response_bytes.unwrap_or(MAX_BODY);
        Ok(relay::tunnel(client, &upstream, &first, max_sent, max_received))
    }

    /// What is asked of the proxy itself: its signed word that this worker's traffic goes through it.
    fn answer(
        &self,
        client: &Duplex,
        request: &Request,
        certificate: Sha256Digest,
        worker: WorkerId,
    ) -> Result<(), Refused> {
        let nonce = request.target.strip_prefix(BINDING_PATH).filter(|_| request.method == "GET");
        let nonce = nonce.ok_or_else(|| Refused::new(404, "proxy.route.unknown", "no such page here"))?;
        let nonce: Bytes = serde_json::from_value(nonce.into())
            .map_err(|_| Refused::new(400, "proxy.binding.nonce", "a nonce is lowercase hex"))?;
        let issued = (self.judgement.clock)().wall;
        let internal = |error: &dyn ToString| Refused::new(500, "proxy.internal", error.to_string());
        let binding = EgressBinding {
            worker,
            audience: policy::fleet().map_err(|error| internal(&error))?,
            certificate,
            policy: self.judgement.policy.digest(),
            nonce: nonce.0,
            issued,
            expires: issued.plus(BINDING),
        };
        let sealed = binding.seal(&[&self.judgement.signer]).map_err(|error| internal(&error))?;
        let head =
            format!("HTTP/1.1 200 Signed\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", sealed.len());
        // A worker that is gone asks again when it is back.
        let _ = client.write_all(&[head.into_bytes(), sealed].concat());
        Ok(())
    }
}

/// A connection as a reader.
struct Reading<'a>(&'a Duplex);

impl std::io::Read for Reading<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(buffer)
    }
}
