//! Taking connections for a core thread: handshakes in threads of their own, bounded in number and in time.

use std::{
    net::TcpListener,
    sync::{Arc, mpsc::SyncSender},
    thread,
};

use rustls::ServerConfig;

use crate::{Failure, duplex::Duplex, proxy::connection_limit::ConnectionLimit};

/// The most connections of one server at once, in their handshake or after it.
const CONNECTIONS: usize = 256;

pub use crate::proxy::connection_limit::ConnectionSlot;

/// Somebody came.
pub enum Arrival {
    /// With a certificate, or without where the port takes such. Which device that is, the core says.
    Connected { leaf: Option<Vec<u8>>, duplex: Duplex, slot: ConnectionSlot },
    /// And did not get through the handshake.
    Stranger { why: String },
}

/// How long nobody accepts after the system could not.
const ACCEPT_PAUSE: std::time::Duration = std::time::Duration::from_millis(100);

/// Takes connections until the process ends.
pub fn listen<E: Send + 'static>(
    listener: TcpListener,
    config: Arc<ServerConfig>,
    events: SyncSender<E>,
    wrap: fn(Arrival) -> E,
) -> Result<(), Failure> {
    let limit = ConnectionLimit::new(CONNECTIONS);
    thread::Builder::new().name("accept".into()).spawn(move || {
        for accepted in listener.incoming() {
            let Ok(socket) = accepted else {
                // Without descriptors the next attempt would fail at once as well.
                thread::sleep(ACCEPT_PAUSE);
                continue;
            };
            // Over the bound nothing is read, and nobody waits for it.
            let Some(slot) = limit.take() else { continue };
            let (config, events) = (Arc::clone(&config), events.clone());
            // Without a thread the closure is dropped, and with it the socket and the place.
            let _ = thread::Builder::new().name("handshake".into()).spawn(move || {
                let arrival = match Duplex::accept(socket, config) {
                    Ok(duplex) => {
                        Arrival::Connected { leaf: duplex.leaf().map(<[u8]>::to_vec), duplex, slot }
                    }
                    Err(error) => Arrival::Stranger { why: error.to_string() },
                };
                let _ = events.send(wrap(arrival));
            });
        }
    })?;
    Ok(())
}
