//! What a node runtime is given: bounds, names, keys. It is not in the journal.

use crate::{
    digest::Sha256Digest,
    dispatch::DispatchPolicy,
    id::FleetId,
    identity::{DeviceLimits, pairing::PairingPolicy},
    time::Millis,
};

/// The configuration of a [`NodeRuntime`](super::NodeRuntime). Every part was checked when it was built.
#[derive(Clone)]
pub struct NodeConfig {
    /// The bounds of the device registry.
    pub devices: DeviceLimits,
    /// The rules of pairing.
    pub pairing: PairingPolicy,
    /// The bounds of dispatch.
    pub dispatch: DispatchPolicy,
    /// The fleet that devices pair with.
    pub fleet: FleetId,
    /// SHA-256 of the certificate (exact DER) on the pairing port.
    pub certificate: Sha256Digest,
    /// How far the wall clock may be from the monotonic line between two records. Further, and the wall is taken
    /// from the line instead, so that a leap revives no certificate.
    pub max_wall_step: Millis,
    /// Keys the indexes of ids, which peers choose: take it from a random source, and show it to nobody.
    pub index_key: [u8; 16],
}

impl core::fmt::Debug for NodeConfig {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("NodeConfig")
            .field("devices", &self.devices)
            .field("pairing", &self.pairing)
            .field("dispatch", &self.dispatch)
            .field("fleet", &self.fleet)
            .field("certificate", &self.certificate)
            .field("max_wall_step", &self.max_wall_step)
            .finish_non_exhaustive()
    }
}
