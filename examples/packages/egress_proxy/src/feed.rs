//! Following the leases of a coordinator: the library's gate on a connection that is made again when it is lost.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use leasehold::{
    digest::Sha256Digest,
    egress::{LeaseCheck, LeaseRefusal, LeaseStanding},
    gate::{Gate, GateAct, GateConfig, GateEvent, ViewRules},
    lease::Fence,
    protocol::endpoint::{Endpoint as _, Input, Output},
    time::{Clock, Millis, Mono},
};
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{sleep, timeout},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

/// How long the gate waits before it connects again, and the longest that it goes without being told the time.
const AGAIN: Duration = Duration::from_millis(50);
/// How long connecting, and one write, may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// The gate, which one task keeps up to date and the others ask.
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

    /// Whether something was heard about leases not too long ago.
    pub fn is_fresh(&self, now: Mono) -> bool {
        self.lock().view().fresh_until().is_some_and(|until| until > now)
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

/// What came of one input.
#[derive(Default)]
struct Told {
    bytes: Vec<u8>,
    close: bool,
    ended: bool,
}

impl Feed {
    /// Follows the leases until the process ends. `ended` is called whenever a lease has, with no lock held.
    pub async fn follow(self, ended: impl Fn()) {
        loop {
            if let Some((stream, peer)) = self.connect().await {
                self.connection(stream, peer, &ended).await;
                self.told(Input::Closed, &ended);
            } else {
                self.told(Input::Timeout, &ended);
            }
            sleep(AGAIN).await;
        }
    }

    async fn connect(&self) -> Option<(TlsStream<TcpStream>, Sha256Digest)> {
        let shaken = timeout(PATIENCE, async {
            let socket = TcpStream::connect(self.address).await.ok()?;
            socket.set_nodelay(true).ok()?;
            let name = ServerName::try_from(self.name.clone()).ok()?;
            TlsConnector::from(Arc::clone(&self.config)).connect(name, socket).await.ok()
        });
        // The gate is told the time meanwhile: a view goes stale whether or not somebody answers.
        let stream = tokio::select! {
            shaken = shaken => shaken.ok()??,
            () = async { loop { sleep(AGAIN).await; self.told(Input::Timeout, &|| ()); } } => return None,
        };
        let peer = Sha256Digest::of(stream.get_ref().1.peer_certificates()?.first()?);
        (peer == self.fingerprint).then_some((stream, peer))
    }

    async fn connection(&self, mut stream: TlsStream<TcpStream>, peer: Sha256Digest, ended: &impl Fn()) {
        let mut told = self.told(Input::Connected { peer }, ended);
        let mut buffer = vec![0; 16 << 10];
        loop {
            if !told.bytes.is_empty() {
                let write = async {
                    stream.write_all(&told.bytes).await?;
                    stream.flush().await
                };
                if !matches!(timeout(PATIENCE, write).await, Ok(Ok(()))) {
                    return;
                }
            }
            if told.close {
                return;
            }
            let due = self.leases.lock().next_deadline().map(|due| due.since(self.clock.now().mono));
            let wait = due.map_or(AGAIN, |Millis(due)| Duration::from_millis(due).min(AGAIN));
            told = tokio::select! {
                read = stream.read(&mut buffer) => match read {
                    Ok(count @ 1..) => self.told(Input::Received(&buffer[..count]), ended),
                    _ => return,
                },
                () = sleep(wait) => self.told(Input::Timeout, ended),
            };
        }
    }

    fn told(&self, input: Input<'_, GateAct>, ended: &impl Fn()) -> Told {
        let mut told = Told::default();
        {
            let mut gate = self.leases.lock();
            // A gate that does not take its input is told that the connection is gone, and its view fails closed.
            told.close = gate.handle(input, self.clock.now()).is_err();
            loop {
                match gate.poll() {
                    Output::Send(bytes) => told.bytes.extend(bytes),
                    Output::Close(_) => told.close = true,
                    Output::Event(event) => told.ended |= matches!(event, GateEvent::LeaseEnded { .. }),
                    _ => break,
                }
            }
        }
        if told.ended {
            ended();
        }
        told
    }
}
