//! Taking connections.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use rustls::ServerConfig;
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    time::{sleep, timeout},
};

use super::{Proxy, Record, Refused, admission::Seat, client1, client2, stream::Stream};

/// How long nobody accepts where the system has no descriptor left: trying again at once would fail again at once.
const PAUSE: Duration = Duration::from_millis(100);
/// How many may be told at one time that there is no place for them; the others are only closed.
const TOLD: usize = 64;

/// Takes connections from `listener` until the proxy drains.
pub async fn accept(
    proxy: Arc<Proxy>,
    listener: TcpListener,
    tls: Option<watch::Receiver<Arc<ServerConfig>>>,
) {
    let mut drain = proxy.drain.subscribe();
    let told = Arc::new(Semaphore::new(TOLD));
    let mut quiet = false;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = drain.wait_for(|draining| *draining) => return,
        };
        let (socket, peer) = match accepted {
            Ok(accepted) => {
                quiet = false;
                accepted
            }
            // One that left while it waited is no reason to let the others wait.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
            Err(error) => {
                if !quiet {
                    proxy.tell(Record::Accept { error: error.to_string() });
                    quiet = true;
                }
                sleep(PAUSE).await;
                continue;
            }
        };
        let config = tls.as_ref().map(|tls| Arc::clone(&tls.borrow()));
        match proxy.admission.seat() {
            Ok(seat) => {
                tokio::spawn(connection(Arc::clone(&proxy), socket, peer, config, seat));
            }
            Err(refused) => {
                unjudged(&proxy, &peer.to_string(), &refused);
                if let (None, Ok(permit)) = (config, Arc::clone(&told).try_acquire_owned()) {
                    tokio::spawn(async move {
                        let _ = timeout(Duration::from_secs(1), turn_away(socket, &refused)).await;
                        drop(permit);
                    });
                }
            }
        }
    }
}

async fn turn_away(mut socket: TcpStream, refused: &Refused) -> io::Result<()> {
    socket.write_all(&refused.answer(false, false)).await?;
    socket.shutdown().await?;
    // What the client has sent is read, or closing would throw the answer away.
    let mut sink = tokio::io::sink();
    tokio::io::copy(&mut socket, &mut sink).await.map(drop)
}

fn unjudged(proxy: &Proxy, peer: &str, refused: &Refused) {
    let record = Record::Unjudged { peer: peer.to_owned(), target: String::new(), refused: refused.clone() };
    proxy.tell(record);
}

async fn connection(
    proxy: Arc<Proxy>,
    socket: TcpStream,
    peer: SocketAddr,
    tls: Option<Arc<ServerConfig>>,
    seat: Seat,
) {
    // A request and its answer are small, and somebody waits for each.
    if socket.set_nodelay(true).is_err() {
        return;
    }
    let peer = peer.to_string();
    let Some(config) = tls else {
        return client1::serve(&proxy, Stream::Plain(socket), &peer, seat).await;
    };
    // The first byte tells a client that was given the wrong scheme, and it can be told in its own words.
    let mut first = [0];
    let peeked = timeout(proxy.setup.times.head, socket.peek(&mut first)).await;
    if matches!(peeked, Ok(Ok(1))) && first[0].is_ascii_uppercase() {
        let message = "this port speaks TLS: give the client the proxy as `https://HOST:PORT`";
        let refused = Refused::new(400, "tls.handshake", message);
        unjudged(&proxy, &peer, &refused);
        let _ = timeout(Duration::from_secs(1), turn_away(socket, &refused)).await;
        return;
    }
    match Stream::accept(socket, config, proxy.setup.times.head).await {
        Ok(tls) => {
            let name = match &tls {
                tokio_rustls::TlsStream::Server(tls) => tls.get_ref().1.server_name().map(str::to_owned),
                tokio_rustls::TlsStream::Client(_) => None,
            };
            let stream = Stream::Tls(Box::new(tls));
            if stream.is_h2() {
                client2::serve(&proxy, stream, &peer, name, seat).await;
            } else {
                client1::serve(&proxy, stream, &peer, seat).await;
            }
        }
        Err(error) => unjudged(&proxy, &peer, &Refused::new(400, "tls.handshake", error)),
    }
}
