//! A fleet of paired nodes with its journal, and an authority that signs for them.

use leasehold::{
    attestation::{AttestationPolicy, signature::DefaultVerifier},
    capability::{CapabilityName, CapabilitySet},
    code::{self, Coded},
    digest::Sha256Digest,
    dispatch::{
        DeviceMessage, DispatchCommand, DispatchEffect, DispatchPolicyDocument, EnqueueRequest, Payload,
        RequestState, Target,
    },
    fleet::{
        CommandError, Decide, Effect, Enqueue, ManageDevice, OrderDispatch, Principal, Released, Setup,
        TellDispatch, Ticket, WorkerFleetManager, WorkerFleetPolicy, WorkerFleetPolicyForm,
    },
    id::{ClientId, DeviceId, FleetId, RequestId},
    identity::{
        DeviceCommand,
        pairing::{CertificateIssuer, IssueError, PairingEnd, VerifiedPairing},
    },
    lease::Epoch,
    time::{Millis, Now},
};
use rcgen::{CertificateParams, Issuer, KeyPair};

pub const START: Now = Now::new(1_000, 1_764_000_000_000);

pub fn port() -> Sha256Digest {
    Sha256Digest::of(b"pairing port")
}

pub fn policy() -> WorkerFleetPolicy {
    // Nodes only: no evidence lets anybody work.
    let attestation = AttestationPolicy::from_json(
        br#"{"accept": ["dsse"], "times": {"max_age_ms": 60000, "max_lifetime_ms": 3600000,
            "future_skew_ms": 2000, "expiry_skew_ms": 0}}"#,
    );
    let mut form = WorkerFleetPolicyForm::new(FleetId::new("fleet").unwrap(), attestation.unwrap());
    form.limits.devices = 4;
    form.liveness.max_wall_step_ms = Millis(10_000);
    form.dispatch = DispatchPolicyDocument {
        max_requests: 32,
        max_queue: 4,
        longest_ttl_ms: Millis(5_000),
        retention_ms: Millis(2_000),
        staleness_ms: Millis(3_000),
        ..DispatchPolicyDocument::default()
    };
    WorkerFleetPolicy::try_from(form).unwrap()
}

pub fn setup() -> Setup {
    Setup::new([5; 64], port(), Box::new(DefaultVerifier))
}

pub fn device(name: &str) -> DeviceId {
    DeviceId::new(name).unwrap()
}

pub fn operator() -> ClientId {
    ClientId::new("operator").unwrap()
}

pub fn client() -> ClientId {
    ClientId::new("client").unwrap()
}

pub fn cam() -> CapabilitySet {
    CapabilitySet::parse(["cam"]).unwrap()
}

pub fn ask(name: &str, target: Target) -> Enqueue {
    Enqueue {
        ask: EnqueueRequest {
            request: RequestId::new(name).unwrap(),
            target,
            capability: CapabilityName::new("cam").unwrap(),
            payload: Payload::new(b"look"),
            result_limit: 16,
            ttl_ms: Millis(4_000),
        },
    }
}

/// A fleet and its journal, which is written after every operation.
pub struct Host {
    pub fleet: WorkerFleetManager,
    pub journal: Vec<u8>,
    pub now: Now,
}

/// The effects for requests.
pub fn dispatched(effects: Vec<Effect>) -> Vec<DispatchEffect> {
    let only = effects.into_iter().filter_map(|effect| match effect {
        Effect::Dispatch(effect) => Some(*effect),
        _ => None,
    });
    only.collect()
}

impl Host {
    pub fn new() -> Self {
        let fleet = WorkerFleetManager::found(policy(), setup(), Epoch(1), START).unwrap();
        Self { fleet, journal: Vec::new(), now: START }
    }

    pub fn write(&mut self) {
        if let Some(batch) = self.fleet.take_journal() {
            self.journal.extend(&batch.bytes);
            self.fleet.durable(batch.last).unwrap();
        }
    }

    pub fn redeem<T: std::fmt::Debug>(&mut self, ticket: Ticket<T>) -> Released<T> {
        self.write();
        ticket.redeem(&self.fleet).unwrap()
    }

    pub fn ask<O: Decide>(&mut self, operation: &O, principal: &Principal) -> Result<Vec<Effect>, O::Error>
    where
        O::Error: From<CommandError>,
    {
        let prepared = self.fleet.decide(operation, principal, None, self.now)?;
        let ticket = self.fleet.accept(prepared).unwrap();
        Ok(self.redeem(ticket).effects.into_iter().collect())
    }

    pub fn order(&mut self, command: DeviceCommand) -> Result<Vec<Effect>, code::Code> {
        let effects = self.ask(&ManageDevice::new(command), &Principal::Operator(operator()));
        effects.map_err(|error| error.code())
    }

    pub fn dispatch(&mut self, order: DispatchCommand) -> Result<Vec<Effect>, code::Code> {
        let effects = self.ask(&OrderDispatch { order }, &Principal::Operator(operator()));
        effects.map_err(|error| error.code())
    }

    pub fn say(&mut self, leaf: Sha256Digest, message: &DeviceMessage) -> Result<Vec<Effect>, code::Code> {
        let known = self.fleet.state().devices().by_certificate(&leaf);
        let device = known.map_or_else(|| device("nobody"), |(record, _)| record.device().clone());
        let principal = Principal::Device { device, certificate: leaf };
        let effects = self.ask(&TellDispatch { message: message.clone() }, &principal);
        effects.map_err(|error| error.code())
    }

    pub fn request(&mut self, ask: &Enqueue) -> Result<(), code::Code> {
        self.ask(ask, &Principal::Service(client())).map(|_| ()).map_err(|error| error.code())
    }

    /// Lets time act until nothing is due.
    pub fn poll(&mut self) -> Vec<DispatchEffect> {
        let mut effects = Vec::new();
        loop {
            let prepared = self.fleet.expire(self.now).unwrap();
            let ticket = self.fleet.accept(prepared).unwrap();
            let released = self.redeem(ticket);
            effects.extend(dispatched(released.effects.into_iter().collect()));
            if !released.answer.more {
                return effects;
            }
        }
    }

    pub fn state_of(&self, request: &str) -> RequestState {
        self.fleet.state().nodes().dispatch().record(&RequestId::new(request).unwrap()).unwrap().state()
    }

    /// Starts again from the journal, or from a snapshot taken now, and compares (invariant 8).
    pub fn check_recovery(&mut self) {
        self.write();
        self.fleet.state().check_invariants().unwrap();
        let snapshot = self.fleet.snapshot().unwrap();
        let journals: [(Option<&[u8]>, &[u8]); 2] = [(None, &self.journal), (Some(&snapshot), &[])];
        let mut ends = Vec::new();
        for (snapshot, journal) in journals {
            let again = WorkerFleetManager::recover(snapshot, journal, setup(), Epoch(2), self.now).unwrap();
            let (own, other) = (self.fleet.state(), again.state());
            assert_eq!(own.devices(), other.devices());
            assert_eq!(own.nodes().dispatch(), other.nodes().dispatch());
            assert_eq!(own.index() + 1, other.index());
            // Codes are in memory only: what was open has ended.
            for (session, held) in own.nodes().pairing().sessions() {
                let end = held.end().unwrap_or(PairingEnd::SecretLost);
                assert_eq!(again.pairing_end(session), Some(end));
            }
            ends.push(again.state().digest());
        }
        assert_eq!(ends[0], ends[1]);
    }
}

pub struct Authority(pub KeyPair, pub Issuer<'static, KeyPair>);

impl CertificateIssuer for Authority {
    fn issue(&mut self, pairing: &VerifiedPairing, _: Now) -> Result<Vec<u8>, IssueError> {
        let mut params = CertificateParams::new(vec![pairing.device().to_string()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2025, 1, 1);
        params.not_after = rcgen::date_time_ymd(2027, 1, 1);
        Ok(params.signed_by(&self.0, &self.1).unwrap().der().to_vec())
    }
}
