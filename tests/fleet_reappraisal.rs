//! Another policy comes into force while workers wait and work: whose evidence still passes goes on without attesting
//! again, whose does not loses its lease with a reason, and nothing hangs on evidence that was not judged.
#![cfg(feature = "testing")]

use leasehold::{
    attestation::{
        EvidenceForm, Measurement, PROVENANCE_PREDICATE,
        dsse::seal,
        evidence::PAYLOAD_TYPE,
        policy::{AttestationPolicyForm, KeyRole, ProvenanceRule, ScopedKey, Window},
        signature::Ed25519Signer,
    },
    code::{
        ATTESTATION_PROVENANCE_MISSING, ATTESTATION_TOO_MANY_ATTACHMENTS, Coded, EVIDENCE_NOT_IN_FORCE,
        JSON_NOT_AN_OBJECT, JSON_SHAPE, LEASE_HORIZON,
    },
    fleet::*,
    id::RunId,
    lease::WorkerLease,
    testing::World,
    time::{Millis, Wall},
};

/// The policy of `world` with its attestation changed.
fn changed(world: &World, change: impl FnOnce(&mut AttestationPolicyForm)) -> SetPolicy {
    let mut form = WorkerFleetPolicyForm::from(world.fleet.state().policy().clone());
    let mut attestation = AttestationPolicyForm::from(form.attestation);
    change(&mut attestation);
    form.attestation = attestation.try_into().unwrap();
    SetPolicy { policy: form.try_into().unwrap() }
}

/// Workers with capability `b` are not let in any more.
fn without_b(world: &World) -> SetPolicy {
    changed(world, |form| form.capabilities.trusted = World::capabilities("ac"))
}

fn set(world: &mut World, policy: &SetPolicy) {
    world.ask(policy, &World::operator()).unwrap();
}

/// A worker that runs what it was given last.
fn busy(world: &mut World, n: u32, letters: &str) -> (WorkerHandle, WorkerLease) {
    let handle = world.join(n, letters);
    let lease = world.acquire(n, letters).unwrap().answer.lease;
    world.ask(&Start { worker: handle, fence: lease.fence }, &World::device(n)).unwrap();
    (handle, lease)
}

fn names(events: &[FleetEvent]) -> Vec<String> {
    let name = |event: &FleetEvent| {
        let value = serde_json::to_value(event).unwrap();
        value
            .as_object()
            .map_or_else(|| value.as_str().unwrap().into(), |map| map.keys().next().unwrap().clone())
    };
    events.iter().map(name).collect()
}

/// Invariants 4 and 12: in between, the one that passes works on, and the one that does not gets nothing more.
#[test]
fn who_still_passes_works_on_and_who_does_not_ends_with_a_reason() {
    let mut world = World::default();
    let (good, kept) = busy(&mut world, 1, "a");
    let (bad, lost) = busy(&mut world, 2, "b");
    let idle = world.join(3, "b");
    world.join(4, "a");
    let policy = without_b(&world);
    set(&mut world, &policy);
    // Before any sweep: judged where something is about to hang on it.
    world.pass(1_000);
    let renewed = world.ask(&Renew { worker: good, fence: kept.fence }, &World::device(1)).unwrap();
    assert_eq!(names(&renewed.events), ["evidence_kept", "lease_renewed"]);
    let refused = world.ask(&Renew { worker: bad, fence: lost.fence }, &World::device(2)).unwrap_err();
    assert_eq!(refused.code(), EVIDENCE_NOT_IN_FORCE);
    assert!(world.acquire(5, "b").is_err(), "worker 3 waits, and its evidence does not pass");
    let granted = world.acquire(6, "a").unwrap();
    assert_eq!(names(&granted.events), ["evidence_kept", "lease_granted"]);
    // The sweep ends what is left, with its reasons.
    let events = world.expire();
    let view = |n| world.fleet.state().worker(&World::worker_id(n)).unwrap();
    assert_eq!(view(1).state, WorkerLifecycleState::Running);
    assert_eq!(view(2).state, WorkerLifecycleState::Revoking);
    assert_eq!((view(3).state, view(3).handle), (WorkerLifecycleState::Registered, idle));
    assert_eq!(view(4).state, WorkerLifecycleState::Assigned);
    assert!(view(2).evidence.is_none() && view(3).evidence.is_none());
    let revoked = events.iter().any(|event| {
        matches!(event, FleetEvent::LeaseRevoked { fence, reason, .. }
            if *fence == lost.fence && *reason == LossReason::Evidence)
    });
    assert!(revoked, "{events:?}");
    let refused = |event: &&FleetEvent| matches!(event, FleetEvent::EvidenceRefused { failures, .. } if failures == &["attestation.capabilities.untrusted"]);
    assert_eq!(events.iter().filter(refused).count(), 2);
    assert!(world.expire().is_empty(), "a sweep ends");
    // The one that lost its lease stops, and is let in again by evidence that passes.
    let stopped = AcknowledgeRevocation::new(bad, lost.fence, Some(World::clean(&lost)), None);
    world.ask(&stopped, &World::device(2)).unwrap();
    assert_eq!(
        world.fleet.state().worker(&World::worker_id(2)).unwrap().state,
        WorkerLifecycleState::Registered
    );
    let again = world.attest(2, "a", Some(bad)).unwrap().answer;
    assert!(again.failures.is_empty());
    world.beat(2, bad).unwrap();
    assert_eq!(
        world.fleet.state().worker(&World::worker_id(2)).unwrap().state,
        WorkerLifecycleState::Available
    );
}

/// Invariant 3: judged again, evidence can end sooner, and no lease is renewed beyond that or outlives it.
#[test]
fn a_lease_does_not_outlive_what_its_evidence_is_worth_now() {
    let mut world = World::default();
    let (handle, lease) = busy(&mut world, 1, "a");
    let ends = |world: &World, millis| {
        let end = world.now.wall.plus(Millis(millis));
        changed(world, move |form| {
            form.capabilities.authorities[0].window = Window { not_before_ms: None, not_after_ms: Some(end) };
        })
    };
    let left = lease.expires.since(world.now.mono).0;
    let policy = ends(&world, left + 5_000);
    set(&mut world, &policy);
    world.pass(10_000);
    let renewed = world.ask(&Renew { worker: handle, fence: lease.fence }, &World::device(1)).unwrap();
    assert_eq!(renewed.answer.remaining, Millis(left + 5_000 - 10_000), "the authority ends first");
    let again = world.ask(&Renew { worker: handle, fence: lease.fence }, &World::device(1)).unwrap_err();
    assert_eq!(again.code(), LEASE_HORIZON);
    let policy = ends(&world, 1_000);
    set(&mut world, &policy);
    let events = names(&world.expire());
    assert_eq!(
        events,
        ["lease_revoked", "evidence_kept"],
        "it passes for a second more, the lease is longer"
    );
}

/// Invariant 8, and bounded work: a sweep is as many calls as it needs, survives a crash between any two of them, and
/// what is kept stays kept. Nobody attests again.
#[test]
fn a_sweep_is_bounded_and_survives_a_crash() {
    let mut world = World::new(|form| form.limits.transitions_per_call = 2);
    for n in 1..=7 {
        world.join(n, if n % 2 == 0 { "b" } else { "a" });
    }
    let policy = without_b(&world);
    set(&mut world, &policy);
    let mut calls = 0;
    loop {
        let prepared = world.fleet.expire(world.now).unwrap();
        let judged = names(prepared.events());
        let transitions = judged.iter().filter(|name| *name != "evidence_refused").count();
        assert!(transitions <= 2, "{judged:?}");
        let outcome = world.finish(prepared);
        calls += 1;
        if !outcome.answer.more {
            break;
        }
        world.crash();
    }
    assert!(calls >= 4, "{calls}");
    let states = |world: &World| -> Vec<_> {
        world.fleet.state().workers().map(|view| view.evidence.is_some()).collect()
    };
    assert_eq!(states(&world), [true, false, true, false, true, false, true]);
    let before = world.fleet.state().clone();
    let snapshot = world.checkpoint();
    world.crash();
    assert_eq!(states(&world), [true, false, true, false, true, false, true]);
    assert_eq!(
        world.fleet.state().workers().map(|view| view.evidence.cloned()).collect::<Vec<_>>(),
        before.workers().map(|view| view.evidence.cloned()).collect::<Vec<_>>()
    );
    // What was lost is not brought back by a policy that would have let it in.
    let policy = changed(&world, |form| form.capabilities.trusted = World::capabilities("abc"));
    set(&mut world, &policy);
    world.expire();
    assert_eq!(states(&world), [true, false, true, false, true, false, true]);
    // And nothing of before a stale restore lets anybody work.
    world.restore_stale(&snapshot, leasehold::lease::Epoch(900));
    assert_eq!(states(&world), [false; 7]);
}

/// A revocation in the policy beats every other rule, for a worker by name too, from the next decision on.
#[test]
fn a_revocation_takes_effect_before_the_sweep() {
    let mut world = World::default();
    let (handle, lease) = busy(&mut world, 1, "a");
    world.join(2, "a");
    let policy = changed(&world, |form| {
        form.revoked.workers = vec![World::worker_id(1)];
        form.revoked.certificates = vec![World::certificate(2)];
    });
    set(&mut world, &policy);
    let refused = world.ask(&Renew { worker: handle, fence: lease.fence }, &World::device(1)).unwrap_err();
    assert_eq!(refused.code(), EVIDENCE_NOT_IN_FORCE);
    assert!(world.acquire(3, "a").is_err());
    world.expire();
    assert!(world.fleet.state().live_leases().next().is_none());
    let run: RunId = World::run_id(1);
    assert!(world.fleet.state().run(&run).is_some(), "the run is not forgotten");
    assert!(world.now.wall > Wall::START);
}

/// Evidence and build provenance come in envelopes of their own, junk beside them denies nothing, and a builder that is
/// not trusted any more takes the evidence with it (invariants 4 and 12).
#[test]
fn a_builder_vouches_beside_the_evidence_for_as_long_as_it_is_trusted() {
    let builder = Ed25519Signer::from_seed("builder", &[3; 32]);
    let mut world = World::default();
    let asked = changed(&world, |form| {
        form.provenance = Some(ProvenanceRule::new(1));
        form.keys.push(ScopedKey {
            key: builder.trusted_key("ci").unwrap(),
            roles: vec![KeyRole::Builder],
            workers: vec!["*".parse().unwrap()],
            predicates: vec![PROVENANCE_PREDICATE.into()],
            builders: vec!["https://ci.example/1".into()],
            window: Window::default(),
        });
    });
    set(&mut world, &asked);
    let bring = |world: &mut World, n: u32, junk: &[&[u8]], vouched: bool| {
        let nonce = world.challenge(n);
        let claims = world.claims(n, "a", nonce.clone());
        let digest = |digest: leasehold::digest::Sha256Digest| digest.to_string();
        let statement = serde_json::json!({
            "_type": "https://in-toto.io/Statement/v1", "predicateType": PROVENANCE_PREDICATE,
            "subject": [{"name": "image", "digest": {"sha256": digest(claims.image)}},
                        {"name": "build", "digest": {"sha256": digest(claims.build)}}],
            "predicate": {"buildDefinition": {"buildType": "x", "externalParameters": {}},
                          "runDetails": {"builder": {"id": "https://ci.example/1"}}},
        });
        let envelope = seal(PAYLOAD_TYPE, &serde_json::to_vec(&statement).unwrap(), &[&builder]).unwrap();
        let mut attachments: Vec<Vec<u8>> = junk.iter().map(|junk| junk.to_vec()).collect();
        attachments.extend(vouched.then_some(envelope));
        let attest = Attest {
            nonce,
            form: EvidenceForm::Json,
            evidence: claims.to_document(),
            attachments,
            resume: None,
        };
        world.ask(&attest, &World::device(n)).map(|outcome| outcome.answer).map_err(|error| match error {
            AttestError::Refused { failures } => failures,
            other => vec![other.code()],
        })
    };
    world.register(1);
    let junk: &[&[u8]] = &[b"junk", b"{}"];
    assert_eq!(
        bring(&mut world, 1, junk, false).unwrap_err(),
        [ATTESTATION_PROVENANCE_MISSING, JSON_NOT_AN_OBJECT, JSON_SHAPE]
    );
    assert_eq!(
        bring(&mut world, 1, &[&b"junk"[..]; 8], true).unwrap_err(),
        [ATTESTATION_TOO_MANY_ATTACHMENTS]
    );
    let joined = bring(&mut world, 1, junk, true).unwrap();
    assert!(joined.failures.is_empty());
    world.beat(1, joined.handle).unwrap();
    world.acquire(1, "a").unwrap();
    let distrusted = changed(&world, |form| {
        form.keys[0] = ScopedKey { builders: vec!["https://ci.example/2".into()], ..form.keys[0].clone() };
    });
    set(&mut world, &distrusted);
    world.expire();
    let view = world.fleet.state().worker(&World::worker_id(1)).unwrap();
    assert_eq!((view.evidence, view.state), (None, WorkerLifecycleState::Revoking));
}

/// What one worker's attachments were found to be serves the next one: after a restart a fleet under one builder verifies its
/// statement once. Another policy has other keys, and nothing is remembered under it.
#[test]
fn a_builders_statement_is_verified_once_for_the_fleet() {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use leasehold::attestation::signature::{
        Algorithm, DefaultVerifier, KeyError, PublicKey, SignatureVerifier,
    };

    struct Counting(Arc<AtomicUsize>);
    impl SignatureVerifier for Counting {
        fn supports(&self, algorithm: Algorithm) -> bool {
            DefaultVerifier.supports(algorithm)
        }
        fn check_key(&self, key: &PublicKey) -> Result<(), KeyError> {
            DefaultVerifier.check_key(key)
        }
        fn verify(&self, key: &PublicKey, message: &[u8], signature: &[u8]) -> bool {
            self.0.fetch_add(1, Ordering::Relaxed);
            DefaultVerifier.verify(key, message, signature)
        }
    }
    let builder = Ed25519Signer::from_seed("builder", &[3; 32]);
    let count = Arc::new(AtomicUsize::new(0));
    let mut world = World::default();
    let asked = changed(&world, |form| {
        form.provenance = Some(ProvenanceRule { of: vec![Measurement::Image], ..ProvenanceRule::new(1) });
        form.keys.push(ScopedKey {
            key: builder.trusted_key("ci").unwrap(),
            roles: vec![KeyRole::Builder],
            workers: Vec::new(),
            predicates: vec![PROVENANCE_PREDICATE.into()],
            builders: vec!["https://ci.example/1".into()],
            window: Window::default(),
        });
    });
    set(&mut world, &asked);
    world.crash_with(Box::new(Counting(Arc::clone(&count))));
    let bring = |world: &mut World, n: u32| {
        let nonce = world.challenge(n);
        let claims = world.claims(n, "a", nonce.clone());
        let statement = serde_json::json!({
            "_type": "https://in-toto.io/Statement/v1", "predicateType": PROVENANCE_PREDICATE,
            "subject": [{"digest": {"sha256": claims.image.to_string()}}],
            "predicate": {"runDetails": {"builder": {"id": "https://ci.example/1"}}},
        });
        let envelope = seal(PAYLOAD_TYPE, &serde_json::to_vec(&statement).unwrap(), &[&builder]).unwrap();
        let (evidence, attachments) = (claims.to_document(), vec![envelope]);
        let attest = Attest { nonce, form: EvidenceForm::Json, evidence, attachments, resume: None };
        world.ask(&attest, &World::device(n)).unwrap();
        count.load(Ordering::Relaxed)
    };
    for n in 1..=20 {
        world.register(n);
        assert_eq!(bring(&mut world, n), 1, "worker {n}");
    }
    let again = changed(&world, |form| form.times.max_age_ms = Millis(59_000));
    set(&mut world, &again);
    world.register(21);
    assert_eq!(bring(&mut world, 21), 2);
}
