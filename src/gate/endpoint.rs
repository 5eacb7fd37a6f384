//! The sans-I/O endpoint of an enforcement point. It keeps a view up to date over a connection to the
//! coordinator.

use alloc::{boxed::Box, vec::Vec};

use super::{
    error::ViewError,
    view::{LeaseView, ViewEvent, ViewRules},
};
use crate::{
    code::{self, Code, Coded as _},
    digest::Sha256Digest,
    egress::{LeaseCheck, LeaseRefusal, LeaseStanding},
    identity::TrustAnchors,
    lease::{Epoch, Fence},
    protocol::{
        ProtocolError,
        endpoint::{Endpoint, EndpointError, Input, Output},
        frame::FrameKind,
        link::Link,
        message::{Document as _, FeedLease, FeedMessage, GateMessage, NodeWord},
        trust::{Trust, TrustEvent},
    },
    time::{Millis, Mono, Now},
};

/// The configuration of a gate.
#[derive(Clone, Debug)]
pub struct GateConfig {
    anchors: TrustAnchors,
    rules: ViewRules,
    ping_every: Millis,
}

impl GateConfig {
    /// A gate for the coordinator whose certificate has this SHA-256. It sends four pings within
    /// `max_staleness`.
    pub fn new(coordinator: Sha256Digest, rules: ViewRules) -> Self {
        let ping_every = Millis((rules.max_staleness().0 / 4).max(1));
        Self { anchors: TrustAnchors::of_coordinator(coordinator), rules, ping_every }
    }

    /// Accepts the coordinators that `anchors` pin, and no other. Pass the anchors that a former process has
    /// kept from [`GateEvent::AnchorsChanged`].
    #[must_use]
    pub fn trusting(mut self, anchors: TrustAnchors) -> Self {
        self.anchors = anchors;
        self
    }
}

/// The acts of an enforcement point. There are none: it gives its gate only time and bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "no value exists")]
pub enum GateAct {}

/// An event for the enforcement point.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GateEvent {
    /// The view is complete, under this epoch.
    Synced {
        /// The coordinator's epoch.
        epoch: Epoch,
    },
    /// A lease is live, or its end has moved.
    LeaseLive {
        /// The fence of the lease.
        fence: Fence,
    },
    /// A lease authorises nothing any more. Cut its tunnels.
    LeaseEnded {
        /// The fence of the lease.
        fence: Fence,
        /// Why the lease ended.
        why: Code,
    },
    /// The accepted certificates of the coordinator changed. Store them, and pass them to
    /// [`GateConfig::trusting`] after a restart.
    AnchorsChanged {
        /// All pinned certificates now.
        anchors: Box<TrustAnchors>,
    },
    /// An announcement of the coordinator's next certificate contradicts what is pinned, and was refused.
    AnnouncementRefused {
        /// Why it was refused.
        code: Code,
    },
    /// The connection to the coordinator is lost. If the peer broke the protocol, every lease in the view has
    /// ended already; otherwise the leases end when the view is too stale. Connect again.
    FeedLost {
        /// Why it was lost.
        why: Code,
    },
}

/// The endpoint of an enforcement point. It takes bytes in and reports ends of leases. Call [`Gate::check`]
/// before every permit.
#[derive(Debug)]
pub struct Gate {
    config: GateConfig,
    view: LeaseView,
    link: Link<GateEvent>,
    trust: Trust,
    next_ping: Option<Mono>,
}

impl Gate {
    /// A gate without a connection. No lease is live in its view.
    pub fn new(mut config: GateConfig) -> Self {
        let link = Link::new(config.rules.max_staleness());
        let trust = Trust::new(core::mem::take(&mut config.anchors));
        Self { view: LeaseView::new(config.rules), config, link, trust, next_ping: None }
    }

    /// The view.
    pub const fn view(&self) -> &LeaseView {
        &self.view
    }

    /// The accepted certificates of the coordinator.
    pub const fn anchors(&self) -> &TrustAnchors {
        self.trust.anchors()
    }

    /// The lease `fence`, if it is live at `now`. Call this before every permit and every connection to an
    /// upstream.
    ///
    /// # Errors
    /// [`ViewError`]: the lease authorises nothing now.
    pub fn check(&self, fence: Fence, now: Now) -> Result<&FeedLease, ViewError> {
        self.view.check(fence, now.mono)
    }

    fn connected(&mut self, peer: Sha256Digest, now: Now) {
        self.link.open(now);
        if let Err(code) = self.trust.admit(peer, now) {
            self.lose(code);
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

    fn tell(&mut self, events: Vec<ViewEvent>, now: Now) {
        for event in events {
            // The view is complete, so the coordinator's certificate was used.
            if event == ViewEvent::Synced {
                match self.trust.used(now) {
                    Ok(changed) => changed.into_iter().for_each(|changed| self.tell_trust(changed)),
                    Err(code) => self.lose(code),
                }
            }
            self.link.event(match event {
                ViewEvent::Synced => GateEvent::Synced { epoch: self.view.epoch() },
                ViewEvent::LeaseLive { fence } => GateEvent::LeaseLive { fence },
                ViewEvent::LeaseEnded { fence, why } => GateEvent::LeaseEnded { fence, why },
            });
        }
    }

    fn tell_trust(&mut self, event: TrustEvent) {
        self.link.event(match event {
            TrustEvent::Changed(anchors) => GateEvent::AnchorsChanged { anchors },
            TrustEvent::Refused(code) => GateEvent::AnnouncementRefused { code },
        });
    }

    fn received(&mut self, mut bytes: &[u8], now: Now) {
        while self.link.is_up() {
            match self.next_step(&mut bytes, now) {
                Ok(Some(message)) => {
                    let mut events = Vec::new();
                    let outcome = self.view.apply(&message, &mut events);
                    self.tell(events, now);
                    if let Err(error) = outcome {
                        self.lose(error.code());
                    }
                }
                Ok(None) => return,
                // A coordinator that breaks the protocol may have sent anything before, so every lease ends.
                Err(error) => {
                    let mut events = Vec::new();
                    self.view.fail(error.code(), &mut events);
                    self.tell(events, now);
                    self.lose(error.code());
                }
            }
        }
    }

    fn next_step(&mut self, bytes: &mut &[u8], now: Now) -> Result<Option<FeedMessage>, ProtocolError> {
        while let Some(frame) = self.link.frame(bytes, now)? {
            match frame.kind {
                FrameKind::Feed => return FeedMessage::read(&frame.body).map(Some),
                // An enforcement point is a device too, so it is told of certificates that follow the
                // coordinator's present one.
                FrameKind::Dispatch => match NodeWord::read(&frame.body)? {
                    NodeWord::Anchors(notice) => {
                        self.trust.told(&notice, now).into_iter().for_each(|event| self.tell_trust(event));
                    }
                    _ => return Err(ProtocolError::Direction),
                },
                _ => return Err(ProtocolError::Direction),
            }
        }
        Ok(None)
    }

    fn tick(&mut self, now: Now) {
        let mut events = Vec::new();
        let silent = self.view.lapse(now.mono, &mut events);
        self.tell(events, now);
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

    /// Whether the coordinator answered neither a ping nor the subscription in time.
    fn unanswered(&self, now: Now) -> bool {
        self.link.is_up() && now.mono >= self.link.silent_at()
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
        self.link.enter(&input, now)?;
        match input {
            Input::Connected { peer } => self.connected(peer, now),
            // While the link is down, these are bytes that were under way when this side closed it.
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
        let silent = self.link.is_up().then(|| self.link.silent_at());
        [self.view.next_deadline(), self.next_ping, self.link.frame_deadline(), silent]
            .into_iter()
            .flatten()
            .min()
    }
}
