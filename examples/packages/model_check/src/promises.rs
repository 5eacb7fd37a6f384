//! What was promised, kept beside the fleet and independently of it: from the events alone.

use leasehold::{
    fleet::{FleetEvent, QuarantineReason},
    lease::Fence,
    time::Mono,
};
use serde::Serialize;

/// What a worker owes before it may work again (invariant 5).
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Owed {
    pub cleanup: bool,
    pub release: bool,
    /// Evidence over a nonce that was issued at this version of the state or later.
    pub evidence_since: Option<u64>,
    pub draining: bool,
}

impl Owed {
    fn evidence(&mut self, version: u64) {
        self.evidence_since = Some(version);
    }
}

/// The history, as far as promises are about it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Promises {
    /// By slot.
    pub owed: Vec<Owed>,
    /// The largest fence that was ever granted.
    pub top: Option<Fence>,
    /// How often each run ended.
    pub endings: Vec<u8>,
    /// The leases that authorise nothing any more, and since when.
    pub over: Vec<(Fence, Mono)>,
    /// Whether there is an enforcement point to hold against that.
    pub gate: bool,
}

impl Promises {
    pub fn new(workers: u8, runs: u8, gate: bool) -> Self {
        Self {
            owed: vec![Owed::default(); workers.into()],
            endings: vec![0; runs.into()],
            gate,
            ..Self::default()
        }
    }

    fn over(&mut self, fence: Fence, now: Mono) {
        if self.gate && self.over.iter().all(|(other, _)| *other != fence) {
            self.over.push((fence, now));
        }
    }

    /// Takes in an event that brought the state to `version`. What it breaks, where it does.
    pub fn follow(&mut self, event: &FleetEvent, version: u64, now: Mono) -> Result<(), &'static str> {
        let slot = |slot: u32| usize::try_from(slot).unwrap_or(usize::MAX);
        match event {
            FleetEvent::LeaseGranted { slot: at, lease, .. } => {
                if Some(lease.fence) <= self.top {
                    return Err("invariant 2: a fence does not grow");
                }
                self.top = Some(lease.fence);
                let Owed { cleanup, release, evidence_since, draining } = self.owed[slot(*at)];
                if cleanup || release || evidence_since.is_some() || draining {
                    return Err("invariant 5: a worker gets a lease that owes something");
                }
            }
            FleetEvent::LeaseLost { slot: at, fence, .. } => {
                self.over(*fence, now);
                let owed = &mut self.owed[slot(*at)];
                owed.cleanup = true;
                owed.evidence(version);
            }
            FleetEvent::LeaseReturned { fence, .. }
            | FleetEvent::LeaseRevoked { fence, .. }
            | FleetEvent::CleanupAwaited { fence, .. } => self.over(*fence, now),
            FleetEvent::Quarantined { slot: at, reason, .. } => {
                let owed = &mut self.owed[slot(*at)];
                owed.evidence(version);
                use QuarantineReason as Why;
                owed.release |= matches!(reason, Why::Operator | Why::FailedOutput);
                owed.cleanup |=
                    matches!(reason, Why::FailedCleanup | Why::FailedOutput | Why::NotAcknowledged);
            }
            FleetEvent::FleetQuarantined { .. } => {
                for owed in &mut self.owed {
                    owed.release = true;
                    owed.evidence(version);
                }
            }
            FleetEvent::CleanupVerified { slot: at, .. } => self.owed[slot(*at)].cleanup = false,
            FleetEvent::QuarantineReleased { slot: at, .. } => self.owed[slot(*at)].release = false,
            FleetEvent::EvidenceAccepted { slot: at, nonce_version, .. } => {
                let owed = &mut self.owed[slot(*at)];
                if owed.evidence_since.is_some_and(|since| since <= *nonce_version) {
                    owed.evidence_since = None;
                }
            }
            FleetEvent::EvidenceWithdrawn { slot: at, .. } => {
                // Any evidence that comes was judged afterwards; that it is over a later nonce is not promised.
                self.owed[slot(*at)].evidence_since.get_or_insert(0);
            }
            FleetEvent::DrainBegan { slot: at, .. } => self.owed[slot(*at)].draining = true,
            FleetEvent::DrainEnded { slot: at, .. } => self.owed[slot(*at)].draining = false,
            FleetEvent::RunEnded { run, .. } => {
                let run = usize::from(number(run.as_str())) - 1;
                self.endings[run] += 1;
                if self.endings[run] > 1 {
                    return Err("a run ended twice");
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Everything after `then` is lost: everybody attests again, and what ended may end once more. What was live is over.
    pub fn restored(&mut self, then: &Self, live: impl Iterator<Item = Fence>, now: Mono) {
        live.for_each(|fence| self.over(fence, now));
        (self.owed, self.endings) = (then.owed.clone(), then.endings.clone());
        for owed in &mut self.owed {
            owed.evidence_since.get_or_insert(0);
        }
    }
}

/// The number behind the name of a run or a worker.
pub fn number(name: &str) -> u8 {
    name.rsplit_once('-').and_then(|(_, number)| number.parse().ok()).unwrap_or_default()
}
