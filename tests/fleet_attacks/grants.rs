//! What a grant is good for: once, for its tool, its capabilities and its fleet.

use leasehold::{capability::CapabilitySet, code, fleet::*, id::*, lease::*, testing::World, time::Millis};

use crate::fleet_support::*;

/// Invariant 1.
#[test]
fn f9_a_grant_is_spent_once_in_parallel_and_in_sequence() {
    // Invariant 1.
    let mut world = World::default();
    let one = world.join(1, "a");
    world.join(2, "a");
    let grant = world.grant(1, "a");
    let acquire = Acquire::new(World::request(grant));
    // In parallel: two decisions on one state, and only one of them is accepted.
    let a = world.fleet.decide(&acquire, &World::service(), None, world.now).unwrap();
    let b = world.fleet.decide(&acquire, &World::service(), None, world.now).unwrap();
    let acquired = world.finish(a).answer;
    assert_eq!(world.fleet.accept(b).unwrap_err(), AcceptError::Stale);
    // In sequence, also when the run has been given back.
    world.ask(&RevokeRun::new(World::run_id(1), acquired.lease.fence), &World::service()).unwrap();
    let acknowledge =
        AcknowledgeRevocation::new(one, acquired.lease.fence, Some(World::clean(&acquired.lease)), None);
    world.ask(&acknowledge, &World::device(1)).unwrap();
    assert_eq!(refused(&mut world, |w| w.ask(&acquire, &World::service())), code::GRANT_SPENT);
    world.crash();
    assert_eq!(refused(&mut world, |w| w.ask(&acquire, &World::service())), code::GRANT_SPENT);
    assert_eq!(world.acquire(1, "a").unwrap().answer.lease.attempt, 2);
}

/// Invariant 4.
#[test]
fn f11_a_grant_binds_tool_and_capabilities() {
    let mut world = World::default();
    world.join(1, "ab");
    let grant = world.grant(1, "a");
    let request = World::request(grant.clone());
    let workspace = request.terms().workspace.clone();
    let build = |tool: &str, capabilities| {
        let tool = ToolId::new(tool).unwrap();
        WorkerLeaseRequest::new(grant.clone(), tool, capabilities, Millis(1), workspace.clone())
    };
    assert_eq!(code_of(build("other", World::capabilities("a"))), code::GRANT_OTHER_TOOL);
    assert_eq!(code_of(build("tool", World::capabilities("ab"))), code::GRANT_CAPABILITIES);
    assert_eq!(code_of(build("tool", CapabilitySet::default())), code::GRANT_NO_CAPABILITIES);
    let mut terms = grant.terms().clone();
    terms.capabilities = CapabilitySet::default();
    assert_eq!(code_of(WorkerRunGrant::mint(terms)), code::GRANT_NO_CAPABILITIES);
}

/// Invariant 1.
#[test]
fn f26_a_grant_for_another_fleet_is_refused() {
    let mut world = World::default();
    world.join(1, "a");
    let mut terms = world.grant(1, "a").terms().clone();
    terms.fleet = FleetId::new("another").unwrap();
    let acquire = Acquire::new(World::request(WorkerRunGrant::mint(terms).unwrap()));
    assert_eq!(refused(&mut world, |w| w.ask(&acquire, &World::service())), code::GRANT_OTHER_FLEET);
}

/// Invariant 1.
#[test]
fn f26_a_grant_that_its_issuer_did_not_make_is_refused() {
    use leasehold::attestation::signature::{DefaultVerifier, Ed25519Signer};
    let signer = Ed25519Signer::from_seed("issuer", &[1; 32]);
    let other = Ed25519Signer::from_seed("issuer", &[2; 32]);
    let issuers =
        GrantIssuers::new([signer.trusted_key("issuer").unwrap(), other.trusted_key("somebody").unwrap()]);
    let mut world = World::default();
    let policy_of = |issuers: &GrantIssuers, world: &World| {
        let mut form = WorkerFleetPolicyForm::from(world.fleet.state().policy().clone());
        form.runs.issuers = issuers.clone();
        WorkerFleetPolicy::try_from(form).unwrap()
    };
    let policy = policy_of(&issuers, &world);
    world.ask(&SetPolicy { policy }, &World::operator()).unwrap();
    world.join(1, "a");
    let mut terms = world.grant(1, "a").terms().clone();
    terms.issuer = IssuerId::new("issuer").unwrap();
    let sealed = seal_grant(&terms, &signer).unwrap();
    // Signed by a key that is trusted for another issuer, by nobody, or changed afterwards.
    let foreign = seal_grant(&terms, &other).unwrap();
    assert_eq!(code_of(issuers.open(&foreign, &DefaultVerifier)), code::GRANT_NOT_TRUSTED);
    assert_eq!(code_of(GrantIssuers::default().open(&sealed, &DefaultVerifier)), code::GRANT_NOT_TRUSTED);
    for at in 0..sealed.len() {
        let mut changed = sealed.clone();
        changed[at] ^= 1;
        let opened = issuers.open(&changed, &DefaultVerifier);
        assert!(opened.is_err() || opened.unwrap().terms() == &terms, "byte {at}");
    }
    let grant = issuers.open(&sealed, &DefaultVerifier).unwrap();
    let acquire = Acquire::new(World::request(grant));
    // The issuer is no longer trusted when the grant is used.
    let stranger = policy_of(&GrantIssuers::default(), &world);
    world.ask(&SetPolicy { policy: stranger }, &World::operator()).unwrap();
    assert_eq!(refused(&mut world, |w| w.ask(&acquire, &World::service())), code::GRANT_NOT_TRUSTED);
    // Trusted again, it is good once.
    let policy = policy_of(&issuers, &world);
    world.ask(&SetPolicy { policy }, &World::operator()).unwrap();
    let handle = world.attest(1, "a", None).unwrap().answer.handle;
    world.beat(1, handle).unwrap();
    world.ask(&acquire, &World::service()).unwrap();
}
