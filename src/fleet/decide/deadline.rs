//! Applies deadlines that have passed, a bounded number in each call.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::reappraise::reappraise;
use crate::fleet::{
    condition::{Activity, HeldLease, LeaseStage, LossReason, QuarantineReason},
    context::{Context, Draft, Steps},
    event::FleetEvent,
    liveness::deadline,
    roster::WorkerRecord,
};

/// How many slots a sweep visits in one call, whether or not they need a transition.
const SWEEP_VISITS: u32 = 4096;

/// The answer of `expire`: what is left to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Expired {
    /// Whether more is due now. Call `expire` again.
    pub more: bool,
    /// The slot at which the sweep continues; `None` if no sweep is under way.
    pub(crate) sweep: Option<u32>,
}

/// Makes the transitions that are due, at most `limits.transitions_per_call` of them, and gives how many due
/// slots it looked at.
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
        // The sweep continues at the first slot that needed something, so a decision that is never accepted
        // loses nothing.
        let mut needing = None;
        while slot < end && transitions < budget {
            let Some(record) = state.roster.get(slot) else {
                slot = slot.saturating_add(1);
                continue;
            };
            // The act that began the sweep may have moved deadlines to an earlier time than they are armed
            // for. They take effect first.
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

/// Applies the deadline of one worker, if it has really passed. Returns whether it had.
fn pass(context: &Context<'_>, steps: &mut Steps, slot: u32, record: &WorkerRecord) -> bool {
    let (state, now) = (context.state, context.now.mono);
    match &record.activity {
        Activity::Leased(held) => {
            return pass_lease(context, steps, slot, held) || pass_drain(context, steps, slot, record, held);
        }
        Activity::Available => match context.leasable(slot, record) {
            Ok(_) => return false,
            Err(unfit) => context.take_out(steps, slot, record, &unfit),
        },
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
            if held.lease.granted.plus(state.policy.lease.start_ms) <= now.min(held.lease.expires) =>
        {
            let heard = context.liveness.is_heard(state, slot, now);
            let late = held.lease.granted.plus(state.policy.lease.start_ms);
            let reason = match heard {
                _ if context.liveness.stood_still_at(late, now) => LossReason::Standstill,
                true => LossReason::NotStarted,
                false => LossReason::Silent,
            };
            context.lose(steps, slot, held, reason, context.hold_until(held));
        }
        _ if expired => {
            let heard = context.liveness.is_heard(state, slot, now);
            let reason = match heard {
                _ if context.liveness.stood_still_at(held.lease.expires, now) => LossReason::Standstill,
                true => LossReason::Expired,
                false => LossReason::Silent,
            };
            context.lose(steps, slot, held, reason, context.hold_until(held));
        }
        _ => return false,
    }
    true
}

/// Revokes a lease that still runs after the deadline that an operator set for draining. Returns whether it
/// did.
fn pass_drain(
    context: &Context<'_>,
    steps: &mut Steps,
    slot: u32,
    record: &WorkerRecord,
    held: &HeldLease,
) -> bool {
    let over = record.drain_until().is_some_and(|until| until <= context.now.mono);
    let due = over && matches!(held.stage, LeaseStage::Assigned | LeaseStage::Running);
    if due {
        context.take_back(steps, slot, held, LossReason::Drained);
    }
    due
}

/// Applies an act on the whole fleet to one worker that has not taken it in yet. Returns whether anything
/// followed.
fn sweep_one(context: &Context<'_>, steps: &mut Steps, slot: u32, record: &WorkerRecord) -> bool {
    let state = context.state;
    if matches!(record.activity, Activity::Retired { .. }) {
        return false;
    }
    if record.quarantine_generation < state.roster.quarantine_generation {
        context.quarantine(steps, slot, record, QuarantineReason::Operator);
        return true;
    }
    if matches!(record.activity, Activity::Available) {
        return match context.leasable(slot, record) {
            Ok(leasable) => {
                let kept = leasable.kept.is_some();
                steps.events.extend(leasable.kept.map(|kept| *kept));
                kept
            }
            Err(unfit) => {
                context.take_out(steps, slot, record, &unfit);
                true
            }
        };
    }
    reappraise(context, steps, slot, record)
}
