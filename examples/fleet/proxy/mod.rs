//! A forward proxy on real sockets that does what the library decides: one request a connection, so that no verdict is
//! ever used twice.
//!
//! It holds no rule of its own about where a request may go. What it adds is the socket side: who asks
//! ([`identity`]), reading and writing messages within limits ([`wire`]), dialling what was pinned ([`dial`]), and
//! cutting what moves when its lease ends.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    thread,
    time::Duration,
};

use leasehold::{
    digest::Sha256Digest,
    egress::{
        BudgetError, BudgetLimits, EgressBudget, EgressProxyPolicyService, LeaseCheck, LeaseRefusal,
        SecretStore, http1::RequestHead,
    },
    id::WorkerId,
    lease::Fence,
    time::{Clock, Mono},
};
use rustls::{ClientConfig, ServerConfig};

pub mod channel;
pub mod connection_limit;
pub mod dial;
pub mod duplex;
pub mod escape;
mod exchange;
pub mod feed;
mod forward;
pub mod identity;
pub mod link;
mod record;
pub mod refused;
mod tunnel;
pub mod wire;

pub use identity::Identities;
pub use record::{Moved, Record};
pub use refused::Refused;

use channel::Channel;
use connection_limit::ConnectionLimit;
use dial::Streams;
use duplex::Duplex;

/// How long nobody accepts after the system could not.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long each thing may take.
#[derive(Clone, Copy)]
pub struct Times {
    /// The head of a request, and the hello of a tunnel.
    pub head: Duration,
    /// A connection to one address.
    pub connect: Duration,
    /// The first byte of an answer.
    pub first_byte: Duration,
    /// Silence of either side.
    pub idle: Duration,
    /// A whole exchange; a tunnel lasts as long as its lease.
    pub exchange: Duration,
}

impl Default for Times {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            head: seconds(10),
            connect: seconds(5),
            first_byte: seconds(30),
            idle: seconds(30),
            exchange: seconds(3600),
        }
    }
}

/// What is asked of the proxy itself, by a path of its own.
pub struct OwnRequest<'a> {
    /// The head.
    pub head: &'a RequestHead,
    /// The certificate that the client showed.
    pub certificate: Option<Sha256Digest>,
    /// Whose that is.
    pub worker: Option<&'a WorkerId>,
    /// The digest of the policy in force.
    pub policy: Sha256Digest,
}

/// Answers for a path of the proxy itself with a body.
pub type Pages = Box<dyn Fn(&OwnRequest<'_>) -> Result<Vec<u8>, Refused> + Send + Sync>;
/// Gives the addresses of a name, or none.
pub type Names = Box<dyn Fn(&str) -> Vec<IpAddr> + Send + Sync>;
/// Hears what happens.
pub type Sink = Box<dyn Fn(Record) + Send + Sync>;

/// Everything that the proxy works with.
pub struct Setup {
    /// The policy to begin with.
    pub policy: EgressProxyPolicyService,
    /// Where names lead. There is no other resolver.
    pub names: Names,
    /// Who is who.
    pub identities: Identities,
    /// Which leases are live.
    pub leases: Arc<dyn LeaseCheck + Send + Sync>,
    /// Where secrets come from.
    pub secrets: Box<dyn SecretStore + Send + Sync>,
    /// How https origins are checked; the certificate is for the judged host.
    pub upstream: Arc<ClientConfig>,
    /// The time.
    pub clock: Arc<dyn Clock + Send + Sync>,
    /// Pages of its own.
    pub pages: Pages,
    /// Who hears about it.
    pub sink: Sink,
    /// How long things may take.
    pub times: Times,
    /// What each lease may use up.
    pub budget: BudgetLimits,
    /// The most bytes of a body where the rule has no limit of its own.
    pub max_body: u64,
    /// The most connections at once.
    pub connections: usize,
    /// What it calls itself in Via. No other proxy on the way may have the same name.
    pub name: String,
}

/// The proxy: what it works with, and what is under way.
pub struct Proxy {
    setup: Setup,
    policy: RwLock<EgressProxyPolicyService>,
    budgets: Mutex<BTreeMap<Fence, EgressBudget>>,
    own: Mutex<Vec<SocketAddr>>,
    streams: Streams,
    limit: ConnectionLimit,
}

/// What one lock holds is whole after every statement, so a thread that panicked has left nothing half done.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Proxy {
    /// A proxy that listens nowhere yet.
    pub fn new(setup: Setup) -> Arc<Self> {
        let policy = RwLock::new(setup.policy.clone());
        let limit = ConnectionLimit::new(setup.connections);
        Arc::new(Self {
            setup,
            policy,
            budgets: Mutex::default(),
            own: Mutex::default(),
            streams: Streams::default(),
            limit,
        })
    }

    /// Takes connections until the process ends: with TLS where `tls` is given.
    pub fn listen(self: &Arc<Self>, listener: TcpListener, tls: Option<Arc<ServerConfig>>) -> io::Result<()> {
        locked(&self.own).push(listener.local_addr()?);
        let proxy = Arc::clone(self);
        thread::Builder::new().name("accept".into()).spawn(move || {
            for accepted in listener.incoming() {
                let Ok(socket) = accepted else {
                    // Without descriptors the next attempt would fail at once as well.
                    thread::sleep(ACCEPT_PAUSE);
                    continue;
                };
                // Over the bound nothing is read, and nobody waits for it.
                let Some(slot) = proxy.limit.take() else { continue };
                let (serving, tls) = (Arc::clone(&proxy), tls.clone());
                // Without a thread the closure is dropped, and with it the socket and the place.
                let _ = thread::Builder::new().name("exchange".into()).spawn(move || {
                    serving.connection(socket, tls);
                    drop(slot);
                });
            }
        })?;
        Ok(())
    }

    fn connection(&self, socket: TcpStream, tls: Option<Arc<ServerConfig>>) {
        let address = socket.peer_addr().map(|peer| peer.to_string()).unwrap_or_default();
        let channel = match tls {
            Some(config) => Duplex::accept(socket, config).map(Channel::Tls),
            None => Channel::plain(socket),
        };
        match channel {
            Ok(channel) => exchange::serve(self, &channel, &address),
            Err(error) => self.tell(Record::Unjudged {
                peer: address,
                target: String::new(),
                refused: Refused::new(400, "tls.handshake", error),
            }),
        }
    }

    /// The policy in force.
    pub fn policy(&self) -> EgressProxyPolicyService {
        self.policy.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts another policy into force. What was allowed under the old one goes on under what it was allowed with; the
    /// next request is judged by the new one.
    pub fn swap(&self, policy: EgressProxyPolicyService) -> EgressProxyPolicyService {
        let mut held = self.policy.write().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *held, policy)
    }

    /// Cuts what moves under leases that are over, forgets their budgets, and says how many streams that were.
    pub fn cut(&self) -> usize {
        let now = self.now();
        let live =
            |fence| self.setup.leases.standing(fence, now).is_ok_and(|standing| standing.expires > now);
        // A view that is lost for a while says nothing about a lease: a budget ends with its lease only.
        let over = |fence| {
            use LeaseRefusal::{Ended, Expired, StaleFence, Unknown};
            matches!(self.setup.leases.standing(fence, now), Err(Ended | Expired | StaleFence | Unknown))
        };
        locked(&self.budgets).retain(|fence, _| !over(*fence));
        let streams = self.streams.cut(live);
        if streams > 0 {
            self.tell(Record::Cut { streams });
        }
        streams
    }

    fn now(&self) -> Mono {
        self.setup.clock.now().mono
    }

    fn tell(&self, record: Record) {
        (self.setup.sink)(record);
    }

    fn own(&self) -> Vec<SocketAddr> {
        locked(&self.own).clone()
    }

    /// Counts something against the budget of a lease.
    fn spend<T>(
        &self,
        fence: Fence,
        act: impl FnOnce(&mut EgressBudget) -> Result<T, BudgetError>,
    ) -> Result<T, BudgetError> {
        act(locked(&self.budgets).entry(fence).or_insert_with(|| EgressBudget::new(self.setup.budget)))
    }
}
