//! What may be asked of trust anchors, and what happened to them.

use serde::Serialize;

use super::anchor::{Anchor, AnchorRole, Announcement, PinnedCertificate};
use crate::{digest::Sha256Digest, identity::revocation::RevocationReason, journaled::events, time::Now};

/// What may be asked of [`TrustAnchors`](super::TrustAnchors).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AnchorCommand {
    /// Accepts a certificate from here on: after pairing, or by configuration. An operator's act.
    Pin {
        /// What for.
        role: AnchorRole,
        /// Which.
        certificate: PinnedCertificate,
    },
    /// The coordinator `by` announces what takes over from it, or from an authority that is pinned. In a fleet's own
    /// anchors this is an operator's act, and `by` is the certificate that this coordinator presents: over no other
    /// channel is the announcement believed.
    Announce {
        /// On a device: the coordinator certificate of the channel that the announcement came over.
        by: Sha256Digest,
        /// What is announced.
        announcement: Announcement,
    },
    /// The coordinator `by` takes back what it has announced and nobody has used: that certificate is revoked. Where it
    /// was never heard of, nothing happens.
    Withdraw {
        /// As for [`Self::Announce`].
        by: Sha256Digest,
        /// The next one's fingerprint.
        fingerprint: Sha256Digest,
    },
    /// The certificate was used. Where it takes over from another, that one is retired; else nothing happens. In a
    /// fleet's own anchors an operator says so, once every device has moved: until then the announcement is repeated.
    ConfirmUse {
        /// The certificate's fingerprint.
        fingerprint: Sha256Digest,
    },
    /// Accepts a certificate never again, and forgets what it announced but nobody used.
    Revoke {
        /// The certificate's fingerprint.
        fingerprint: Sha256Digest,
        /// Why.
        reason: RevocationReason,
    },
}

events! {
    /// One change of [`TrustAnchors`](super::TrustAnchors).
    AnchorEvent, stored as StoredAnchorEvent;

    /// A certificate is accepted from here on.
    AnchorPinned {
        /// The anchor.
        anchor: Anchor,
    }
    /// A certificate was taken over from, or ran out, or was announced by one that is revoked.
    AnchorRetired {
        /// The certificate's fingerprint.
        fingerprint: Sha256Digest,
    }
    /// A certificate was revoked.
    AnchorRevoked {
        /// The certificate's fingerprint.
        fingerprint: Sha256Digest,
        /// Why.
        reason: RevocationReason,
        /// When.
        at: Now,
    }
}
