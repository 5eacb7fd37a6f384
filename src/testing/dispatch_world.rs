//! A world of dispatch in virtual time: the state, its model, agents with their connections, and the journal. Every
//! step is compared with the model.
#![allow(clippy::unwrap_used, clippy::panic, clippy::cast_possible_truncation)]

use alloc::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    vec::Vec,
};

use super::dispatch_model::Model;
use crate::{
    dispatch::{
        AgentAction, AgentLedger, Decision, Delivery, DeviceMessage, DispatchEffect, DispatchError,
        DispatchEvent, DispatchLiveness, DispatchPolicy, DispatchPolicyDocument, DispatchState, More,
        RequestState,
    },
    id::{DeviceId, RequestId},
    time::Now,
};

const KEY: [u8; 16] = [3; 16];

/// What is on its way to a device.
pub(super) enum Down {
    Deliver(Delivery),
    Settle(RequestId),
}

/// The device's side: an agent with its memory, and the two directions of its connection.
pub(super) struct Agent {
    pub(super) ledger: AgentLedger,
    pub(super) running: Vec<RequestId>,
    pub(super) asked: Vec<RequestId>,
    pub(super) down: VecDeque<Down>,
    pub(super) up: VecDeque<DeviceMessage>,
}

pub(super) struct World {
    pub(super) state: DispatchState,
    pub(super) live: DispatchLiveness,
    pub(super) model: Model,
    pub(super) agents: BTreeMap<DeviceId, Agent>,
    pub(super) now: u64,
    pub(super) snapshot: Option<Vec<u8>>,
    pub(super) journal: Vec<Vec<u8>>,
    pub(super) said: Vec<(DeviceId, DeviceMessage)>,
    pub(super) executed: BTreeSet<u64>,
    pub(super) finished: BTreeMap<u64, RequestState>,
}

impl World {
    /// Nobody is known, and nothing has happened.
    pub(super) fn new(policy: DispatchPolicyDocument) -> Self {
        Self {
            state: DispatchState::new(DispatchPolicy::try_from(policy.clone()).unwrap(), KEY),
            live: DispatchLiveness::new(),
            model: Model { policy, devices: BTreeMap::new(), requests: BTreeMap::new(), next: 1 },
            agents: BTreeMap::new(),
            now: 0,
            snapshot: None,
            journal: Vec::new(),
            said: Vec::new(),
            executed: BTreeSet::new(),
            finished: BTreeMap::new(),
        }
    }

    pub(super) fn now(&self) -> Now {
        Now::new(self.now, self.now)
    }

    /// Accepts or refuses as the core decided, which must be what the model `expects`.
    pub(super) fn settle<A>(
        &mut self,
        decided: Result<Decision<A>, DispatchError>,
        expects: bool,
        what: &str,
    ) -> Option<A> {
        match decided {
            Ok(decision) => {
                assert!(expects, "{what} was accepted: {:?}", decision.events());
                Some(self.accept(decision))
            }
            Err(error) => {
                assert!(!expects, "{what} was refused: {error}");
                None
            }
        }
    }

    pub(super) fn accept<A>(&mut self, decision: Decision<A>) -> A {
        if !decision.events().is_empty() {
            self.journal.push(decision.to_journal());
        }
        let now = self.now();
        let accepted = self.state.accept(&mut self.live, now, decision).unwrap();
        for effect in accepted.effects {
            self.effect(effect);
        }
        accepted.answer
    }

    pub(super) fn effect(&mut self, effect: DispatchEffect) {
        match effect {
            DispatchEffect::Deliver { device, delivery } => {
                let known = self.state.device(&device).unwrap();
                assert!(known.connected && !known.standing.quarantined && !known.standing.revoked);
                assert!(delivery.attempt > 1 || !known.standing.draining, "draining devices get nothing new");
                assert!(known.effective.contains(&delivery.capability), "granted and claimed");
                assert!(delivery.ttl_ms.0 > 0, "D3: what timed out is never sent");
                assert!(known.in_flight <= 2 * known.window.max(2) as usize);
                if let Some(agent) = self.agents.get_mut(&device) {
                    agent.down.push_back(Down::Deliver(delivery));
                }
            }
            DispatchEffect::Settle { device, request } => {
                if let Some(agent) = self.agents.get_mut(&device) {
                    agent.down.push_back(Down::Settle(request));
                }
            }
            DispatchEffect::Finished { request, state, .. } => {
                assert!(state.is_final());
                let number = self.state.record(&request).unwrap().number();
                assert_eq!(self.finished.insert(number, state), None, "{request} ended twice");
            }
            DispatchEffect::Close { device } => self.cut(&device),
        }
    }

    pub(super) fn cut(&mut self, device: &DeviceId) {
        if let Some(agent) = self.agents.get_mut(device) {
            agent.down.clear();
            agent.up.clear();
        }
    }

    /// A message of `device` reaches the coordinator.
    pub(super) fn say(&mut self, device: &DeviceId, message: DeviceMessage) {
        let now = self.now;
        let expects = match &message {
            DeviceMessage::Window { incarnation, window } => self.model.window(device, *incarnation, *window),
            DeviceMessage::Heartbeat { incarnation } => self.model.heartbeat(device, *incarnation),
            DeviceMessage::Mediation { incarnation, request, attempt, step } => {
                self.model.mediate(device, (*incarnation, request, *attempt), *step, now)
            }
            DeviceMessage::Answer { incarnation, request, attempt, outcome } => {
                self.model.answer(device, (*incarnation, request, *attempt), outcome, now)
            }
            DeviceMessage::Connect { .. } => return,
        };
        if expects {
            self.model.hear(device, now);
        }
        let decided = self.state.decide_device(self.now(), device, &message);
        self.settle(decided, expects, "message");
        if self.said.len() >= 8 {
            self.said.remove(0);
        }
        self.said.push((device.clone(), message));
    }

    pub(super) fn act(&mut self, device: &DeviceId, action: AgentAction) {
        let Some(agent) = self.agents.get_mut(device) else { return };
        match action {
            AgentAction::Nothing => {}
            AgentAction::AskPerson(request) => agent.asked.push(request),
            AgentAction::Execute(delivery) => {
                assert!(self.executed.insert(delivery.number), "D6: {} ran twice", delivery.request);
                agent.running.push(delivery.request);
            }
            AgentAction::Stop(request) => {
                agent.running.retain(|running| *running != request);
                agent.asked.retain(|asked| *asked != request);
            }
        }
    }

    pub(super) fn due(&mut self) {
        self.model.due(self.now);
        loop {
            let decision = self.state.decide_due(&self.live, self.now());
            assert!(decision.events().len() <= 3, "bounded work");
            if self.accept(decision) == More::Done {
                break;
            }
        }
    }

    pub(super) fn sends(&mut self) {
        let expects = self.model.sends(self.now);
        let mut sent = Vec::new();
        loop {
            let decision = self.state.decide_sends(&self.live, self.now());
            assert!(decision.events().len() <= 3, "bounded work");
            for event in decision.events() {
                if let DispatchEvent::RequestDispatched { request, .. } = event {
                    sent.push(self.state.record(request).unwrap().number());
                }
            }
            if self.accept(decision) == More::Done {
                break;
            }
        }
        sent.sort_unstable();
        assert_eq!(sent, expects, "what was handed over");
    }

    /// The coordinator is started again from what it wrote.
    pub(super) fn restart(&mut self, snapshot: bool, cut: bool) {
        let journal = self.journal.iter().map(Vec::as_slice);
        let policy = self.state.policy().clone();
        let recovered = DispatchState::recover(policy, KEY, self.snapshot.as_deref(), journal).unwrap();
        assert_eq!(recovered, self.state, "invariant 8");
        assert_eq!(recovered.index_view(), self.state.index_view(), "indexes follow from the records");
        assert_eq!(recovered.snapshot(), self.state.snapshot(), "equal states have equal bytes");
        self.state = recovered;
        self.live = DispatchLiveness::after_recovery(&self.state, self.now().mono);
        for device in self.model.devices.keys().cloned().collect::<Vec<_>>() {
            self.model.hear(&device, self.now);
        }
        if snapshot {
            self.snapshot = Some(self.state.snapshot());
            // A journal may still begin before the snapshot.
            if cut {
                self.journal.clear();
            }
        }
    }

    pub(super) fn compare(&self) {
        assert_eq!(self.state.records().count(), self.model.requests.len());
        for record in self.state.records() {
            let expects = &self.model.requests[record.id()];
            let own = (record.state(), record.device(), record.number(), record.deadline().0);
            assert_eq!(own, (expects.state, &expects.device, expects.number, expects.deadline));
            assert_eq!(record.result().len(), expects.result);
            let ended = self.finished.get(&record.number()).copied();
            assert_eq!(ended, Some(record.state()).filter(|state| state.is_final()), "invariant 14");
        }
        assert_eq!(self.state.devices().count(), self.model.devices.len());
        for device in self.state.devices() {
            let expects = &self.model.devices[&device.id];
            assert_eq!(device.grants, expects.grants, "D5: grants are the operator's");
            assert_eq!(device.connected, expects.session.is_some());
            assert_eq!(device.incarnation, expects.incarnation);
            assert!(
                device.effective.is_subset_of(&device.grants)
                    && device.effective.is_subset_of(&device.claims)
            );
            assert!(device.queued <= 3, "invariant 13");
        }
        let counts = self.state.counts();
        assert_eq!(counts.bytes, self.model.bytes());
        assert!(counts.devices <= 3 && counts.requests <= 8 && counts.bytes <= 60, "invariant 13");
        let open = self.model.requests.values().filter(|record| !record.state.is_final()).count();
        assert_eq!(counts.open, open as u64);
    }

    /// Nothing stays open for ever, and nothing is left behind.
    pub(super) fn run_out(&mut self) {
        self.now += 1_000;
        self.due();
        self.compare();
        assert_eq!(self.state.counts().open, 0);
        self.now += 1_000;
        self.due();
        let counts = self.state.counts();
        assert_eq!((counts.requests, counts.bytes, counts.in_flight), (0, 0, 0));
        assert_eq!(self.state.next_due(&self.live), None);
    }
}
