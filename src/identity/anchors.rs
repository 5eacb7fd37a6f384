//! The other direction: which coordinators and authorities a device, or a coordinator's own host, accepts.
//!
//! The same shape as the registry: commands, pure decisions, events. A device pins the coordinator's certificate when it
//! pairs. A coordinator that changes its certificate announces the next one over a channel that the present one
//! authenticated, and both are accepted until the next one was used.

use alloc::{collections::BTreeMap, vec, vec::Vec};
use core::fmt;

use serde::{Deserialize, Serialize};

use super::{
    authenticate::AuthError,
    certificate::DeviceCertificate,
    revocation::{Revocation, RevocationReason, RevocationSubject},
};
use crate::{
    code::{self, Code, Coded},
    digest::Sha256Digest,
    journaled::events,
    time::Now,
};

/// The most anchors of one role.
pub const MAX_ANCHORS: usize = 8;

/// The most revocations remembered, besides room to revoke every anchor.
const MAX_REVOKED: usize = 64;

/// What a pinned certificate is accepted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AnchorRole {
    /// The certificate that a coordinator presents.
    Coordinator,
    /// The certificate of an authority that signs device certificates; the host's TLS library chains to it.
    Authority,
}

impl fmt::Display for AnchorRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Coordinator => "coordinator",
            Self::Authority => "authority",
        })
    }
}

/// A pinned certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Anchor {
    /// What for.
    pub role: AnchorRole,
    /// Which.
    pub certificate: DeviceCertificate,
    /// The anchor that this one takes over from, until it is used for the first time.
    pub succeeds: Option<Sha256Digest>,
    /// The coordinator that announced it.
    pub announced_by: Option<Sha256Digest>,
}

/// What may be asked of [`TrustAnchors`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AnchorCommand {
    /// Accepts a certificate from here on: after pairing, or by configuration. An operator's act.
    Pin {
        /// What for.
        role: AnchorRole,
        /// Which.
        certificate: DeviceCertificate,
    },
    /// A peer that authenticated as `by` announces what takes over from it. Coordinators announce for themselves
    /// and for authorities; for an authority, `succeeds` names the one that it takes over from.
    Announce {
        /// The coordinator certificate of the channel that the announcement came over.
        by: Sha256Digest,
        /// What for.
        role: AnchorRole,
        /// The anchor that the next one takes over from.
        succeeds: Sha256Digest,
        /// The next one.
        next: DeviceCertificate,
    },
    /// The certificate was used. Where it takes over from another, that one is retired; else nothing happens.
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
    /// One change of [`TrustAnchors`].
    AnchorEvent, stored as StoredAnchorEvent;

    /// A certificate is accepted from here on.
    AnchorPinned {
        /// The anchor.
        anchor: Anchor,
    }
    /// A certificate was taken over from, or ran out.
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

/// Why anchors do not change.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AnchorError {
    /// The certificate is pinned already.
    #[error("the certificate is pinned already")]
    Exists,
    /// [`MAX_ANCHORS`] of the role are pinned, or no room is left to revoke another.
    #[error("there are as many anchors as can be held and revoked")]
    Full,
    /// The announced one takes over from something that is not an anchor of its role, or already has a successor;
    /// or a coordinator announced for another coordinator.
    #[error("the announcement does not fit the anchors that are pinned")]
    Succession,
    /// The certificate is past its validity.
    #[error("the certificate has expired")]
    Expired,
    /// Revoked already, or to be pinned and revoked.
    #[error("the certificate is revoked")]
    Revoked,
    /// The announcing or used certificate is not accepted.
    #[error(transparent)]
    Auth(#[from] AuthError),
}

impl Coded for AnchorError {
    fn code(&self) -> Code {
        match self {
            Self::Exists => code::ANCHOR_EXISTS,
            Self::Full => code::ANCHOR_FULL,
            Self::Succession => code::ANCHOR_SUCCESSION,
            Self::Expired => code::CERTIFICATE_EXPIRED,
            Self::Revoked => code::CERTIFICATE_REVOKED,
            Self::Auth(error) => error.code(),
        }
    }
}

/// Pinned coordinators and authorities: bounded, replayable. Nothing pinned accepts nothing.
///
/// ```
/// use leasehold::{digest::Sha256Digest, identity::*, time::{Now, Wall}};
/// let certificate = |name: &[u8]| {
///     DeviceCertificate::new(Sha256Digest::of(name), Sha256Digest::of(&[name, b" key"].concat()), Wall(0), Wall(99))
/// };
/// let (now, role) = (Now::new(0, 1), AnchorRole::Coordinator);
/// let (old, next) = (certificate(b"old")?, certificate(b"next")?);
/// let mut anchors = TrustAnchors::new();
/// anchors.apply(&AnchorCommand::Pin { role, certificate: old }, now)?;
/// let (by, succeeds) = (old.fingerprint(), old.fingerprint());
/// anchors.apply(&AnchorCommand::Announce { by, role, succeeds, next }, now)?;
/// assert!(anchors.authenticate_fingerprint(role, old.fingerprint(), now).is_ok());
/// anchors.apply(&AnchorCommand::ConfirmUse { fingerprint: next.fingerprint() }, now)?;
/// assert!(anchors.authenticate_fingerprint(role, old.fingerprint(), now).is_err());
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

    /// The anchors of `role`, by fingerprint.
    pub fn of(&self, role: AnchorRole) -> impl Iterator<Item = &Anchor> {
        self.anchors.values().filter(move |anchor| anchor.role == role)
    }

    /// Grows whenever something that was accepted is not any more. Open connections ask again then.
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// Judges the certificate (exact DER) that a peer presented as `role`.
    ///
    /// # Errors
    /// [`AuthError`]. Nothing is accepted by its name or its issuer here: only what is pinned.
    pub fn authenticate(&self, role: AnchorRole, leaf: &[u8], now: Now) -> Result<&Anchor, AuthError> {
        let presented = DeviceCertificate::from_der(leaf)?;
        let anchor = self.authenticate_fingerprint(role, presented.fingerprint(), now)?;
        if anchor.certificate.key() == presented.key() { Ok(anchor) } else { Err(AuthError::KeyMismatch) }
    }

    /// The same, by fingerprint alone.
    ///
    /// # Errors
    /// [`AuthError`].
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
        let (begin, end) = (anchor.certificate.not_before(), anchor.certificate.not_after());
        if now.wall < begin {
            Err(AuthError::NotYetValid(begin))
        } else if now.wall >= end {
            Err(AuthError::Expired(end))
        } else {
            Ok(anchor)
        }
    }

    /// What `command` would change at `now`. Pure; a refusal changes nothing.
    ///
    /// # Errors
    /// [`AnchorError`].
    pub fn decide(&self, command: &AnchorCommand, now: Now) -> Result<Vec<AnchorEvent>, AnchorError> {
        match command {
            AnchorCommand::Pin { role, certificate } => self.pin(
                Anchor { role: *role, certificate: *certificate, succeeds: None, announced_by: None },
                now,
            ),
            AnchorCommand::Announce { by, role, succeeds, next } => {
                self.authenticate_fingerprint(AnchorRole::Coordinator, *by, now)?;
                let known = self.anchors.get(succeeds).is_some_and(|anchor| anchor.role == *role);
                let own = *role != AnchorRole::Coordinator || by == succeeds;
                let taken = self.anchors.values().any(|anchor| anchor.succeeds.as_ref() == Some(succeeds));
                if !known || !own || taken {
                    return Err(AnchorError::Succession);
                }
                let (succeeds, announced_by) = (Some(*succeeds), Some(*by));
                self.pin(Anchor { role: *role, certificate: *next, succeeds, announced_by }, now)
            }
            AnchorCommand::ConfirmUse { fingerprint } => {
                let role = self.anchors.get(fingerprint).map(|anchor| anchor.role);
                let role = role.ok_or(AuthError::Unknown(*fingerprint))?;
                let anchor = self.authenticate_fingerprint(role, *fingerprint, now)?;
                Ok(anchor
                    .succeeds
                    .map(|fingerprint| AnchorEvent::AnchorRetired { fingerprint })
                    .into_iter()
                    .collect())
            }
            AnchorCommand::Revoke { fingerprint, reason } => {
                if self.revoked.contains_key(fingerprint) {
                    return Err(AnchorError::Revoked);
                }
                if !self.anchors.contains_key(fingerprint) {
                    self.room_to_revoke(1)?;
                }
                let mut events =
                    vec![AnchorEvent::AnchorRevoked { fingerprint: *fingerprint, reason: *reason, at: now }];
                // What a stolen certificate announced is the thief's.
                let announced = self.anchors.values().filter(|anchor| {
                    anchor.succeeds.is_some() && anchor.announced_by.as_ref() == Some(fingerprint)
                });
                events.extend(announced.map(|anchor| AnchorEvent::AnchorRetired {
                    fingerprint: anchor.certificate.fingerprint(),
                }));
                Ok(events)
            }
        }
    }

    /// Decides and folds at once.
    ///
    /// # Errors
    /// [`AnchorError`]; then nothing has changed.
    pub fn apply(&mut self, command: &AnchorCommand, now: Now) -> Result<Vec<AnchorEvent>, AnchorError> {
        let events = self.decide(command, now)?;
        for event in &events {
            self.evolve(event);
        }
        Ok(events)
    }

    fn pin(&self, anchor: Anchor, now: Now) -> Result<Vec<AnchorEvent>, AnchorError> {
        let fingerprint = anchor.certificate.fingerprint();
        if self.revoked.contains_key(&fingerprint) {
            return Err(AnchorError::Revoked);
        }
        if self.anchors.contains_key(&fingerprint) {
            return Err(AnchorError::Exists);
        }
        if now.wall >= anchor.certificate.not_after() {
            return Err(AnchorError::Expired);
        }
        let expired = |held: &&Anchor| now.wall >= held.certificate.not_after();
        let mut events: Vec<AnchorEvent> = self
            .of(anchor.role)
            .filter(expired)
            .map(|held| AnchorEvent::AnchorRetired { fingerprint: held.certificate.fingerprint() })
            .collect();
        if self.of(anchor.role).count().saturating_sub(events.len()) >= MAX_ANCHORS {
            return Err(AnchorError::Full);
        }
        self.room_to_revoke(1)?;
        events.push(AnchorEvent::AnchorPinned { anchor });
        Ok(events)
    }

    /// Room to revoke every anchor stays free, so that a full set never protects one.
    fn room_to_revoke(&self, more: usize) -> Result<(), AnchorError> {
        let needed = self.revoked.len().saturating_add(self.anchors.len()).saturating_add(more);
        if needed > MAX_REVOKED { Err(AnchorError::Full) } else { Ok(()) }
    }

    pub(crate) fn evolve(&mut self, event: &AnchorEvent) {
        match event {
            AnchorEvent::AnchorPinned { anchor } => {
                self.anchors.insert(anchor.certificate.fingerprint(), *anchor);
            }
            AnchorEvent::AnchorRetired { fingerprint } => {
                self.drop_anchor(fingerprint);
            }
            AnchorEvent::AnchorRevoked { fingerprint, reason, at } => {
                self.revoked.insert(*fingerprint, Revocation { reason: *reason, at: *at });
                // What it announced still names it, and is retired by the event that follows.
                self.anchors.remove(fingerprint);
                self.generation = self.generation.saturating_add(1);
            }
        }
    }

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Wall;

    const NOW: Now = Now::new(0, 10);

    fn certificate(n: u8, end: u64) -> DeviceCertificate {
        DeviceCertificate::new(Sha256Digest::of(&[n]), Sha256Digest::of(&[n, n]), Wall(0), Wall(end)).unwrap()
    }

    fn pinned(n: u8) -> TrustAnchors {
        let mut anchors = TrustAnchors::new();
        let pin = AnchorCommand::Pin { role: AnchorRole::Coordinator, certificate: certificate(n, 100) };
        anchors.apply(&pin, NOW).unwrap();
        anchors
    }

    fn announce(by: u8, next: u8) -> AnchorCommand {
        let by = certificate(by, 100).fingerprint();
        AnchorCommand::Announce {
            by,
            role: AnchorRole::Coordinator,
            succeeds: by,
            next: certificate(next, 200),
        }
    }

    fn accepts(anchors: &TrustAnchors, n: u8) -> Result<(), &'static str> {
        let fingerprint = certificate(n, 100).fingerprint();
        let judged = anchors.authenticate_fingerprint(AnchorRole::Coordinator, fingerprint, NOW);
        judged.map(|_| ()).map_err(|error| error.code().as_str())
    }

    fn code(anchors: &mut TrustAnchors, command: &AnchorCommand) -> &'static str {
        anchors.apply(command, NOW).map(|_| "ok").unwrap_or_else(|error| error.code().as_str())
    }

    /// Make before break, in the direction from device to coordinator.
    #[test]
    fn a_coordinator_rotates_with_overlap_until_the_first_use() {
        let mut anchors = pinned(1);
        assert_eq!(accepts(&anchors, 2), Err("certificate.unknown"));
        let mut events = anchors.apply(&announce(1, 2), NOW).unwrap();
        assert_eq!((accepts(&anchors, 1), accepts(&anchors, 2)), (Ok(()), Ok(())));
        let second = code(&mut anchors, &announce(1, 3));
        assert_eq!(second, "anchor.succession", "one successor at a time");
        let used = AnchorCommand::ConfirmUse { fingerprint: certificate(2, 200).fingerprint() };
        events.extend(anchors.apply(&used, NOW).unwrap());
        assert_eq!((accepts(&anchors, 1), accepts(&anchors, 2)), (Err("certificate.unknown"), Ok(())));
        assert_eq!(anchors.generation(), 1);
        assert_eq!(anchors.apply(&used, NOW), Ok(vec![]));
        let mut replayed = pinned(1);
        for event in &events {
            let stored = postcard::to_allocvec(event).unwrap();
            replayed.evolve(&postcard::from_bytes::<StoredAnchorEvent>(&stored).unwrap().into());
        }
        assert_eq!(anchors, replayed);
    }

    #[test]
    fn only_an_accepted_coordinator_announces_and_only_for_itself() {
        let mut anchors = pinned(1);
        assert_eq!(code(&mut anchors, &announce(7, 2)), "certificate.unknown");
        let pin = AnchorCommand::Pin { role: AnchorRole::Coordinator, certificate: certificate(5, 100) };
        assert_eq!(code(&mut anchors, &pin), "ok");
        assert_eq!(code(&mut anchors, &pin), "anchor.exists");
        let for_another = AnchorCommand::Announce {
            by: certificate(1, 100).fingerprint(),
            role: AnchorRole::Coordinator,
            succeeds: certificate(5, 100).fingerprint(),
            next: certificate(6, 100),
        };
        assert_eq!(code(&mut anchors, &for_another), "anchor.succession");
        // An authority is no coordinator.
        let pin = AnchorCommand::Pin { role: AnchorRole::Authority, certificate: certificate(8, 100) };
        assert_eq!(code(&mut anchors, &pin), "ok");
        assert_eq!(accepts(&anchors, 8), Err("certificate.unknown"));
        let ca = AnchorCommand::Announce {
            by: certificate(1, 100).fingerprint(),
            role: AnchorRole::Authority,
            succeeds: certificate(8, 100).fingerprint(),
            next: certificate(9, 100),
        };
        assert_eq!(code(&mut anchors, &ca), "ok");
        assert_eq!(anchors.of(AnchorRole::Authority).count(), 2);
    }

    /// Invariants 12 and 13.
    #[test]
    fn a_revoked_anchor_takes_its_announcement_with_it_and_the_sets_are_bounded() {
        let mut anchors = pinned(1);
        anchors.apply(&announce(1, 2), NOW).unwrap();
        let pin = AnchorCommand::Pin { role: AnchorRole::Authority, certificate: certificate(8, 100) };
        assert_eq!(code(&mut anchors, &pin), "ok");
        let ca = AnchorCommand::Announce {
            by: certificate(1, 100).fingerprint(),
            role: AnchorRole::Authority,
            succeeds: certificate(8, 100).fingerprint(),
            next: certificate(9, 100),
        };
        assert_eq!(code(&mut anchors, &ca), "ok");
        let fingerprint = certificate(1, 100).fingerprint();
        let revoke = AnchorCommand::Revoke { fingerprint, reason: RevocationReason::KeyCompromise };
        assert_eq!(code(&mut anchors, &revoke), "ok");
        assert_eq!(
            (accepts(&anchors, 1), accepts(&anchors, 2)),
            (Err("certificate.revoked"), Err("certificate.unknown"))
        );
        assert_eq!(anchors.of(AnchorRole::Authority).count(), 1);
        assert_eq!(code(&mut anchors, &revoke), "certificate.revoked");
        let pin = AnchorCommand::Pin { role: AnchorRole::Coordinator, certificate: certificate(1, 100) };
        assert_eq!(code(&mut anchors, &pin), "certificate.revoked");
        for n in 10..30 {
            let pin = AnchorCommand::Pin { role: AnchorRole::Coordinator, certificate: certificate(n, 100) };
            assert_eq!(code(&mut anchors, &pin), if n < 18 { "ok" } else { "anchor.full" });
        }
        for n in 100..200 {
            let fingerprint = certificate(n, 100).fingerprint();
            let revoke = AnchorCommand::Revoke { fingerprint, reason: RevocationReason::Operator };
            code(&mut anchors, &revoke);
        }
        assert_eq!(anchors.revoked.len() + anchors.anchors.len(), MAX_REVOKED);
        for n in 10..18 {
            let fingerprint = certificate(n, 100).fingerprint();
            let revoke = AnchorCommand::Revoke { fingerprint, reason: RevocationReason::Operator };
            assert_eq!(code(&mut anchors, &revoke), "ok", "a full set protects no anchor");
        }
        assert_eq!(anchors.of(AnchorRole::Coordinator).count(), 0);
    }
}
