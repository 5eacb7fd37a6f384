//! Who asks. The shell says so after it has authenticated the peer; the answer stays in the event.

use serde::{Deserialize, Serialize};

use crate::{
    digest::Sha256Digest,
    id::{ClientId, DeviceId},
};

/// The party behind an operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Principal {
    /// A device, authenticated by its certificate on this very connection.
    Device {
        /// The device.
        device: DeviceId,
        /// SHA-256 of the certificate that the connection was made with.
        certificate: Sha256Digest,
    },
    /// A service of this fleet.
    Service(ClientId),
    /// A person with an operator's rights.
    Operator(ClientId),
    /// A peer that is pairing, and has proved nothing before.
    Stranger,
    /// The core itself: a deadline that passed, a recovery.
    Core,
}

/// A client's own number for an operation. Repeating it gives the first answer again.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommandId {
    /// The client's session.
    pub client: ClientId,
    /// Counts up within the session.
    pub sequence: u64,
}
