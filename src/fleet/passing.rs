//! What a manager does as time passes: it hears workers, and lets deadlines take effect.

use alloc::vec::Vec;

use super::{
    context::Steps,
    decide::{self, Expired},
    manager::{Prepared, WorkerFleetManager},
    operation::WorkerHandle,
    principal::Principal,
    rejection::{CommandError, HeartbeatError},
    table::Act,
};
use crate::time::{Mono, Now};

/// How many deadlines one call of `expire` takes off the wheel.
const TURN: usize = 4096;

impl WorkerFleetManager {
    /// A worker is heard. O(1), and writes nothing; where it changes something, the change is to be accepted.
    ///
    /// # Errors
    /// [`HeartbeatError`]: another device, an older incarnation, a device that is revoked.
    pub fn heartbeat(
        &mut self,
        worker: WorkerHandle,
        principal: &Principal,
        now: Now,
    ) -> Result<Option<Prepared<()>>, HeartbeatError> {
        let context = self.context(principal, now)?;
        let at = context.now;
        // Invariant 12: what was seen of this certificate is believed while nothing has changed that could revoke it.
        let (record, voucher) = match context.vouched(worker) {
            Some(_) if self.liveness.is_steady(worker, at.wall) => {
                self.liveness.hear(worker.slot, at.mono);
                return Ok(None);
            }
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
        let version = self.state.version;
        self.liveness.hear(worker.slot, at.mono);
        if let Some(until) = voucher {
            self.liveness.vouch(worker, until);
        }
        self.liveness.steady(worker.slot, steady);
        Ok(steps.map(|steps| Prepared {
            version,
            at,
            principal: principal.clone(),
            draft: steps.with_answer(()),
        }))
    }

    /// When [`Self::expire`] could have something to do. Calling it early is harmless. Cost: O(1).
    ///
    /// The answer may change after every accepted operation and every call of `expire`.
    pub fn next_deadline(&self) -> Option<Mono> {
        let nodes = self.state.nodes.next_due(&self.liveness.dispatch, self.liveness.last());
        [self.liveness.next_deadline(), nodes].into_iter().flatten().min()
    }

    /// The transitions that are due: leases that ran out, silence, evidence that is over, the steps of an act on the
    /// whole fleet; pairings and requests whose time is over, and requests that a device has credit for. At most as many as the policy allows for one call; the answer says whether more are due.
    ///
    /// # Errors
    /// [`CommandError::Halted`] and [`CommandError::Time`].
    pub fn expire(&mut self, now: Now) -> Result<Prepared<Expired>, CommandError> {
        let at = self.context(&Principal::Core, now)?.now;
        let version = self.state.version;
        if self.quiet_until.is_none() {
            self.quiet_until = Some(self.next_deadline().unwrap_or(Mono::NEVER));
        }
        if self.quiet_until.is_some_and(|until| at.mono < until) {
            self.liveness.advance(at.mono);
            let draft = Steps::default().with_answer(Expired { more: false, sweep: None });
            return Ok(Prepared { version, at, principal: Principal::Core, draft });
        }
        self.quiet_until = None;
        let more_due = self.liveness.turn(at.mono, TURN);
        let context = self.context(&Principal::Core, now)?;
        let (mut draft, visited) = decide::expire(&context);
        let nodes_more = decide::expire_nodes(&context, &mut draft.events);
        let touched = decide::touched(&draft.events);
        // Deadlines that have moved are looked at again when they come; those that are due stay until accepted.
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
        self.liveness.advance(at.mono);
        Ok(Prepared { version, at, principal: Principal::Core, draft })
    }
}
