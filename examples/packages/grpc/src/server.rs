//! The coordinator's side of gRPC: TLS connections, and the streams on them, reported to the core's task.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use leasehold::coordinator::ConnectionId;
use rustls::ServerConfig;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{
        Semaphore,
        mpsc::{self, Sender, UnboundedSender},
    },
    task::AbortHandle,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_stream::{Stream, StreamExt};
use tonic::{
    Request, Response, Status, Streaming,
    transport::{
        Server,
        server::{TcpConnectInfo, TlsConnectInfo},
    },
};

use crate::{
    Failure,
    coordinator::Event,
    proto::{
        Piece,
        fleet_server::{Fleet, FleetServer},
    },
    wire::Outgoing,
};

/// How many handshakes are under way at most, and for how long each.
const HANDSHAKES: usize = 64;
const HANDSHAKE: Duration = Duration::from_secs(5);

/// What happened on a stream.
pub enum Heard {
    /// It began, on a TLS connection that showed this certificate.
    Connected { leaf: Vec<u8>, open: Open },
    /// Bytes, in order.
    Bytes(Vec<u8>),
    /// It is over.
    Closed,
}

/// This side of one stream. Dropped, it ends once everything said has been taken.
pub struct Open {
    say: UnboundedSender<Vec<u8>>,
    reader: AbortHandle,
}

impl Open {
    /// Queues `bytes`. Never waits; the endpoint bounds what waits.
    pub fn send(&self, bytes: Vec<u8>) {
        // A stream that is gone is reported by its reader.
        let _ = self.say.send(bytes);
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

struct Front {
    events: Sender<Event>,
    /// How much a stream took. Not among the events, because it is said where nobody can wait.
    sent: UnboundedSender<(ConnectionId, usize)>,
    streams: AtomicU64,
}

#[tonic::async_trait]
impl Fleet for Front {
    type TalkStream = Pin<Box<dyn Stream<Item = Result<Piece, Status>> + Send>>;

    async fn talk(&self, request: Request<Streaming<Piece>>) -> Result<Response<Self::TalkStream>, Status> {
        let info = request.extensions().get::<TlsConnectInfo<TcpConnectInfo>>();
        let leaf = info.and_then(TlsConnectInfo::peer_certs).and_then(|chain| Some(chain.first()?.to_vec()));
        let leaf = leaf.ok_or_else(|| Status::unauthenticated("a certificate is required"))?;
        let connection = ConnectionId(self.streams.fetch_add(1, Ordering::Relaxed));
        let (say, queue) = mpsc::unbounded_channel();
        let (events, mut pieces) = (self.events.clone(), request.into_inner());
        let (begin, begun) = tokio::sync::oneshot::channel();
        let reader = tokio::spawn(async move {
            // A core that is behind makes this wait, and through HTTP/2 the peer behind it.
            if begun.await.is_ok() {
                while let Ok(Some(piece)) = pieces.message().await {
                    let _ = events.send(Event::Stream(connection, Heard::Bytes(piece.frames))).await;
                }
                let _ = events.send(Event::Stream(connection, Heard::Closed)).await;
            }
        });
        let open = Open { say, reader: reader.abort_handle() };
        let connected = Event::Stream(connection, Heard::Connected { leaf, open });
        self.events.send(connected).await.map_err(|_| Status::unavailable("the coordinator is gone"))?;
        let _ = begin.send(());
        let sent = self.sent.clone();
        let said = Outgoing::new(queue, move |bytes| {
            let _ = sent.send((connection, bytes));
        });
        Ok(Response::new(Box::pin(said.map(Ok))))
    }
}

/// Serves until the process ends.
pub fn serve(
    listener: TcpListener,
    config: &ServerConfig,
    events: Sender<Event>,
    sent: UnboundedSender<(ConnectionId, usize)>,
) -> Result<(), Failure> {
    let mut config = config.clone();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let connections = handshakes(listener, TlsAcceptor::from(Arc::new(config)), events.clone());
    let front = FleetServer::new(Front { events, sent, streams: AtomicU64::new(1) });
    tokio::spawn(Server::builder().serve_with_incoming(front, Connections(connections)));
    Ok(())
}

/// Connections whose handshake is done.
struct Connections(mpsc::Receiver<TlsStream<TcpStream>>);

impl Stream for Connections {
    type Item = io::Result<TlsStream<TcpStream>>;

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        self.0.poll_recv(context).map(|connection| connection.map(Ok))
    }
}

/// Shakes hands with whoever comes, beside each other: a slow one holds up nobody else.
fn handshakes(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    events: Sender<Event>,
) -> mpsc::Receiver<TlsStream<TcpStream>> {
    let (ready, connections) = mpsc::channel(HANDSHAKES);
    let places = Arc::new(Semaphore::new(HANDSHAKES));
    tokio::spawn(async move {
        while let Ok(permit) = Arc::clone(&places).acquire_owned().await {
            let Ok((socket, _)) = listener.accept().await else { continue };
            let (handshake, ready, events) = (acceptor.accept(socket), ready.clone(), events.clone());
            tokio::spawn(async move {
                match tokio::time::timeout(HANDSHAKE, handshake).await {
                    Ok(Ok(stream)) => drop(ready.send(stream).await),
                    Ok(Err(error)) => drop(events.send(Event::Stranger(error.to_string())).await),
                    Err(_) => drop(events.send(Event::Stranger("no handshake in time".into())).await),
                }
                drop(permit);
            });
        }
    });
    connections
}
