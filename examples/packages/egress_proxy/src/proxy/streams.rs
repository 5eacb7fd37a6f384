//! Everything that moves bytes under a lease, on a list, so that what ends a lease or changes the policy ends it, too.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use leasehold::{
    egress::{Bearer, ConnectPlan, EgressProxyPolicyService, EgressRequest, LeaseCheck, Step},
    lease::Fence,
    time::Mono,
};
use tokio_util::sync::CancellationToken;

use super::{Refused, locked};

/// How a stream is told to end, and why.
#[derive(Default)]
pub struct Cut {
    token: CancellationToken,
    why: OnceLock<Refused>,
}

impl Cut {
    /// Waits until the stream has to end.
    pub async fn wait(&self) -> Refused {
        self.token.cancelled().await;
        self.why.get().cloned().unwrap_or_else(|| Refused::new(500, "proxy.cut", "cut"))
    }

    fn now(&self, why: Refused) {
        let _ = self.why.set(why);
        self.token.cancel();
    }
}

/// What is known of a stream: enough to judge it again.
struct Open {
    bearer: Bearer,
    method: String,
    /// The URL, or the authority of a tunnel.
    target: String,
    tunnel: bool,
    /// Where it is connected to, once it is.
    peer: OnceLock<SocketAddr>,
    cut: Cut,
}

/// The list.
#[derive(Default)]
pub struct Streams {
    next: AtomicU64,
    open: Mutex<HashMap<u64, Arc<Open>>>,
}

/// A stream on the list; off it when it is dropped.
pub struct Registered<'a> {
    streams: &'a Streams,
    key: u64,
    open: Arc<Open>,
}

impl Registered<'_> {
    /// How it is told to end.
    pub fn cut(&self) -> &Cut {
        &self.open.cut
    }

    /// It is connected to `peer`.
    pub fn reached(&self, peer: SocketAddr) {
        let _ = self.open.peer.set(peer);
    }
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        locked(&self.streams.open).remove(&self.key);
    }
}

impl Streams {
    /// Puts what carries `plan` out on the list.
    pub fn register(&self, bearer: &Bearer, plan: &ConnectPlan) -> Registered<'_> {
        let key = self.next.fetch_add(1, Ordering::Relaxed);
        let open = Arc::new(Open {
            bearer: bearer.clone(),
            method: plan.method().to_owned(),
            target: plan.url().to_owned(),
            tunnel: plan.is_tunnel(),
            peer: OnceLock::new(),
            cut: Cut::default(),
        });
        locked(&self.open).insert(key, Arc::clone(&open));
        Registered { streams: self, key, open }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        locked(&self.open).len()
    }

    /// Ends every stream whose lease is not `live` any more, and says how many.
    pub fn cut(&self, live: impl Fn(Fence) -> bool, why: &Refused) -> usize {
        let mut known = HashMap::new();
        let mut cut = 0;
        for open in locked(&self.open).values() {
            let fence = open.bearer.fence;
            if !*known.entry(fence).or_insert_with(|| live(fence)) && !open.cut.token.is_cancelled() {
                open.cut.now(why.clone());
                cut += 1;
            }
        }
        cut
    }

    /// Ends every stream that `policy` would not allow to where it is connected, and says how many.
    pub fn judge_again(
        &self,
        policy: &EgressProxyPolicyService,
        leases: &dyn LeaseCheck,
        now: Mono,
        why: &str,
    ) -> usize {
        // Judged outside of the lock: there may be many, and requests wait for it.
        let open: Vec<Arc<Open>> = locked(&self.open).values().cloned().collect();
        let mut cut = 0;
        for stream in open.iter().filter(|open| !open.cut.token.is_cancelled()) {
            let request = match stream.tunnel {
                true => EgressRequest::tunnel(&stream.method, &stream.target),
                false => EgressRequest::url(&stream.method, &stream.target),
            };
            let verdict = match policy.judge(&request, &stream.bearer, leases, now) {
                Step::Decided(verdict) => verdict,
                // What is not connected yet redeems its permit under the policy in force.
                Step::Lookup(pending) => match stream.peer.get() {
                    Some(peer) => pending.answers([peer.ip()]),
                    None => continue,
                },
            };
            if let Some(refusal) = verdict.refusal() {
                stream.cut.now(Refused::new(403, why, format!("the policy in force refuses it: {refusal}")));
                cut += 1;
            }
        }
        cut
    }
}
