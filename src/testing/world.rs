//! A fleet in virtual time: real evidence, real journal records, no sockets and no sleeping.

use alloc::{boxed::Box, format, string::String, vec::Vec};

use super::told::{Told, number_in};
use crate::{
    attestation::{
        AttestationPolicy, EvidenceForm, ProtocolRange, WorkerClaims,
        signature::{DefaultVerifier, SignatureVerifier},
    },
    capability::CapabilitySet,
    digest::Sha256Digest,
    fleet::{
        Acquire, Acquired, Attest, AttestError, Attested, Challenge, CommandId, Complete, Decide, Effect,
        FleetEvent, LeaseError, ManageDevice, ManageError, Principal, Remaining, Renew, RevokeRun, Revoked,
        RunOutcome, Setup, Start, Verdict, WorkerFleetManager, WorkerFleetPolicy, WorkerFleetPolicyForm,
        WorkerHandle,
    },
    id::{ClientId, DeviceId, FleetId, GrantId, IssuerId, RunId, ToolId, WorkerId},
    identity::{DeviceCertificate, DeviceCommand, DeviceKind},
    lease::{
        ArtifactManifest, ArtifactReceiver, Epoch, GrantTerms, OutputClaim, RelativePath, Removal,
        WorkerCleanupReport, WorkerLease, WorkerLeaseRequest, WorkerRunGrant, WorkspaceScope,
    },
    time::{Millis, Now, Wall},
};

/// The wall clock of a world begins here.
const WALL: u64 = 1_764_000_000_000;

/// What an accepted operation did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome<A> {
    /// The answer.
    pub answer: A,
    /// The events, in order.
    pub events: Vec<FleetEvent>,
    /// The effects, in order.
    pub effects: Vec<Effect>,
}

/// A coordinator with its journal, and everybody who talks to it.
#[derive(Debug)]
pub struct World {
    /// The fleet.
    pub fleet: WorkerFleetManager,
    /// The time.
    pub now: Now,
    /// Every byte that the journal holds.
    pub journal: Vec<u8>,
    /// The last snapshot, and how long the journal was then.
    snapshot: Option<(Vec<u8>, usize)>,
    grants: u64,
    /// The policy that it was founded under.
    pub(super) founded: WorkerFleetPolicy,
    pub(super) told: Told,
}

impl Default for World {
    fn default() -> Self {
        Self::new(|_| {})
    }
}

impl Clone for World {
    /// Another world that goes on from here by itself, with the back end for signatures that worlds begin with.
    fn clone(&self) -> Self {
        Self {
            fleet: self.fleet.fork(setup(Box::new(DefaultVerifier))),
            now: self.now,
            journal: self.journal.clone(),
            snapshot: self.snapshot.clone(),
            grants: self.grants,
            founded: self.founded.clone(),
            told: self.told.clone(),
        }
    }
}

fn setup(verifier: Box<dyn SignatureVerifier + Send + Sync>) -> Setup {
    Setup::new([7; 64], Sha256Digest::of(b"coordinator"), verifier)
}

/// The digest of the image that worlds trust.
fn image() -> Sha256Digest {
    Sha256Digest::of(b"image")
}

fn authority() -> Sha256Digest {
    Sha256Digest::of(b"authority")
}

/// A policy that takes plain documents with one image and the capabilities `a` to `h`, and waives the rest.
fn policy(rules: impl FnOnce(&mut WorkerFleetPolicyForm)) -> Result<WorkerFleetPolicy, String> {
    let attestation = format!(
        r#"{{"accept":["json"],
            "times":{{"max_age_ms":60000,"max_lifetime_ms":3600000,"future_skew_ms":1000,"expiry_skew_ms":0}},
            "image":{{"require":{{"values":[{{"digest":"{image}","label":"release"}}]}}}},
            "build":{{"waived":{{"reason":"a test"}}}},
            "artifact":{{"waived":{{"reason":"a test"}}}},
            "protocol":{{"waived":{{"reason":"a test"}}}},
            "wit":{{"waived":{{"reason":"a test"}}}},
            "egress":{{"waived":{{"reason":"a test"}}}},
            "capabilities":{{
                "authorities":[{{"digest":"{authority}","label":"authority","grants":["a","b","c","d","e","f","g","h"]}}],
                "trusted":["a","b","c","d","e","f","g","h"]}}}}"#,
        image = image(),
        authority = authority(),
    );
    let attestation: AttestationPolicy =
        serde_json::from_str(&attestation).map_err(|error| format!("{error}"))?;
    let fleet = FleetId::new("fleet").map_err(|error| format!("{error}"))?;
    let mut form = WorkerFleetPolicyForm::new(fleet, attestation);
    // Tests mean what they say about time; limits on how often one device may ask are tested on their own.
    form.limits.admission_per_device = u32::MAX;
    rules(&mut form);
    WorkerFleetPolicy::try_from(form).map_err(|error| format!("{error}"))
}

impl World {
    /// A world whose policy was changed by `rules`.
    ///
    /// # Panics
    /// Where the changed policy contradicts itself.
    pub fn new(rules: impl FnOnce(&mut WorkerFleetPolicyForm)) -> Self {
        let now = Now::new(1_000, WALL);
        let policy = policy(rules).expect("the policy of the world");
        let founded = policy.clone();
        let fleet = WorkerFleetManager::found(policy, setup(Box::new(DefaultVerifier)), Epoch(1), now)
            .expect("a new fleet");
        let told = Told::default();
        let mut world = Self { fleet, now, journal: Vec::new(), snapshot: None, grants: 0, founded, told };
        world.write();
        world
    }

    /// The policy of a world changed by `rules`.
    ///
    /// # Panics
    /// Where it contradicts itself.
    pub fn policy(rules: impl FnOnce(&mut WorkerFleetPolicyForm)) -> WorkerFleetPolicy {
        policy(rules).expect("the policy of the world")
    }

    /// The operator.
    pub fn operator() -> Principal {
        Principal::Operator(ClientId::new("operator").expect("an id"))
    }

    /// The service.
    pub fn service() -> Principal {
        Principal::Service(ClientId::new("service").expect("an id"))
    }

    /// The device of worker `n`, over its own channel.
    pub fn device(n: u32) -> Principal {
        Principal::Device { device: Self::device_id(n), certificate: Self::certificate(n) }
    }

    /// The id of the device of worker `n`.
    pub fn device_id(n: u32) -> DeviceId {
        DeviceId::new(&format!("device-{n}")).expect("an id")
    }

    /// The id of worker `n`.
    pub fn worker_id(n: u32) -> WorkerId {
        WorkerId::new(&format!("worker-{n}")).expect("an id")
    }

    /// The id of run `n`.
    pub fn run_id(n: u32) -> RunId {
        RunId::new(&format!("run-{n}")).expect("an id")
    }

    /// The fingerprint of the certificate of device `n`.
    pub fn certificate(n: u32) -> Sha256Digest {
        Sha256Digest::of(format!("certificate {n}").as_bytes())
    }

    /// A set of capabilities, one letter each.
    pub fn capabilities(letters: &str) -> CapabilitySet {
        let names: Vec<String> = letters.chars().map(String::from).collect();
        CapabilitySet::parse(names.iter().map(String::as_str)).expect("capabilities")
    }

    /// Time passes on both lines.
    pub fn pass(&mut self, millis: u64) {
        self.now = self.now.plus(Millis(millis));
    }

    /// Appends what was accepted to the journal, and says that it lasts.
    pub fn write(&mut self) {
        if let Some(batch) = self.fleet.take_journal() {
            self.journal.extend_from_slice(&batch.bytes);
            self.fleet.durable(batch.last).expect("its own batch");
        }
    }

    /// Decides, accepts, writes, and hands out.
    ///
    /// # Errors
    /// The operation's rejection.
    pub fn ask<O: Decide>(
        &mut self,
        operation: &O,
        principal: &Principal,
    ) -> Result<Outcome<O::Answer>, O::Error>
    where
        O::Error: From<crate::fleet::CommandError>,
    {
        self.ask_as(operation, principal, None)
    }

    /// As [`Self::ask`], under the client's own number.
    ///
    /// # Errors
    /// The operation's rejection.
    pub fn ask_as<O: Decide>(
        &mut self,
        operation: &O,
        principal: &Principal,
        command: Option<&CommandId>,
    ) -> Result<Outcome<O::Answer>, O::Error>
    where
        O::Error: From<crate::fleet::CommandError>,
    {
        let prepared = self.fleet.decide(operation, principal, command, self.now)?;
        Ok(self.finish(prepared))
    }

    /// Accepts, writes, and hands out.
    ///
    /// # Panics
    /// Where the decision is stale: a world decides one thing at a time.
    pub fn finish<A: core::fmt::Debug>(&mut self, prepared: crate::fleet::Prepared<A>) -> Outcome<A> {
        let events = prepared.events().to_vec();
        let ticket = self.fleet.accept(prepared).expect("a fresh decision");
        self.write();
        let released = ticket.redeem(&self.fleet).expect("the journal was written");
        Outcome { answer: released.answer, events, effects: released.effects.into_iter().collect() }
    }

    /// Registers the device of worker `n`.
    ///
    /// # Panics
    /// Where it is registered already.
    pub fn register(&mut self, n: u32) {
        let certificate = DeviceCertificate::new(
            Self::certificate(n),
            Sha256Digest::of(format!("key {n}").as_bytes()),
            Wall(0),
            Wall::NEVER,
        )
        .expect("a certificate");
        let command =
            DeviceCommand::Register { device: Self::device_id(n), kind: DeviceKind::Worker, certificate };
        self.ask(&ManageDevice::new(command), &Self::operator()).expect("a new device");
    }

    /// What worker `n` claims, over `nonce`.
    pub fn claims(&self, n: u32, letters: &str, nonce: Vec<u8>) -> WorkerClaims {
        WorkerClaims {
            worker: Self::worker_id(n),
            device: Self::device_id(n),
            audience: self.fleet.state().policy().fleet.clone(),
            image: image(),
            build: Sha256Digest::of(b"build"),
            artifact: Sha256Digest::of(b"artifact"),
            protocol: ProtocolRange::new(1, 1).expect("a range"),
            wit: Vec::new(),
            capabilities: Self::capabilities(letters),
            authority: authority(),
            egress: None,
            nonce,
            issued: self.now.wall,
            expires: self.now.wall.plus(Millis::from_secs(3_000)),
            certificate: Self::certificate(n),
        }
    }

    /// Asks for a nonce as device `n`.
    ///
    /// # Panics
    /// Where it gets none.
    pub fn challenge(&mut self, n: u32) -> Vec<u8> {
        self.ask(&Challenge {}, &Self::device(n)).expect("a nonce").answer.nonce
    }

    /// Brings evidence over a fresh nonce.
    ///
    /// # Errors
    /// The rejection.
    pub fn attest(
        &mut self,
        n: u32,
        letters: &str,
        resume: Option<WorkerHandle>,
    ) -> Result<Outcome<Attested>, AttestError> {
        let nonce = self.challenge(n);
        let claims = self.claims(n, letters, nonce);
        self.attest_with(n, &claims, resume)
    }

    /// Brings these claims as evidence.
    ///
    /// # Errors
    /// The rejection.
    pub fn attest_with(
        &mut self,
        n: u32,
        claims: &WorkerClaims,
        resume: Option<WorkerHandle>,
    ) -> Result<Outcome<Attested>, AttestError> {
        let evidence = claims.to_document();
        let attest = Attest {
            nonce: claims.nonce.clone(),
            form: EvidenceForm::Json,
            evidence,
            attachments: Vec::new(),
            resume,
        };
        self.ask(&attest, &Self::device(n))
    }

    /// A heartbeat, and what follows from it.
    ///
    /// # Errors
    /// The rejection.
    pub fn beat(
        &mut self,
        n: u32,
        worker: WorkerHandle,
    ) -> Result<Vec<FleetEvent>, crate::fleet::HeartbeatError> {
        let prepared = self.fleet.heartbeat(worker, &Self::device(n), self.now)?;
        Ok(prepared.map(|prepared| self.finish(prepared).events).unwrap_or_default())
    }

    /// Registers the device, attests, and is heard: worker `n` is available.
    ///
    /// # Panics
    /// Where any of it is refused.
    pub fn join(&mut self, n: u32, letters: &str) -> WorkerHandle {
        self.register(n);
        self.rejoin(n, letters).expect("accepted evidence")
    }

    /// A grant for one attempt of run `n`.
    pub fn grant(&mut self, n: u32, letters: &str) -> WorkerRunGrant {
        self.grants += 1;
        WorkerRunGrant::mint(GrantTerms {
            id: GrantId::new(&format!("grant-{}", self.grants)).expect("an id"),
            fleet: self.fleet.state().policy().fleet.clone(),
            issuer: IssuerId::new("service").expect("an id"),
            run: Self::run_id(n),
            tool: ToolId::new("tool").expect("an id"),
            capabilities: Self::capabilities(letters),
            issued: self.now.wall,
            expires: self.now.wall.plus(Millis::from_secs(7_200)),
        })
        .expect("a grant")
    }

    /// A request for a lease of 30 s under `grant`.
    ///
    /// # Panics
    /// Where the grant does not cover it.
    pub fn request(grant: WorkerRunGrant) -> WorkerLeaseRequest {
        let path = |text| RelativePath::new(text).expect("a path");
        let workspace = WorkspaceScope::new(path("run"), [path("out")]).expect("a scope");
        let terms = grant.terms();
        let (tool, capabilities) = (terms.tool.clone(), terms.capabilities.clone());
        WorkerLeaseRequest::new(grant, tool, capabilities, Millis::from_secs(30), workspace)
            .expect("a request")
    }

    /// Asks for a lease for run `n` with a new grant.
    ///
    /// # Errors
    /// The rejection.
    pub fn acquire(
        &mut self,
        n: u32,
        letters: &str,
    ) -> Result<Outcome<Acquired>, crate::fleet::AcquireError> {
        let grant = self.grant(n, letters);
        self.ask(&Acquire::new(Self::request(grant)), &Self::service())
    }

    /// What an honest worker reports after `lease`.
    pub fn clean(lease: &WorkerLease) -> WorkerCleanupReport {
        let gone = Removal { removed: 1, remaining: 0 };
        WorkerCleanupReport {
            fence: lease.fence,
            lease: lease.digest(),
            workspace: gone,
            artifacts: gone,
            logs: gone,
            scratch: gone,
        }
    }

    /// The end of a run that made nothing, with an honest cleanup.
    ///
    /// # Panics
    /// Never: nothing is received.
    pub fn completion(worker: WorkerHandle, lease: &WorkerLease) -> Complete {
        let claim = OutputClaim { outputs: ArtifactManifest::default(), log: Sha256Digest::of(b"") };
        let received = ArtifactReceiver::new(0).finish().expect("nothing received");
        Complete::new(worker, lease.fence, RunOutcome::Succeeded, claim, received)
            .with_cleanup(Self::clean(lease), None)
    }

    /// The channel of the device that holds `lease`, and the incarnation that it was given to.
    ///
    /// # Panics
    /// Where the lease is not one of a world.
    pub fn holder(&self, lease: &WorkerLease) -> (WorkerHandle, Principal) {
        let slot = self.fleet.state().handle_of(&lease.worker).expect("a worker of this world").slot;
        let device = Self::device(number_in(lease.device.as_str()));
        (WorkerHandle { slot, generation: lease.incarnation }, device)
    }

    /// The holder of `lease` starts its run.
    ///
    /// # Errors
    /// The rejection.
    pub fn start(&mut self, lease: &WorkerLease) -> Result<Outcome<Remaining>, LeaseError> {
        let (worker, device) = self.holder(lease);
        self.ask(&Start { worker, fence: lease.fence }, &device)
    }

    /// The holder of `lease` asks for more time.
    ///
    /// # Errors
    /// The rejection.
    pub fn renew(&mut self, lease: &WorkerLease) -> Result<Outcome<Remaining>, LeaseError> {
        let (worker, device) = self.holder(lease);
        self.ask(&Renew { worker, fence: lease.fence }, &device)
    }

    /// The holder of `lease` ends its run with success, without outputs, and cleaned up.
    ///
    /// # Errors
    /// The rejection.
    pub fn complete(&mut self, lease: &WorkerLease) -> Result<Outcome<Verdict>, LeaseError> {
        let (worker, device) = self.holder(lease);
        self.ask(&Self::completion(worker, lease), &device)
    }

    /// The service takes `lease` back.
    ///
    /// # Errors
    /// The rejection.
    pub fn revoke(&mut self, lease: &WorkerLease) -> Result<Outcome<Revoked>, ManageError> {
        self.ask(&RevokeRun::new(lease.terms.run.clone(), lease.fence), &Self::service())
    }

    /// Attests again after a restart of either side and is heard: worker `n`, whose device is known, is available.
    ///
    /// # Errors
    /// The rejection of its evidence.
    ///
    /// # Panics
    /// Where the heartbeat after accepted evidence is refused.
    pub fn rejoin(&mut self, n: u32, letters: &str) -> Result<WorkerHandle, AttestError> {
        let handle = self.attest(n, letters, None)?.answer.handle;
        self.beat(n, handle).expect("a heartbeat");
        Ok(handle)
    }

    /// Lets every deadline that has passed take effect.
    ///
    /// # Panics
    /// Where the fleet has halted.
    pub fn expire(&mut self) -> Vec<FleetEvent> {
        let mut events = Vec::new();
        loop {
            let prepared = self.fleet.expire(self.now).expect("a fleet that runs");
            let outcome = self.finish(prepared);
            events.extend(outcome.events);
            if !outcome.answer.more {
                return events;
            }
        }
    }

    /// Keeps the state as it is now, for [`Self::crash`] and restores.
    ///
    /// # Panics
    /// Where something is not written.
    pub fn checkpoint(&mut self) -> Vec<u8> {
        let snapshot = self.fleet.snapshot().expect("everything is written");
        self.snapshot = Some((snapshot.clone(), self.journal.len()));
        snapshot
    }

    /// The coordinator dies and comes back from what the journal holds, with the next epoch.
    ///
    /// # Panics
    /// Where the journal does not recover.
    pub fn crash(&mut self) {
        self.crash_with(Box::new(DefaultVerifier));
    }

    /// As [`Self::crash`], and it comes back with this back end for signatures.
    ///
    /// # Panics
    /// Where the journal does not recover.
    pub fn crash_with(&mut self, verifier: Box<dyn SignatureVerifier + Send + Sync>) {
        let epoch = Epoch(self.fleet.state().epoch().0 + 1);
        let (snapshot, from) = match &self.snapshot {
            Some((snapshot, from)) => (Some(snapshot.as_slice()), *from),
            None => (None, 0),
        };
        let journal = self.journal.get(from..).unwrap_or_default();
        self.fleet = WorkerFleetManager::recover(snapshot, journal, setup(verifier), epoch, self.now)
            .expect("a journal");
        self.write();
    }

    /// The coordinator comes back from an old snapshot, and its later events are lost.
    ///
    /// # Panics
    /// Where the snapshot does not load.
    pub fn restore_stale(&mut self, snapshot: &[u8], epoch: Epoch) {
        self.fleet =
            WorkerFleetManager::restore_stale(snapshot, setup(Box::new(DefaultVerifier)), epoch, 0, self.now)
                .expect("a snapshot");
        self.journal.clear();
        self.write();
        self.checkpoint();
    }
}
