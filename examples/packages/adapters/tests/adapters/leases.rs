//! A view of leases as a feed would have filled it, and the egress of a worker that holds one.

use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use leasehold::egress::{Bearer, EgressClient, EgressProxyPolicyService, Secret, SecretError, SecretStore};
use leasehold::gate::{LeaseView, ViewRules};
use leasehold::lease::{EgressScope, Epoch, Fence, SecretRef, SecretScope};
use leasehold::protocol::message::{FeedChange, FeedLease, FeedMessage};
use leasehold::time::{Millis, Mono, Now};

/// Now, for everything that does not wait.
pub const NOW: Now = Now { mono: Mono(1_000), wall: leasehold::time::Wall(0) };

pub fn fence(counter: u64) -> Fence {
    Fence::new(Epoch(1), counter)
}

/// The lease `counter` of `worker`, with a minute to go and everything in scope.
pub fn lease(worker: &str, counter: u64, now: Mono) -> FeedLease {
    FeedLease {
        fence: fence(counter),
        worker: worker.parse().unwrap(),
        device: "device-1".parse().unwrap(),
        run: "run-1".parse().unwrap(),
        tool: "tool-1".parse().unwrap(),
        egress: EgressScope::all(),
        secrets: SecretScope::all(),
        expires: now.plus(Millis::from_secs(60)),
    }
}

/// A view that one test shares with what it tests.
pub struct Leases {
    pub view: Arc<Mutex<LeaseView>>,
    sequence: u64,
}

impl Leases {
    /// A synced view in which `worker-1` holds lease 1 and `worker-2` lease 2.
    pub fn new() -> Self {
        let rules = ViewRules::new(Millis(2_000), Millis(200), 100).unwrap();
        let mut leases = Self { view: Arc::new(Mutex::new(LeaseView::new(rules))), sequence: 0 };
        let ping = leases.view.lock().unwrap().subscribe(NOW.mono);
        leases.tell(FeedChange::Reset { ping });
        for (worker, counter) in [("worker-1", 1), ("worker-2", 2)] {
            leases.tell(FeedChange::Live { lease: lease(worker, counter, NOW.mono) });
        }
        leases.tell(FeedChange::Synced { ping, at: NOW.mono });
        leases
    }

    fn tell(&mut self, change: FeedChange) {
        let message = FeedMessage { epoch: Epoch(1), sequence: self.sequence, change };
        self.sequence += 1;
        self.view.lock().unwrap().apply(&message, &mut Vec::new()).unwrap();
    }

    /// The coordinator ends a lease.
    pub fn end(&mut self, counter: u64) {
        self.tell(FeedChange::Over { fence: fence(counter) });
    }

    /// The way out of `worker-1`, under `policy`.
    pub fn egress(&self, policy: &serde_json::Value) -> EgressClient {
        let policy = serde_json::from_value(policy.clone()).unwrap();
        let policy = EgressProxyPolicyService::compile(&policy).unwrap();
        let bearer = Bearer { worker: "worker-1".parse().unwrap(), fence: fence(1) };
        EgressClient::new(policy, bearer, self.view.clone(), Arc::new(NOW)).with_secrets(Arc::new(Vault))
    }
}

/// Every secret is `hunter2`.
struct Vault;

impl SecretStore for Vault {
    fn secret(&self, _: &SecretRef) -> Result<Option<Secret>, SecretError> {
        Secret::new(b"hunter2".to_vec()).map(Some)
    }
}

/// The answers to lookups, one list after the other for each name; the last one stays. And every name that was asked.
#[derive(Clone, Default)]
pub struct Names {
    pub answers: Arc<Mutex<Vec<(&'static str, Vec<&'static str>)>>>,
    pub asked: Arc<Mutex<Vec<String>>>,
}

impl Names {
    /// Makes the answers to `name`: one of these for each lookup.
    pub fn with(self, name: &'static str, answers: &[&'static str]) -> Self {
        self.answers.lock().unwrap().push((name, answers.to_vec()));
        self
    }

    /// As the adapters want it.
    pub fn lookup(&self) -> impl Fn(&str) -> Vec<IpAddr> + Clone + Send + Sync + 'static {
        let names = self.clone();
        move |name| {
            names.asked.lock().unwrap().push(name.to_owned());
            let mut answers = names.answers.lock().unwrap();
            let known = answers.iter_mut().find(|(known, _)| *known == name);
            let answer = known.map(|(_, rest)| if rest.len() > 1 { rest.remove(0) } else { rest[0] });
            answer.map(|ip| ip.parse().unwrap()).into_iter().collect()
        }
    }
}
