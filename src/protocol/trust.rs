//! Whom an endpoint believes to be its coordinator, and what it makes of the word that another one will follow.

use alloc::{boxed::Box, vec::Vec};

use super::message::AnchorNotice;
use crate::{
    code::{self, Code, Coded as _},
    digest::Sha256Digest,
    identity::{AnchorCommand, AnchorError, AnchorRole, AuthError, MAX_ANCHORS, MAX_REVOKED, TrustAnchors},
    time::Now,
};

/// What the endpoint's owner has to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TrustEvent {
    /// Other certificates are accepted from here on: to be kept.
    Changed(Box<TrustAnchors>),
    /// The coordinator's word does not fit what is pinned.
    Refused(Code),
}

/// The anchors of an endpoint, and the certificate of its connection.
#[derive(Debug)]
pub(crate) struct Trust {
    anchors: TrustAnchors,
    peer: Option<Sha256Digest>,
}

impl Trust {
    pub(crate) const fn new(anchors: TrustAnchors) -> Self {
        Self { anchors, peer: None }
    }

    pub(crate) const fn anchors(&self) -> &TrustAnchors {
        &self.anchors
    }

    /// Judges the certificate of a new connection: the present coordinator's, or one that it has announced.
    pub(crate) fn admit(&mut self, peer: Sha256Digest, now: Now) -> Result<(), Code> {
        self.peer = None;
        match self.anchors.authenticate_fingerprint(AnchorRole::Coordinator, peer, now) {
            Ok(_) => {
                self.peer = Some(peer);
                Ok(())
            }
            Err(AuthError::Unknown(_)) => Err(code::COORDINATOR_OTHER_CERTIFICATE),
            Err(error) => Err(error.code()),
        }
    }

    /// The coordinator has opened a session: the certificate of this connection was used, and what it takes over from
    /// is retired.
    pub(crate) fn used(&mut self, now: Now) -> Result<Option<TrustEvent>, Code> {
        let fingerprint = self.peer.ok_or(code::COORDINATOR_OTHER_CERTIFICATE)?;
        match self.anchors.apply(&AnchorCommand::ConfirmUse { fingerprint }, now) {
            Ok(events) => Ok((!events.is_empty()).then(|| self.changed())),
            Err(error) => Err(error.code()),
        }
    }

    /// Takes the coordinator's word over this connection, as far as it goes.
    pub(crate) fn told(&mut self, notice: &AnchorNotice, now: Now) -> Vec<TrustEvent> {
        let mut changes = false;
        let outcome = self.take(notice, now, &mut changes);
        let changed = changes.then(|| self.changed());
        let refused = outcome.err().map(|error| TrustEvent::Refused(error.code()));
        changed.into_iter().chain(refused).collect()
    }

    /// What was taken back first: it makes room for what is announced instead.
    fn take(&mut self, notice: &AnchorNotice, now: Now, changes: &mut bool) -> Result<(), AnchorError> {
        let AnchorNotice { announced, withdrawn } = notice;
        let Some(by) = self.peer else { return Err(AnchorError::Succession) };
        if announced.len() > MAX_ANCHORS.saturating_mul(2) || withdrawn.len() > MAX_REVOKED {
            return Err(AnchorError::Full);
        }
        for fingerprint in withdrawn.iter().copied() {
            *changes |= !self.anchors.apply(&AnchorCommand::Withdraw { by, fingerprint }, now)?.is_empty();
        }
        for announcement in announced.iter().copied() {
            let role = announcement.role;
            let held = self.anchors.get(&announcement.next.fingerprint());
            // Said before; or about a role of which this device pins nothing, so that it is none of its business.
            if held.is_some_and(|held| held.role == role) || self.anchors.of(role).next().is_none() {
                continue;
            }
            *changes |= !self.anchors.apply(&AnchorCommand::Announce { by, announcement }, now)?.is_empty();
        }
        Ok(())
    }

    fn changed(&self) -> TrustEvent {
        TrustEvent::Changed(Box::new(self.anchors.clone()))
    }
}
