//! `NodeRuntimeState`: registry, pairing sessions and dispatch as one state.

use crate::{
    dispatch::{DispatchLiveness, DispatchPolicy, DispatchState},
    identity::{
        DeviceLimits, DeviceRegistry, RevocationSubject, TrustAnchors,
        pairing::{PairingPolicy, PairingState},
    },
    time::Mono,
};

/// The known devices, the pairing sessions, and the requests to devices. It changes only through the fleet's
/// events.
///
/// A device takes part in dispatch from its first grant, so a fleet that dispatches nothing pays nothing for
/// dispatch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeRuntimeState {
    pub(crate) registry: DeviceRegistry,
    pub(crate) anchors: TrustAnchors,
    pub(crate) pairing: PairingState,
    pub(crate) dispatch: DispatchState,
}

impl NodeRuntimeState {
    pub(crate) fn new(
        devices: DeviceLimits,
        pairing: PairingPolicy,
        dispatch: DispatchPolicy,
        index_key: [u8; 16],
    ) -> Self {
        Self {
            registry: DeviceRegistry::new(devices, index_key),
            anchors: TrustAnchors::new(),
            pairing: PairingState::new(pairing),
            dispatch: DispatchState::new(dispatch, index_key),
        }
    }

    /// The known devices, and what is revoked.
    pub const fn registry(&self) -> &DeviceRegistry {
        &self.registry
    }

    /// The certificate that the coordinator has announced to follow its present one, and the authorities to
    /// which its host chains device certificates.
    pub const fn anchors(&self) -> &TrustAnchors {
        &self.anchors
    }

    /// The pairing sessions.
    pub const fn pairing(&self) -> &PairingState {
        &self.pairing
    }

    /// The requests, grants and streams of the devices.
    pub const fn dispatch(&self) -> &DispatchState {
        &self.dispatch
    }

    /// Applies other bounds, after [`Self::fits`] has accepted them.
    pub(crate) fn set_policy(
        &mut self,
        devices: DeviceLimits,
        pairing: PairingPolicy,
        dispatch: DispatchPolicy,
    ) {
        self.registry.set_limits(devices);
        self.pairing.set_policy(pairing);
        self.dispatch.set_policy(dispatch);
    }

    /// Checks whether the content fits into other bounds. The error names the first bound that it exceeds.
    pub(crate) fn fits(
        &self,
        devices: DeviceLimits,
        pairing: &PairingPolicy,
        dispatch: &DispatchPolicy,
    ) -> Result<(), &'static str> {
        self.registry.fits(devices)?;
        self.pairing.fits(pairing)?;
        self.dispatch.fits(dispatch)
    }

    /// The earliest instant at which time changes something here; `now` if a request waits to be handed over.
    pub(crate) fn next_due(&self, live: &DispatchLiveness, now: Mono) -> Option<Mono> {
        let sends = self.dispatch.waits_to_be_sent().then_some(now);
        let parts = [
            sends,
            self.dispatch.next_due(live),
            self.pairing.next_deadline(),
            self.registry.next_deadline(),
        ];
        parts.into_iter().flatten().min()
    }

    /// Checks what ties the parts together: dispatch knows only registered devices, and a device is revoked
    /// in both parts or in neither. Cost: O(devices of dispatch).
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        for (device, revoked) in self.dispatch.standings() {
            if self.registry.get(device).is_none() {
                return Err("dispatch knows a device that is not registered");
            }
            if revoked != self.registry.revocation(&RevocationSubject::Device(device.clone())).is_some() {
                return Err("a revocation is in one part and not in the other");
            }
        }
        Ok(())
    }
}
