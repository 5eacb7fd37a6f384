//! Taking connections for a core thread: handshakes in threads of their own, bounded in number and in time.

use std::{
    net::TcpListener,
    sync::{Arc, mpsc::SyncSender},
    thread,
};

use rustls::ServerConfig;

use crate::{Failure, duplex::Duplex, proxy::seats::Seats};

/// The most connections of one server at once, in their handshake or after it.
const CONNECTIONS: usize = 256;

pub use crate::proxy::seats::Seat;

/// Somebody came.
pub enum Arrival {
    /// With a certificate, or without where the port takes such. Which device that is, the core says.
    Connected { leaf: Option<Vec<u8>>, duplex: Duplex, seat: Seat },
    /// And did not get through the handshake.
    Stranger { why: String },
}

/// Takes connections until the process ends.
pub fn listen<E: Send + 'static>(
    listener: TcpListener,
    config: Arc<ServerConfig>,
    events: SyncSender<E>,
    wrap: fn(Arrival) -> E,
) -> Result<(), Failure> {
    let seats = Seats::new(CONNECTIONS);
    thread::Builder::new().name("accept".into()).spawn(move || {
        for socket in listener.incoming().flatten() {
            // Over the bound nothing is read, and nobody waits for it.
            let Some(seat) = seats.take() else { continue };
            let (config, events) = (Arc::clone(&config), events.clone());
            // Without a thread the closure is dropped, and with it the socket and the place.
            let _ = thread::Builder::new().name("handshake".into()).spawn(move || {
                let arrival = match Duplex::accept(socket, config) {
                    Ok(duplex) => {
                        Arrival::Connected { leaf: duplex.leaf().map(<[u8]>::to_vec), duplex, seat }
                    }
                    Err(error) => Arrival::Stranger { why: error.to_string() },
                };
                let _ = events.send(wrap(arrival));
            });
        }
    })?;
    Ok(())
}
