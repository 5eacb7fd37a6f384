//! The egress proxy's process: owns the library's gate, which follows the coordinator's leases, and the proxy that
//! asks it before every permit.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    time::{Duration, Instant},
};

use leasehold::{
    attestation::signature::Ed25519Signer,
    egress::{EgressProxyPolicyService, LeaseCheck, LeaseRefusal, LeaseStanding},
    gate::{Gate, GateAct, GateConfig, GateEvent, ViewRules},
    lease::Fence,
    protocol::endpoint::{Endpoint, Input, Output},
    shell::SystemClock,
    time::{Clock, Mono},
};
use rustls::ClientConfig;

use crate::{
    Failure, boot,
    child::{self, Order},
    duplex::Duplex,
    hexed::Bytes,
    link::{Heard, Link},
    note::{Note, tell},
    origin, policy,
    proxy::{Judgement, Proxy},
    tls,
};

/// How long the gate waits before it connects again.
const AGAIN: Duration = Duration::from_millis(50);
/// The most leases in view.
const MAX_LEASES: usize = 10_000;

/// The gate, which one thread keeps up to date and the others ask.
struct Leases(Mutex<Gate>);

impl Leases {
    fn lock(&self) -> MutexGuard<'_, Gate> {
        // A gate is changed by one call at a time, each of which leaves it whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LeaseCheck for Leases {
    fn standing(&self, fence: Fence, now: Mono) -> Result<LeaseStanding, LeaseRefusal> {
        self.lock().view().standing(fence, now)
    }
}

enum Event {
    Link(u64, Heard),
    Order(Order),
}

struct Gatekeeper {
    coordinator: boot::Server,
    config: Arc<ClientConfig>,
    clock: Arc<SystemClock>,
    leases: Arc<Leases>,
    proxy: Arc<Proxy>,
    events: SyncSender<Event>,
    link: Option<Link>,
    connection: u64,
    /// The port to tell once the view is whole for the first time.
    announce: Option<u16>,
}

/// The egress proxy's process.
pub fn run() -> Result<(), Failure> {
    let boot: boot::Proxy = child::boot()?;
    let clock = Arc::new(SystemClock::start());
    let rules = policy::leases();
    let rules =
        ViewRules::new(rules.max_staleness_ms, rules.clock_budget_ms, MAX_LEASES).map_err(Failure::coded)?;
    let config = GateConfig::new(boot.coordinator.fingerprint, rules);
    let leases = Arc::new(Leases(Mutex::new(Gate::new(config))));
    let Bytes(seed) = boot.signing_seed;
    let seed = seed.as_slice().try_into().map_err(|_| Failure::new("a seed has 32 bytes"))?;
    let workers = boot.devices.iter().map(|paired| (paired.fingerprint(), paired.worker.clone()));
    let now = Arc::clone(&clock);
    let proxy = Proxy::new(Judgement {
        policy: EgressProxyPolicyService::compile(&policy::egress(boot.origin)?).map_err(Failure::coded)?,
        names: BTreeMap::from([(origin::NAME.to_owned(), vec![IpAddr::V4(Ipv4Addr::LOCALHOST)])]),
        workers: workers.collect(),
        leases: Arc::clone(&leases) as Arc<dyn LeaseCheck + Send + Sync>,
        signer: Ed25519Signer::from_seed("proxy", seed),
        clock: Arc::new(move || now.now()),
        tell,
    });
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = listener.local_addr()?.port();
    proxy.listen(listener, tls::mutual_server(&boot.identity, &boot.root)?)?;
    let (events, heard) = sync_channel(256);
    let orders = events.clone();
    child::orders(move |order| {
        let _ = orders.send(Event::Order(order));
    });
    let config = tls::client(Some(&boot.identity), &boot.root)?;
    let gatekeeper = Gatekeeper {
        coordinator: boot.coordinator,
        config,
        clock,
        leases,
        proxy,
        events,
        link: None,
        connection: 0,
        announce: Some(port),
    };
    gatekeeper.watch(&heard)
}

impl Gatekeeper {
    fn watch(mut self, heard: &Receiver<Event>) -> Result<(), Failure> {
        let mut connect_at = Instant::now();
        loop {
            if self.link.is_none() && Instant::now() >= connect_at {
                connect_at = Instant::now() + AGAIN;
                self.connect()?;
            }
            let due = self.leases.lock().next_deadline().map(|due| due.since(self.clock.now().mono));
            let wait = due.map_or(AGAIN, |due| Duration::from_millis(due.0).min(AGAIN));
            match heard.recv_timeout(wait) {
                Ok(Event::Link(number, _)) if number != self.connection || self.link.is_none() => {}
                Ok(Event::Link(_, Heard::Sent(_))) => {}
                Ok(Event::Link(_, Heard::Bytes(bytes))) => self.give(Input::Received(&bytes))?,
                Ok(Event::Link(_, Heard::Closed)) => {
                    self.link = None;
                    self.give(Input::Closed)?;
                }
                Ok(Event::Order(Order::Stop)) | Err(RecvTimeoutError::Disconnected) => return Ok(()),
                // Leases end when their runs do; nothing of this process drains.
                Ok(Event::Order(_)) => {}
                Err(RecvTimeoutError::Timeout) => self.give(Input::Timeout)?,
            }
        }
    }

    fn connect(&mut self) -> Result<(), Failure> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.coordinator.port));
        let Ok(socket) = TcpStream::connect_timeout(&address, Duration::from_secs(1)) else { return Ok(()) };
        let (config, known) = (Arc::clone(&self.config), Some(self.coordinator.fingerprint));
        let Ok(duplex) = Duplex::connect(socket, config, tls::COORDINATOR, known) else { return Ok(()) };
        let Some(peer) = duplex.peer() else { return Ok(()) };
        self.connection += 1;
        let number = self.connection;
        self.link = Some(Link::start(duplex, self.events.clone(), move |heard| Event::Link(number, heard))?);
        self.give(Input::Connected { peer })
    }

    fn give(&mut self, input: Input<'_, GateAct>) -> Result<(), Failure> {
        let mut events = Vec::new();
        {
            let mut gate = self.leases.lock();
            gate.handle(input, self.clock.now()).map_err(Failure::coded)?;
            loop {
                match gate.poll() {
                    Output::Send(bytes) => {
                        if let Some(link) = &self.link
                            && link.send(bytes).is_err()
                        {
                            link.close();
                        }
                    }
                    Output::Close(_) => self.link = None,
                    Output::Event(event) => events.push(event),
                    Output::Wait(_) => break,
                    other => return Err(Failure::new(format!("an output that is not known: {other:?}"))),
                }
            }
        }
        for event in events {
            match event {
                GateEvent::Synced { .. } => {
                    // Workers come when there is somebody who knows their leases.
                    if let Some(port) = self.announce.take() {
                        tell(&Note::Listening { port });
                    }
                }
                // Whatever ended a lease, nothing moves under it any more. A feed that is lost ends them all in time.
                GateEvent::LeaseEnded { .. } => {
                    self.proxy.cut();
                }
                _ => {}
            }
        }
        Ok(())
    }
}
