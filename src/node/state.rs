//! `NodeRuntimeState`: registry, pairing sessions and dispatch as one state.

use crate::{
    dispatch::{DispatchLiveness, DispatchPolicy, DispatchState},
    identity::{
        DeviceLimits, DeviceRegistry, RevocationSubject, TrustAnchors,
        pairing::{PairingPolicy, PairingState},
    },
    time::Mono,
};

/// Who is known, who is pairing, and what they are asked for. It changes only through the fleet's events.
///
/// A fleet that dispatches nothing pays nothing for dispatch: a device is in it from its first grant on.
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

    /// Who is known, and what is revoked.
    pub const fn registry(&self) -> &DeviceRegistry {
        &self.registry
    }

    /// What the coordinator has announced to follow its certificate, and the authorities that its host chains to.
    pub const fn anchors(&self) -> &TrustAnchors {
        &self.anchors
    }

    /// The pairing sessions.
    pub const fn pairing(&self) -> &PairingState {
        &self.pairing
    }

    /// The devices' requests, grants and streams.
    pub const fn dispatch(&self) -> &DispatchState {
        &self.dispatch
    }

    /// Puts other bounds in force. They hold what is there: [`Self::fits`] was asked.
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

    /// Whether what is there fits into other bounds; the name of the first bound that it does not.
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

    /// When time brings something here, if nothing else happens; `now` where something waits to be handed over.
    pub(crate) fn next_due(&self, live: &DispatchLiveness, now: Mono) -> Option<Mono> {
        let sends = self.dispatch.waits_to_be_sent().then_some(now);
        [sends, self.dispatch.next_due(live), self.pairing.next_deadline()].into_iter().flatten().min()
    }

    /// What ties the parts together: dispatch knows registered devices only, and a device is revoked in both or in
    /// neither. Cost: O(devices of dispatch).
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
