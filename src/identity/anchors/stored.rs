//! The anchors as one value to store: in a fleet's snapshot, and on a device. They load only whole.

use alloc::{collections::BTreeMap, vec::Vec};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::{MAX_ANCHORS, MAX_REVOKED, TrustAnchors, anchor::Anchor, error::AnchorError};
use crate::{
    digest::{FieldHasher, Sha256Digest},
    identity::revocation::Revocation,
};

const VERSION: u16 = 1;

/// Canonical: equal anchors have equal stored forms.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    version: u16,
    generation: u64,
    /// Over the revocation set and the generation: anchors with another set, or with none, do not load.
    revocations_sha256: Sha256Digest,
    revoked: Vec<(Sha256Digest, Revocation)>,
    anchors: Vec<Anchor>,
}

fn digest(revoked: &BTreeMap<Sha256Digest, Revocation>, generation: u64) -> Sha256Digest {
    let mut hasher = FieldHasher::new("anchor-revocations.v1").number(generation);
    for (fingerprint, Revocation { reason, at }) in revoked {
        hasher = hasher.field(fingerprint.as_bytes()).number(reason.number());
        hasher = hasher.number(at.mono.0).number(at.wall.0);
    }
    hasher.finish()
}

impl From<TrustAnchors> for Form {
    fn from(held: TrustAnchors) -> Self {
        let TrustAnchors { anchors, revoked, generation } = held;
        Self {
            version: VERSION,
            generation,
            revocations_sha256: digest(&revoked, generation),
            revoked: revoked.into_iter().collect(),
            anchors: anchors.into_values().collect(),
        }
    }
}

impl TryFrom<Form> for TrustAnchors {
    type Error = AnchorError;

    /// A stored form is believed in nothing that can be checked.
    fn try_from(form: Form) -> Result<Self, AnchorError> {
        let Form { version, generation, revocations_sha256, revoked, anchors } = form;
        if version != VERSION {
            return Err(AnchorError::Version(version));
        }
        let (revocations, pinned) = (revoked.len(), anchors.len());
        if revocations.saturating_add(pinned) > MAX_REVOKED {
            return Err(AnchorError::Stored("more than can be held and revoked"));
        }
        let loaded = Self {
            anchors: anchors.into_iter().map(|anchor| (anchor.certificate.fingerprint(), anchor)).collect(),
            revoked: revoked.into_iter().collect(),
            generation,
        };
        if loaded.anchors.len() != pinned || loaded.revoked.len() != revocations {
            return Err(AnchorError::Stored("a certificate is there twice"));
        }
        if digest(&loaded.revoked, generation) != revocations_sha256 {
            return Err(AnchorError::Stored("the revocation set is not the one that they were stored with"));
        }
        loaded.check().map_err(AnchorError::Stored)?;
        Ok(loaded)
    }
}

impl Serialize for TrustAnchors {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Form::from(self.clone()).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for TrustAnchors {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::try_from(Form::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl TrustAnchors {
    /// What holds in every state that events lead to.
    fn check(&self) -> Result<(), &'static str> {
        for (fingerprint, anchor) in &self.anchors {
            if self.revoked.contains_key(fingerprint) {
                return Err("a certificate is pinned and revoked");
            }
            if self.of(anchor.role).count() > MAX_ANCHORS {
                return Err("too many anchors of a role");
            }
            let Some(succeeds) = anchor.succeeds else { continue };
            let others = self.anchors.values().filter(|other| other.succeeds == Some(succeeds)).count();
            let known = self.get(&succeeds).is_some_and(|held| held.role == anchor.role);
            let announced = anchor.announcement().is_some() && anchor.announced_by.is_some();
            if !known || others != 1 || !announced || succeeds == *fingerprint {
                return Err("an announcement does not fit");
            }
        }
        Ok(())
    }
}
