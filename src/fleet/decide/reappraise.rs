//! Judges evidence that was accepted under a former policy again under the one in force. The sweep after a
//! change of policy does this for every worker; a decision that depends on the evidence does it earlier.

use alloc::{boxed::Box, string::ToString, sync::Arc, vec::Vec};

use crate::{
    attestation::{self, EvidenceFacts, Failure},
    code::Coded,
    fleet::{
        condition::{LeaseStage, LossReason},
        context::{Context, Steps},
        event::FleetEvent,
        evidence::Evidence,
        roster::WorkerRecord,
        state::{self, FleetState},
    },
    time::{Mono, Wall},
};

/// Evidence that is in force at this instant.
pub(crate) struct Standing {
    /// When it ends, by the wall clock.
    pub(crate) valid_until: Wall,
    /// When it ends, in monotonic time.
    pub(crate) valid_until_mono: Mono,
    /// The worker's certificate, to which the evidence is bound.
    pub(crate) certificate: crate::digest::Sha256Digest,
    /// When that certificate ends, in monotonic time.
    pub(crate) certificate_until_mono: Mono,
    /// The event that must come first, if the evidence was accepted under a former policy and passes under
    /// this one. Boxed, because it is rare and each lease and renewal moves a `Standing`.
    pub(crate) kept: Option<Box<FleetEvent>>,
}

impl Context<'_> {
    /// The evidence of the worker in `slot` under the policy in force. `None` if there is none, if it has
    /// expired, or if it does not pass (invariant 4).
    ///
    /// Cost: O(1). Between a change of policy and the sweep's visit, the cost of appraising the evidence
    /// again.
    pub(crate) fn standing(&self, slot: u32, record: &WorkerRecord) -> Option<Standing> {
        let evidence = record.evidence.as_ref().filter(|_| FleetState::evidence_in_time(record, self.now))?;
        let held = &evidence.record;
        let mut standing = Standing {
            valid_until: held.valid_until,
            valid_until_mono: held.valid_until_mono,
            certificate: held.certificate,
            certificate_until_mono: held.certificate_until_mono,
            kept: None,
        };
        if held.generation != self.state.policy_generation {
            let valid_until = self.judge_again(slot, record, evidence).ok()?;
            standing.valid_until = valid_until;
            standing.valid_until_mono = held.valid_until_mono.min(FleetState::mono_at(self.now, valid_until));
            standing.kept = Some(Box::new(FleetEvent::EvidenceKept {
                slot,
                generation: self.state.policy_generation,
                valid_until,
                valid_until_mono: standing.valid_until_mono,
            }));
        }
        Some(standing)
    }

    /// Whether the worker's evidence was accepted under a former policy and does not pass under the one in force.
    pub(crate) fn is_refused(&self, slot: u32, record: &WorkerRecord) -> bool {
        record.evidence.as_ref().is_some_and(|evidence| {
            evidence.record.generation != self.state.policy_generation
                && evidence.is_in_time(self.now)
                && self.judge_again(slot, record, evidence).is_err()
        })
    }

    fn judge_again(
        &self,
        slot: u32,
        record: &WorkerRecord,
        evidence: &Evidence,
    ) -> Result<Wall, Vec<Failure>> {
        let held = &evidence.record;
        let facts = EvidenceFacts {
            worker: record.id.clone(),
            device: record.device.clone(),
            audience: self.state.policy.fleet.clone(),
            certificate: held.certificate,
            capabilities: self.state.roster.capabilities(slot).cloned().unwrap_or_default(),
            profile: Arc::clone(&evidence.profile),
            issued: held.issued,
            expires: held.expires,
            egress_expires: held.egress_expires,
            valid_until: held.valid_until,
            evidence: held.sha256,
            statements: Vec::new(),
            policy: self.state.policy.attestation.digest(),
        };
        attestation::reappraise(&facts, &self.state.policy.attestation, self.now.wall)
    }
}

/// The transitions that a change of policy means for one worker. Its evidence is kept, or it is withdrawn and
/// a lease that depends on it is revoked. Returns whether anything followed.
pub(crate) fn reappraise(context: &Context<'_>, steps: &mut Steps, slot: u32, record: &WorkerRecord) -> bool {
    let Some(evidence) = record.evidence.as_ref() else { return false };
    if evidence.record.generation == context.state.policy_generation {
        return false;
    }
    let running =
        state::held(record).filter(|held| matches!(held.stage, LeaseStage::Assigned | LeaseStage::Running));
    let standing = context.standing(slot, record);
    let end = standing.as_ref().map_or(Mono::START, |standing| standing.valid_until_mono);
    if let Some(held) = running.filter(|held| held.lease.expires > end) {
        // Invariant 3: this also applies if the evidence passes, but now ends before the lease would.
        context.take_back(steps, slot, held, LossReason::Evidence);
    }
    match standing.and_then(|standing| standing.kept) {
        Some(kept) => steps.events.push(*kept),
        None => withdraw(context, steps, slot, record),
    }
    true
}

/// Withdraws the evidence of a worker. If the evidence has not expired, an event also names the checks that
/// it fails.
pub(crate) fn withdraw(context: &Context<'_>, steps: &mut Steps, slot: u32, record: &WorkerRecord) {
    if let Some(evidence) = &record.evidence
        && evidence.record.generation != context.state.policy_generation
        && evidence.is_in_time(context.now)
        && let Err(failures) = context.judge_again(slot, record, evidence)
    {
        let failures = failures.iter().map(|failure| failure.code().as_str().to_string()).collect();
        steps.events.push(FleetEvent::EvidenceRefused { slot, failures });
    }
    steps.events.push(FleetEvent::EvidenceWithdrawn { slot });
}
