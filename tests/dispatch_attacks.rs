//! Attacks D1 to D6, each a story with two devices, an operator and a client.

use leasehold::{
    capability::{CapabilityName, CapabilitySet},
    code::{self, Code, Coded},
    dispatch::{
        AgentAction, AgentLedger, Decision, Delivery, DeviceMessage, DispatchCommand, DispatchEffect,
        DispatchError, DispatchLiveness, DispatchPolicy, DispatchPolicyDocument, DispatchState,
        EnqueueRequest, FailReason, Incarnation, LedgerLimits, MediationStep, Outcome, Payload, RejectReason,
        RequestState, Stage, Target,
    },
    id::{ClientId, DeviceId, RequestId},
    time::{Millis, Now},
};

struct World {
    state: DispatchState,
    live: DispatchLiveness,
    now: Now,
}

fn device(name: &str) -> DeviceId {
    DeviceId::new(name).unwrap()
}

fn request(name: &str) -> RequestId {
    RequestId::new(name).unwrap()
}

fn set(names: &[&str]) -> CapabilitySet {
    CapabilitySet::parse(names.iter().copied()).unwrap()
}

fn client() -> ClientId {
    ClientId::new("client").unwrap()
}

fn ask(name: &str, target: Target) -> EnqueueRequest {
    EnqueueRequest {
        request: request(name),
        target,
        capability: CapabilityName::new("cam").unwrap(),
        payload: Payload::new(b"look"),
        result_limit: 16,
        ttl_ms: Millis(10_000),
    }
}

fn answer(delivery: &Delivery, outcome: Outcome) -> DeviceMessage {
    DeviceMessage::Answer {
        incarnation: delivery.incarnation,
        request: delivery.request.clone(),
        attempt: delivery.attempt,
        outcome,
    }
}

fn succeeded(bytes: &[u8]) -> Outcome {
    Outcome::Succeeded(Payload::new(bytes))
}

impl World {
    /// Devices `a` and `b`, connected, each granted and claiming `cam` and `mic`, with a window of two.
    fn new(change: impl FnOnce(&mut DispatchPolicyDocument)) -> Self {
        let mut document = DispatchPolicyDocument::default();
        change(&mut document);
        let state = DispatchState::new(DispatchPolicy::try_from(document).unwrap(), [1; 16]);
        let mut world = Self { state, live: DispatchLiveness::new(), now: Now::new(1_000, 1_000) };
        for name in ["a", "b"] {
            world.order(DispatchCommand::Grant { device: device(name), capabilities: set(&["cam", "mic"]) });
            world.connect(name, 1);
        }
        world
    }

    fn accept<A>(&mut self, decision: Decision<A>) -> (A, Vec<DispatchEffect>) {
        let accepted = self.state.accept(&mut self.live, self.now, decision).unwrap();
        (accepted.answer, accepted.effects)
    }

    fn order(&mut self, order: DispatchCommand) -> Vec<DispatchEffect> {
        let decision = self.state.decide_operator(self.now, &order).unwrap();
        self.accept(decision).1
    }

    fn connect(&mut self, name: &str, incarnation: u64) -> Vec<DispatchEffect> {
        let claims = set(&["cam", "mic"]);
        self.say(name, DeviceMessage::Connect { incarnation: Incarnation(incarnation), claims, window: 2 })
            .unwrap()
    }

    fn say(&mut self, name: &str, message: DeviceMessage) -> Result<Vec<DispatchEffect>, Code> {
        let before = self.state.clone();
        match self.state.decide_device(self.now, &device(name), &message) {
            Ok(decision) => Ok(self.accept(decision).1),
            Err(error) => {
                assert_eq!(self.state, before, "a refused message changes nothing");
                Err(error.code())
            }
        }
    }

    fn enqueue(&mut self, ask: &EnqueueRequest) -> Result<DeviceId, Code> {
        let decision =
            self.state.enqueue(&self.live, self.now, &client(), ask).map_err(|error| error.code())?;
        Ok(self.accept(decision).0.device)
    }

    /// Hands over what waits.
    fn deliveries(&mut self) -> Vec<(DeviceId, Delivery)> {
        let decision = self.state.decide_sends(&self.live, self.now);
        delivered(self.accept(decision).1)
    }

    /// Sends `name` to device `a` and gives the delivery.
    fn sent(&mut self, name: &str) -> Delivery {
        self.enqueue(&ask(name, Target::Device(device("a")))).unwrap();
        self.deliveries().pop().unwrap().1
    }

    fn pass(&mut self, millis: u64) {
        self.now = self.now.plus(Millis(millis));
    }

    fn due(&mut self) -> Vec<DispatchEffect> {
        let decision = self.state.decide_due(&self.live, self.now);
        self.accept(decision).1
    }

    fn state_of(&self, name: &str) -> RequestState {
        self.state.record(&request(name)).unwrap().state()
    }
}

fn delivered(effects: Vec<DispatchEffect>) -> Vec<(DeviceId, Delivery)> {
    let each = effects.into_iter().filter_map(|effect| match effect {
        DispatchEffect::Deliver { device, delivery } => Some((device, delivery)),
        _ => None,
    });
    each.collect()
}

/// Attack D1, invariant 14.
#[test]
fn d1_only_the_device_that_was_asked_can_answer() {
    let mut world = World::new(|_| {});
    let delivery = world.sent("r");
    let stolen = answer(&delivery, succeeded(b"forged"));
    assert_eq!(world.say("b", stolen.clone()), Err(code::DISPATCH_REQUEST_OTHER_DEVICE));
    assert_eq!(world.state_of("r"), RequestState::Dispatched);

    // Nor the right device in another delivery, or in another life.
    let mut wrong = delivery.clone();
    wrong.attempt = 2;
    assert_eq!(world.say("a", answer(&wrong, succeeded(b""))), Err(code::DISPATCH_REQUEST_STALE_ATTEMPT));
    wrong = Delivery { incarnation: Incarnation(0), ..delivery.clone() };
    assert_eq!(world.say("a", answer(&wrong, succeeded(b""))), Err(code::DISPATCH_DEVICE_STALE_INCARNATION));

    world.say("a", answer(&delivery, succeeded(b"real"))).unwrap();
    assert_eq!(world.state.record(&request("r")).unwrap().result().as_bytes(), b"real");
}

/// Attack D2, invariant 14: before dispatch, after the timeout, twice, and a timeout after success.
#[test]
fn d2_a_final_state_stays_final() {
    let mut world = World::new(|_| {});
    world.enqueue(&ask("early", Target::Device(device("a")))).unwrap();
    let early = DeviceMessage::Answer {
        incarnation: Incarnation(1),
        request: request("early"),
        attempt: 0,
        outcome: succeeded(b""),
    };
    assert_eq!(world.say("a", early), Err(code::DISPATCH_REQUEST_NOT_DISPATCHED));
    let (_, early) = world.deliveries().pop().unwrap();

    let done = world.sent("done");
    world.say("a", answer(&done, succeeded(b"1"))).unwrap();
    assert_eq!(world.say("a", answer(&done, succeeded(b"2"))), Err(code::DISPATCH_REQUEST_FINAL));

    world.pass(9_999);
    world.say("a", DeviceMessage::Heartbeat { incarnation: Incarnation(1) }).unwrap();
    assert_eq!(world.due(), []);
    world.pass(1);
    // Late before the deadline was noticed, and final after it was.
    assert_eq!(world.say("a", answer(&early, succeeded(b""))), Err(code::DISPATCH_REQUEST_LATE));
    world.due();
    assert_eq!(world.state_of("early"), RequestState::TimedOut(Stage::Dispatched));
    assert_eq!(world.say("a", answer(&early, succeeded(b""))), Err(code::DISPATCH_REQUEST_FINAL));

    assert_eq!(world.state_of("done"), RequestState::Succeeded);
    assert_eq!(world.state.record(&request("done")).unwrap().result().as_bytes(), b"1");
    let cancel = world.state.cancel(world.now, &client(), &request("done"));
    assert_eq!(cancel, Err(DispatchError::RequestFinal));
}

/// Attack D3.
#[test]
fn d3_what_timed_out_in_the_queue_is_never_sent() {
    let mut world = World::new(|_| {});
    let gone = world.state.disconnect(&device("a"), Incarnation(1)).unwrap();
    world.accept(gone);
    world.enqueue(&ask("r", Target::Device(device("a")))).unwrap();
    world.pass(10_000);
    // Both orders: the device is back before the deadline was noticed, and after.
    assert_eq!(delivered(world.connect("a", 1)), []);
    assert_eq!(world.deliveries(), []);
    world.due();
    assert_eq!(world.state_of("r"), RequestState::TimedOut(Stage::Queued));
    assert_eq!(delivered(world.connect("a", 1)), []);
    assert_eq!(world.deliveries(), []);
}

/// Attack D4, invariant 13: limits both ways, bounded queues, and a slow reader stops the flow.
#[test]
fn d4_everything_is_bounded_and_a_slow_reader_is_not_flooded() {
    let mut world = World::new(|policy| {
        policy.max_queue = 2;
        policy.max_requests = 8;
        policy.max_request_bytes = 8;
        policy.max_result_bytes = 16;
        policy.max_total_bytes = 100;
    });
    let to_a = || Target::Device(device("a"));
    let large = EnqueueRequest { payload: Payload::new(&[0; 9]), ..ask("x", to_a()) };
    assert_eq!(world.enqueue(&large), Err(code::DISPATCH_REQUEST_TOO_LARGE));
    let greedy = EnqueueRequest { result_limit: 17, ..ask("x", to_a()) };
    assert_eq!(world.enqueue(&greedy), Err(code::DISPATCH_REQUEST_RESULT_LIMIT));
    let endless = EnqueueRequest { ttl_ms: Millis(u64::MAX), ..ask("x", to_a()) };
    assert_eq!(world.enqueue(&endless), Err(code::DISPATCH_REQUEST_DEADLINE));

    // The window is two: two are sent, two wait, the fifth is refused.
    for name in ["r1", "r2"] {
        world.enqueue(&ask(name, to_a())).unwrap();
    }
    let sent = world.deliveries();
    assert_eq!(sent.len(), 2);
    for name in ["r3", "r4"] {
        world.enqueue(&ask(name, to_a())).unwrap();
    }
    assert_eq!(world.deliveries(), []);
    assert_eq!(world.enqueue(&ask("r5", to_a())), Err(code::DISPATCH_QUEUE_FULL));
    // 4 requests hold or were promised 20 bytes each: one more fits, a sixth does not, wherever it goes.
    world.enqueue(&ask("r6", Target::Any)).unwrap();
    assert_eq!(world.enqueue(&ask("r7", Target::Any)), Err(code::DISPATCH_FULL_BYTES));

    // A result over the limit fails the request and is not kept; the credit comes back.
    world.say("a", answer(&sent[0].1, succeeded(&[0; 17]))).unwrap();
    assert_eq!(world.state_of("r1"), RequestState::Failed(FailReason::ResultTooLarge));
    assert!(world.state.record(&request("r1")).unwrap().result().is_empty());

    // A window of zero stops the flow although there is credit by count.
    world.say("a", DeviceMessage::Window { incarnation: Incarnation(1), window: 0 }).unwrap();
    let names = |sent: Vec<(DeviceId, Delivery)>| -> Vec<String> {
        sent.into_iter().map(|(_, delivery)| delivery.request.to_string()).collect()
    };
    assert_eq!(names(world.deliveries()), ["r6"], "device b is not held up by device a");
    world.say("a", DeviceMessage::Window { incarnation: Incarnation(1), window: 2 }).unwrap();
    assert_eq!(names(world.deliveries()), ["r3"]);
    let wide = DeviceMessage::Window { incarnation: Incarnation(1), window: 17 };
    assert_eq!(world.say("a", wide), Err(code::DISPATCH_WINDOW));
}

/// Attack D5: what the operator takes away stays away, whatever the device claims and however often it returns.
#[test]
fn d5_a_capability_that_was_taken_away_does_not_come_back_with_the_device() {
    let mut world = World::new(|_| {});
    let held = world.sent("held");
    world.enqueue(&ask("waits", Target::Device(device("a")))).unwrap();
    let effects = world.order(DispatchCommand::Grant { device: device("a"), capabilities: set(&["mic"]) });
    // What was under way ends at once, and the device is told.
    let withdrawn = RequestState::Rejected(RejectReason::CapabilityWithdrawn);
    assert_eq!((world.state_of("held"), world.state_of("waits")), (withdrawn, withdrawn));
    assert!(effects.contains(&DispatchEffect::Settle { device: device("a"), request: request("held") }));
    assert_eq!(world.say("a", answer(&held, succeeded(b""))), Err(code::DISPATCH_REQUEST_FINAL));

    for incarnation in [1, 2, 3] {
        world.connect("a", incarnation);
        let view = world.state.device(&device("a")).unwrap();
        assert_eq!((view.effective, view.claims), (set(&["mic"]), set(&["cam", "mic"])));
        let asked = ask("again", Target::Device(device("a")));
        assert_eq!(world.enqueue(&asked), Err(code::DISPATCH_CAPABILITY_NOT_GRANTED));
        let any = ask(&format!("any{incarnation}"), Target::Any);
        assert_eq!(world.enqueue(&any), Ok(device("b")));
    }
}

/// Attack D6: the same id again after a lost connection, executed once; after a crash of the agent, lost.
#[test]
fn d6_a_request_is_executed_at_most_once() {
    let mut world = World::new(|_| {});
    let mut ledger = AgentLedger::new(Incarnation(1), LedgerLimits::default());
    let first = world.sent("r");
    assert!(matches!(ledger.receive(world.now, first.clone()).action, AgentAction::Execute(_)));

    let gone = world.state.disconnect(&device("a"), Incarnation(1)).unwrap();
    world.accept(gone);
    let (_, second) = delivered(world.connect("a", 1)).pop().unwrap();
    assert_eq!((&second.request, second.number, second.attempt), (&first.request, first.number, 2));
    let receipt = ledger.receive(world.now, second.clone());
    assert_eq!((receipt.action, receipt.replies), (AgentAction::Nothing, vec![]), "it is still running");

    // The answer of the delivery before, and then a third delivery that gets the answer without a second run.
    assert_eq!(world.say("a", answer(&first, succeeded(b"x"))), Err(code::DISPATCH_REQUEST_STALE_ATTEMPT));
    let lost = ledger.finished(&request("r"), succeeded(b"x")).unwrap();
    assert_eq!(ledger.finished(&request("r"), succeeded(b"y")), None, "one answer");
    let (_, third) = delivered(world.connect("a", 1)).pop().unwrap();
    assert_eq!(world.say("a", lost), Err(code::DISPATCH_REQUEST_STALE_ATTEMPT));
    let receipt = ledger.receive(world.now, third);
    assert_eq!(receipt.action, AgentAction::Nothing);
    let effects = world.say("a", receipt.replies[0].clone()).unwrap();
    assert_eq!(world.state_of("r"), RequestState::Succeeded);
    assert_eq!(effects[0], DispatchEffect::Settle { device: device("a"), request: request("r") });
    assert_eq!(ledger.settled(&request("r")), AgentAction::Nothing);
    // A delivery that was held up on the way and comes after all that is not executed either.
    let late = ledger.receive(world.now, second);
    assert_eq!(late.action, AgentAction::Nothing);
    assert!(matches!(&late.replies[..], [DeviceMessage::Answer { outcome: Outcome::Lost, .. }]));

    // The agent crashes with a request in its hands: it is lost, and not run by the next life.
    let held = world.sent("crash");
    assert_eq!(delivered(world.connect("a", 2)), []);
    assert_eq!(world.state_of("crash"), RequestState::Failed(FailReason::Lost));
    let mut reborn = AgentLedger::new(Incarnation(2), LedgerLimits::default());
    let receipt = reborn.receive(world.now, held);
    assert_eq!(receipt.action, AgentAction::Nothing);
    assert!(matches!(&receipt.replies[..], [DeviceMessage::Answer { outcome: Outcome::Lost, .. }]));
}

/// A connection that breaks every time does not deliver for ever.
#[test]
fn d6_deliveries_are_counted() {
    let mut world = World::new(|policy| policy.max_deliveries = 3);
    world.sent("r");
    assert_eq!(delivered(world.connect("a", 1)).len(), 1);
    assert_eq!(delivered(world.connect("a", 1)).len(), 1);
    assert_eq!(delivered(world.connect("a", 1)), []);
    assert_eq!(world.state_of("r"), RequestState::Failed(FailReason::Undeliverable));
}

/// Local mediation: an answer without the approval that the capability needs is not taken.
#[test]
fn a_mediated_capability_needs_the_person_at_the_device() {
    let mut world = World::new(|policy| policy.mediated = set(&["cam"]));
    let mut ledger = AgentLedger::new(Incarnation(1), LedgerLimits::default());
    let delivery = world.sent("yes");
    let eager = answer(&delivery, succeeded(b""));
    assert_eq!(world.say("a", eager.clone()), Err(code::DISPATCH_MEDIATION_MISSING));
    let receipt = ledger.receive(world.now, delivery.clone());
    assert_eq!(receipt.action, AgentAction::AskPerson(request("yes")));
    assert_eq!(
        ledger.finished(&request("yes"), succeeded(b"")),
        None,
        "nothing runs before the person said yes"
    );
    let skip = DeviceMessage::Mediation {
        incarnation: Incarnation(1),
        request: request("yes"),
        attempt: 1,
        step: MediationStep::Approved,
    };
    assert_eq!(world.say("a", skip), Err(code::DISPATCH_MEDIATION_OUT_OF_ORDER));
    world.say("a", receipt.replies[0].clone()).unwrap();
    assert_eq!(world.state_of("yes"), RequestState::AwaitingLocalMediation);
    assert_eq!(world.say("a", eager.clone()), Err(code::DISPATCH_MEDIATION_MISSING));
    let receipt = ledger.mediated(world.now, &request("yes"), true);
    assert!(matches!(receipt.action, AgentAction::Execute(_)));
    world.say("a", receipt.replies[0].clone()).unwrap();
    world.say("a", ledger.finished(&request("yes"), succeeded(b"")).unwrap()).unwrap();
    assert_eq!(world.state_of("yes"), RequestState::Succeeded);

    let delivery = world.sent("no");
    let asked = ledger.receive(world.now, delivery).replies;
    world.say("a", asked[0].clone()).unwrap();
    let receipt = ledger.mediated(world.now, &request("no"), false);
    assert_eq!(receipt.action, AgentAction::Nothing);
    world.say("a", receipt.replies[0].clone()).unwrap();
    assert_eq!(world.state_of("no"), RequestState::Rejected(RejectReason::MediationDenied));

    let delivery = world.sent("slow");
    let asked = ledger.receive(world.now, delivery).replies;
    world.say("a", asked[0].clone()).unwrap();
    world.pass(10_000);
    assert_eq!(ledger.mediated(world.now, &request("slow"), true).action, AgentAction::Nothing);
    world.due();
    assert_eq!(world.state_of("slow"), RequestState::TimedOut(Stage::AwaitingLocalMediation));
}

/// The device that was used least recently gets the request, and nothing for a device that is stale, draining, quarantined or revoked.
#[test]
fn selection_is_fair_and_passes_over_devices_that_may_not_work() {
    let mut world = World::new(|_| {});
    let chosen = |world: &mut World, name: &str| world.enqueue(&ask(name, Target::Any));
    let (a, b) = (device("a"), device("b"));
    for (name, want) in [("1", &a), ("2", &b), ("3", &a), ("4", &b)] {
        assert_eq!(chosen(&mut world, name).as_ref(), Ok(want));
    }
    type Order = fn(DeviceId) -> DispatchCommand;
    let pairs: [(Order, Order); 3] = [
        (|device| DispatchCommand::Drain { device }, |device| DispatchCommand::Undrain { device }),
        (|device| DispatchCommand::Quarantine { device }, |device| DispatchCommand::Release { device }),
        (|device| DispatchCommand::Revoke { device }, |device| DispatchCommand::Reinstate { device }),
    ];
    for (at, (bad, good)) in pairs.into_iter().enumerate() {
        world.order(bad(a.clone()));
        assert_eq!(chosen(&mut world, &format!("x{at}")), Ok(b.clone()));
        assert!(world.deliveries().iter().all(|(to, _)| *to == b));
        world.order(bad(b.clone()));
        assert_eq!(chosen(&mut world, &format!("y{at}")), Err(code::DISPATCH_NO_DEVICE));
        world.order(good(a.clone()));
        world.order(good(b.clone()));
    }
    // The revocation closed both streams: their devices must come back by themselves.
    assert_eq!(chosen(&mut world, "z"), Err(code::DISPATCH_NO_DEVICE));
    world.connect("a", 1);
    assert_eq!(chosen(&mut world, "z"), Ok(a.clone()));
    // Silent for too long: not chosen, though nobody has noticed yet, and then its stream is closed.
    world.pass(30_000);
    assert_eq!(chosen(&mut world, "late"), Err(code::DISPATCH_NO_DEVICE));
    assert!(world.due().contains(&DispatchEffect::Close { device: a }));
}

/// Invariant 12: from the moment of the revocation nothing of the device counts.
#[test]
fn a_revoked_device_is_out_at_once() {
    let mut world = World::new(|_| {});
    let held = world.sent("r");
    let effects = world.order(DispatchCommand::Revoke { device: device("a") });
    assert_eq!(world.state_of("r"), RequestState::Rejected(RejectReason::DeviceRevoked));
    assert!(effects.contains(&DispatchEffect::Close { device: device("a") }));
    assert_eq!(world.say("a", answer(&held, succeeded(b""))), Err(code::DISPATCH_DEVICE_REVOKED));
    let hello = DeviceMessage::Connect { incarnation: Incarnation(9), claims: set(&["cam"]), window: 1 };
    assert_eq!(world.say("a", hello), Err(code::DISPATCH_DEVICE_REVOKED));
    let removed = world.state.decide_operator(world.now, &DispatchCommand::Remove { device: device("a") });
    assert_eq!(removed, Err(DispatchError::Revoked), "forgetting it would lift the revocation");
}

/// Invariant 7: a clock that steps back extends nothing and revives nothing.
#[test]
fn time_that_runs_backwards_changes_nothing() {
    let mut world = World::new(|_| {});
    let delivery = world.sent("r");
    world.pass(9_000);
    world.say("a", DeviceMessage::Heartbeat { incarnation: Incarnation(1) }).unwrap();
    world.say("b", DeviceMessage::Heartbeat { incarnation: Incarnation(1) }).unwrap();
    world.enqueue(&ask("later", Target::Any)).unwrap();
    let then = world.state.record(&request("later")).unwrap().deadline();
    world.now = Now::new(0, 0);
    world.enqueue(&ask("back", Target::Any)).unwrap();
    assert!(world.state.record(&request("back")).unwrap().deadline() >= then);
    world.pass(1);
    assert_eq!(world.due(), []);
    world.say("a", answer(&delivery, succeeded(b""))).unwrap();
}

/// The same id and content is the same request; other content, or another client, is not.
#[test]
fn a_repeated_request_gets_the_same_answer_and_is_not_run_again() {
    let mut world = World::new(|_| {});
    assert_eq!(world.enqueue(&ask("r", Target::Any)), Ok(device("a")));
    let before = world.state.clone();
    assert_eq!(world.enqueue(&ask("r", Target::Any)), Ok(device("a")));
    assert_eq!(world.state, before);
    let other = EnqueueRequest { payload: Payload::new(b"else"), ..ask("r", Target::Any) };
    assert_eq!(world.enqueue(&other), Err(code::DISPATCH_REQUEST_ID_CONFLICT));
    let stranger = ClientId::new("stranger").unwrap();
    let stolen = world.state.enqueue(&world.live, world.now, &stranger, &ask("r", Target::Any));
    assert_eq!(stolen, Err(DispatchError::IdConflict));
    assert_eq!(world.state.cancel(world.now, &stranger, &request("r")), Err(DispatchError::RequestUnknown));
}

/// However many devices have full queues, a request to anybody reaches the one that has room; and a device is there again
/// as soon as its queue has room, also after a restart (invariants 8, 13).
#[test]
fn full_devices_hide_nobody() {
    let mut world = World::new(|policy| (policy.max_queue, policy.max_client_queue) = (1, 1));
    for name in ["a", "b"] {
        world.order(DispatchCommand::Drain { device: device(name) });
    }
    // They take nothing (a window of zero), so what they are asked for fills their queues.
    let names: Vec<String> = (0..200).map(|n| format!("full-{n:03}")).collect();
    for name in &names {
        world.order(DispatchCommand::Grant { device: device(name), capabilities: set(&["cam"]) });
        let hello = DeviceMessage::Connect { incarnation: Incarnation(1), claims: set(&["cam"]), window: 0 };
        world.say(name, hello).unwrap();
        world.enqueue(&ask(name, Target::Device(device(name)))).unwrap();
    }
    assert_eq!(world.enqueue(&ask("r1", Target::Any)), Err(code::DISPATCH_NO_DEVICE));
    world.order(DispatchCommand::Undrain { device: device("b") });
    assert_eq!(world.enqueue(&ask("r1", Target::Any)).unwrap(), device("b"));
    // The two that can be handed over make room, and then the queue of `b` is full again.
    world.deliveries();
    assert_eq!(world.enqueue(&ask("r2", Target::Any)).unwrap(), device("b"));
    assert_eq!(world.enqueue(&ask("r3", Target::Any)), Err(code::DISPATCH_NO_DEVICE));
    let policy = world.state.policy().clone();
    let snapshot = world.state.snapshot();
    world.state = DispatchState::recover(policy, [2; 16], Some(&snapshot), []).unwrap();
    world.live = DispatchLiveness::after_recovery(&world.state, world.now.mono);
    assert_eq!(world.enqueue(&ask("r3", Target::Any)), Err(code::DISPATCH_NO_DEVICE));
    let decision = world.state.cancel(world.now, &client(), &request(&names[150])).unwrap();
    world.accept(decision);
    assert_eq!(world.enqueue(&ask("r3", Target::Any)).unwrap(), device(&names[150]));
}

/// One client holds its share and no more: requests, bytes, and places in the queue of one device. Others are served,
/// and what ended and is forgotten makes room (invariant 13).
#[test]
fn a_client_holds_no_more_than_its_share() {
    let other = ClientId::new("other").unwrap();
    let by = |world: &mut World, client: &ClientId, ask: &EnqueueRequest| {
        let decision =
            world.state.enqueue(&world.live, world.now, client, ask).map_err(|error| error.code())?;
        Ok::<_, Code>(world.accept(decision).0.device)
    };
    let to_a = |name: &str| ask(name, Target::Device(device("a")));
    let refused = Err(code::DISPATCH_CLIENT_SHARE);

    let mut world = World::new(|policy| policy.max_client_requests = 2);
    assert!(by(&mut world, &client(), &to_a("r1")).is_ok());
    assert!(by(&mut world, &client(), &to_a("r2")).is_ok());
    assert_eq!(by(&mut world, &client(), &to_a("r3")), refused);
    assert!(by(&mut world, &client(), &to_a("r2")).is_ok(), "a repeat asks for nothing new");
    assert!(by(&mut world, &other, &to_a("o1")).is_ok());
    world.pass(10_000);
    world.due();
    assert_eq!(by(&mut world, &client(), &to_a("r3")), refused, "what is remembered counts");
    world.pass(600_000);
    world.due();
    assert!(by(&mut world, &client(), &to_a("r3")).is_ok(), "what is forgotten does not");

    // A request is 4 bytes and a promise of 16.
    let mut world = World::new(|policy| {
        (policy.max_request_bytes, policy.max_result_bytes, policy.max_client_bytes) = (4, 16, 40);
    });
    assert!(by(&mut world, &client(), &to_a("r1")).is_ok());
    assert!(by(&mut world, &client(), &to_a("r2")).is_ok());
    assert_eq!(by(&mut world, &client(), &to_a("r3")), refused);
    assert!(by(&mut world, &other, &to_a("o1")).is_ok());
    let decision = world.state.cancel(world.now, &client(), &request("r1")).unwrap();
    world.accept(decision);
    assert!(by(&mut world, &client(), &to_a("r3")).is_ok(), "one that ended without a result holds no bytes");

    let mut world = World::new(|policy| policy.max_client_queue = 2);
    assert!(by(&mut world, &client(), &to_a("r1")).is_ok());
    assert!(by(&mut world, &client(), &to_a("r2")).is_ok());
    assert_eq!(by(&mut world, &client(), &to_a("r3")), refused);
    assert!(by(&mut world, &other, &to_a("o1")).is_ok());
    for name in ["r4", "r5"] {
        assert_eq!(by(&mut world, &client(), &ask(name, Target::Any)).unwrap(), device("b"));
    }
    assert_eq!(by(&mut world, &client(), &ask("r6", Target::Any)), Err(code::DISPATCH_NO_DEVICE));
}
