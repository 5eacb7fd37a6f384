//! What everybody in a simulation has agreed on: certificates, keys, the policy, what evidence states.

use alloc::{boxed::Box, format, vec::Vec};

use super::random::Random;
use crate::{
    attestation::{ProtocolRange, WorkerClaims, signature::DefaultVerifier},
    digest::Sha256Digest,
    fleet::{Setup, UsedOnce, WorkerFleetPolicy, WorkerFleetPolicyForm},
    id::FleetId,
    testing::{World, samples::leaf_of},
    time::{Millis, Now},
};

/// The certificate of device `n`, exact DER. `turn` counts those that it had before.
pub(super) fn leaf(n: u32, turn: u8) -> Vec<u8> {
    leaf_of(&[[turn].as_slice(), &n.to_be_bytes()].concat())
}

/// What the coordinator shows to everybody.
pub(super) fn coordinator() -> Sha256Digest {
    Sha256Digest::of(b"the coordinator")
}

/// The keys of the coordinator.
pub(super) fn setup() -> Setup {
    Setup::new([7; 64], coordinator(), Box::new(DefaultVerifier))
}

/// The key of the indexes, as [`setup`] has it.
pub(super) const INDEX_KEY: [u8; 16] = [7; 16];

/// The given policy, taking the evidence that simulated workers bring.
pub(super) fn adapted(policy: WorkerFleetPolicy) -> WorkerFleetPolicy {
    let mut form = WorkerFleetPolicyForm::from(policy);
    form.attestation = World::policy(|_| {}).attestation.clone();
    form.try_into().expect("a valid policy with another section for evidence")
}

/// What worker `n` states of itself, over `nonce`. Its certificate is the one of this turn.
pub(super) fn claims(
    n: u32,
    turn: u8,
    letters: &str,
    fleet: &FleetId,
    nonce: Vec<u8>,
    now: Now,
    lifetime: Millis,
) -> WorkerClaims {
    WorkerClaims {
        worker: World::worker_id(n),
        device: World::device_id(n),
        audience: fleet.clone(),
        image: Sha256Digest::of(b"image"),
        build: Sha256Digest::of(b"build"),
        artifact: Sha256Digest::of(b"artifact"),
        protocol: ProtocolRange::new(1, 1).expect("a range"),
        wit: Vec::new(),
        capabilities: World::capabilities(letters),
        authority: Sha256Digest::of(b"authority"),
        egress: None,
        nonce,
        issued: now.wall,
        expires: now.wall.plus(lifetime),
        certificate: Sha256Digest::of(&leaf(n, turn)),
    }
}

/// A policy drawn from a seed: short times, so that much happens, and each member that changes what happens on or off.
///
/// # Panics
/// Never: every policy that it draws is valid.
pub fn drawn_policy(seed: u64) -> WorkerFleetPolicy {
    let mut random = Random::new(seed ^ 0x706f_6c69_6379);
    World::policy(|form| {
        let beat = random.between(500, 2_000);
        form.liveness.heartbeat_every_ms = Millis(beat);
        form.liveness.offline_after_ms = Millis(beat * random.between(3, 5));
        form.liveness.brake_hold_ms = Millis(beat * random.between(4, 20));
        form.liveness.brake_min_workers = 1 + u32::try_from(random.below(5)).unwrap_or(0);
        form.liveness.excuse_standstill = random.one_in(3);
        form.lease.clock_budget_ms = Millis(random.between(300, 800));
        form.lease.max_staleness_ms = Millis(random.between(1_000, 3_000));
        form.lease.grace_ms = form.lease.clock_budget_ms.plus(form.lease.max_staleness_ms);
        form.lease.grace_ms = form.lease.grace_ms.plus(Millis(random.below(3_000)));
        form.lease.ttl_max_ms = Millis(beat * random.between(4, 10));
        form.lease.renew_every_ms = Millis(form.lease.ttl_max_ms.0 / random.between(2, 4));
        form.lease.longest_ms = Millis(form.lease.ttl_max_ms.0 * random.between(1, 10));
        form.lease.start_ms = Millis(beat * random.between(2, 6));
        form.lease.acknowledge_ms = Millis(beat * random.between(2, 6));
        form.lease.complete_late = random.one_in(3);
        form.runs.max_attempts = u32::try_from(random.between(2, 6)).unwrap_or(2);
        form.runs.max_spared = u32::try_from(random.below(4)).unwrap_or(0);
        form.runs.retry_elsewhere = random.one_in(3);
        if random.one_in(4) {
            form.workers.set_aside_after = u32::try_from(random.between(1, 3)).unwrap_or(1);
        }
        if random.one_in(4) {
            form.workers.latch_displaced_after = u32::try_from(random.between(2, 4)).unwrap_or(2);
        }
        if random.one_in(8) {
            form.workers.used_once = UsedOnce::Everybody;
        }
        form.workers.reuse_retired = random.one_in(3);
        form.limits.transitions_per_call = u32::try_from(random.between(1, 64)).unwrap_or(1);
        form.limits.window = u32::try_from(random.between(4, 32)).unwrap_or(4);
    })
}

/// The id of a grant.
pub(super) fn grant_name(n: u64) -> alloc::string::String {
    format!("grant-{n}")
}
