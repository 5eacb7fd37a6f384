//! Following the leases of a coordinator: the library's gate on a connection that is made again when it is lost.

use std::{
    io,
    net::{SocketAddr, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{RecvTimeoutError, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use leasehold::{
    digest::Sha256Digest,
    egress::{LeaseCheck, LeaseRefusal, LeaseStanding},
    gate::{Gate, GateConfig, GateEvent, ViewRules},
    lease::Fence,
    protocol::endpoint::{Endpoint, Input, Output},
    time::{Clock, Mono},
};
use rustls::ClientConfig;

use super::{
    duplex::Duplex,
    link::{Heard, Link},
};

/// How long the gate waits before it connects again.
const AGAIN: Duration = Duration::from_millis(50);

/// The gate, which one thread keeps up to date and the others ask.
pub struct Leases(Mutex<Gate>);

impl Leases {
    /// A gate of the coordinator whose certificate has this SHA-256. Nothing is live in it yet.
    pub fn new(coordinator: Sha256Digest, rules: ViewRules) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Gate::new(GateConfig::new(coordinator, rules)))))
    }

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

/// Whose leases are followed, and how.
pub struct Feed {
    /// Where the coordinator listens.
    pub address: SocketAddr,
    /// The name in its certificate.
    pub name: String,
    /// The SHA-256 of that certificate.
    pub fingerprint: Sha256Digest,
    /// This side of mutual TLS.
    pub config: Arc<ClientConfig>,
    /// The time.
    pub clock: Arc<dyn Clock + Send + Sync>,
    /// What is kept up to date.
    pub leases: Arc<Leases>,
}

impl Feed {
    /// Follows the leases in a thread of its own until the process ends. `hear` is called for each event, with no lock
    /// held.
    pub fn follow(self, hear: impl FnMut(&GateEvent) + Send + 'static) -> io::Result<()> {
        thread::Builder::new().name("feed".into()).spawn(move || self.watch(hear))?;
        Ok(())
    }

    fn watch(self, mut hear: impl FnMut(&GateEvent)) {
        let (events, heard) = sync_channel(256);
        let mut link: Option<Link> = None;
        let (mut connection, mut connect_at) = (0_u64, Instant::now());
        loop {
            if link.is_none() && Instant::now() >= connect_at {
                connect_at = Instant::now() + AGAIN;
                if let Some((duplex, peer)) = self.connect() {
                    connection += 1;
                    let number = connection;
                    link = Link::start(duplex, events.clone(), move |heard| (number, heard)).ok();
                    if link.is_some() {
                        self.give(Input::Connected { peer }, &mut link, &mut hear);
                    }
                }
            }
            let due = self.leases.lock().next_deadline().map(|due| due.since(self.clock.now().mono));
            let wait = due.map_or(AGAIN, |due| Duration::from_millis(due.0).min(AGAIN));
            match heard.recv_timeout(wait) {
                Ok((number, _)) if number != connection || link.is_none() => {}
                Ok((_, Heard::Sent(_))) => {}
                Ok((_, Heard::Bytes(bytes))) => self.give(Input::Received(&bytes), &mut link, &mut hear),
                Ok((_, Heard::Closed)) => {
                    link = None;
                    self.give(Input::Closed, &mut link, &mut hear);
                }
                Err(RecvTimeoutError::Timeout) => self.give(Input::Timeout, &mut link, &mut hear),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn connect(&self) -> Option<(Duplex, Sha256Digest)> {
        let socket = TcpStream::connect_timeout(&self.address, Duration::from_secs(1)).ok()?;
        let config = Arc::clone(&self.config);
        let duplex = Duplex::connect(socket, config, &self.name, Some(self.fingerprint)).ok()?;
        let peer = duplex.peer()?;
        Some((duplex, peer))
    }

    fn give(
        &self,
        input: Input<'_, leasehold::gate::GateAct>,
        link: &mut Option<Link>,
        hear: &mut impl FnMut(&GateEvent),
    ) {
        let mut events = Vec::new();
        {
            let mut gate = self.leases.lock();
            // A gate that does not take its input is told that the connection is gone, and its view fails closed.
            let refused = gate.handle(input, self.clock.now()).is_err();
            loop {
                match gate.poll() {
                    Output::Send(bytes) => {
                        if let Some(link) = &link
                            && link.send(bytes).is_err()
                        {
                            link.close();
                        }
                    }
                    Output::Close(_) => *link = None,
                    Output::Event(event) => events.push(event),
                    _ => break,
                }
            }
            if refused {
                *link = None;
            }
        }
        events.iter().for_each(hear);
    }
}
