//! The lease feed and its enforcement point, in virtual time: what is live, what fails closed, and when.

use std::collections::BTreeSet;

use leasehold::{
    code::{self, Code, Coded as _},
    digest::Sha256Digest,
    gate::{Gate, GateConfig, GateEvent, LeaseFeed, ViewRules},
    lease::{Epoch, Fence, WorkerLease},
    protocol::{
        endpoint::{Endpoint as _, EndpointError, Input, Output},
        frame::{FrameDecoder, FrameKind, encode},
        message::{Document as _, FeedChange, FeedMessage, GateMessage},
    },
    time::{Millis, Mono, Now},
};
use proptest::prelude::*;
use serde_json::json;

const STALE: u64 = 5_000;
const BUDGET: u64 = 500;

fn lease(fence: Fence, expires: u64) -> WorkerLease {
    serde_json::from_value(json!({
        "fence": fence, "worker": "w-1", "device": "d-1", "incarnation": 1, "attempt": 1, "granted": 0,
        "expires": expires, "horizon": 1_000_000_000_u64,
        "terms": {
            "run": format!("run-{}", fence.counter), "issuer": "i", "grant": "g", "grant_expires": 9, "tool": "t",
            "capabilities": ["a"], "workspace": { "root": "r", "allowed": ["x"] }, "artifacts": {},
            "egress": [], "secrets": [],
        }
    }))
    .unwrap()
}

fn fence(counter: u64) -> Fence {
    Fence::new(Epoch(2), counter)
}

fn coordinator() -> Sha256Digest {
    Sha256Digest::of(b"the coordinator's certificate")
}

/// A gate, and the bytes that it sent.
struct World {
    gate: Gate,
    feed: LeaseFeed<u8>,
    now: u64,
    events: Vec<GateEvent>,
    closed: Option<Code>,
    asked: Vec<GateMessage>,
}

impl World {
    fn new(epoch: u64, leases: &[WorkerLease]) -> Self {
        let rules = ViewRules::new(Millis(STALE), Millis(BUDGET), 100).unwrap();
        Self {
            gate: Gate::new(GateConfig::new(coordinator(), rules)),
            feed: LeaseFeed::new(Epoch(epoch), leases, 64),
            now: 1_000,
            events: Vec::new(),
            closed: None,
            asked: Vec::new(),
        }
    }

    fn give(&mut self, input: Input<'_, leasehold::gate::GateAct>) {
        self.gate.handle(input, Now::new(self.now, 0)).unwrap();
        let mut decoder = FrameDecoder::new();
        loop {
            match self.gate.poll() {
                Output::Send(bytes) => {
                    let frame = decoder.decode(&mut &bytes[..]).unwrap().unwrap();
                    self.asked.push(GateMessage::read(&frame.body).unwrap());
                }
                Output::Close(code) => self.closed = Some(code),
                Output::Event(event) => self.events.push(event),
                _ => return,
            }
        }
    }

    fn connect(&mut self) {
        self.closed = None;
        self.give(Input::Connected { peer: coordinator() });
    }

    fn say(&mut self, message: &FeedMessage) {
        let mut bytes = Vec::new();
        message.write(&mut bytes).unwrap();
        self.give(Input::Received(&bytes));
    }

    /// Hands the gate's questions to the feed.
    fn ask(&mut self) {
        for message in std::mem::take(&mut self.asked) {
            match message {
                GateMessage::Subscribe { ping, .. } => self.feed.subscribe(1, ping),
                GateMessage::Ping { ping } => assert!(self.feed.ping(1, ping)),
                _ => {}
            }
        }
    }

    /// What the feed has to say, `at` this point of the fleet's line.
    fn steps(&mut self, at: u64) -> Vec<FeedMessage> {
        self.ask();
        std::iter::from_fn(|| self.feed.next(1, Mono(at))).collect()
    }

    /// Questions and answers, both at once.
    fn talk(&mut self) {
        for step in self.steps(self.now) {
            self.say(&step);
        }
    }

    fn pass(&mut self, span: u64) {
        let until = self.now + span;
        while let Some(due) = self.gate.next_deadline().filter(|due| due.0 <= until) {
            self.now = self.now.max(due.0);
            self.give(Input::Timeout);
        }
        self.now = until;
    }

    fn is_live(&self, counter: u64) -> Result<(), Code> {
        self.gate.check(fence(counter), Now::new(self.now, 0)).map(drop).map_err(|error| error.code())
    }

    fn ended(&mut self) -> Vec<(u64, Code)> {
        let events = std::mem::take(&mut self.events);
        let ended = events.into_iter().filter_map(|event| match event {
            GateEvent::LeaseEnded { fence, why } => Some((fence.counter, why)),
            _ => None,
        });
        ended.collect()
    }
}

fn synced(leases: &[WorkerLease]) -> World {
    let mut world = World::new(2, leases);
    world.connect();
    world.talk();
    assert!(world.events.contains(&GateEvent::Synced { epoch: Epoch(2) }));
    world.events.clear();
    world
}

#[test]
fn a_view_follows_the_feed_and_ends_what_ends() {
    let mut world = synced(&[lease(fence(1), 60_000), lease(fence(2), 60_000)]);
    assert_eq!(world.is_live(1), Ok(()));
    assert_eq!(world.is_live(3), Err(code::FEED_LEASE_UNKNOWN));
    assert_eq!(world.feed.lease_live(&lease(fence(3), 60_000)).count(), 0);
    assert_eq!(world.feed.lease_over(fence(1)).count(), 0);
    world.talk();
    assert_eq!(world.is_live(3), Ok(()));
    assert_eq!(world.is_live(1), Err(code::FEED_LEASE_UNKNOWN));
    assert_eq!(world.ended(), [(1, code::FEED_LEASE_ENDED)]);
}

/// Before the snapshot is whole nothing is live (invariant 9).
#[test]
fn half_a_snapshot_is_nothing() {
    let mut world = World::new(2, &[lease(fence(1), 60_000), lease(fence(2), 60_000)]);
    assert_eq!(world.is_live(1), Err(code::FEED_UNSYNCED));
    world.connect();
    let steps = world.steps(1_000);
    let (last, before) = steps.split_last().unwrap();
    for step in before {
        world.say(step);
        assert_eq!(world.is_live(1), Err(code::FEED_UNSYNCED));
    }
    world.say(last);
    assert_eq!(world.is_live(1), Ok(()));
}

/// Attack E17, silence: the view fails closed within `max_staleness`, counted from the question.
#[test]
fn e17_silence_fails_closed_within_max_staleness() {
    let mut world = synced(&[lease(fence(1), 60_000)]);
    world.pass(STALE);
    assert_eq!(world.is_live(1), Ok(()));
    world.pass(1);
    assert_eq!(world.is_live(1), Err(code::FEED_UNSYNCED));
    assert_eq!(world.ended(), [(1, code::FEED_SILENT)]);
    assert_eq!(world.closed, Some(code::FEED_SILENT));
}

/// Attack E17, delay: bytes that were held back are as old as the question that they answer, and a lease cannot
/// outlive its end by them.
#[test]
fn e17_delayed_answers_do_not_make_a_view_fresh() {
    let mut world = synced(&[lease(fence(1), 60_000)]);
    world.pass(1_250);
    let held_back = world.steps(world.now);
    world.asked.clear();
    world.pass(3_000);
    for step in &held_back {
        world.say(step);
    }
    // Asked at 2 250, so it is stale after 7 250, whenever the answer came.
    assert_eq!(world.gate.view().fresh_until(), Some(Mono(2_250 + STALE)));
    world.pass(2_001);
    assert_eq!(world.is_live(1), Err(code::FEED_UNSYNCED));
}

/// Attack E17, cut connection: what was live stays live until the view is too stale, and not longer.
#[test]
fn e17_a_lost_connection_fails_closed_within_max_staleness() {
    let mut world = synced(&[lease(fence(1), 60_000)]);
    world.give(Input::Closed);
    world.pass(STALE);
    assert_eq!(world.is_live(1), Ok(()));
    world.pass(1);
    assert_eq!(world.is_live(1), Err(code::FEED_UNSYNCED));
    assert_eq!(world.ended(), [(1, code::FEED_SILENT)]);
}

/// Attack E17: what skips, replays, comes from a lower epoch or out of order ends every lease at once, with a code.
#[test]
fn e17_a_feed_that_cannot_be_right_fails_closed_at_once() {
    type Spoil = fn(&mut FeedMessage, &[FeedMessage]);
    let cases: [(Spoil, Code); 7] = [
        (|step, _| step.sequence += 1, code::FEED_GAP),
        (|step, _| step.sequence -= 1, code::FEED_REPLAYED),
        (|step, earlier| *step = earlier[1].clone(), code::FEED_REPLAYED),
        (|step, _| step.epoch = Epoch(1), code::FEED_LOWER_EPOCH),
        (|step, _| step.epoch = Epoch(3), code::FEED_ORDER),
        (|step, _| step.change = FeedChange::Reset { ping: 1 }, code::FEED_ORDER),
        (|step, _| step.change = FeedChange::KeepAlive { ping: 1, at: Mono(9) }, code::FEED_REPLAYED),
    ];
    for (spoil, want) in cases {
        let mut world = World::new(2, &[lease(fence(1), 60_000)]);
        world.connect();
        let earlier = world.steps(1_000);
        for step in &earlier {
            world.say(step);
        }
        assert_eq!(world.is_live(1), Ok(()));
        world.feed.lease_live(&lease(fence(2), 60_000)).for_each(drop);
        let mut step = world.steps(1_000).remove(0);
        spoil(&mut step, &earlier);
        world.say(&step);
        assert_eq!(world.is_live(1), Err(code::FEED_UNSYNCED), "{want}");
        assert_eq!(world.closed, Some(want));
        assert_eq!(world.ended(), [(1, want)]);
    }
}

/// Attack E17, replay of a whole recorded feed on a new connection: it answers a question of another subscription.
#[test]
fn e17_a_recorded_feed_is_refused() {
    let mut world = World::new(2, &[lease(fence(1), 60_000)]);
    world.connect();
    let recorded = world.steps(1_000);
    for step in &recorded {
        world.say(step);
    }
    world.give(Input::Closed);
    world.connect();
    world.say(&recorded[0]);
    assert_eq!(world.closed, Some(code::FEED_REPLAYED));
    assert_eq!(world.is_live(1), Err(code::FEED_UNSYNCED));
}

/// Attacks E17 and F23: once a higher epoch was seen, a lower one is refused for good.
#[test]
fn e17_a_lower_epoch_is_refused_after_a_fail_over() {
    let mut world = synced(&[lease(fence(1), 60_000)]);
    let mut deposed = world.feed.clone();
    world.give(Input::Closed);
    world.feed = LeaseFeed::new(Epoch(3), &[lease(fence(1), 60_000)], 64);
    world.connect();
    world.talk();
    assert_eq!(world.is_live(1), Ok(()));
    world.give(Input::Closed);
    std::mem::swap(&mut world.feed, &mut deposed);
    world.connect();
    assert!(matches!(world.asked[0], GateMessage::Subscribe { epoch: Epoch(3), .. }));
    world.talk();
    assert_eq!(world.closed, Some(code::FEED_LOWER_EPOCH));
    assert_eq!(world.is_live(1), Err(code::FEED_UNSYNCED));
}

/// A lease is over on the view's own clock, a budget before its end, without a word from the coordinator.
#[test]
fn a_lease_ends_by_the_views_own_clock() {
    let mut world = synced(&[lease(fence(1), 3_000), lease(fence(2), 60_000)]);
    world.pass(3_000 - 1_000 - BUDGET - 1);
    assert_eq!(world.is_live(1), Ok(()));
    world.pass(1);
    assert_eq!(world.is_live(1), Err(code::FEED_LEASE_UNKNOWN));
    assert_eq!(world.ended(), [(1, code::FEED_LEASE_EXPIRED)]);
    assert_eq!(world.is_live(2), Ok(()));
}

/// A new subscription keeps what is live, and ends what is gone.
#[test]
fn what_a_new_snapshot_does_not_name_is_over() {
    let mut world = synced(&[lease(fence(1), 60_000), lease(fence(2), 60_000)]);
    world.give(Input::Closed);
    world.feed.unsubscribe(1);
    world.feed.lease_over(fence(1)).for_each(drop);
    world.connect();
    world.talk();
    assert_eq!(world.ended(), [(1, code::FEED_LEASE_ENDED)]);
    assert_eq!(world.is_live(2), Ok(()));
}

#[test]
fn a_coordinator_with_another_certificate_is_left() {
    let mut world = World::new(2, &[]);
    world.give(Input::Connected { peer: Sha256Digest::of(b"somebody else") });
    assert_eq!(world.closed, Some(code::COORDINATOR_OTHER_CERTIFICATE));
    assert!(world.asked.is_empty());
}

#[test]
fn nonsense_from_a_coordinator_closes_and_fails_closed() {
    let mut wrong_kind = Vec::new();
    encode(FrameKind::Gate, b"{}", &mut wrong_kind).unwrap();
    let mut wrong_shape = Vec::new();
    encode(FrameKind::Feed, b"{}", &mut wrong_shape).unwrap();
    let cases = [
        (&b"HTTP/1.1 200 OK"[..], code::FRAME_MAGIC),
        (&wrong_kind, code::FRAME_DIRECTION),
        (&wrong_shape, code::JSON_SHAPE),
    ];
    for (bytes, want) in cases {
        let mut world = synced(&[lease(fence(1), 60_000)]);
        world.give(Input::Received(bytes));
        assert_eq!(world.closed, Some(want));
        assert_eq!(world.is_live(1), Err(code::FEED_UNSYNCED));
    }
}

/// Invariant 13: a view is bounded, and over the bound it fails closed rather than forgetting a lease's end.
#[test]
fn a_view_is_bounded() {
    let leases: Vec<_> = (1..=101).map(|counter| lease(fence(counter), 60_000)).collect();
    let mut world = World::new(2, &leases);
    world.connect();
    world.talk();
    assert_eq!(world.closed, Some(code::FEED_FULL));
    assert!(world.gate.view().is_empty());
}

#[test]
fn a_subscriber_that_takes_nothing_is_dropped() {
    let mut feed = LeaseFeed::new(Epoch(1), &[], 4);
    feed.subscribe(1_u8, 1);
    while feed.next(1, Mono(0)).is_some() {}
    for counter in 1..=4 {
        assert_eq!(feed.lease_live(&lease(fence(counter), 9)).count(), 0);
    }
    assert_eq!(feed.lease_live(&lease(fence(5), 9)).collect::<Vec<_>>(), [1]);
    assert!(feed.next(1, Mono(0)).is_none());
}

#[test]
fn the_law_is_enforced() {
    let mut world = World::new(2, &[]);
    world.gate.handle(Input::Connected { peer: coordinator() }, Now::new(5, 0)).unwrap();
    let misuse = |gate: &mut Gate, at| gate.handle(Input::Timeout, Now::new(at, 0)).unwrap_err();
    assert_eq!(misuse(&mut world.gate, 6), EndpointError::NotDrained);
    while !matches!(world.gate.poll(), Output::Wait(_)) {}
    assert_eq!(misuse(&mut world.gate, 4), EndpointError::TimeBackwards { last: Mono(5), now: Mono(4) });
}

#[derive(Clone, Debug)]
enum Change {
    Live(u64, u64),
    Over(u64),
    Talk,
    Cut,
    Pass(u64),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        3 => (1..20_u64, 2_000..40_000_u64).prop_map(|(counter, ttl)| Change::Live(counter, ttl)),
        2 => (1..20_u64).prop_map(Change::Over),
        4 => Just(Change::Talk),
        1 => Just(Change::Cut),
        2 => (0..3_000_u64).prop_map(Change::Pass),
    ]
}

proptest! {
    /// Invariants 9 and 12: whatever happens to the connection, nothing is live in the view that was not live in the
    /// fleet within the last `max_staleness`; and after a talk the two agree but for the clock budget.
    #[test]
    fn a_view_never_believes_more_than_the_fleet_said(changes in prop::collection::vec(change(), 1..60)) {
        let mut world = synced(&[]);
        let mut ends = std::collections::BTreeMap::<u64, u64>::new();
        let mut gone = Vec::<(u64, u64)>::new();
        for change in changes {
            match change {
                // A fence that is over does not come back, and no renewal brings an end nearer.
                Change::Live(counter, _) if gone.iter().any(|(over, _)| *over == counter) => {}
                Change::Live(counter, ttl) => {
                    let end = ends.entry(counter).or_default();
                    *end = (world.now + ttl).max(*end);
                    world.feed.lease_live(&lease(fence(counter), *end)).for_each(drop);
                }
                Change::Over(counter) => {
                    world.feed.lease_over(fence(counter)).for_each(drop);
                    if ends.remove(&counter).is_some() {
                        gone.push((counter, world.now));
                    }
                }
                Change::Talk => {
                    if world.gate.view().fresh_until().is_none() || world.closed.is_some() {
                        world.give(Input::Closed);
                        world.connect();
                    }
                    world.talk();
                    let live: BTreeSet<u64> = (1..20).filter(|counter| world.is_live(*counter).is_ok()).collect();
                    let now = world.now;
                    for (counter, end) in &ends {
                        if now + BUDGET + STALE < *end { prop_assert!(live.contains(counter)); }
                    }
                    prop_assert!(live.iter().all(|counter| ends.contains_key(counter)));
                }
                Change::Cut => {
                    world.give(Input::Closed);
                    world.asked.clear();
                    world.connect();
                }
                Change::Pass(span) => world.pass(span),
            }
            for counter in 1..20 {
                if world.is_live(counter).is_ok() {
                    let ended = gone.iter().rev().find(|(c, _)| *c == counter).map(|(_, at)| *at);
                    let by_word = ended.is_some_and(|at| world.now <= at + STALE);
                    let end = ends.get(&counter).copied();
                    prop_assert!(by_word || end.is_some_and(|end| world.now < end), "{counter}");
                }
            }
        }
    }
}
