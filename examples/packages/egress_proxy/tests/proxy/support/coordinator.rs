//! The feed of a coordinator, spoken by hand: what it says about one lease, and when it falls silent.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use leasehold::{
    egress::Bearer,
    id::{DeviceId, RunId, ToolId},
    lease::{EgressScope, SecretScope},
    protocol::{
        frame::FrameDecoder,
        message::{Document as _, FeedChange, FeedLease, FeedMessage, GateMessage},
    },
    time::Mono,
};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// What the coordinator does.
#[derive(Default)]
pub struct Feed {
    /// The lease is over.
    pub over: AtomicBool,
    /// Nothing is said any more, and nothing is closed.
    pub silent: AtomicBool,
}

impl Feed {
    /// Tells every subscriber that `bearer` holds a lease.
    pub fn start(self: &Arc<Self>, config: Arc<ServerConfig>, bearer: &Bearer) -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let (feed, bearer) = (Arc::clone(self), bearer.clone());
        thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let (feed, bearer, config) = (Arc::clone(&feed), bearer.clone(), Arc::clone(&config));
                thread::spawn(move || feed.tell(socket, config, &bearer));
            }
        });
        address
    }

    /// `None`: the subscriber has left.
    fn tell(&self, socket: TcpStream, config: Arc<ServerConfig>, bearer: &Bearer) -> Option<()> {
        socket.set_read_timeout(Some(Duration::from_millis(20))).ok()?;
        let mut stream = StreamOwned::new(ServerConnection::new(config).ok()?, socket);
        let (begun, mut sequence, mut told_over) = (Instant::now(), 0, false);
        let at = || Mono(1_000_000 + u64::try_from(begun.elapsed().as_millis()).unwrap());
        let (mut decoder, mut buffer) = (FrameDecoder::new(), [0; 4096]);
        loop {
            let mut changes = Vec::new();
            let count = match stream.read(&mut buffer) {
                Ok(0) => return None,
                Ok(count) => count,
                Err(error)
                    if matches!(
                        error.kind(),
                        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                    ) =>
                {
                    0
                }
                Err(_) => return None,
            };
            let mut bytes = &buffer[..count];
            while let Ok(Some(frame)) = decoder.decode(&mut bytes) {
                match GateMessage::read(&frame.body).ok()? {
                    GateMessage::Subscribe { ping, .. } => {
                        sequence = 0;
                        changes.push(FeedChange::Reset { ping });
                        if !self.over.load(Ordering::Relaxed) {
                            changes.push(FeedChange::Live { lease: lease(bearer) });
                        }
                        changes.push(FeedChange::Synced { ping, at: at() });
                    }
                    GateMessage::Ping { ping } => changes.push(FeedChange::KeepAlive { ping, at: at() }),
                    _ => return None,
                }
            }
            if sequence > 0 && self.over.load(Ordering::Relaxed) && !told_over {
                told_over = true;
                changes.push(FeedChange::Over { fence: bearer.fence });
            }
            if self.silent.load(Ordering::Relaxed) {
                continue;
            }
            let mut out = Vec::new();
            for change in changes {
                FeedMessage { epoch: bearer.fence.epoch, sequence, change }.write(&mut out).ok()?;
                sequence += 1;
            }
            stream.write_all(&out).ok()?;
        }
    }
}

fn lease(bearer: &Bearer) -> FeedLease {
    FeedLease {
        fence: bearer.fence,
        worker: bearer.worker.clone(),
        device: DeviceId::new("device-1").unwrap(),
        run: RunId::new("run-1").unwrap(),
        tool: ToolId::new("tool-1").unwrap(),
        egress: EgressScope::all(),
        secrets: SecretScope::none(),
        expires: Mono(1_000_000 + 600_000),
    }
}
