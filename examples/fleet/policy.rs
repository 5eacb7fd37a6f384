//! The policies of the show: what evidence lets a worker in, how long leases last, what may leave the fleet.

use leasehold::{
    attestation::{
        ProtocolRange, WitInterface,
        evidence::EVIDENCE_PREDICATE,
        policy::{
            AttestationPolicy, AttestationPolicyForm, Authority, CapabilityRules, EgressRule, KeyRole, Label,
            ProtocolRule, ReferenceSet, ReferenceValue, Rule, ScopedKey, TimeRules, WitRequirement,
        },
        signature::{Algorithm, TrustedKey},
    },
    capability::CapabilitySet,
    digest::Sha256Digest,
    egress::{EgressPolicy, EgressProxyPolicyService},
    fleet::{LeaseRules, WorkerFleetPolicy, WorkerFleetPolicyForm},
    id::{FleetId, IssuerId, RuleId, WorkerId},
    lease::{CleanupRule, EgressScope},
    time::Millis,
};

use crate::{Failure, boot, jobs::Ports};

/// Every kind of job, each of which a worker needs a capability for.
const KINDS: [&str; 8] = ["hash", "words", "transform", "fetch", "sleep", "fail", "overrun", "kill"];

/// The name that jobs reach the local origin by. It has an address in the proxy's resolver only.
pub const ORIGIN: &str = "origin.test";

/// The fleet's name.
pub fn fleet() -> Result<FleetId, Failure> {
    FleetId::new("fleet-example").map_err(Failure::coded)
}

/// Who mints the grants.
pub fn issuer() -> Result<IssuerId, Failure> {
    IssuerId::new("fleet-example-service").map_err(Failure::coded)
}

/// What a worker must be able to do for a job of this kind.
pub fn capability(kind: &str) -> String {
    format!("tool:{kind}")
}

/// What every worker can do.
pub fn capabilities() -> Result<CapabilitySet, Failure> {
    let names = KINDS.map(capability);
    CapabilitySet::parse(names.iter().map(String::as_str)).map_err(Failure::coded)
}

/// The document that grants those capabilities, by its digest.
pub fn authority() -> Sha256Digest {
    Sha256Digest::of(KINDS.map(capability).join("\n").as_bytes())
}

/// What the executable was built from.
pub fn build() -> Sha256Digest {
    Sha256Digest::of(concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION")).as_bytes())
}

/// The interface that workers implement.
pub fn wit() -> Result<WitInterface, Failure> {
    "leasehold:fleet/work@0.1.0".parse().map_err(Failure::coded)
}

/// The SDK protocol versions that workers speak.
pub fn protocol() -> Result<ProtocolRange, Failure> {
    ProtocolRange::new(1, 1).map_err(Failure::coded)
}

fn label(text: &str) -> Result<Label, Failure> {
    Label::new(text).map_err(Failure::coded)
}

fn reference(digest: Sha256Digest, text: &str) -> Result<Rule<ReferenceSet>, Failure> {
    let value = ReferenceValue { digest, label: label(text)?, window: Default::default() };
    Ok(Rule::Require(ReferenceSet::new(vec![value], Vec::new()).map_err(Failure::coded)?))
}

/// A node that may run a worker, and the public key of its evidence.
#[derive(Clone, Copy)]
pub struct Node<'a> {
    /// The worker.
    pub worker: &'a WorkerId,
    /// Ed25519.
    pub key: &'a [u8],
}

/// Who enforces egress, and by which policy.
#[derive(Clone, Copy)]
pub struct Enforced<'a> {
    /// The key that bindings are signed with, Ed25519.
    pub key: &'a [u8],
    /// The digest of the policy in force there.
    pub policy: Sha256Digest,
}

/// Evidence is signed by the node's own key, names the image that the supervisor measured, and carries the proxy's
/// word that this worker's traffic goes through it under the policy that is in force there.
fn attestation(
    image: Sha256Digest,
    devices: &[Node<'_>],
    egress: Option<Enforced<'_>>,
) -> Result<AttestationPolicy, Failure> {
    let mut form = AttestationPolicyForm::new(TimeRules {
        max_age_ms: Millis::from_secs(60),
        max_lifetime_ms: Millis::from_secs(3600),
        future_skew_ms: Millis(1000),
        expiry_skew_ms: Millis::ZERO,
    });
    form.image = reference(image, "the executable that the supervisor started")?;
    form.artifact = reference(image, "the executable that the supervisor started")?;
    form.build = reference(build(), "this package")?;
    form.protocol = Rule::Require(Some(ProtocolRule { range: protocol()?, denied: Vec::new() }));
    form.wit = Rule::Require(vec![WitRequirement { minimum: wit()?, denied: Vec::new() }]);
    form.capabilities = CapabilityRules {
        authorities: vec![Authority {
            digest: authority(),
            label: label("the example's kinds of jobs")?,
            grants: capabilities()?,
            window: Default::default(),
        }],
        trusted: capabilities()?,
    };
    form.egress = match egress {
        Some(enforced) => Rule::Require(EgressRule { policies: vec![enforced.policy] }),
        None => Rule::Waived { reason: label("no lease of this fleet has egress")? },
    };
    let key = |name: &str, bytes: &[u8]| {
        TrustedKey::new(name, Algorithm::Ed25519, bytes, name).map_err(Failure::coded)
    };
    for node in devices {
        let name = node.worker.as_str();
        form.keys.push(ScopedKey {
            key: key(name, node.key)?,
            roles: vec![KeyRole::Evidence],
            workers: vec![name.parse().map_err(Failure::coded)?],
            predicates: vec![EVIDENCE_PREDICATE.to_owned()],
            builders: Vec::new(),
            window: Default::default(),
        });
    }
    if let Some(enforced) = egress {
        form.keys.push(ScopedKey {
            key: key("proxy", enforced.key)?,
            roles: vec![KeyRole::EgressProxy],
            workers: vec!["*".parse().map_err(Failure::coded)?],
            predicates: Vec::new(),
            builders: Vec::new(),
            window: Default::default(),
        });
    }
    AttestationPolicy::try_from(form).map_err(Failure::coded)
}

/// Short times, so that a show that kills workers does not take long: a lease must be renewed within two seconds, and
/// lasts four at most.
pub fn leases() -> LeaseRules {
    let mut rules = LeaseRules::default();
    rules.ttl_max_ms = Millis(2000);
    rules.ttl_min_ms = Millis(500);
    rules.renew_every_ms = Millis(600);
    rules.longest_ms = Millis(4000);
    rules.clock_budget_ms = Millis(200);
    rules.max_staleness_ms = Millis(800);
    rules.grace_ms = Millis(1000);
    rules.start_ms = Millis(3000);
    rules.acknowledge_ms = Millis(3000);
    rules
}

/// The whole policy of the fleet.
pub fn fleet_policy(
    image: Sha256Digest,
    devices: &[Node<'_>],
    egress: Option<Enforced<'_>>,
    cleanup: CleanupRule,
) -> Result<WorkerFleetPolicy, Failure> {
    let mut form = WorkerFleetPolicyForm::new(fleet()?, attestation(image, devices, egress)?);
    form.lease = leases();
    form.lease.cleanup = cleanup;
    form.liveness.heartbeat_every_ms = Millis(300);
    form.liveness.offline_after_ms = Millis(2000);
    form.runs.max_attempts = 9;
    form.limits.admission_per_device = 200;
    WorkerFleetPolicy::try_from(form).map_err(Failure::coded)
}

/// The policy for a roll-out: another executable is trusted beside the one that runs, so nobody has to attest again.
pub fn roll_out(policy: &WorkerFleetPolicy) -> Result<WorkerFleetPolicy, Failure> {
    let mut form = WorkerFleetPolicyForm::from(policy.clone());
    let mut attestation = AttestationPolicyForm::from(form.attestation);
    let next = ReferenceValue {
        digest: Sha256Digest::of(b"the executable of the next release"),
        label: label("the next release")?,
        window: Default::default(),
    };
    for rule in [&mut attestation.image, &mut attestation.artifact] {
        let trusted = rule.required().map(ReferenceSet::values).unwrap_or_default();
        let values = trusted.iter().cloned().chain([next.clone()]).collect();
        *rule = Rule::Require(ReferenceSet::new(values, Vec::new()).map_err(Failure::coded)?);
    }
    form.attestation = AttestationPolicy::try_from(attestation).map_err(Failure::coded)?;
    WorkerFleetPolicy::try_from(form).map_err(Failure::coded)
}

/// The policy that a coordinator begins with.
pub fn at_start(boot: &boot::Coordinator) -> Result<WorkerFleetPolicy, Failure> {
    let nodes: Vec<_> = boot
        .devices
        .iter()
        .map(|paired| Node { worker: &paired.worker, key: &paired.evidence_key.0 })
        .collect();
    // Whoever pairs has its scratch directories to itself.
    let cleanup = if boot.pairing { CleanupRule::Reported } else { CleanupRule::Inspected };
    let Some(boot::Egress { key, origin, .. }) = &boot.egress else {
        return fleet_policy(boot.image, &nodes, None, cleanup);
    };
    let compiled = EgressProxyPolicyService::compile(&egress(*origin)?).map_err(Failure::coded)?;
    let enforced = Enforced { key: &key.0, policy: compiled.digest() };
    fleet_policy(boot.image, &nodes, Some(enforced), cleanup)
}

/// The same policy with long times: whoever loses a lease under it has not been heard for very long.
pub fn patient(policy: WorkerFleetPolicy) -> Result<WorkerFleetPolicy, Failure> {
    let mut form = WorkerFleetPolicyForm::from(policy);
    form.lease.ttl_max_ms = Millis::from_secs(30);
    form.lease.longest_ms = Millis::from_secs(600);
    form.lease.start_ms = Millis::from_secs(30);
    form.lease.acknowledge_ms = Millis::from_secs(30);
    form.liveness.offline_after_ms = Millis::from_secs(30);
    form.limits.admission_per_device = 10_000;
    WorkerFleetPolicy::try_from(form).map_err(Failure::coded)
}

/// One host, by two rules: plain requests, and tunnels. It is on loopback, so both rules declare that address.
pub fn egress(ports: Ports) -> Result<EgressPolicy, Failure> {
    let rule = |id: &str, scheme: &str, port: u16, method: &str| {
        serde_json::json!({
            "id": id,
            "hosts": [ORIGIN],
            "schemes": [scheme],
            "ports": [port],
            "methods": [method],
            "private_addresses": ["127.0.0.1/32"],
            "max_request_bytes": 65_536,
            "max_response_bytes": 262_144,
        })
    };
    let rules =
        [rule("origin", "http", ports.http, "GET"), rule("origin-tls", "https", ports.https, "CONNECT")];
    Ok(serde_json::from_value(serde_json::json!({ "rules": rules }))?)
}

/// What a job that fetches may use: both rules by name.
pub fn egress_scope() -> Result<EgressScope, Failure> {
    let rules = ["origin", "origin-tls"].map(RuleId::new);
    let rules = rules.into_iter().collect::<Result<Vec<_>, _>>().map_err(Failure::coded)?;
    EgressScope::only(rules).map_err(Failure::coded)
}
