//! Packets between nodes: one connection in each direction, each made by whoever sends on it.
//!
//! A node is known by the SHA-256 of its certificate, compared after the handshake on both sides; the packet's sender is
//! compared with that again where it is received. A peer that does not read makes its own packets be dropped, and nobody
//! waits: the engine sends again what matters.

use std::{
    collections::BTreeMap,
    io,
    net::{TcpListener, TcpStream},
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel},
    },
    thread,
    time::{Duration, Instant},
};

use leasehold::digest::Sha256Digest;
use replicated::{MAX_PACKET, NodeId, Packet, PacketError};
use rustls::{ClientConfig, ServerConfig};

use crate::{Failure, config, duplex::Duplex, proxy::connection_limit::ConnectionLimit, tls};

/// Bytes that wait for one peer at most, beside one snapshot.
const QUEUE: usize = 32 << 20;
/// How long a connection to a peer may take, and a write to it.
const CONNECT: Duration = Duration::from_millis(500);
const WRITE: Duration = Duration::from_secs(2);
/// Between two tries.
const AGAIN: Duration = Duration::from_millis(100);
/// Connections of peers at once, in their handshake or after it.
const CONNECTIONS: usize = 64;
/// What a frame grows by while it arrives, so that nobody has us allocate by a number alone.
const PIECE: usize = 64 << 10;

/// What is heard from peers, and of what was sent to them.
pub enum Heard {
    /// A packet, from the node at the other end of the channel.
    Packet(NodeId, Packet),
    /// The fate of a snapshot.
    Snapshot(NodeId, bool),
    /// Somebody was turned away, or said what does not read.
    Turned(String, String),
}

/// Who is who, by fingerprint. It follows the members.
#[derive(Clone, Default)]
pub struct Known(Arc<RwLock<BTreeMap<Sha256Digest, NodeId>>>);

impl Known {
    /// Everybody who is known now.
    pub fn set(&self, nodes: BTreeMap<Sha256Digest, NodeId>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = nodes;
    }

    fn get(&self, leaf: Sha256Digest) -> Option<NodeId> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(&leaf).copied()
    }
}

/// Where a peer is, and whom to find there.
#[derive(Clone, PartialEq, Eq)]
pub struct Place {
    pub address: String,
    pub certificate: Sha256Digest,
}

struct Line {
    place: Place,
    say: Sender<(Vec<u8>, bool)>,
    queued: Arc<AtomicUsize>,
    over: Arc<AtomicBool>,
}

impl Drop for Line {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

/// The lines to all peers.
pub struct Peers<E> {
    config: Arc<ClientConfig>,
    events: SyncSender<E>,
    wrap: fn(Heard) -> E,
    lines: BTreeMap<NodeId, Line>,
}

impl<E: Send + 'static> Peers<E> {
    /// No line yet. `config` shows this node's certificate.
    pub fn new(config: Arc<ClientConfig>, events: SyncSender<E>, wrap: fn(Heard) -> E) -> Self {
        Self { config, events, wrap, lines: BTreeMap::new() }
    }

    /// Keeps a line to each of `places`, and to nobody else.
    pub fn follow(&mut self, places: &BTreeMap<NodeId, Place>) -> Result<(), Failure> {
        self.lines.retain(|id, line| places.get(id) == Some(&line.place));
        for (id, place) in places {
            if !self.lines.contains_key(id) {
                let line = self.open(*id, place.clone())?;
                self.lines.insert(*id, line);
            }
        }
        Ok(())
    }

    fn open(&self, id: NodeId, place: Place) -> Result<Line, Failure> {
        let (say, queue) = channel();
        let (queued, over) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let sender = Sends {
            id,
            place: place.clone(),
            config: Arc::clone(&self.config),
            queued: Arc::clone(&queued),
            over: Arc::clone(&over),
        };
        let (events, wrap) = (self.events.clone(), self.wrap);
        thread::Builder::new()
            .name(format!("to {id}"))
            .spawn(move || sender.run(&queue, |heard| events.send(wrap(heard)).is_ok()))?;
        Ok(Line { place, say, queued, over })
    }

    /// Sends a packet, or drops it. False: it holds a snapshot and will not arrive.
    pub fn send(&self, packet: &Packet) -> bool {
        let snapshot = packet.is_snapshot();
        let (Some(line), Some(bytes)) = (self.lines.get(&packet.to()), packet.encode()) else {
            return !snapshot;
        };
        let length = bytes.len();
        // A snapshot is one at a time for each peer, which the engine sees to.
        let waits = line.queued.load(Ordering::Relaxed);
        if waits > QUEUE || (!snapshot && length > MAX_PACKET) {
            return !snapshot;
        }
        line.queued.fetch_add(length, Ordering::Relaxed);
        line.say.send((bytes, snapshot)).is_ok() || !snapshot
    }
}

/// What one sending thread knows.
struct Sends {
    id: NodeId,
    place: Place,
    config: Arc<ClientConfig>,
    queued: Arc<AtomicUsize>,
    over: Arc<AtomicBool>,
}

impl Sends {
    fn run(&self, queue: &Receiver<(Vec<u8>, bool)>, tell: impl Fn(Heard) -> bool) {
        let mut line: Option<Duplex> = None;
        let mut connect_at = Instant::now();
        while !self.over.load(Ordering::Relaxed) {
            let (bytes, snapshot) = match queue.recv_timeout(AGAIN) {
                Ok(next) => next,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            self.queued.fetch_sub(bytes.len(), Ordering::Relaxed);
            if line.is_none() && Instant::now() >= connect_at {
                line = self.connect().ok();
                connect_at = Instant::now() + AGAIN;
            }
            let sent = line.as_ref().is_some_and(|line| frame(line, &bytes).is_ok());
            if !sent && let Some(line) = line.take() {
                line.close();
            }
            if snapshot && !tell(Heard::Snapshot(self.id, sent)) {
                return;
            }
        }
    }

    fn connect(&self) -> io::Result<Duplex> {
        let address = config::resolve(&self.place.address).ok_or(io::ErrorKind::AddrNotAvailable)?;
        let socket = TcpStream::connect_timeout(&address, CONNECT)?;
        let duplex = Duplex::connect(
            socket,
            Arc::clone(&self.config),
            tls::COORDINATOR,
            Some(self.place.certificate),
        )?;
        duplex.set_timeouts(None, Some(WRITE))?;
        Ok(duplex)
    }
}

fn frame(line: &Duplex, bytes: &[u8]) -> io::Result<()> {
    let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
    line.write_all(&[&length.to_be_bytes(), bytes].concat())
}

/// Takes the connections of peers until the process ends. `max_snapshot` bounds a snapshot in a packet.
pub fn listen<E: Send + 'static>(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    known: Known,
    max_snapshot: usize,
    events: SyncSender<E>,
    wrap: fn(Heard) -> E,
) -> Result<(), Failure> {
    let limit = ConnectionLimit::new(CONNECTIONS);
    thread::Builder::new().name("accept peers".into()).spawn(move || {
        for accepted in listener.incoming() {
            let Ok(socket) = accepted else {
                // Without descriptors the next attempt would fail at once as well.
                thread::sleep(AGAIN);
                continue;
            };
            let Some(slot) = limit.take() else { continue };
            let (tls, known, events) = (Arc::clone(&tls), known.clone(), events.clone());
            let _ = thread::Builder::new().name("from peer".into()).spawn(move || {
                let address =
                    socket.peer_addr().map_or_else(|_| "somebody".into(), |address| address.to_string());
                let tell = |heard| events.send(wrap(heard)).is_ok();
                let turned = |code: &str| tell(Heard::Turned(address.clone(), code.to_owned()));
                match Duplex::accept(socket, tls) {
                    Err(_) => drop(turned("tls.handshake")),
                    Ok(duplex) => {
                        match duplex.peer().and_then(|leaf| known.get(leaf)) {
                            None => drop(turned("peer.stranger")),
                            Some(peer) => {
                                if let Err(Some(error)) = read(&duplex, peer, max_snapshot, &tell) {
                                    turned(error.code().0);
                                }
                            }
                        }
                        duplex.close();
                    }
                }
                drop(slot);
            });
        }
    })?;
    Ok(())
}

/// Reads packets until the connection is over, which is `Err(None)`, or says what does not read.
fn read(
    duplex: &Duplex,
    peer: NodeId,
    max_snapshot: usize,
    tell: &impl Fn(Heard) -> bool,
) -> Result<(), Option<PacketError>> {
    let most = max_snapshot.saturating_add(MAX_PACKET);
    loop {
        let mut head = [0; 4];
        fill(duplex, &mut head).map_err(|_| None)?;
        let length = usize::try_from(u32::from_be_bytes(head)).unwrap_or(usize::MAX);
        if length > most {
            return Err(Some(PacketError::Malformed));
        }
        let mut bytes = Vec::new();
        while bytes.len() < length {
            let at = bytes.len();
            bytes.resize(length.min(at + PIECE), 0);
            fill(duplex, &mut bytes[at..]).map_err(|_| None)?;
        }
        let packet = Packet::decode(&bytes, max_snapshot).map_err(Some)?;
        if length > MAX_PACKET && !packet.is_snapshot() {
            return Err(Some(PacketError::Malformed));
        }
        if !tell(Heard::Packet(peer, packet)) {
            return Ok(());
        }
    }
}

fn fill(duplex: &Duplex, mut buffer: &mut [u8]) -> io::Result<()> {
    while !buffer.is_empty() {
        match duplex.read(buffer)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => buffer = &mut buffer[count..],
        }
    }
    Ok(())
}
