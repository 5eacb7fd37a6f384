//! Keeps a gate's view of leases up to date, from a thread of its own: a connection to the coordinator over mutual TLS, and
//! another one when it ends.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::{thread, time::Duration};

use leasehold::digest::Sha256Digest;
use leasehold::gate::Gate;
use leasehold::shell::{Blocking, DriveError, Driver, Over, SystemClock};
use rustls::{ClientConfig, ClientConnection, StreamOwned, pki_types::ServerName};

/// How late a deadline may be noticed.
const LOOK: Duration = Duration::from_millis(20);
/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// How long until the next try.
const AGAIN: Duration = Duration::from_millis(100);

/// Follows the feed of the coordinator at `address`, whose certificate is for `name`, until the process ends. Whatever
/// becomes of the connection, the gate lets nothing through that it is not sure of.
pub fn follow(
    gate: Arc<Mutex<Gate>>,
    clock: Arc<SystemClock>,
    address: SocketAddr,
    name: ServerName<'static>,
    tls: Arc<ClientConfig>,
) {
    thread::spawn(move || -> Result<(), DriveError> {
        let mut driver = Driver::new(gate);
        loop {
            if let Ok((stream, peer)) = connect(address, &name, &tls) {
                driver.attach(Blocking(stream), peer, &*clock)?;
                while driver.ended().is_none() {
                    driver.turn(&*clock)?;
                }
            }
            thread::sleep(AGAIN);
        }
    });
}

type Stream = Over<StreamOwned<ClientConnection, TcpStream>, TcpStream>;

fn connect(
    address: SocketAddr,
    name: &ServerName<'static>,
    tls: &Arc<ClientConfig>,
) -> io::Result<(Stream, Sha256Digest)> {
    let mut socket = TcpStream::connect_timeout(&address, HANDSHAKE)?;
    socket.set_read_timeout(Some(HANDSHAKE))?;
    socket.set_write_timeout(Some(HANDSHAKE))?;
    let mut connection = ClientConnection::new(Arc::clone(tls), name.clone()).map_err(io::Error::other)?;
    connection.complete_io(&mut socket)?;
    let leaf = connection.peer_certificates().and_then(|chain| chain.first());
    let peer = leaf.map(|leaf| Sha256Digest::of(leaf)).ok_or(io::ErrorKind::PermissionDenied)?;
    socket.set_read_timeout(Some(LOOK))?;
    let handle = socket.try_clone()?;
    Ok((Over::new(StreamOwned::new(connection, socket), handle), peer))
}
