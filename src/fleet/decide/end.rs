//! The end of a lease, as one function of what is in force now (invariant 3). It is computed when a lease is
//! granted or renewed, and whenever fresh evidence, a rotation or another policy may have moved it.

use alloc::boxed::Box;

use super::leasable::Unfit;
use crate::{
    fleet::{
        condition::{HeldLease, LeaseStage},
        context::{Context, Steps},
        effect::Effect,
        event::FleetEvent,
        roster::WorkerRecord,
        state::FleetState,
    },
    lease::WorkerLease,
    time::{Mono, Wall},
};

impl Context<'_> {
    /// The bound of a lease, whichever worker holds it: `lease.longest_ms` after the grant, and the expiry of
    /// the run's grant. The expiry is a date and is judged on the wall clock, as all dates are.
    pub(crate) fn lease_bound(&self, granted: Mono, grant_expires: Wall) -> Mono {
        granted.plus(self.state.policy.lease.longest_ms).min(FleetState::mono_at(self.now, grant_expires))
    }

    /// The instant that no renewal of the lease of the worker in `slot` can pass. The event must come first
    /// if it is present: the worker's evidence was accepted under a former policy and passes under this one.
    pub(crate) fn lease_end(
        &self,
        slot: u32,
        record: &WorkerRecord,
        lease: &WorkerLease,
    ) -> Result<(Mono, Option<Box<FleetEvent>>), Unfit> {
        let holder = self.holder_until(slot, record)?;
        Ok((self.lease_bound(lease.granted, lease.terms.grant_expires).min(holder.until), holder.kept))
    }

    /// Shortens a lease that is assigned or running so that it ends at `end`, if it would last longer. Its
    /// run stays held for as long as before.
    pub(crate) fn keep_within(&self, steps: &mut Steps, slot: u32, held: &HeldLease, end: Mono) {
        let runs = matches!(held.stage, LeaseStage::Assigned | LeaseStage::Running);
        if runs && held.lease.expires > end {
            let mut lease = held.lease.clone();
            lease.bound(end, end);
            steps.events.push(FleetEvent::LeaseBounded {
                slot,
                fence: lease.fence,
                expires: end,
                horizon: end,
            });
            steps.effects.push(Effect::LeaseLive { lease });
        }
    }
}
