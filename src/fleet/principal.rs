//! Who asks for an operation. The shell names the principal after it has authenticated the peer; the record
//! keeps it.

use serde::{Deserialize, Serialize};

use crate::{
    digest::Sha256Digest,
    id::{ClientId, DeviceId},
};

/// The party that asks for an operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Principal {
    /// A device, authenticated by its certificate on this connection.
    Device {
        /// The device.
        device: DeviceId,
        /// SHA-256 of the certificate with which the connection was made.
        certificate: Sha256Digest,
    },
    /// A service that uses the fleet.
    Service(ClientId),
    /// A person with the rights of an operator.
    Operator(ClientId),
    /// A peer that is pairing and is not authenticated.
    Stranger,
    /// The core itself, for deadlines and recovery.
    Core,
}

impl Principal {
    /// What kind of party this is, and its id where it has one: for logs.
    pub(crate) fn named(&self) -> (&'static str, &str) {
        match self {
            Self::Device { device, .. } => ("device", device.as_str()),
            Self::Service(client) => ("service", client.as_str()),
            Self::Operator(client) => ("operator", client.as_str()),
            Self::Stranger => ("stranger", ""),
            Self::Core => ("core", ""),
        }
    }
}

/// A client's own number for an operation. A repeat gets the answer of the first time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommandId {
    /// The client's session.
    pub client: ClientId,
    /// The number of the operation, which grows within the session.
    pub sequence: u64,
}
