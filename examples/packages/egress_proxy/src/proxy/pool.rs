//! Connections to origins that are used again. Each request is judged anew; a connection serves it only where origin,
//! pinned address, policy, lease and worker are those that it was made for, so no verdict is used twice.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::Mutex,
    time::{Duration, Instant},
};

use bytes::Bytes;
use h2::client::SendRequest;
use leasehold::{
    digest::Sha256Digest,
    egress::{ConnectPlan, Scheme},
    id::WorkerId,
    lease::Fence,
};

use super::{
    locked,
    stream::{Reader, Writer},
};

/// The most connections that wait for one origin under one lease.
const EACH: usize = 64;

/// What a connection is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    worker: WorkerId,
    fence: Fence,
    policy: Sha256Digest,
    secure: bool,
    host: String,
    port: u16,
    /// Whether HTTP/2 was offered.
    h2: bool,
}

impl Key {
    /// What a connection for `plan` is for.
    pub fn of(plan: &ConnectPlan, h2: bool) -> Self {
        Self {
            worker: plan.worker().clone(),
            fence: plan.fence(),
            policy: plan.policy(),
            secure: plan.scheme() == Scheme::Https,
            host: plan.host().to_string(),
            port: plan.port(),
            h2,
        }
    }

    /// The digest of the policy whose permit it was made for.
    pub const fn policy(&self) -> Sha256Digest {
        self.policy
    }
}

/// A connection to an origin.
pub enum Connection {
    /// HTTP/1.1, for one exchange at a time.
    H1(Reader, Writer),
    /// HTTP/2, for many.
    H2(SendRequest<Bytes>),
}

struct Idle {
    connection: Connection,
    peer: SocketAddr,
    since: Instant,
}

/// The connections that wait.
pub struct Pool {
    idle: Mutex<HashMap<Key, Vec<Idle>>>,
    most: usize,
    longest: Duration,
}

impl Pool {
    /// A pool of at most `most` connections, each for at most `longest`.
    pub fn new(most: usize, longest: Duration) -> Self {
        Self { idle: Mutex::default(), most, longest }
    }

    /// A connection for `plan`, to one of its pinned addresses.
    pub fn take(&self, key: &Key, plan: &ConnectPlan) -> Option<(Connection, SocketAddr)> {
        let mut idle = locked(&self.idle);
        let waiting = idle.get_mut(key)?;
        while let Some(mut last) = waiting.pop() {
            // The name may lead elsewhere by now, and an origin that has said something has most likely said goodbye.
            if last.since.elapsed() > self.longest || plan.confirm(last.peer).is_err() {
                continue;
            }
            match &mut last.connection {
                Connection::H1(reader, _) => {
                    if !reader.has_stirred() {
                        return Some((last.connection, last.peer));
                    }
                }
                // Shared: it goes on waiting for the next one as well.
                Connection::H2(sender) => {
                    let shared = sender.clone();
                    let peer = last.peer;
                    last.since = Instant::now();
                    waiting.push(last);
                    return Some((Connection::H2(shared), peer));
                }
            }
        }
        idle.remove(key);
        None
    }

    /// Forgets the HTTP/2 connections of `key`: one of them does not serve any more.
    pub fn forget(&self, key: &Key) {
        locked(&self.idle).remove(key);
    }

    /// Takes a connection back.
    pub fn give(&self, key: Key, connection: Connection, peer: SocketAddr) {
        let mut idle = locked(&self.idle);
        let all: usize = idle.values().map(Vec::len).sum();
        let waiting = idle.entry(key).or_default();
        if all < self.most && waiting.len() < EACH {
            waiting.push(Idle { connection, peer, since: Instant::now() });
        }
    }

    /// Closes the connections that have waited for too long, and those of leases that are not `live`.
    pub fn sweep(&self, live: impl Fn(Fence) -> bool) {
        locked(&self.idle).retain(|key, waiting| {
            waiting.retain(|idle| idle.since.elapsed() <= self.longest);
            !waiting.is_empty() && live(key.fence)
        });
    }

    /// Closes all of them.
    pub fn clear(&self) {
        locked(&self.idle).clear();
    }

    /// How many wait.
    pub fn count(&self) -> usize {
        locked(&self.idle).values().map(Vec::len).sum()
    }
}
