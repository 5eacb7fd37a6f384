//! Deadlines that have passed, a bounded number at a time.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::reappraise::reappraise;
use crate::fleet::{
    condition::{Activity, HeldLease, LeaseStage, LossReason, QuarantineReason},
    context::{Context, Draft, Steps},
    event::FleetEvent,
    liveness::deadline,
    roster::WorkerRecord,
    state::FleetState,
};

/// How many slots a sweep visits in one call, whether they need a transition or not.
const SWEEP_VISITS: u32 = 4096;

/// What a call of `expire` left to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Expired {
    /// More is due now: call again.
    pub more: bool,
    /// Where the sweep goes on, while one is under way.
    pub(crate) sweep: Option<u32>,
}

/// The transitions that are due, at most as many as the policy allows for one call; and how many slots were looked at
/// for them.
pub(crate) fn expire(context: &Context<'_>) -> (Draft<Expired>, usize) {
    let state = context.state;
    let budget = usize::try_from(state.policy.limits.transitions_per_call).unwrap_or(usize::MAX);
    let mut steps = Steps::default();
    let mut transitions = 0_usize;
    let mut visited = 0_usize;
    let mut more = false;
    for slot in context.liveness.due() {
        if transitions >= budget {
            more = true;
            break;
        }
        visited = visited.saturating_add(1);
        let Some(record) = state.roster.get(slot) else { continue };
        if pass(context, &mut steps, slot, record) {
            transitions = transitions.saturating_add(1);
        }
    }
    let mut sweep = context.liveness.sweep();
    if let Some(first) = sweep {
        let end = first.saturating_add(SWEEP_VISITS).min(state.roster.slots());
        let touched = touched(&steps.events);
        let mut slot = first;
        // Where the sweep goes on: at the first slot that needs something, so that a decision that is never accepted
        // loses nothing.
        let mut needing = None;
        while slot < end && transitions < budget {
            let Some(record) = state.roster.get(slot) else {
                slot = slot.saturating_add(1);
                continue;
            };
            // What began the sweep may have brought deadlines nearer than they were armed for: they come first.
            let due = deadline(state, record, context.liveness.heard(slot)) <= context.now.mono;
            if touched.binary_search(&slot).is_ok() {
                needing.get_or_insert(slot);
            } else if due && pass(context, &mut steps, slot, record)
                || sweep_one(context, &mut steps, slot, record)
            {
                needing.get_or_insert(slot);
                transitions = transitions.saturating_add(1);
            }
            slot = slot.saturating_add(1);
        }
        let next = needing.unwrap_or(slot);
        sweep = (next < state.roster.slots()).then_some(next);
        more |= sweep.is_some();
    }
    (steps.with_answer(Expired { more, sweep }), visited)
}

/// The slots that `events` are about, sorted.
pub(crate) fn touched(events: &[FleetEvent]) -> Vec<u32> {
    let mut slots: Vec<u32> = events.iter().filter_map(FleetEvent::slot).collect();
    slots.sort_unstable();
    slots
}

/// The deadline of one worker, where it really has passed.
fn pass(context: &Context<'_>, steps: &mut Steps, slot: u32, record: &WorkerRecord) -> bool {
    let (state, now) = (context.state, context.now.mono);
    match &record.activity {
        Activity::Leased(held) => return pass_lease(context, steps, slot, held),
        Activity::Available if !context.liveness.is_heard(state, slot, now) => {
            steps.events.push(FleetEvent::WorkerSilent { slot });
        }
        Activity::Available if !FleetState::evidence_in_time(record, context.now) => {
            steps.events.push(FleetEvent::EvidenceWithdrawn { slot });
        }
        Activity::Retired { since } if since.plus(state.policy.limits.retired_memory_ms) <= now => {
            steps.events.push(FleetEvent::WorkerForgotten { slot });
        }
        _ => return false,
    }
    true
}

fn pass_lease(context: &Context<'_>, steps: &mut Steps, slot: u32, held: &HeldLease) -> bool {
    let (state, now) = (context.state, context.now.mono);
    let expired = !held.lease.is_live(now);
    match (held.stage, held.revoked) {
        (LeaseStage::Revoking, Some((_, acknowledge_by))) if acknowledge_by <= now => {
            context.lose(steps, slot, held, LossReason::NotAcknowledged, context.hold_until(held));
            steps.events.push(FleetEvent::Quarantined { slot, reason: QuarantineReason::NotAcknowledged });
        }
        (LeaseStage::Revoking, _) => return false,
        (LeaseStage::Assigned, _)
            if held.lease.granted.plus(state.policy.lease.start_ms) <= now || expired =>
        {
            let heard = context.liveness.is_heard(state, slot, now);
            let reason = if heard { LossReason::NotStarted } else { LossReason::Silent };
            context.lose(steps, slot, held, reason, context.hold_until(held));
        }
        _ if expired => {
            let heard = context.liveness.is_heard(state, slot, now);
            let reason = if heard { LossReason::Expired } else { LossReason::Silent };
            context.lose(steps, slot, held, reason, context.hold_until(held));
        }
        _ => return false,
    }
    true
}

/// What an act on the whole fleet means for one worker that has not taken it in.
fn sweep_one(context: &Context<'_>, steps: &mut Steps, slot: u32, record: &WorkerRecord) -> bool {
    let state = context.state;
    if matches!(record.activity, Activity::Retired { .. }) {
        return false;
    }
    if record.quarantine_generation < state.roster.quarantine_generation {
        context.quarantine(steps, slot, record, QuarantineReason::Operator);
        return true;
    }
    if reappraise(context, steps, slot, record) {
        return true;
    }
    if matches!(record.activity, Activity::Available) && !FleetState::evidence_in_time(record, context.now) {
        steps.events.push(FleetEvent::EvidenceWithdrawn { slot });
        return true;
    }
    false
}
