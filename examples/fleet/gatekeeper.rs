//! The egress proxy's process: follows the coordinator's leases, and runs the proxy that asks them before every permit.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::{Arc, mpsc::channel},
};

use leasehold::{
    attestation::{EgressBinding, signature::Ed25519Signer},
    egress::{BudgetLimits, EgressProxyPolicyService, LeaseCheck},
    gate::{GateEvent, ViewRules},
    id::WorkerId,
    shell::SystemClock,
    time::{Clock, Millis},
};

use crate::{
    Failure, boot,
    child::{self, Order},
    escape::shown,
    hexed::Bytes,
    policy,
    process_log::{LogEntry, tell},
    proxy::{
        Identities, OwnRequest, Proxy, Record, Refused, Setup, Times,
        feed::{Feed, Leases},
        refused::{DEVICE_UNKNOWN, NO_SUCH_PAGE},
    },
    tls,
};

/// The most leases in view.
const MAX_LEASES: usize = 10_000;
/// How long a binding is good for.
const BINDING: Millis = Millis::from_secs(600);
/// Where a worker asks for the proxy's word that its traffic goes through here; a nonce in hex follows.
pub const BINDING_PATH: &str = "/.well-known/leasehold/binding?nonce=";

/// What the proxy of the show is made of. Names lead to loopback or nowhere.
pub fn setup(
    policy: EgressProxyPolicyService,
    identities: Identities,
    leases: Arc<dyn LeaseCheck + Send + Sync>,
    clock: Arc<dyn Clock + Send + Sync>,
    signer: Ed25519Signer,
    origins: Arc<rustls::ClientConfig>,
) -> Setup {
    let now = Arc::clone(&clock);
    Setup {
        policy,
        names: Box::new(|name| match name {
            policy::ORIGIN => vec![Ipv4Addr::LOCALHOST.into()],
            _ => Vec::new(),
        }),
        identities,
        leases,
        secrets: Box::new(()),
        upstream: origins,
        clock,
        pages: Box::new(move |asked| binding(asked, &signer, &*now)),
        sink: Box::new(|record| tell(&log_entry(record))),
        times: Times::default(),
        budget: BudgetLimits::default(),
        max_body: 1 << 20,
        connections: 256,
        name: "leasehold-fleet".into(),
    }
}

/// The egress proxy's process.
pub fn run() -> Result<(), Failure> {
    let boot: boot::Proxy = child::boot()?;
    let clock: Arc<dyn Clock + Send + Sync> = Arc::new(SystemClock::start());
    let rules = policy::leases();
    let rules =
        ViewRules::new(rules.max_staleness_ms, rules.clock_budget_ms, MAX_LEASES).map_err(Failure::coded)?;
    let leases = Leases::new(boot.coordinator.fingerprint, rules);
    let Bytes(seed) = boot.signing_seed;
    let seed = seed.as_slice().try_into().map_err(|_| Failure::new("a seed has 32 bytes"))?;
    let workers = boot.devices.iter().map(|paired| (paired.fingerprint(), paired.worker.clone()));
    let config = tls::client(Some(&boot.identity), &boot.root)?;
    let proxy = Proxy::new(setup(
        EgressProxyPolicyService::compile(&policy::egress(boot.origin)?).map_err(Failure::coded)?,
        Identities { workers: workers.collect(), keys: Vec::new() },
        Arc::clone(&leases) as Arc<dyn LeaseCheck + Send + Sync>,
        Arc::clone(&clock),
        Ed25519Signer::from_seed("proxy", seed),
        // Origins of this show are reached by tunnels, in which the worker checks the certificate.
        Arc::clone(&config),
    ));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = listener.local_addr()?.port();
    proxy.listen(listener, Some(tls::mutual_server(&boot.identity, &boot.root)?))?;
    let (stop, stopped) = channel();
    child::orders(move |order| {
        // Leases end when their runs do; nothing of this process drains.
        if matches!(order, Order::Stop) {
            let _ = stop.send(());
        }
    });
    let feed = Feed {
        address: SocketAddr::from((Ipv4Addr::LOCALHOST, boot.coordinator.port)),
        name: tls::COORDINATOR.to_owned(),
        fingerprint: boot.coordinator.fingerprint,
        config,
        clock,
        leases,
    };
    let mut announce = Some(port);
    feed.follow(move |event| match event {
        GateEvent::Synced { .. } => {
            // Workers come when there is somebody who knows their leases.
            if let Some(port) = announce.take() {
                tell(&LogEntry::Listening { port });
            }
        }
        // Whatever ended a lease, nothing moves under it any more. A feed that is lost ends them all in time.
        GateEvent::LeaseEnded { .. } => {
            proxy.cut();
        }
        _ => {}
    })?;
    // Also when whoever gives orders is gone.
    let _ = stopped.recv();
    Ok(())
}

/// The proxy's signed word that this worker's traffic goes through it: about the worker whose certificate asks.
fn binding(asked: &OwnRequest<'_>, signer: &Ed25519Signer, clock: &dyn Clock) -> Result<Vec<u8>, Refused> {
    let nonce = asked.head.target.strip_prefix(BINDING_PATH).filter(|_| asked.head.method == "GET");
    let nonce = nonce.ok_or_else(|| Refused::new(404, NO_SUCH_PAGE, "no such page here"))?;
    let nonce: Bytes = serde_json::from_value(nonce.into())
        .map_err(|_| Refused::new(400, "proxy.binding.nonce", "a nonce is lowercase hex"))?;
    let known = asked.worker.cloned().zip(asked.certificate);
    let (worker, certificate): (WorkerId, _) = known
        .ok_or_else(|| Refused::new(403, DEVICE_UNKNOWN, "no worker of the fleet has this certificate"))?;
    let issued = clock.now().wall;
    let internal = |error: &dyn ToString| Refused::new(500, "proxy.internal", error.to_string());
    let binding = EgressBinding {
        worker,
        audience: policy::fleet().map_err(|error| internal(&error))?,
        certificate,
        policy: asked.policy,
        nonce: nonce.0,
        issued,
        expires: issued.plus(BINDING),
    };
    binding.seal(&[signer]).map_err(|error| internal(&error))
}

/// A record of the proxy as an entry of the show.
fn log_entry(record: Record) -> LogEntry {
    match record {
        Record::Unjudged { peer, target, refused } => LogEntry::Egress {
            peer: shown(&peer),
            fence: None,
            allowed: false,
            code: refused.code,
            message: shown(&refused.message),
            target: shown(&target),
        },
        Record::Judged { event, target, message } => LogEntry::Egress {
            peer: event.worker.to_string(),
            fence: Some(event.fence),
            allowed: event.allowed,
            code: event.code.as_str().to_owned(),
            message: shown(&message),
            target: shown(&target),
        },
        Record::Failed { bearer, target, refused, .. } => LogEntry::Refused {
            peer: bearer.worker.to_string(),
            act: format!("carry out {}", shown(&target)),
            code: refused.code,
            message: shown(&refused.message),
        },
        Record::Moved { bearer, moved, .. } => LogEntry::Moved {
            peer: bearer.worker.to_string(),
            fence: bearer.fence,
            sent: moved.sent,
            received: moved.received,
        },
        Record::Cut { streams } => LogEntry::Refused {
            peer: "a lease that is over".into(),
            act: format!("go on with {streams} streams"),
            code: "egress.lease.ended".into(),
            message: "they were cut".into(),
        },
    }
}
