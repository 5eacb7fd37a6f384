//! The agent's memory: what it was handed in this life, so that nothing runs twice in it.
//!
//! The laws of [`AgentLedger`]:
//! * A request is executed at most once in one incarnation. A delivery of something known gives the answer again.
//! * What was forgotten is never executed: deliveries come in the order of their numbers, and one at or below the
//!   highest number that was forgotten is answered with [`Outcome::Lost`].
//! * A delivery for another incarnation is answered with [`Outcome::Lost`]: only the agent that had it could know.

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
    /// The most requests remembered at once, running and answered. At least the window that the agent offers.
    pub requests: usize,
    /// The largest payload that the agent takes, in bytes.
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
    /// The person said no.
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

/// What an agent does about a delivery, after it has sent `replies` in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
#[non_exhaustive]
pub struct Receipt {
    /// What to tell the coordinator.
    pub replies: Vec<DeviceMessage>,
    /// What to do.
    pub action: AgentAction,
}

/// What an agent does.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AgentAction {
    /// Nothing: it is known, or it was refused.
    Nothing,
    /// Ask the person at the device, then call [`AgentLedger::mediated`].
    AskPerson(RequestId),
    /// Execute this now, once, then call [`AgentLedger::finished`].
    Execute(Delivery),
    /// Stop this: it has ended for the coordinator.
    Stop(RequestId),
}

/// The memory of one life of an agent. A new life has a new ledger and a larger [`Incarnation`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentLedger {
    incarnation: Incarnation,
    limits: LedgerLimits,
    /// The highest number that was forgotten.
    forgotten: u64,
    requests: BTreeMap<RequestId, Remembered>,
}

impl AgentLedger {
    /// An empty memory. `incarnation` must be larger than in every former life of this agent.
    pub fn new(incarnation: Incarnation, limits: LedgerLimits) -> Self {
        Self { incarnation, limits, forgotten: 0, requests: BTreeMap::new() }
    }

    /// The life that this is the memory of.
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

    /// A delivery came in.
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

    /// What was said about a request that is delivered again, under the new delivery.
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

    /// The person at the device has answered. An approval after the time is over starts nothing.
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

    /// The execution of `request` has ended. The answer is kept until the coordinator settles it or its time is over.
    ///
    /// None where it is not running: it was settled meanwhile, or has been answered, and the first answer stays.
    pub fn finished(&mut self, request: &RequestId, outcome: Outcome) -> Option<DeviceMessage> {
        let known = self.requests.get_mut(request)?;
        let Entry::Running { result_limit } = known.entry else { return None };
        // What is over the limit would be dropped on the other side: it is not kept here, nor sent.
        let limit = usize::try_from(result_limit).unwrap_or(usize::MAX);
        let outcome = match outcome {
            Outcome::Succeeded(bytes) | Outcome::Failed(bytes) if bytes.len() > limit => Outcome::TooLarge,
            fits => fits,
        };
        known.entry = Entry::Answered(outcome.clone());
        let attempt = known.attempt;
        Some(self.message(request, attempt, outcome))
    }

    /// The coordinator says that `request` has ended.
    pub fn settled(&mut self, request: &RequestId) -> AgentAction {
        let runs = self.requests.get(request).is_some_and(|known| match known.entry {
            Entry::AwaitingMediation(_) | Entry::Running { .. } => true,
            Entry::Denied | Entry::Answered(_) => false,
        });
        self.forget(request);
        if runs { AgentAction::Stop(request.clone()) } else { AgentAction::Nothing }
    }

    /// Forgets what is over: its deadline has passed, so the coordinator has ended it too. Gives what to stop.
    pub fn expire(&mut self, now: Now) -> Vec<AgentAction> {
        let over = self.requests.iter().filter(|(_, known)| known.until <= now.mono);
        let over: Vec<RequestId> = over.map(|(request, _)| request.clone()).collect();
        over.iter()
            .map(|request| self.settled(request))
            .filter(|action| *action != AgentAction::Nothing)
            .collect()
    }

    /// When something is over, if nothing else happens. Cost: O(remembered).
    pub fn next_deadline(&self) -> Option<Mono> {
        self.requests.values().map(|known| known.until).min()
    }

    fn forget(&mut self, request: &RequestId) {
        if let Some(known) = self.requests.remove(request) {
            self.forgotten = self.forgotten.max(known.number);
        }
    }
}
