//! Requests that wait for their answer: at most one of each kind, and those that were given up.

use alloc::{collections::BTreeMap, vec::Vec};

use super::event::Asked;
use crate::{
    protocol::{ProtocolError, message::WorkerMessage},
    time::Mono,
};

/// Answers that may be owed at a time.
const MAX_WAITING: usize = 64;

/// A request without an answer.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    pub(super) asked: Asked,
    /// When it was sent first: what it grants counts from there.
    pub(super) sent: Mono,
    /// What is sent again, under the same number, where the connection is lost before the answer.
    again: Option<WorkerMessage>,
    /// The answer is not wanted any more, and still has to be let through.
    given_up: bool,
}

impl Asked {
    pub(super) const fn of(message: &WorkerMessage) -> Self {
        match message {
            WorkerMessage::Hello { .. } => Self::Hello,
            WorkerMessage::Challenge {} => Self::Challenge,
            WorkerMessage::Attest { .. } => Self::Attest,
            WorkerMessage::Heartbeat { .. } => Self::Heartbeat,
            WorkerMessage::Fetch { .. } => Self::Fetch,
            WorkerMessage::Start { .. } => Self::Start,
            WorkerMessage::Renew { .. } => Self::Renew,
            WorkerMessage::Complete { .. } => Self::Complete,
            WorkerMessage::ReportCleanup { .. } => Self::ReportCleanup,
            WorkerMessage::AcknowledgeRevocation { .. } => Self::AcknowledgeRevocation,
        }
    }

    /// Whether the request changes something that must happen once: then it keeps its number when sent again.
    const fn is_command(self) -> bool {
        matches!(
            self,
            Self::Attest | Self::Start | Self::Complete | Self::ReportCleanup | Self::AcknowledgeRevocation
        )
    }
}

/// The requests without an answer, by number.
#[derive(Debug)]
pub(super) struct Requests {
    next: u64,
    waiting: BTreeMap<u64, Pending>,
}

impl Requests {
    pub(super) const fn new(first: u64) -> Self {
        Self { next: first, waiting: BTreeMap::new() }
    }

    pub(super) fn is_waiting(&self, asked: Asked) -> bool {
        self.waiting.values().any(|pending| pending.asked == asked && !pending.given_up)
    }

    /// Takes a number for `message`, which is sent at `now`. One that waits as the same kind is given up.
    pub(super) fn add(&mut self, message: &WorkerMessage, now: Mono) -> u64 {
        let asked = Asked::of(message);
        self.give_up(|other| other == asked);
        let sequence = self.next;
        self.next = sequence.saturating_add(1);
        let again = asked.is_command().then(|| message.clone());
        self.waiting.insert(sequence, Pending { asked, sent: now, again, given_up: false });
        sequence
    }

    /// The request that an answer is to. `Ok(None)`: one that was given up.
    pub(super) fn answered(&mut self, sequence: u64) -> Result<Option<Pending>, ProtocolError> {
        let pending = self.waiting.remove(&sequence).ok_or(ProtocolError::Unasked)?;
        Ok(Some(pending).filter(|pending| !pending.given_up))
    }

    /// Wants no answer to these any more.
    pub(super) fn give_up(&mut self, which: impl Fn(Asked) -> bool) {
        for pending in self.waiting.values_mut().filter(|pending| which(pending.asked)) {
            pending.given_up = true;
            pending.again = None;
        }
    }

    /// Whether more answers are owed than an honest coordinator leaves open.
    pub(super) fn are_too_many(&self) -> bool {
        self.waiting.len() > MAX_WAITING
    }

    /// After a lost connection: what is only true of that connection is forgotten.
    pub(super) fn disconnected(&mut self) {
        self.waiting.retain(|_, pending| pending.again.is_some());
    }

    /// What is sent again, in the order of the numbers.
    pub(super) fn again(&self) -> Vec<(u64, WorkerMessage)> {
        self.waiting
            .iter()
            .filter_map(|(sequence, pending)| Some((*sequence, pending.again.clone()?)))
            .collect()
    }
}
