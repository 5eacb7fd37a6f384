//! The sans-I/O endpoint that keeps a view up to date over a connection to the coordinator.

use alloc::vec::Vec;

use super::{
    error::ViewError,
    view::{LeaseView, ViewEvent, ViewRules},
};
use crate::{
    code::{self, Code, Coded as _},
    digest::Sha256Digest,
    egress::{LeaseCheck, LeaseRefusal, LeaseStanding},
    lease::{Epoch, Fence},
    protocol::{
        ProtocolError,
        endpoint::{Endpoint, EndpointError, Input, Output},
        frame::FrameKind,
        link::Link,
        message::{Document as _, FeedLease, FeedMessage, GateMessage},
    },
    time::{Millis, Mono, Now},
};

/// How a gate is set up.
#[derive(Clone, Copy, Debug)]
pub struct GateConfig {
    coordinator: Sha256Digest,
    rules: ViewRules,
    ping_every: Millis,
}

impl GateConfig {
    /// A gate of the coordinator whose certificate has this SHA-256. It asks four times within `max_staleness`.
    pub fn new(coordinator: Sha256Digest, rules: ViewRules) -> Self {
        let ping_every = Millis((rules.max_staleness().0 / 4).max(1));
        Self { coordinator, rules, ping_every }
    }
}

/// An enforcement point has nothing to tell its gate but time and bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "no value exists")]
pub enum GateAct {}

/// What a gate tells its enforcement point.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GateEvent {
    /// The view is whole, under this epoch.
    Synced {
        /// The coordinator's epoch.
        epoch: Epoch,
    },
    /// A lease is live, or has another end.
    LeaseLive {
        /// The lease.
        fence: Fence,
    },
    /// A lease authorises nothing any more: cut its tunnels.
    LeaseEnded {
        /// The lease.
        fence: Fence,
        /// Why.
        why: Code,
    },
    /// The feed is lost. Where it was the peer's doing the view has failed closed already; else it does so when it
    /// is too stale. Connect again.
    FeedLost {
        /// Why.
        why: Code,
    },
}

/// An enforcement point's endpoint: bytes in, ends of leases out, and [`Gate::check`] for every permit.
#[derive(Debug)]
pub struct Gate {
    config: GateConfig,
    view: LeaseView,
    link: Link<GateEvent>,
    next_ping: Option<Mono>,
}

impl Gate {
    /// A gate without a connection, in whose view nothing is live.
    pub fn new(config: GateConfig) -> Self {
        let link = Link::new(config.rules.max_staleness());
        Self { config, view: LeaseView::new(config.rules), link, next_ping: None }
    }

    /// The view.
    pub const fn view(&self) -> &LeaseView {
        &self.view
    }

    /// The lease `fence`, where it is live at `now`: the question before every permit and every dial.
    ///
    /// # Errors
    /// [`ViewError`].
    pub fn check(&self, fence: Fence, now: Now) -> Result<&FeedLease, ViewError> {
        self.view.check(fence, now.mono)
    }

    fn connected(&mut self, peer: Sha256Digest, now: Now) {
        self.link.open(now);
        if peer != self.config.coordinator {
            self.lose(code::COORDINATOR_OTHER_CERTIFICATE);
            return;
        }
        let ping = self.view.subscribe(now.mono);
        self.ask(&GateMessage::Subscribe { ping, epoch: self.view.epoch() }, now);
    }

    fn ask(&mut self, message: &GateMessage, now: Now) {
        self.next_ping = Some(now.mono.plus(self.config.ping_every));
        if let Err(error) = self.link.send(message) {
            self.lose(error.code());
        }
    }

    fn lose(&mut self, why: Code) {
        if self.link.is_up() {
            self.link.close(why);
            self.next_ping = None;
            self.link.event(GateEvent::FeedLost { why });
        }
    }

    fn tell(&mut self, events: Vec<ViewEvent>) {
        for event in events {
            self.link.event(match event {
                ViewEvent::Synced => GateEvent::Synced { epoch: self.view.epoch() },
                ViewEvent::LeaseLive { fence } => GateEvent::LeaseLive { fence },
                ViewEvent::LeaseEnded { fence, why } => GateEvent::LeaseEnded { fence, why },
            });
        }
    }

    fn received(&mut self, mut bytes: &[u8], now: Now) {
        while self.link.is_up() {
            match self.next_step(&mut bytes, now) {
                Ok(Some(message)) => {
                    let mut events = Vec::new();
                    let outcome = self.view.apply(&message, &mut events);
                    self.tell(events);
                    if let Err(error) = outcome {
                        self.lose(error.code());
                    }
                }
                Ok(None) => return,
                // A coordinator that speaks nonsense may have said anything before it.
                Err(error) => {
                    let mut events = Vec::new();
                    self.view.fail(error.code(), &mut events);
                    self.tell(events);
                    self.lose(error.code());
                }
            }
        }
    }

    fn next_step(&mut self, bytes: &mut &[u8], now: Now) -> Result<Option<FeedMessage>, ProtocolError> {
        match self.link.frame(bytes, now)? {
            Some(frame) if frame.kind == FrameKind::Feed => FeedMessage::read(&frame.body).map(Some),
            Some(_) => Err(ProtocolError::Direction),
            None => Ok(None),
        }
    }

    fn tick(&mut self, now: Now) {
        let mut events = Vec::new();
        let silent = self.view.lapse(now.mono, &mut events);
        self.tell(events);
        if silent || self.unanswered(now) {
            self.lose(code::FEED_SILENT);
        } else if self.link.check_stalled(now) {
            self.next_ping = None;
            self.link.event(GateEvent::FeedLost { why: code::FRAME_STALLED });
        } else if self.link.is_up() && self.next_ping.is_some_and(|due| now.mono >= due) {
            let ping = self.view.ask(now.mono);
            self.ask(&GateMessage::Ping { ping }, now);
        }
    }

    /// A subscription that brings nothing is given up as well.
    fn unanswered(&self, now: Now) -> bool {
        self.link.is_up() && now.mono >= self.link.heard().plus(self.config.rules.max_staleness())
    }
}

impl LeaseCheck for Gate {
    fn standing(&self, fence: Fence, now: Mono) -> Result<LeaseStanding, LeaseRefusal> {
        self.view.standing(fence, now)
    }
}

impl Endpoint for Gate {
    type Act = GateAct;
    type Event = GateEvent;

    fn handle(&mut self, input: Input<'_, GateAct>, now: Now) -> Result<(), EndpointError> {
        if matches!(input, Input::Connected { .. }) && self.link.is_up() {
            return Err(EndpointError::Connected);
        }
        self.link.enter(now)?;
        match input {
            Input::Connected { peer } => self.connected(peer, now),
            // Bytes that were on their way when this side closed.
            Input::Received(bytes) => self.received(bytes, now),
            Input::Closed if self.link.is_up() => {
                self.link.gone();
                self.next_ping = None;
                self.link.event(GateEvent::FeedLost { why: code::CONNECTION_CLOSED });
            }
            Input::Closed | Input::Timeout => {}
            Input::Act(act) => match act {},
        }
        self.tick(now);
        Ok(())
    }

    fn poll(&mut self) -> Output<GateEvent> {
        self.link.poll(self.next_deadline())
    }

    fn next_deadline(&self) -> Option<Mono> {
        let silent = self.link.is_up().then(|| self.link.heard().plus(self.config.rules.max_staleness()));
        [self.view.next_deadline(), self.next_ping, self.link.frame_deadline(), silent]
            .into_iter()
            .flatten()
            .min()
    }
}
