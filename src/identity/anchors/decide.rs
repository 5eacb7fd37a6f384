//! What a command changes, and whether an event that was stored can have happened.

use alloc::{vec, vec::Vec};

use super::{
    MAX_ANCHORS, MAX_REVOKED, TrustAnchors,
    anchor::{Anchor, AnchorRole, Announcement, PinnedCertificate},
    command::{AnchorCommand, AnchorEvent},
    error::AnchorError,
};
use crate::{
    digest::Sha256Digest,
    identity::{authenticate::AuthError, revocation::RevocationReason},
    time::Now,
};

impl TrustAnchors {
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
            AnchorCommand::Announce { by, announcement } => self.announce(*by, announcement, now),
            AnchorCommand::Withdraw { by, fingerprint } => self.withdraw(*by, *fingerprint, now),
            AnchorCommand::ConfirmUse { fingerprint } => {
                let role = self.get(fingerprint).map(|anchor| anchor.role);
                let role = role.ok_or(AuthError::Unknown(*fingerprint))?;
                let anchor = self.authenticate_fingerprint(role, *fingerprint, now)?;
                let retired = anchor.succeeds.map(|fingerprint| AnchorEvent::AnchorRetired { fingerprint });
                Ok(retired.into_iter().collect())
            }
            AnchorCommand::Revoke { fingerprint, reason } => self.revoke(*fingerprint, *reason, now),
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

    fn announce(
        &self,
        by: Sha256Digest,
        announcement: &Announcement,
        now: Now,
    ) -> Result<Vec<AnchorEvent>, AnchorError> {
        let Announcement { role, succeeds, next } = *announcement;
        self.authenticate_fingerprint(AnchorRole::Coordinator, by, now)?;
        let anchor = Anchor {
            role,
            certificate: PinnedCertificate::Certificate(next),
            succeeds: Some(succeeds),
            announced_by: Some(by),
        };
        if !self.may_follow(&anchor) {
            return Err(AnchorError::Succession);
        }
        // Nothing takes over from what has ended already.
        self.authenticate_fingerprint(role, succeeds, now)?;
        self.pin(anchor, now)
    }

    /// Whether `anchor` may wait to take over: from an anchor of its role that nothing else waits for, by the word of a
    /// coordinator, which speaks for itself and for authorities but for no other coordinator.
    fn may_follow(&self, anchor: &Anchor) -> bool {
        let Some(Announcement { succeeds, .. }) = anchor.announcement() else { return false };
        let own = anchor.role != AnchorRole::Coordinator || anchor.announced_by == Some(succeeds);
        let known = self.get(&succeeds).is_some_and(|held| held.role == anchor.role);
        let taken = self.anchors.values().any(|held| held.succeeds == Some(succeeds));
        anchor.announced_by.is_some() && own && known && !taken
    }

    fn withdraw(
        &self,
        by: Sha256Digest,
        fingerprint: Sha256Digest,
        now: Now,
    ) -> Result<Vec<AnchorEvent>, AnchorError> {
        self.authenticate_fingerprint(AnchorRole::Coordinator, by, now)?;
        match self.get(&fingerprint) {
            None => Ok(Vec::new()),
            Some(held) if held.succeeds.is_some() && held.announced_by == Some(by) => {
                self.revoke(fingerprint, RevocationReason::Operator, now)
            }
            Some(_) => Err(AnchorError::Succession),
        }
    }

    fn revoke(
        &self,
        fingerprint: Sha256Digest,
        reason: RevocationReason,
        at: Now,
    ) -> Result<Vec<AnchorEvent>, AnchorError> {
        let revoked = AnchorEvent::AnchorRevoked { fingerprint, reason, at };
        self.revocable(&fingerprint)?;
        let mut events = vec![revoked];
        // What a stolen certificate announced is the thief's.
        let announced = self
            .anchors
            .values()
            .filter(|anchor| anchor.succeeds.is_some() && anchor.announced_by == Some(fingerprint));
        events.extend(announced.map(retired));
        Ok(events)
    }

    fn revocable(&self, fingerprint: &Sha256Digest) -> Result<(), AnchorError> {
        if self.revoked.contains_key(fingerprint) {
            return Err(AnchorError::Revoked);
        }
        if self.anchors.contains_key(fingerprint) { Ok(()) } else { self.room_to_revoke(1) }
    }

    fn pin(&self, anchor: Anchor, now: Now) -> Result<Vec<AnchorEvent>, AnchorError> {
        self.unheld(&anchor)?;
        if anchor.certificate.is_over(now.wall) {
            return Err(AnchorError::Expired);
        }
        let over = |held: &&Anchor| held.certificate.is_over(now.wall);
        let mut events: Vec<AnchorEvent> = self.of(anchor.role).filter(over).map(retired).collect();
        if self.of(anchor.role).count().saturating_sub(events.len()) >= MAX_ANCHORS {
            return Err(AnchorError::Full);
        }
        self.room_to_revoke(1)?;
        events.push(AnchorEvent::AnchorPinned { anchor });
        Ok(events)
    }

    fn unheld(&self, anchor: &Anchor) -> Result<(), AnchorError> {
        let fingerprint = anchor.certificate.fingerprint();
        if self.revoked.contains_key(&fingerprint) {
            Err(AnchorError::Revoked)
        } else if self.anchors.contains_key(&fingerprint) {
            Err(AnchorError::Exists)
        } else {
            Ok(())
        }
    }

    /// Room to revoke every anchor stays free, so that a full set never protects one.
    fn room_to_revoke(&self, more: usize) -> Result<(), AnchorError> {
        let needed = self.revoked.len().saturating_add(self.anchors.len()).saturating_add(more);
        if needed > MAX_REVOKED { Err(AnchorError::Full) } else { Ok(()) }
    }

    /// What ends where nobody knows any more whether it was taken back: everything that was announced and not used.
    pub(crate) fn retire_announced(&self) -> impl Iterator<Item = AnchorEvent> {
        self.anchors.values().filter(|anchor| anchor.succeeds.is_some()).map(retired)
    }

    /// Whether `event` can have happened here.
    pub(crate) fn admits(&self, event: &AnchorEvent) -> bool {
        match event {
            AnchorEvent::AnchorPinned { anchor } => {
                let alone = anchor.succeeds.is_none() && anchor.announced_by.is_none();
                (alone || self.may_follow(anchor))
                    && self.unheld(anchor).is_ok()
                    && self.of(anchor.role).count() < MAX_ANCHORS
                    && self.room_to_revoke(1).is_ok()
            }
            AnchorEvent::AnchorRetired { fingerprint } => self.anchors.contains_key(fingerprint),
            AnchorEvent::AnchorRevoked { fingerprint, .. } => self.revocable(fingerprint).is_ok(),
        }
    }
}

const fn retired(anchor: &Anchor) -> AnchorEvent {
    AnchorEvent::AnchorRetired { fingerprint: anchor.certificate.fingerprint() }
}
