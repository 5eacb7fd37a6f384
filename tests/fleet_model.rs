//! The fleet against a reference model: the same random acts on both, and after each of them the same answer or the
//! same refusal, and the same fleet. `PROPTEST_CASES` sets how many sequences are tried (256).

#[path = "fleet_model/acts.rs"]
mod acts;
#[path = "fleet_model/compare.rs"]
mod compare;
#[path = "../benches/naive.rs"]
mod naive;
#[path = "fleet_model/walk.rs"]
mod walk;

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
};

use leasehold::{
    attestation::{policy::AttestationPolicyForm, signature::DefaultVerifier},
    code::Coded,
    digest::Sha256Digest,
    fleet::*,
    id::ClientId,
    identity::{DeviceCommand, RevocationReason, RevocationSubject},
    lease::{ArtifactReceiver, Epoch, Fence, Inspection, WorkerCleanupReport, WorkerLease, WorkerRunGrant},
    testing::{
        World,
        strategies::{self, *},
    },
    time::{Millis, Mono, Now, Wall},
};
use naive::{Ask, Model, Run};
use proptest::test_runner::{Config, TestRunner};
use walk::Walk;

/// What walks come across so often that 256 of them without it prove too little.
const REACHED: &[&str] = &[
    "attest",
    "heartbeat",
    "acquire",
    "start",
    "renew",
    "revoke",
    "complete: Clean",
    "complete: CleanupAwaited",
    "complete: CleanupFailed",
    "complete: OutputRefused",
    "complete: OutputExcess",
    "report cleanup: Clean",
    "acknowledge: Clean",
    "acknowledge: CleanupAwaited",
    "Quarantine",
    "Release",
    "Drain",
    "worker.unknown",
    "worker.stale_handle",
    "worker.other_device",
    "worker.busy",
    "worker.retired",
    "worker.quarantined",
    "worker.not_quarantined",
    "worker.not_draining",
    "worker.capabilities",
    "lease.none",
    "lease.stale_fence",
    "lease.expired",
    "lease.not_started",
    "lease.already_started",
    "lease.revoked",
    "lease.not_revoked",
    "lease.cleaning_up",
    "lease.not_cleaning_up",
    "run.leased",
    "run.held",
    "run.ended",
    "fleet.no_worker",
    "nonce.forged",
    "attest.nonce_spent",
    "device.revoked",
];

/// Invariants 1 to 6 and 8: the same acts have the same outcome in the fleet and in a model made of maps and scans.
#[test]
fn the_fleet_does_what_the_model_does() {
    let seen = RefCell::new(BTreeMap::new());
    let config = Config { failure_persistence: None, ..Config::default() };
    let cases = config.cases;
    let mut runner = TestRunner::new(config);
    let outcome = runner.run(&strategies::fleet_steps(60), |steps| {
        let mut walk = Walk::new();
        for step in &steps {
            walk.step(step);
        }
        for (what, times) in walk.seen {
            *seen.borrow_mut().entry(what).or_insert(0) += times;
        }
        Ok(())
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
    let seen = seen.into_inner();
    if std::env::var_os("FLEET_MODEL_COVERAGE").is_some() {
        println!("{seen:#?}");
    }
    let missed: Vec<_> = REACHED.iter().filter(|what| !seen.contains_key(**what)).collect();
    assert!(cases < 256 || missed.is_empty(), "the walk never came across {missed:?}");
}

/// Walks that once told the fleet and the model apart.
mod found {
    use super::*;

    fn walk(steps: &[FleetStep]) {
        let mut walk = Walk::new();
        steps.iter().for_each(|step| walk.step(step));
    }

    fn attest(device: u32, worker: u32, resume: Option<bool>, capabilities: &'static str) -> FleetStep {
        let (nonce, good, lifetime) = (NonceChoice::Fresh, true, 3_000_000);
        FleetStep::Attest { device, worker, resume, nonce, good, lifetime, capabilities }
    }

    fn acquire_on(worker: u32) -> FleetStep {
        FleetStep::Acquire {
            run: 0,
            capabilities: "b",
            on: Some(worker),
            again: false,
            grant_lifetime: 7_200_000,
            number: None,
            leap: false,
        }
    }

    fn operate(act: OperatorStep, worker: u32) -> FleetStep {
        FleetStep::Operate { act, worker, number: None }
    }

    /// Invariant 8: a snapshot keeps the last place in the queues, also where its worker has left them.
    #[test]
    fn a_snapshot_forgot_the_last_place_in_the_queues() {
        walk(&[acquire_on(3), FleetStep::Checkpoint, attest(1, 1, Some(true), "ab"), FleetStep::Crash]);
    }

    /// Invariant 6: a new worker on the device of a retired one does not begin under a handle that was used.
    #[test]
    fn a_new_worker_resumed_a_retired_one() {
        walk(&[operate(OperatorStep::Retire, 2), attest(2, 4, Some(false), "a")]);
    }

    /// A policy that shortens what is waited for takes effect at once, not when the former deadline comes.
    #[test]
    fn a_shorter_policy_left_deadlines_where_they_were() {
        walk(&[FleetStep::Pass(14_999), FleetStep::SetPolicy(1), FleetStep::Expire]);
        walk(&[acquire_on(3), FleetStep::SetPolicy(1), FleetStep::Pass(5_000), FleetStep::Expire]);
    }

    /// A worker that is heard is not silent, whatever its evidence is worth: the brake counts the silent only.
    #[test]
    fn the_brake_counted_workers_that_were_heard() {
        let heard = |worker| FleetStep::Heartbeat(Sender { worker, former: false, stranger: false });
        let mut steps =
            vec![acquire_on(3), FleetStep::Pass(31_000), FleetStep::Expire, FleetStep::Pass(15_000)];
        for worker in 0..3 {
            steps.push(attest(worker, worker, Some(true), "b"));
        }
        for worker in 0..2 {
            steps.push(operate(OperatorStep::Reverify, worker));
        }
        steps.extend((0..3).map(heard));
        steps.push(acquire_on(2));
        walk(&steps);
    }
}
