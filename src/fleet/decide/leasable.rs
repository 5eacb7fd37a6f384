//! Whether a worker can be leased now (invariant 4), and what takes it out of its queue if it cannot.
//!
//! A worker is in a ready queue exactly while it is available, and it is available only while it can be
//! leased. If an operation ends that, the same record takes the worker out. If time ends it, the worker is
//! taken out when its deadline comes, or by the first decision that looks at it. If an act on the whole fleet
//! ends it, the worker is taken out by the sweep, or by the first decision that looks at it.

use alloc::boxed::Box;

use super::reappraise::withdraw;
use crate::{
    fleet::{
        context::{Context, Steps},
        event::FleetEvent,
        rejection::AcquireError,
        roster::WorkerRecord,
        state::FleetState,
    },
    identity::AuthError,
    time::{Millis, Mono},
};

/// The result for a worker that can be leased.
pub(crate) struct Leasable {
    /// Until when its evidence, and the certificate to which the evidence is bound, allow a lease.
    pub(crate) until: Mono,
    /// The event that must come first, if the evidence was accepted under a former policy and passes under
    /// this one.
    pub(crate) kept: Option<Box<FleetEvent>>,
}

/// Why a worker cannot be leased.
pub(crate) enum Unfit {
    /// The worker was not heard in time.
    Silent,
    /// The evidence is missing, has expired, or does not pass under the policy in force.
    Evidence,
    /// The certificate to which the evidence is bound no longer authenticates.
    Certificate(AuthError),
    /// The evidence or its certificate ends before the fleet's shortest lease would.
    Short(Millis),
}

impl Unfit {
    /// The rejection of a request that names the worker.
    pub(crate) fn refusal(self, wanted: Millis) -> AcquireError {
        match self {
            Self::Silent => AcquireError::NotHeard,
            Self::Evidence => AcquireError::Evidence,
            Self::Certificate(error) => AcquireError::Device(error),
            Self::Short(left) => AcquireError::TooShort { left, wanted },
        }
    }
}

impl Context<'_> {
    /// Whether the idle worker in `slot` can be leased.
    pub(crate) fn leasable(&self, slot: u32, record: &WorkerRecord) -> Result<Leasable, Unfit> {
        if !self.liveness.is_heard(self.state, slot, self.now.mono) {
            return Err(Unfit::Silent);
        }
        self.attested(slot, record)
    }

    /// The same as [`Self::leasable`], for a worker that is heard at this instant.
    pub(crate) fn attested(&self, slot: u32, record: &WorkerRecord) -> Result<Leasable, Unfit> {
        let leasable = self.holder_until(slot, record)?;
        let left = leasable.until.since(self.now.mono);
        if left < self.state.policy.lease.ttl_min_ms { Err(Unfit::Short(left)) } else { Ok(leasable) }
    }

    /// Until when the evidence of the worker in `slot`, and the certificate to which it is bound, allow a
    /// lease.
    pub(crate) fn holder_until(&self, slot: u32, record: &WorkerRecord) -> Result<Leasable, Unfit> {
        let now = self.now;
        let evidence = self.standing(slot, record).ok_or(Unfit::Evidence)?;
        let certificate = self.certificate_ends(slot, evidence.certificate).map_err(Unfit::Certificate)?;
        let until = FleetState::mono_at(now, evidence.valid_until)
            .min(evidence.valid_until_mono)
            .min(evidence.certificate_until_mono)
            .min(certificate);
        Ok(Leasable { until, kept: evidence.kept })
    }

    /// Takes an available worker that cannot be leased out of its queue. The coordinator then asks it for
    /// what is missing.
    pub(crate) fn take_out(&self, steps: &mut Steps, slot: u32, record: &WorkerRecord, unfit: &Unfit) {
        match unfit {
            Unfit::Silent => steps.events.push(FleetEvent::WorkerSilent { slot }),
            Unfit::Evidence => withdraw(self, steps, slot, record),
            Unfit::Certificate(_) | Unfit::Short(_) => {
                steps.events.push(FleetEvent::EvidenceWithdrawn { slot });
            }
        }
    }
}
