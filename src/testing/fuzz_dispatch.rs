//! Any bytes as a story of dispatch: clients, operators, agents that crash, connections that break, messages that
//! are replayed or come from the wrong device. Every step is compared with a reference model.
//!
//! A finding is a panic. The same body is the fuzz target and the property test.
#![allow(clippy::unwrap_used)]

use alloc::{collections::VecDeque, format, vec::Vec};

use super::{
    dispatch_model::ModelDevice,
    dispatch_world::{Agent, Down, World},
};
use crate::{
    capability::{CapabilityName, CapabilitySet},
    dispatch::{
        AgentLedger, DeviceMessage, DispatchCommand, DispatchPolicyDocument, EnqueueRequest, Incarnation,
        LedgerLimits, MediationStep, Outcome, Payload, RejectReason, Target,
    },
    id::{ClientId, DeviceId, RequestId},
    time::Millis,
};

const CAPABILITIES: [&str; 3] = ["c0", "c1", "c2"];

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

fn policy() -> DispatchPolicyDocument {
    DispatchPolicyDocument {
        max_devices: 3,
        max_requests: 8,
        max_queue: 3,
        max_client_requests: 6,
        max_client_queue: 2,
        max_client_bytes: 48,
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
    let mut world = World::new(policy());
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
            _ => self.restart(script.below(2) == 0, script.below(2) == 0),
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
                let set = |d: &mut ModelDevice| {
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
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 400, max_shrink_iters: 20_000, ..Default::default() })]

        /// Invariants 8, 13 and 14, attacks D1 to D6, over random stories.
        #[test]
        fn dispatch_agrees_with_its_model(bytes in prop::collection::vec(any::<u8>(), 0..1_500)) {
            super::story(&bytes);
        }
    }
}
