//! Taking connections for a core thread: handshakes in threads of their own, bounded in number and in time.

use std::{
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc::SyncSender,
    },
    thread,
};

use rustls::ServerConfig;

use crate::{Failure, duplex::Duplex};

/// The most connections of one server at once, in their handshake or after it.
const CONNECTIONS: usize = 256;

/// The places for connections. Clones are the same places.
#[derive(Clone, Default)]
pub struct Seats(Arc<AtomicUsize>);

/// A place among the connections; free again when it is dropped.
pub struct Seat(Arc<AtomicUsize>);

impl Seats {
    /// A place, where one is free.
    pub fn take(&self) -> Option<Seat> {
        let seat = Seat(Arc::clone(&self.0));
        // Counted first and given back if that was one too many: two threads can never both get the last place.
        (self.0.fetch_add(1, Ordering::Relaxed) < CONNECTIONS).then_some(seat)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

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
    let seats = Seats::default();
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
