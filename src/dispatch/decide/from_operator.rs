//! Orders of operators: grants, standing and removal of devices.

use alloc::{vec, vec::Vec};

use crate::{
    capability::CapabilitySet,
    dispatch::{
        device::Device,
        error::DispatchError,
        event::{DeviceStanding, DisconnectReason, DispatchEvent},
        message::DispatchCommand,
        payload::Payload,
        record::{RejectReason, RequestState},
        state::DispatchState,
    },
    id::{DeviceId, RequestId},
    time::{Mono, Now},
};

use super::Decision;

impl DispatchState {
    /// Decides an order of an operator. An order that changes nothing is accepted.
    ///
    /// # Errors
    /// [`DispatchError`]: there is no such device or request, there is no room for another device, or the
    /// removal would lose open requests or end a quarantine or revocation.
    /// something.
    pub fn decide_operator(&self, now: Now, order: &DispatchCommand) -> Result<Decision<()>, DispatchError> {
        let at = self.at(now);
        let events = match order {
            DispatchCommand::Grant { device, capabilities } => self.grant(at, device, capabilities)?,
            DispatchCommand::Drain { device } => self.stand(at, device, |s| s.draining = true)?,
            DispatchCommand::Undrain { device } => self.stand(at, device, |s| s.draining = false)?,
            DispatchCommand::Quarantine { device } => self.stand(at, device, |s| s.quarantined = true)?,
            DispatchCommand::Release { device } => self.stand(at, device, |s| s.quarantined = false)?,
            DispatchCommand::Revoke { device } => self.stand(at, device, |s| s.revoked = true)?,
            DispatchCommand::Reinstate { device } => self.stand(at, device, |s| s.revoked = false)?,
            DispatchCommand::Remove { device } => self.remove(device)?,
            DispatchCommand::Cancel { request } => return self.cancel_any(now, request),
        };
        Ok(self.decided(events, ()))
    }

    fn cancel_any(&self, now: Now, request: &RequestId) -> Result<Decision<()>, DispatchError> {
        self.stop(now, self.record(request).ok_or(DispatchError::RequestUnknown)?)
    }

    fn known(&self, device: &DeviceId) -> Result<&Device, DispatchError> {
        self.devices.get_by(device.as_str().as_bytes()).ok_or(DispatchError::DeviceUnknown)
    }

    /// Ends the open requests of `device`, except those for capabilities in `keep`. Its queue and its window
    /// bound their number.
    fn reject(
        &self,
        device: &Device,
        at: Mono,
        reason: RejectReason,
        keep: &CapabilitySet,
    ) -> Vec<DispatchEvent> {
        device
            .open(&self.requests)
            .filter(|record| !keep.contains(&record.capability))
            .map(|record| self.ended(record, RequestState::Rejected(reason), Payload::default(), at))
            .collect()
    }

    fn grant(
        &self,
        at: Mono,
        device: &DeviceId,
        capabilities: &CapabilitySet,
    ) -> Result<Vec<DispatchEvent>, DispatchError> {
        let granted =
            DispatchEvent::DeviceGranted { device: device.clone(), capabilities: capabilities.clone() };
        let Ok(known) = self.known(device) else {
            let most = usize::try_from(self.policy.bounds().max_devices).unwrap_or(usize::MAX);
            if self.devices.len() >= most {
                return Err(DispatchError::DevicesFull);
            }
            return Ok(vec![granted]);
        };
        if known.grants == *capabilities {
            return Ok(Vec::new());
        }
        // Requests for a withdrawn capability end at once, even if the device runs them.
        let mut events = self.reject(known, at, RejectReason::CapabilityWithdrawn, capabilities);
        events.push(granted);
        Ok(events)
    }

    fn stand(
        &self,
        at: Mono,
        device: &DeviceId,
        change: impl FnOnce(&mut DeviceStanding),
    ) -> Result<Vec<DispatchEvent>, DispatchError> {
        let known = self.known(device)?;
        let mut standing = known.standing;
        change(&mut standing);
        if standing == known.standing {
            return Ok(Vec::new());
        }
        let mut events = Vec::new();
        if standing.revoked && !known.standing.revoked {
            events = self.expelled(known, at, RejectReason::DeviceRevoked);
        } else if standing.quarantined && !known.standing.quarantined {
            events = self.reject(known, at, RejectReason::DeviceQuarantined, &CapabilitySet::default());
        }
        events.push(DispatchEvent::DeviceStands { device: device.clone(), standing });
        Ok(events)
    }

    /// Rejects every open request of `device` and closes its stream.
    fn expelled(&self, device: &Device, at: Mono, reason: RejectReason) -> Vec<DispatchEvent> {
        let mut events = self.reject(device, at, reason, &CapabilitySet::default());
        if device.session.is_some() {
            let device = device.id.clone();
            let reason = match reason {
                RejectReason::DeviceRevoked => DisconnectReason::Revoked,
                _ => DisconnectReason::Replaced,
            };
            events.push(DispatchEvent::DeviceDisconnected { device, reason });
        }
        events
    }

    /// What an act of the device registry means for dispatch. A device that is unknown here has nothing to
    /// lose.
    ///
    /// # Errors
    /// [`DispatchError::Quarantined`] if a quarantined device would be removed.
    pub(crate) fn expel(
        &self,
        now: Now,
        device: &DeviceId,
        reason: RejectReason,
    ) -> Result<Decision<()>, DispatchError> {
        let Ok(known) = self.known(device) else { return Ok(self.decided(Vec::new(), ())) };
        let mut events = self.expelled(known, self.at(now), reason);
        match reason {
            RejectReason::DeviceReplaced => {
                events.push(DispatchEvent::DeviceReset { device: device.clone() })
            }
            RejectReason::DeviceRemoved if known.standing.quarantined => {
                return Err(DispatchError::Quarantined);
            }
            RejectReason::DeviceRemoved => {
                events.push(DispatchEvent::DeviceRemoved { device: device.clone() });
            }
            _ => {}
        }
        Ok(self.decided(events, ()))
    }

    fn remove(&self, device: &DeviceId) -> Result<Vec<DispatchEvent>, DispatchError> {
        let known = self.known(device)?;
        // Removing a device that is not trusted would end its quarantine or revocation.
        if known.standing.revoked {
            return Err(DispatchError::Revoked);
        }
        if known.standing.quarantined {
            return Err(DispatchError::Quarantined);
        }
        if known.session.is_some() || known.is_busy() {
            return Err(DispatchError::DeviceBusy);
        }
        Ok(vec![DispatchEvent::DeviceRemoved { device: device.clone() }])
    }
}
