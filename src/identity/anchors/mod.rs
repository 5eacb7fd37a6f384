//! The other direction: which coordinators and authorities a device, or a coordinator's own fleet, accepts.
//!
//! The same shape as the registry: commands, pure decisions, events. A device pins the coordinator's certificate when it
//! pairs. A coordinator that changes its certificate announces the next one over a channel that the present one
//! authenticated, and both are accepted until the next one was used. The fleet keeps anchors of its own: what it has
//! announced, so that every device that comes is told, and the authorities that its host's TLS library chains to.

mod anchor;
mod command;
mod decide;
mod error;
mod stored;
#[cfg(test)]
mod tests;

use alloc::collections::BTreeMap;

pub(crate) use command::StoredAnchorEvent;
pub use {
    anchor::{Anchor, AnchorRole, Announcement, PinnedCertificate},
    command::{AnchorCommand, AnchorEvent},
    error::AnchorError,
};

use super::{
    authenticate::AuthError,
    revocation::{Revocation, RevocationSubject},
};
use crate::{digest::Sha256Digest, time::Now};

/// The most anchors of one role.
pub const MAX_ANCHORS: usize = 8;

/// The most anchors and revocations together: room to revoke every anchor stays free.
pub const MAX_REVOKED: usize = 64;

/// Pinned coordinators and authorities: bounded, replayable. Nothing pinned accepts nothing.
///
/// They serialise, for a device that keeps them over a restart, and load only whole: without what was revoked, or with
/// more than their bounds, they do not.
///
/// ```
/// use leasehold::{digest::Sha256Digest, identity::*, time::{Now, Wall}};
/// let (now, role) = (Now::new(0, 1), AnchorRole::Coordinator);
/// let old = Sha256Digest::of(b"what the device saw when it paired");
/// let key = Sha256Digest::of(b"the next key");
/// let next = DeviceCertificate::new(Sha256Digest::of(b"the next certificate"), key, Wall(0), Wall(99))?;
///
/// let mut anchors = TrustAnchors::of_coordinator(old);
/// let announcement = Announcement { role, succeeds: old, next };
/// anchors.apply(&AnchorCommand::Announce { by: old, announcement }, now)?;
/// assert!(anchors.authenticate_fingerprint(role, old, now).is_ok(), "both are accepted");
/// anchors.apply(&AnchorCommand::ConfirmUse { fingerprint: next.fingerprint() }, now)?;
/// assert!(anchors.authenticate_fingerprint(role, old, now).is_err());
///
/// let kept = serde_json::to_string(&anchors)?;
/// assert_eq!(serde_json::from_str::<TrustAnchors>(&kept)?, anchors);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustAnchors {
    anchors: BTreeMap<Sha256Digest, Anchor>,
    revoked: BTreeMap<Sha256Digest, Revocation>,
    generation: u64,
}

impl TrustAnchors {
    /// No anchors.
    pub fn new() -> Self {
        Self::default()
    }

    /// The coordinator whose certificate (exact DER) has this SHA-256: what a device knows after pairing.
    pub fn of_coordinator(fingerprint: Sha256Digest) -> Self {
        let certificate = PinnedCertificate::Fingerprint(fingerprint);
        let anchor =
            Anchor { role: AnchorRole::Coordinator, certificate, succeeds: None, announced_by: None };
        let mut anchors = Self::new();
        anchors.evolve(&AnchorEvent::AnchorPinned { anchor });
        anchors
    }

    /// The anchors of `role`, by fingerprint.
    pub fn of(&self, role: AnchorRole) -> impl Iterator<Item = &Anchor> {
        self.anchors.values().filter(move |anchor| anchor.role == role)
    }

    /// The anchor with this fingerprint, whatever it is for.
    pub fn get(&self, fingerprint: &Sha256Digest) -> Option<&Anchor> {
        self.anchors.get(fingerprint)
    }

    /// What is announced and was not used yet, by fingerprint of the next one.
    pub fn announced(&self) -> impl Iterator<Item = Announcement> {
        self.anchors.values().filter_map(Anchor::announcement)
    }

    /// What is revoked, and when and why, by fingerprint.
    pub fn revoked(&self) -> impl Iterator<Item = (&Sha256Digest, &Revocation)> {
        self.revoked.iter()
    }

    /// When and why the certificate was revoked, where it is.
    pub fn revocation(&self, fingerprint: &Sha256Digest) -> Option<&Revocation> {
        self.revoked.get(fingerprint)
    }

    /// Grows whenever something that was accepted is not any more. Open connections ask again then.
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// Judges the certificate with this fingerprint (SHA-256 of the exact DER) that a peer presented as `role`.
    /// Nothing is accepted by its name or its issuer here: only what is pinned.
    ///
    /// # Errors
    /// [`AuthError`]. The dates of what is pinned by its fingerprint alone are not known, and not judged.
    pub fn authenticate_fingerprint(
        &self,
        role: AnchorRole,
        fingerprint: Sha256Digest,
        now: Now,
    ) -> Result<&Anchor, AuthError> {
        if self.revoked.contains_key(&fingerprint) {
            return Err(AuthError::Revoked(RevocationSubject::Certificate(fingerprint)));
        }
        let anchor = self.anchors.get(&fingerprint).filter(|anchor| anchor.role == role);
        let anchor = anchor.ok_or(AuthError::Unknown(fingerprint))?;
        let certificate = &anchor.certificate;
        if now.wall < certificate.not_before() {
            Err(AuthError::NotYetValid(certificate.not_before()))
        } else if certificate.is_over(now.wall) {
            Err(AuthError::Expired(certificate.not_after()))
        } else {
            Ok(anchor)
        }
    }

    /// Folds one event. Total: recovery has asked [`Self::admits`] before.
    pub(crate) fn evolve(&mut self, event: &AnchorEvent) {
        match event {
            AnchorEvent::AnchorPinned { anchor } => {
                self.anchors.insert(anchor.certificate.fingerprint(), *anchor);
            }
            AnchorEvent::AnchorRetired { fingerprint } => self.drop_anchor(fingerprint),
            AnchorEvent::AnchorRevoked { fingerprint, reason, at } => {
                self.revoked.insert(*fingerprint, Revocation { reason: *reason, at: *at });
                self.drop_anchor(fingerprint);
            }
        }
    }

    /// What takes over from an anchor that is gone stands for itself.
    fn drop_anchor(&mut self, fingerprint: &Sha256Digest) {
        self.anchors.remove(fingerprint);
        for anchor in self.anchors.values_mut() {
            if anchor.succeeds.as_ref() == Some(fingerprint) {
                anchor.succeeds = None;
            }
        }
        self.generation = self.generation.saturating_add(1);
    }
}
