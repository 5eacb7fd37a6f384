//! What may be asked of the registry.

use serde::Serialize;

use super::{
    certificate::DeviceCertificate,
    record::{DeviceKind, OverlapEnd},
    revocation::{RevocationReason, RevocationSubject},
    standing::StandingTerms,
};
use crate::{
    digest::Sha256Digest,
    id::{DeviceId, OrderId},
    time::Millis,
};

/// A command to the [`DeviceRegistry`](super::DeviceRegistry).
///
/// Who may give which one is for the coordinator: all are an operator's acts, except that pairing registers and
/// replaces, a device begins its own rotation, and a device revokes itself. A command cannot be deserialised.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DeviceCommand {
    /// Registers a device that is not known yet.
    Register {
        /// Its id.
        device: DeviceId,
        /// What it is.
        kind: DeviceKind,
        /// Its certificate.
        certificate: DeviceCertificate,
    },
    /// Gives a known device another certificate at once, without overlap: the device was paired anew.
    Replace {
        /// Its id.
        device: DeviceId,
        /// What it is now.
        kind: DeviceKind,
        /// Its only certificate from here on.
        certificate: DeviceCertificate,
    },
    /// Lets a second certificate authenticate beside the one in force (make before break).
    ///
    /// A rotation that is under way and whose certificate was never used is superseded, so that a device which
    /// lost the answer can ask again; the earlier deadline of the two holds.
    BeginRotation {
        /// The device.
        device: DeviceId,
        /// Its next certificate.
        next: DeviceCertificate,
        /// How long both are accepted at most.
        overlap: Millis,
        /// What happens where the next certificate is not used by then.
        at_deadline: OverlapEnd,
    },
    /// Says that a connection authenticated with this certificate. Where it is the next one of a rotation, the
    /// overlap ends and the old certificate is retired; else nothing happens.
    ConfirmUse {
        /// The certificate's fingerprint.
        fingerprint: Sha256Digest,
    },
    /// Gives up a rotation; the certificate in force stays.
    AbandonRotation {
        /// The device.
        device: DeviceId,
    },
    /// Ends the rotation of a device where its deadline has passed; else nothing happens. Authentication does
    /// not wait for this.
    Settle {
        /// The device.
        device: DeviceId,
    },
    /// Revokes a device, a certificate or a key, known or not.
    Revoke {
        /// What.
        subject: RevocationSubject,
        /// Why.
        reason: RevocationReason,
    },
    /// Revokes the device that authenticated with this certificate, at its own request.
    RevokeSelf {
        /// The certificate's fingerprint.
        fingerprint: Sha256Digest,
    },
    /// Takes a revocation back.
    ClearRevocation {
        /// Of what.
        subject: RevocationSubject,
    },
    /// Forgets a device and its certificates. Revocations of them stay.
    Remove {
        /// The device.
        device: DeviceId,
    },
    /// Lets some devices renew certificates that have expired, within
    /// [`DeviceLimits::renewal_grace`](super::DeviceLimits::renewal_grace).
    OrderRenewals {
        /// The order's name.
        order: OrderId,
        /// Which devices, how often, until when.
        terms: StandingTerms,
    },
    /// Takes such an order back.
    EndRenewals {
        /// The order's name.
        order: OrderId,
    },
    /// Begins a rotation for a device whose certificate has expired and that proved on its connection that it holds the
    /// key: as [`Self::BeginRotation`] with [`OverlapEnd::AbandonNew`], under a standing order.
    ///
    /// From a certificate that another took over from, this revokes the device, for the reason
    /// [`RevocationReason::Cloned`]: whoever has its key is not the one that went on with the next certificate, or is
    /// an old copy of it. Which of the two is the device, nobody can tell but an operator.
    Renew {
        /// The fingerprint of the certificate that the connection was made with.
        fingerprint: Sha256Digest,
        /// The device's next certificate.
        next: DeviceCertificate,
        /// How long the next certificate may go unused.
        overlap: Millis,
    },
    /// Says that somebody asked to renew with this certificate, which is one of a device's former ones. The device is
    /// revoked as for [`Self::Renew`]; no certificate need be issued to find that out.
    ReportClone {
        /// The certificate's fingerprint.
        fingerprint: Sha256Digest,
    },
}

/// What a rotation rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Basis {
    /// The certificate in force authenticates.
    Authenticated,
    /// It has expired, and may be renewed.
    Renewal,
}
