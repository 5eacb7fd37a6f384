//! Any bytes as a story of dispatch: clients, operators, agents that crash, connections that break, messages that
//! are replayed or come from the wrong device. Every step is compared with a reference model.
//!
//! A finding is a panic. The same body is the fuzz target and the property test.
#![allow(clippy::arithmetic_side_effects, clippy::indexing_slicing, clippy::unwrap_used, clippy::panic)]
#![allow(clippy::cast_possible_truncation)]

use alloc::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    format,
    vec::Vec,
};

use super::dispatch_model::Model;
use crate::{
    capability::{CapabilityName, CapabilitySet},
    dispatch::{
        AgentAction, AgentLedger, Decision, Delivery, DeviceMessage, DispatchCommand, DispatchEffect,
        DispatchError, DispatchLiveness, DispatchPolicy, DispatchPolicyDocument, DispatchState,
        EnqueueRequest, Incarnation, LedgerLimits, MediationStep, More, Outcome, Payload, RejectReason,
        RequestState, Target,
    },
    id::{ClientId, DeviceId, RequestId},
    time::{Millis, Now},
};

const CAPABILITIES: [&str; 3] = ["c0", "c1", "c2"];
const KEY: [u8; 16] = [3; 16];

/// Reads a story from bytes; zeros follow the last byte.
struct Script<'a>(&'a [u8]);

impl Script<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn below(&mut self, bound: u8) -> u8 {
        self.byte() % bound
    }

    fn device(&mut self) -> DeviceId {
        // Mostly the two that everything happens on.
        let drawn = self.byte();
        let at = if drawn < 224 { drawn % 2 } else { drawn % 4 };
        DeviceId::new(&format!("d{at}")).unwrap()
    }

    fn request(&mut self) -> RequestId {
        RequestId::new(&format!("r{}", self.below(12))).unwrap()
    }

    fn client(&mut self) -> ClientId {
        ClientId::new(if self.below(4) == 0 { "other" } else { "client" }).unwrap()
    }

    fn capabilities(&mut self) -> CapabilitySet {
        let bits = self.byte();
        let chosen = CAPABILITIES.iter().enumerate().filter(|(at, _)| bits & (1 << at) != 0);
        CapabilitySet::parse(chosen.map(|(_, name)| *name)).unwrap()
    }
}

/// What is on its way to a device.
enum Down {
    Deliver(Delivery),
    Settle(RequestId),
}

/// The device's side: an agent with its memory, and the two directions of its connection.
struct Agent {
    ledger: AgentLedger,
    running: Vec<RequestId>,
    asked: Vec<RequestId>,
    down: VecDeque<Down>,
    up: VecDeque<DeviceMessage>,
}

struct World {
    state: DispatchState,
    live: DispatchLiveness,
    model: Model,
    agents: BTreeMap<DeviceId, Agent>,
    now: u64,
    snapshot: Option<Vec<u8>>,
    journal: Vec<Vec<u8>>,
    said: Vec<(DeviceId, DeviceMessage)>,
    executed: BTreeSet<u64>,
    finished: BTreeMap<u64, RequestState>,
}

fn policy() -> DispatchPolicyDocument {
    DispatchPolicyDocument {
        max_devices: 3,
        max_requests: 8,
        max_queue: 3,
        max_window: 2,
        max_request_bytes: 8,
        max_result_bytes: 8,
        max_total_bytes: 60,
        longest_ttl_ms: Millis(270),
        retention_ms: Millis(150),
        staleness_ms: Millis(120),
        max_deliveries: 3,
        max_per_call: 3,
        mediated: CapabilitySet::parse(["c1"]).unwrap(),
    }
}

/// Runs the story that `data` tells. Panics where dispatch and its model disagree, or a law is broken.
///
/// Laws checked after every step: final states stay final (invariant 14); state, counts and indexes agree with the
/// model, and with what journal and snapshot give back (invariant 8); bounds hold (invariant 13); nothing is
/// executed twice; nothing new goes to a device that is stale, draining, quarantined or revoked.
pub fn story(data: &[u8]) {
    let mut script = Script(data);
    let document = policy();
    let mut world = World {
        state: DispatchState::new(DispatchPolicy::try_from(document.clone()).unwrap(), KEY),
        live: DispatchLiveness::new(),
        model: Model { policy: document, devices: BTreeMap::new(), requests: BTreeMap::new(), next: 1 },
        agents: BTreeMap::new(),
        now: 0,
        snapshot: None,
        journal: Vec::new(),
        said: Vec::new(),
        executed: BTreeSet::new(),
        finished: BTreeMap::new(),
    };
    world.begin(&mut script);
    for _ in 0..512 {
        if script.0.is_empty() {
            break;
        }
        // Mostly as a driver does it, and sometimes late.
        if script.below(4) > 0 {
            world.due();
            world.sends();
        }
        world.step(&mut script);
        world.compare();
    }
    world.run_out();
}

impl World {
    fn now(&self) -> Now {
        Now::new(self.now, self.now)
    }

    /// Accepts or refuses as the core decided, which must be what the model `expects`.
    fn settle<A>(
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

    fn accept<A>(&mut self, decision: Decision<A>) -> A {
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

    fn effect(&mut self, effect: DispatchEffect) {
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

    fn cut(&mut self, device: &DeviceId) {
        if let Some(agent) = self.agents.get_mut(device) {
            agent.down.clear();
            agent.up.clear();
        }
    }

    /// Two devices that hold everything, so that most stories come to the point.
    fn begin(&mut self, script: &mut Script<'_>) {
        let all = CapabilitySet::parse(CAPABILITIES).unwrap();
        for name in ["d0", "d1"] {
            let device = DeviceId::new(name).unwrap();
            let expects = self.model.grant(&device, &all, self.now);
            let order = DispatchCommand::Grant { device: device.clone(), capabilities: all.clone() };
            let decided = self.state.decide_operator(self.now(), &order);
            self.settle(decided, expects, "grant");
            self.connect_as(&device, false, all.clone(), u32::from(script.below(3)));
        }
    }

    fn step(&mut self, script: &mut Script<'_>) {
        match script.below(24) {
            0 => self.now += u64::from(script.below(48)),
            1..=3 => self.enqueue(script),
            4 => self.client(script),
            5 => self.operator(script),
            6 | 7 => self.connect(script),
            8 => self.break_off(script),
            9 => self.small_talk(script),
            10..=13 => self.down(script),
            14..=17 => self.up(script),
            18..=20 => self.work(script),
            21 => self.replay(script),
            22 => self.due(),
            _ => self.restart(script),
        }
    }

    fn enqueue(&mut self, script: &mut Script<'_>) {
        let client = script.client();
        let target = match script.below(5) {
            0 => Target::Device(script.device()),
            _ => Target::Any,
        };
        let ask = EnqueueRequest {
            request: script.request(),
            target,
            capability: CapabilityName::new(CAPABILITIES[usize::from(script.below(3))]).unwrap(),
            payload: Payload::new(&[7; 10][..usize::from(script.below(10))]),
            result_limit: u32::from(script.below(10)),
            ttl_ms: Millis((60 + u64::from(script.byte())) % 280),
        };
        let expects = self.model.enqueue(&client, &ask, self.now);
        let decided = self.state.enqueue(&self.live, self.now(), &client, &ask);
        self.settle(decided, expects, "enqueue");
    }

    fn client(&mut self, script: &mut Script<'_>) {
        let (client, request) = (script.client(), script.request());
        if script.below(2) == 0 {
            let expects = self.model.cancel(&client, &request, self.now);
            let decided = self.state.cancel(self.now(), &client, &request);
            self.settle(decided, expects, "cancel");
        } else {
            let expects = self.model.collect(&client, &request);
            let decided = self.state.collect(&client, &request);
            self.settle(decided, expects, "collect");
        }
    }

    fn operator(&mut self, script: &mut Script<'_>) {
        let device = script.device();
        let at = self.now;
        let (expects, order) = match script.below(10) {
            0 => {
                let set = |d: &mut super::dispatch_model::ModelDevice| {
                    d.draining = true;
                    None
                };
                (self.model.stand(&device, at, set), DispatchCommand::Drain { device })
            }
            1 => {
                let expects = self.model.stand(&device, at, |d| {
                    d.quarantined = true;
                    Some(RejectReason::DeviceQuarantined)
                });
                (expects, DispatchCommand::Quarantine { device })
            }
            2 => {
                let expects = self.model.stand(&device, at, |d| {
                    d.revoked = true;
                    Some(RejectReason::DeviceRevoked)
                });
                (expects, DispatchCommand::Revoke { device })
            }
            3 => {
                let expects = self.model.stand(&device, at, |d| {
                    d.draining = false;
                    None
                });
                (expects, DispatchCommand::Undrain { device })
            }
            4 => {
                let expects = self.model.stand(&device, at, |d| {
                    d.quarantined = false;
                    None
                });
                (expects, DispatchCommand::Release { device })
            }
            5 => {
                let expects = self.model.stand(&device, at, |d| {
                    d.revoked = false;
                    None
                });
                (expects, DispatchCommand::Reinstate { device })
            }
            6 => (self.model.remove(&device), DispatchCommand::Remove { device }),
            _ => {
                let capabilities = script.capabilities();
                let expects = self.model.grant(&device, &capabilities, at);
                (expects, DispatchCommand::Grant { device, capabilities })
            }
        };
        let decided = self.state.decide_operator(self.now(), &order);
        self.settle(decided, expects, "order");
    }

    /// The agent connects, in its life or in a new one.
    fn connect(&mut self, script: &mut Script<'_>) {
        let device = script.device();
        let lives_on = script.below(5) > 0;
        let claims = match script.below(3) {
            0 => script.capabilities(),
            _ => CapabilitySet::parse(CAPABILITIES).unwrap(),
        };
        let window = u32::from(script.below(4));
        self.connect_as(&device, lives_on, claims, window);
    }

    fn connect_as(&mut self, device: &DeviceId, lives_on: bool, claims: CapabilitySet, window: u32) {
        let last = self.agents.get(device).map_or(0, |agent| agent.ledger.incarnation().0);
        if !lives_on || !self.agents.contains_key(device) {
            let limits = LedgerLimits { requests: 4, payload_bytes: 8 };
            let agent = Agent {
                ledger: AgentLedger::new(Incarnation(last + 1), limits),
                running: Vec::new(),
                asked: Vec::new(),
                down: VecDeque::new(),
                up: VecDeque::new(),
            };
            self.agents.insert(device.clone(), agent);
        }
        self.cut(device);
        let incarnation = self.agents[device].ledger.incarnation();
        let expects = self.model.connect(device, incarnation, &claims, window, self.now);
        let hello = DeviceMessage::Connect { incarnation, claims, window };
        let decided = self.state.decide_device(self.now(), device, &hello);
        self.settle(decided, expects, "connect");
    }

    fn break_off(&mut self, script: &mut Script<'_>) {
        let device = script.device();
        let Some(agent) = self.agents.get(&device) else { return };
        let incarnation = Incarnation(agent.ledger.incarnation().0 - u64::from(script.below(5) == 0));
        let expects = self.model.disconnect(&device, incarnation);
        let decided = self.state.disconnect(&device, incarnation);
        self.settle(decided, expects, "disconnect");
        if expects {
            self.cut(&device);
        }
    }

    fn small_talk(&mut self, script: &mut Script<'_>) {
        let device = script.device();
        let Some(agent) = self.agents.get(&device) else { return };
        let incarnation = agent.ledger.incarnation();
        let message = match script.below(3) {
            0 => DeviceMessage::Window { incarnation, window: u32::from(script.below(4)) },
            _ => DeviceMessage::Heartbeat { incarnation },
        };
        self.say(&device, message);
    }

    /// A message of `device` reaches the coordinator.
    fn say(&mut self, device: &DeviceId, message: DeviceMessage) {
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

    /// The next thing on its way to a device arrives there.
    fn down(&mut self, script: &mut Script<'_>) {
        let device = script.device();
        let now = self.now();
        let Some(agent) = self.agents.get_mut(&device) else { return };
        let action = match agent.down.pop_front() {
            None => return,
            Some(Down::Settle(request)) => agent.ledger.settled(&request),
            Some(Down::Deliver(delivery)) => {
                let receipt = agent.ledger.receive(now, delivery);
                agent.up.extend(receipt.replies);
                receipt.action
            }
        };
        self.act(&device, action);
    }

    fn act(&mut self, device: &DeviceId, action: AgentAction) {
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

    fn up(&mut self, script: &mut Script<'_>) {
        let device = script.device();
        let next = self.agents.get_mut(&device).and_then(|agent| agent.up.pop_front());
        if let Some(message) = next {
            self.say(&device, message);
        }
    }

    /// A person answers, an execution ends, or the agent forgets what is over.
    fn work(&mut self, script: &mut Script<'_>) {
        let device = script.device();
        let now = self.now();
        let Some(agent) = self.agents.get_mut(&device) else { return };
        match script.below(4) {
            0 => {
                let actions = agent.ledger.expire(now);
                actions.into_iter().for_each(|action| self.act(&device, action));
            }
            1 => {
                let Some(request) = agent.asked.pop() else { return };
                let receipt = agent.ledger.mediated(now, &request, script.below(3) > 0);
                agent.up.extend(receipt.replies);
                self.act(&device, receipt.action);
            }
            _ => {
                let Some(request) = agent.running.pop() else { return };
                let bytes = Payload::new(&[9; 12][..usize::from(script.below(12))]);
                let outcome = match script.below(4) {
                    0 => Outcome::Failed(bytes),
                    _ => Outcome::Succeeded(bytes),
                };
                agent.up.extend(agent.ledger.finished(&request, outcome));
            }
        }
    }

    /// Something that was said is said again, changed, or by another device (D1, D2).
    fn replay(&mut self, script: &mut Script<'_>) {
        if self.said.is_empty() {
            return;
        }
        let (mut device, mut message) = self.said[usize::from(script.byte()) % self.said.len()].clone();
        if script.below(2) == 0 {
            device = script.device();
        }
        match &mut message {
            DeviceMessage::Answer { incarnation, attempt, outcome, .. } => match script.below(5) {
                0 => incarnation.0 = u64::from(script.below(4)),
                1 => *attempt = u32::from(script.below(4)),
                2 => *outcome = Outcome::Succeeded(Payload::new(&[1; 40][..usize::from(script.below(40))])),
                3 => *outcome = Outcome::Lost,
                _ => {}
            },
            DeviceMessage::Mediation { attempt, step, .. } => match script.below(4) {
                0 => *attempt = u32::from(script.below(4)),
                1 => *step = MediationStep::Approved,
                2 => *step = MediationStep::Denied,
                _ => {}
            },
            _ => {}
        }
        self.say(&device, message);
    }

    fn due(&mut self) {
        self.model.due(self.now);
        loop {
            let decision = self.state.decide_due(&self.live, self.now());
            assert!(decision.events().len() <= 3, "bounded work");
            if self.accept(decision) == More::Done {
                break;
            }
        }
    }

    fn sends(&mut self) {
        let expects = self.model.sends(self.now);
        let mut sent = Vec::new();
        loop {
            let decision = self.state.decide_sends(&self.live, self.now());
            assert!(decision.events().len() <= 3, "bounded work");
            for event in decision.events() {
                if let crate::dispatch::DispatchEvent::RequestDispatched { request, .. } = event {
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
    fn restart(&mut self, script: &mut Script<'_>) {
        let journal = self.journal.iter().map(Vec::as_slice);
        let policy = self.state.policy().clone();
        let recovered = DispatchState::recover(policy, KEY, self.snapshot.as_deref(), journal).unwrap();
        assert_eq!(recovered, self.state, "invariant 8");
        assert_eq!(recovered.index_view(), self.state.index_view(), "indexes follow from the records");
        assert_eq!(recovered.snapshot(), self.state.snapshot(), "equal states have equal bytes");
        self.state = recovered;
        self.live = DispatchLiveness::after_recovery(&self.state, self.now());
        for device in self.model.devices.keys().cloned().collect::<Vec<_>>() {
            self.model.hear(&device, self.now);
        }
        if script.below(2) == 0 {
            self.snapshot = Some(self.state.snapshot());
            // Half of the time the journal still begins before the snapshot.
            if script.below(2) == 0 {
                self.journal.clear();
            }
        }
    }

    fn compare(&self) {
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
    fn run_out(&mut self) {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 1_500, max_shrink_iters: 20_000, ..Default::default() })]

        /// Invariants 8, 13 and 14, ATTACKS D1 to D6, over random stories.
        #[test]
        fn dispatch_agrees_with_its_model(bytes in prop::collection::vec(any::<u8>(), 0..1_500)) {
            super::story(&bytes);
        }
    }
}
