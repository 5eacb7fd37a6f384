//! Evidence that was accepted under a former policy, judged under the one in force: by the sweep that follows a change of
//! policy, and before that wherever something is about to hang on it.

use alloc::{string::ToString, sync::Arc, vec::Vec};

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

/// Evidence that is in force here and now.
pub(crate) struct Standing {
    /// Until when, on the wall.
    pub(crate) valid_until: Wall,
    /// Until when, on the fleet's line.
    pub(crate) valid_until_mono: Mono,
    /// The worker's certificate, which the evidence is bound to.
    pub(crate) certificate: crate::digest::Sha256Digest,
    /// When that certificate is over, on the fleet's line.
    pub(crate) certificate_until_mono: Mono,
    /// What has to happen first: it was accepted under a former policy, and passes under this one.
    pub(crate) kept: Option<FleetEvent>,
}

impl Context<'_> {
    /// How the evidence of the worker in `slot` stands under the policy in force. `None` where there is none, its time is
    /// over, or it does not pass (invariant 4).
    ///
    /// Cost: O(1); after a change of policy, until the sweep has come by, that of judging the evidence again.
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
            standing.kept = Some(FleetEvent::EvidenceKept {
                slot,
                generation: self.state.policy_generation,
                valid_until,
                valid_until_mono: standing.valid_until_mono,
            });
        }
        Some(standing)
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
            policy: self.state.policy.attestation.digest(),
        };
        attestation::reappraise(&facts, &self.state.policy.attestation, self.now.wall)
    }
}

/// The transitions that follow a change of policy for one worker: its evidence is kept, or it is withdrawn and a lease
/// that runs on it is taken back. False where nothing follows.
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
        // Invariant 3: also where the evidence passes, and its end has come so near that the lease would outlive it.
        context.take_back(steps, slot, held, LossReason::Evidence);
    }
    match standing.and_then(|standing| standing.kept) {
        Some(kept) => steps.events.push(kept),
        None => {
            if FleetState::evidence_in_time(record, context.now)
                && let Err(failures) = context.judge_again(slot, record, evidence)
            {
                let failures = failures.iter().map(|failure| failure.code().as_str().to_string()).collect();
                steps.events.push(FleetEvent::EvidenceRefused { slot, failures });
            }
            steps.events.push(FleetEvent::EvidenceWithdrawn { slot });
        }
    }
    true
}
