//! Is this peer the device that it says it is?
//!
//! [`DeviceRegistry`] maps a device to its certificates and keys, rotates them with overlap, and refuses what
//! was revoked. It is a functional core: [`DeviceCommand`] -> [`DeviceRegistry::decide`] -> [`DeviceEvent`].
//! [`pairing`] is how a device gets in; [`TrustAnchors`] are the other direction, from a device to its coordinators.
//!
//! The trust boundary: this crate speaks no TLS. It believes its host that the certificate it is shown was
//! really presented, with proof of its key, on the connection in question. A TLS library does not call its
//! certificate verifier when a session is resumed (RFC 8446 section 2.2), so the host asks
//! [`DeviceRegistry::authenticate`] for every accepted connection, and again on open ones when
//! [`DeviceRegistry::generation`] has grown.

mod anchors;
mod authenticate;
mod certificate;
mod command;
mod decide;
mod der;
mod error;
mod event;
mod limits;
pub mod pairing;
mod record;
mod registry;
mod renewal;
mod revocation;
mod snapshot;
mod standing;
#[cfg(test)]
mod tests;

pub use anchors::{
    Anchor, AnchorCommand, AnchorError, AnchorEvent, AnchorRole, Announcement, MAX_ANCHORS, MAX_REVOKED,
    PinnedCertificate, TrustAnchors,
};
pub use authenticate::{AuthError, AuthenticatedDevice};
pub use certificate::{
    CertificateError, DEFAULT_CERTIFICATE_BYTES, DeviceCertificate, MAX_CERTIFICATE_BYTES, request_algorithm,
    request_key,
};
pub use command::DeviceCommand;
pub use der::{DerError, DerErrorKind};
pub use error::{DeviceError, RestoreError};
pub use event::{DeviceEvent, RotationEnd};
pub use limits::{DeviceLimits, DeviceLimitsError};
pub use record::{DeviceKind, DeviceRecord, OverlapEnd, Rotation};
pub use registry::DeviceRegistry;
pub use renewal::Renewable;
pub use revocation::{Revocation, RevocationReason, RevocationSubject};
pub use standing::{MAX_ORDERS, NamePattern, OrderError, StandingOrder, StandingTerms};

pub(crate) use {
    anchors::StoredAnchorEvent,
    event::StoredDeviceEvent,
    snapshot::{DeviceRegistryHead, DeviceRegistryLoader, StoredDevice},
};
