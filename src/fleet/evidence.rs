//! Accepted evidence as the fleet keeps it. What many workers have in common is stored once and shared by
//! reference count.

use alloc::{
    collections::{BTreeMap, btree_map::Entry},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use super::event::EvidenceRecord;
use crate::{
    attestation::EvidenceProfile,
    digest::Sha256Digest,
    time::{Mono, Now},
};

/// Accepted evidence: what is remembered for this worker alone, and the profile that many workers share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Evidence {
    pub(crate) record: EvidenceRecord,
    pub(crate) profile: Arc<EvidenceProfile>,
}

impl Evidence {
    /// Whether the evidence and its certificate have not ended at `now` (invariants 3 and 4).
    pub(crate) fn is_in_time(&self, now: Now) -> bool {
        now.wall < self.record.valid_until
            && now.mono < self.record.valid_until_mono
            && now.mono < self.record.certificate_until_mono
    }

    /// When the evidence or the certificate to which it is bound ends, in monotonic time.
    pub(crate) fn ends(&self) -> Mono {
        self.record.valid_until_mono.min(self.record.certificate_until_mono)
    }
}

/// With fewer profiles than this, unused ones are not removed.
const FEW_PROFILES: usize = 16;

/// The profiles in use. They are derived from the workers and take no part in the equality of two states.
#[derive(Clone, Debug, Default)]
pub(crate) struct Profiles {
    shared: BTreeMap<Sha256Digest, Arc<EvidenceProfile>>,
    /// Profiles that no worker uses are removed once there are more than this.
    clear_at: usize,
}

impl Profiles {
    /// The shared copy of `profile`. Cost: O(log profiles), plus a visit to all of them each time their
    /// number has doubled.
    pub(crate) fn share(&mut self, profile: &Arc<EvidenceProfile>) -> Arc<EvidenceProfile> {
        // A profile holds only lists, numbers and texts, so it always serialises.
        let digest = Sha256Digest::of(&postcard::to_allocvec(&**profile).unwrap_or_default());
        if let Some(held) = self.shared.get(&digest).filter(|held| *held == profile) {
            return Arc::clone(held);
        }
        if self.shared.len() >= self.clear_at.max(FEW_PROFILES) {
            self.shared.retain(|_, held| Arc::strong_count(held) > 1);
            self.clear_at = self.shared.len().saturating_mul(2);
        }
        self.shared.insert(digest, Arc::clone(profile));
        Arc::clone(profile)
    }
}

/// A profile as a snapshot stores it: in full with the first worker that has it, and by its number with every
/// other worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum StoredProfile {
    First(Arc<EvidenceProfile>),
    Again(u32),
}

/// The profiles that a snapshot contains so far.
#[derive(Default)]
pub(crate) struct ProfileList(BTreeMap<*const EvidenceProfile, u32>);

impl ProfileList {
    pub(crate) fn store(&mut self, profile: &Arc<EvidenceProfile>) -> StoredProfile {
        let next = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        // Equal profiles of one roster share one allocation, so the address identifies the profile.
        match self.0.entry(Arc::as_ptr(profile)) {
            Entry::Occupied(held) => StoredProfile::Again(*held.get()),
            Entry::Vacant(free) => {
                free.insert(next);
                StoredProfile::First(Arc::clone(profile))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    fn profile(image: &str) -> Arc<EvidenceProfile> {
        Arc::new(EvidenceProfile {
            image: Some(Sha256Digest::of(image.as_bytes())),
            build: None,
            artifact: None,
            protocol: None,
            wit: Vec::new(),
            authority: Sha256Digest::of(b"authority"),
            signers: Vec::new(),
            egress: None,
            builders: Vec::new(),
        })
    }

    /// Invariant 13: equal profiles are one, and those of workers that are gone do not pile up.
    #[test]
    fn profiles_are_shared_and_cleared_away() {
        let mut profiles = Profiles::default();
        let one = profiles.share(&profile("one"));
        assert!(Arc::ptr_eq(&one, &profiles.share(&profile("one"))));
        for n in 0..1_000 {
            profiles.share(&profile(&alloc::format!("{n}")));
        }
        assert!(profiles.shared.len() <= 2 * FEW_PROFILES, "{}", profiles.shared.len());
        assert!(Arc::ptr_eq(&one, &profiles.share(&profile("one"))), "what is in use stays");
    }
}
