//! A paired device's endpoint: it opens its stream, executes what it is handed at most once in its life, and says so.

use alloc::{
    boxed::Box,
    collections::{BTreeMap, VecDeque},
    vec::Vec,
};

use crate::{
    capability::CapabilitySet,
    code::{self, Code, Coded as _},
    digest::Sha256Digest,
    dispatch::{
        AgentAction, AgentLedger, Delivery, DeviceMessage, Incarnation, LedgerLimits, Outcome, Receipt,
    },
    id::RequestId,
    identity::TrustAnchors,
    lease::Epoch,
    protocol::{
        ProtocolError,
        endpoint::{Endpoint, EndpointError, Input, Output},
        frame::{Frame, FrameKind},
        link::Link,
        message::{Document as _, NodeAnswer, NodeMessage, NodeRequest, NodeWord, WireBytes, WireCode},
        session::Session,
        trust::{Trust, TrustEvent},
    },
    time::{Millis, Mono, Now},
};

/// Messages that wait for their answer: fewer than a coordinator lets wait.
const MAX_IN_FLIGHT: usize = 8;

/// How long after a refused connect the device asks again: it may be granted something meanwhile.
const ASK_AGAIN: Millis = Millis::from_secs(5);

/// How a paired device's agent is set up.
#[derive(Clone, Debug)]
pub struct NodeAgentConfig {
    anchors: TrustAnchors,
    incarnation: Incarnation,
    claims: CapabilitySet,
    window: u32,
    ledger: LedgerLimits,
    epoch: Epoch,
    patience: Millis,
}

impl NodeAgentConfig {
    /// An agent of the coordinator whose certificate (exact DER) has the SHA-256 `coordinator`, that claims `claims`
    /// and takes `window` requests at once.
    ///
    /// `incarnation` is larger than in every former life of this agent: the wall clock at its start will do, where
    /// nobody sets it back.
    pub fn new(
        coordinator: Sha256Digest,
        incarnation: Incarnation,
        claims: CapabilitySet,
        window: u32,
    ) -> Self {
        let ledger = LedgerLimits::default();
        let patience = Millis::from_secs(15);
        let anchors = TrustAnchors::of_coordinator(coordinator);
        Self { anchors, incarnation, claims, window, ledger, epoch: Epoch(0), patience }
    }

    /// Believes the coordinators that `anchors` pin, and no other: what a former life has kept of
    /// [`NodeAgentEvent::AnchorsChanged`].
    #[must_use]
    pub fn trusting(mut self, anchors: TrustAnchors) -> Self {
        self.anchors = anchors;
        self
    }

    /// With these bounds of what the agent remembers.
    #[must_use]
    pub const fn ledger(mut self, ledger: LedgerLimits) -> Self {
        self.ledger = ledger;
        self
    }

    /// Refuses coordinators below `epoch`: what a former life has seen.
    #[must_use]
    pub const fn seen(mut self, epoch: Epoch) -> Self {
        self.epoch = epoch;
        self
    }

    /// Closes a connection on which the coordinator says nothing, or not the rest of a frame, for this long. Default
    /// 15 s; at least 1 s. Silence is waited with for three heartbeats of the fleet's policy, where that is longer.
    #[must_use]
    pub const fn patience(mut self, patience: Millis) -> Self {
        self.patience = if patience.0 < 1000 { Millis(1000) } else { patience };
        self
    }
}

/// What the device tells its agent.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum NodeAct {
    /// What [`NodeAgentEvent::Execute`] demanded has ended.
    Finished {
        /// The request.
        request: RequestId,
        /// How.
        outcome: Outcome,
    },
    /// The person at the device has answered [`NodeAgentEvent::AskPerson`].
    Mediated {
        /// The request.
        request: RequestId,
        /// Whether they said yes.
        approved: bool,
    },
    /// The device takes so many requests at once from now on. Zero stops the flow.
    Window(u32),
    /// Asks for another certificate, for a key that the device made.
    Rotate {
        /// The certificate request (PKCS #10, DER).
        request: Vec<u8>,
    },
    /// The device revokes itself. The coordinator closes the connection and takes no other.
    RevokeSelf,
}

/// What an agent tells its device.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NodeAgentEvent {
    /// A session is open. Keep the epoch: [`NodeAgentConfig::seen`] wants it after a restart.
    Welcome {
        /// The coordinator's epoch.
        epoch: Epoch,
    },
    /// The stream is open: requests may come.
    Streaming,
    /// Execute this, once, and say [`NodeAct::Finished`].
    Execute(Delivery),
    /// Ask the person at the device, and say [`NodeAct::Mediated`].
    AskPerson(RequestId),
    /// Stop this: it has ended.
    Stop(RequestId),
    /// The next certificate. Keep it, and make the next connection with it: that ends the rotation.
    Certificate {
        /// The certificate, DER.
        certificate: Vec<u8>,
    },
    /// The coordinator refused something.
    Refused {
        /// What.
        asked: NodeAsked,
        /// Why.
        code: WireCode,
    },
    /// Other certificates of the coordinator are accepted from here on. Keep them: [`NodeAgentConfig::trusting`] wants
    /// them after a restart. Where TLS compares the coordinator's certificate as well, it has to accept each of them.
    AnchorsChanged {
        /// Everything that is pinned now.
        anchors: Box<TrustAnchors>,
    },
    /// What the coordinator says of its next certificate does not fit what is pinned, and was not taken.
    AnnouncementRefused {
        /// Why.
        code: Code,
    },
    /// The connection is gone. Everything else goes on: connect again.
    LinkLost {
        /// Why.
        why: Code,
    },
}

/// What a message asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
#[allow(missing_docs, reason = "named after the messages")]
pub enum NodeAsked {
    Hello,
    Connect,
    Tell,
    Heartbeat,
    Rotate,
    RevokeSelf,
}

/// How far the session of this connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Greeting,
    /// The stream is to be opened at this instant.
    Open {
        connect_at: Mono,
    },
    Connecting,
    Streaming,
}

/// A paired device's endpoint, over any number of connections of one life of its process.
#[derive(Debug)]
pub struct NodeAgent {
    config: NodeAgentConfig,
    link: Link<NodeAgentEvent>,
    trust: Trust,
    ledger: AgentLedger,
    stage: Stage,
    epoch: Epoch,
    next: u64,
    waiting: BTreeMap<u64, NodeAsked>,
    /// What is to be said. Bounded by what the ledger remembers; a lost connection empties it, since what is
    /// delivered again is answered again.
    outbox: VecDeque<(NodeAsked, NodeMessage)>,
    heartbeat_every: Millis,
    heartbeat_at: Mono,
}

impl NodeAgent {
    /// An agent without a connection.
    pub fn new(mut config: NodeAgentConfig) -> Self {
        Self {
            link: Link::new(config.patience),
            trust: Trust::new(core::mem::take(&mut config.anchors)),
            ledger: AgentLedger::new(config.incarnation, config.ledger),
            stage: Stage::Greeting,
            epoch: config.epoch,
            next: 0,
            waiting: BTreeMap::new(),
            outbox: VecDeque::new(),
            heartbeat_every: Millis::from_secs(5),
            heartbeat_at: Mono::NEVER,
            config,
        }
    }

    /// What the agent remembers of its requests.
    pub const fn ledger(&self) -> &AgentLedger {
        &self.ledger
    }

    /// The certificates of the coordinator that are accepted.
    pub const fn anchors(&self) -> &TrustAnchors {
        self.trust.anchors()
    }

    /// Whether its stream is open.
    pub fn is_streaming(&self) -> bool {
        self.link.is_up() && self.stage == Stage::Streaming
    }

    fn say(&mut self, asked: NodeAsked, message: NodeMessage) {
        if self.link.is_up() {
            self.outbox.push_back((asked, message));
            self.pump();
        }
    }

    fn tell(&mut self, messages: Vec<DeviceMessage>) {
        for message in messages {
            self.say(NodeAsked::Tell, NodeMessage::Tell(message));
        }
    }

    /// Sends what waits, while the coordinator owes few answers.
    fn pump(&mut self) {
        while self.waiting.len() < MAX_IN_FLIGHT
            && self.link.is_up()
            && let Some((asked, message)) = self.outbox.pop_front()
        {
            let sequence = self.next;
            self.next = sequence.saturating_add(1);
            self.waiting.insert(sequence, asked);
            if let Err(error) = self.link.send(&NodeRequest { sequence, message }) {
                self.lose_link(error.code());
            }
        }
    }

    fn answered(&mut self, asked: NodeAsked, answer: NodeAnswer, now: Now) -> Result<(), ProtocolError> {
        match (asked, answer) {
            (NodeAsked::Hello, NodeAnswer::Welcome { epoch, heartbeat_every, .. }) => {
                if epoch < self.epoch {
                    self.lose_link(code::COORDINATOR_LOWER_EPOCH);
                    return Ok(());
                }
                if !self.believed(now) {
                    return Ok(());
                }
                self.epoch = epoch;
                self.keep_to(heartbeat_every);
                self.heartbeat_at = now.mono.plus(self.heartbeat_every);
                self.stage = Stage::Open { connect_at: now.mono };
                self.link.event(NodeAgentEvent::Welcome { epoch });
            }
            (NodeAsked::Connect, NodeAnswer::Told {}) => {
                self.stage = Stage::Streaming;
                self.link.event(NodeAgentEvent::Streaming);
            }
            (NodeAsked::Rotate, NodeAnswer::Certificate { certificate: WireBytes(certificate) }) => {
                self.link.event(NodeAgentEvent::Certificate { certificate });
            }
            (NodeAsked::Tell | NodeAsked::Heartbeat | NodeAsked::RevokeSelf, NodeAnswer::Told {}) => {}
            _ => return Err(ProtocolError::Unasked),
        }
        Ok(())
    }

    fn keep_to(&mut self, heartbeat_every: Millis) {
        self.heartbeat_every = heartbeat_every.max(Millis(100));
        self.link.asked_every(self.heartbeat_every.max(ASK_AGAIN));
    }

    fn refused(&mut self, asked: NodeAsked, code: WireCode, now: Now) {
        // A stream that the coordinator does not know is opened again; so is one that was refused, after a while.
        if matches!(asked, NodeAsked::Connect | NodeAsked::Heartbeat) {
            self.stage = Stage::Open { connect_at: now.mono.plus(ASK_AGAIN) };
        }
        self.link.event(NodeAgentEvent::Refused { asked, code });
    }

    fn act_on(&mut self, receipt: Receipt) {
        let Receipt { replies, action } = receipt;
        self.tell(replies);
        self.perform(action);
    }

    fn perform(&mut self, action: AgentAction) {
        match action {
            AgentAction::Nothing => {}
            AgentAction::AskPerson(request) => self.link.event(NodeAgentEvent::AskPerson(request)),
            AgentAction::Execute(delivery) => self.link.event(NodeAgentEvent::Execute(delivery)),
            AgentAction::Stop(request) => self.link.event(NodeAgentEvent::Stop(request)),
        }
    }
}

impl Session for NodeAgent {
    type Act = NodeAct;
    type Event = NodeAgentEvent;

    fn parts(&mut self) -> (&mut Link<NodeAgentEvent>, &mut Trust) {
        (&mut self.link, &mut self.trust)
    }

    fn greet(&mut self, _: Now) {
        self.say(NodeAsked::Hello, NodeMessage::Hello { epoch: self.epoch });
    }

    fn frame(&mut self, frame: Frame, now: Now) -> Result<(), ProtocolError> {
        if frame.kind != FrameKind::Dispatch {
            return Err(ProtocolError::Direction);
        }
        match NodeWord::read(&frame.body)? {
            NodeWord::Answer { sequence, answer } => {
                let asked = self.waiting.remove(&sequence).ok_or(ProtocolError::Unasked)?;
                self.answered(asked, answer, now)?;
                self.pump();
            }
            NodeWord::Refused { sequence, refusal } => {
                let asked = self.waiting.remove(&sequence).ok_or(ProtocolError::Unasked)?;
                self.refused(asked, refusal.code, now);
                self.pump();
            }
            _ if self.stage == Stage::Greeting => return Err(ProtocolError::Order),
            NodeWord::Deliver(delivery) => {
                let receipt = self.ledger.receive(now, delivery);
                self.act_on(receipt);
            }
            NodeWord::Settle { request } => {
                let action = self.ledger.settled(&request);
                self.perform(action);
            }
            NodeWord::Anchors(notice) => self.told(&notice, now),
            NodeWord::Rhythm { heartbeat_every } => {
                self.keep_to(heartbeat_every);
                self.heartbeat_at = self.heartbeat_at.min(now.mono.plus(self.heartbeat_every));
            }
        }
        Ok(())
    }

    fn act(&mut self, act: NodeAct, now: Now) -> Result<(), EndpointError> {
        match act {
            NodeAct::Finished { request, outcome } => {
                let answer = self.ledger.finished(&request, outcome);
                self.tell(answer.into_iter().collect());
            }
            NodeAct::Mediated { request, approved } => {
                let receipt = self.ledger.mediated(now, &request, approved);
                self.act_on(receipt);
            }
            NodeAct::Window(window) => {
                self.config.window = window;
                if self.stage == Stage::Streaming {
                    let incarnation = self.config.incarnation;
                    self.tell(Vec::from([DeviceMessage::Window { incarnation, window }]));
                }
            }
            NodeAct::Rotate { .. } | NodeAct::RevokeSelf if self.stage == Stage::Greeting => {
                return Err(EndpointError::NotNow("no session is open"));
            }
            NodeAct::Rotate { request } => {
                self.say(NodeAsked::Rotate, NodeMessage::Rotate { request: WireBytes(request) });
            }
            NodeAct::RevokeSelf => self.say(NodeAsked::RevokeSelf, NodeMessage::RevokeSelf {}),
        }
        Ok(())
    }

    fn tick(&mut self, now: Now) {
        for action in self.ledger.expire(now) {
            self.perform(action);
        }
        self.watch(now);
        if !self.link.is_up() {
            return;
        }
        let incarnation = self.config.incarnation;
        match self.stage {
            Stage::Open { connect_at } if now.mono >= connect_at => {
                self.stage = Stage::Connecting;
                let (claims, window) = (self.config.claims.clone(), self.config.window);
                let connect = DeviceMessage::Connect { incarnation, claims, window };
                self.say(NodeAsked::Connect, NodeMessage::Tell(connect));
            }
            Stage::Streaming if now.mono >= self.heartbeat_at => {
                self.heartbeat_at = now.mono.plus(self.heartbeat_every);
                self.say(NodeAsked::Heartbeat, NodeMessage::Tell(DeviceMessage::Heartbeat { incarnation }));
            }
            _ => {}
        }
    }

    fn link_lost(&mut self, why: Code) {
        self.stage = Stage::Greeting;
        self.waiting.clear();
        self.outbox.clear();
        self.heartbeat_at = Mono::NEVER;
        self.link.event(NodeAgentEvent::LinkLost { why });
    }

    fn of_trust(event: TrustEvent) -> NodeAgentEvent {
        match event {
            TrustEvent::Changed(anchors) => NodeAgentEvent::AnchorsChanged { anchors },
            TrustEvent::Refused(code) => NodeAgentEvent::AnnouncementRefused { code },
        }
    }
}

impl Endpoint for NodeAgent {
    type Act = NodeAct;
    type Event = NodeAgentEvent;

    fn handle(&mut self, input: Input<'_, NodeAct>, now: Now) -> Result<(), EndpointError> {
        self.take(input, now)
    }

    fn poll(&mut self) -> Output<NodeAgentEvent> {
        self.link.poll(self.next_deadline())
    }

    fn next_deadline(&self) -> Option<Mono> {
        let over = self.ledger.next_deadline();
        if !self.link.is_up() {
            return over;
        }
        let silent = Some(self.link.silent_at());
        let due = match self.stage {
            Stage::Open { connect_at } => Some(connect_at),
            Stage::Streaming => Some(self.heartbeat_at),
            Stage::Greeting | Stage::Connecting => None,
        };
        [over, silent, self.link.frame_deadline(), due].into_iter().flatten().min()
    }
}
