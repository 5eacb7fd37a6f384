//! What an audit log gets of every verdict: bounded, without secrets, with sampling of what was allowed.

use alloc::{
    collections::VecDeque,
    format,
    string::{String, ToString},
    vec::Vec,
};
use core::net::IpAddr;

use serde::Serialize;

use super::{Bearer, EgressRequest, EgressVerdict, Scheme, Stage};
use crate::{
    code::Code,
    digest::Sha256Digest,
    id::{RuleId, WorkerId},
    lease::Fence,
    time::Mono,
};

/// One verdict, as it is logged. It names the resolved addresses, which the worker is not told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct EgressEvent {
    /// When it was given.
    pub at: Mono,
    /// Who asked.
    pub worker: WorkerId,
    /// Under which fence.
    pub fence: Fence,
    /// The digest of the policy.
    pub policy: Sha256Digest,
    /// Whether it was allowed.
    pub allowed: bool,
    /// The verdict's code.
    pub code: Code,
    /// The check that failed.
    pub stage: Option<Stage>,
    /// What an observing policy would have refused.
    pub would_refuse: Option<Code>,
    /// The rule.
    pub rule: Option<RuleId>,
    /// The method, escaped and cut at 32 characters.
    pub method: String,
    /// The scheme, as far as the target could be read.
    pub scheme: Option<Scheme>,
    /// The canonical host, IPv6 in brackets.
    pub host: Option<String>,
    /// The port.
    pub port: Option<u16>,
    /// The addresses that were judged.
    pub addresses: Vec<IpAddr>,
}

impl EgressEvent {
    /// The event of `verdict` on `request`.
    pub fn of(
        verdict: &EgressVerdict,
        request: &EgressRequest<'_>,
        bearer: &Bearer,
        policy: Sha256Digest,
        at: Mono,
    ) -> Self {
        let destination = verdict.destination();
        Self {
            at,
            worker: bearer.worker.clone(),
            fence: bearer.fence,
            policy,
            allowed: verdict.allowed(),
            code: verdict.code(),
            stage: verdict.refusal().map(super::EgressRefusal::stage),
            would_refuse: verdict.would_refuse().map(|would| would.code),
            rule: verdict.rule().cloned(),
            method: format!("{:.32}", request.method.escape_debug().to_string()),
            scheme: destination.as_ref().map(|(scheme, ..)| *scheme),
            host: destination.as_ref().map(|(_, host, _)| host.to_string()),
            port: destination.as_ref().map(|(.., port)| *port),
            addresses: verdict.addresses().iter().map(|judged| judged.address).collect(),
        }
    }
}

/// Where events go.
pub trait EgressSink {
    /// Takes one event.
    fn record(&mut self, event: EgressEvent);
}

/// A bounded log: every refusal and observed refusal, and one of every so many allowed verdicts.
///
/// When it is full, new events are counted and not kept: a worker cannot push out what came before.
#[derive(Clone, Debug)]
pub struct EgressLog {
    events: VecDeque<EgressEvent>,
    capacity: usize,
    sample: u64,
    allowed: u64,
    lost: u64,
}

impl EgressLog {
    /// A log of at most `capacity` events that keeps each `sample`-th allowed verdict; zero keeps none of them.
    pub const fn new(capacity: usize, sample: u64) -> Self {
        Self { events: VecDeque::new(), capacity, sample, allowed: 0, lost: 0 }
    }

    /// Takes the events out, oldest first.
    pub fn drain(&mut self) -> impl Iterator<Item = EgressEvent> + '_ {
        self.events.drain(..)
    }

    /// How many events were not kept because the log was full.
    pub const fn lost(&self) -> u64 {
        self.lost
    }

    /// How many allowed verdicts were seen, kept or not.
    pub const fn allowed(&self) -> u64 {
        self.allowed
    }
}

impl EgressSink for EgressLog {
    fn record(&mut self, event: EgressEvent) {
        if event.allowed {
            let nth = self.allowed;
            self.allowed = self.allowed.saturating_add(1);
            let kept = nth.checked_rem(self.sample) == Some(0);
            if !kept && event.would_refuse.is_none() {
                return;
            }
        }
        if self.events.len() >= self.capacity {
            self.lost = self.lost.saturating_add(1);
        } else {
            self.events.push_back(event);
        }
    }
}
