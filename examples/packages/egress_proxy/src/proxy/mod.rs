//! A forward proxy on tokio that does what the library decides.
//!
//! It holds no rule of its own about where a request may go. What it adds is the socket side: who asks ([`identity`]),
//! places and budgets ([`admission`]), dialling what was pinned ([`dial`]), messages in both versions of HTTP, connections
//! that are used again only for what their permit was for ([`pool`]), and ending what moves when its lease or its policy
//! ends ([`streams`]).

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use leasehold::{
    egress::{BudgetLimits, ConnectPlan, EgressProxyPolicyService, LeaseCheck, SecretStore},
    time::{Clock, Mono, Wall},
};
use rustls::{ClientConfig, ServerConfig};
use tokio::{net::TcpListener, sync::watch};

pub mod admission;
mod ask;
mod beat;
mod body;
mod client1;
mod client2;
mod dial;
mod forward;
mod identity;
mod judge;
mod listen;
mod message;
mod origin;
pub mod parent;
mod pool;
mod record;
pub mod refused;
mod relay;
mod stream;
mod streams;
mod tunnel;

pub use identity::Identities;
pub use record::{Moved, Record};
pub use refused::Refused;

use crate::names::Names;
use admission::{Admission, Bounds};
use parent::Parent;
use pool::Pool;
use streams::Streams;

/// How long each thing may take.
#[derive(Clone, Copy)]
pub struct Times {
    /// The head of a request, and the hello of a tunnel.
    pub head: Duration,
    /// A connection to an origin, over all of its addresses.
    pub connect: Duration,
    /// The first byte of an answer, from the last byte of the request.
    pub first_byte: Duration,
    /// Silence of both sides in an exchange.
    pub idle: Duration,
    /// Silence of both sides in a tunnel.
    pub tunnel_idle: Duration,
    /// A whole exchange; a tunnel lasts as long as its lease.
    pub exchange: Duration,
    /// A connection of a client between two requests.
    pub keep_alive: Duration,
    /// A connection to an origin between two requests.
    pub pool: Duration,
}

/// Hears what happens.
pub type Sink = Box<dyn Fn(Record) + Send + Sync>;

/// How origins are checked. The certificate is for the judged host.
#[derive(Clone)]
pub struct Upstream {
    /// For what speaks HTTP/1.1 only.
    pub h1: Arc<ClientConfig>,
    /// For what may also speak HTTP/2.
    pub h2: Arc<ClientConfig>,
}

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
    pub secrets: Arc<dyn SecretStore + Send + Sync>,
    /// How https origins are checked.
    pub upstream: Upstream,
    /// The proxy behind which the origins are.
    pub parent: Option<Parent>,
    /// The time.
    pub clock: Arc<dyn Clock + Send + Sync>,
    /// Who hears about it.
    pub sink: Sink,
    /// How long things may take.
    pub times: Times,
    /// What each lease may use up.
    pub budget: BudgetLimits,
    /// The most bytes of a body where the rule has no limit of its own.
    pub max_body: u64,
    /// The most bytes of a body that is held as a whole, because a signature covers it.
    pub max_signed_body: u64,
    /// How much may be under way.
    pub bounds: Bounds,
    /// The most connections to origins that wait to be used again.
    pub pooled: usize,
    /// What it calls itself in Via. No other proxy on the way may have the same name.
    pub name: String,
}

/// What is read again while the proxy runs.
struct InForce {
    policy: EgressProxyPolicyService,
    identities: Arc<Identities>,
    secrets: Arc<dyn SecretStore + Send + Sync>,
    upstream: Upstream,
}

/// The proxy: what it works with, and what is under way.
pub struct Proxy {
    setup: Setup,
    in_force: RwLock<Arc<InForce>>,
    admission: Admission,
    own: Mutex<Arc<Vec<SocketAddr>>>,
    streams: Streams,
    pool: Pool,
    draining: AtomicBool,
    drain: watch::Sender<bool>,
}

/// What one lock holds is whole after every statement, so a thread that panicked has left nothing half done.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Proxy {
    /// A proxy that listens nowhere yet.
    pub fn new(mut setup: Setup) -> Arc<Self> {
        let in_force = InForce {
            policy: setup.policy.clone(),
            identities: Arc::new(std::mem::take(&mut setup.identities)),
            secrets: Arc::clone(&setup.secrets),
            upstream: setup.upstream.clone(),
        };
        Arc::new(Self {
            admission: Admission::new(setup.bounds, setup.budget),
            pool: Pool::new(setup.pooled, setup.times.pool),
            setup,
            in_force: RwLock::new(Arc::new(in_force)),
            own: Mutex::default(),
            streams: Streams::default(),
            draining: AtomicBool::new(false),
            drain: watch::Sender::new(false),
        })
    }

    /// Takes connections until the proxy drains: with TLS where `tls` is given, which may change meanwhile.
    pub fn listen(
        self: &Arc<Self>,
        listener: TcpListener,
        tls: Option<watch::Receiver<Arc<ServerConfig>>>,
    ) -> io::Result<()> {
        {
            let mut own = locked(&self.own);
            let mut all = own.to_vec();
            all.push(listener.local_addr()?);
            *own = Arc::new(all);
        }
        tokio::spawn(listen::accept(Arc::clone(self), listener, tls));
        Ok(())
    }

    fn in_force(&self) -> Arc<InForce> {
        Arc::clone(&self.in_force.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn change(&self, with: impl FnOnce(&InForce) -> InForce) -> Arc<InForce> {
        let mut held = self.in_force.write().unwrap_or_else(PoisonError::into_inner);
        let new = Arc::new(with(&held));
        std::mem::replace(&mut *held, new)
    }

    /// The policy in force.
    pub fn policy(&self) -> EgressProxyPolicyService {
        self.in_force().policy.clone()
    }

    /// Puts another policy into force, and returns the former one. The next request is judged by the new one; what is
    /// under way ends with [`Proxy::judge_again`].
    pub fn swap(&self, policy: EgressProxyPolicyService) -> EgressProxyPolicyService {
        let old = self.change(|held| InForce {
            policy: {
                let mut in_force = held.policy.clone();
                in_force.replace(policy);
                in_force
            },
            identities: Arc::clone(&held.identities),
            secrets: Arc::clone(&held.secrets),
            upstream: held.upstream.clone(),
        });
        // A connection is used again under its own permit's policy only, so none of these serves any more.
        self.pool.clear();
        old.policy.clone()
    }

    /// Puts other identities, secrets and authorities into force.
    pub fn replace(
        &self,
        identities: Option<Identities>,
        secrets: Option<Arc<dyn SecretStore + Send + Sync>>,
        upstream: Option<Upstream>,
    ) {
        // Connections whose origin was checked against other authorities are not used again.
        if upstream.is_some() {
            self.pool.clear();
        }
        self.change(|held| InForce {
            policy: held.policy.clone(),
            identities: identities.map_or_else(|| Arc::clone(&held.identities), Arc::new),
            secrets: secrets.unwrap_or_else(|| Arc::clone(&held.secrets)),
            upstream: upstream.unwrap_or_else(|| held.upstream.clone()),
        });
    }

    /// Ends what moves under leases that are over, forgets their accounts and connections.
    pub fn cut(&self) {
        let now = self.now();
        let live =
            |fence| self.setup.leases.standing(fence, now).is_ok_and(|standing| standing.expires > now);
        let why = Refused::new(403, refused::LEASE_OVER, "the lease is over, or is not known any more");
        let streams = self.streams.cut(live, &why);
        self.pool.sweep(live);
        self.admission.forget(&*self.setup.leases, now);
        if streams > 0 {
            self.tell(Record::Cut { streams, code: refused::LEASE_OVER });
        }
    }

    /// Ends what the policy in force would not allow to where it is connected.
    pub fn judge_again(&self) {
        let streams = self.streams.judge_again(
            &self.policy(),
            &*self.setup.leases,
            self.now(),
            refused::POLICY_CHANGED,
        );
        if streams > 0 {
            self.tell(Record::Cut { streams, code: refused::POLICY_CHANGED });
        }
    }

    /// Takes no more connections, and ends each one after what it is doing.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
        let _ = self.drain.send(true);
        self.pool.clear();
    }

    /// Whether it is being stopped.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Ends everything that is still under way, and says how much that was.
    pub fn stop(&self) -> usize {
        let why = Refused::new(503, refused::DRAINING, "the proxy is being stopped");
        let streams = self.streams.cut(|_| false, &why);
        if streams > 0 {
            self.tell(Record::Cut { streams, code: refused::DRAINING });
        }
        streams
    }

    /// Connections; those of them without identity; requests and tunnels; connections that wait to be used again.
    pub fn counts(&self) -> [(&'static str, usize); 4] {
        let (connections, unproven) = self.admission.seated();
        [
            ("connections", connections),
            ("connections_unproven", unproven),
            ("streams", self.streams.count()),
            ("connections_pooled", self.pool.count()),
        ]
    }

    fn lease_lives(&self, plan: &ConnectPlan) -> Result<(), Refused> {
        match self.setup.leases.standing(plan.fence(), self.now()) {
            Ok(standing) if standing.expires > self.now() => Ok(()),
            Ok(_) => Err(Refused::coded(403, &leasehold::egress::LeaseRefusal::Expired)),
            Err(over) => Err(Refused::coded(403, &over)),
        }
    }

    /// What signatures say that it is.
    fn wall(&self) -> Wall {
        self.setup.clock.now().wall
    }

    fn now(&self) -> Mono {
        self.setup.clock.now().mono
    }

    fn tell(&self, record: Record) {
        (self.setup.sink)(record);
    }

    fn own(&self) -> Arc<Vec<SocketAddr>> {
        Arc::clone(&locked(&self.own))
    }
}
