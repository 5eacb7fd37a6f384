//! One policy, one lease, and a decision over them.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    net::IpAddr,
};

use leasehold::{
    code::{Code, Coded},
    egress::{
        Bearer, ConnectPlan, EgressPolicy, EgressProxyPolicyService, EgressRequest, EgressVerdict,
        HeaderField, LeaseCheck, LeaseRefusal, LeaseStanding, Secret, SecretError, SecretStore,
    },
    id::WorkerId,
    lease::{EgressScope, Epoch, Fence, SecretRef, SecretScope},
    time::Mono,
};
use serde_json::{Value, json};

pub const SECRET: &str = "tok-4f9c2e";

/// Leases that tests change under way.
pub struct Leases(pub RefCell<BTreeMap<Fence, Result<LeaseStanding, LeaseRefusal>>>);

impl LeaseCheck for Leases {
    fn standing(&self, fence: Fence, _now: Mono) -> Result<LeaseStanding, LeaseRefusal> {
        self.0.borrow().get(&fence).cloned().unwrap_or(Err(LeaseRefusal::Unknown))
    }
}

pub struct Vault;

impl SecretStore for Vault {
    fn secret(&self, reference: &SecretRef) -> Result<Option<Secret>, SecretError> {
        match reference.as_str() {
            "vault:gone" => Ok(None),
            "vault:sealed" => Err(SecretError::Store),
            _ => Secret::new(SECRET.as_bytes().to_vec()).map(Some),
        }
    }
}

pub struct World {
    pub service: EgressProxyPolicyService,
    pub leases: Leases,
    pub bearer: Bearer,
    pub answers: Vec<IpAddr>,
    pub lookups: Cell<u32>,
}

pub const FENCE: Fence = Fence::new(Epoch(1), 7);

pub fn worker(name: &str) -> WorkerId {
    WorkerId::new(name).unwrap()
}

pub fn standing() -> LeaseStanding {
    LeaseStanding {
        worker: worker("w1"),
        expires: Mono(600_000),
        egress: EgressScope::all(),
        secrets: SecretScope::all(),
    }
}

pub fn compile(policy: Value) -> Result<EgressProxyPolicyService, Code> {
    let policy: EgressPolicy = serde_json::from_value(policy).expect("the form of the policy");
    EgressProxyPolicyService::compile(&policy).map_err(|error| error.code())
}

pub fn world(policy: Value) -> World {
    World {
        service: compile(policy).expect("the policy"),
        leases: Leases(RefCell::new(BTreeMap::from([(FENCE, Ok(standing()))]))),
        bearer: Bearer { worker: worker("w1"), fence: FENCE },
        answers: vec!["93.184.216.34".parse().unwrap()],
        lookups: Cell::new(0),
    }
}

impl World {
    pub fn judge(&self, request: &EgressRequest<'_>) -> EgressVerdict {
        self.service.decide(request, &self.bearer, &self.leases, Mono(0), |_| {
            self.lookups.set(self.lookups.get() + 1);
            self.answers.clone()
        })
    }

    pub fn get(&self, url: &str) -> EgressVerdict {
        self.judge(&EgressRequest::url("GET", url))
    }

    pub fn code(&self, url: &str) -> &'static str {
        self.get(url).code().as_str()
    }

    pub fn answering(mut self, answers: &[&str]) -> Self {
        self.answers = answers.iter().map(|text| text.parse().unwrap()).collect();
        self
    }

    pub fn plan(&self, request: &EgressRequest<'_>) -> ConnectPlan {
        let permit = self.judge(request).into_permit().expect("allowed");
        permit.redeem(&self.bearer, &self.leases, Mono(0)).expect("redeemed")
    }

    pub fn set(&self, standing: Result<LeaseStanding, LeaseRefusal>) {
        self.leases.0.borrow_mut().insert(FENCE, standing);
    }
}

pub fn one_rule(extra: Value) -> Value {
    let mut rule = json!({"id": "api", "hosts": ["api.example.com"]});
    for (key, value) in extra.as_object().unwrap() {
        rule[key] = value.clone();
    }
    json!({"rules": [rule]})
}

pub fn credential() -> Value {
    json!({"header": "authorization", "secret": "vault:team/api", "prefix": "Bearer "})
}

pub fn fields<'a>(pairs: &'a [(&'a str, &'a str)]) -> Vec<HeaderField<'a>> {
    pairs.iter().map(|(name, value)| HeaderField { name, value: value.as_bytes() }).collect()
}
