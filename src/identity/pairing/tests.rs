//! Pairing against an active man in the middle, and the sessions as replayable state.

use alloc::{vec, vec::Vec};

use proptest::prelude::*;

use super::{message::Message, testkit::*, *};
use crate::{
    digest::Sha256Digest,
    id::{FleetId, SessionId},
    identity::DeviceRegistry,
    time::{Millis, Now},
};

/// What the man in the middle may do. Numbers pick from what exists, so that every sequence means something.
#[derive(Clone, Debug)]
enum Act {
    /// Any message ever seen goes to the coordinator: late, again, in another order, reflected.
    ToDesk(usize),
    /// Any message ever seen goes to one of the devices.
    ToDevice(usize, usize),
    /// A message is kept with one byte changed.
    Mutate(usize, usize, u8),
    /// A message is kept with one part exchanged for that part of another.
    Graft(usize, usize, u8),
    /// The attacker starts a device of its own, with its own key and a code it guesses.
    Impersonate(usize),
    /// The attacker's devices take a message.
    ToAttacker(usize, usize),
    /// A device asks again.
    Fetch(usize),
    /// The attacker says how it ended, with a certificate of its own making for the device's own key.
    Forge(usize),
    /// The operator looks at the oldest question.
    Operator,
    /// Time passes.
    Wait(u64),
    /// The honest devices get on with it, unhindered for one round.
    Honest,
}

fn act() -> impl Strategy<Value = Act> {
    let any = || 0..64_usize;
    prop_oneof![
        4 => any().prop_map(Act::ToDesk),
        4 => (0..2_usize, any()).prop_map(|(device, message)| Act::ToDevice(device, message)),
        3 => (any(), any(), 1..=255_u8).prop_map(|(message, at, with)| Act::Mutate(message, at, with)),
        3 => (any(), any(), 0..6_u8).prop_map(|(to, from, part)| Act::Graft(to, from, part)),
        1 => (0..2_usize).prop_map(Act::Impersonate),
        2 => (any(), any()).prop_map(|(attacker, message)| Act::ToAttacker(attacker, message)),
        1 => (0..2_usize).prop_map(Act::Fetch),
        1 => (0..2_usize).prop_map(Act::Forge),
        3 => Just(Act::Operator),
        1 => (0..20_000_u64).prop_map(Act::Wait),
        2 => Just(Act::Honest),
    ]
}

struct World {
    method: PairingMethod,
    desk: PairingDesk,
    replayed: PairingState,
    registry: DeviceRegistry,
    entropy: Counter,
    now: Now,
    sessions: Vec<SessionId>,
    devices: Vec<DevicePairing>,
    attackers: Vec<DevicePairing>,
    pool: Vec<Vec<u8>>,
    asked: Vec<ApprovalRequest>,
    approved: Vec<Sha256Digest>,
    serial: u8,
}

impl World {
    fn new(method: PairingMethod) -> Self {
        let mut world = Self {
            method,
            desk: desk(),
            replayed: desk().state().clone(),
            registry: registry(),
            entropy: Counter(0),
            now: START,
            sessions: Vec::new(),
            devices: Vec::new(),
            attackers: Vec::new(),
            pool: Vec::new(),
            asked: Vec::new(),
            approved: Vec::new(),
            serial: 0,
        };
        for n in 0..2 {
            let mut tools = PairingTools::new(&mut world.entropy).with_pake(&ToyPake);
            let offer =
                world.desk.offer(method, PairingTarget::AnyNew, &world.registry, world.now, &mut tools);
            let turn = offer.unwrap();
            let offered = fold(&mut world.replayed, turn);
            let device = device(n, carried(method, &offered), &mut world.entropy);
            world.sessions.push(offered.session);
            world.pool.push(device.message().to_vec());
            world.devices.push(device);
        }
        world
    }

    fn tell_desk(&mut self, message: &[u8]) -> Option<Vec<u8>> {
        let before = self.desk.state().clone();
        let mut tools = PairingTools::new(&mut self.entropy).with_pake(&ToyPake);
        match self.desk.receive(message, &self.registry, self.now, &mut tools) {
            Ok(turn) => {
                let received = fold(&mut self.replayed, turn);
                self.asked.extend(received.ask);
                self.pool.extend(received.reply.clone());
                received.reply
            }
            Err(_) => {
                // Invariant 8.
                assert_eq!(self.desk.state(), &before);
                None
            }
        }
    }

    fn tell_device(&mut self, n: usize, message: &[u8]) {
        if let Ok(DeviceStep::Confirm { message, .. }) =
            self.devices[n].receive(&coordinator(), message, self.now)
        {
            self.pool.push(message);
        }
    }

    /// The operator approves every proved code; with a comparison, only digits that a device before them shows,
    /// and says so to that device's user.
    fn operator(&mut self) {
        let Some(ask) = (!self.asked.is_empty()).then(|| self.asked.remove(0)) else { return };
        if self.method == PairingMethod::Compare {
            let shown = self.devices.iter_mut().find(|device| device.digits() == Some(ask.digits));
            let Some(device) = shown else { return };
            device.digits_agree().ok();
        }
        let Ok(turn) = self.desk.approve(&ask.session, &ask.transcript, self.now) else { return };
        let pairing = fold(&mut self.replayed, turn);
        self.approved.push(pairing.key());
        // The certificate for the key that the request has; test keys are one byte.
        self.serial += 1;
        let key = (0..=255).find(|key| request(*key) == pairing.request()).unwrap();
        let leaf = certificate(key, self.serial);
        if let Ok(turn) = self.desk.complete(pairing, &leaf, &self.registry, self.now) {
            let done = fold(&mut self.replayed, turn);
            self.registry.apply(&done.command, self.now).unwrap();
        }
    }

    fn honest(&mut self) {
        for n in 0..self.devices.len() {
            let ask = if self.devices[n].digits().is_some() {
                self.devices[n].fetch()
            } else {
                self.devices[n].message().to_vec()
            };
            if let Some(reply) = self.tell_desk(&ask) {
                self.tell_device(n, &reply);
            }
            let message = self.devices[n].message().to_vec();
            if let Some(reply) = self.tell_desk(&message) {
                self.tell_device(n, &reply);
            }
        }
    }

    fn pick(&self, n: usize) -> Vec<u8> {
        self.pool[n % self.pool.len()].clone()
    }

    fn act(&mut self, act: &Act) {
        match act {
            Act::ToDesk(message) => {
                self.tell_desk(&self.pick(*message));
            }
            Act::ToDevice(device, message) => self.tell_device(*device, &self.pick(*message)),
            Act::Mutate(message, at, with) => {
                let mut bytes = self.pick(*message);
                let at = at * bytes.len() / 64;
                bytes[at] ^= with;
                self.pool.push(bytes);
            }
            Act::Graft(to, from, part) => {
                if let Some(bytes) = graft(&self.pick(*to), &self.pick(*from), *part) {
                    self.pool.push(bytes);
                }
            }
            Act::Impersonate(session) => {
                let session = self.sessions[*session].clone();
                let guess = match self.method {
                    PairingMethod::Qr => {
                        let text = alloc::format!("leasehold-pair-1/{session}/{}/{:032x}", coordinator(), 7);
                        DeviceCode::from_qr(&text).unwrap()
                    }
                    PairingMethod::Pin => DeviceCode::from_pin(session, "135791").unwrap(),
                    PairingMethod::Compare | PairingMethod::Enrolment => DeviceCode::compare(session),
                };
                let n = 100 + u8::try_from(self.attackers.len() % 100).unwrap();
                let attacker = device(n, guess, &mut self.entropy);
                self.pool.push(attacker.message().to_vec());
                self.attackers.push(attacker);
            }
            Act::ToAttacker(attacker, message) => {
                if !self.attackers.is_empty() {
                    let message = self.pick(*message);
                    let attacker = *attacker % self.attackers.len();
                    let step = self.attackers[attacker].receive(&coordinator(), &message, self.now);
                    if let Ok(DeviceStep::Confirm { message, .. }) = step {
                        self.pool.push(message);
                    }
                }
            }
            Act::Fetch(device) => {
                let fetch = self.devices[*device].fetch();
                self.pool.push(fetch);
            }
            Act::Forge(n) => {
                let certificate = certificate(u8::try_from(*n).unwrap(), 99);
                let status = message::Status::Issued { certificate, tag: [0; 32] };
                self.pool.push(Message::Status { session: self.sessions[*n].clone(), status }.encode());
            }
            Act::Operator => self.operator(),
            Act::Wait(span) => self.now = self.now.plus(Millis(*span)),
            Act::Honest => self.honest(),
        }
        let (len, keep) = (self.pool.len(), 64);
        self.pool.drain(..len.saturating_sub(keep));
    }

    /// What must hold whatever the man in the middle did.
    fn check(&self) {
        for (n, device) in self.devices.iter().enumerate() {
            let Some(paired) = device.paired() else { continue };
            // Both sides completed: one transcript. Nobody completed what was not approved.
            let theirs = self.desk.exchange_transcript(&self.sessions[n]);
            assert_eq!(Some(paired.transcript), theirs);
            let key = crate::identity::request_key(&request(u8::try_from(n).unwrap())).unwrap();
            assert!(self.approved.contains(&key));
            let leaf = Sha256Digest::of(&paired.certificate);
            assert_eq!(
                self.registry.authenticate_fingerprint(leaf, self.now).unwrap().device(),
                &paired.device
            );
        }
        for record in self.registry.devices() {
            assert!(self.approved.contains(&record.certificate().key()));
            // An attacker who does not know the code, or whose digits nobody saw, is never in.
            assert!(record.device() == &device_id(0) || record.device() == &device_id(1));
        }
        // The events that were given out are the whole truth.
        assert_eq!(self.desk.state(), &self.replayed);
    }
}

/// Folds events as recovery reads them, and hands the value out.
fn fold<T>(state: &mut PairingState, turn: Turn<T>) -> T {
    for event in turn.events() {
        let stored = postcard::to_allocvec(event).unwrap();
        let event = PairingEvent::from(postcard::from_bytes::<StoredPairingEvent>(&stored).unwrap());
        assert!(state.admits(&event), "{event:?}");
        state.evolve(&event);
    }
    turn.durable()
}

/// `to` with one part of `from` in it.
fn graft(to: &[u8], from: &[u8], part: u8) -> Option<Vec<u8>> {
    let mut message = Message::decode(to).ok()?;
    match (&mut message, Message::decode(from).ok()?) {
        (Message::Hello(to), Message::Hello(from)) => match part {
            0 => to.session = from.session,
            1 => to.device = from.device,
            2 => to.request = from.request,
            3 => to.nonce = from.nonce,
            4 => to.share = from.share,
            _ => to.versions = (0, 200),
        },
        (Message::Reply(to), Message::Reply(from)) => match part {
            0 => to.session = from.session,
            1 => to.fleet = FleetId::new("other").unwrap(),
            2 => to.tag = from.tag,
            3 => to.nonce = from.nonce,
            4 => to.share = from.share,
            _ => to.version = 0,
        },
        (Message::Confirm { session: to, .. }, Message::Confirm { session: from, .. }) => *to = from,
        (Message::Confirm { proof: to, .. }, Message::Reply(from)) => *to = from.tag,
        (Message::Status { session: to, .. }, Message::Status { session: from, .. }) => *to = from,
        _ => return None,
    }
    Some(message.encode())
}

proptest! {
    /// Attacks P6, P7: whatever is dropped, replayed, reordered, swapped or changed, and whoever joins in.
    #[test]
    fn a_man_in_the_middle_gains_nothing(
        method in prop::sample::select(METHODS.to_vec()),
        acts in prop::collection::vec(act(), 0..80),
    ) {
        let mut world = World::new(method);
        for act in &acts {
            world.act(act);
            world.check();
        }
    }

    /// Invariant 11: what decodes has one encoding, and nothing panics.
    #[test]
    fn every_message_has_one_encoding(bytes in prop::collection::vec(any::<u8>(), 0..200), mark in any::<bool>()) {
        let mut bytes = bytes;
        if mark {
            bytes.splice(0..0, [b'L', b'P']);
        }
        if let Ok(message) = Message::decode(&bytes) {
            prop_assert_eq!(message.encode(), bytes);
        }
    }
}

/// The world above is not empty: without an attacker, both devices are paired by every method.
#[test]
fn honest_devices_pair_by_every_method() {
    for method in METHODS {
        let mut world = World::new(method);
        world.honest();
        world.operator();
        world.operator();
        world.honest();
        world.check();
        assert!(world.devices.iter().all(|device| device.paired().is_some()), "{method}");
        assert_eq!(world.registry.len(), 2);
        let snapshot = postcard::to_allocvec(&world.desk.state().snapshot()).unwrap();
        let stored: PairingSnapshot = postcard::from_bytes(&snapshot).unwrap();
        let restored = PairingState::restore(stored, PairingPolicy::default()).unwrap();
        assert_eq!(&restored, world.desk.state());
    }
}

/// Stored sessions load as they were or not at all, and never more than the policy allows.
#[test]
fn stored_sessions_load_whole_or_not_at_all() {
    let state = World::new(PairingMethod::Qr).desk.state().clone();
    let json = serde_json::to_value(state.snapshot()).unwrap();
    let load = |json: &serde_json::Value, policy| {
        let stored = serde_json::from_value::<PairingSnapshot>(json.clone()).ok()?;
        Some(PairingState::restore(stored, policy))
    };
    let policy = PairingPolicy::default();
    assert_eq!(load(&json, policy).unwrap().unwrap(), state);
    let form = PairingPolicyForm { max_sessions: 1, max_remembered: 64, ..PairingPolicyForm::default() };
    let narrow = PairingPolicy::new(form).unwrap();
    let mut more = json.clone();
    let first = more["sessions"][0][1].clone();
    more["sessions"] = (0..66).map(|n| serde_json::json!([alloc::format!("s{n}"), first])).collect();
    assert!(load(&more, policy).unwrap().is_ok());
    assert_eq!(load(&more, narrow), Some(Err(crate::identity::RestoreError::Pairing)));
    let mut twice = json.clone();
    let first = twice["sessions"][0].clone();
    twice["sessions"].as_array_mut().unwrap().push(first);
    assert_eq!(load(&twice, policy), Some(Err(crate::identity::RestoreError::Pairing)));
    let mut newer = json.clone();
    newer["version"] = 9.into();
    assert_eq!(load(&newer, policy), Some(Err(crate::identity::RestoreError::Version(9))));
    for member in ["version", "window", "started", "sessions"] {
        let mut less = json.clone();
        less.as_object_mut().unwrap().remove(member);
        assert_eq!(load(&less, policy), None, "{member}");
    }
}

/// Ended sessions leave room for open ones: however many devices pair within the memory of sessions, the next offer is
/// made. What is remembered stays bounded (invariant 13), and what can still be fetched is not forgotten for it.
#[test]
fn ended_sessions_do_not_count_as_open_ones() {
    let form = PairingPolicyForm { max_sessions: 2, max_remembered: 64, ..PairingPolicyForm::default() };
    let policy = PairingPolicy::new(form).unwrap();
    let mut state = PairingState::new(policy);
    let apply = |state: &mut PairingState, command: &PairingCommand, now| {
        let events = state.decide(command, now)?;
        for event in &events {
            assert!(state.admits(event), "{event:?}");
            state.evolve(event);
        }
        Ok::<_, PairingError>(events)
    };
    let session = |n: u64| SessionId::new(&alloc::format!("s{n}")).unwrap();
    let open = |n| PairingCommand::Open {
        session: session(n),
        method: PairingMethod::Qr,
        target: PairingTarget::AnyNew,
    };
    let end = |n| PairingCommand::End { session: session(n), end: PairingEnd::Cancelled };
    for n in 0..500 {
        let now = Now::new(n, n);
        apply(&mut state, &open(n), now).unwrap();
        apply(&mut state, &end(n), now).unwrap();
        assert!(state.sessions().len() <= 66);
    }
    let now = Now::new(500, 500);
    apply(&mut state, &open(500), now).unwrap();
    apply(&mut state, &open(501), now).unwrap();
    assert_eq!(apply(&mut state, &open(502), now), Err(PairingError::Sessions));
    assert_eq!(state.get(&session(0)), None);
    assert!(state.get(&session(499)).is_some());
    apply(&mut state, &end(500), now).unwrap();
    apply(&mut state, &open(502), now).unwrap();
}

/// Attack P1: the PIN, guessed in a loop and in parallel: three exchanges, started or finished, and it is dead.
#[test]
fn p1_a_pin_is_dead_after_three_guesses() {
    for finish in [true, false] {
        let (mut desk, registry, mut entropy) = (desk(), registry(), Counter(3));
        let mut tools = PairingTools::new(&mut entropy).with_pake(&ToyPake);
        let offer = desk.offer(PairingMethod::Pin, PairingTarget::AnyNew, &registry, START, &mut tools);
        let offered = offer.unwrap().durable();
        for pin in ["135790", "135791", "135792"] {
            let guess = DeviceCode::from_pin(offered.session.clone(), pin).unwrap();
            let mut guesser = device(7, guess, tools.entropy);
            let answer = desk.receive(guesser.message(), &registry, START, &mut tools).unwrap().durable();
            let wrong = guesser.receive(&coordinator(), &answer.reply.unwrap(), START);
            assert_eq!(wrong, Err(PairingError::Confirmation));
            if finish {
                let confirm = Message::Confirm { session: offered.session.clone(), proof: [7; 32] }.encode();
                let refused = desk.receive(&confirm, &registry, START, &mut tools).unwrap().durable().refused;
                assert_eq!(refused, Some(PairingError::Confirmation));
            }
        }
        let honest = device(0, carried(PairingMethod::Pin, &offered), tools.entropy);
        let late = desk.receive(honest.message(), &registry, START, &mut tools).map(Turn::durable);
        let expected = if finish { PairingError::Ended(PairingEnd::Locked) } else { PairingError::Attempts };
        assert_eq!(late.map(|_| ()), Err(expected));
    }
}

/// Attack P7: somebody who ends the TLS connection and relays everything has another certificate.
#[test]
fn p7_a_relay_with_another_certificate_is_seen() {
    for method in METHODS {
        let (mut desk, registry, mut entropy) = (desk(), registry(), Counter(9));
        let mut tools = PairingTools::new(&mut entropy).with_pake(&ToyPake);
        let offered =
            desk.offer(method, PairingTarget::AnyNew, &registry, START, &mut tools).unwrap().durable();
        let relay = Sha256Digest::of(b"relay");
        let code = carried(method, &offered);
        if method == PairingMethod::Qr {
            let profile =
                DeviceProfile::new(device_id(0), crate::identity::DeviceKind::Worker, request(0)).unwrap();
            let begun = DevicePairing::begin(code, profile, relay, START.mono.plus(Millis(9)), &mut tools);
            assert!(matches!(begun, Err(PairingError::Channel)));
            continue;
        }
        let mut device = device_on(0, code, relay, tools.entropy);
        let reply =
            desk.receive(device.message(), &registry, START, &mut tools).unwrap().durable().reply.unwrap();
        let step = device.receive(&relay, &reply, START);
        if method == PairingMethod::Pin {
            assert_eq!(step, Err(PairingError::Confirmation));
        } else {
            // The commitment is over the certificate too, so the coordinator notices before the people do.
            let Ok(DeviceStep::Confirm { message, .. }) = step else { panic!("{step:?}") };
            let received = desk.receive(&message, &registry, START, &mut tools).unwrap().durable();
            assert_eq!(received.refused, Some(PairingError::Confirmation));
        }
    }
}

/// Attack P2: events, snapshot and debug output of a whole pairing hold neither code nor key.
#[test]
fn p2_codes_and_keys_are_in_nothing_that_is_stored_or_shown() {
    for method in [PairingMethod::Qr, PairingMethod::Pin] {
        let (mut desk, registry, mut entropy) = (desk(), registry(), Counter(5));
        let mut tools = PairingTools::new(&mut entropy).with_pake(&ToyPake);
        let turn = desk.offer(method, PairingTarget::AnyNew, &registry, START, &mut tools).unwrap();
        let mut shown = alloc::format!("{turn:?}").into_bytes();
        shown.extend(postcard::to_allocvec(turn.events()).unwrap());
        let offered = turn.durable();
        let device = device(0, carried(method, &offered), tools.entropy);
        shown.extend(device.message());
        let turn = desk.receive(device.message(), &registry, START, &mut tools).unwrap();
        shown.extend(alloc::format!("{turn:?} {desk:?} {device:?} {tools:?}").into_bytes());
        shown.extend(postcard::to_allocvec(turn.events()).unwrap());
        shown.extend(postcard::to_allocvec(&desk.state().snapshot()).unwrap());
        shown.extend(serde_json::to_vec(&desk.state().snapshot()).unwrap());
        shown.extend(turn.durable().reply.unwrap());
        let text = offered.code.expose().rsplit('/').next().unwrap();
        let has = |needle: &[u8]| shown.windows(needle.len()).any(|window| window == needle);
        assert!(!has(text.as_bytes()));
        if let Ok(raw) = hex::decode(text) {
            assert!(!has(&raw));
        }
    }
}
