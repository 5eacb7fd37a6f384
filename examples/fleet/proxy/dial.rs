//! To the pinned addresses and nowhere else, and everything that moves there on a list, so that the end of a lease
//! can cut it.

use std::{
    collections::BTreeMap,
    io,
    net::{SocketAddr, TcpStream},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use leasehold::{egress::ConnectPlan, lease::Fence};

use super::{
    Refused,
    channel::Channel,
    refused::{OWN_ADDRESS, UNREACHABLE},
};

/// Connects to the first of the plan's addresses that answers. No name is looked up here.
pub fn dial(plan: &ConnectPlan, own: &[SocketAddr], within: Duration) -> Result<TcpStream, Refused> {
    let itself = || Refused::new(403, OWN_ADDRESS, "the address is one of this proxy's own");
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in plan.addresses() {
        if own.iter().any(|listener| is_own(*listener, *address)) {
            return Err(itself());
        }
        let socket = match TcpStream::connect_timeout(address, within) {
            Ok(socket) => socket,
            Err(error) => {
                last = error;
                continue;
            }
        };
        let failed = |error: io::Error| Refused::upstream(UNREACHABLE, &error);
        let reached = socket.peer_addr().map_err(failed)?;
        // What answers must be what was asked, or something between has its own idea of addresses.
        plan.confirm(reached).map_err(|error| Refused::coded(502, &error))?;
        // A listener on every address is found by the connection's own end: it is where it leads.
        let ours = socket.local_addr().map_err(failed)?;
        if ours.ip() == reached.ip() && own.iter().any(|listener| listener.port() == reached.port()) {
            return Err(itself());
        }
        return Ok(socket);
    }
    Err(Refused::upstream(UNREACHABLE, &last))
}

fn is_own(listener: SocketAddr, address: SocketAddr) -> bool {
    let same = |ip: std::net::IpAddr| ip.to_canonical() == address.ip().to_canonical();
    listener.port() == address.port()
        && (same(listener.ip()) || listener.ip().is_unspecified() && address.ip().is_loopback())
}

/// Everything that moves bytes under a lease.
#[derive(Default)]
pub struct Streams {
    next: AtomicU64,
    open: Mutex<BTreeMap<u64, (Fence, [Channel; 2])>>,
}

/// Takes a stream off the list when it is over.
pub struct Registered<'a>(&'a Streams, u64);

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        self.0.lock().remove(&self.1);
    }
}

impl Streams {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, (Fence, [Channel; 2])>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a stream on the list.
    pub fn register(&self, fence: Fence, client: &Channel, upstream: &Channel) -> Registered<'_> {
        let key = self.next.fetch_add(1, Ordering::Relaxed);
        self.lock().insert(key, (fence, [client.clone(), upstream.clone()]));
        Registered(self, key)
    }

    /// Cuts every stream whose lease is not `live` any more, and says how many.
    pub fn cut(&self, live: impl Fn(Fence) -> bool) -> usize {
        let open = self.lock();
        let dead = open.values().filter(|(fence, _)| !live(*fence));
        dead.map(|(_, ends)| ends.iter().for_each(Channel::close)).count()
    }
}
