//! The other ends of a fleet: they keep what they were told, and send it back where a command leaves it out.

use std::collections::BTreeMap;

use leasehold::digest::Sha256Digest;
use leasehold::{
    fleet::{
        Acquired, Attested, CommandError, Decide, FleetEvent, Prepared, Principal, WorkerFleetManager,
        WorkerHandle,
    },
    id::{ClientId, DeviceId, RunId, SessionId},
    identity::pairing::VerifiedPairing,
    lease::{Removal, WorkerCleanupReport, WorkerLease},
    time::Now,
};
use serde::Serialize;
use serde_json::{Value, json};

use super::{Done, Rejection, pairing::Counted};

/// The fleet, and what each of its peers remembers.
pub struct Peers {
    pub fleet: WorkerFleetManager,
    pub now: Now,
    pub nonces: BTreeMap<DeviceId, Vec<u8>>,
    pub handles: BTreeMap<DeviceId, WorkerHandle>,
    pub leases: BTreeMap<DeviceId, WorkerLease>,
    pub runs: BTreeMap<RunId, WorkerLease>,
    pub approved: BTreeMap<SessionId, VerifiedPairing>,
    pub entropy: Counted,
}

impl Peers {
    pub fn new(fleet: WorkerFleetManager) -> Self {
        Self {
            fleet,
            now: Now::default(),
            nonces: BTreeMap::new(),
            handles: BTreeMap::new(),
            leases: BTreeMap::new(),
            runs: BTreeMap::new(),
            approved: BTreeMap::new(),
            entropy: Counted::default(),
        }
    }

    /// There is no disk here: what is taken lasts.
    pub fn write(&mut self) {
        if let Some(batch) = self.fleet.take_journal() {
            let _ = self.fleet.durable(batch.last);
        }
    }

    pub fn operator() -> Result<Principal, Rejection> {
        Ok(Principal::Operator(ClientId::new("operator")?))
    }

    pub fn service() -> Result<Principal, Rejection> {
        Ok(Principal::Service(ClientId::new("service")?))
    }

    /// The channel of `device`: the certificate that it is registered with, unless the command names another.
    pub fn channel(&self, device: &DeviceId, certificate: Option<Sha256Digest>) -> Principal {
        let registered =
            || self.fleet.state().devices().get(device).map(|record| record.certificate().fingerprint());
        let certificate =
            certificate.or_else(registered).unwrap_or_else(|| Sha256Digest::of(b"no certificate"));
        Principal::Device { device: device.clone(), certificate }
    }

    /// The handle that `device` was given; none fits a device that never attested.
    pub fn handle(&self, device: &DeviceId) -> WorkerHandle {
        self.handles.get(device).copied().unwrap_or(WorkerHandle { slot: u32::MAX, generation: 0 })
    }

    /// Decides, accepts, writes, and hands out.
    pub fn ask<O: Decide>(
        &mut self,
        operation: &O,
        principal: &Principal,
    ) -> Result<(Vec<FleetEvent>, O::Answer), Rejection>
    where
        O::Error: From<CommandError>,
    {
        let prepared = self.fleet.decide(operation, principal, None, self.now)?;
        self.finish(prepared)
    }

    pub fn finish<A>(&mut self, prepared: Prepared<A>) -> Result<(Vec<FleetEvent>, A), Rejection> {
        let events = prepared.events().to_vec();
        let ticket = self.fleet.accept(prepared)?;
        self.write();
        match ticket.redeem(&self.fleet) {
            Ok(released) => Ok((events, released.answer)),
            Err(_) => Err(Rejection::malformed("the answer is held")),
        }
    }

    /// As [`Self::ask`], with the answer as JSON.
    pub fn tell<O: Decide>(&mut self, operation: &O, principal: &Principal) -> Result<Done, Rejection>
    where
        O::Error: From<CommandError>,
        O::Answer: Serialize,
    {
        let (events, answer) = self.ask(operation, principal)?;
        Ok((events, json!(answer)))
    }

    /// Lets every deadline that has passed take effect.
    pub fn expire(&mut self) -> Result<Vec<FleetEvent>, Rejection> {
        let mut events = Vec::new();
        loop {
            let prepared = self.fleet.expire(self.now)?;
            let (more, answer) = self.finish(prepared)?;
            events.extend(more);
            if !answer.more {
                return Ok(events);
            }
        }
    }

    pub fn attested(&mut self, device: &DeviceId, answer: &Attested) -> Value {
        self.handles.insert(device.clone(), answer.handle);
        json!(answer)
    }

    pub fn acquired(&mut self, answer: &Acquired) -> Value {
        let lease = &answer.lease;
        self.leases.insert(lease.device.clone(), lease.clone());
        self.runs.insert(lease.terms.run.clone(), lease.clone());
        json!({"worker": lease.worker, "fence": lease.fence, "expires": lease.expires})
    }

    /// The report of an honest worker for the lease that it was given.
    pub fn clean(lease: &WorkerLease) -> WorkerCleanupReport {
        let gone = Removal { removed: 1, remaining: 0 };
        let digest = lease.digest();
        let fence = lease.fence;
        WorkerCleanupReport {
            fence,
            lease: digest,
            workspace: gone,
            artifacts: gone,
            logs: gone,
            scratch: gone,
        }
    }
}
