//! Moving bytes for requests that were allowed: to pinned addresses only, within limits, cut when the lease ends.

use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use leasehold::lease::Fence;
use rustls::server::Acceptor;

use crate::{Failure, duplex::Duplex};

/// How long a connection to an origin may take.
const DIAL: Duration = Duration::from_secs(3);
/// How long either side of an exchange may be silent.
pub const IDLE: Duration = Duration::from_secs(5);
/// The longest TLS hello.
const MAX_HELLO: usize = 16 << 10;

/// A connection to the first of the pinned addresses that answers. No name is looked up here.
pub fn dial(pinned: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut last = io::ErrorKind::AddrNotAvailable.into();
    for address in pinned {
        match TcpStream::connect_timeout(address, DIAL) {
            // What answers must be what was asked, or something between has its own idea of addresses.
            Ok(socket) if socket.peer_addr()? == *address => {
                socket.set_read_timeout(Some(IDLE))?;
                socket.set_write_timeout(Some(IDLE))?;
                return Ok(socket);
            }
            Ok(_) => {}
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Everything that moves bytes under a lease, so that the end of the lease can cut it.
#[derive(Default)]
pub struct Streams {
    next: AtomicU64,
    open: Mutex<BTreeMap<u64, (Fence, Duplex, TcpStream)>>,
}

/// Takes a stream off the list when it is over.
pub struct Registered<'a>(&'a Streams, u64);

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        self.0.lock().remove(&self.1);
    }
}

impl Streams {
    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, (Fence, Duplex, TcpStream)>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a stream on the list.
    pub fn register(
        &self,
        fence: Fence,
        client: &Duplex,
        upstream: &TcpStream,
    ) -> io::Result<Registered<'_>> {
        let key = self.next.fetch_add(1, Ordering::Relaxed);
        self.lock().insert(key, (fence, client.clone(), upstream.try_clone()?));
        Ok(Registered(self, key))
    }

    /// Cuts every stream whose lease is not `live` any more, and says how many.
    pub fn cut(&self, live: impl Fn(Fence) -> bool) -> usize {
        let open = self.lock();
        let dead = open.values().filter(|(fence, ..)| !live(*fence));
        dead.map(|(_, client, upstream)| {
            client.close();
            let _ = upstream.shutdown(Shutdown::Both);
        })
        .count()
    }
}

/// A reader that ends with an error when its time is over, however its bytes are spread.
pub struct Timed<R> {
    inner: R,
    deadline: Instant,
}

impl<R> Timed<R> {
    /// `inner` for so long.
    pub fn new(inner: R, within: Duration) -> Self {
        Self { inner, deadline: Instant::now() + within }
    }
}

impl<R: Read> Read for Timed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if Instant::now() >= self.deadline {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.inner.read(buffer)
    }
}

/// Reads the TLS hello that a tunnel begins with: its bytes, and the server that it names.
pub fn hello(client: &Duplex) -> Result<(Vec<u8>, Option<String>), Failure> {
    let mut bytes = Vec::new();
    let mut acceptor = Acceptor::default();
    let mut buffer = [0; 4096];
    let deadline = Instant::now() + IDLE;
    loop {
        let count = client.read(&mut buffer)?;
        if count == 0 || bytes.len() + count > MAX_HELLO || Instant::now() > deadline {
            return Err(Failure::new("no TLS hello within its limits"));
        }
        bytes.extend_from_slice(&buffer[..count]);
        let mut rest = &buffer[..count];
        while !rest.is_empty() {
            acceptor.read_tls(&mut rest)?;
            match acceptor.accept() {
                Ok(None) => {}
                Ok(Some(hello)) => {
                    return Ok((bytes, hello.client_hello().server_name().map(str::to_owned)));
                }
                Err((error, _)) => return Err(error.into()),
            }
        }
    }
}

/// What a tunnel moved.
#[derive(Clone, Copy, Debug, Default)]
pub struct Moved {
    /// From the worker to the origin.
    pub sent: u64,
    /// From the origin to the worker.
    pub received: u64,
}

/// Moves bytes both ways until both sides end, one is silent for too long, a limit is reached, or it is cut. A limit
/// cuts the tunnel without TLS's farewell, so that what was cut cannot look whole.
pub fn tunnel(
    client: &Duplex,
    upstream: &TcpStream,
    first: &[u8],
    max_sent: u64,
    max_received: u64,
) -> Moved {
    let sent = AtomicU64::new(0);
    let received = AtomicU64::new(0);
    let close = || {
        client.close();
        let _ = upstream.shutdown(Shutdown::Both);
    };
    thread::scope(|scope| {
        scope.spawn(|| {
            let moved = pump(
                &sent,
                max_sent,
                first,
                |buffer| client.read(buffer),
                |data| (&mut &*upstream).write_all(data),
            );
            match moved {
                Ok(()) => drop(upstream.shutdown(Shutdown::Write)),
                Err(_) => close(),
            }
        });
        let moved = pump(
            &received,
            max_received,
            &[],
            |buffer| (&mut &*upstream).read(buffer),
            |data| client.write_all(data),
        );
        match moved {
            Ok(()) => drop(client.finish()),
            Err(_) => close(),
        }
    });
    Moved { sent: sent.into_inner(), received: received.into_inner() }
}

fn pump(
    counter: &AtomicU64,
    limit: u64,
    first: &[u8],
    mut read: impl FnMut(&mut [u8]) -> io::Result<usize>,
    mut write: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut buffer = vec![0; 16 << 10];
    let mut pass = |data: &[u8]| {
        let length = data.len() as u64;
        if counter.fetch_add(length, Ordering::Relaxed).saturating_add(length) > limit {
            return Err(io::Error::from(io::ErrorKind::QuotaExceeded));
        }
        write(data)
    };
    pass(first)?;
    loop {
        match read(&mut buffer)? {
            0 => return Ok(()),
            count => pass(&buffer[..count])?,
        }
    }
}
