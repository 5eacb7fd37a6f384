//! The policies of this fleet: what evidence lets a worker in, and how long leases last.
//!
//! They are the main job's, but for egress: nothing leaves this fleet, so no proxy has to vouch for anybody, and no worker
//! has the capability to fetch.

use leasehold::{
    attestation::{
        ProtocolRange, WitInterface,
        evidence::EVIDENCE_PREDICATE,
        policy::{
            AttestationPolicy, AttestationPolicyForm, Authority, CapabilityRules, KeyRole, Label,
            ProtocolRule, ReferenceSet, ReferenceValue, Rule, ScopedKey, TimeRules, WitRequirement,
        },
        signature::{Algorithm, TrustedKey},
    },
    capability::CapabilitySet,
    digest::Sha256Digest,
    fleet::{LeaseRules, WorkerFleetPolicy, WorkerFleetPolicyForm},
    id::{FleetId, IssuerId},
    lease::{CleanupRule, EgressScope},
    time::Millis,
};

use crate::{Failure, boot::Paired};

/// The kinds of jobs that workers have a capability for.
const KINDS: [&str; 7] = ["hash", "words", "transform", "sleep", "fail", "overrun", "kill"];

/// The fleet's name.
pub fn fleet() -> Result<FleetId, Failure> {
    FleetId::new("grpc-example").map_err(Failure::coded)
}

/// Who mints the grants.
pub fn issuer() -> Result<IssuerId, Failure> {
    IssuerId::new("grpc-example-service").map_err(Failure::coded)
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

/// What a job may reach: nothing.
pub fn egress_scope() -> Result<EgressScope, Failure> {
    Ok(EgressScope::none())
}

fn label(text: &str) -> Result<Label, Failure> {
    Label::new(text).map_err(Failure::coded)
}

fn reference(digest: Sha256Digest, text: &str) -> Result<Rule<ReferenceSet>, Failure> {
    let value = ReferenceValue { digest, label: label(text)?, window: Default::default() };
    Ok(Rule::Require(ReferenceSet::new(vec![value], Vec::new()).map_err(Failure::coded)?))
}

/// Evidence is signed by the node's own key, and names the image that the supervisor measured.
fn attestation(image: Sha256Digest, devices: &[Paired]) -> Result<AttestationPolicy, Failure> {
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
    form.egress = Rule::Waived { reason: label("nothing leaves this fleet")? };
    for paired in devices {
        let name = paired.worker.as_str();
        let key = TrustedKey::new(name, Algorithm::Ed25519, &paired.evidence_key.0, name);
        form.keys.push(ScopedKey {
            key: key.map_err(Failure::coded)?,
            roles: vec![KeyRole::Evidence],
            workers: vec![name.parse().map_err(Failure::coded)?],
            predicates: vec![EVIDENCE_PREDICATE.to_owned()],
            builders: Vec::new(),
            window: Default::default(),
        });
    }
    AttestationPolicy::try_from(form).map_err(Failure::coded)
}

/// Short times, so that what is lost is soon found lost.
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
    rules.cleanup = CleanupRule::Inspected;
    rules
}

/// The whole policy of the fleet.
pub fn fleet_policy(image: Sha256Digest, devices: &[Paired]) -> Result<WorkerFleetPolicy, Failure> {
    let mut form = WorkerFleetPolicyForm::new(fleet()?, attestation(image, devices)?);
    form.lease = leases();
    form.liveness.heartbeat_every_ms = Millis(300);
    form.liveness.offline_after_ms = Millis(2000);
    form.runs.max_attempts = 9;
    form.limits.admission_per_device = 200;
    WorkerFleetPolicy::try_from(form).map_err(Failure::coded)
}
