//! What every device is told of the certificates that take over from those which it has pinned.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::{
    digest::Sha256Digest,
    identity::{AnchorRole, Announcement, TrustAnchors},
};

/// What a coordinator has announced and not withdrawn, and what it accepts never again. Sent after the welcome where
/// there is something to say, and at once when that changes. It says all of it every time, so nothing is missed.
///
/// Devices believe it as far as the channel goes that it came over: see [`AnchorCommand`](crate::identity::AnchorCommand).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnchorNotice {
    /// What takes over from what.
    pub announced: Vec<Announcement>,
    /// What was taken back: SHA-256 of the exact DER of each.
    pub withdrawn: Vec<Sha256Digest>,
}

impl AnchorNotice {
    /// What a coordinator that presents `own` has to say, where it has to say something.
    pub(crate) fn of(anchors: &TrustAnchors, own: Sha256Digest) -> Option<Self> {
        // A coordinator that presents another certificate by now cannot speak for this one any more.
        let speaks_for = |told: &Announcement| told.role != AnchorRole::Coordinator || told.succeeds == own;
        let announced: Vec<_> = anchors.announced().filter(speaks_for).collect();
        let withdrawn: Vec<_> =
            anchors.revoked().map(|(fingerprint, _)| *fingerprint).filter(|it| *it != own).collect();
        (!announced.is_empty() || !withdrawn.is_empty()).then_some(Self { announced, withdrawn })
    }
}
