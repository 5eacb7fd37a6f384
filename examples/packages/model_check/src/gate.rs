//! An enforcement point with the real view, fed by the real feed over a connection that delays, and that is cut.

use std::collections::VecDeque;

use leasehold::{
    fleet::Effect,
    gate::{LeaseFeed, LeaseView, ViewRules},
    protocol::message::FeedMessage,
    testing::{Shape, World},
    time::Mono,
};

use crate::promises::Promises;

/// The feed's side, the view's side, and what is on its way between them, in order.
#[derive(Clone, Debug)]
pub struct Enforcement {
    view: LeaseView,
    feed: LeaseFeed<u8>,
    line: VecDeque<FeedMessage>,
}

impl Enforcement {
    pub fn new(world: &World) -> Self {
        let lease = &world.fleet.state().policy().lease;
        let rules =
            ViewRules::new(lease.max_staleness_ms, lease.clock_budget_ms, 16).expect("the fleet's own rules");
        Self { view: LeaseView::new(rules), feed: feed(world), line: VecDeque::new() }
    }

    pub fn shape(&self, shape: &mut Shape) {
        // The view counts its own questions and has a clock of its own: states with a gate are told apart by all of it.
        shape.add(&format!("{:?} {:?} {:?}", self.view, self.feed, self.line));
    }

    fn pump(&mut self, at: Mono) {
        while let Some(message) = self.feed.next(0, at) {
            self.line.push_back(message);
        }
    }

    pub fn has_mail(&self) -> bool {
        !self.line.is_empty()
    }

    pub fn effect(&mut self, effect: &Effect, at: Mono) {
        match effect {
            Effect::LeaseLive { lease } => self.feed.lease_live(lease).for_each(|_| {}),
            Effect::LeaseOver { fence } => self.feed.lease_over(*fence).for_each(|_| {}),
            _ => return,
        }
        self.pump(at);
    }

    /// The gate asks how old its view is; or, without a connection, connects.
    pub fn ask(&mut self, now: Mono) {
        if self.feed.subscribers().next().is_some() {
            let ping = self.view.ask(now);
            self.feed.ping(0, ping);
        } else {
            let ping = self.view.subscribe(now);
            self.feed.subscribe(0, ping);
        }
        self.pump(now);
    }

    /// The next message arrives.
    pub fn deliver(&mut self) {
        if let Some(message) = self.line.pop_front()
            && self.view.apply(&message, &mut Vec::new()).is_err()
        {
            self.cut();
        }
    }

    /// The connection is cut: the view goes on until it is too stale.
    pub fn cut(&mut self) {
        self.feed.unsubscribe(0);
        self.line.clear();
    }

    /// Another coordinator, which has told nobody anything.
    pub fn restart(&mut self, world: &World) {
        self.feed = feed(world);
        self.line.clear();
    }

    pub fn lapse(&mut self, now: Mono) {
        self.view.lapse(now, &mut Vec::new());
    }

    pub fn next_deadline(&self) -> Option<Mono> {
        self.view.next_deadline()
    }

    /// Invariants 9 and 12: nothing is permitted under a lease that is over, but for as long as a view may be stale.
    pub fn check(&self, world: &World, promises: &Promises) -> Result<(), &'static str> {
        let now = world.now.mono;
        let stale = world.fleet.state().policy().lease.max_staleness_ms;
        for (fence, since) in &promises.over {
            if self.view.check(*fence, now).is_ok() && now > since.plus(stale) {
                return Err(
                    "invariant 12: a permit under a lease that is over for longer than a view may be stale",
                );
            }
        }
        for lease in world.fleet.state().live_leases() {
            if self.view.check(lease.fence, now).is_ok() && now >= lease.expires {
                return Err("invariant 9: a permit under a lease that has run out");
            }
        }
        Ok(())
    }
}

fn feed(world: &World) -> LeaseFeed<u8> {
    let state = world.fleet.state();
    LeaseFeed::new(state.epoch(), state.live_leases(), 64)
}
