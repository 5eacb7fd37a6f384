//! The worker's side of gRPC: one TLS connection with one stream on it.

use std::{
    io,
    net::Ipv4Addr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use hyper_util::rt::TokioIo;
use leasehold::digest::Sha256Digest;
use rustls::ClientConfig;
use tokio::{net::TcpStream, sync::mpsc::UnboundedReceiver};
use tokio_rustls::TlsConnector;
use tonic::{
    Status, Streaming,
    transport::{self, Endpoint},
};

use crate::{
    Failure, failure,
    proto::{Piece, fleet_client::FleetClient},
    tls,
    wire::Outgoing,
};

failure::from!(Status, transport::Error);

/// How long it may take to connect.
const PATIENCE: Duration = Duration::from_secs(5);

/// Connects to the coordinator at `port`, and says there what is put into `queue`. The answer is the SHA-256 of the
/// certificate that it showed on this very connection, and what it says.
pub async fn connect(
    port: u16,
    config: &ClientConfig,
    queue: UnboundedReceiver<Vec<u8>>,
) -> Result<(Sha256Digest, Streaming<Piece>), Failure> {
    let mut config = config.clone();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let (connector, name) = (TlsConnector::from(Arc::new(config)), tls::server_name(tls::COORDINATOR)?);
    let seen = Arc::new(Mutex::new(None));
    let peer = Arc::clone(&seen);
    let dial = tower::service_fn(move |_| {
        let (connector, name, seen) = (connector.clone(), name.clone(), Arc::clone(&seen));
        async move {
            let socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
            let stream = connector.connect(name, socket).await?;
            let leaf = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
            let digest = leaf.map(|leaf| Sha256Digest::of(leaf));
            *seen.lock().unwrap_or_else(PoisonError::into_inner) = digest;
            io::Result::Ok(TokioIo::new(stream))
        }
    });
    // The scheme is of what gRPC sees: TLS is the connector's.
    let endpoint = Endpoint::from_static("http://coordinator.fleet.test").connect_timeout(PATIENCE);
    let mut client = FleetClient::new(endpoint.connect_with_connector(dial).await?);
    let said = client.talk(Outgoing::new(queue, |_| {})).await?.into_inner();
    let peer = peer.lock().unwrap_or_else(PoisonError::into_inner).take();
    Ok((peer.ok_or_else(|| Failure::new("the coordinator showed no certificate"))?, said))
}
