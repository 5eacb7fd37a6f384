//! Mutual TLS for `axum::serve`: a listener that says which certificate each connection showed.

use std::{io, sync::Arc, time::Duration};

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use leasehold::digest::Sha256Digest;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

/// How many handshakes are under way at most, and for how long each.
const HANDSHAKES: (usize, Duration) = (64, Duration::from_secs(5));

/// The SHA-256 of the certificate that the other side of a connection proved to hold.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub Option<Sha256Digest>);

/// Hands connections over once their handshake is done; a slow one holds up nobody else.
pub struct MutualTls(mpsc::Receiver<(TlsStream<TcpStream>, Peer)>);

impl MutualTls {
    /// Takes connections of `listener` with `config`, which asks for a certificate.
    pub fn new(listener: TcpListener, config: rustls::ServerConfig) -> Self {
        let (ready, taken) = mpsc::channel(HANDSHAKES.0);
        let places = Arc::new(Semaphore::new(HANDSHAKES.0));
        let acceptor = TlsAcceptor::from(Arc::new(config));
        tokio::spawn(async move {
            while let Ok(place) = Arc::clone(&places).acquire_owned().await {
                let Ok((socket, _)) = listener.accept().await else { continue };
                let (handshake, ready) = (acceptor.accept(socket), ready.clone());
                tokio::spawn(async move {
                    if let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKES.1, handshake).await {
                        let leaf = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
                        let peer = Peer(leaf.map(|leaf| Sha256Digest::of(leaf)));
                        let _ = ready.send((stream, peer)).await;
                    }
                    drop(place);
                });
            }
        });
        Self(taken)
    }
}

impl Listener for MutualTls {
    type Io = TlsStream<TcpStream>;
    type Addr = Peer;

    async fn accept(&mut self) -> (Self::Io, Peer) {
        // The other end lives as long as the runtime does.
        match self.0.recv().await {
            Some(accepted) => accepted,
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<Peer> {
        Ok(Peer(None))
    }
}

impl Connected<IncomingStream<'_, MutualTls>> for Peer {
    fn connect_info(stream: IncomingStream<'_, MutualTls>) -> Self {
        *stream.remote_addr()
    }
}
