//! The ledger of an agent: which requests it was handed in this incarnation, so that none runs twice.
//!
//! The rules of [`AgentLedger`]:
//!
//! * A request is executed at most once in one incarnation. A repeated delivery gets the same answer again.
//! * A request that was forgotten is never executed. Deliveries come in the order of their numbers, and a
//!   delivery at or below the highest forgotten number is answered with [`Outcome::Lost`].
//! * A delivery for another incarnation is answered with [`Outcome::Lost`], because only the agent that had
//!   it could know what became of it.

use alloc::{collections::BTreeMap, vec, vec::Vec};

use super::{
    message::{Delivery, DeviceMessage, MediationStep, Outcome},
    record::Incarnation,
};
use crate::{
    id::RequestId,
    time::{Mono, Now},
};

/// The bounds of a ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LedgerLimits {
    /// How many requests are remembered at once, running and answered. It should be at least the window that
    /// the agent offers.
    pub requests: usize,
    /// The largest payload that the agent accepts, in bytes.
    pub payload_bytes: usize,
}

impl Default for LedgerLimits {
    fn default() -> Self {
        Self { requests: 64, payload_bytes: 64 << 10 }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Entry {
    /// The person at the device has not answered yet; the delivery waits.
    AwaitingMediation(Delivery),
    /// The person refused.
    Denied,
    Running {
        result_limit: u32,
    },
    Answered(Outcome),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Remembered {
    number: u64,
    attempt: u32,
    until: Mono,
    mediated: bool,
    entry: Entry,
}

/// How an agent reacts to a delivery. It sends `replies` in their order and then carries out `action`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
#[non_exhaustive]
pub struct Receipt {
    /// The messages to the coordinator.
    pub replies: Vec<DeviceMessage>,
    /// What to do next.
    pub action: AgentAction,
}

/// What an agent must do.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AgentAction {
    /// Nothing: the request is known, or it was refused.
    Nothing,
    /// Ask the person at the device, then call [`AgentLedger::mediated`].
    AskPerson(RequestId),
    /// Execute this now, once, then call [`AgentLedger::finished`].
    Execute(Delivery),
    /// Stop this request: it has ended at the coordinator.
    Stop(RequestId),
}

/// The memory of one incarnation of an agent. A restarted agent has a new ledger and a larger
/// [`Incarnation`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentLedger {
    incarnation: Incarnation,
    limits: LedgerLimits,
    /// The highest number of a forgotten request.
    forgotten: u64,
    requests: BTreeMap<RequestId, Remembered>,
}

impl AgentLedger {
    /// An empty ledger. `incarnation` must be larger than every former one of this agent.
    pub fn new(incarnation: Incarnation, limits: LedgerLimits) -> Self {
        Self { incarnation, limits, forgotten: 0, requests: BTreeMap::new() }
    }

    /// The incarnation of the agent.
    pub fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// How many requests are remembered.
    pub fn len(&self) -> usize {
        self.requests.len()
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    fn message(&self, request: &RequestId, attempt: u32, outcome: Outcome) -> DeviceMessage {
        DeviceMessage::Answer { incarnation: self.incarnation, request: request.clone(), attempt, outcome }
    }

    fn step(&self, request: &RequestId, attempt: u32, step: MediationStep) -> DeviceMessage {
        DeviceMessage::Mediation { incarnation: self.incarnation, request: request.clone(), attempt, step }
    }

    /// Handles a delivery.
    pub fn receive(&mut self, now: Now, delivery: Delivery) -> Receipt {
        if delivery.incarnation == self.incarnation && self.requests.contains_key(&delivery.request) {
            return Receipt { replies: self.again(&delivery), action: AgentAction::Nothing };
        }
        if let Some(outcome) = self.refusal(&delivery) {
            let replies = vec![self.message(&delivery.request, delivery.attempt, outcome)];
            return Receipt { replies, action: AgentAction::Nothing };
        }
        let request = delivery.request.clone();
        let (replies, action, entry) = if delivery.mediated {
            let replies = vec![self.step(&request, delivery.attempt, MediationStep::Awaiting)];
            let entry = Entry::AwaitingMediation(delivery.clone());
            (replies, AgentAction::AskPerson(request.clone()), entry)
        } else {
            let entry = Entry::Running { result_limit: delivery.result_limit };
            (Vec::new(), AgentAction::Execute(delivery.clone()), entry)
        };
        let remembered = Remembered {
            number: delivery.number,
            attempt: delivery.attempt,
            until: now.mono.plus(delivery.ttl_ms),
            mediated: delivery.mediated,
            entry,
        };
        self.requests.insert(request, remembered);
        Receipt { replies, action }
    }

    /// Why an unknown delivery is not executed.
    fn refusal(&self, delivery: &Delivery) -> Option<Outcome> {
        if delivery.incarnation != self.incarnation || delivery.number <= self.forgotten {
            return Some(Outcome::Lost);
        }
        let refused = delivery.ttl_ms.0 == 0
            || delivery.payload.len() > self.limits.payload_bytes
            || self.requests.len() >= self.limits.requests;
        refused.then_some(Outcome::Refused)
    }

    /// The earlier messages about a request that is delivered again, for the new delivery.
    fn again(&mut self, delivery: &Delivery) -> Vec<DeviceMessage> {
        let request = &delivery.request;
        if let Some(known) = self.requests.get_mut(request) {
            known.attempt = known.attempt.max(delivery.attempt);
        }
        let Some(known) = self.requests.get(request) else { return Vec::new() };
        let mut replies = Vec::new();
        if known.mediated {
            replies.push(self.step(request, known.attempt, MediationStep::Awaiting));
            match &known.entry {
                Entry::AwaitingMediation(_) => {}
                Entry::Denied => replies.push(self.step(request, known.attempt, MediationStep::Denied)),
                Entry::Running { .. } | Entry::Answered(_) => {
                    replies.push(self.step(request, known.attempt, MediationStep::Approved));
                }
            }
        }
        if let Entry::Answered(outcome) = &known.entry {
            replies.push(self.message(request, known.attempt, outcome.clone()));
        }
        replies
    }

    /// Handles the answer of the person at the device. An approval after the deadline starts nothing.
    pub fn mediated(&mut self, now: Now, request: &RequestId, approved: bool) -> Receipt {
        let nothing = Receipt { replies: Vec::new(), action: AgentAction::Nothing };
        let Some(known) = self.requests.get_mut(request) else { return nothing };
        let Entry::AwaitingMediation(waiting) = &known.entry else { return nothing };
        if now.mono >= known.until {
            return nothing;
        }
        let mut delivery = waiting.clone();
        delivery.attempt = known.attempt;
        if approved {
            known.entry = Entry::Running { result_limit: delivery.result_limit };
            let replies = vec![self.step(request, delivery.attempt, MediationStep::Approved)];
            return Receipt { replies, action: AgentAction::Execute(delivery) };
        }
        known.entry = Entry::Denied;
        let replies = vec![self.step(request, delivery.attempt, MediationStep::Denied)];
        Receipt { replies, action: AgentAction::Nothing }
    }

    /// Notes that the execution of `request` has ended. The answer is kept until the coordinator settles the
    /// request or its deadline passes.
    ///
    /// `None` if the request is not running: it was settled meanwhile, or it was answered, and the first
    /// answer stays.
    pub fn finished(&mut self, request: &RequestId, outcome: Outcome) -> Option<DeviceMessage> {
        let known = self.requests.get_mut(request)?;
        let Entry::Running { result_limit } = known.entry else { return None };
        // The coordinator would discard a result over the limit, so it is neither kept nor sent.
        let limit = usize::try_from(result_limit).unwrap_or(usize::MAX);
        let outcome = match outcome {
            Outcome::Succeeded(bytes) | Outcome::Failed(bytes) if bytes.len() > limit => Outcome::TooLarge,
            fits => fits,
        };
        known.entry = Entry::Answered(outcome.clone());
        let attempt = known.attempt;
        Some(self.message(request, attempt, outcome))
    }

    /// Handles the coordinator's message that `request` has ended.
    pub fn settled(&mut self, request: &RequestId) -> AgentAction {
        let runs = self.requests.get(request).is_some_and(|known| match known.entry {
            Entry::AwaitingMediation(_) | Entry::Running { .. } => true,
            Entry::Denied | Entry::Answered(_) => false,
        });
        self.forget(request);
        if runs { AgentAction::Stop(request.clone()) } else { AgentAction::Nothing }
    }

    /// Forgets requests whose deadline has passed; the coordinator has ended them too. Returns what to stop.
    pub fn expire(&mut self, now: Now) -> Vec<AgentAction> {
        let over = self.requests.iter().filter(|(_, known)| known.until <= now.mono);
        let over: Vec<RequestId> = over.map(|(request, _)| request.clone()).collect();
        over.iter()
            .map(|request| self.settled(request))
            .filter(|action| *action != AgentAction::Nothing)
            .collect()
    }

    /// The earliest deadline of a remembered request. Cost: O(remembered).
    pub fn next_deadline(&self) -> Option<Mono> {
        self.requests.values().map(|known| known.until).min()
    }

    fn forget(&mut self, request: &RequestId) {
        if let Some(known) = self.requests.remove(request) {
            self.forgotten = self.forgotten.max(known.number);
        }
    }
}
