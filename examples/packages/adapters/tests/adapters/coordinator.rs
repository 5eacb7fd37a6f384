//! A coordinator as far as an enforcement point sees it: the lease feed, over mutual TLS on a real socket.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use leasehold::lease::Epoch;
use leasehold::protocol::frame::FrameDecoder;
use leasehold::protocol::message::{Document, FeedChange, FeedLease, FeedMessage, GateMessage};
use leasehold::shell::SystemClock;
use leasehold::time::{Clock, Mono};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::leases::{fence, lease};

pub struct Coordinator {
    pub address: SocketAddr,
    orders: mpsc::Sender<u64>,
}

impl Coordinator {
    /// Serves the feed of a fleet in which `worker-1` holds lease 1.
    pub fn start(config: ServerConfig) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (orders, taken) = mpsc::channel();
        let clock = SystemClock::start();
        let live = Arc::new(Mutex::new(vec![lease("worker-1", 1, clock.now().mono)]));
        let config = Arc::new(config);
        thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                socket.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
                let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
                let mut feed = Feed { stream: StreamOwned::new(connection, socket), sequence: 0 };
                // Until this enforcement point is gone; then the next one.
                let _ = feed.serve(&live, &taken, &clock);
            }
        });
        Self { address, orders }
    }

    /// Ends a lease.
    pub fn end(&self, counter: u64) {
        self.orders.send(counter).unwrap();
    }
}

struct Feed<S> {
    stream: S,
    sequence: u64,
}

impl<S: Read + Write> Feed<S> {
    fn say(&mut self, change: FeedChange) -> std::io::Result<()> {
        let mut bytes = Vec::new();
        FeedMessage { epoch: Epoch(1), sequence: self.sequence, change }.write(&mut bytes).unwrap();
        self.sequence += 1;
        self.stream.write_all(&bytes)?;
        self.stream.flush()
    }

    fn serve(
        &mut self,
        live: &Mutex<Vec<FeedLease>>,
        orders: &mpsc::Receiver<u64>,
        clock: &SystemClock,
    ) -> std::io::Result<()> {
        let at = || -> Mono { clock.now().mono };
        let mut decoder = FrameDecoder::new();
        let mut buffer = [0; 4096];
        loop {
            for counter in orders.try_iter() {
                live.lock().unwrap().retain(|lease| lease.fence != fence(counter));
                self.say(FeedChange::Over { fence: fence(counter) })?;
            }
            let count = match self.stream.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => count,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => continue,
                Err(error) => return Err(error),
            };
            let mut bytes = &buffer[..count];
            while let Some(frame) = decoder.decode(&mut bytes).unwrap() {
                match GateMessage::read(&frame.body).unwrap() {
                    GateMessage::Subscribe { ping, .. } => {
                        self.sequence = 0;
                        self.say(FeedChange::Reset { ping })?;
                        for lease in live.lock().unwrap().clone() {
                            self.say(FeedChange::Live { lease })?;
                        }
                        self.say(FeedChange::Synced { ping, at: at() })?;
                    }
                    GateMessage::Ping { ping } => self.say(FeedChange::KeepAlive { ping, at: at() })?,
                    _ => {}
                }
            }
        }
    }
}
