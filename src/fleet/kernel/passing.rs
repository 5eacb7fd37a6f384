//! What a kernel does as time passes: it notes heartbeats and applies deadlines.

use alloc::vec::Vec;

use super::{Kernel, Prepared};
use crate::{
    fleet::{
        command_rejection::CommandError,
        context::Steps,
        decide::{self, Expired},
        operation::WorkerHandle,
        principal::Principal,
        rejection::HeartbeatError,
        setup::Setup,
        table::Act,
    },
    time::{Mono, Now},
};

/// How many deadlines one call of `expire` takes off the wheel.
const TURN: usize = 4096;

impl Kernel {
    /// Notes a worker's heartbeat. If the heartbeat changes the worker's condition, the returned decision
    /// must be accepted; otherwise nothing is written. Cost: O(1).
    ///
    /// # Errors
    /// [`HeartbeatError`]: the worker belongs to another device, the handle is of an older incarnation, or
    /// the device is revoked.
    pub fn heartbeat(
        &mut self,
        setup: &Setup,
        worker: WorkerHandle,
        principal: &Principal,
        now: Now,
    ) -> Result<Option<Prepared<()>>, HeartbeatError> {
        let context = self.context(setup, principal, now)?;
        let at = context.now;
        // Invariant 12: an earlier check of this certificate is relied on until something changes that could
        // revoke it.
        if context.vouched(worker).is_some() && self.liveness.hear_steady(worker.slot, at.mono) {
            return Ok(None);
        }
        let context = self.context(setup, principal, now)?;
        let (record, voucher) = match context.vouched(worker) {
            Some(record) => (record, None),
            None => {
                let (device, authenticated) = context.device()?;
                let record = context.worker(worker, device)?;
                (record, context.voucher(record, &authenticated))
            }
        };
        context.admit(Act::Heartbeat, record)?;
        let steps = decide::heard(&context, worker.slot, record);
        let steady = steps.is_none() && decide::is_steady(record);
        let behind = self.last();
        self.liveness.hear(worker.slot, at.mono);
        if let Some(until) = voucher {
            self.liveness.vouch(worker, until);
        }
        self.liveness.steady(worker.slot, steady);
        Ok(steps.map(|steps| Prepared {
            behind,
            at,
            principal: principal.clone(),
            draft: steps.with_answer(()),
        }))
    }

    /// The earliest instant at which [`Self::expire`] may have something to do. Calling it early is harmless.
    /// Cost: O(1).
    ///
    /// The answer may change after every accepted operation and every call of `expire`.
    pub fn next_deadline(&self) -> Option<Mono> {
        let nodes = self.state.nodes.next_due(&self.liveness.dispatch, self.liveness.last());
        [self.liveness.next_deadline(), nodes].into_iter().flatten().min()
    }

    /// Decides the transitions that are due: leases that expired, workers that fell silent, evidence that
    /// ended, the next steps of an act on the whole fleet, pairings and requests whose time has passed, and
    /// requests that a device has credit for. One call makes at most `limits.transitions_per_call`
    /// transitions of workers; the answer says whether more are due.
    ///
    /// # Errors
    /// [`CommandError::Halted`] and [`CommandError::Time`].
    pub fn expire(&mut self, setup: &Setup, now: Now) -> Result<Prepared<Expired>, CommandError> {
        let at = self.context(setup, &Principal::Core, now)?.now;
        let behind = self.last();
        self.liveness.advance(at.mono);
        if self.quiet_until.is_none() {
            self.quiet_until = Some(self.next_deadline().unwrap_or(Mono::NEVER));
        }
        if self.quiet_until.is_some_and(|until| at.mono < until) {
            let draft = Steps::default().with_answer(Expired { more: false, sweep: None });
            return Ok(Prepared { behind, at, principal: Principal::Core, draft });
        }
        self.quiet_until = None;
        let more_due = self.liveness.turn(at.mono, TURN);
        let context = self.context(setup, &Principal::Core, now)?;
        let (mut draft, visited) = decide::expire(&context);
        let nodes_more = decide::expire_nodes(&context, &mut draft.events, &mut draft.effects);
        let touched = decide::touched(&draft.events);
        // Deadlines that have moved are armed again. Workers with a transition stay due until the decision is
        // accepted.
        let passed = self.liveness.due().take(visited).filter(|slot| touched.binary_search(slot).is_err());
        for slot in passed.collect::<Vec<u32>>() {
            self.liveness.arm(&self.state, slot, at.mono);
        }
        if let Some(first) = self.liveness.sweep() {
            for slot in first..draft.answer.sweep.unwrap_or(self.state.roster.slots()) {
                self.liveness.arm(&self.state, slot, at.mono);
                draft.answer.more |= self.liveness.is_due(slot, at.mono);
            }
        }
        self.liveness.set_sweep(draft.answer.sweep);
        draft.answer.more |= more_due || nodes_more;
        Ok(Prepared { behind, at, principal: Principal::Core, draft })
    }
}
